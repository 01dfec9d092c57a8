"""Our policy in the arena: the product's own class of effects, its solver, and a small share left to chance.

Every month effects are learned from all that was logged (``training/models/uplift/spreads.py``), and the solver of lists says what each customer who
may be contacted would get (``serving/decisions/budget.py``). Chance then has its share of the customers, whatever was solved, so the chance of
every choice is known exactly. Only the arena sees accounts being closed: what that takes is told by a logistic regression over contacts.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from experiments.arena import log
from experiments.arena.life import Choice
from experiments.arena.play import COLUMNS, NO_CONTACT, Month, Played, nothing
from experiments.arena.simple import solved
from training.contracts import Floats
from training.effects import Estimating
from training.models.uplift.spreads import Spreads

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
    gone: float = 6.0
    """Months of a customer's money that are lost when the account is closed."""
    _learned: Estimating | None = field(default=None, init=False)

    def play(self, month: Month) -> Played:
        """Solve for everybody, then let chance have its share whatever was solved."""
        contacts = log.contacts(month)
        self._learned = self._learned if contacts is None else Spreads().fit(contacts)
        explored, is_explored, shares = self._explored(month)
        taken = np.bincount(explored[explored >= 0], minlength=len(month.offers))
        left = replace(month, budget=max(0.0, month.budget - float(taken @ month.costs)), seats=np.maximum(month.seats - taken, 0.0))
        plan = solved(left, self._gain(left)).choice
        choice = np.where(is_explored, explored, plan).astype(np.int16)
        by_chance = float(is_explored.sum()) / max(int(month.may_contact.sum()), 1)
        chance = by_chance * shares[choice] + (1 - by_chance) * (choice == plan)
        return Played(choice, np.where(month.may_contact, chance, np.nan))

    def _gain(self, month: Month) -> Floats:
        """(customers, offers) what a contact is expected to add, after its cost and what leaves with those whom it drives away."""
        if self._learned is None:
            return np.full((len(month.x), len(month.offers)), -np.inf)
        effect, _, high = self._learned.estimate(month.x)
        # A sleeping dog is let lie, and of an offer that was hardly tried nothing is claimed.
        effect = np.where(np.isnan(effect) | (high < 0), -np.inf, effect)
        net = effect - month.costs
        leaves = log.leaves(month)
        if leaves is not None:
            net -= (leaves * self.gone * np.maximum(month.x[:, COLUMNS.index("money_mean")], 0.0))[:, None]
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
