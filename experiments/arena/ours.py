"""Our policy in the arena: effects learned from all that was logged, the product's budget solver, and a small share left to chance.

Every month the solver says what each customer who may be contacted would get; chance then has its share of them, whatever was solved, so
the chance of every choice is known exactly. An offer's effect is told customer by customer only where that foresees other customers better than
the ranking by response does (``experiments/arena/effects.py``). It contacts where the effect exceeds the cost.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from experiments.arena.effects import Effects, learn
from experiments.arena.life import Choice
from experiments.arena.play import COLUMNS, NO_CONTACT, Logged, Month, Played, nothing
from experiments.arena.simple import solved
from training.contracts import Floats, Integers

_SETTLED = 0.02
"""Share of a month's money that may come in late; with more, the newest month is not learned from."""
_DENSER = 3.0
"""How many times as many of the explored are contacted as in a test over everybody."""
_MOST = 0.75
"""Share of the explored who are contacted, at most."""


@dataclass
class Ours:
    """See the module."""

    name: str = "ours"
    explore: tuple[float, ...] = (0.1, 0.05, 0.03)
    """Share of the customers who may be contacted that is left to chance, drawn anew each month after the first; the last holds on."""
    ahead: float = 6.0
    """Months of a customer's money that are lost when the account is closed."""
    _learned: Effects | None = field(default=None, init=False)

    def play(self, month: Month) -> Played:
        """Solve for everybody, then let chance have its share whatever was solved."""
        self._learned = self._learn(month) or self._learned
        explored, is_explored, shares = self._explored(month)
        taken = np.bincount(explored[explored >= 0], minlength=len(month.offers))
        left = replace(month, budget=max(0.0, month.budget - float(taken @ month.costs)), seats=np.maximum(month.seats - taken, 0.0))
        plan = solved(left, self._gain(month)).choice
        choice = np.where(is_explored, explored, plan).astype(np.int16)
        by_chance = float(is_explored.sum()) / max(int(month.may_contact.sum()), 1)
        chance = by_chance * shares[choice] + (1 - by_chance) * (choice == plan)
        return Played(choice, np.where(month.may_contact, chance, np.nan))

    def _gain(self, month: Month) -> Floats:
        """(customers, offers) what a contact is expected to add, after its cost."""
        if self._learned is None:
            return np.full((len(month.x), len(month.offers)), -np.inf)
        net = self._learned(month.x) - month.costs
        return np.asarray(np.where(net > 0, net, -np.inf))

    def _explored(self, month: Month) -> tuple[Choice, NDArray[np.bool_], Floats]:
        """What chance does with its share of the customers, who they are, and the share of each arm in it, no contact last."""
        reachable = np.flatnonzero(month.may_contact)
        share = self.explore[min(month.number - 1, len(self.explore) - 1)]
        picked = month.rng.permutation(reachable)[: int(share * len(reachable))]
        # As a test over everybody would, but denser: few customers have to say as much as they can.
        shares = month.shares()
        paid = month.budget / max(float(shares @ month.costs) * len(picked), 1e-9)
        seated = float(np.min(month.seats / np.maximum(shares * len(picked), 1e-9)))
        shares *= min(_DENSER, paid, seated, _MOST / max(float(shares.sum()), 1e-9))
        counts = np.floor(shares * len(picked)).astype(np.int64)
        arms = np.full(len(picked), NO_CONTACT, dtype=np.int16)
        arms[: counts.sum()] = np.repeat(np.arange(len(counts), dtype=np.int16), counts)
        choice, is_explored = nothing(len(month.x)), np.zeros(len(month.x), dtype=bool)
        choice[picked], is_explored[picked] = arms, True
        return choice, is_explored, np.append(counts, len(picked) - counts.sum()) / max(len(picked), 1)

    def _learn(self, month: Month) -> Effects | None:
        """From every customer whose choice had a known chance, in all months that are known in full."""
        months = [month.history[place] for place in _settled(month.history).tolist()]
        if not months:
            return None
        rows = [np.flatnonzero(np.isfinite(each.played.chance)) for each in months]
        x, money, choice = (
            np.concatenate([part[chosen] for part, chosen in zip(parts, rows, strict=True)])
            for parts in ([each.x for each in months], [self._outcome(each) for each in months], [each.played.choice for each in months])
        )
        return learn(x, money, choice, np.concatenate(rows).astype(np.int64), len(month.offers)) if (choice < 0).any() else None

    def _outcome(self, each: Logged) -> Floats:
        """Money of the month, less what those would have brought who closed their account."""
        return np.asarray(each.money - np.where(each.left, self.ahead * np.maximum(each.x[:, COLUMNS.index("money_mean")], 0.0), 0.0))


def _settled(history: tuple[Logged, ...]) -> Integers:
    """Months that are known in full: all but the newest where money was seen to come in late before."""
    before = history[:-1]
    known, came = (sum(float(getattr(each, name).sum()) for each in before) for name in ("first", "money"))
    is_late = bool(before) and came > 0 and 1 - known / came > _SETTLED
    return np.arange(len(history) - is_late)
