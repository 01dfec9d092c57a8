"""What happened to each case of tests/faults/cases.yaml when it was tried: `python -m benchmarks.faults` runs the tests that name a case.

The table is made of what pytest reports, so there is no second list of what was tested. A case is ``ok`` when every test that names it
passed, ``short`` when one failed or is known to fail, and stands without a result where a reason says why nothing can be tried here.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
CASES = ROOT / "tests" / "faults" / "cases.yaml"
PAGE = ROOT / "docs" / "faults.md"
FAULT, HAPPENED = "fault", "happened"
"""Names under which a test says which case it shows, and what happened in its own words and figures."""
GROUPS = {"B": "Training and the registry", "C": "Serving", "D": "Lists", "E": "Access, audit, privacy"}


@dataclass
class Result:
    """What came of the tests of one case."""

    passed: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    """Reasons of tests that are known to fail."""
    skipped: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)


class Results:
    """Collects reports; a plugin of pytest hands them over."""

    def __init__(self) -> None:
        self.by_case: dict[str, Result] = defaultdict(Result)

    def hear(self, report: Any) -> None:
        """One report of one phase of one test."""
        said = [(str(name), str(value)) for name, value in report.user_properties]
        cases = [value for name, value in said if name == FAULT]
        test = re.sub(r"\[.*", "", report.nodeid)
        for case in cases:
            found = self.by_case[case]
            if report.when == "call" or report.outcome != "passed":
                if hasattr(report, "wasxfail"):
                    found.known.append(str(report.wasxfail).removeprefix("reason: "))
                else:
                    {"passed": found.passed, "failed": found.failed, "skipped": found.skipped}[report.outcome].append(test)
                found.words += [value for name, value in said if name == HAPPENED and value not in found.words]


def cases() -> dict[str, dict[str, str]]:
    """Every case: what is tried, what is owed, and why not where it cannot be tried."""
    found: dict[str, dict[str, str]] = yaml.safe_load(CASES.read_text(encoding="utf-8"))
    return found


def verdict(case: dict[str, str], result: Result) -> str:
    """ok, short, not run, or not applicable."""
    if result.failed or result.known or (result.passed and "short" in case):
        return "short"
    if result.passed:
        return "ok"
    return "not applicable" if "not_applicable" in case else "not run"


def rows(results: dict[str, Result]) -> list[tuple[str, str, str, str, str, str]]:
    """Id, what was done, what was owed, what happened, the verdict, and the tests."""
    return [_row(name, case, results.get(name, Result())) for name, case in cases().items()]


def _row(name: str, case: dict[str, str], found: Result) -> tuple[str, str, str, str, str, str]:
    said = verdict(case, found)
    tests = list(dict.fromkeys([*found.passed, *found.failed, *found.skipped]))
    count = f"{len(found.passed)} of {len(found.passed) + len(found.failed)} passed"
    happened = {
        "ok": "; ".join(found.words) or count,
        "short": "; ".join([*([case["short"]] if "short" in case else []), *found.known, *found.words, *([count] if found.failed else [])]),
    }
    short = "; ".join([*([case["not_applicable"]] if "not_applicable" in case else []), *found.words])
    return name, case["case"], case["owed"], happened.get(said, short), said, ", ".join(f"`{_short(test)}`" for test in tests)


def page(results: dict[str, Result], machine: str) -> str:
    """The page."""
    table = rows(results)
    count = {said: sum(row[4] == said for row in table) for said in ("ok", "short", "not run", "not applicable")}
    lines = [
        "# What goes wrong, and what happens then",
        "",
        "Written by `make faults`: each case is tried with the real part (a process killed, a disk that is full, a socket that says nothing), by the",
        "tests that carry its id. Group A (input tables) is `tests/faults/test_tables.py`.",
        "",
        f"Last run: {machine}; " + ", ".join(f"{number} {said}" for said, number in count.items() if number) + ".",
    ]
    for letter, title in GROUPS.items():
        lines += ["", f"## {letter}. {title}", "", "| | what is done | what is owed | what happened | |", "| --- | --- | --- | --- | --- |"]
        lines += [
            f"| {name} | {_cell(done)} | {_cell(owed)} | {_cell(happened)} | {said} |"
            for name, done, owed, happened, said, _ in table
            if name[0] == letter
        ]
        lines += ["", "Tests: " + "; ".join(f"{name} {tests}" for name, *_, tests in table if name[0] == letter and tests) + "."]
    return "\n".join(lines) + "\n"


def text(results: dict[str, Result]) -> Iterable[str]:
    """The same for a terminal, a line per case."""
    for name, done, _, happened, said, _ in rows(results):
        yield f"{name:<4} {said:<15} {done[:60]:<60} {happened[:110]}"


def machine() -> str:
    """What the run ran on."""
    return f"Python {sys.version_info.major}.{sys.version_info.minor}, {sys.platform}, {os.cpu_count()} cores"


def _short(test: str) -> str:
    file, _, name = test.partition("::")
    return f"{file.removeprefix('tests/')}::{name}"


def _cell(words: str) -> str:
    return words.replace("|", "\\|").replace("\n", " ")


def main() -> int:
    """Run every test that names a case; the table goes to docs/faults.md, or where the first argument says; further ones go to pytest."""
    target = sys.argv[1] if len(sys.argv) > 1 else str(PAGE)
    command = [sys.executable, "-m", "pytest", "-q", "-m", FAULT, f"--fault-table={target}", *(sys.argv[2:] or ["tests"])]
    return subprocess.run(command, cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
