"""The commands of this floor: what each feature means, filling the store, and proving that serving sees what training saw."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from features import catalog
from features.catalog import View
from retain.errors import IntegrityError
from retain.terminal import note, parser, say, say_json, table, workspace
from retain.workspace import Workspace

DESCRIPTION = """\
List, show, build and audit features.

exit codes: 0 done; 2 wrong option; 4 nothing ingested or built yet; 6 workspace locked; 7 audit: online and offline differ"""
SHOWN = 20
"""Differences printed for people; --json gives all."""


@dataclass(frozen=True)
class Filled:
    """What filling the feature store did."""

    at: datetime
    """The moment that was materialised: the clock of the workspace."""
    rows: int
    """Snapshot rows written now."""
    files: int
    """Snapshot files written now."""
    kept: int
    """Snapshot files that were there already."""
    views: int
    online: dict[str, int]
    """Rows in the online store by view."""
    seconds: dict[str, float]
    """How long each step took."""


def fill(place: Workspace) -> Filled:
    """Build the missing snapshots of the cadence, register the definitions with Feast, and materialise the present moment."""
    from features import snapshot, store

    marks = [time.monotonic()]
    moments = snapshot.cadence(place)
    built = snapshot.build(place, moments)
    marks.append(time.monotonic())
    views = store.apply(place)
    marks.append(time.monotonic())
    online = store.materialize(place, moments[-1])
    marks.append(time.monotonic())
    steps = ("snapshots", "apply", "materialize")
    seconds = {step: round(after - before, 3) for step, before, after in zip(steps, marks, marks[1:], strict=False)}
    return Filled(moments[-1], built.rows, built.files, built.kept, views, online, seconds)


def features(argv: Sequence[str]) -> int:
    """``retain features list|show NAME|build|audit``."""
    top = parser("features", DESCRIPTION)
    top.add_argument("action", choices=("list", "show", "build", "audit"), help="what to do")
    top.add_argument("name", nargs="?", help="show: the view")
    top.add_argument("--customers", type=int, default=200, metavar="N", help="audit: how many customers to compare (default: 200)")
    arguments = top.parse_args(argv)
    if arguments.action != "show" and arguments.name is not None:
        top.error(f"`features {arguments.action}` takes no name, {arguments.name!r} was given")
    if arguments.action == "show" and arguments.name is None:
        top.error("`features show` needs the name of a view; `retain features list` lists them")
    if arguments.customers < 1:
        top.error(f"--customers must be at least 1, it is {arguments.customers}")
    actions = {"list": _list, "show": _show, "build": _build, "audit": _audit}
    return actions[arguments.action](arguments)


def _list(arguments: argparse.Namespace) -> int:
    views = catalog.views()
    if arguments.json:
        say_json({"digest": catalog.digest(), "views": [_words(view) for view in views]})
        return 0
    rows = [[view.name, view.kind, view.entity, str(len(view.columns)), f"{view.ttl_days} d"] for view in views]
    say(table(rows, ["view", "class", "per", "columns", "lives"]))
    say()
    for view in views:
        say(f"{view.name}: {view.description}")
    say()
    say(f"{sum(len(view.columns) for view in views)} features in {len(views)} views; `retain features show VIEW` explains one")
    return 0


def _show(arguments: argparse.Namespace) -> int:
    view = catalog.view(arguments.name)
    if arguments.json:
        columns = [{"name": each.name, "dtype": each.dtype, "unit": each.unit, "description": each.description} for each in view.columns]
        say_json({**_words(view), "columns": columns, "sql": view.sql})
        return 0
    say(f"{view.name} ({view.kind}; one row per {view.entity} and moment; lives {view.ttl_days} days)")
    say(view.description)
    if view.reads:
        say(f"reads the intermediate tables {', '.join(view.reads)}")
    say()
    say(table([[each.name, each.dtype, each.unit] for each in view.columns], ["column", "type", "unit"]))
    say()
    for each in view.columns:
        say(f"{each.name}: {each.description}")
    say()
    say(view.sql)
    return 0


def _build(arguments: argparse.Namespace) -> int:
    place = workspace(arguments)
    with place.lock("retain features build"):
        done = fill(place)
    if arguments.json:
        say_json({**vars(done), "at": done.at.isoformat()})
        return 0
    say(f"snapshots    {done.rows:,} rows in {done.files} new files, {done.kept} files kept  {done.seconds['snapshots']:.1f} s")
    say(f"definitions  {done.views} views registered with Feast  {done.seconds['apply']:.1f} s")
    say(f"online store {sum(done.online.values()):,} rows as of {done.at:%Y-%m-%d %H:%M} UTC  {done.seconds['materialize']:.1f} s")
    return 0


def _audit(arguments: argparse.Namespace) -> int:
    from features import audit

    place = workspace(arguments)
    at = place.now()
    ids = audit.sample(place, at, arguments.customers)
    refs = audit.all_refs()
    found = audit.differences(place, ids, at, refs)
    if arguments.json:
        rows: list[dict[str, Any]] = json.loads(found.to_json(orient="records"))
        say_json({"at": at.isoformat(), "customers": len(ids), "features": len(refs), "differences": rows})
    else:
        for row in found.head(SHOWN).itertuples():
            say(f"{row.customer_id}  {row.feature}  online {row.online!r}  offline {row.offline!r}")
        say(f"{len(ids)} customers x {len(refs)} features at {at:%Y-%m-%d %H:%M} UTC: {len(found)} values differ between online and offline")
    if len(found):
        note(f"retain features audit: {len(found)} values differ; run `retain features build`, then audit again")
        return IntegrityError.exit_code
    return 0


def _words(view: View) -> dict[str, Any]:
    return {
        "name": view.name,
        "class": view.kind,
        "entity": view.entity,
        "grain": f"one row per {view.entity} and moment",
        "columns": len(view.columns),
        "ttl_days": view.ttl_days,
        "reads": list(view.reads),
        "description": view.description,
    }
