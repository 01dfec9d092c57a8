"""Erased everywhere: tables, truth, quarantine, snapshots, rows, ledger and lists; for good, also after an interruption or a restore."""

from __future__ import annotations

import asyncio
import csv
import html
import itertools
import json
import shutil
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from features import catalog, store
from features.snapshot import build
from retain.cli import main
from retain.digest import digest
from retain.erasure import Erased, bury, place, tombstones
from retain.errors import IntegrityError
from retain.files import atomic_folder, read_json, sha256, verify_folder, write_json
from retain.tables import TABLES
from retain.workspace import Workspace
from serving import batches, erasure, journal, overwriting, pull_log, segments
from serving.answers import Answers
from serving.decisions.facts import Offer
from serving.desk import ConflictError, Desk
from serving.direct import Caller, Streamed
from serving.erasure import erase, export
from serving.export import write_rows
from serving.export import write_table as export_table
from serving.grounds import opener
from serving.incoming import Fact
from serving.ledger import Ledger, reading
from serving.publishing import Content, write
from serving.replay import replay
from serving.rows import open_rows
from serving.schemas import DecisionRequest, OutcomeRequest, ScoresRequest
from serving.segments import BLANK, Record, Sealed, prefixed

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
WHEN = datetime(2026, 3, 10, 13, tzinfo=UTC)
VIEW = "purchases"


@pytest.fixture
def own(shop: Workspace, make: Callable[..., Answers], tmp_path: Path) -> Workspace:
    """The simulated shop with a snapshot, published rows, a ledger, lists and a quarantine, all of which hold one customer."""
    shutil.copytree(shop.root, tmp_path / "own")
    own = Workspace.at(tmp_path / "own")
    build(own, [own.now()], [catalog.view(VIEW)])
    answers = make()
    ids = people(own)
    card = replace(answers.rows.card, data_digest=own.state().digest)
    write(own, Content(card, answers.rows.shop, {**answers.rows.arrays, "ids": np.array([each.encode() for each in ids])}))
    ledger = Ledger(own.ledger)
    desk = Desk(replace(answers, rows=open_rows(own)), ledger)
    for number, customer in enumerate((*ids, ids[1])):
        asyncio.run(desk.decide(DecisionRequest(customer, request_id=f"r{number}", placement="inbound_end")))
    asyncio.run(desk.outcome(OutcomeRequest("o1", "nobody-knows", "shown", NOW, customer_id=ids[1])))
    asyncio.run(desk.outcome(OutcomeRequest("o2", "nobody-knows", "shown", NOW, customer_id=ids[2])))
    desk.close()
    own.lists.mkdir()
    (own.lists / "calls.csv").write_text("\ufeffrank,customer_id\r\n" + "".join(f"{rank},{each}\r\n" for rank, each in enumerate(ids)))
    write_json(own.lists / "calls.csv.json", {"sha256": sha256(own.lists / "calls.csv")})
    for name, listed in (("with.xlsx", ids), ("without.xlsx", ids[2:])):
        export_table(own.lists / name, ("customer_id",), [[each] for each in listed], NOW)
    with atomic_folder(own.lists / "campaigns" / "c" / "run") as folder:
        pq.write_table(pa.table({"customer_id": ids}), folder / "arms.parquet")
    with atomic_folder(own.quarantine) as folder:
        lines = {"reason": ["x", "file:malformed"], "customer_id": [ids[1], None], "line": [None, f"1,{ids[1]},broken"]}
        pq.write_table(pa.table(lines), folder / "events.parquet")
    return own


def people(workspace: Workspace) -> list[str]:
    """Seven customers who bought."""
    column = pq.read_table(workspace.table("transactions"), columns=["customer_id"])["customer_id"]
    return sorted(one for one in pc.unique(column).to_pylist() if one)[:7]


def traces(workspace: Workspace, customer: str) -> list[str]:
    """Files that still hold a customer, whatever their format."""
    found = []
    for path in sorted(workspace.root.rglob("*")):
        if path.suffix == ".parquet":
            file = pq.ParquetFile(path)
            texts = [name for name, kind in zip(file.schema_arrow.names, file.schema_arrow.types, strict=True) if pa.types.is_string(kind)]
            named = any(pc.any(pc.match_substring(column, customer)).as_py() for column in file.read(texts).columns)
        else:
            named = path.is_file() and customer.encode() in path.read_bytes()
        if named:
            found.append(str(path.relative_to(workspace.root)))
    return found


@pytest.mark.fault("E8")
def test_nothing_of_an_erased_customer_is_left_and_everybody_else_is_untouched(own: Workspace) -> None:
    gone, other = people(own)[1], people(own)[2]
    kept = {name: pq.read_table(own.table(name)) for name in TABLES}
    held = traces(own, gone)
    assert {"tables/transactions.parquet", "lists/calls.csv", "quarantine/events.parquet"} <= set(held)
    receipt = erase(own, gone, bytes(32), WHEN)
    assert traces(own, gone) == []
    assert len(traces(own, other)) >= 6
    for name in TABLES:
        now = pq.read_table(own.table(name))
        was = kept[name]
        mine = pc.fill_null(pc.equal(was["customer_id"], gone), False) if "customer_id" in was.column_names else None
        assert now.equals(was if mine is None else was.filter(pc.invert(mine)))
    assert own.state().digest == digest(own.tables)
    assert own.state().tables["transactions"] == len(pq.read_table(own.table("transactions")))
    for folder in (own.tables, own.quarantine, own.lists / "campaigns" / "c" / "run"):
        verify_folder(folder)
    assert read_json(own.lists / "calls.csv.json")["sha256"] == sha256(own.lists / "calls.csv")
    assert len(list(csv.DictReader((own.lists / "calls.csv").read_text("utf-8-sig").splitlines()))) == 6
    removed = receipt["removed"]
    assert removed["ledger/decisions"] == 2
    assert removed["ledger/outcomes"] == 1
    assert removed["quarantine/events.parquet"] == 2
    assert removed["lists/calls.csv"] == 1
    assert sum(rows for name, rows in removed.items() if name.startswith("rows/")) == 1
    assert [path.name for path in sorted(own.lists.glob("*.xlsx"))] == ["without.xlsx"], "a workbook that names one goes"
    assert gone not in json.dumps(receipt)
    assert read_json(next((own.root / "erasures").glob("*.json"))) == receipt


ODD = ("Anna Meier", "O'Neil", "A,7", "A;1", 'B"2', "=cmd", "<b>&amp;", "_x0041_", "12", "M\u00fcller")
"""Ids that ingest accepts."""


@pytest.mark.fault("E8")
@pytest.mark.parametrize("gone", ODD)
def test_an_id_of_any_characters_goes_from_every_list(gone: str, tmp_path: Path) -> None:
    shop = Workspace.at(tmp_path)
    kept = [each for each in ODD if each != gone]
    texts = [["12", "O", "bought A and B 12 times"] for _ in ODD]
    rows = [[number, each, *cells] for number, (each, cells) in enumerate(zip(ODD, texts, strict=True), start=10)]
    columns = ("rank", "customer_id", "offer_id", "channel", "reason_1")
    write_rows(shop.lists / "spring.csv", columns, rows)
    export_table(shop.lists / "SPRING.XLSX", columns, rows, NOW)
    export_table(shop.lists / "others.xlsx", columns, [row for row in rows if row[1] != gone], NOW)
    (shop.lists / "by-hand.csv").write_text(f'name;note\r\n"{gone.replace(chr(34), chr(34) * 2)}";x\r\nsomebody;"called\r\nagain"\r\n', "latin-1")
    (shop.lists / "page.html").write_text(f"<p>{html.escape(gone)}</p>")
    (shop.lists / "log.jsonl").write_text(json.dumps({"a": [gone]}) + "\n" + json.dumps({"a": ["somebody"]}) + "\n")
    (shop.lists / "notes.md").write_text(f"called {gone} today\ncalled nobody\n")
    held = ["SPRING.XLSX", "by-hand.csv", "log.jsonl", "notes.md", "page.html", "spring.csv"]
    assert export(shop, gone)["lists"] == [f"lists/{name}" for name in held]
    removed = erase(shop, gone, bytes(32), WHEN)["removed"]
    assert removed == {f"lists/{name}": 1 for name in held}
    assert export(shop, gone)["lists"] == []
    left = list(csv.DictReader((shop.lists / "spring.csv").read_text("utf-8-sig").splitlines()))
    assert [row["customer_id"].removeprefix("'") for row in left] == kept, "nobody else goes"
    assert (shop.lists / "by-hand.csv").read_bytes() == b'name;note\r\nsomebody;"called\r\nagain"\r\n'
    assert (shop.lists / "notes.md").read_text() == "called nobody\n"
    assert (shop.lists / "others.xlsx").is_file()


def test_the_published_rows_are_those_of_before_without_the_erased(own: Workspace) -> None:
    before, everybody = open_rows(own), people(own)
    gone = everybody[1]
    erase(own, gone, bytes(32), WHEN)
    after = open_rows(own)
    assert after.get(gone) is None
    assert after.card.data_digest == own.state().digest
    assert [path.name for path in own.rows.iterdir() if path.is_dir()] == [after.card.version], "no version before holds anybody"
    for customer in (each for each in everybody if each != gone):
        old, new = before.get(customer), after.get(customer)
        assert old is not None
        assert new is not None
        assert new.customer(NOW, new.stored) == old.customer(NOW, old.stored)
        assert new.features() == old.features()


def test_what_is_left_of_the_snapshots_is_what_a_build_would_say(own: Workspace) -> None:
    erase(own, people(own)[1], bytes(32), WHEN)
    path = next((own.snapshots / VIEW).glob("*.parquet"))
    swept = pq.read_table(path)
    assert build(own, [own.now()], [catalog.view(VIEW)]).files == 0, "it counts as a snapshot of the tables now"
    path.unlink()
    assert build(own, [own.now()], [catalog.view(VIEW)]).files == 1
    assert pq.read_table(path).equals(swept)


def test_the_ledger_reads_on_and_keeps_the_places_of_the_others(own: Workspace) -> None:
    gone, others = people(own)[1], [each for each in people(own) if each != people(own)[1]]
    running = Ledger(own.ledger)
    assert len(running.lately(datetime(1970, 1, 2, tzinfo=UTC))) == 8
    before = {entry.customer_id: entry for entry in running.decisions()}
    erase(own, gone, bytes(32), WHEN)
    for ledger in (running, Ledger(own.ledger, read_only=True)):
        assert [entry.customer_id for entry in ledger.decisions()] == others
        assert [entry.customer_id for entry in ledger.lately(datetime(1970, 1, 2, tzinfo=UTC))] == others
        assert all(ledger.decision(before[each].decision_id) == before[each] for each in others)
        assert ledger.decision(before[gone].decision_id) is None
        assert [each.outcome_id for each in ledger.everything()] == ["o2"]
        ledger.close()


def keyed(workspace: Workspace, customer: str) -> list[str]:
    """Files of the log that hold the key under which a customer's facts are found."""
    key = blake2b(f"facts\n{customer}".encode(), digest_size=8).digest()
    return [path.name for path in sorted((workspace.ledger / "log").iterdir()) if key in path.read_bytes() or key[::-1] in path.read_bytes()]


@pytest.mark.fault("E8")
@pytest.mark.parametrize("is_earlier", [False, True])
def test_who_knows_an_id_cannot_tell_from_the_log_that_it_was_erased(own: Workspace, monkeypatch: pytest.MonkeyPatch, is_earlier: bool) -> None:
    """Also where an earlier release blanked the record and left its keys."""
    monkeypatch.setattr(journal, "SEGMENT_RECORDS", 5)
    gone, other = people(own)[1], people(own)[2]
    running = Ledger(own.ledger)
    at = "2026-03-10T12:00:00.000000+00:00"
    facts = [Fact("events", f"e{number}", "hash", (gone, other)[number % 2], at, at, b"{}") for number in range(20)]
    for fact in facts:
        running.take(fact)
    running.journal.sync()
    log = own.ledger / "log"
    deadline = time.monotonic() + 20
    while len(list(log.glob("*.index"))) < len(list(log.glob("*.log"))) - 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(list(log.glob("*.index"))) >= 4
    assert keyed(own, gone)
    if is_earlier:
        for record in list(running.journal.records((4,))):
            if record.keys and msgspec.msgpack.decode(record.body, type=Fact).customer_id == gone:
                left_keys(log, record)
        assert keyed(own, gone)
    removed = erase(own, gone, bytes(32), WHEN)["removed"]
    assert removed.get("ledger/facts") == (None if is_earlier else 10)
    assert keyed(own, gone) == []
    assert len(keyed(own, other)) >= 4
    laid = {path.name: path.read_bytes() for path in log.glob("*.index")}
    for ledger in (running, Ledger(own.ledger), Ledger(own.ledger, read_only=True)):
        assert ledger.facts_of(gone) == []
        assert ledger.facts_of(other) == facts[1::2]
        assert [fact for _, fact in ledger.facts()] == facts[1::2]
        ledger.close()
    for path in log.glob("*.index"):
        path.unlink()
    Ledger(own.ledger).close()
    assert {path.name: path.read_bytes() for path in log.glob("*.index")} == laid, "it is the index that the segment would give"


def left_keys(log: Path, record: Record) -> None:
    """A record blanked as releases before did it."""
    whole = bytearray(prefixed(BLANK, record.at, record.keys, bytes(len(record.body))))
    with (log / f"{record.place.segment:08d}.log").open("r+b") as file:
        file.seek(record.place.offset)
        file.write(whole + bytes(len(record.body)))


def test_what_is_erased_before_its_segment_has_an_index_is_not_in_it(tmp_path: Path) -> None:
    written = journal.Journal(tmp_path, segment_bytes=1 << 20)
    places = [written.append(1, number, (number, 1000), b"body") for number in range(10)]
    sealed = Sealed(tmp_path, 1, dict(written._index), list(written._rows))
    segments.blank(tmp_path, places[3])
    sealed.load()
    assert [record.at for record in sealed.find(1000, 1)] == [9, 8, 7, 6, 5, 4, 2, 1, 0]
    assert sealed.columns is not None
    assert 3 not in sealed.columns["keys"].tolist()
    written.close()


@pytest.mark.parametrize("step", range(11))
def test_nor_is_what_is_erased_while_it_is_laid(tmp_path: Path, step: int) -> None:
    written = journal.Journal(tmp_path, segment_bytes=1 << 20)
    places = [written.append(1, number, (number, 1000), b"body") for number in range(10)]
    sealed = Sealed(tmp_path, 1, dict(written._index), list(written._rows))
    steps = itertools.count()

    def breathe() -> None:
        if next(steps) == step:
            segments.blank(tmp_path, places[3])

    sealed.load(breathe)
    assert next(steps) > step, "the test looks at every step, and at no others"
    assert sealed.columns is not None
    assert 3 not in sealed.columns["keys"].tolist()
    assert sorted(record.at for record in sealed.records((1,))) == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    written.close()


def test_interrupted_anywhere_the_same_command_completes(own: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = people(own)[1]

    def dies(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    half = overwriting.blank
    blanked = []

    def one(log: Path, at: Any) -> None:
        if blanked:
            raise KeyboardInterrupt
        half(log, at)
        blanked.append(at)

    with monkeypatch.context() as patch:
        patch.setattr(overwriting, "blank", one)
        with pytest.raises(KeyboardInterrupt):
            erase(own, gone, bytes(32), WHEN)
    for name in ("sweep_rows", "sweep_ledger", "sweep_lists"):
        with monkeypatch.context() as patch:
            patch.setattr(erasure, name, dies)
            with pytest.raises(KeyboardInterrupt):
                erase(own, gone, bytes(32), WHEN)
        assert gone in tombstones(place(own))
    erase(own, gone, bytes(32), WHEN)
    assert traces(own, gone) == []
    assert not (own.ledger / "erasing.json").exists()


def test_a_record_that_was_torn_while_it_was_blanked_is_blanked_again(own: Workspace) -> None:
    gone = people(own)[1]
    ledger = Ledger(own.ledger, read_only=True)
    at = next(record.place for record in ledger.journal.records((1,)) if gone.encode() in record.body)
    ledger.close()
    log = next((own.ledger / "log").glob("*.log"))
    torn = bytearray(log.read_bytes())
    torn[at.offset + 60 : at.offset + 70] = bytes(10)
    log.write_bytes(torn)
    write_json(own.ledger / "erasing.json", [list(at)])
    erase(own, gone, bytes(32), WHEN)
    assert traces(own, gone) == []


def test_after_a_restore_whoever_was_erased_goes_again(own: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gone = people(own)[1]
    shutil.copytree(own.root, tmp_path / "backup")
    erase(own, gone, bytes(32), WHEN)
    kept = tmp_path / "kept"
    shutil.copytree(place(own), kept)
    shutil.rmtree(own.root)
    shutil.copytree(tmp_path / "backup", own.root)
    assert traces(own, gone)
    shutil.copytree(kept, place(own))
    assert main(["customer", "erase", "--again", "--workspace", str(own.root)]) == 0
    assert "not reached: backups" in capsys.readouterr().out
    assert traces(own, gone) == []


@pytest.mark.fault("E8")
def test_a_running_service_knows_the_erased_no_more_and_keeps_no_new_trace(
    make: Callable[..., Answers], tmp_path: Path, wait: Callable[[Awaitable[Any]], Any]
) -> None:
    ticks = [0.0]
    ledger = Ledger(tmp_path / "ledger")
    desk = Desk(make(), ledger, erased=Erased(tmp_path / "tombstones", lambda: ticks[0]))
    asked = DecisionRequest("ann", request_id="a", placement="inbound_end")
    assert json.loads(wait(desk.decide(asked)))["degraded"] == []
    on_list = [row.customer_id for row in desk.answers.churn_list(10).rows]
    bury(tmp_path / "tombstones", "ann", bytes(32))
    ticks[0] = 1.0
    assert desk.answers.rows.get("ann") is None
    assert [row.customer_id for row in desk.answers.churn_list(10).rows] == [each for each in on_list if each != "ann"]
    answer = json.loads(wait(desk.decide(replace_id(asked, "b"))))
    assert {"unknown_customer", "not_logged"} <= set(answer["degraded"])
    wait(desk.outcome(OutcomeRequest("o1", "nobody-knows", "shown", NOW, customer_id="ann")))
    desk.close()
    assert reading(tmp_path / "ledger", lambda kept: [each.customer_id for each in kept.everything()]) == [None]
    assert reading(tmp_path / "ledger", lambda kept: len(list(kept.decisions()))) == 1


@pytest.mark.fault("E8")
def test_while_it_cannot_be_read_who_was_erased_nobody_is_answered_and_readiness_says_why(
    make: Callable[..., Answers], tmp_path: Path, wait: Callable[[Awaitable[Any]], Any]
) -> None:
    ticks, graves = [0.0], tmp_path / "tombstones"
    desk = Desk(make(), Ledger(tmp_path / "ledger"), erased=Erased(graves, lambda: ticks[0]))
    asked = DecisionRequest("ann", placement="inbound_end", dry_run=True)
    bury(graves, "bob", bytes(32))
    assert json.loads(wait(desk.decide(asked)))["offers"]
    bury(graves, "ann", bytes(32))
    (graves / "key").rename(tmp_path / "key")
    # Not only whoever happens to look: also those of the same second, and whoever writes.
    for ticks[0] in (1.0, 1.1, 1.9, 2.1, 2.2):
        with pytest.raises(IntegrityError, match="the key of erased customers cannot be read"):
            wait(desk.decide(asked))
        with pytest.raises(IntegrityError):
            wait(desk.outcome(OutcomeRequest("o1", "nobody-knows", "shown", NOW, customer_id="ann")))
        assert "the key of erased customers" in (desk.unready() or "")
        assert desk.current.rows.get("bob") is None, "who was known to be erased stays so"
    (tmp_path / "key").rename(graves / "key")
    ticks[0] = 3.2
    assert desk.unready() is None
    assert "unknown_customer" in json.loads(wait(desk.decide(asked)))["degraded"]
    desk.close()


def test_tombstones_that_nobody_may_look_at_are_not_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    erased = Erased(tmp_path / "file" / "tombstones", lambda: 0.0)
    for _ in range(2):
        with pytest.raises(IntegrityError, match="cannot be looked up"):
            erased.news()


@pytest.mark.fault("E8")
def test_scores_that_are_being_sent_know_whoever_is_erased_meanwhile_no_more(make: Callable[..., Answers], tmp_path: Path) -> None:
    ticks = [0.0]
    desk = Desk(make(), Ledger(tmp_path / "ledger"), erased=Erased(tmp_path / "tombstones", lambda: ticks[0]))

    async def sent() -> list[dict[str, Any]]:
        asked = Caller(time.monotonic(), [(b"accept", b"application/x-ndjson")])
        answer = await batches.scores(desk, ScoresRequest(["ann", "bob"] * 1_000, explain=True), asked)
        assert isinstance(answer, Streamed)
        lines: list[bytes] = []
        async for piece in answer.pieces:
            lines += piece.splitlines()
            if not ticks[0] and len(lines) > 1:
                bury(tmp_path / "tombstones", "ann", bytes(32))
                ticks[0] = 1.0
        return [msgspec.json.decode(line) for line in lines[1:]]

    rows = asyncio.run(sent())
    desk.close()
    of_ann = [each["status"] for each in rows if each["customer_id"] == "ann"]
    first = of_ann.index("unknown")
    assert 0 < first < 1_000
    assert set(of_ann[:first]) == {"ok"}
    assert set(of_ann[first:]) == {"unknown"}
    assert {each["status"] for each in rows if each["customer_id"] == "bob"} == {"ok"}


def replace_id(request: DecisionRequest, request_id: str) -> DecisionRequest:
    return DecisionRequest(request.customer_id, request_id=request_id, placement=request.placement)


def test_export_says_everything_that_is_held(own: Workspace, tmp_path: Path) -> None:
    someone = people(own)[1]
    found = export(own, someone)
    lines = pq.read_table(own.table("transactions"), filters=[("customer_id", "=", someone)])
    assert found["tables"]["transactions"] == lines.to_pylist()
    assert found["features"][VIEW]["snapshots"] == 1
    assert found["row"]["knows"]["customer_id"] == someone
    assert len(found["ledger"]["decisions"]) == 2
    assert len(found["ledger"]["outcomes"]) == 1
    assert found["lists"] == ["lists/calls.csv", "lists/campaigns/c/run/arms.parquet", "lists/with.xlsx"]
    assert main(["customer", "export", someone, "--out", str(tmp_path / "me.json"), "--workspace", str(own.root)]) == 0
    assert read_json(tmp_path / "me.json")["customer_id"] == someone
    noted = pull_log.entries(own.pulls)[-1]
    assert (noted.list, noted.rows, noted.who) == ("customer", 1, pull_log.by_command())
    assert someone not in own.pulls.read_text()
    assert noted.content != pull_log.pulled("", "", {}, [someone], {}, WHEN).content, "nobody can try ids on it"
    erase(own, someone, bytes(32), WHEN)
    empty = export(own, someone)
    assert empty == {**empty, "is_erased": True, "tables": {}, "quarantine": {}, "features": {}, "row": None, "lists": []}
    assert empty["ledger"] == {"decisions": [], "outcomes": [], "facts": [], "conflicts": [], "grounds": []}


def test_export_says_what_contradicted_the_customers_requests_which_an_erasure_removes(own: Workspace, make: Callable[..., Answers]) -> None:
    someone = people(own)[1]
    desk = Desk(replace(make(), rows=open_rows(own)), Ledger(own.ledger))
    with pytest.raises(ConflictError):
        asyncio.run(desk.outcome(OutcomeRequest("o1", "nobody-knows", "declined", NOW, customer_id=someone)))
    desk.close()
    (told,) = export(own, someone)["ledger"]["conflicts"]
    assert (told["of"], told["request"]["type"], told["request"]["customer_id"]) == ("outcome", "declined", someone)
    assert erase(own, someone, bytes(32), WHEN)["removed"]["ledger/conflicts"] == 1


@pytest.mark.fault("E8")
def test_no_offer_is_for_an_erased_customer_by_name_and_others_decisions_are_made_again(own: Workspace, make: Callable[..., Answers]) -> None:
    gone, other = people(own)[1], people(own)[2]
    offer = Offer("own", "For them", "service", channels=("call_center",), audience=(gone, other))
    answers = make(offers=(Offer("all", "For all", "service"), offer))
    table = pq.read_table(own.table("offers"))
    place_of = table.column_names.index("audience")
    column = pa.array([[gone, "enterprise"], *[None] * (len(table) - 1)], table.schema.field(place_of).type)
    with atomic_folder(own.tables) as folder:
        for path in own.tables.glob("*.parquet"):
            shutil.copy(path, folder)
        pq.write_table(table.set_column(place_of, table.schema.field(place_of), column), folder / "offers.parquet")
    card = replace(open_rows(own).card, version="")
    write(own, Content(card, answers.rows.shop, dict(open_rows(own).arrays)))
    desk = Desk(replace(answers, rows=open_rows(own)), Ledger(own.ledger))
    for customer in (gone, other):
        asyncio.run(desk.decide(DecisionRequest(customer, request_id=f"own-{customer}", channel="call_center", placement="inbound_end")))
    desk.close()
    found = export(own, gone)
    assert [row["audience"] for row in found["tables"]["offers"]] == [[gone, "enterprise"]]
    assert len(found["ledger"]["grounds"]) == 1
    removed = erase(own, gone, bytes(32), WHEN)["removed"]
    assert removed["ledger/grounds"] == 1
    assert [rows for name, rows in removed.items() if name.endswith("/offers")] == [1]
    assert traces(own, gone) == []
    assert [each.audience for each in open_rows(own).shop.offers] == [None, (other,)]
    ledger = Ledger(own.ledger, read_only=True)
    last = list(ledger.decisions())[-1]
    assert last.customer_id == other
    assert replay(last, opener(ledger.folder)).is_equal
    ledger.close()
    again = erase(own, other, bytes(32), WHEN)["removed"]
    assert again["ledger/grounds"] == 1
    ledger = Ledger(own.ledger, read_only=True)
    first = next(ledger.decisions())
    assert replay(first, opener(ledger.folder)).is_equal
    ledger.close()
    note = next(path for path in (own.ledger / "grounds").iterdir() if b"swept" in path.read_bytes())
    note.write_bytes(note.read_bytes().replace(b'{"swept":"', b'{"swept":"0'))
    with pytest.raises(IntegrityError, match="was changed"):
        opener(own.ledger)(last.grounds)


def test_rows_lose_their_entries_in_ragged_tables_and_keep_what_is_the_shops() -> None:
    arrays = {
        "ids": np.array([b"a", b"b", b"c"]),
        "owned.start": np.array([0, 2, 2, 5]),
        "owned.item": np.arange(5),
        "segments.share": np.arange(4),
    }
    made = erasure.without(arrays, np.array([False, True, True]))
    assert {name: array.tolist() for name, array in made.items()} == {
        "ids": [b"b", b"c"],
        "owned.start": [0, 0, 3],
        "owned.item": [2, 3, 4],
        "segments.share": [0, 1, 2, 3],
    }


@pytest.mark.parametrize("wrong", [["export"], ["erase"], ["erase", "x", "--again"], ["export", "--again"]])
def test_wrong_options_of_customer_are_told(tmp_path: Path, wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["customer", *wrong, "--workspace", str(tmp_path)]) == 2
    assert "name one customer" in capsys.readouterr().err


def test_what_a_killed_command_left_half_written_neither_stops_an_erasure_nor_outlives_it(own: Workspace) -> None:
    gone = people(own)[1]
    halves = [own.snapshots / "customer_orders" / ".partial-0123456789ab-x.parquet", own.lists / ".partial-0123456789ab-arms.parquet"]
    halves += [own.rows / ".partial-0123456789ab-v" / "ids.npy", own.root / ".partial-0123456789ab-tables" / "customers.parquet"]
    for half in halves:
        half.parent.mkdir(parents=True, exist_ok=True)
        half.write_bytes(b"PAR1" + gone.encode())
    erase(own, gone, bytes(32), WHEN)
    assert traces(own, gone) == []
    assert not any(half.exists() for half in halves)


@pytest.mark.parametrize("is_theirs", [True, False])
def test_the_tables_of_an_erasure_know_of_the_ledger_what_they_knew(own: Workspace, is_theirs: bool) -> None:
    """A mark of other tables vouches for none: what was fed into those would no longer count, an opt-out among it."""
    mark, gone = own.ledger / "fed.json", people(own)[1]
    write_json(mark, {"digest": own.state().digest if is_theirs else "other"})
    before = own.state().digest
    erase(own, gone, bytes(32), WHEN)
    assert own.state().digest != before
    assert read_json(mark)["digest"] == (own.state().digest if is_theirs else "other")


def test_who_was_in_the_online_store_only_by_snapshots_is_found_without_the_name(own: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted after the tables, with nothing published: `--again` is told no name."""
    gone = people(own)[1]
    shutil.rmtree(own.rows)
    asked: list[list[str]] = []
    monkeypatch.setattr(store, "forget", lambda _, ids: (asked.append(ids), {})[1])

    def dies(*_: Any) -> dict[str, int]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(erasure, "_features", dies)
        with pytest.raises(KeyboardInterrupt):
            erase(own, gone, bytes(32), WHEN)
    erase(own, None, b"", WHEN)
    assert asked == [[gone]]
    assert traces(own, gone) == []
