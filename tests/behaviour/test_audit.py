"""A known hole in what the lock pins: the real pip-audit asks a database of ours on loopback, which speaks as OSV does."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
TODAY = date(2026, 12, 2)
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])

pytestmark = pytest.mark.fault("E14")
real = pytest.mark.skipif(shutil.which("pip-audit", path=PATH) is None, reason="pip-audit is not in this environment; `make setup` brings it")


def module() -> ModuleType:
    specification = importlib.util.spec_from_file_location("audit_of_dependencies", ROOT / ".ci" / "audit.py")
    assert specification is not None
    assert specification.loader is not None
    found = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = found
    specification.loader.exec_module(found)
    return found


audit = module()


def entry(package: str = "alpha", id: str = "CVE-2026-1", until: object = TODAY, **more: str) -> str:
    lines = {"package": f'"{package}"', "id": f'"{id}"', "reason": '"waits for beta"', "until": str(until), **more}
    return "[[allow]]\n" + "".join(f"{name} = {value}\n" for name, value in lines.items() if value)


def allowed(*entries: str) -> list[Any]:
    return audit.allowed("\n".join(entries), "list.toml", TODAY)


def hole(package: str = "alpha", *names: str, mended: tuple[str, ...] = ("1.1", "2.0")) -> Any:
    return audit.Hole(package, "1.0", names or ("PYSEC-2026-7", "CVE-2026-1", "GHSA-aaaa-bbbb-cccc"), mended)


def report(*holes: Any, passed_over: tuple[str, ...] = ()) -> Any:
    return audit.Report(frozenset({("alpha", "1.0"), ("beta", "2.0")}), holes, passed_over)


# ---- judging, without a process -----------------------------------------------------------------------------------------------------------


def test_a_hole_is_told_with_all_its_names_and_what_mends_it() -> None:
    assert audit.judge(report(hole(), hole("beta", "GHSA-x", mended=())), [], TODAY) == [
        "alpha 1.0 has a known hole, PYSEC-2026-7 (also CVE-2026-1, GHSA-aaaa-bbbb-cccc); mended in 1.1, 2.0.",
        "beta 1.0 has a known hole, GHSA-x; no version mends it yet.",
    ]


@pytest.mark.parametrize("name", ["PYSEC-2026-7", "CVE-2026-1", "GHSA-aaaa-bbbb-cccc", "ghsa-AAAA-bbbb-cccc"])
def test_an_entry_means_a_hole_by_any_of_its_names(name: str) -> None:
    assert audit.judge(report(hole()), allowed(entry(id=name)), TODAY) == []
    assert audit.left_over(report(hole()), [], allowed(entry(id=name)), TODAY) == []


def test_an_entry_silences_one_hole_of_one_package() -> None:
    holes = report(hole(), hole("alpha", "CVE-2026-2"), hole("beta", "CVE-2026-1"))
    told = audit.judge(holes, allowed(entry(package="Alpha")), TODAY)
    assert [sentence.partition(";")[0] for sentence in told] == ["alpha 1.0 has a known hole, CVE-2026-2", "beta 1.0 has a known hole, CVE-2026-1"]


def test_an_entry_holds_through_its_day_and_silences_nothing_from_the_next_on() -> None:
    until = allowed(entry(until=TODAY))
    assert audit.judge(report(hole()), until, TODAY) == []
    tomorrow = audit.judge(report(hole()), until, TODAY + timedelta(days=1))
    assert tomorrow[0].startswith("alpha 1.0 has a known hole")
    assert tomorrow[1:] == ["alpha, CVE-2026-1 was allowed until 2026-12-02 and is no longer; mend it, or say again why not."]
    # Whether or not the hole is still there, and whether or not anybody can be asked: the entry does not stay.
    assert audit.judge(audit.Report(), until, TODAY + timedelta(days=1)) == tomorrow[1:]
    assert audit.left_over(report(), [], until, TODAY + timedelta(days=1)) == []


def test_an_entry_without_its_hole_is_to_go() -> None:
    assert audit.left_over(report(hole("beta")), [], allowed(entry(), entry("beta")), TODAY) == [
        "alpha, CVE-2026-1 is allowed and no such hole is left; take the entry out."
    ]


def test_what_was_not_judged_is_told() -> None:
    assert audit.judge(report(passed_over=("gamma (a URL)",)), [], TODAY) == ["pip-audit did not judge gamma (a URL)."]
    assert audit.left_over(report(), [("beta", "2.0"), ("beta", "2.1")], [], TODAY) == ["beta 2.1 is pinned, and pip-audit has no answer about it."]


def test_a_hole_is_allowed_for_ninety_days_at_most() -> None:
    assert allowed(entry(until=TODAY + timedelta(days=90)))[0].until == date(2027, 3, 2)
    with pytest.raises(audit.UnusableError) as told:
        allowed(entry(until=TODAY), entry(until=TODAY + timedelta(days=91)))
    assert str(told.value) == "list.toml, entry 2: until is 2027-03-03, more than 90 days ahead; write 2027-03-02 or a day before it."


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[allow]]\nid = x", r"^list\.toml is not TOML: Invalid value \(at line 2, column 6\); each entry begins with \[\[allow\]\]\.$"),
        ("[[allowed]]", r'^list\.toml: "allowed" is nothing that is known here; each entry begins with \[\[allow\]\]\.$'),
        ("allow = 'all'", r"^list\.toml: \"allow\" is 'all'; each entry begins with \[\[allow\]\]\.$"),
        ("allow = ['CVE-2026-1']", r"^list\.toml: \"allow\" is \['CVE-2026-1'\]; each entry begins with"),
        (entry(version='"1.0"'), r'^list\.toml, entry 1: "version" is nothing that an entry has; it has package, id, reason and until\.$'),
        (entry(reason=""), r"^list\.toml, entry 1: reason is missing; an entry has package, id, reason and until\.$"),
        (entry(reason='" "'), r"^list\.toml, entry 1: reason is ' '; write some text in quotes\.$"),
        (entry().replace('"alpha"', "7"), r"^list\.toml, entry 1: package is 7; write some text in quotes\.$"),
        (entry(until=""), r"^list\.toml, entry 1: until is missing; write the last day on which this holds, as until = 2027-03-02 "),
        (entry(until='"2026-12-24"'), r"^list\.toml, entry 1: until is '2026-12-24'; write a day without time and quotes, as 2027-03-02\.$"),
        (entry(until="2026-12-24T00:00:00"), r"^list\.toml, entry 1: until is '2026-12-24 00:00:00'; write a day without time"),
    ],
)
def test_what_an_allow_list_may_not_say_is_told_in_one_sentence(text: str, told: str) -> None:
    with pytest.raises(audit.UnusableError, match=told):
        allowed(text)


def test_every_pin_is_looked_up_whatever_it_is_for() -> None:
    lock = "Alpha_x==1.0 ; python_full_version < '3.12' \\\n    --hash=sha256:0\nalpha-x==2.0 ; x\n# c==3\nb[extra]==1!2.0\\\n    # via d==4\n"
    pinned = audit.pins(lock)
    assert pinned == [("alpha-x", "1.0"), ("alpha-x", "2.0"), ("b", "1!2.0")]
    assert audit.rounds(pinned) == [[("alpha-x", "1.0"), ("b", "1!2.0")], [("alpha-x", "2.0")]]
    assert audit.rounds([]) == []
    here = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert len(audit.pins(here)) == sum(line[0].isalnum() for line in here.splitlines())


def test_what_pip_audit_left_out_is_read_from_beside_its_answer() -> None:
    answer = json.dumps({"dependencies": [{"name": "gamma", "skip_reason": "a URL"}], "fixes": []})
    beside = "WARNING:pip_audit._cli:--no-deps is supported\nWARNING:pip_audit._service.osv:Unsupported OSV schema version: 2.0.0\nFound nothing\n"
    assert audit.read(answer, beside).passed_over == ("gamma (a URL)", "an entry of the database (Unsupported OSV schema version: 2.0.0)")


@pytest.mark.parametrize(
    ("beside", "why"),
    [
        # A connection that nobody takes or refuses cannot be made on loopback.
        (
            "ERROR:pip_audit._cli:Could not connect to OSV's vulnerability feed\nERROR:pip_audit._cli:Tip: your network",
            "Could not connect to OSV",
        ),
        ("Traceback\nrequests.exceptions.HTTPError: 500\n\nTraceback\npip_audit._service.interface.ServiceError\n", "HTTPError: 500"),
        ("WARNING:pip_audit._cli:a\nERROR:pip_audit._cli:requirement b does not contain a hash\n", "requirement b does not contain a hash"),
        ("", "it said nothing"),
    ],
)
def test_a_database_that_does_not_answer_is_told_from_what_pip_audit_cannot_read(beside: str, why: str) -> None:
    told = audit.no_answer(beside)
    assert why in str(told)
    assert not told.is_final


def test_the_list_of_the_house_can_be_read() -> None:
    audit.allowed((ROOT / ".ci" / "audit.toml").read_text(encoding="utf-8"), ".ci/audit.toml", datetime.now(UTC).date())


@pytest.mark.parametrize(("code", "ends", "loud"), [(0, 0, 0), (1, 1, 0), (2, 2, 0), (3, 0, 2), (127, 127, 0)])
def test_ci_ends_with_a_hole_and_says_twice_that_nobody_was_asked(tmp_path: Path, code: int, ends: int, loud: int) -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    step = re.findall(r"^step \"known holes.*?(?=^step )", script, re.MULTILINE | re.DOTALL)[0]
    program = tmp_path / ".venv" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho asked $1\nexit {code}\n")
    program.chmod(0o755)
    whole = f"set -euo pipefail\nstep() {{ :; }}\n{step}\necho all the rest\n{script.splitlines()[-1]}\n"
    done = subprocess.run(["bash", "-c", whole], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout.count("NOT AUDITED"), "all the rest" in done.stdout) == (ends, loud, ends == 0)
    assert "asked .ci/audit.py" in done.stdout


# ---- the whole process --------------------------------------------------------------------------------------------------------------------


def told_by_osv(package: str, version: str, id: str, *aliases: str, **more: object) -> dict[str, object]:
    ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "9.9"}]}]
    affected = [{"package": {"name": package, "ecosystem": "PyPI"}, "ranges": ranges, "versions": [version]}]
    return {"schema_version": "1.7.3", "id": id, "aliases": list(aliases), "details": "told\nin lines", "affected": affected, **more}


class Database:
    """Answers ``POST {package, version}`` with what it knows."""

    def __init__(self) -> None:
        self.knows: dict[tuple[str, str], list[dict[str, object]]] = {audit.CANARY: [told_by_osv(*audit.CANARY, "GHSA-c", "CVE-2019-10906")]}
        self.asked: list[tuple[str, str]] = []
        self.answer: Callable[[], tuple[int, bytes] | None] = lambda: None
        """What it says instead of what it knows, where that is not None."""
        told = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                assert asked["package"]["ecosystem"] == "PyPI"
                name, version = asked["package"]["name"], asked["version"]
                told.asked.append((name, version))
                known = told.knows.get((name, version))
                status, body = told.answer() or (200, json.dumps({"vulns": known} if known else {}).encode())
                if status:
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                """Nothing on the terminal."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/v1/query"


@pytest.fixture
def database() -> Iterator[Database]:
    made = Database()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


LOCK = (("alpha", "1.0", ""), ("beta", "2.0", " ; python_full_version >= '3.11'"))
ELSEWHERE = ("beta", "1.9", " ; python_full_version < '3.11'")


class Audit:
    """``.ci/audit.py`` beside a small lock."""

    def __init__(self, folder: Path, address: str) -> None:
        self.lock, self.list, self.address, self.path = folder / "some.lock", folder / "list.toml", address, PATH
        self.list.write_text("")
        self.pin(*LOCK)

    def pin(self, *pins: tuple[str, str, str]) -> None:
        self.lock.write_text("".join(f"{name}=={version}{where} \\\n    --hash=sha256:{'0' * 64}\n" for name, version, where in pins))

    def __call__(self, *more: str) -> tuple[int, list[str]]:
        # What a user has set for pip-audit does not change what is heard of it; what a proxy says of loopback is not the matter here.
        surroundings = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        surroundings |= {"PATH": self.path, "PIP_AUDIT_OUTPUT": str(self.list), "PIP_AUDIT_LOGLEVEL": "CRITICAL"}
        command = [sys.executable, str(ROOT / ".ci" / "audit.py"), "--lock", str(self.lock), "--allow", str(self.list), "--today", str(TODAY)]
        done = subprocess.run([*command, "--osv-url", self.address, *more], env=surroundings, capture_output=True, text=True, timeout=120)
        assert done.stderr == ""
        return done.returncode, done.stdout.splitlines()


@pytest.fixture
def run(tmp_path: Path, database: Database) -> Audit:
    return Audit(tmp_path, database.address)


@real
def test_a_lock_without_a_hole_passes_and_every_version_was_asked_about(run: Audit, database: Database) -> None:
    assert run() == (0, ["2 versions looked up, nothing to mend."])
    assert database.asked == [audit.CANARY, ("alpha", "1.0"), ("beta", "2.0")]


@real
def test_a_version_for_another_python_is_looked_up_as_well(run: Audit, database: Database) -> None:
    # pip-audit alone passes over it without a word.
    run.pin(*LOCK, ELSEWHERE)
    database.knows["beta", "1.9"] = [told_by_osv("beta", "1.9", "CVE-2026-3")]
    code, said = run()
    assert (code, said[0]) == (1, "beta 1.9 has a known hole, CVE-2026-3; mended in 9.9.")
    assert database.asked == [audit.CANARY, ("alpha", "1.0"), ("beta", "2.0"), ("beta", "1.9")]


@real
def test_a_hole_fails_until_it_is_allowed_and_again_from_the_day_after(run: Audit, database: Database, happened: Callable[[str], None]) -> None:
    database.knows["alpha", "1.0"] = [told_by_osv("alpha", "1.0", "GHSA-aaaa-bbbb-cccc", "CVE-2026-1")]
    database.knows["beta", "2.0"] = [told_by_osv("beta", "2.0", "PYSEC-2026-2")]
    code, said = run()
    alpha, beta = (
        "alpha 1.0 has a known hole, CVE-2026-1 (also GHSA-aaaa-bbbb-cccc); mended in 9.9.",
        "beta 2.0 has a known hole, PYSEC-2026-2; mended in 9.9.",
    )
    assert (code, said[:2]) == (1, [alpha, beta])
    run.list.write_text(entry("beta", "PYSEC-2026-2") + entry("alpha", "GHSA-aaaa-bbbb-cccc"))
    code, said = run()
    assert (code, said[-1]) == (0, "2 versions looked up, nothing to mend.")
    assert "Allowed until 2026-12-02: alpha, GHSA-aaaa-bbbb-cccc: waits for beta" in said
    code, said = run("--today", str(TODAY + timedelta(days=1)))
    assert (code, said[:2]) == (1, [alpha, beta])
    assert sum("no longer" in sentence for sentence in said) == 2
    happened(
        "pip-audit asked a database of ours on loopback: a hole ends with 1, allowed with 0, the day after with 1 again; the public database is not "
        "within reach where this is built, so CI says there that nothing was audited (3), and goes on"
    )


@real
def test_an_entry_without_its_hole_fails(run: Audit) -> None:
    run.list.write_text(entry("alpha"))
    code, said = run()
    assert (code, said[0]) == (1, "alpha, CVE-2026-1 is allowed and no such hole is left; take the entry out.")


@real
def test_a_database_that_knows_nothing_is_not_believed(run: Audit, database: Database) -> None:
    database.knows.clear()
    code, said = run()
    assert code == 3
    assert said[0].startswith("Not audited: the database knows of no hole in jinja2 2.4.1")
    assert database.asked == [audit.CANARY]


@real
@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((500, b""), "500 Server Error"),
        ((200, b"<html>sign in</html>"), "JSONDecodeError"),
        ((200, b'{"error": "no"}'), "KeyError"),
        ((0, b""), "Connection"),
    ],
)
def test_a_database_that_errs_audits_nothing(run: Audit, database: Database, answer: tuple[int, bytes], why: str) -> None:
    database.answer = lambda: answer
    code, said = run()
    assert (code, len(said)) == (3, 1)
    assert said[0].startswith("Not audited: asked about jinja2 2.4.1 first, pip-audit got no answer: ")
    assert why in said[0]


@real
def test_without_a_database_nothing_is_audited_and_expired_entries_still_fail(run: Audit, database: Database) -> None:
    database.server.server_close()
    code, said = run()
    assert (code, len(said)) == (3, 1)
    assert "Connection refused" in said[0]
    run.list.write_text(entry(until=TODAY - timedelta(days=1)))
    code, said = run()
    assert (code, len(said)) == (1, 2)
    assert said[1].startswith("Not audited: ")


@real
def test_a_database_that_goes_away_in_the_middle_has_not_audited(run: Audit, database: Database) -> None:
    database.answer = lambda: (503, b"") if len(database.asked) >= 3 else None
    code, said = run()
    assert (code, len(said)) == (3, 1)
    assert said[0].startswith("Not audited: pip-audit did not come to the end of the lock: ")
    assert database.asked[2] == ("beta", "2.0")
    assert database.asked[-1] == audit.CANARY


@real
def test_a_moment_without_an_answer_is_got_over(run: Audit, database: Database) -> None:
    database.answer = lambda: (503, b"") if len(database.asked) == 3 else None
    assert run() == (0, ["2 versions looked up, nothing to mend."])


@real
def test_a_version_about_which_nobody_has_an_answer_fails_and_keeps_no_hole_of_others_back(run: Audit, database: Database) -> None:
    database.knows["alpha", "1.0"] = [told_by_osv("alpha", "1.0", "CVE-2026-1")]
    database.answer = lambda: (503, b"") if database.asked[-1] == ("beta", "2.0") else None
    code, said = run()
    assert code == 1
    assert said[0].startswith("alpha 1.0 has a known hole, CVE-2026-1")
    assert said[1].startswith("pip-audit did not judge beta 2.0 (")


@real
def test_what_a_database_told_before_it_went_away_is_told(run: Audit, database: Database) -> None:
    run.pin(*LOCK, ELSEWHERE)
    database.knows["alpha", "1.0"] = [told_by_osv("alpha", "1.0", "CVE-2026-1")]
    database.answer = lambda: (503, b"") if len(database.asked) >= 4 else None
    code, said = run()
    assert (code, len(said)) == (1, 2)
    assert said[0].startswith("alpha 1.0 has a known hole")
    assert said[1].startswith("Not audited: pip-audit did not come to the end of the lock: ")


@real
def test_an_entry_of_the_database_that_pip_audit_cannot_read_fails(run: Audit, database: Database) -> None:
    # One it leaves out with a warning, at one it breaks: either may be the hole that matters.
    database.knows["alpha", "1.0"] = [told_by_osv("alpha", "1.0", "CVE-2026-1", schema_version="2.0.0")]
    code, said = run()
    assert (code, said[0]) == (1, "pip-audit did not judge an entry of the database (Unsupported OSV schema version: 2.0.0).")
    database.knows["alpha", "1.0"] = [told_by_osv("alpha", "1.0", "CVE-2026-1", published="yesterday")]
    code, said = run()
    assert code == 1
    assert said[0].startswith("pip-audit did not judge alpha 1.0 (ValueError: time data 'yesterday'")


@real
def test_a_requirement_that_cannot_be_looked_up_fails(run: Audit) -> None:
    run.lock.write_text(run.lock.read_text() + f"gamma @ file:///gamma-1.0.tar.gz \\\n    --hash=sha256:{'0' * 64}\n")
    code, said = run()
    assert code == 1
    assert said[0].startswith("pip-audit did not judge gamma (URL requirements cannot be pinned")
    run.lock.write_text("gamma==1.0\n")
    code, said = run()
    assert code == 1
    assert said[0].startswith("pip-audit did not judge the lock as it stands (")
    assert "requirement gamma==1.0 does not contain a hash" in said[0]


def test_without_pip_audit_nothing_is_audited(
    run: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit.sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert audit.main(["--lock", str(run.lock), "--allow", str(run.list)]) == 3
    assert capsys.readouterr().out == "Not audited: pip-audit is not here; `make setup` brings it.\n"


@real
def test_the_database_may_be_named_in_the_environment(
    run: Audit, database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("PIP_AUDIT_OSV_URL", run.address)
    assert audit.main(["--lock", str(run.lock), "--allow", str(run.list), "--today", str(TODAY)]) == 0
    assert capsys.readouterr().out == "2 versions looked up, nothing to mend.\n"
    assert database.asked[0] == audit.CANARY


def test_unless_one_is_named_the_index_is_asked(run: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "pip-audit"
    program.write_text(f"#!{sys.executable}\nimport pathlib, sys\npathlib.Path({str(tmp_path / 'asked')!r}).write_text(' '.join(sys.argv))\n")
    program.chmod(0o755)
    monkeypatch.setattr(audit.sys, "executable", str(tmp_path / "python"))
    monkeypatch.delenv("PIP_AUDIT_OSV_URL", raising=False)
    assert audit.main(["--lock", str(run.lock), "--allow", str(run.list)]) == 3
    assert (tmp_path / "asked").read_text().endswith(" -s pypi")


@real
def test_patience_ends(run: Audit, database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    going = threading.Event()
    database.answer = lambda: (500, b"") if going.wait(30) else None
    monkeypatch.setattr(audit, "PATIENCE_S", 0.5)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert audit.main(["--lock", str(run.lock), "--allow", str(run.list), "--osv-url", run.address]) == 3
    going.set()
    assert "it was not done after 0.5 s" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("lock", "list_", "address", "told"),
    [
        ("numpy>=2\n", "", "http://127.0.0.1:9", "some.lock pins nothing as name==version; `make lock` makes it anew."),
        (None, "", "http://127.0.0.1:9", "some.lock cannot be read (No such file or directory); `make lock` makes it."),
        ("a==1\n", None, "http://127.0.0.1:9", "list.toml cannot be read (No such file or directory); an empty file allows nothing."),
        ("a==1\n", "[[allow]]\n", "http://127.0.0.1:9", "list.toml, entry 1: package is missing; an entry has package, id, reason and until."),
        ("a==1\n", "", "127.0.0.1", '--osv-url is "127.0.0.1"; write an address that begins with https.'),
    ],
)
def test_what_cannot_be_is_told_before_anybody_is_asked(run: Audit, database: Database, lock: str, list_: str, address: str, told: str) -> None:
    for file, text in ((run.lock, lock), (run.list, list_)):
        if text is None:
            file.unlink()
        else:
            file.write_text(text)
    run.address = address
    code, said = run()
    assert (code, len(said)) == (2, 1)
    assert said[0].endswith(told)
    assert database.asked == []
