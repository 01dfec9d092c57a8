"""What contacts change for each customer, on the rows: estimated by the champion of uplift at publication, told in money when read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.champions import on_rows
from serving.decisions.facts import Effect, Estimate, Evidence
from training.effects import Estimating
from training.package import Package

BLOCK = 20_000


@dataclass(frozen=True)
class Treatments:
    """What effects are of; none where no champion estimates any."""

    names: tuple[str, ...] = ()
    grades: tuple[Evidence, ...] = ()
    outcome: str = ""
    unit: str = ""


def effects(package: Package | None, columns: Sequence[str], vocabulary: Mapping[str, Sequence[str]], arrays: dict[str, NDArray[Any]]) -> Treatments:
    """``effect`` of everybody into ``arrays``, (customers, treatments, 3): value, low, high; NaN where nothing is known.

    Args:
        package: the uplift champion; without one no effect is claimed.
        columns: of ``arrays["raw"]``.
        vocabulary: words of the raw columns that hold words.
        arrays: of the rows, with ``raw`` and ``is_known``.
    """
    if package is None or not isinstance(package.fitted, Estimating):
        return Treatments()
    scorer, raw = on_rows(package, columns, vocabulary), arrays["raw"]
    fitted = package.fitted
    arrays["effect"] = np.full((len(raw), len(fitted.treatments), 3), np.nan)
    known = np.flatnonzero(arrays["is_known"])
    for start in range(0, len(known), BLOCK):
        chosen = known[start : start + BLOCK]
        arrays["effect"][chosen] = np.stack(fitted.estimate(scorer.encoded(raw[chosen])), axis=2)
    return Treatments(fitted.treatments, fitted.grades, fitted.outcome, fitted.unit)


def in_money(known: Treatments, found: Sequence[Sequence[float]], clv: float | None, margin_rate: float | None) -> dict[str, Effect]:
    """Effects as margin, by treatment; what has no evidence, or cannot be told in money, is left out.

    Args:
        known: what the effects are of.
        found: (treatments, 3) of one customer.
        clv: predicted money: what a purchase that would not have come is worth before margin.
        margin_rate: margin as a share of money.
    """
    factor = _margin_of(known.outcome, clv, margin_rate)
    if factor is None:
        return {}
    return {
        name: Effect(Estimate(*each).times(factor), grade)
        for name, grade, each in zip(known.names, known.grades, found, strict=True)
        if grade != "D" and each[0] == each[0]
    }


def _margin_of(outcome: str, clv: float | None, margin_rate: float | None) -> float | None:
    """Margin of one unit of the outcome; None where nobody knows it."""
    if outcome == "margin":
        return 1.0
    if margin_rate is None or outcome not in ("spend", "purchase"):
        return None
    if outcome == "spend":
        return margin_rate
    return None if clv is None else max(clv, 0.0) * margin_rate
