"""A real uvicorn on a real socket: callers who send or take slowly, or send too much, are let go, and others are answered meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import http.client
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import uvicorn
import uvloop

from serving.connections import HEAD_BYTES, Bounded
from serving.guard import Guard, Receive, Scope, Send

OK = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
STAND = b"GET /stand HTTP/1.1\r\nhost: x\r\n\r\n"
STAND_S = 1.0
ENDLESS = b"POST /livez HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000000\r\n\r\n"


class Impatient(Bounded):
    head_s = 0.8
    take_s = 0.3
    linger_s = 0.5
    most = 8


class Brief(Impatient):
    keep_s = 0.4

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if data == STAND:
            # Between the moment at which the loop learned what is there to be read and its timers.
            time.sleep(STAND_S)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers what it is asked for: a little or a lot, or after a while."""
    if scope["path"] == "/wait":
        await asyncio.sleep(1.5)
    body = b"x" * (64_000_000 if scope["path"] == "/big" else 2)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        guard = Guard(app, ("/",), 1000, body_s=0.3)
        config = uvicorn.Config(guard, http=Impatient, ws="none", lifespan="off", log_config=None, loop="asyncio")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
        thread.start()
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join()


def answered(connection: socket.socket) -> tuple[int, str]:
    """Status and error code of what comes back before the other side closes."""
    connection.settimeout(10)
    received = b""
    while piece := connection.recv(65536):
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]["code"]


def fine(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(OK)
        return connection.recv(65536).startswith(b"HTTP/1.1 200")


@pytest.mark.fault("C11")
@pytest.mark.parametrize("start", [b"GET", b"GET / HTTP/1.1\r\nhost: x\r\n", b"GET / HTTP/1.1\r\nhost: x\r\nslow: a"])
def test_a_head_that_never_ends_is_not_waited_for(port: int, start: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(start)
        assert answered(connection) == (408, "too_slow")
    assert fine(port)


@pytest.mark.fault("C11")
def test_a_connection_on_which_nothing_was_asked_ends_without_a_word(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        # Whoever asks at that moment would take a refusal for the answer.
        assert connection.recv(65536) == b""


@pytest.mark.fault("C11")
def test_a_second_request_has_the_same_time_as_the_first(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(OK)
        first = b""
        while not first.endswith(b"xx"):
            first += connection.recv(65536)
        connection.sendall(OK[:9])
        assert answered(connection) == (408, "too_slow")


@pytest.mark.fault("C10", "C11")
def test_a_body_that_never_ends_is_not_waited_for(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{")
        assert answered(connection) == (408, "too_slow")
    assert fine(port)


@pytest.mark.fault("C10")
def test_headers_that_are_too_long_are_refused_also_whole_and_in_one_piece(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nlong: " + b"a" * HEAD_BYTES + b"\r\n\r\n")
        assert answered(connection) == (431, "too_large")
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nlong: " + b"a" * (HEAD_BYTES - 100) + b"\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    assert fine(port)


@pytest.mark.fault("C10")
def test_endless_headers_and_what_is_no_http_are_refused(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nlong: " + b"a" * (HEAD_BYTES * 3))
        assert answered(connection) == (431, "too_large")
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n")
        assert answered(connection) == (400, "syntax")


@pytest.mark.fault("C11")
def test_a_caller_who_does_not_read_is_dropped(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n")
        threading.Event().wait(2.5)
        connection.settimeout(10)
        taken = 0
        try:
            while piece := connection.recv(1_000_000):
                taken += len(piece)
        except ConnectionResetError:
            pass
        assert taken < 64_000_000
    assert fine(port)


@pytest.mark.fault("C12")
def test_idle_connections_make_room(port: int) -> None:
    idle = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(40)]
    try:
        assert fine(port)
    finally:
        for connection in idle:
            connection.close()


@pytest.mark.fault("C10")
def test_who_sends_too_much_learns_why_before_the_end(port: int) -> None:
    """Most clients send all of a body before they look for an answer: a connection that was reset meanwhile would tell them nothing."""
    body = b"x" * 20_000_000
    for _ in range(5):
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        line.request("POST", "/", body, {"content-type": "application/json"})
        answer = line.getresponse()
        assert (answer.status, json.loads(answer.read())["error"]["code"]) == (413, "too_large")
        line.close()
    assert fine(port)


@pytest.mark.fault("C10")
def test_who_goes_on_sending_after_the_answer_is_cut_off(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 999999999999\r\n\r\n")
        began = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() < began + 10:
                connection.sendall(b"x" * 65536)
    assert time.monotonic() < began + 5
    assert fine(port)


@dataclass
class Standing:
    """A service that can be made to stand still, on the event loop that the service has."""

    port: int
    server: uvicorn.Server

    def stands(self) -> socket.socket:
        """Make it stand still; return the connection that asked for it."""
        connection = socket.create_connection(("127.0.0.1", self.port), 10)
        connection.sendall(STAND)
        time.sleep(0.3)
        return connection

    def ends(self, within_s: float) -> bool:
        """Tell it to end; whether no connection is left within that time."""
        self.server.should_exit = True
        end = time.monotonic() + within_s
        while self.server.server_state.connections and time.monotonic() < end:
            time.sleep(0.01)
        return not self.server.server_state.connections


async def doors(scope: Scope, receive: Receive, send: Send) -> None:
    """Some paths are answered before a body is read, as those are that say whether a service lives."""
    await (app if scope["path"] in ("/livez", "/big") else Guard(app, ("/", "/stand", "/wait"), 1000))(scope, receive, send)


@pytest.fixture
def standing(request: pytest.FixtureRequest) -> Iterator[Standing]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        protocol = getattr(request, "param", Brief)
        config = uvicorn.Config(doors, http=protocol, ws="none", lifespan="off", log_config=None, timeout_graceful_shutdown=15)
        server = uvicorn.Server(config)

        def run() -> None:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(server.serve([listening]))

        thread = threading.Thread(target=run)
        thread.start()
        yield Standing(listening.getsockname()[1], server)
        server.should_exit = True
        thread.join()


class Patient(Brief):
    """Nothing ends in it because a time is over, but for what lingers."""

    head_s = keep_s = take_s = 60.0


class Deep(Brief):
    """Takes from the application all that it has, and is never paused."""

    keep_s = 60.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        transport.set_write_buffer_limits(2**30, 2**29)
        super().connection_made(transport)


class Crowded(Patient):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if len(self.connections) >= self.most:
            time.sleep(STAND_S)
        super().connection_made(transport)


def kept(port: int, ask: bytes = OK) -> socket.socket:
    """A connection that was answered, if it asked, and is kept."""
    connection = socket.create_connection(("127.0.0.1", port), 10)
    connection.sendall(ask)
    received = b"" if ask else b"xx"
    while not received.endswith(b"xx"):
        received += connection.recv(65536)
    return connection


def kept_open(port: int, sent: bytes) -> socket.socket:
    """A connection that was answered something."""
    connection = socket.create_connection(("127.0.0.1", port), 10)
    connection.sendall(sent)
    assert connection.recv(65536).startswith(b"HTTP/1.1 ")
    return connection


def rest(connection: socket.socket) -> bytes:
    """All that comes until the other side ends it."""
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


@pytest.mark.fault("C11")
@pytest.mark.parametrize("before", [OK, b""], ids=["asked before", "never asked"])
def test_a_request_that_came_while_the_service_stood_still_is_answered_though_its_connection_was_due_to_end(
    standing: Standing, before: bytes
) -> None:
    with kept(standing.port, before) as connection, standing.stands():
        connection.sendall(OK)
        # Then the time runs anew, and it ends without a word.
        assert rest(connection).count(b"HTTP/1.1 ") == 1


@pytest.mark.fault("C11", "C14")
@pytest.mark.parametrize("standing", [Patient], indirect=True)
@pytest.mark.parametrize("ask", [OK, OK[:9]], ids=["whole", "its beginning"])
def test_a_request_that_came_before_the_end_of_the_service_is_answered_and_ends_its_connection(standing: Standing, ask: bytes) -> None:
    with kept(standing.port) as connection, kept(standing.port) as silent, standing.stands():
        connection.sendall(ask)
        standing.server.should_exit = True
        # While it stands, or after what was sent was read.
        time.sleep(0.1 if ask == OK else STAND_S - 0.2)
        connection.sendall(OK[len(ask) :])
        received = rest(connection)
        assert received.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in received
        assert silent.recv(65536) == b""


@pytest.mark.fault("C14")
@pytest.mark.parametrize("standing", [Patient], indirect=True)
def test_what_was_asked_one_behind_the_other_is_all_answered_before_the_end(standing: Standing) -> None:
    with kept(standing.port) as connection, standing.stands():
        connection.sendall(OK * 3)
        standing.server.should_exit = True
        assert rest(connection).count(b"HTTP/1.1 ") == 3


@pytest.mark.fault("C14")
@pytest.mark.parametrize("standing", [Patient], indirect=True)
@pytest.mark.parametrize("sent", [OK[:9], OK + OK[:9], ENDLESS + b"x", b"\x16\x03\x01\r\n\r\n"])
def test_who_never_ends_what_they_began_holds_up_no_end(standing: Standing, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", standing.port), 10) as connection:
        connection.sendall(sent)
        time.sleep(0.2)
        assert standing.ends(5)


@pytest.mark.fault("C12")
@pytest.mark.parametrize("standing", [Crowded], indirect=True)
def test_a_connection_on_which_something_was_asked_makes_no_room(standing: Standing) -> None:
    asked, idle = [kept(standing.port) for _ in range(7)], kept(standing.port)
    late = socket.create_connection(("127.0.0.1", standing.port), 10)
    time.sleep(0.3)
    # Somebody makes room for the ninth, and what is sent now was not read yet.
    for connection in asked:
        connection.sendall(OK)
    try:
        assert [connection.recv(65536)[:12] for connection in asked] == [b"HTTP/1.1 200"] * 7
        assert idle.recv(65536) == b""
    finally:
        for connection in (*asked, idle, late):
            connection.close()


@pytest.mark.fault("C10", "C12")
@pytest.mark.parametrize("standing", [Patient], indirect=True)
@pytest.mark.parametrize(
    "sent",
    [b"\x16\x03\x01\r\n\r\n", ENDLESS + b"x", b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n"],
)
def test_who_goes_on_sending_or_takes_nothing_holds_no_place(standing: Standing, sent: bytes) -> None:
    strange = [socket.create_connection(("127.0.0.1", standing.port), 10) for _ in range(8)]
    try:
        for connection in strange:
            connection.sendall(sent)
        time.sleep(0.3)
        for connection in strange:
            with contextlib.suppress(OSError):
                connection.sendall(b"x" * 65536)
        assert [fine(standing.port) for _ in range(12)] == [True] * 12, "they made room"
        assert len(standing.server.server_state.connections) <= Patient.most
        # Who still reads is given the time that the service has.
        assert sent.startswith(b"GET") or standing.ends(5)
    finally:
        for connection in strange:
            connection.close()


ANNOUNCED = b"POST /livez HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n"


@pytest.mark.fault("C10", "C12")
@pytest.mark.parametrize("standing", [Crowded], indirect=True)
@pytest.mark.parametrize("sent", [b"\x16\x03\x01\r\n\r\n", ENDLESS], ids=["refused", "answered"])
def test_who_just_sends_more_of_what_nobody_wants_makes_room_all_the_same(standing: Standing, sent: bytes) -> None:
    strange = [kept_open(standing.port, sent) for _ in range(8)]
    try:
        with socket.create_connection(("127.0.0.1", standing.port), 10) as late:
            time.sleep(0.3)
            for connection in strange:
                connection.sendall(b"x" * 100)
            late.sendall(OK)
            assert late.recv(65536).startswith(b"HTTP/1.1 200")
    finally:
        for connection in strange:
            connection.close()


@pytest.mark.fault("C11")
@pytest.mark.parametrize("standing", [Patient], indirect=True)
def test_a_body_that_comes_after_its_answer_leaves_a_connection_that_can_be_asked_again(standing: Standing) -> None:
    with kept(standing.port, ANNOUNCED) as connection:
        connection.sendall(b"12345")
        # Longer than a body is waited for that nobody reads.
        time.sleep(Patient.linger_s + 0.3)
        connection.sendall(OK)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")


@pytest.mark.fault("C11")
@pytest.mark.parametrize("standing", [Patient], indirect=True)
def test_a_body_that_comes_after_its_answer_is_not_read_for_ever(standing: Standing) -> None:
    with kept(standing.port, ENDLESS) as connection:
        began = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() < began + 10:
                connection.sendall(b"x")
                time.sleep(0.05)
    assert time.monotonic() < began + 8


@pytest.mark.fault("C11")
def test_a_connection_ends_in_time_after_a_body_that_came_after_its_answer(standing: Standing) -> None:
    with kept(standing.port, ANNOUNCED) as connection:
        connection.sendall(b"12345")
        assert rest(connection) == b""


@pytest.mark.fault("C11")
def test_a_head_that_began_in_one_piece_with_a_request_is_not_waited_for(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(OK + OK[:9])
        received = rest(connection)
        assert (received.count(b"HTTP/1.1 200"), received.count(b"HTTP/1.1 408")) == (1, 1)


@pytest.mark.fault("C11")
@pytest.mark.parametrize("behind", [OK[:9], b"\x16\x03\x01\r\n\r\n"], ids=["half a head", "no HTTP"])
def test_what_comes_behind_a_request_never_stands_in_the_place_of_its_answer(standing: Standing, behind: bytes) -> None:
    with socket.create_connection(("127.0.0.1", standing.port), 10) as connection:
        connection.sendall(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n" + behind)
        received = rest(connection)
    assert received.startswith(b"HTTP/1.1 200"), received


@pytest.mark.fault("C11")
@pytest.mark.parametrize("standing", [Deep], indirect=True)
def test_an_ended_connection_does_not_wait_for_ever_for_what_its_caller_does_not_take(standing: Standing) -> None:
    with socket.create_connection(("127.0.0.1", standing.port), 10) as connection:
        connection.sendall(b"GET /big HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        time.sleep(0.1)
        end = time.monotonic() + 5
        while standing.server.server_state.connections and time.monotonic() < end:
            time.sleep(0.01)
        assert not standing.server.server_state.connections


@pytest.mark.fault("C11")
@pytest.mark.parametrize("standing", [Patient], indirect=True)
def test_nothing_of_a_connection_that_was_reset_is_kept(standing: Standing) -> None:
    for _ in range(20):
        connection = kept(standing.port)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    end = time.monotonic() + 10
    while time.monotonic() < end and any(isinstance(each, Patient) for each in gc.get_objects()):
        gc.collect()
        time.sleep(0.05)
    assert not [each for each in gc.get_objects() if isinstance(each, Patient)]
