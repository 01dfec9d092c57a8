"""What an uplift model says of each treatment, as one table for people: evidence, effect, order, policy."""

from __future__ import annotations

from training.card import Card, Measure
from training.intervals import told
from training.models.uplift.fitted import FittedUplift
from training.uplift_metrics import of_treatment

HEAD = ("treatment", "grade", "average effect", "Qini", "policy value", "effect error")
_MEASURES = ("qini", "policy_gain", "effect_error")


def treatments(card: Card, fitted: FittedUplift) -> list[list[str]]:
    """The cells below ``HEAD``, a row for each treatment; what was not measured, or has no evidence, is a dash."""
    rows = []
    for each in fitted.learned:
        average = "-" if each.grade == "D" else _cell(*each.average)
        rows.append([each.name, each.grade, average, *(_measured(card.metrics.get(of_treatment(name, each.name))) for name in _MEASURES)])
    return rows


def words(fitted: FittedUplift) -> str:
    """What the figures are in."""
    return (
        f"in {fitted.unit}: average effect and effect error a contact, Qini per treated customer, policy value per customer where all are "
        "treated who gain more than the contact costs; an effect error of 0 is no more than chance"
    )


def _measured(measure: Measure | None) -> str:
    return "-" if measure is None else _cell(measure.value, measure.low, measure.high)


def _cell(value: float, low: float, high: float) -> str:
    """A figure as a cell.

    >>> _cell(-0.0, 0.0, 0.0), _cell(0.104, 0.052, 0.157)
    ('0', '0.104 [0.052, 0.157]')
    """
    if value == low == high:
        # Nobody treated, times a loss, is a zero with a sign.
        return f"{value + 0.0:.4g}"
    value_told, low_told, high_told = told(value, low, high)
    return f"{value_told} [{low_told}, {high_told}]"
