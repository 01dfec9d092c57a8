"""Which signs stand behind a customer's risk, for all customers at once: ranked by what the model says, or by the signs' own strength.

One way for both. Signs that are true of a customer are the candidates; a family of features gives at most one. Where the model says
what each feature adds to the risk (SHAP values), a family weighs what its features add together, and within it the sign whose features
add most is said; a family that lowers the risk says nothing. Where the model cannot say, the strength of the sign takes that place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from serving.decisions.facts import Sign
from serving.decisions.families import SILENT, family
from serving.decisions.figures import Floats, Known
from serving.decisions.signals import BY_CODE, NEEDS, SIGNALS, Signal

MOST = 3
"""Signs of one customer."""
LEAST_PUSH = 0.05
"""A family that multiplies the odds of leaving by less than about 1.05 is no reason."""
LEAST_STRENGTH = 1.25
"""A sign by rule: one figure is a quarter above the other, or as strong by declaration."""
WIDTH = max(len(signal.figures) for signal in SIGNALS)
"""Figures of one sign."""
Basis = Literal["model", "rules"]


@dataclass(frozen=True)
class Drivers:
    """The signs of some customers, strongest first."""

    signal: NDArray[np.int16]
    """(customers, MOST) positions in ``SIGNALS``; -1 where there is none."""
    weight: Floats
    """(customers, MOST) what the sign's family adds to the logit of the risk, or the strength of the sign; NaN where there is none."""
    figures: Floats
    """(customers, MOST, WIDTH) the numbers of the sign's sentence, rounded as they are written, in the order of the sign; NaN behind them."""


def by_model(known: Known, columns: Sequence[str], contributions: Floats) -> Drivers:
    """By what each feature adds to the score before the link.

    Args:
        known: the customers' features.
        columns: of the model.
        contributions: (customers, columns or more); what stands behind the columns is left out.
    """
    own = np.zeros((known.count, len(SIGNALS)))
    spoken, of = _spoken(tuple(columns))
    for number, where in enumerate(spoken):
        own[:, number] = contributions[:, where].sum(axis=1)
    families: dict[str, Floats] = {}
    for position, each in enumerate(of):
        if each not in SILENT:
            families[each] = families.get(each, np.zeros(known.count)) + contributions[:, position]
    return _ranked(known, np.where(own > 0, own, -np.inf), families, LEAST_PUSH)


def by_rules(known: Known) -> Drivers:
    """By the strength of the signs, where the model cannot say."""
    strength = np.column_stack([signal.strength(known) for signal in SIGNALS])
    return _ranked(known, np.where(strength >= LEAST_STRENGTH, strength, -np.inf), None, LEAST_STRENGTH)


def sign(code: str, weight: float, figures: Sequence[float], as_of: datetime | None = None) -> Sign:
    """One sign of one customer with its figures, rounded as they are written; there may be more behind them (``Drivers.figures``)."""
    return Sign(code, weight, tuple(zip(BY_CODE[code].figures, figures, strict=False)), as_of)


def typical(values: Mapping[str, Floats]) -> dict[str, float]:
    """Medians of the features that signs look at; nothing for a feature of which nothing is known."""
    known = {name: column[np.isfinite(column)] for name, column in values.items() if name in NEEDS}
    return {name: float(np.median(column)) for name, column in known.items() if len(column)}


@lru_cache(maxsize=16)
def _spoken(columns: tuple[str, ...]) -> tuple[list[list[int]], list[str]]:
    """Of each sign the columns that it speaks for, and of each column its family: the same whenever a model is asked."""
    spoken = [[position for position, name in enumerate(columns) if signal.speaks_for(name)] for signal in SIGNALS]
    return spoken, [family(name) for name in columns]


def _ranked(known: Known, own: Floats, families: Mapping[str, Floats] | None, least: float) -> Drivers:
    """The best true sign of each family, and the best families. ``own`` is (customers, signs); without ``families`` a sign stands for its family."""
    true = np.column_stack([signal.holds(known) for signal in SIGNALS])
    candidates = np.where(true, own, -np.inf)
    groups = _groups(SIGNALS)
    chosen = np.empty((known.count, len(groups)), dtype=np.int16)
    weight = np.full((known.count, len(groups)), -np.inf)
    rows = np.arange(known.count)
    for number, (name, members) in enumerate(groups.items()):
        best = np.array(members)[np.argmax(candidates[:, members], axis=1)]
        chosen[:, number] = best
        found = candidates[rows, best]
        total = found if families is None else families.get(name, np.full(known.count, -np.inf))
        weight[:, number] = np.where(np.isfinite(found) & (total >= least), total, -np.inf)
    order = np.argsort(-weight, axis=1, kind="stable")[:, :MOST]
    picked = np.take_along_axis(weight, order, axis=1)
    some = np.isfinite(picked)
    signals = np.where(some, np.take_along_axis(chosen, order, axis=1), -1).astype(np.int16)
    return Drivers(signals, np.where(some, picked, np.nan), _figures(known, signals))


def _figures(known: Known, signals: NDArray[np.int16]) -> Floats:
    """What is written of each customer's signs."""
    found = np.full((*signals.shape, WIDTH), np.nan)
    for number in np.unique(signals[signals >= 0]).tolist():
        people, places = np.nonzero(signals == number)
        for place, figure in enumerate(SIGNALS[number].figures.values()):
            found[people, places, place] = figure.shown(known)[people]
    return found


def _groups(signals: Sequence[Signal]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for number, signal in enumerate(signals):
        groups.setdefault(signal.family, []).append(number)
    return groups
