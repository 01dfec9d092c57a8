"""Our policy in the arena: the product's ladder of effects, its budget solver, and a share of customers kept for exploring.

Each month it learns what contacts change from what was left to chance, and from nothing else: the first month's test and the explored share of
the months since. An offer's effect is told customer by customer only where the ladder finds that this orders them better than the response
does; else the response orders them, else everybody has the average. It contacts where the effect exceeds the cost, and lets those be
for whom it is below zero for certain.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from experiments.arena.play import COLUMNS, NO_CONTACT, Logged, Month, Played, nothing
from experiments.arena.simple import solved
from retain.errors import RefusedError
from training.contracts import Floats, Frame, Integers
from training.models.uplift.contacts import Contacts
from training.models.uplift.estimate import Z
from training.models.uplift.fitted import FittedUplift
from training.models.uplift.ladder import Ladder

_MONTH = np.timedelta64(28, "D")
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
    explore: float = 0.05
    """Share of the customers who may be contacted that is left to chance, drawn anew each month."""
    memory: int = 8
    """Months that are learned from."""
    ahead: float = 6.0
    """Months of a customer's money that are lost when the account is closed."""
    rest: float = 1.0
    """Contacts still remembered from which on a customer is left alone."""
    cautious: bool = True
    """Whether a gain is drawn towards nothing as far as it is unsure."""
    every: int = 2
    """Months between two times of learning; the first months each learn anew."""
    ladder: Ladder = field(default_factory=lambda: Ladder(rungs=("average", "response_linear", "mean_linear"), folds=2, draws=100))
    _learned: FittedUplift | None = field(default=None, init=False)

    def play(self, month: Month) -> Played:
        """Explore a share, then solve for the rest with what is left of budget and seats."""
        if self._learned is None or month.number <= 2 or month.number % self.every == 0:
            self._learned = self._learn(month)
        explored, share = self._explored(month)
        taken = np.bincount(explored.choice[explored.choice >= 0], minlength=len(month.offers))
        tired = month.x[:, COLUMNS.index("contacts_recent")] >= self.rest
        left = replace(
            month,
            may_contact=month.may_contact & ~share & ~tired,
            budget=max(0.0, month.budget - float(taken @ month.costs)),
            seats=np.maximum(month.seats - taken, 0.0),
        )
        best = solved(left, self._gain(month))
        return Played(np.where(share, explored.choice, best.choice).astype(np.int16), np.where(share, explored.chance, np.nan))

    def _gain(self, month: Month) -> Floats:
        """(customers, offers) what a contact is expected to add, after its cost."""
        if self._learned is None:
            return np.full((len(month.x), len(month.offers)), -np.inf)
        value, low, high = self._learned.estimate(month.x)
        net, error = value - month.costs, (high - low) / (2 * Z)
        if self.cautious:
            # James and Stein's factor: of several offers the one that looks best is the one that chance favoured most.
            net = net * np.maximum(0.0, 1 - (error / np.where(net == 0, 1e-9, net)) ** 2)
        # Of an offer that nobody was left alone for no effect is claimed, and sleeping dogs are let lie.
        return np.asarray(np.where(np.isnan(value) | (high < 0) | (net <= 0), -np.inf, net))

    def _explored(self, month: Month) -> tuple[Played, NDArray[np.bool_]]:
        """What chance does with its share of the customers, and who they are."""
        reachable = np.flatnonzero(month.may_contact)
        picked = month.rng.permutation(reachable)[: int(self.explore * len(reachable))]
        # As a test over everybody would, but denser: few customers have to say as much as they can.
        shares = month.shares()
        shares *= min(_DENSER, _MOST / max(float(shares.sum()), 1e-9))
        counts = np.floor(shares * len(picked)).astype(np.int64)
        arms = np.full(len(picked), NO_CONTACT, dtype=np.int16)
        arms[: counts.sum()] = np.repeat(np.arange(len(counts), dtype=np.int16), counts)
        choice, chance, is_explored = nothing(len(month.x)), np.full(len(month.x), np.nan), np.zeros(len(month.x), dtype=bool)
        choice[picked], is_explored[picked] = arms, True
        chance[picked] = np.append(counts, len(picked) - counts.sum())[arms] / max(len(picked), 1)
        return Played(choice, chance), is_explored

    def _learn(self, month: Month) -> FittedUplift | None:
        months = _settled(month.history)[-self.memory :]
        parts = [(month.history[place], np.flatnonzero(np.isfinite(month.history[place].played.chance)), place) for place in months]
        if not sum(len(rows) for _, rows, _ in parts):
            return self._learned
        x = np.concatenate([each.x[rows] for each, rows, _ in parts])
        names = np.array([f"c{number}" for number in range(len(month.x))], dtype=object)
        first = np.datetime64("2026-01-01", "us")
        frame = Frame(
            customer_id=np.concatenate([names[rows] for _, rows, _ in parts]),
            cutoff=np.concatenate([np.full(len(rows), first + place * _MONTH) for _, rows, place in parts]),
            columns=COLUMNS,
            x=x,
            y=np.concatenate([self._outcome(each)[rows] for each, rows, _ in parts]),
            horizon_days=28,
        )
        contacts = Contacts(
            frame=frame,
            arm=np.concatenate([each.played.choice[rows] for each, rows, _ in parts]).astype(np.int64),
            campaign=np.concatenate([np.full(len(rows), place, dtype=np.int64) for _, rows, place in parts]),
            probability=np.concatenate([each.played.chance[rows] for each, rows, _ in parts]),
            treatments=tuple(offer.name for offer in month.offers),
            costs=tuple(month.costs.tolist()),
            outcome="margin",
            unit="EUR",
        )
        try:
            return self.ladder.fit(contacts)
        except RefusedError:
            return self._learned

    def _outcome(self, each: Logged) -> Floats:
        """Money of the month, less what those would have brought who closed their account."""
        return np.asarray(each.money - np.where(each.left, self.ahead * np.maximum(each.x[:, COLUMNS.index("money_mean")], 0.0), 0.0))


def _settled(history: tuple[Logged, ...]) -> Integers:
    """Months that are known in full: all but the newest where money was seen to come in late before."""
    before = history[:-1]
    known, came = (sum(float(getattr(each, name).sum()) for each in before) for name in ("first", "money"))
    is_late = bool(before) and came > 0 and 1 - known / came > _SETTLED
    return np.arange(len(history) - is_late)
