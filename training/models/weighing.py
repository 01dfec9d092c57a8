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

_STEPS = (0.5, 0.2, 0.05)


class Weighing(BaseModel):
    """A search that starts from the best single candidate and shifts weight while the lists get better."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    k: int = Field(default=10, ge=1)
    """Places judged, by NDCG."""
    customers: int = Field(default=2500, ge=1)
    """Customers judged at most, drawn with the seed."""
    least_customers: int = Field(default=50, ge=1)
    """With fewer there is nothing to learn from."""
    depth: int = Field(default=30, ge=1)
    """Best items of each candidate that enter the search."""
    least_gain: float = Field(default=0.0005, ge=0)
    """A step must improve the mean NDCG by more, and by ``sureness`` standard errors of the paired difference."""
    sureness: float = Field(default=0.5, ge=0)
    seed: int = 7

    def learn(self, candidates: Sequence[Scorer], past: Interactions, whole: Interactions) -> dict[Purpose, Floats] | None:
        """Purpose -> weights summing to one, or None where too few customers bought in the window.

        Args:
            candidates: learned on ``past``, and on its catalogue.
            past: the history as it stood before the window.
            whole: the history after the window; what is in it and not before ``past.moment`` is the outcome.
        """
        drawn = self.drawn(past, whole)
        if drawn is None:
            return None
        judged, pairs = drawn
        width = max(len(past.items), 1)
        pools: dict[Purpose, list[_Pool]] = {purpose: [] for purpose in PURPOSES}
        for place, block in blocks(past, judged, CELLS // 4):
            scores = [candidate.scores(block, "all") for candidate in candidates]
            inside = pairs[(pairs >= place.start * width) & (pairs < place.stop * width)] - place.start * width
            for purpose in PURPOSES:
                pools[purpose].append(self._pool(scores, block, inside, purpose))
        weights: dict[Purpose, Floats] = {}
        for purpose in PURPOSES:
            pool = _together(pools[purpose])
            # Where too few repeat or try something new, what serves all purposes has to do.
            weights[purpose] = self._search(pool) if len(pool.size) >= self.least_customers else weights["all"]
        return weights

    def search(self, values: NDArray[np.float32], hit: NDArray[np.bool_], row: Integers, size: Integers) -> Floats | None:
        """Weights of candidates, of what they say as shares of some pairs; None where too few customers found something.

        Args:
            values: (pairs, candidates).
            hit: (pairs,) bought in the window.
            row: (pairs,) position of the customer, rising.
            size: (customers,) items bought in the window.
        """
        if len(size) < self.least_customers:
            return None
        count = np.bincount(row, minlength=len(size))
        slot = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        shape = (len(size), int(count.max(initial=1)))
        padded, found = np.zeros((*shape, values.shape[1]), dtype=np.float32), np.zeros(shape, dtype=bool)
        padded[row, slot], found[row, slot] = values, hit
        return self._search(_Pool(padded, found, size, self.k))

    def drawn(self, past: Interactions, whole: Interactions) -> tuple[Integers, Integers] | None:
        """Customers who bought in the window, and what: place in the first * items + item; None where they are too few."""
        pairs = _outcome(past, whole)
        width = max(len(past.items), 1)
        judged = distinct(pairs // width)
        if len(judged) < self.least_customers:
            return None
        if len(judged) > self.customers:
            judged = np.sort(np.random.default_rng(self.seed).choice(judged, self.customers, replace=False))
            pairs = pairs[np.isin(pairs // width, judged)]
        return judged, np.searchsorted(judged, pairs // width) * width + pairs % width

    def _pool(self, scores: Sequence[Floats], block: Block, pairs: Integers, purpose: Purpose) -> _Pool:
        """What each candidate says of the items that any of them puts high, for the customers of a block with something to find."""
        mask = allowed(block, purpose)
        wanted = np.zeros((block.customers, block.items), dtype=bool)
        wanted[pairs // max(block.items, 1), pairs % max(block.items, 1)] = True
        if mask is not None:
            wanted &= mask
        found = np.flatnonzero(wanted.any(axis=1))
        open_to = None if mask is None else mask[found]
        chosen = np.zeros((len(found), block.items), dtype=bool)
        best = np.ones((len(found), len(scores)))
        for number, score in enumerate(scores):
            listed, reached = top(score[found], self.depth, open_to)
            row, rank = np.nonzero(listed >= 0)
            chosen[row, listed[row, rank]] = True
            best[:, number] = np.where(listed[:, 0] >= 0, reached[:, 0], 1.0)
        row, item = np.nonzero(chosen)
        count = chosen.sum(axis=1)
        slot = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        values = np.zeros((len(found), int(count.max(initial=1)), len(scores)), dtype=np.float32)
        values[row, slot] = np.maximum(np.stack([score[found[row], item] for score in scores], axis=1), 0.0) / best[row]
        hit = np.zeros(values.shape[:2], dtype=bool)
        hit[row, slot] = wanted[found[row], item]
        return _Pool(values, hit, wanted[found].sum(axis=1), self.k)

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
        return np.asarray(weights, dtype=np.float64)


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
    return np.asarray(np.divide(usable, best, out=usable, where=best > 0), dtype=np.float64)


def _outcome(past: Interactions, whole: Interactions) -> Integers:
    """Distinct pairs bought in the window, by customers with a history before it and of the catalogue before it: customer * items + item."""
    moment = np.datetime64(past.moment.replace(tzinfo=None), "us")
    after = align(whole, past.items)
    rows = (after.at >= moment) & np.isin(after.customer, past.customer)
    return distinct(after.customer[rows].astype(np.int64) * len(past.items) + after.item[rows])


def _together(parts: Sequence[_Pool]) -> _Pool:
    """The pools of all blocks as one."""
    widest = max(part.hit.shape[1] for part in parts)
    values = [np.pad(part.values, ((0, 0), (0, widest - part.hit.shape[1]), (0, 0))) for part in parts]
    hit = [np.pad(part.hit, ((0, 0), (0, widest - part.hit.shape[1]))) for part in parts]
    return _Pool(np.concatenate(values), np.concatenate(hit), np.concatenate([part.size for part in parts]), parts[0].k)


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
