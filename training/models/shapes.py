"""What trees are held to: directions of columns, and which of them may act together. Found on closed windows, by trees of windows before them.

Candidates are free trees, trees that follow the declared directions, trees in which only the pairs of columns may meet that carry half of
the gain which free trees drew from meetings, and both. Trees stay free unless the best of the others gains more than one standard error over
customers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from training.contracts import Floats, Frame, Integers
from training.models import held_out
from training.models.directions import declared
from training.models.enough import SEARCH_ROWS
from training.models.parallel import together
from training.models.rows import Rows, folds

WINDOWS = 2
"""Windows that judge, the newest; each is asked of trees that learned from the windows which had closed by then."""
_LEAST_ROWS = 200
_GAIN = 0.5
"""Share of the gain of meetings that the pairs kept carry."""
_POWER = 1.5
_CLIP = 1e-6

Pair = tuple[str, str]


@dataclass(frozen=True)
class Shape:
    """What trees are held to. Names are those of inner columns for pairs, of the frame's for directions."""

    name: str
    rising: tuple[str, ...] = ()
    falling: tuple[str, ...] = ()
    pairs: tuple[Pair, ...] | None = None
    """Columns that may act together in a tree; None: any."""


FREE = Shape("free")


class Boosted(Protocol):
    """Trees that have learned."""

    def predict(self, x: Floats) -> Floats:
        """(rows,) chances or amounts."""

    def meetings(self) -> Mapping[Pair, float]:
        """Pair of inner columns to the gain of the splits below one by the other."""


Boost = Callable[[Shape], Boosted]


@dataclass(frozen=True)
class Found:
    """The shape that was chosen, and why."""

    shape: Shape
    words: str


def find(frame: Frame, objective: str, prepare: Callable[[Frame], Boost]) -> Found:
    """Compare the candidates.

    Args:
        frame: Rows in canonical order.
        objective: ``binary`` for a chance of no purchase, else an amount.
        prepare: Rows to something that boosts on them, with as few rounds as a comparison needs.
    """
    rows = _few(frame)
    rounds = [(early, late) for early, late in _rounds(rows) if len(early) >= _LEAST_ROWS and len(np.unique(rows.y[early])) > 1]
    if not rounds:
        return Found(FREE, "trees: free, because no window had closed before another to search constraints on")
    parts = together([partial(_compare, rows, early, late, objective, prepare) for early, late in rounds])
    owner = np.concatenate([held_out.owners(rows)[late] for _, late in rounds])
    losses = {name: np.concatenate([part[name][1] for part in parts]) for name in parts[0] if all(name in part for part in parts)}
    name = best(losses, owner)
    # Of pairs, those of the newest round: it learned from most windows.
    figures = ", ".join(f"{each} {float(loss.mean()):.4f}" for each, loss in losses.items())
    what = "log loss" if objective == "binary" else "deviance"
    words = f"trees: {name}; {what} on the {len(rounds)} newest windows, by trees of the windows before each: {figures}"
    return Found(parts[0][name][0], words)


def best(losses: Mapping[str, Floats], owner: Integers) -> str:
    """The candidate with the least loss, if it gains more than one standard error on free trees; else those.

    Args:
        losses: Candidate to (rows,) losses.
        owner: (rows,) a number per customer: the rows of one customer err together.
    """
    least = min(losses, key=lambda name: float(losses[name].sum()))
    gain = np.bincount(owner, losses[FREE.name] - losses[least])[np.bincount(owner) > 0]
    return least if gain.sum() > gain.std(ddof=1) * np.sqrt(len(gain)) else FREE.name


def strongest(meetings: Mapping[Pair, float], share: float = _GAIN) -> tuple[Pair, ...]:
    """The fewest pairs that carry a share of the gain.

    >>> strongest({("a", "b"): 6.0, ("a", "c"): 3.0, ("b", "c"): 3.0})
    (('a', 'b'),)
    """
    wanted, kept = share * sum(meetings.values()), []
    for pair in sorted(meetings, key=lambda pair: (-meetings[pair], pair)):
        if wanted <= 0:
            break
        kept.append(pair)
        wanted -= meetings[pair]
    return tuple(sorted(kept))


def met(trees: Iterable[Mapping[str, Any]], names: tuple[str, ...]) -> dict[Pair, float]:
    """Pair of columns to the gain of splits by one of them below a split by the other, over LightGBM's dumped trees."""
    found: dict[Pair, float] = {}
    waiting = [(tree["tree_structure"], frozenset[int]()) for tree in trees]
    while waiting:
        node, above = waiting.pop()
        if "split_feature" not in node:
            continue
        own = int(node["split_feature"])
        for other in above - {own}:
            pair = (names[min(own, other)], names[max(own, other)])
            found[pair] = found.get(pair, 0.0) + float(node["split_gain"])
        waiting += [(node[side], above | {own}) for side in ("left_child", "right_child")]
    return found


def _compare(rows: Frame, early: Rows, late: Rows, objective: str, prepare: Callable[[Frame], Boost]) -> dict[str, tuple[Shape, Floats]]:
    """Candidate to its shape and its losses on the later window."""
    boost, judged = prepare(rows.take(early)), rows.take(late)
    free = boost(FREE)
    pairs = strongest(free.meetings())
    rising, falling = (tuple(name for name in names if name in rows.columns) for names in declared(objective == "binary"))
    shapes = [Shape("in pairs", pairs=pairs)]
    if rising or falling:
        directed = Shape("in declared directions", rising, falling)
        shapes = [Shape("in declared directions and pairs", rising, falling, pairs), directed, *shapes]
    answers = {shape.name: (shape, boost(shape)) for shape in shapes} | {FREE.name: (FREE, free)}
    return {name: (shape, _losses(trees.predict(judged.x), judged.y, objective)) for name, (shape, trees) in answers.items()}


def _rounds(frame: Frame) -> list[tuple[Rows, Rows]]:
    """(rows to learn from, rows of the window that judges), the newest window first."""
    return [(held_out.closed_before(frame, at), np.flatnonzero(frame.cutoff == at)) for at in np.unique(frame.cutoff)[::-1][:WINDOWS]]


def _few(frame: Frame) -> Frame:
    parts = -(-len(frame) // SEARCH_ROWS)
    return frame if parts <= 1 else frame.take(np.flatnonzero(folds(frame, parts) == 0))


def _losses(said: Floats, y: Floats, objective: str) -> Floats:
    if objective == "binary":
        p = np.clip(said, _CLIP, 1 - _CLIP)
        return np.asarray(-(y * np.log(p) + (1 - y) * np.log1p(-p)))
    if objective == "regression":
        return np.asarray((said - y) ** 2)
    least = max(float(said.mean()), _CLIP) * 1e-4
    mu, actual = np.maximum(said, least), np.maximum(y, 0.0)
    return np.asarray(actual * mu ** (1 - _POWER) / (_POWER - 1) + mu ** (2 - _POWER) / (2 - _POWER))
