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
_ROWS = 800
"""Rows of each arm of a campaign that are learned from."""
_MOST = 0.75
"""Share of the explored who are contacted, at most."""


@dataclass
class Ours:
    """See the module."""

    name: str = "ours"
    explore: tuple[float, ...] = (0.3, 0.3, 0.2, 0.1)
    """Share of the customers who may be contacted that is left to chance, drawn anew each month after the first; the last holds on."""
    held: float = 0.15
    """Share of those chosen who are left alone by lot: what a list's control group is, and what tells whether the choice was right."""
    memory: int = 12
    """Months that are learned from."""
    ahead: float = 6.0
    """Months of a customer's money that are lost when the account is closed."""
    rest: float = 1.0
    """Contacts still remembered from which on a customer is left alone."""
    cautious: bool = True
    """Whether a gain is drawn towards nothing as far as it is unsure."""
    every: int = 4
    """Months between two times of learning; the first months each learn anew."""
    ladder: Ladder = field(default_factory=lambda: Ladder(rungs=("average", "response_linear", "mean_linear"), folds=2, draws=50))
    _learned: FittedUplift | None = field(default=None, init=False)
    _campaigns: dict[int, Integers] = field(default_factory=dict, init=False)
    """By month: (customers,) which offer the lot was about, plus one; 0 is that of all offers at once."""

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
        chosen = solved(left, self._gain(month)).choice
        alone = month.rng.random(len(chosen)) < self.held
        self._campaigns[month.number] = np.where(share, 0, chosen.astype(np.int64) + 1)
        kept = np.where(alone, np.int16(NO_CONTACT), chosen)
        chance = np.where(chosen >= 0, np.where(alone, self.held, 1 - self.held), np.nan)
        return Played(np.where(share, explored.choice, kept).astype(np.int16), np.where(share, explored.chance, chance))

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
        choice, chance, is_explored = nothing(len(month.x)), np.full(len(month.x), np.nan), np.zeros(len(month.x), dtype=bool)
        choice[picked], is_explored[picked] = arms, True
        chance[picked] = np.append(counts, len(picked) - counts.sum())[arms] / max(len(picked), 1)
        return Played(choice, chance), is_explored

    def _learn(self, month: Month) -> FittedUplift | None:
        months = _settled(month.history)[-self.memory :]
        parts = [self._rows(month, int(place)) for place in months]
        if not any((each.played.choice[rows] >= 0).any() for each, rows, _, _, _ in parts):
            return self._learned
        x = np.concatenate([each.x[rows] for each, rows, _, _, _ in parts])
        names = np.array([f"c{number}" for number in range(len(month.x))], dtype=object)
        first = np.datetime64("2026-01-01", "us")
        frame = Frame(
            customer_id=np.concatenate([names[rows] for _, rows, _, _, _ in parts]),
            cutoff=np.concatenate([np.full(len(rows), first + place * _MONTH) for _, rows, place, _, _ in parts]),
            columns=COLUMNS,
            x=x,
            y=np.concatenate([self._outcome(each)[rows] for each, rows, _, _, _ in parts]),
            horizon_days=28,
        )
        contacts = Contacts(
            frame=frame,
            arm=np.concatenate([each.played.choice[rows] for each, rows, _, _, _ in parts]).astype(np.int64),
            campaign=np.concatenate([100 * place + campaign for _, _, place, campaign, _ in parts]),
            probability=np.concatenate([chance for _, _, _, _, chance in parts]),
            treatments=tuple(offer.name for offer in month.offers),
            costs=tuple(month.costs.tolist()),
            outcome="margin",
            unit="EUR",
        )
        try:
            return self.ladder.fit(contacts)
        except RefusedError:
            return self._learned

    def _rows(self, month: Month, place: int) -> tuple[Logged, Integers, int, Integers, Floats]:
        """What a month left to chance: the month, rows of customers, its number, the campaign of each row, and its chance.

        Of each arm of a campaign so many rows stay, of controls twice as many: more adds time and little else. Which of them stay
        is left to chance as well, and their chance says so.
        """
        each = month.history[place]
        choice, chance = each.played.choice, each.played.chance.copy()
        campaign = self._campaigns.get(place, np.zeros(len(choice), dtype=np.int64))
        # One number per campaign and arm, controls first.
        arm = (campaign * (len(month.offers) + 1) + choice + 1)[np.isfinite(chance)]
        rows = np.flatnonzero(np.isfinite(chance)).astype(np.int64)
        count = np.bincount(arm)
        most = np.where(np.arange(len(count)) % (len(month.offers) + 1) == 0, 2 * _ROWS, _ROWS)
        kept = np.minimum(1.0, most / np.maximum(count, 1))[arm]
        stays = month.rng.random(len(rows)) < kept
        rows, left = rows[stays], (chance[rows] * kept)[stays]
        # What is left of a row's chance, among those of its campaign that could have stayed.
        sums = {number: sum(set(left[campaign[rows] == number].tolist())) for number in np.unique(campaign[rows]) if number > 0}
        total = np.array([max(sums.get(number, 1.0), 1e-9) for number in campaign[rows].tolist()])
        return each, rows, place, campaign[rows], np.asarray(left / total)

    def _outcome(self, each: Logged) -> Floats:
        """Money of the month, less what those would have brought who closed their account."""
        return np.asarray(each.money - np.where(each.left, self.ahead * np.maximum(each.x[:, COLUMNS.index("money_mean")], 0.0), 0.0))


def _settled(history: tuple[Logged, ...]) -> Integers:
    """Months that are known in full: all but the newest where money was seen to come in late before."""
    before = history[:-1]
    known, came = (sum(float(getattr(each, name).sum()) for each in before) for name in ("first", "money"))
    is_late = bool(before) and came > 0 and 1 - known / came > _SETTLED
    return np.arange(len(history) - is_late)
