"""Who entered or left between two retention lists, and why: read from what each list says of everybody. Pure but for ``read``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from math import isclose, isfinite, log
from pathlib import Path
from typing import Any, NamedTuple

from retain.errors import DataError
from retain.files import read_json, sha256

COLUMNS = ("customer_id", "change", "why", "detail", "state_before", "state_after", "gain_before", "gain_after", "risk_before", "risk_after")
NUMBERS = frozenset({"gain_before", "gain_after", "risk_before", "risk_after"})
ON = "contacted"
SAME = 0.01
"""A risk or a value that moved by less than this share has not moved."""
CENT = 0.005
"""Prices and gains that are told alike are alike."""


class Standing(NamedTuple):
    """What a list says of one customer."""

    state: str
    offer_id: str
    channel: str
    best_gain: float | None
    above_price: float | None
    risk: float | None
    value: float | None


@dataclass(frozen=True)
class Kept:
    """A list as it was written."""

    as_of: datetime
    manifest: Mapping[str, Any]
    standings: Mapping[str, Standing]


@dataclass(frozen=True)
class Difference:
    """What changed between two lists."""

    stayed: int
    moved: int
    """Of those who stayed, who are now to be told something else, or on another channel."""
    entered: int
    left: int
    counts: list[tuple[str, str, int]]
    """Entered or left, why, customers."""
    changed: list[str]
    """What differs between the lists themselves: arguments, prices, models, rules."""
    rows: list[list[Any]]
    """One per customer who entered or left, by id."""


def read(path: Path) -> Kept:
    """A list by the name it was written under.

    Raises:
        DataError: its manifest or what it says of everybody is missing, or changed since.
    """
    import pyarrow.parquet as pq

    summary, why = path.with_name(f"{path.name}.json"), path.with_name(f"{path.name}.why.parquet")
    if not summary.is_file() or not why.is_file():
        raise DataError(f"{path.name}: {summary.name} and {why.name} have to lie beside it; write the list with `retain list retention --out`")
    manifest = read_json(summary)
    if manifest.get("kind") != "retention list":
        raise DataError(f"{summary.name} is no manifest of a retention list; `retain list retention --out` writes one")
    if manifest.get("files", {}).get(why.name) != sha256(why):
        raise DataError(f"{why.name} is not the file that {summary.name} describes; write the list again")
    columns = pq.read_table(why).to_pydict()
    names = ("state", "offer_id", "channel", "best_gain", "above_price", "risk", "value")
    rows = zip(*(columns[name] for name in names), strict=True)
    standings = {customer: Standing(*row) for customer, row in zip(columns["customer_id"], rows, strict=True)}
    return Kept(datetime.fromisoformat(manifest["as_of"]), manifest, standings)


def difference(before: Kept, after: Kept) -> Difference:
    """Compare two lists, the earlier one first."""
    rows: list[list[Any]] = []
    stayed = moved = 0
    at_same_prices = _asked_alike(before.manifest, after.manifest)
    for customer in sorted(before.standings.keys() | after.standings.keys()):
        was, now = before.standings.get(customer), after.standings.get(customer)
        is_on, was_on = now is not None and now.state == ON, was is not None and was.state == ON
        if was is not None and now is not None and is_on and was_on:
            stayed += 1
            moved += (was.offer_id, was.channel) != (now.offer_id, now.channel)
        elif is_on or was_on:
            change = "entered" if is_on else "left"
            why, detail = _why(was, now, is_on, at_same_prices=at_same_prices)
            figures = [None if side is None else getattr(side, name) for name in ("best_gain", "risk") for side in (was, now)]
            states = ["unknown" if side is None else side.state for side in (was, now)]
            rows.append([customer, change, why, detail, *states, *figures])
    counts = Counter((row[1], row[2]) for row in rows)
    ordered = sorted(((change, why, count) for (change, why), count in counts.items()), key=lambda each: (each[0], -each[2], each[1]))
    entered = sum(row[1] == "entered" for row in rows)
    return Difference(stayed, moved, entered, len(rows) - entered, ordered, changed(before.manifest, after.manifest), rows)


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What differs between the lists themselves, in words."""
    said = []
    for title in ("arguments", "models", "prices"):
        was, now = _flat(before.get(title, {})), _flat(after.get(title, {}))
        said += [
            f"{title[:-1]} {name}: {was.get(name)} -> {now.get(name)}" for name in sorted(was.keys() | now.keys()) if was.get(name) != now.get(name)
        ]
    said += [f"{name}: {before.get(name)} -> {after.get(name)}" for name in ("policy", "as_of") if before.get(name) != after.get(name)]
    return said


def _asked_alike(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether both lists were solved at the same prices of money, seats and stock; what has no price costs nothing."""
    was, now = ({name: value for name, value in _flat(each.get("prices", {})).items() if name != "valid_until"} for each in (before, after))
    return bool(was) and bool(now) and all(isclose(was.get(name) or 0.0, now.get(name) or 0.0, abs_tol=CENT) for name in was.keys() | now.keys())


def _why(was: Standing | None, now: Standing | None, is_on: bool, *, at_same_prices: bool) -> tuple[str, str]:
    """The reason in a word, and with its figures."""
    if was is None:
        return "new", "not known before"
    if now is None:
        return "gone", "no longer known"
    off = was if is_on else now
    if off.state == "held_out":
        return "control group", "was held out before" if is_on else "is held out now"
    if off.state == "cut":
        return "limits", "on the edge of budget or seats"
    if off.best_gain is None:
        name = off.state.replace("_", " ")
        return name, f"{name} {'before' if is_on else 'now'}"
    return _money(was, now, is_on, at_same_prices=at_same_prices)


def _money(was: Standing, now: Standing, is_on: bool, *, at_same_prices: bool) -> tuple[str, str]:
    """A change of the price, or of the gain: then by risk or by value, whichever moved more.

    Of many who are worth the same, some are taken at the price and some not. Where the price is the same, it is the limit that reaches further.
    """
    on, off = (now, was) if is_on else (was, now)
    price = (on.best_gain or 0.0) - (on.above_price or 0.0)
    if off.best_gain is not None and off.best_gain > 0 and off.best_gain > price - CENT and at_same_prices:
        return (
            "limits",
            f"worth as much as others at the same price: budget, seats and stock {'reach further now' if is_on else 'reached further before'}",
        )
    if off.best_gain is not None and off.best_gain > price and off.best_gain > 0:
        return (
            "price",
            f"the price of what it takes {'fell' if is_on else 'rose'}: at {price:.2f} the gain of {off.best_gain:.2f} would have been enough",
        )
    moves = {"risk": _move(was.risk, now.risk), "value": _move(was.value, now.value)}
    name = max(moves, key=lambda each: abs(moves[each]))
    if abs(moves[name]) < SAME:
        return "effect or cost", f"gain {was.best_gain or 0:.2f} -> {now.best_gain or 0:.2f} with the same risk and value"
    return name, f"{name} {getattr(was, name):.2f} -> {getattr(now, name):.2f}"


def _move(was: float | None, now: float | None) -> float:
    if was is None or now is None or not (isfinite(was) and isfinite(now)) or was <= 0 or now <= 0:
        return 0.0
    return log(now / was)


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        found.update({f"{name}.{inner}": each for inner, each in value.items()} if isinstance(value, dict) else {name: value})
    return found
