"""Drift of a ranker: what is bought, how customers buy, what its lists are made of, and how good they were after the training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np

from experiments.findings import LOOKED_BACK, Finding, Kind, figures, run_since, since_words
from features import interactions, snapshot
from features.interactions import Interactions
from retain import engine
from retain.config import build
from retain.workspace import Workspace, shift_days
from training import gate
from training.card import Card
from training.contracts import FittedRanker
from training.drift import chance, psi_of
from training.evidence import Evidence, of_means
from training.habits import habits
from training.models.purchases import align, before
from training.package import Package
from training.ranking_trial import figure
from training.reference import Reference, item_counts, item_shares, list_counts, share_of

UNKNOWN = 0.1
"""Purchases of items that the model does not know, above which that counts as moved."""


@dataclass(frozen=True)
class _Look:
    """One history against what the model was trained on: index of each input, and how much stood behind it."""

    index: dict[str, float]
    rows: dict[str, int]

    @classmethod
    def at(cls, reference: Reference, history: Interactions, item: str) -> _Look:
        shares = item_shares(history, np.array(reference.names, dtype=object))
        index, rows = {item: psi_of(reference.shares, shares)}, {item: int(item_counts(history).sum())}
        if reference.habits is not None:
            x = habits(history)
            index |= reference.habits.drift_of(x) if len(x) else {}
            rows |= dict.fromkeys(reference.habits.names, len(x)) if len(x) else {}
        return cls(index, rows)


def of_lists(
    workspace: Workspace, package: Package, reference: Reference, limits: gate.Rules, now: datetime
) -> tuple[list[Finding], tuple[str, ...]]:
    """What was found, and what cannot be said yet."""
    card, zone = package.card, workspace.state().stored_zone
    item: Literal["product", "category"] = "category" if card.item == "category" else "product"
    with engine.of(workspace) as sql:
        today = interactions.load(sql, now, item)
        then = interactions.load(sql, card.moment, item)
    known = align(today, package.ranker.items)
    newer = [moment for moment in snapshot.cadence(workspace) if card.moment < moment < now]
    back = newer[:: max(1, -(-len(newer) // LOOKED_BACK))]
    found = list(_inputs(reference, known, item, back, limits))
    bought = item_counts(today).sum()
    unknown = float(1 - item_counts(known).sum() / bought) if bought else 0.0
    words = f"{unknown:.1%} of the last purchases are of items that the model does not know"
    found.append(Finding("inputs", "unknown items", unknown, UNKNOWN, unknown > UNKNOWN, words))
    found += _listed(reference, package.ranker, known, limits)
    end = shift_days(card.moment, card.horizon_days, zone)
    if end > now:
        return found, (f"outcomes can be said from {end:%Y-%m-%d} on, when the first window after the training has closed",)
    with engine.of(workspace) as sql:
        later = interactions.load(sql, end, item)
    judged = list(_outcomes(package, then, later))
    return [*found, *judged], () if judged else ("nobody bought a known item in the window after the training",)


def _inputs(reference: Reference, known: Interactions, item: str, back: list[datetime], limits: gate.Rules) -> Iterator[Finding]:
    """Shares of the items bought most, and each habit of the customers; of what has moved, since when."""
    today = _Look.at(reference, known, item)
    parts = reference.habits
    limit = {
        name: max(limits.psi, chance(len(reference.names) + 1, reference.rows, rows))
        if parts is None or name == item
        else max(limits.psi, chance(parts.bins(name), parts.rows, rows))
        for name, rows in today.rows.items()
    }
    moved = {name for name, value in today.index.items() if value > limit[name]}
    past = {at: _Look.at(reference, before(known, (known.moment - at).total_seconds() / 86_400), item).index for at in back} if moved else {}
    for name, value in today.index.items():
        since = run_since(back, {at: index.get(name, 0.0) for at, index in past.items()}, limit[name]) if name in moved else None
        what = f"shares of the {len(reference.names)} {item} items bought most" if name == item else f"{name.replace('_', ' ')} of customers"
        yield Finding("inputs", name, value, limit[name], name in moved, f"{what}: stability index {value:.3f}{since_words(since)}", since)


def _listed(reference: Reference, ranker: FittedRanker, known: Interactions, limits: gate.Rules) -> Iterator[Finding]:
    """Which items the lists of today are made of, against those of the training."""
    if reference.listed is None:
        return
    count = list_counts(ranker, known)
    names = np.array(reference.listed.names, dtype=object)
    index = psi_of(reference.listed.shares, share_of(ranker.items, count, names))
    limit = max(limits.psi, chance(len(names) + 1, reference.listed.rows, int(count.sum())))
    words = f"shares of the {len(names)} items listed most: stability index {index:.3f}"
    yield Finding("scores", "lists", index, limit, index > limit, words)


def _outcomes(package: Package, then: Interactions, later: Interactions) -> Iterator[Finding]:
    """Lists made on the day of the training, judged on the window after it; and who bought in it, against the window before."""
    card, task = package.card, build(package.card.task_spec, "task")
    history = align(then, package.ranker.items)
    targets = task.targets(history, later)
    if not len(targets.eligible("all")):
        return
    yield _buyers(then, later, card)
    kept = Evidence.load(package.folder)
    for purpose, judged in task.judge(package.ranker, history, targets).items():
        if not len(judged.customers):
            continue
        name, right = figure(card.primary, purpose), figure(f"precision@{task.k}", purpose)
        values = {name: judged.values[card.primary], right: judged.values[f"precision@{task.k}"]}
        # How often a place is right is the chance that is shown beside it: its calibration.
        asked: Mapping[str, Kind] = {name: "outcomes", right: "calibration"}
        yield from figures(card, of_means(judged.customers, "", values, card.seed), kept, card.moment, asked)


def _buyers(then: Interactions, later: Interactions, card: Card) -> Finding:
    """Share of the customers known at a moment who buy within the horizon, after the training and before it."""
    after = _share(then, later)
    earlier = before(then, card.horizon_days)
    share = _share(earlier, then)
    spread = 1.96 * sum(value * (1 - value) / max(count, 1) for value, count in (after, share)) ** 0.5
    change = after[0] - share[0]
    words = f"{after[0]:.1%} of known customers bought in the {card.horizon_days} days after the training, {share[0]:.1%} in those before"
    return Finding("outcomes", "buyers", abs(change), max(0.05 * share[0], spread), abs(change) > max(0.05 * share[0], spread), words)


def _share(known: Interactions, later: Interactions) -> tuple[float, int]:
    who = known.customers[np.unique(known.customer)]
    bought = later.customers[np.unique(later.customer[later.at >= np.datetime64(known.moment.replace(tzinfo=None), "us")])]
    return float(np.isin(who.astype(str), bought.astype(str)).mean()) if len(who) else 0.0, len(who)
