"""The log of a season as the product reads it: contacts to learn effects from, and who closed the account after one."""

from __future__ import annotations

import numpy as np

from experiments.arena import life
from experiments.arena.play import COLUMNS, Logged, Month
from training.contracts import Floats, Frame, Integers
from training.models.logistic import Logistic
from training.models.uplift.contacts import Contacts

_SETTLED = 0.02
"""Share of a month's money that may come in late; with more, the newest month is not learned from."""
_LEAST = 10
"""Accounts closed after a contact from which it is told who closes them."""
_START = np.datetime64("2025-01-01", "us")


def contacts(month: Month) -> Contacts | None:
    """Every customer whose choice had a known chance, in all months that are known in full; None where nobody of them was left alone.

    Each month is a campaign.
    """
    places = settled(month.history).tolist()
    months = [month.history[place] for place in places]
    rows = [np.flatnonzero(np.isfinite(each.played.chance)) for each in months]
    if not any((each.played.choice[chosen] < 0).any() for each, chosen in zip(months, rows, strict=True)):
        return None
    names = np.array([f"{place:07d}" for place in range(len(month.x))], dtype=object)
    x, money, choice, chance = (
        np.concatenate([part[chosen] for part, chosen in zip(parts, rows, strict=True)])
        for parts in (
            [each.x for each in months],
            [each.money for each in months],
            [each.played.choice for each in months],
            [each.played.chance for each in months],
        )
    )
    when = np.repeat(np.array(places), [len(chosen) for chosen in rows])
    frame = Frame(names[np.concatenate(rows)], _START + when * np.timedelta64(life.DAYS, "D"), COLUMNS, x, money, life.DAYS)
    offers = tuple(offer.name for offer in month.offers)
    is_reported = np.zeros(len(money), dtype=bool)
    return Contacts(
        frame, choice.astype(np.int64), when.astype(np.int64), chance, offers, tuple(month.costs.tolist()), "margin", "money", is_reported
    )


def settled(history: tuple[Logged, ...]) -> Integers:
    """Months that are known in full: all but the newest where money was seen to come in late before."""
    before = history[:-1]
    known, came = (sum(float(getattr(each, name).sum()) for each in before) for name in ("first", "money"))
    is_late = bool(before) and came > 0 and 1 - known / came > _SETTLED
    return np.arange(len(history) - is_late)


def leaves(month: Month) -> Floats | None:
    """(customers,) chance that a contact makes the customer close the account; None where that was hardly ever seen."""
    made = [each.played.choice >= 0 for each in month.history]
    y = np.concatenate([each.left[rows] for each, rows in zip(month.history, made, strict=True)]).astype(np.float64)
    if y.sum() < _LEAST:
        return None
    x = np.concatenate([each.x[rows] for each, rows in zip(month.history, made, strict=True)])
    names = np.concatenate([np.flatnonzero(rows) for rows in made]).astype(str).astype(object)
    when = np.repeat(np.arange(len(made)), [int(rows.sum()) for rows in made]) * np.timedelta64(life.DAYS, "D")
    return Logistic(c=0.1).fit(Frame(names, _START + when, COLUMNS, x, y, life.DAYS)).predict(month.x)
