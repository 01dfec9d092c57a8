"""Has anything that the lock pins a known hole? `make audit` asks pip-audit, and believes in silence only where the database knows something.

exit 0   every pinned version was looked up, and no hole is left but what .ci/audit.toml allows for now
exit 1   a known hole, a version that was not looked up, or an entry of the allow-list that holds no longer
exit 2   the allow-list, the lock or an option says what cannot be
exit 3   not audited: no database is within reach, it knows nothing, or pip-audit is not here

pip-audit alone ends with 0 where a database says nothing of anything. So the same database is asked about a canary first, an old version with holes
that everybody knows. And pip-audit passes over what the lock pins for another Python or another system; that is looked up after it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CLEAN, HOLES, UNUSABLE, NOT_AUDITED = 0, 1, 2, 3
CANARY = ("jinja2", "2.4.1")
"""Of 2010, with holes told from 2014 on: whoever finds it clean knows nothing."""
LONGEST = timedelta(days=90)
"""How far ahead a hole may be allowed: long enough to wait for a release, too short to forget it."""
PATIENCE_S = 300
"""For one run of pip-audit, which asks about two hundred versions one after the other."""

MOST = 10
"""Versions without an answer; where there are more it is not theirs."""

Pin = tuple[str, str]
"""A package, its name as indices compare names, and a version."""


class UnusableError(Exception):
    """The allow-list, the lock or an option says what cannot be; the message names the place, the value and the remedy."""


class NoAnswerError(Exception):
    """pip-audit ended without an answer; the message says why."""

    def __init__(self, why: str, *, is_final: bool = False) -> None:
        super().__init__(why)
        self.is_final = is_final
        """Whether to ask about less would not help either."""


@dataclass(frozen=True)
class Allowed:
    """A hole that may stay for a while."""

    package: str
    id: str
    reason: str
    until: date
    """The last day on which it may."""


@dataclass(frozen=True)
class Hole:
    """A known hole in a version."""

    package: str
    version: str
    names: tuple[str, ...]
    """Its id, then its other names."""
    mended: tuple[str, ...]
    """Versions in which it is mended."""


@dataclass(frozen=True)
class Report:
    """What was looked up, and what came of it."""

    looked_up: frozenset[Pin] = frozenset()
    holes: tuple[Hole, ...] = ()
    passed_over: tuple[str, ...] = ()
    """What pip-audit did not judge, and why."""

    def __add__(self, other: Report) -> Report:
        return Report(self.looked_up | other.looked_up, self.holes + other.holes, self.passed_over + other.passed_over)


def plain(name: str) -> str:
    """The name as indices compare names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def allowed(text: str, place: str, today: date) -> list[Allowed]:
    """The allow-list, each entry complete, with a day that is not too far ahead."""
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UnusableError(f"{place} is not TOML: {error}; each entry begins with [[allow]].") from None
    entries = found.pop("allow", [])
    if found:
        raise UnusableError(f'{place}: "{next(iter(found))}" is nothing that is known here; each entry begins with [[allow]].')
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UnusableError(f'{place}: "allow" is {entries!r}; each entry begins with [[allow]].')
    return [_entry(entry, f"{place}, entry {number}", today) for number, entry in enumerate(entries, 1)]


def _entry(entry: dict[str, Any], place: str, today: date) -> Allowed:
    for name in entry:
        if name not in ("package", "id", "reason", "until"):
            raise UnusableError(f'{place}: "{name}" is nothing that an entry has; it has package, id, reason and until.')
    for name in ("package", "id", "reason"):
        value = entry.get(name)
        if value is None:
            raise UnusableError(f"{place}: {name} is missing; an entry has package, id, reason and until.")
        if not isinstance(value, str) or not value.strip():
            raise UnusableError(f"{place}: {name} is {value!r}; write some text in quotes.")
    until = entry.get("until")
    if until is None:
        raise UnusableError(f"{place}: until is missing; write the last day on which this holds, as until = {today + LONGEST} (without quotes).")
    if not isinstance(until, date) or isinstance(until, datetime):
        raise UnusableError(f"{place}: until is {str(until)!r}; write a day without time and quotes, as {today + LONGEST}.")
    if until - today > LONGEST:
        raise UnusableError(f"{place}: until is {until}, more than {LONGEST.days} days ahead; write {today + LONGEST} or a day before it.")
    return Allowed(plain(entry["package"].strip()), entry["id"].strip(), entry["reason"].strip(), until)


def pins(lock: str) -> list[Pin]:
    """Every version that the lock pins, for whatever Python and system."""
    found = re.findall(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==([^\s;\\]+)", lock, re.MULTILINE)
    return list(dict.fromkeys((plain(name), _version(version)) for name, version in found))


def _version(text: str) -> str:
    """As pip-audit tells of it; what is no version of today's form is asked about as it is written."""
    from packaging.version import InvalidVersion, Version

    try:
        return str(Version(text))
    except InvalidVersion:
        return text


def rounds(left: Iterable[Pin]) -> list[list[Pin]]:
    """The same pins so that each round has one version of a package: pip-audit refuses two, which a lock for several Pythons may have."""
    made: list[list[Pin]] = []
    count: dict[str, int] = defaultdict(int)
    for name, version in left:
        if count[name] == len(made):
            made.append([])
        made[count[name]].append((name, version))
        count[name] += 1
    return made


def read(answer: str, beside: str) -> Report:
    """What pip-audit wrote: its JSON, and beside it warnings of entries that it could not read and left out."""
    dependencies = json.loads(answer)["dependencies"]
    looked_up = [each for each in dependencies if "skip_reason" not in each]
    unread = re.findall(r"^WARNING:pip_audit\._service[^:]*:(.*)$", beside, re.MULTILINE)
    return Report(
        frozenset((plain(each["name"]), each["version"]) for each in looked_up),
        tuple(
            Hole(plain(each["name"]), each["version"], (hole["id"], *sorted(hole["aliases"])), tuple(hole["fix_versions"]))
            for each in looked_up
            for hole in each["vulns"]
        ),
        (
            *(f"{each['name']} ({each['skip_reason']})" for each in dependencies if "skip_reason" in each),
            *(f"an entry of the database ({warning.strip()})" for warning in unread),
        ),
    )


def no_answer(beside: str) -> NoAnswerError:
    """Why there is no answer, from what pip-audit wrote instead."""
    lines = [line.strip() for line in beside.splitlines() if line.strip()] or ["it said nothing"]
    # A status of the server comes as a cause, with a traceback without words behind it.
    failed = [line for line in lines if line.startswith(("requests.exceptions.", "pip_audit._service.")) or "Could not connect" in line]
    return NoAnswerError((failed or lines[-1:])[0])


def holding(list_: Iterable[Allowed], hole: Hole) -> list[Allowed]:
    """The entries that mean this hole, by any of its names."""
    names = {name.casefold() for name in hole.names}
    return [entry for entry in list_ if entry.package == hole.package and entry.id.casefold() in names]


def judge(found: Report, list_: Sequence[Allowed], today: date) -> list[str]:
    """What is wrong with what was found, however much that is: holes that nobody allows, entries that have expired, what was not judged."""
    valid = [entry for entry in list_ if entry.until >= today]
    said = []
    for hole in found.holes:
        if not holding(valid, hole):
            also = f" (also {', '.join(hole.names[1:])})" if hole.names[1:] else ""
            mended = f"mended in {', '.join(hole.mended)}" if hole.mended else "no version mends it yet"
            said.append(f"{hole.package} {hole.version} has a known hole, {hole.names[0]}{also}; {mended}.")
    said += [
        f"{entry.package}, {entry.id} was allowed until {entry.until} and is no longer; mend it, or say again why not."
        for entry in list_
        if entry.until < today
    ]
    return said + [f"pip-audit did not judge {what}." for what in found.passed_over]


def left_over(found: Report, pinned: Iterable[Pin], list_: Iterable[Allowed], today: date) -> list[str]:
    """What is wrong although everything was asked: versions without an answer, entries that match no hole."""
    matching = [entry for hole in found.holes for entry in holding(list_, hole)]
    silent = [pin for pin in pinned if pin not in found.looked_up]
    idle = [entry for entry in list_ if entry.until >= today and entry not in matching]
    return [f"{name} {version} is pinned, and pip-audit has no answer about it." for name, version in silent] + [
        f"{entry.package}, {entry.id} is allowed and no such hole is left; take the entry out." for entry in idle
    ]


class Auditor:
    """pip-audit, and the database that it is to ask."""

    def __init__(self, program: str, osv_url: str | None) -> None:
        self.program, self.osv_url = program, osv_url

    def look_up(self, lock: Path, pinned: Sequence[Pin]) -> tuple[Report, str | None]:
        """What came of the lock, and why that is not the whole where it is not."""
        found, known = Report(), " ".join(CANARY)
        with tempfile.TemporaryDirectory() as folder:
            try:
                if not self._ask_about([CANARY], Path(folder)).holes:
                    return found, f"the database knows of no hole in {known}, which has several, so what it does not tell of others says nothing"
            except NoAnswerError as error:
                return found, f"asked about {known} first, pip-audit got no answer: {error}"
            return self._look_up_all(lock, pinned, Path(folder))

    def _look_up_all(self, lock: Path, pinned: Sequence[Pin], folder: Path) -> tuple[Report, str | None]:
        found, refused = self._as_it_stands(lock, folder)
        # pip-audit tells nothing of a run in which one version has no answer: then parts of it are asked about, until that one is found.
        left = rounds(pin for pin in pinned if pin not in found.looked_up)
        while left:
            part = left.pop()
            try:
                found += self._ask_about(part, folder)
            except NoAnswerError as error:
                if error.is_final or len(found.passed_over) >= MOST or not self._is_there():
                    return found, f"pip-audit did not come to the end of the lock: {error}"
                if len(part) == 1:
                    found += Report(passed_over=(f"{' '.join(part[0])} ({error})",))
                else:
                    left += [part[: len(part) // 2], part[len(part) // 2 :]]
        if refused is not None and not found.passed_over:
            # Each version has an answer, so it was the moment, or the lock itself: what is no pin of an index, or has no hash.
            again, refused = self._as_it_stands(lock, folder)
            # Its holes are known by now.
            found += Report(again.looked_up) if refused is None else Report(passed_over=(f"the lock as it stands ({refused})",))
        return found, None

    def _as_it_stands(self, lock: Path, folder: Path) -> tuple[Report, NoAnswerError | None]:
        try:
            return self.ask(lock, "--require-hashes", cache=folder), None
        except NoAnswerError as error:
            return Report(), error

    def _is_there(self) -> bool:
        """Whether the database still answers: what it has no answer about is then the version's matter and not the database's."""
        # Without the answers that were kept in the cache of the other runs.
        with contextlib.suppress(NoAnswerError), tempfile.TemporaryDirectory() as folder:
            return bool(self._ask_about([CANARY], Path(folder)).holes)
        return False

    def _ask_about(self, asked: Iterable[Pin], folder: Path) -> Report:
        file = folder / "asked.txt"
        file.write_text("".join(f"{name}=={version}\n" for name, version in asked), encoding="utf-8")
        return self.ask(file, "--no-deps", cache=folder)

    def ask(self, file: Path, how: str, *, cache: Path) -> Report:
        """One run of pip-audit. Its cache is a folder for the moment: answers are not kept, so nothing of a home needs to be written."""
        command = [self.program, "-r", str(file), how, "--disable-pip", "--format", "json", "--progress-spinner", "off", "--cache-dir", str(cache)]
        command += ["-s", "osv", "--osv-url", self.osv_url] if self.osv_url else ["-s", "pypi"]
        # A setting that sends the answer to a file, or keeps warnings back, would hide what is read here.
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_AUDIT_")}
        try:
            done = subprocess.run(command, env=kept, capture_output=True, text=True, timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise NoAnswerError(f"it was not done after {PATIENCE_S} s", is_final=True) from None
        except OSError as error:
            raise NoAnswerError(f"{self.program} cannot be run ({error.strerror})", is_final=True) from None
        try:
            return read(done.stdout, done.stderr)
        except (ValueError, KeyError, TypeError):
            raise no_answer(done.stderr) from None


def audit(lock: Path, list_: Path, osv_url: str | None, today: date) -> int:
    """Look up what the lock pins, and tell what is wrong; the exit code."""
    entries = allowed(_text(list_, "an empty file allows nothing"), _shown(list_), today)
    pinned = pins(_text(lock, "`make lock` makes it"))
    if not pinned:
        raise UnusableError(f"{_shown(lock)} pins nothing as name==version; `make lock` makes it anew.")
    if osv_url is not None and not re.match(r"https?://\S+$", osv_url):
        raise UnusableError(f'--osv-url is "{osv_url}"; write an address that begins with https.')
    program = shutil.which("pip-audit", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]))
    found, why = Auditor(program, osv_url).look_up(lock, pinned) if program else (Report(), "pip-audit is not here; `make setup` brings it")
    wrong = judge(found, entries, today)
    if why is None:
        wrong += left_over(found, pinned, entries, today)
    for sentence in wrong:
        print(sentence)
    for entry in entries:
        if entry.until >= today:
            print(f"Allowed until {entry.until}: {entry.package}, {entry.id}: {entry.reason}")
    if why is not None:
        print(f"Not audited: {why}.")
        return HOLES if wrong else NOT_AUDITED
    if wrong:
        print(f"{len(pinned)} versions looked up; a hole that cannot be mended yet may be allowed for a while in {_shown(list_)}.")
        return HOLES
    print(f"{len(pinned)} versions looked up, nothing to mend.")
    return CLEAN


def _shown(file: Path) -> str:
    return str(file.relative_to(ROOT) if file.is_relative_to(ROOT) else file)


def _text(file: Path, remedy: str) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableError(f"{_shown(file)} cannot be read ({getattr(error, 'strerror', None) or 'it is not UTF-8'}); {remedy}.") from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the options and the clock."""
    parser = argparse.ArgumentParser(description="Known holes in what the lock pins.")
    parser.add_argument("--lock", type=Path, default=ROOT / "requirements.lock", help="what is pinned (requirements.lock)")
    parser.add_argument("--allow", type=Path, default=ROOT / ".ci" / "audit.toml", help="holes that may stay for a while (.ci/audit.toml)")
    asked = "a database that speaks OSV, else PIP_AUDIT_OSV_URL; without either what the package index tells of each version"
    parser.add_argument("--osv-url", default=os.environ.get("PIP_AUDIT_OSV_URL") or None, help=asked)
    parser.add_argument("--today", type=date.fromisoformat, default=datetime.now(UTC).date(), help="the day by which entries expire")
    options = parser.parse_args(arguments)
    try:
        return audit(options.lock, options.allow, options.osv_url, options.today)
    except UnusableError as error:
        print(error)
        return UNUSABLE


if __name__ == "__main__":
    sys.exit(main())
