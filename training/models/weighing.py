"""How the weights of a blend are learned: a search for the best lists on a window whose outcome is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from features.interactions import Interactions
from training.contracts import PURPOSES, Floats, Integers, Purpose
from training.models.lists import Scorer, allowed, top
from training.models.purchases import CELLS, Block, align, blocks, distinct

_STEPS = (1.0, 0.5, 0.25, 0.1, 0.05)


class Weighing(BaseModel):
    """A search that starts from the best single candidate and shifts weight while the lists get better."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    k: int = Field(default=10, ge=1)
    """Places judged, by NDCG."""
    customers: int = Field(default=1500, ge=1)
    """Customers judged at most, drawn with the seed."""
    least_customers: int = Field(default=50, ge=1)
    """With fewer there is nothing to learn from."""
    depth: int = Field(default=30, ge=1)
    """Best items of each candidate that enter the search."""
    least_gain: float = Field(default=0.0005, ge=0)
    """A step must improve the mean NDCG by more, and by ``sureness`` standard errors of the paired difference."""
    sureness: float = Field(default=1.0, ge=0)
    seed: int = 7

    def learn(self, candidates: Sequence[Scorer], past: Interactions, whole: Interactions) -> dict[Purpose, Floats] | None:
        """Purpose -> weights summing to one, or None where too few customers bought in the window.

        Args:
            candidates: learned on ``past``, and on its catalogue.
            past: the history as it stood before the window.
            whole: the history after the window; what is in it and not before ``past.moment`` is the outcome.
        """
        bought = _outcome(past, whole)
        if len(np.unique(bought[0])) < self.least_customers:
            return None
        weights: dict[Purpose, Floats] = {}
        for purpose in PURPOSES:
            pool = self._pool(candidates, past, bought, purpose)
            # Too few repeat or try something new: what serves all purchases has to do.
            weights[purpose] = self._search(pool) if pool else weights["all"]
        return weights

    def _pool(self, candidates: Sequence[Scorer], past: Interactions, bought: tuple[Integers, Integers], purpose: Purpose) -> _Pool | None:
        """What each candidate says of the items that any of them puts high."""
        width = len(past.items)
        pairs = bought[0] * width + bought[1]
        if purpose != "all":
            is_known = np.isin(pairs, past.customer.astype(np.int64) * width + past.item)
            pairs = pairs[is_known == (purpose == "repeat")]
        eligible = np.unique(pairs // width)
        if len(eligible) < self.least_customers:
            return None
        if len(eligible) > self.customers:
            eligible = np.sort(np.random.default_rng(self.seed).choice(eligible, self.customers, replace=False))
        parts = [self._items(candidates, block, purpose) for _, block in blocks(past, eligible, CELLS // 4)]
        count = np.concatenate([part[0] for part in parts])
        item, value = np.concatenate([part[1] for part in parts]), np.concatenate([part[2] for part in parts])
        row = np.repeat(np.arange(len(eligible)), count)
        slot = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        values = np.zeros((len(eligible), int(count.max(initial=1)), len(candidates)), dtype=np.float32)
        hit = np.zeros(values.shape[:2], dtype=bool)
        values[row, slot], hit[row, slot] = value, np.isin(eligible[row] * width + item, pairs)
        size = np.bincount(np.searchsorted(eligible, pairs[np.isin(pairs // width, eligible)] // width), minlength=len(eligible))
        return _Pool(values, hit, size, self.k)

    def _items(self, candidates: Sequence[Scorer], block: Block, purpose: Purpose) -> tuple[Integers, Integers, NDArray[np.float32]]:
        """Number of items in question for each customer; then for each of them, item and what every candidate says of it."""
        mask = allowed(block, purpose)
        scores = [shares(candidate.scores(block, purpose), mask) for candidate in candidates]
        chosen = np.zeros((block.customers, block.items), dtype=bool)
        for score in scores:
            listed = top(score, self.depth, mask)[0]
            row, rank = np.nonzero(listed >= 0)
            chosen[row, listed[row, rank]] = True
        row, item = np.nonzero(chosen)
        return chosen.sum(axis=1), item, np.stack([score[row, item] for score in scores], axis=1).astype(np.float32)

    def _search(self, pool: _Pool) -> Floats:
        """The hill is climbed from the best single candidate, by the best step each time."""
        count = pool.values.shape[2]
        alone = [pool.ndcg(weights) for weights in np.eye(count)]
        best = int(np.argmax([value.mean() for value in alone]))
        weights, value = np.eye(count)[best], alone[best]
        for step in _STEPS:
            moved = True
            while moved:
                moved = False
                trials = [shifted for place in range(count) for shifted in _shifts(weights, place, step)]
                judged = [pool.ndcg(trial) for trial in trials]
                order = np.argsort([-trial.mean() for trial in judged], kind="stable")
                for place in order[:1]:
                    gain = judged[place] - value
                    error = gain.std() / np.sqrt(len(gain))
                    if gain.mean() > max(self.least_gain, self.sureness * error):
                        weights, value, moved = trials[place], judged[place], True
        return weights


@dataclass(frozen=True)
class _Pool:
    """Items in question for some customers."""

    values: NDArray[np.float32]
    """(customers, slots, candidates) shares; zero in an empty slot."""
    hit: NDArray[np.bool_]
    """(customers, slots) bought in the window."""
    size: Integers
    """(customers,) items bought in the window."""
    k: int

    def ndcg(self, weights: Floats) -> Floats:
        """(customers,) NDCG of the lists that these weights make."""
        used = np.flatnonzero(weights)
        score = self.values[:, :, used] @ weights[used].astype(np.float32)
        best = _best(score, self.k)
        gain = 1.0 / np.log2(np.arange(2, self.k + 2))
        reached = np.take_along_axis(self.hit, best, axis=1) @ gain[: best.shape[1]]
        return np.asarray(reached / np.cumsum(gain)[np.minimum(self.size, self.k) - 1], dtype=np.float64)


def shares(scores: Floats, mask: NDArray[np.bool_] | None) -> Floats:
    """Scores as shares of the row's best allowed one; nothing below zero, nothing outside the mask."""
    usable = np.maximum(scores, 0.0)
    if mask is not None:
        usable *= mask
    best = usable.max(axis=1, keepdims=True, initial=0.0)
    return np.divide(usable, best, out=usable, where=best > 0)


def _outcome(past: Interactions, whole: Interactions) -> tuple[Integers, Integers]:
    """Distinct pairs bought in the window, by customers with a history before it and of the catalogue before it."""
    moment = np.datetime64(past.moment.replace(tzinfo=None), "us")
    after = align(whole, past.items)
    rows = (after.at >= moment) & np.isin(after.customer, past.customer)
    pairs = distinct(after.customer[rows].astype(np.int64) * max(len(past.items), 1) + after.item[rows])
    return pairs // max(len(past.items), 1), pairs % max(len(past.items), 1)


def _shifts(weights: Floats, place: int, step: float) -> list[Floats]:
    """Weights with more, and with less, of one candidate; their sum stays one."""
    out = []
    for change in (step, -step):
        moved = weights.copy()
        moved[place] = max(moved[place] + change, 0.0)
        if moved.sum() > 0 and not np.array_equal(moved / moved.sum(), weights):
            out.append(moved / moved.sum())
    return out


def _best(score: NDArray[np.float32], k: int) -> NDArray[np.intp]:
    """Slots of the best ``k``, best first."""
    if score.shape[1] <= k:
        return np.argsort(-score, axis=1, kind="stable")
    part = np.argpartition(-score, k, axis=1)[:, :k]
    part.sort(axis=1)
    order = np.argsort(-np.take_along_axis(score, part, axis=1), axis=1, kind="stable")
    return np.take_along_axis(part, order, axis=1)
