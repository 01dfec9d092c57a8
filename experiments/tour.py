"""What the demo asks the running service, and what its last screen says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from typing import Any, get_args

from features import catalog
from features.catalog import Kind
from features.snapshot import cadence
from features.snapshot import path as snapshot_path
from retain import terminal
from retain.engine import Engine, identifier
from retain.errors import NotReadyError, RefusedError
from retain.workspace import Workspace
from training.card import Card, Measure
from training.package import champion, read_card

TASKS = ("churn", "clv", "recommend")
START_S = 60.0
"""How long the service may take to say that it is ready."""
CLASSES = get_args(Kind)
TABLES_OF = {"descriptive": ("customers",), "behavioral": ("events",), "transaction": ("transactions",), "promotional": ("contacts", "outcomes")}
"""The tables that a class of customer data comes from; a source without them has no such features, and that is said."""
SHOWN = {"churn": ("log_loss", "auc"), "clv": ("mae", "gini_norm"), "recommend": ("ndcg@10", "ndcg@10_new", "ndcg@10_repeat")}


@dataclass(frozen=True)
class Answers:
    """What the service answered."""

    customer: str
    scores: dict[str, Any]
    decision: dict[str, Any]
    unknown: dict[str, Any]
    outcome: dict[str, Any]
    milliseconds: float
    """Time of the decision over HTTP, the second one: the first one warms up."""
    seconds: float


@dataclass(frozen=True)
class Summary:
    """The last screen."""

    words: str
    figures: dict[str, Any]


def vary(place: Workspace) -> int:
    """Say how many features of each class vary at the present moment.

    Raises:
        RefusedError: a class of customer data has no feature that tells two customers apart.
    """
    newest = cadence(place)[-1]
    counts = dict.fromkeys(CLASSES, 0)
    with Engine() as engine:
        for view in catalog.customer_views():
            file = snapshot_path(place, view.name, newest)
            different = ", ".join(f"count(distinct {identifier(column.name)}) > 1" for column in view.columns)
            varying = sum(engine.rows(f"select {different} from read_parquet('{file}')")[0])
            counts[view.kind] += varying
    rows = place.state().tables
    broken = [name for name in CLASSES if not counts[name] and any(rows.get(table) for table in TABLES_OF[name])]
    if broken:
        raise RefusedError(f"no {broken[0]} feature varies between customers; check what the source's mapping gives for that class")
    terminal.say("features that vary: " + ", ".join(f"{counts[name] or 'no'} {name}" for name in CLASSES))
    return 0


def answers(place: Workspace) -> Answers:
    """Start the service, ask it what a CRM would ask, stop it."""
    start = time.monotonic()
    # A new name each time: the service would give the stored answer to a request that it has seen.
    customer, name = _riskiest(place), f"demo-{uuid.uuid4().hex[:8]}"
    with _service(place) as url:
        terminal.note(f"\n$ retain serve        # {url}")
        scores = _post(url, "/v1/scores", {"customer_ids": [customer]})
        asked = {"customer_id": customer, "goal": "best", "placement": "inbound_end", "max_offers": 3}
        decision = _post(url, "/v1/decisions", {**asked, "request_id": f"{name}-1"})
        before = time.monotonic()
        _post(url, "/v1/decisions", {**asked, "request_id": f"{name}-2"})
        milliseconds = (time.monotonic() - before) * 1000
        unknown = _post(url, "/v1/decisions", {"customer_id": "nobody", "request_id": f"{name}-3"})
        outcome = {}
        if decision["offers"]:
            accepted = {
                "outcome_id": f"{name}-outcome",
                "decision_id": decision["decision_id"],
                "offer_id": decision["offers"][0]["offer_id"],
                "type": "accepted",
                "occurred_at": place.now().isoformat(),
            }
            outcome = _post(url, "/v1/outcomes", accepted)
    return Answers(customer, scores, decision, unknown, outcome, milliseconds, time.monotonic() - start)


def summary(place: Workspace, seconds: Mapping[str, float], answered: Answers, churn_list: Path) -> Summary:
    """The last screen: what was learned and how good it is, one decision, where everything lies, what to type next."""
    state, cards = place.state(), {task: _card(place, task) for task in TASKS}
    rows = [row for task, card in cards.items() for row in _judged(task, card)]
    total = sum(seconds.values())
    lines = [
        "",
        "=" * 100,
        f"{state.title or state.source}, as of {place.now():%Y-%m-%d %H:%M} UTC" + (" (SYNTHETIC)" if state.synthetic else ""),
        f"{state.tables['transactions']:,} transaction lines, {state.tables['events']:,} events, {state.tables['contacts']:,} contacts, "
        f"{len(catalog.views())} feature views with {sum(len(view.columns) for view in catalog.views())} features",
        "",
        terminal.table(rows, ("champion", "metric", "on the test window [95 %]", "baseline", "better by [95 %]")),
        "",
        *_decided(answered),
        "",
        terminal.table([[name, f"{spent:.1f} s"] for name, spent in seconds.items()] + [["total", f"{total:.1f} s"]], ("stage", "time")),
        "",
        f"churn list      {churn_list}",
        f"models          {place.models}   catalogue in {place.mlruns}",
        *(f"assumed         {one.name} = {one.value}: {one.basis}" for one in state.assumed),
        "",
        "next, for example:",
        *(f"  {_typed(place, words)}" for words in ("serve", "compare churn --html compare.html", f"decisions {answered.customer}", "features list")),
        "your own data: write a mapping like configs/sources/completejourney.yaml, then demo --source FILE --data DIR",
    ]
    figures = {
        "seconds": {**seconds, "total": total},
        "models": {task: {name: each.model_dump() for name, each in card.metrics.items()} for task, card in cards.items()},
        "decision": answered.decision,
        "churn_list": str(churn_list),
    }
    return Summary("\n".join(lines), figures)


def _typed(place: Workspace, words: str) -> str:
    """A command as it can be typed here: the installed one need not be on the path, nor this workspace the default one."""
    command = Path(sys.executable).with_name("retain")
    here = command.relative_to(Path.cwd()) if command.is_relative_to(Path.cwd()) else command
    return f"{here} {words}" + ("" if place == Workspace.at() else f" --workspace {place.root}")


def _judged(task: str, card: Card) -> list[list[str]]:
    present = [name for name in SHOWN[task] if name in card.metrics] or [card.primary]
    return [[f"{task}: {card.title}" if n == 0 else "", name, *_cells(card.metrics[name])] for n, name in enumerate(present)]


def _cells(one: Measure) -> list[str]:
    digits = 3 if abs(one.value) < 10 else 1
    return [
        f"{one.value:.{digits}f} [{one.low:.{digits}f}, {one.high:.{digits}f}]",
        f"{one.baseline:.{digits}f}",
        f"{one.gain:+.{digits}f} [{one.gain_low:+.{digits}f}, {one.gain_high:+.{digits}f}]",
    ]


def _decided(answered: Answers) -> Iterator[str]:
    decision = answered.decision
    yield f"asked: what to offer customer {answered.customer} now?   answered in {answered.milliseconds:.1f} ms, from {decision['source']}"
    for offer in decision["offers"]:
        words = " ".join(reason["text"] for reason in offer["reasons"])
        yield f"  {offer['rank']}. {offer['name']} ({offer['goal']}, evidence {offer['evidence']}): {words}"
    if not decision["offers"]:
        yield "  nothing: every proposal was withheld"
    yield f"  {len(decision['withheld'])} withheld" + (f", the first by rule {decision['withheld'][0]['rule']}" if decision["withheld"] else "")
    unknown = answered.unknown
    why = f", by rule {unknown['withheld'][0]['rule']}" if unknown["withheld"] and not unknown["offers"] else ""
    yield f"asked: and to an unknown one, unasked?   {len(unknown['offers'])} offers{why} ({', '.join(unknown['degraded'])})"


def _card(place: Workspace, task: str) -> Card:
    folder = champion(place, task)
    if folder is None:
        raise NotReadyError(f"{task} has no champion; `retain train {task}` says why")
    return read_card(folder)


def _riskiest(place: Workspace) -> str:
    """The first customer of the churn list; any known one where the list is empty."""
    import pandas as pd

    listed = pd.read_csv(place.lists / "churn.csv", dtype=str, nrows=1)
    if len(listed):
        return str(listed["customer_id"].iloc[0])
    with Engine() as engine:
        return str(engine.rows(f"select min(customer_id) from read_parquet('{place.table('transactions')}')")[0][0])


@contextmanager
def _service(place: Workspace) -> Iterator[str]:
    """The service in a process of its own on a free loopback port, ready, and stopped at the end."""
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "retain", "serve", "--workspace", str(place.root), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=os.getcwd()) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(process, url)
            yield url
        finally:
            process.terminate()
            process.communicate(timeout=30)


def _wait(process: subprocess.Popen[str], url: str) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        if process.poll() is not None:
            said = process.stderr.read() if process.stderr else ""
            raise NotReadyError(f"the service ended at start: {said.strip().splitlines()[-1] if said.strip() else 'it said nothing'}")
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=2):  # noqa: S310 - loopback
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise NotReadyError(f"the service was not ready within {START_S:.0f} s; run `retain serve` to see why")


def _post(url: str, route: str, body: Mapping[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(url + route, json.dumps(body).encode(), {"content-type": "application/json"})  # noqa: S310 - loopback
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - loopback
            result: dict[str, Any] = json.loads(answer.read())
            return result
    except urllib.error.HTTPError as error:
        raise RefusedError(f"the service answered {route} with {error.code}: {error.read().decode(errors='replace')}") from error
