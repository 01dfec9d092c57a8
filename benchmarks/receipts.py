"""Receipts and outcomes: how many a second, what survives ``kill -9``, and what audit and replay of many decisions come to.

    python -m benchmarks.receipts rates    --workspace DIR [--requests 5000] [--outcomes 20000]
    python -m benchmarks.receipts kills    [--trials 100]
    python -m benchmarks.receipts audit    --workspace DIR [--decisions 100000] [--replays 10000]

``rates`` and ``audit`` want a published workspace; they write to copies. Durable means on disk before the answer; the callers share the
machine with what they call. ``kills`` starts two writers of eight threads on one ledger, whose outcomes share syncs, kills both at a random moment,
and counts what was acknowledged and is gone, or stands twice.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from benchmarks.online import asked
from benchmarks.serving.servers import free_port
from retain.workspace import Workspace
from serving.answers import Answers
from serving.desk import Desk
from serving.discrepancies import differs
from serving.entries import Entry, Outcome
from serving.grounds import opener
from serving.ledger import Ledger, micros, stamp
from serving.replay import replay
from serving.rows import Rows, RowsCard
from serving.schemas import DecisionRequest, OutcomeRequest
from serving.served import Audit, audit
from training.contracts import Floats, Integers

NOW = datetime(2026, 3, 10, tzinfo=UTC)
THREADS = 8
"""Of each writer that is killed."""
WRITER = """
import sys
from pathlib import Path
from benchmarks.receipts import write
write(Path(sys.argv[1]), sys.argv[2])
"""


def outcome(name: str) -> Outcome:
    return Outcome(name, "hash", "d", "c", "shown", stamp(NOW), "offer", "email", None, None, stamp(NOW))


def write(folder: Path, me: str) -> None:
    """Decide and record outcomes for ever, in threads that wait for the same syncs; say each outcome that was acknowledged.

    Every tenth id is the same for all writers.
    """
    ledger, said = Ledger(folder), threading.Lock()

    def work(thread: int) -> None:
        for number in itertools.count():
            name = f"{'both' if number % 10 == 0 else me}-{thread}-{number}"
            ledger.record(Entry(f"d{name}", f"d{name}", "hash", "c", stamp(NOW), b"{}", b"{}" * 2000, '{"*": "2027"}'), NOW)
            kept = ledger.add(outcome(name), b"{}")
            ledger.journal.sync()
            if not kept.is_duplicate:
                with said:
                    print(name, flush=True)

    threads = [threading.Thread(target=work, args=(each,)) for each in range(THREADS)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


def kills(trials: int) -> dict[str, object]:
    """Two writers, both killed; over and over on the same ledger."""
    lost = doubled = torn = acknowledged = 0
    with tempfile.TemporaryDirectory() as name:
        for trial in range(trials):
            folder = Path(name) / str(trial // 10)
            command = [sys.executable, "-c", WRITER, str(folder)]
            writers = [subprocess.Popen([*command, f"{trial}{each}"], stdout=subprocess.PIPE, text=True) for each in "ab"]
            said = [[writer.stdout.readline().strip()] for writer in writers]  # type: ignore[union-attr]
            time.sleep(random.random() * 0.2)
            for writer in writers:
                writer.kill()
            for lines, writer in zip(said, writers, strict=True):
                lines += [line.strip() for line in writer.stdout if line.endswith("\n")]  # type: ignore[union-attr]
                writer.wait()
            ledger = Ledger(folder)
            kept = Counter(each.outcome_id for each in ledger.everything())
            decided = Counter(each.decision_id for each in ledger.decisions())
            told = [each for lines in said for each in lines if each]
            lost += sum(each not in kept for each in told)
            doubled += sum(count > 1 for count in (*kept.values(), *decided.values()))
            torn += len(ledger.journal.torn)
            acknowledged += len(told)
            ledger.close()
    return {
        "trials": trials,
        "writers": 2,
        "threads": THREADS,
        "acknowledged": acknowledged,
        "lost": lost,
        "doubled": doubled,
        "torn_tails_cut": torn,
    }


def receipts(answers: Answers, requests: list[DecisionRequest]) -> dict[str, float]:
    """Decisions with and without their receipt, in processor time of the thread that answers."""
    import msgspec

    with ledger_in_scratch() as ledger:
        desk = Desk(answers, ledger)
        for request in requests[:200]:
            desk.answered(request)
        alone, logged = [], []
        for request in requests:
            start = time.thread_time()
            msgspec.json.encode(answers.decision(request, "d")[0])
            middle = time.thread_time()
            desk.answered(request)
            alone.append(middle - start)
            logged.append(time.thread_time() - middle)
        start = time.perf_counter()
        for request in requests:
            desk.answered(request)
        took = time.perf_counter() - start
        entries = [entry for _, entry in zip(range(2000), ledger.decisions(), strict=False)]
        written = time.perf_counter()
        for number in range(20_000):
            ledger.record(replace_id(entries[number % len(entries)], number), NOW, is_new=True)
        ledger.journal.sync()
        written = time.perf_counter() - written
    return {
        "decision_us": round(1e6 * float(np.median(alone)), 1),
        "decision_and_receipt_us": round(1e6 * float(np.median(logged)), 1),
        "decisions_logged_per_s": round(len(requests) / took, 1),
        "receipts_written_per_s": round(20_000 / written, 1),
        "receipt_bytes": round(float(np.mean([len(e.answer) + len(e.basis) + len(e.request) for e in entries])), 1),
    }


def replace_id(entry: Entry, number: int) -> Entry:
    import msgspec

    return msgspec.structs.replace(entry, decision_id=f"b{number}", key=f"b{number}")


@contextmanager
def ledger_in_scratch() -> Iterator[Ledger]:
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder))
        try:
            yield ledger
        finally:
            ledger.close()


def by_threads(count: int, clients: int) -> float:
    """Outcomes acknowledged a second by threads that each wait for theirs."""
    with ledger_in_scratch() as ledger:

        def client(me: int) -> None:
            for number in range(count // clients):
                ledger.add(outcome(f"{me}-{number}"), b"{}")
                ledger.journal.sync()

        threads = [threading.Thread(target=client, args=(me,)) for me in range(clients)]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.perf_counter() - start
        assert len(ledger.everything()) == count // clients * clients
    return round(count // clients * clients / took, 1)


def by_tasks(answers: Answers, count: int, clients: int) -> float:
    """The same by callers of one desk, each waiting for its answer."""
    with ledger_in_scratch() as ledger:
        desk = Desk(answers, ledger)

        async def client(me: int) -> None:
            for number in range(count // clients):
                await desk.outcome(OutcomeRequest(f"{me}-{number}", "d", "shown", NOW, customer_id=f"c{me}"))

        async def all_of_them() -> None:
            await asyncio.gather(*(client(me) for me in range(clients)))

        start = time.perf_counter()
        asyncio.run(all_of_them())
        took = time.perf_counter() - start
    return round(count // clients * clients / took, 1)


async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, route: str, asked: Mapping[str, object]) -> bytes:
    """The body of the answer to one request on an open connection; whoever is sent away asks again."""
    body = json.dumps(asked).encode()
    head = f"POST {route} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    while True:
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length"))
        content = await reader.readexactly(length)
        if not answer.startswith(b"HTTP/1.1 503"):
            assert answer.startswith(b"HTTP/1.1 200"), answer
            return content
        await asyncio.sleep(0.2)


async def caller(port: int, me: int, count: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for number in range(count):
        told = {"outcome_id": f"h{me}-{number}", "decision_id": "d", "type": "shown", "occurred_at": "2026-03-10T00:00:00Z"}
        await answered(reader, writer, "/v1/outcomes", told)
    writer.close()
    await writer.wait_closed()


@contextmanager
def started(folder: Path, services: int) -> Iterator[list[int]]:
    """Ports of as many services on one workspace."""
    ports, processes = [], []
    for _ in range(services):
        ports.append(free_port())
        command = [sys.executable, "-m", "retain", "serve", "--port", str(ports[-1]), "--workspace", str(folder)]
        processes.append(subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"}))
    try:
        end = time.monotonic() + 120
        for port in ports:
            while time.monotonic() < end:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.2)
        yield ports
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait()


def over_http(workspace: Workspace, count: int, clients: int, services: int) -> float:
    """Outcomes acknowledged a second over HTTP, by as many services on one ledger."""
    with serving_copy(workspace) as folder:
        with started(folder, services) as ports:

            async def load() -> None:
                await asyncio.gather(*(caller(ports[me % services], me, count // clients) for me in range(clients)))

            start = time.perf_counter()
            asyncio.run(load())
            took = time.perf_counter() - start
        ledger = Ledger(folder / "ledger", read_only=True)
        assert len(ledger.everything()) == count // clients * clients
        ledger.close()
    return round(count // clients * clients / took, 1)


@contextmanager
def serving_copy(workspace: Workspace) -> Iterator[Path]:
    """A copy that holds only what serving reads."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("rows", "models", "lists"):
            if (workspace.root / part).is_dir():
                shutil.copytree(workspace.root / part, folder / part)
        shutil.copy(workspace.root / "workspace.json", folder)
        yield folder


def rates(workspace: Workspace, requests: int, outcomes: int) -> Iterator[dict[str, object]]:
    answers = Answers.open(workspace)
    yield {"receipts": receipts(answers, asked(answers, requests))}
    yield {f"outcomes_per_s_{clients}_threads": by_threads(outcomes // 4, clients) for clients in (1, 2, 16)}
    yield {f"outcomes_per_s_{clients}_callers_in_process": by_tasks(answers, outcomes, clients) for clients in (2, 16, 64)}
    for services, clients in ((1, 2), (1, 64), (2, 64)):
        yield {f"outcomes_per_s_{clients}_callers_{services}_services_http": over_http(workspace, outcomes // 4, clients, services)}


SWAPPED = ("purchases__orders_365d", "purchases__amount_365d")
"""Columns that hold each other's values where columns are permuted."""


def permuted(answers: Answers) -> Answers:
    """The same answers from rows with two columns exchanged."""
    rows = answers.rows
    raw, pair = rows.array("raw").copy(), [rows.card.columns.index(name) for name in SWAPPED]
    raw[:, pair] = raw[:, pair[::-1]]
    return on_rows(answers, replace(rows.card, version="permuted"), raw)


def skewed(answers: Answers) -> Answers:
    """The same answers from rows whose purchases were computed by another definition."""
    rows = answers.rows
    raw = rows.array("raw").copy()
    raw[:, next(place for place, name in enumerate(rows.card.columns) if name.startswith("purchases__"))] += 1
    return on_rows(answers, replace(rows.card, version="skewed", views={**rows.card.views, "purchases": "another"}), raw)


def on_rows(answers: Answers, card: RowsCard, raw: Floats, since: Integers | None = None) -> Answers:
    """The same answers from rows with other features."""
    rows = answers.rows
    arrays = {name: rows.array(name) for name in rows._arrays} | {"raw": raw}
    return replace(answers, rows=Rows(card, rows.shop, arrays if since is None else arrays | {"features_at": since}))


def injected(right: Answers, wrong: Answers, requests: list[DecisionRequest]) -> Counter[str]:
    """By view: decisions that read other bits than they should have."""
    card, found = right.rows.card, Counter[str]()
    view_of = np.array([name.partition("__")[0] for name in card.columns])
    for request in requests:
        basis = wrong.basis(request)
        row = right.rows.get(request.customer_id)
        if basis.features and row is not None:
            odd = differs(np.frombuffer(basis.features), np.ascontiguousarray(row.raw).reshape(-1))
            found.update(set(view_of[odd].tolist()))
    return found


def recomputed(workspace: Workspace, answers: Answers, at: datetime, named: datetime, version: str, *, known: bool = True) -> Answers:
    """The same answers from features as of another moment, or with rows counted before they were known."""
    from retain.engine import of
    from serving.grounds import Grounds
    from serving.served import Offline, forget_known

    rows = answers.rows
    card = rows.card
    words = {name: card.vocabulary[name] for name in card.columns if name in card.vocabulary}
    grounds = Grounds("", "", "", "", "", card.moment, "", card.columns, words, card.views, {})
    ids = np.array([rows.id(place) for place in range(len(rows))], dtype=object)
    raw = rows.array("raw").copy()
    with of(workspace) as engine, of(workspace) as careless:
        forget_known(careless, workspace)
        offline = Offline(engine, careless, grounds)
        moments = np.where(rows.array("features_at")[:, 0] >= 0, micros(at), -1)
        for view in card.views:
            places = [place for place, name in enumerate(card.columns) if name.partition("__")[0] == view]
            raw[:, places] = offline.values(view, ids, moments, known=known)
    since = np.where(rows.array("features_at") >= 0, micros(named), -1)
    return on_rows(answers, replace(card, version=version), raw, since)


def audits(workspace: Workspace, decisions: int, replays: int) -> Iterator[dict[str, object]]:
    answers = Answers.open(workspace)
    with serving_scratch(workspace) as place:
        ledger = Ledger(place.ledger)
        start = time.perf_counter()
        log(answers, ledger, decisions)
        yield {"decisions": decisions, "logged_in_s": round(time.perf_counter() - start, 1)}
        start = time.perf_counter()
        yield {"without_faults": described(audit(place, ledger)), "audit_s": round(time.perf_counter() - start, 1)}
        start = time.perf_counter()
        opened = opener(place.ledger)
        equal = sum(replay(entry, opened).is_equal for _, entry in zip(range(replays), ledger.decisions(), strict=False))
        yield {"replays": replays, "equal": equal, "replay_s": round(time.perf_counter() - start, 1)}
        ledger.close()
    with serving_scratch(workspace) as place:
        ledger = Ledger(place.ledger)
        now, part = answers.clock(), decisions // 6
        delay(place, now)
        right = recomputed(place, answers, now, now, "right")
        wrong = {
            "stale store": recomputed(place, answers, now - timedelta(days=7), now - timedelta(days=7), "stale"),
            "time zone": recomputed(place, answers, now - timedelta(hours=8), now, "zone"),
            "late rows": recomputed(place, answers, now, now, "late", known=False),
            "permuted columns": permuted(right),
            "version skew": skewed(right),
        }
        log(right, ledger, decisions - part * len(wrong))
        due: Counter[tuple[str, str]] = Counter()
        for cause, answered in wrong.items():
            requests = log(answered, ledger, part)
            due.update({(cause, view): count for view, count in injected(right, answered, requests).items()})
        start = time.perf_counter()
        found = audit(place, ledger)
        named: Counter[tuple[str, str]] = Counter()
        for one in found.causes:
            named[one.name, one.view] += one.decisions
        yield {"with_faults": described(found), "audit_s": round(time.perf_counter() - start, 1)}
        # A decision counts once in each view that it read wrongly.
        off = {f"{cause}: {view}": named[cause, view] - due[cause, view] for cause, view in sorted({*due, *named})}
        yield {"injected": _by_cause(due), "named": _by_cause(named), "misnamed": {name: count for name, count in off.items() if count}}
        ledger.close()


def _by_cause(counted: Counter[tuple[str, str]]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for (cause, _), count in counted.items():
        found[cause] += count
    return dict(sorted(found.items()))


def delay(place: Workspace, now: datetime) -> None:
    """Let a tenth of the customers' purchases of the last ten days become known only after ``now``."""
    from retain.engine import of

    tables = place.tables.resolve()
    place.tables.unlink()
    place.tables.mkdir()
    for file in tables.glob("*.parquet"):
        (place.tables / file.name).symlink_to(file)
    late = f"md5_number_lower(customer_id) % 10 = 0 and occurred_at >= timestamptz '{(now - timedelta(days=10)).isoformat()}'"
    known = f"case when {late} then timestamptz '{(now + timedelta(days=1)).isoformat()}' else known_at end"
    with of(place) as engine:
        engine.write(
            f"select * replace ({known} as known_at) from transactions order by customer_id, occurred_at, order_id, line_id", place.root / "t"
        )
    (place.root / "t").replace(place.table("transactions"))


@contextmanager
def serving_scratch(workspace: Workspace) -> Iterator[Workspace]:
    """Tables and snapshots of a workspace beside a ledger of its own."""
    with tempfile.TemporaryDirectory() as name:
        for part in ("tables", "snapshots"):
            (Path(name) / part).symlink_to((workspace.root / part).resolve())
        shutil.copy(workspace.root / "workspace.json", name)
        yield Workspace.at(Path(name))


def log(answers: Answers, ledger: Ledger, count: int) -> list[DecisionRequest]:
    """Decide so many times; what was asked."""
    desk = Desk(answers, ledger)
    every = asked(answers, min(count, len(answers.rows)))
    requests = [every[number % len(every)] for number in range(count)]
    for request in requests:
        desk.answered(request)
    return requests


def described(found: Audit) -> dict[str, object]:
    names: Counter[str] = Counter()
    for cause in found.causes:
        names[cause.name] += cause.values
    return {"decisions": found.decisions, "values": found.values, "equal": found.equal, "share": found.share, "causes": dict(names)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("rates", "kills", "audit"))
    parser.add_argument("--workspace", type=Path, default=None)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--outcomes", type=int, default=20_000)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--decisions", type=int, default=100_000)
    parser.add_argument("--replays", type=int, default=10_000)
    chosen = parser.parse_args()
    if chosen.what == "kills":
        print(json.dumps(kills(chosen.trials)), flush=True)
        return
    if chosen.workspace is None:
        parser.error(f"{chosen.what} wants --workspace")
    workspace = Workspace.at(chosen.workspace)
    lines = rates(workspace, chosen.requests, chosen.outcomes) if chosen.what == "rates" else audits(workspace, chosen.decisions, chosen.replays)
    for line in lines:
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
