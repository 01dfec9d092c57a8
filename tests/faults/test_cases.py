"""The table of faults: no case without a test or a reason, no mark without a case, and the table says what pytest said."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import faults

TESTS = Path(__file__).resolve().parents[1]


def marked() -> set[str]:
    found: set[str] = set()
    for path in TESTS.rglob("test_*.py"):
        for marks in re.findall(r"pytest\.mark\.fault\(([^)]*)\)", path.read_text(encoding="utf-8")):
            found |= set(re.findall(r'"(\w+)"', marks))
    return found


def test_every_case_has_a_test_or_a_reason_and_every_mark_a_case() -> None:
    known = faults.cases()
    assert marked() <= set(known)
    assert set(known) <= marked() | {name for name, case in known.items() if "not_applicable" in case}
    assert {name[0] for name in known} == set(faults.GROUPS)
    assert all(case["case"] and case["owed"] for case in known.values())


def report(case: str, outcome: str = "passed", **more: object) -> SimpleNamespace:
    said = [(faults.FAULT, case), (faults.HAPPENED, f"{case} went {outcome}")]
    return SimpleNamespace(nodeid=f"tests/x.py::test_it[{case}]", when="call", outcome=outcome, user_properties=said, **more)


def test_a_case_is_short_when_one_of_its_tests_is_and_where_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    invented = {"E99": {"case": "a case of nobody", "owed": "all of it", "short": "half of it is shown"}}
    known = faults.cases() | invented
    monkeypatch.setattr(faults, "cases", lambda: known)
    results = faults.Results()
    for each in (report("B1"), report("B1", "failed"), report("B2"), report("B3", "skipped", wasxfail="reason: not yet"), report("E99")):
        results.hear(each)
    table = {row[0]: row for row in faults.rows(results.by_case)}
    assert {name: table[name][4] for name in ("B1", "B2", "B3", "B4", "E99")} == {
        "B1": "short",
        "B2": "ok",
        "B3": "short",
        "B4": "not run",
        "E99": "short",
    }
    assert table["B2"][3] == "B2 went passed"
    assert table["B3"][3].startswith("not yet")
    assert table["E99"][3].startswith("half of it is shown")
    page = faults.page(results.by_case, "here")
    assert all(f"| {name} |" in page for name in faults.cases())
    assert "`x.py::test_it`" in page
