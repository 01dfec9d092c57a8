"""The trial of a task that gives each customer a list: recommendation."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from time import process_time
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from features import interactions, profiles
from features.interactions import Interactions
from retain import engine
from retain.errors import RefusedError
from retain.workspace import Workspace, shift_days
from training import segments, slices
from training.card import Windows
from training.contracts import PURPOSES, Floats, Purpose, Ranker
from training.evidence import of_means
from training.judgement import Cost, Judged, Learned
from training.metrics import Direction
from training.reference import of_history
from training.tasks.recommend import MEASURES, Recommend, Targets
from training.tasks.recommend import Judged as Lists

SHORTEST_DAYS = 7
"""The shortest window that a short history is judged on."""


@dataclass(frozen=True)
class RankingTrial:
    """What was bought before the test window, in it, and until now."""

    task: Recommend
    before: Interactions
    """Known at the test cutoff, on the catalogue that is ranked."""
    targets: Targets
    now: Interactions
    """Known at the present moment, on the catalogue that is ranked."""
    windows: Windows
    horizon_days: int
    item: Literal["product", "category"]
    described: Mapping[str, NDArray[np.object_]] = field(default_factory=dict)
    """Words of the profile of each customer known at the test cutoff, by column."""

    kind: ClassVar[Literal["ranker"]] = "ranker"
    calibration: ClassVar[None] = None

    @classmethod
    def rolling(cls, task: Recommend, workspace: Workspace, tests: int) -> tuple[RankingTrial, ...]:
        """One trial per test window, the newest first: an earlier one ends where the next begins, and all are of one length."""
        found = [cls.open(task, workspace)]
        while len(found) < tests:
            try:
                earlier = cls.open(task, workspace, found[-1].windows.test[0])
            except RefusedError:
                break
            if earlier.windows.words:
                break
            found.append(earlier)
        return tuple(found)

    @classmethod
    def open(cls, task: Recommend, workspace: Workspace, at: datetime | None = None) -> RankingTrial:
        """Read who bought what, until now or as if it were ``at``.

        Raises:
            RefusedError: no history, or nobody bought anything in the test window.
        """
        state, now = workspace.state(), workspace.now() if at is None else at
        asked = task.horizon_days or state.horizon_days
        item = task.item or state.item
        with engine.of(workspace) as sql:
            first = sql.rows("select min(occurred_at) from transactions")[0][0]
            if first is None:
                raise RefusedError("recommend: there are no transactions; ingest some first")
            days = _days(first, now, asked)
            cutoff = shift_days(now, -days, state.stored_zone)
            before = task.history(interactions.load(sql, cutoff, item))
            until_now = interactions.load(sql, now, item)
            described = profiles.load(sql, cutoff).of(before.customers)
        targets = task.targets(before, until_now)
        if not len(targets.eligible("all")):
            raise RefusedError(
                f"recommend: of {len(before.customers)} customers known at {cutoff:%Y-%m-%d} nobody bought a known {item} in the {days} days after; "
                "ingest more history or choose another horizon"
            )
        words = "" if days == asked else f"History is shorter than two horizons of {asked} days: lists are judged on the {days} days before now."
        windows = Windows(train=(cutoff,), test=(cutoff,), final=(now,), words=words)
        return cls(task, before, targets, task.history(until_now), windows, asked, item, described)

    @property
    def name(self) -> str:
        """Name of the task."""
        return self.task.name

    @property
    def primary(self) -> str:
        """The metric that the gate compares."""
        return self.task.main_metric

    @property
    def directions(self) -> dict[str, Direction | None]:
        """More is better, whatever is measured."""
        return dict.fromkeys((figure(f"{name}@{self.task.k}", purpose) for purpose in PURPOSES for name in MEASURES), "higher")

    @property
    def test_rows(self) -> int:
        """Customers judged."""
        return len(self.targets.eligible("all"))

    def judge(self, model: Ranker, seed: int) -> Judged:
        """Learn from what was known at the test cutoff, judge on what was bought after it."""
        before = process_time()
        learned = self.task.ready(model, self.horizon_days).fit(self.before)
        fitted = process_time()
        judged = self.task.judge(learned, self.before, self.targets)
        lists = sum(len(each.customers) for each in judged.values())
        cost = Cost(fit_cpu_s=fitted - before, rows_per_s=lists / max(process_time() - fitted, 1e-6), training_rows=len(self.before), features=0)
        eligible = self.targets.eligible("all")
        customers = self.targets.customers[eligible]
        figures = {figure(name, purpose): _aligned(lists, name, customers) for purpose, lists in judged.items() for name in lists.values}
        apart = slices.chosen(slices.of_history(self.before, eligible, segments.rules(), self.described), customers)
        evidence = of_means(customers, self._truth(), figures, seed, primary=self.primary, slices=apart)
        # Discovery and repeats are judged apart too: who is better over all by giving up one of them is seen to.
        parts = {f"purpose: {purpose}": (figure(self.primary, purpose), len(judged[purpose].customers)) for purpose in PURPOSES if purpose != "all"}
        evidence = evidence.with_parts(self.primary, {name: part for name, part in parts.items() if part[1] >= slices.LEAST})
        return Judged(evidence, {}, self.windows, cost)

    def learn(self, model: Ranker) -> Learned:
        """Learn from everything until now."""
        fitted = self.task.ready(model, self.horizon_days).fit(self.now)
        return Learned(fitted, None, self.now, len(self.now), np.empty(0), of_history(self.now, fitted), tuple(getattr(fitted, "notes", ())))

    def _truth(self) -> str:
        digest = hashlib.sha256(self.windows.test[0].isoformat().encode())
        digest.update(np.ascontiguousarray(self.targets.customer).tobytes() + np.ascontiguousarray(self.targets.item).tobytes())
        return digest.hexdigest()


def figure(measure: str, purpose: Purpose) -> str:
    """Name of a measure of one purpose: ``ndcg@10`` for all that was bought, ``ndcg@10_new`` for what was new.

    >>> figure("ndcg@10", "new")
    'ndcg@10_new'
    """
    return measure if purpose == "all" else f"{measure}_{purpose}"


def _days(first: datetime, now: datetime, asked: int) -> int:
    """Days of the test window: those asked for, or half of a history that is shorter than two of them."""
    return min(asked, max((now - first).days // 2, SHORTEST_DAYS))


def _aligned(lists: Lists, name: str, customers: NDArray[np.object_]) -> Floats:
    """A measure per customer; NaN for those that its purpose does not judge."""
    values = np.full(len(customers), np.nan)
    values[np.searchsorted(customers, lists.customers)] = lists.values[name]
    return values
