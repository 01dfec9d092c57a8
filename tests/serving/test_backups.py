"""Backups: what was acknowledged is in them, what was changed is refused by name, nothing is overwritten, and nobody who was erased comes back."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from retain import signing
from retain.cli import main
from retain.erasure import bury, place, tombstones
from retain.errors import IntegrityError, LockedError, RefusedError
from retain.files import MANIFEST, atomic_folder, half_folder, read_json, sha256, verify_folder, write_json
from retain.workspace import Workspace
from serving import backups, pull_log, restoring
from serving.answers import Answers
from serving.backups import backup
from serving.desk import Desk
from serving.erasure import erase
from serving.ledger import Ledger, outcomes_of, reading
from serving.publishing import Content, write
from serving.restoring import restore
from serving.rows import open_rows
from serving.schemas import DecisionRequest, OutcomeRequest

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


@pytest.fixture
def own(shop: Workspace, make: Callable[..., Answers], tmp_path: Path) -> Workspace:
    """The simulated shop with rows, a ledger, a model, keys, a log of pulls and MLflow's database."""
    shutil.copytree(shop.root, tmp_path / "own")
    own = Workspace.at(tmp_path / "own")
    answers, ids = make(), people(own)
    card = replace(answers.rows.card, data_digest=own.state().digest)
    write(own, Content(card, answers.rows.shop, {**answers.rows.arrays, "ids": np.array([each.encode() for each in ids])}))
    desk = Desk(replace(answers, rows=open_rows(own)), Ledger(own.ledger))
    for number, customer in enumerate(ids):
        asyncio.run(desk.decide(DecisionRequest(customer, request_id=f"r{number}", placement="inbound_end")))
    asyncio.run(desk.outcome(OutcomeRequest("o1", "nobody-knows", "shown", NOW, customer_id=ids[1])))
    desk.close()
    with atomic_folder(own.models / "churn" / "m1") as folder:
        (folder / "model.txt").write_text("tree")
    pull_log.keep(own.pulls, pull_log.pulled("somebody", "churn", {}, ids, {}, NOW))
    own.mlruns.mkdir()
    with closing(sqlite3.connect(own.mlruns / "mlflow.db")) as database, database:
        database.execute("create table runs (run_uuid text, artifact_uri text)")
        database.execute("insert into runs values ('a', ?)", (f"file://{own.mlruns.resolve()}/artifacts/1",))
    return own


def people(workspace: Workspace) -> list[str]:
    column = pq.read_table(workspace.table("transactions"), columns=["customer_id"])["customer_id"]
    return sorted(one for one in pc.unique(column).to_pylist() if one)[:7]


def content(root: Path) -> dict[str, str]:
    """Every file that counts and its hash; a database by what it holds."""
    found = {}
    for path in sorted(root.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            name = str(path.relative_to(root))
            found[name] = dump(path).replace(str(root.resolve()), "ROOT") if path.suffix == ".db" else sha256(path)
    return found


def dump(path: Path) -> str:
    with closing(sqlite3.connect(path)) as database:
        return "\n".join(database.iterdump())


def test_what_is_restored_is_what_was_backed_up(own: Workspace, tmp_path: Path) -> None:
    made = backup(own, tmp_path / "backup", NOW)
    before = content(own.root)
    verify_folder(tmp_path / "backup")
    assert made.damaged == ()
    assert made.linked > 5
    shutil.rmtree(own.root)
    restored = restore(tmp_path / "backup", own)
    assert content(own.root) == before
    assert (restored.problems, restored.tombstones, restored.removed) == ((), 0, {})
    assert restored.about.digest == own.state().digest
    assert not list(tmp_path.rglob(".partial-*"))


def test_a_backup_stays_what_it_is_whatever_happens_to_the_workspace(own: Workspace, tmp_path: Path) -> None:
    backup(own, tmp_path / "backup", NOW)
    erase(own, people(own)[1], bytes(32), NOW)
    with closing(sqlite3.connect(own.mlruns / "mlflow.db")) as database, database:
        database.execute("delete from runs")
    pull_log.keep(own.pulls, pull_log.pulled("somebody", "churn", {}, [], {}, NOW))
    verify_folder(tmp_path / "backup")
    backup(own, tmp_path / "copied", NOW, link=False)
    for path in (tmp_path / "copied").rglob("*"):
        assert path.is_dir() or path.stat().st_nlink == 1


def test_elsewhere_mlflow_finds_its_files(own: Workspace, tmp_path: Path) -> None:
    backup(own, tmp_path / "backup", NOW)
    new = Workspace.at(tmp_path / "new")
    restore(tmp_path / "backup", new)
    with closing(sqlite3.connect(new.mlruns / "mlflow.db")) as database:
        assert database.execute("select artifact_uri from runs").fetchone() == (f"file://{new.mlruns.resolve()}/artifacts/1",)


@pytest.mark.parametrize("change", ["flip", "cut", "remove", "add", "list", "manifest", "link"])
def test_a_changed_backup_is_refused_by_the_name_of_the_file_and_nothing_appears(own: Workspace, tmp_path: Path, change: str) -> None:
    kept = tmp_path / "backup"
    backup(own, kept, NOW, link=False)
    log = kept / "workspace" / "ledger" / "log" / "00000001.log"
    said = "00000001.log"
    if change == "flip":
        data = bytearray(log.read_bytes())
        data[len(data) // 2] ^= 1
        log.write_bytes(data)
    elif change == "cut":
        os.truncate(log, 10)
    elif change == "remove":
        log.unlink()
    elif change == "add":
        (kept / "workspace" / "more.json").write_text("{}")
        said = "more.json"
    elif change == "list":
        (kept / MANIFEST).write_text((kept / MANIFEST).read_text()[:-20])
        said = MANIFEST
    elif change == "manifest":
        (kept / MANIFEST).unlink()
        said = "never finished"
    else:
        log.rename(tmp_path / "aside")
        log.symlink_to(tmp_path / "aside")
    with pytest.raises(IntegrityError, match=said):
        restore(kept, Workspace.at(tmp_path / "new"))
    assert {path.name for path in tmp_path.iterdir()} - {"aside"} == {"own", "backup"}


@pytest.mark.parametrize("name", ["../outside", "/outside", "workspace/../../outside", "elsewhere/x", "workspace", "workspace//x"])
def test_a_backup_that_leads_elsewhere_is_refused(own: Workspace, tmp_path: Path, name: str) -> None:
    kept = tmp_path / "backup"
    backup(own, kept, NOW)
    listed = read_json(kept / MANIFEST)
    write_json(kept / MANIFEST, {"files": {**listed["files"], name: "0" * 64}})
    with pytest.raises(IntegrityError, match="does not list the files of a backup"):
        restore(kept, Workspace.at(tmp_path / "new"))
    assert not (tmp_path / "outside").exists()


def test_nothing_is_overwritten(own: Workspace, tmp_path: Path) -> None:
    backup(own, tmp_path / "backup", NOW)
    before = content(own.root)
    with pytest.raises(RefusedError, match="overwrites nothing"):
        restore(tmp_path / "backup", own)
    with pytest.raises(RefusedError, match="overwrites nothing"):
        backup(own, tmp_path / "backup", NOW)
    with pytest.raises(RefusedError, match="within the workspace"):
        backup(own, own.root / "backup", NOW)
    assert content(own.root) == before


def test_whoever_was_erased_after_the_backup_does_not_come_back(own: Workspace, tmp_path: Path) -> None:
    gone, earlier, other = people(own)[1], people(own)[2], people(own)[3]
    erase(own, earlier, bytes(32), NOW)
    backup(own, tmp_path / "backup", NOW)
    erase(own, gone, bytes(32), NOW)
    kept = tmp_path / "kept"
    shutil.copytree(place(own), kept)
    shutil.rmtree(own.root)
    by_name, waiting = Workspace.at(tmp_path / "by-name"), Workspace.at(tmp_path / "waiting")
    shutil.copytree(kept, place(waiting))
    for new, newer in ((by_name, kept), (waiting, None)):
        restored = restore(tmp_path / "backup", new, newer)
        assert restored.tombstones == 2
        assert restored.removed["ledger/decisions"] == 1, "the other one was gone before"
        assert {gone, earlier} <= {one for one in people_ever(tmp_path) if one in tombstones(place(new))}
        assert open_rows(new).get(gone) is None
        assert open_rows(new).get(other) is not None
        assert gone not in people(new)
        assert gone not in [entry.customer_id for entry in reading(new.ledger, lambda ledger: list(ledger.decisions()))]
    later = restore(tmp_path / "backup", Workspace.at(tmp_path / "later"))
    assert (later.tombstones, later.is_later_known) == (1, False), "nobody told it of the other one"


@pytest.mark.fault("E8")
def test_no_list_that_comes_back_holds_whoever_was_erased_since(own: Workspace, tmp_path: Path) -> None:
    """While it is restored the whole workspace has the name of something half-made."""
    ids, new = people(own), Workspace.at(tmp_path / "new")
    with atomic_folder(own.lists / "campaigns" / "c" / "run") as folder:
        pq.write_table(pa.table({"customer_id": ids}), folder / "arms.parquet")
    (own.lists / "calls.csv").write_text("rank,customer_id\r\n" + "".join(f"{rank},{each}\r\n" for rank, each in enumerate(ids)))
    backup(own, tmp_path / "backup", NOW)
    erase(own, ids[1], bytes(32), NOW)
    removed = restore(tmp_path / "backup", new).removed
    assert {"lists/campaigns/c/run/arms.parquet", "lists/calls.csv"} <= set(removed)
    assert (new.lists / "calls.csv").read_text().count("\n") == len(ids)
    verify_folder(new.lists / "campaigns" / "c" / "run")


@pytest.mark.fault("E8")
@pytest.mark.parametrize("killed", ["before", "after", "between"])
def test_a_restore_killed_while_names_change_loses_no_tombstones(
    own: Workspace, tmp_path: Path, killed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two names only where a file system cannot let them change places."""
    gone, new, original = people(own)[1], Workspace.at(tmp_path / "new"), restoring.change_places
    backup(own, tmp_path / "backup", NOW)
    erase(own, gone, bytes(32), NOW)
    shutil.copytree(place(own), place(new))
    shutil.rmtree(own.root)

    def dies(one: Path, other: Path) -> None:
        if killed == "after":
            original(one, other)
        if killed == "between":
            other.rename(other.with_name(f"{backups.PARTIAL}aside-0123456789ab-{other.name}"))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(restoring, "change_places", dies)
        with pytest.raises(KeyboardInterrupt):
            restore(tmp_path / "backup", new)
    if killed != "after":
        restore(tmp_path / "backup", new)
    assert gone in tombstones(place(new))
    assert gone not in people(new)
    assert not list(tmp_path.glob(f"{backups.PARTIAL}*"))


@pytest.mark.fault("E8")
@pytest.mark.parametrize("is_first", [True, False])
def test_beside_the_workspace_that_was_backed_up_whoever_was_erased_since_does_not_come_back(own: Workspace, tmp_path: Path, is_first: bool) -> None:
    if not is_first:
        erase(own, people(own)[2], bytes(32), NOW)
    gone = people(own)[1]
    backup(own, tmp_path / "backup", NOW)
    erase(own, gone, bytes(range(32)), NOW)
    new = Workspace.at(tmp_path / "new")
    restored = restore(tmp_path / "backup", new)
    assert (restored.tombstones, restored.is_later_known) == (2 - is_first, True)
    assert gone not in people(new)
    assert open_rows(new).get(gone) is None


@pytest.mark.fault("E8")
@pytest.mark.parametrize("instead", ["nothing", "those of others", "no key"])
def test_where_nobody_knows_who_was_erased_since_that_is_said(
    own: Workspace, tmp_path: Path, instead: str, capsys: pytest.CaptureFixture[str]
) -> None:
    gone, folder = people(own)[1], place(own)
    backup(own, tmp_path / "backup", NOW)
    erase(own, gone, bytes(32), NOW)
    folder.rename(tmp_path / "moved")
    if instead == "those of others":
        bury(folder, gone, bytes(range(32)))
    if instead == "no key":
        shutil.copytree(tmp_path / "moved", folder)
        (folder / "key").unlink()
    assert main(["restore", str(tmp_path / "backup"), "--workspace", str(tmp_path / "new")]) == 0
    said = capsys.readouterr().err
    assert "nobody here knows who was erased after" in said
    assert "--tombstones DIR or RETAIN_TOMBSTONES" in said
    assert str(folder) in said
    assert said.count("\n") == 1
    assert gone in people(Workspace.at(tmp_path / "new")), "the tombstones of other customers remove nobody"
    assert main(["restore", str(tmp_path / "backup"), "--workspace", str(tmp_path / "again"), "--tombstones", str(tmp_path / "moved")]) == 0
    assert capsys.readouterr().err == ""
    assert gone not in people(Workspace.at(tmp_path / "again"))
    about = read_json(tmp_path / "backup" / "backup.json")
    del about["tombstones"]
    assert backups.About.model_validate(about).tombstones is None, "of an earlier release"


def people_ever(folder: Path) -> list[str]:
    kept = folder / "backup" / "workspace" / "tables" / "transactions.parquet"
    return [*{one for one in pq.read_table(kept)["customer_id"].to_pylist() if one}, *(f"C{number:08d}" for number in range(400))]


def test_tombstones_outside_of_every_workspace_are_merged_where_they_lie(own: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = people(own)[1], people(own)[2]
    monkeypatch.setenv("RETAIN_TOMBSTONES", str(tmp_path / "outside"))
    erase(own, first, bytes(32), NOW)
    backup(own, tmp_path / "backup", NOW)
    erase(own, second, bytes(32), NOW)
    new = Workspace.at(tmp_path / "new")
    assert restore(tmp_path / "backup", new).tombstones == 2
    assert second not in people(new)
    shutil.rmtree(tmp_path / "outside")
    assert restore(tmp_path / "backup", Workspace.at(tmp_path / "bare")).tombstones == 1, "those of the backup take the place"
    assert first in tombstones(tmp_path / "outside")


def test_tombstones_of_another_key_are_refused(own: Workspace, tmp_path: Path) -> None:
    erase(own, people(own)[1], bytes(32), NOW)
    backup(own, tmp_path / "backup", NOW)
    bury(tmp_path / "other", "somebody", bytes(range(32)))
    with pytest.raises(RefusedError, match="another key"):
        restore(tmp_path / "backup", Workspace.at(tmp_path / "new"), tmp_path / "other")
    assert not (tmp_path / "new").exists()


def test_what_was_damaged_before_is_told_and_the_rest_is_there(own: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (own.models / "churn" / "m1" / "model.txt").write_text("tree of another")
    lines = own.pulls.read_text().replace("somebody", "nobody")
    own.pulls.write_text(lines)
    assert main(["backup", "--out", str(tmp_path / "backup"), "--workspace", str(own.root)]) == 7
    assert "workspace/models/churn/m1/model.txt" in capsys.readouterr().err
    assert main(["restore", str(tmp_path / "backup"), "--workspace", str(tmp_path / "new"), "--json"]) == 7
    said = json.loads(capsys.readouterr().out)
    assert [words.split()[0] for words in said["problems"]] == ["workspace/models/churn/m1/model.txt", "pulls.jsonl:"]
    assert content(tmp_path / "new") == content(own.root)


def test_where_a_key_is_set_a_backup_is_signed_and_only_such_is_taken(own: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backup(own, tmp_path / "unsigned", NOW)
    secret, public = signing.pair(bytes(range(32)))
    monkeypatch.setenv("RETAIN_SIGNING_KEY", secret)
    assert backup(own, tmp_path / "signed", NOW).signed
    monkeypatch.delenv("RETAIN_SIGNING_KEY")
    monkeypatch.setenv("RETAIN_VERIFY_KEY", public)
    with pytest.raises(IntegrityError, match="unsigned"):
        restore(tmp_path / "unsigned", Workspace.at(tmp_path / "new"))
    assert restore(tmp_path / "signed", Workspace.at(tmp_path / "new")).signed == "signed"


def test_a_backup_waits_for_nobody_who_trains(own: Workspace, tmp_path: Path) -> None:
    with own.lock("retain train churn"), pytest.raises(LockedError, match="retain train churn"):
        backup(own, tmp_path / "backup", NOW)
    assert [path.name for path in tmp_path.iterdir()] == ["own"]


WRITER = """
import asyncio, sys
from pathlib import Path
from datetime import UTC, datetime
from serving.entries import Outcome
from serving.ledger import Ledger
async def write(ledger, number):
    at = datetime(2026, 3, 10, tzinfo=UTC).isoformat()
    ledger.add(Outcome(f"w{number}", "h", "d", None, "shown", at, None, None, None, None, at), b"{}")
    await ledger.synced()
    print(number, flush=True)
async def main():
    ledger = Ledger(Path(sys.argv[1]))
    for number in range(10**6):
        await write(ledger, number)
asyncio.run(main())
"""


def test_while_another_process_writes_everything_acknowledged_before_is_in_it(own: Workspace, tmp_path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(own.ledger)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    try:
        for number in range(4):
            said = [writer.stdout.readline() for _ in range(25)]
            acknowledged = int(said[-1])
            backup(own, tmp_path / f"backup{number}", NOW)
            new = Workspace.at(tmp_path / f"new{number}")
            assert restore(tmp_path / f"backup{number}", new).problems == ()
            kept = [each.outcome_id for each in outcomes_of(new.ledger)]
            assert {f"w{each}" for each in range(acknowledged + 1)} <= set(kept)
            assert len(kept) == len(set(kept))
            again = Ledger(new.ledger)
            assert again.journal.torn == []
            again.close()
    finally:
        writer.kill()
        writer.wait()
        writer.stdout.close()


def test_a_torn_tail_does_not_enter_a_backup(own: Workspace, tmp_path: Path) -> None:
    log = own.ledger / "log" / "00000001.log"
    whole = log.stat().st_size
    with log.open("ab") as handle:
        handle.write(log.read_bytes()[:20])
    backup(own, tmp_path / "backup", NOW)
    assert (tmp_path / "backup" / "workspace" / "ledger" / "log" / log.name).stat().st_size == whole


@pytest.mark.parametrize("command", ["backup", "restore"])
def test_killed_anywhere_nothing_half_made_has_the_name_and_the_next_one_works(own: Workspace, tmp_path: Path, command: str) -> None:
    backup(own, tmp_path / "kept", NOW)
    target = tmp_path / "target"
    argv = ["backup", "--out", str(target), "--workspace", str(own.root)]
    if command == "restore":
        argv = ["restore", str(tmp_path / "kept"), "--workspace", str(target)]
    for after in (0.0, 0.002, 0.01, 0.03, 0.06):
        process = subprocess.Popen([sys.executable, "-m", "retain", *argv], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not list(tmp_path.glob(f"{backups.PARTIAL}*")):
            time.sleep(0.001)
        time.sleep(after)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if target.exists():
            break
    if not target.exists():
        assert main(argv) == 0
    if command == "backup":
        verify_folder(target)
    else:
        assert content(target) == content(own.root)
    shutil.rmtree(target)
    assert main(argv) == 0
    assert not list(tmp_path.glob(f"{backups.PARTIAL}*"))


def test_what_a_killed_backup_left_under_another_name_goes_with_the_next_and_what_one_holds_stays(own: Workspace, tmp_path: Path) -> None:
    left, theirs, alien = (tmp_path / f"{backups.PARTIAL}{name}" for name in ("0123456789ab-monday", "ba9876543210-tuesday", "of-somebody-else"))
    for folder in (left, alien):
        folder.mkdir()
    with half_folder(theirs):
        backup(own, tmp_path / "wednesday", NOW)
        assert (left.exists(), theirs.exists(), alien.exists()) == (False, True, True)
    assert not theirs.exists()


def test_a_full_disk_leaves_nothing_behind(own: Workspace, tmp_path: Path) -> None:
    limited = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000)); from retain.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    for argv in (["backup", "--copy", "--out", str(tmp_path / "full")], ["restore", str(tmp_path / "kept")]):
        where = own.root if argv[0] == "backup" else tmp_path / "full"
        if argv[0] == "restore":
            backup(own, tmp_path / "kept", NOW)
        done: Any = subprocess.run(
            [sys.executable, "-c", "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);" + limited, *argv, "--workspace", str(where)],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1, done.stderr
        assert "File too large" in done.stderr
        assert not (tmp_path / "full").exists()
        assert not list(tmp_path.glob(f"{backups.PARTIAL}*"))
