/* A load generator for one HTTP/1.1 server on loopback: constant arrival rate (open loop) or as fast as answers come (closed loop).

   load PORT PATH BODIES CONNECTIONS RATE SECONDS SAMPLES [HEADER]

   BODIES holds one JSON body a line; they are sent in turn by POST. RATE is requests per second, 0 for the closed loop. In the open loop
   a request is due at its place in the schedule whether or not a connection is free, and its latency counts from there: what waits for a
   slow server is not left out. SAMPLES gets one line a request: seconds since the start when it was due, latency in microseconds, status,
   number of its body.
   The summary goes to standard output as JSON. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { ROOM = 1 << 18, MOST = 4096 };

static const double EARLY = 0.0002, NAP = 0.01; /* seconds */

typedef struct {
    int fd, busy;
    double due;
    size_t number;
    char *out;
    size_t out_len, out_done, in_len, body_at, body_len;
    char in[ROOM];
} Conn;

static int port, epoll_fd;
static char **bodies, *path, *header;
static size_t count;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void fail(const char *what) {
    perror(what);
    exit(2);
}

static void dial(Conn *c) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to) < 0) fail("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event) < 0) fail("epoll_ctl");
    c->busy = 0;
}

static void push(Conn *c) {
    while (c->out_done < c->out_len) {
        ssize_t sent = send(c->fd, c->out + c->out_done, c->out_len - c->out_done, MSG_NOSIGNAL);
        if (sent > 0) c->out_done += (size_t)sent;
        else if (sent < 0 && (errno == EAGAIN || errno == EINTR)) continue;
        else break;
    }
}

static void start(Conn *c, size_t number, double due) {
    const char *body = bodies[number % count];
    free(c->out);
    int made = asprintf(&c->out, "POST %s HTTP/1.1\r\nhost: 127.0.0.1:%d\r\ncontent-type: application/json\r\n%s%scontent-length: %zu\r\n\r\n%s", path,
                        port, header, *header ? "\r\n" : "", strlen(body), body);
    if (made < 0) fail("asprintf");
    c->out_len = (size_t)made;
    c->out_done = c->in_len = c->body_at = c->body_len = 0;
    c->due = due;
    c->number = number % count;
    c->busy = 1;
    push(c);
}

/* The status when the answer is whole, 0 while it is not, -1 when the connection is gone. */
static int take(Conn *c) {
    ssize_t got = recv(c->fd, c->in + c->in_len, ROOM - 1 - c->in_len, 0);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) return -1;
    if (got > 0) c->in_len += (size_t)got;
    c->in[c->in_len] = 0;
    if (!c->body_at) {
        char *end = strstr(c->in, "\r\n\r\n");
        if (!end) return 0;
        c->body_at = (size_t)(end - c->in) + 4;
        char *length = strcasestr(c->in, "\ncontent-length:");
        c->body_len = length && length < end ? strtoul(length + 16, NULL, 10) : 0;
        if (c->body_at + c->body_len >= ROOM) { fputs("an answer is larger than the room for it\n", stderr); exit(2); }
    }
    return c->in_len < c->body_at + c->body_len ? 0 : atoi(c->in + 9);
}

static int rising(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    if (argc < 8) { fputs("load PORT PATH BODIES CONNECTIONS RATE SECONDS SAMPLES [HEADER]\n", stderr); return 2; }
    port = atoi(argv[1]), path = argv[2], header = argc > 8 ? argv[8] : "";
    int conns = atoi(argv[4]);
    double rate = atof(argv[5]), seconds = atof(argv[6]);
    FILE *file = fopen(argv[3], "r"), *samples = fopen(argv[7], "w");
    if (!file || !samples) fail("open");
    char *line = NULL;
    size_t room = 0, most = 1 << 20;
    bodies = malloc(most * sizeof *bodies);
    for (ssize_t n; (n = getline(&line, &room, file)) > 0 && count < most;) {
        line[strcspn(line, "\n")] = 0;
        bodies[count++] = strdup(line);
    }
    if (!count || conns < 1 || conns > MOST) { fputs("no bodies, or a strange number of connections\n", stderr); return 2; }
    epoll_fd = epoll_create1(0);
    Conn *all = calloc((size_t)conns, sizeof *all);
    for (int i = 0; i < conns; i++) dial(&all[i]);
    size_t cap = 1 << 16, done = 0, sent = 0, lost = 0;
    float *took = malloc(cap * sizeof *took);
    long status[6] = {0};
    double begin = now(), last = begin;
    struct epoll_event ready[256];
    for (;;) {
        double at = now();
        int over = at - begin >= seconds, busy = 0;
        for (int i = 0; i < conns; i++) {
            Conn *c = &all[i];
            if (!c->busy && !over) {
                double due = rate > 0 ? begin + (double)sent / rate : at;
                if (due <= at) start(c, sent++, due);
            }
            busy += c->busy;
        }
        if (over && !busy) break;
        if (at - begin > seconds + 30) { lost = (size_t)busy; break; }
        /* Sleep till shortly before the next request is due, then spin: on time to some microseconds, and the core is free for others. */
        double wait = rate > 0 && !over ? begin + (double)sent / rate - now() - EARLY : 0.001;
        struct timespec nap = {0, wait > 0 ? (long)((wait < NAP ? wait : NAP) * 1e9) : 0};
        int n = epoll_pwait2(epoll_fd, ready, 256, &nap, NULL);
        for (int k = 0; k < n; k++) {
            Conn *c = ready[k].data.ptr;
            /* What comes while nothing was asked is no answer; the server ends what was idle for long. */
            int code = c->busy ? take(c) : -1;
            if (!code) continue;
            at = now();
            if (code < 0) {
                close(c->fd);
                if (c->busy) lost++;
                dial(c);
                continue;
            }
            if (done == cap) took = realloc(took, (cap *= 2) * sizeof *took);
            took[done++] = (float)(1e6 * (at - c->due));
            status[code / 100 < 6 ? code / 100 : 0]++;
            fprintf(samples, "%.6f %.1f %d %zu\n", c->due - begin, 1e6 * (at - c->due), code, c->number);
            c->busy = 0;
            last = at;
        }
    }
    fclose(samples);
    qsort(took, done, sizeof *took, rising);
#define AT(q) (done ? took[(size_t)((q) * (double)(done - 1))] : 0.0f)
    printf("{\"requests\": %zu, \"seconds\": %.3f, \"per_s\": %.1f, \"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, \"max_us\": %.1f, "
           "\"2xx\": %ld, \"4xx\": %ld, \"5xx\": %ld, \"lost\": %zu}\n",
           done, last - begin, (double)done / (last > begin ? last - begin : 1), AT(0.5), AT(0.9), AT(0.99), AT(0.999), AT(1.0), status[2], status[4], status[5], lost);
    return 0;
}
