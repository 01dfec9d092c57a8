"""What actions bring and use, and who would take which at given prices: everybody on their own, block by block. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.decisions.figures import Floats

NOTHING = -1
"""The choice of nobody's action."""
_CELLS = 1_000_000
"""Customers x actions that are looked at at once: small enough for the processor's caches."""

Choices = NDArray[np.int16]


def one_of(kind: NDArray[np.int64], kinds: int) -> NDArray[np.bool_]:
    """(kinds, actions) what is taken where each action takes a unit of one kind; -1 takes none.

    >>> one_of(np.array([1, -1, 0]), 2).astype(int).tolist()
    [[0, 0, 1], [1, 0, 0]]
    """
    return np.asarray(kind[None, :] == np.arange(kinds)[:, None])


@dataclass(frozen=True)
class Means:
    """The choice of at most one action per customer, and what there is to pay for it.

    Resources are money first, then what is counted in units: each kind of seat, and each offer of which there are only so many.
    """

    gain: NDArray[np.floating[Any]]
    """(customers, actions) expected money of each action after its costs; ``-inf`` where it must not be taken. Never NaN."""
    cost: Floats
    """Money that an action takes from the budget, not below zero: (actions,), or (customers, actions) where it differs by customer."""
    takes: NDArray[np.bool_]
    """(units, actions) whether an action takes one unit of a resource that is counted."""
    limits: Floats
    """(1 + units,) the budget, then how much there is of each unit; ``inf`` where there is no limit."""

    def __post_init__(self) -> None:
        if self.cost.shape not in (self.gain.shape[1:], self.gain.shape) or self.takes.shape != (len(self.limits) - 1, *self.gain.shape[1:]):
            raise ValueError(
                f"gain {self.gain.shape}, cost {self.cost.shape}, takes {self.takes.shape} and {len(self.limits)} limits do not belong together"
            )
        if np.any(self.cost < 0) or np.any(np.isnan(self.limits)) or np.any(self.limits < 0):
            raise ValueError("a cost or a limit is below zero, or no number")

    def __len__(self) -> int:
        return len(self.gain)

    def take(self, rows: NDArray[np.intp], limits: Floats | None = None) -> Means:
        """The same choice for some customers, with other limits where given."""
        cost = self.cost if self.cost.ndim == 1 else self.cost[rows]
        return Means(self.gain[rows], cost, self.takes, self.limits if limits is None else limits)

    def prices(self, at: Floats, rows: slice | NDArray[np.intp]) -> NDArray[np.floating[Any]]:
        """What actions cost some customers at the prices of the resources, in the gain's own precision."""
        cost = self.cost if self.cost.ndim == 1 else self.cost[rows]
        return np.asarray(at[0] * cost + at[1:] @ self.takes, dtype=self.gain.dtype)

    def net(self, at: Floats, rows: slice | NDArray[np.intp]) -> NDArray[np.floating[Any]]:
        """(rows, actions) gain less what is used, at prices."""
        return np.asarray(self.gain[rows] - self.prices(at, rows))

    def used(self, rows: NDArray[np.intp], choice: Choices) -> Floats:
        """(1 + units,) what the customers in ``rows`` use with their choices; each has one."""
        result = np.zeros(len(self.limits))
        picked = choice[rows]
        result[0] = self.paid(rows, picked).sum()
        result[1:] = self.takes @ np.bincount(picked, minlength=self.gain.shape[1])
        return result

    def paid(self, rows: NDArray[np.intp], action: NDArray[Any]) -> Floats:
        """(rows,) money that one action of each takes."""
        return np.asarray(self.cost[action] if self.cost.ndim == 1 else self.cost[rows, action], dtype=np.float64)

    def within(self, units: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(actions, actions) whether the second takes none of some units that the first does not take."""
        takes = self.takes[units]
        return np.asarray(~(~takes[:, :, None] & takes[:, None, :]).any(axis=0))

    def fits(self, left: Floats, row: int, held: int = NOTHING) -> NDArray[np.bool_]:
        """(actions,) what one customer can still have of what is left, where the units of the action ``held`` are the customer's own."""
        cost = self.cost if self.cost.ndim == 1 else self.cost[row]
        short = left[1:] < 1
        if held != NOTHING:
            short &= ~self.takes[:, held]
        paid = 0.0 if held == NOTHING else float(cost[held])
        return np.asarray((cost - paid <= left[0]) & ~self.takes[short].any(axis=0))

    def blocks(self) -> Iterator[slice]:
        """Customers in blocks."""
        step = max(1, _CELLS // max(self.gain.shape[1], 1))
        yield from (slice(start, min(start + step, len(self))) for start in range(0, len(self), step))

    def choose(self, at: Floats) -> tuple[Choices, float, Floats]:
        """Everybody's best action at prices, what they gain in sum after the prices, and what they use.

        Of equal actions the first is taken, and none where none gains.
        """
        choice = np.full(len(self), NOTHING, dtype=np.int16)
        total, used = 0.0, np.zeros(len(self.limits))
        if not self.gain.shape[1]:
            return choice, total, used
        for block in self.blocks():
            net = self.net(at, block)
            best = net.argmax(axis=1)
            top = np.take_along_axis(net, best[:, None], axis=1)[:, 0]
            taken = top > 0
            choice[block] = np.where(taken, best, NOTHING)
            total += float(top[taken].sum(dtype=np.float64))
            used += self.used(np.flatnonzero(taken) + block.start, choice)
        return choice, total, used
