"""A hundred changes of champions and rows at 200 requests a second: errors, mixed answers, latency and memory.

    python -m benchmarks.serving.swaps --workspace DIR [--swaps 100] [--rate 200] [--every 0.6] [--runner uvicorn bentoml]

The workspace must be published. Champions and rows change in turn: the shipped champion of churn and constants, and rows of three moments;
every tenth champion is broken and must change nothing. Each answer is read: its versions must belong together and have been named. At the end
receipts are read: the
score that each rested on must be that of the model it names. The requests come at a constant rate from a process of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.serving.callers import Calls, loaded, milliseconds
from benchmarks.serving.servers import HERE, Server, copied, cores, free_port, resident_mb, running
from retain.files import MANIFEST, read_json, sha256, write_json
from retain.workspace import Workspace
from serving.basis import unpacked
from serving.champions import on_rows
from serving.ledger import Ledger, reading
from serving.opening import Opener
from serving.rows import POINTER, Rows
from training import package
from training.encoding import Encoder
from training.evidence import Evidence
from training.models.constant import FittedConstant

CHECKED = 3000
"""Receipts whose score is computed again."""


def hashed(folder: Path) -> None:
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    write_json(folder / MANIFEST, {"files": {name: sha256(folder / name) for name in names}})


def models(workspace: Workspace) -> list[str]:
    """The shipped champion of churn, and two constants beside it."""
    pointer = workspace.models / "churn" / package.POINTER
    first = package.load(workspace.models / "churn" / read_json(pointer)["model_id"])
    found = [first.card.model_id]
    for value in (0.125, 0.25):
        card = first.card.model_copy(update={"title": f"constant {value}", "columns": ()})
        evidence = Evidence("hand", 1, {}, {})
        made = package.package(FittedConstant(value), card, workspace.models, evidence=evidence, golden=np.zeros((2, 0)), encoder=Encoder({}))
        found.append(made.name)
    return found


def versions(workspace: Workspace) -> dict[str, str]:
    """Version -> moment: the published rows, and the same as of one and two minutes later."""
    named = read_json(workspace.rows / POINTER)["version"]
    card = Rows.open(workspace.rows / named).card
    found = {named: card.moment}
    for minutes in (1, 2):
        version, moment = f"{named}-{minutes}", card.moment + timedelta(minutes=minutes)
        folder = workspace.rows / version
        shutil.copytree(workspace.rows / named, folder)
        (folder / "card.json").write_bytes(msgspec.json.encode(replace(card, version=version, moment=moment)))
        shop = read_json(folder / "shop.json")
        write_json(folder / "shop.json", {**shop, "moment": moment.isoformat()})
        hashed(folder)
        found[version] = moment
    state = workspace.state()
    if state.as_of is not None:
        workspace.write_state(state.model_copy(update={"as_of": state.as_of + timedelta(minutes=5)}))
    return {version: msgspec.json.decode(msgspec.json.encode(moment), type=str) for version, moment in found.items()}


def changes(workspace: Workspace, churn: list[str], rows: list[str], count: int) -> Iterator[tuple[str, str, bool]]:
    """Move a pointer, and say which model and which rows are named now and whether they can be taken up."""
    model, version = churn[0], rows[0]
    for number in range(count):
        is_broken = number % 10 == 9
        if is_broken:
            broken = workspace.models / "churn" / f"churn-broken{number}"
            shutil.copytree(workspace.models / "churn" / churn[1], broken, dirs_exist_ok=True)
            (broken / "model" / "constant.json").write_text('{"value": 0.5}')
            write_json(workspace.models / "churn" / package.POINTER, {"model_id": broken.name, "previous": model})
        elif number % 2:
            version = rows[(number // 2 + 1) % len(rows)]
            write_json(workspace.rows / POINTER, {"version": version, "previous": None})
            write_json(workspace.models / "churn" / package.POINTER, {"model_id": model, "previous": None})
        else:
            model = churn[(number // 2 + 1) % len(churn)]
            write_json(workspace.models / "churn" / package.POINTER, {"model_id": model, "previous": None})
        yield model, version, is_broken


async def swapping(workspace: Workspace, churn: list[str], rows: list[str], count: int, every_s: float) -> list[tuple[float, str, str]]:
    """Change every so many seconds, beside the load; return when which pair was named."""
    named = [(0.0, churn[0], rows[0])]
    steps = changes(workspace, churn, rows, count)
    while (step := await asyncio.to_thread(next, steps, None)) is not None:
        named.append((time.time(), *step[:2]))
        await asyncio.sleep(every_s)
    return named


def mixed(calls: Calls, named: list[tuple[float, str, str]], moments: dict[str, str]) -> int:
    """Answers whose versions were never named together, or whose rows are of another moment than their version."""
    pairs = {(model, version) for _, model, version in named}
    return sum((each["churn"], each["rows"]) not in pairs or moments[each["rows"]] != each["rows_at"] for _, each, _ in calls.answers)


def wrong(workspace: Workspace, calls: Calls) -> tuple[int, int]:
    """Of some receipts, those that rest on another score than that of the model on the rows that they name; and how many were looked at."""
    rows = {folder.name: Rows.open(folder) for folder in workspace.rows.iterdir() if (folder / "card.json").is_file()}
    scorers: dict[tuple[str, str], Any] = {}
    step = max(len(calls.answers) // CHECKED, 1)
    chosen = calls.answers[::step]

    def count(ledger: Ledger) -> int:
        odd = 0
        for _, named, decision_id in chosen:
            entry = ledger.decision(decision_id)
            basis = None if entry is None else unpacked(entry.basis)
            if entry is None or basis is None or basis.customer is None or not basis.features:
                continue
            key = (named["churn"], named["rows"])
            if key not in scorers:
                card = rows[key[1]].card
                scorers[key] = on_rows(package.load(workspace.models / "churn" / key[0]), card.columns, card.vocabulary)
            row = rows[key[1]].get(entry.customer_id)
            assert row is not None
            odd += abs(float(scorers[key].predict(row.raw)[0]) - (basis.customer.scores.churn or 0.0)) > 1e-9
        return odd

    return reading(workspace.ledger, count), len(chosen)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--swaps", type=int, default=100)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--every", type=float, default=0.6, help="seconds from one change to the next")
    parser.add_argument("--runner", nargs="+", default=["uvicorn", "bentoml"])
    arguments = parser.parse_args()
    for runner in arguments.runner:
        with tempfile.TemporaryDirectory() as name:
            found = trial(Workspace.at(arguments.workspace), Path(name), runner, arguments.swaps, arguments.rate, arguments.every)
            print(json.dumps({"runner": runner, **found}), flush=True)


def trial(source: Workspace, folder: Path, runner: str, swaps: int, rate: float, every_s: float) -> dict[str, Any]:
    """One service under load: undisturbed first, then with swaps."""
    workspace = Workspace.at(copied(source, folder))
    churn, moments = models(workspace), versions(workspace)
    rows = Opener(workspace).first().rows
    step = max(len(rows) // 2000, 1)
    asked = [{"customer_id": rows.id(place), "placement": "inbound_end", "channel": "call_center"} for place in range(0, len(rows), step)]
    bodies = [json.dumps(each).encode() for each in asked]
    here = {"PYTHONPATH": str(HERE.parents[1]), "RETAIN_WORKSPACE": str(workspace.root)}
    command = (sys.executable, "-m", "retain", "serve", "--runner", runner, "--workspace", str(workspace.root))
    port, (core, ours) = free_port(), cores()
    if ours:
        os.sched_setaffinity(0, {int(ours)})
    seconds = swaps * every_s
    with running(Server(runner, command, "/v1/decisions", Path(), here), port, core) as group:
        # Once through every version before memory is measured: each is opened once in any service's life.
        _, first = asyncio.run(both(port, bodies, rate, 12 * every_s + 2, workspace, churn, list(moments), 12, every_s))
        quiet = asyncio.run(loaded(port, bodies, rate, min(seconds, 20.0)))
        before = resident_mb(group)
        calls, named = asyncio.run(both(port, bodies, rate, seconds + 2, workspace, churn, list(moments), swaps, every_s))
        after = resident_mb(group)
        asyncio.run(loaded(port, bodies, rate, 5))
        rest = resident_mb(group)
    odd, looked = wrong(workspace, calls)
    seen = len({(each["churn"], each["rows"]) for _, each, _ in calls.answers})
    changed = sum(one[1:] != other[1:] for one, other in zip(map(pair, calls.answers), map(pair, calls.answers[1:]), strict=False))
    return {
        "customers": len(rows),
        "swaps": swaps,
        "answers": len(calls.answers),
        "errors": dict(Counter(calls.failed)),
        "mixed": mixed(calls, [*first, *named], moments),
        "receipts_checked": looked,
        "receipts_wrong": odd,
        "pairs_seen": seen,
        "changes_seen": changed,
        "quiet_ms": milliseconds(quiet.took),
        "swapping_ms": milliseconds(calls.took),
        "mb": [round(each, 1) for each in (before, after, rest)],
    }


def pair(answer: tuple[float, dict[str, Any], str]) -> tuple[float, str, str]:
    return answer[0], answer[1]["churn"], answer[1]["rows"]


async def both(
    port: int, bodies: list[bytes], rate: float, seconds: float, workspace: Workspace, churn: list[str], rows: list[str], count: int, every_s: float
) -> tuple[Calls, list[tuple[float, str, str]]]:
    """Load and changes at once."""
    return tuple(await asyncio.gather(loaded(port, bodies, rate, seconds), swapping(workspace, churn, rows, count, every_s)))  # type: ignore[return-value]


if __name__ == "__main__":
    main()
