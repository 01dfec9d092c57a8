"""Which customers are looked at apart: by value so far, stage, tenure, and what the source says of them. Pure.

A slice depends on what was known at the cutoff and never on a model, so that every model is judged on the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.interactions import Interactions
from training import segments
from training.contracts import Floats, Frame, Integers
from training.encoding import Encoder
from training.models.purchases import ages
from training.models.rules import AMOUNT, RECENCY, TENURE

Labels = NDArray[np.object_]
"""(rows,) the slice of each row within one dimension; None where it is in none."""
MOST = 8
"""Slices of one dimension; the smaller ones beyond are not looked at."""
LEAST = 50
"""Customers below which a slice is not looked at: it would say nothing."""
DESCRIBED = "profile__"
"""Features of this view are what the source says of a customer."""
_TENURES = ((90, "up to 90 days"), (270, "91 to 270 days"), (np.inf, "over 270 days"))
_HABITS = {"recency_days": RECENCY, "tenure_days": TENURE, "usual_gap_days": "gaps__mean_gap_days_365d", "spend": "purchases__amount_90d"}
_RISE = "purchases__amount_90d_over_prior"


def of_frame(frame: Frame, encoder: Encoder, rules: segments.Rules) -> dict[str, Labels]:
    """Dimension to labels, for the rows of a frame: ``band``, ``stage``, ``tenure``, and each described category."""
    known = {name: frame.x[:, place] for place, name in enumerate(frame.columns)}
    found: dict[str, Labels] = {}
    if AMOUNT in known:
        found["band"] = _bands(known[AMOUNT], frame, rules)
    if all(name in known for name in (*_HABITS.values(), _RISE)):
        found["stage"] = segments.stages(_habits(known), rules)
    if TENURE in known:
        found["tenure"] = _tenures(known[TENURE])
    for name, categories in sorted(encoder.categories.items()):
        if name in known and name.startswith(DESCRIBED):
            found[name.removeprefix(DESCRIBED)] = _categories(known[name], categories)
    return found


def of_history(history: Interactions, customers: Integers, rules: segments.Rules, described: Mapping[str, Labels] | None = None) -> dict[str, Labels]:
    """Dimension to labels, for customers of a history.

    Args:
        history: purchases before the cutoff.
        customers: positions in it.
        rules: bands and stages.
        described: words of the profile, by column, for all customers of the history.

    Returns:
        ``orders`` (the bands, by number of orders so far), ``stage`` (orders stand for money, which these purchases do not hold), ``tenure``,
        and each column of the profile.
    """
    days = order_days(history)
    owner, age = days[:, 0], days[:, 1]
    number = len(history.customers)
    count = np.bincount(owner, minlength=number).astype(np.float64)
    last, first = np.full(number, np.nan), np.full(number, np.nan)
    np.fmin.at(last, owner, age)
    np.fmax.at(first, owner, age)
    period = rules.stages.period_days
    spend, before = (np.bincount(owner[rows], minlength=number).astype(np.float64) for rows in (age < period, (age >= period) & (age < 2 * period)))
    habits = pd.DataFrame(
        {
            "recency_days": last,
            "tenure_days": first,
            "usual_gap_days": np.where(count > 1, (first - last) / np.maximum(count - 1, 1), np.nan),
            "pause_days": np.nan,
            "spend": spend,
            "spend_before": before,
        }
    ).iloc[customers]
    everyone = np.ones(len(customers), dtype=np.bool_)
    found = {
        "orders": segments.bands(count[customers], everyone, history.customers[customers], rules),
        "stage": segments.stages(habits, rules),
        "tenure": _tenures(first[customers]),
    }
    return {**found, **{column: words[customers] for column, words in sorted((described or {}).items())}}


def order_days(history: Interactions) -> Integers:
    """(orders, 2) customer and whole days from the order to the moment, by customer."""
    table = np.column_stack([history.customer.astype(np.int64), history.order])
    order, where = np.unique(table, axis=0, return_index=True)
    return np.column_stack([order[:, 0], np.floor(ages(history)[where]).astype(np.int64)])


def chosen(labels: Mapping[str, Labels], customers: NDArray[np.object_]) -> dict[str, NDArray[np.intp]]:
    """Slice to its rows, as ``dimension: label``: the largest of each dimension, if they have enough customers; never all rows."""
    found: dict[str, NDArray[np.intp]] = {}
    for dimension, label in labels.items():
        rows = {str(one): np.flatnonzero(label == one) for one in dict.fromkeys(label[label != None])}  # noqa: E711 - elementwise
        sizes = {one: len(np.unique(customers[each].astype(str))) for one, each in rows.items()}
        largest = sorted((one for one in rows if sizes[one] >= LEAST), key=lambda one: (-sizes[one], one))[:MOST]
        if len(largest) > 1 or (largest and len(rows[largest[0]]) < len(label)):
            found |= {f"{dimension}: {one}": rows[one] for one in largest}
    return found


def _bands(value: Floats, frame: Frame, rules: segments.Rules) -> Labels:
    """Bands of the money of the year before, cutoff by cutoff."""
    result = np.full(len(frame), None, dtype=object)
    for cutoff in np.unique(frame.cutoff):
        rows = np.flatnonzero(frame.cutoff == cutoff)
        result[rows] = segments.bands(value[rows], np.ones(len(rows), dtype=np.bool_), frame.customer_id[rows], rules)
    return result


def _habits(known: Mapping[str, Floats]) -> pd.DataFrame:
    """What features tell of habits: the period before is taken from the rise over it, and a pause long ago is not among them."""
    habits = pd.DataFrame({name: known[column] for name, column in _HABITS.items()})
    return habits.assign(spend_before=habits["spend"] - known[_RISE], pause_days=np.nan)


def _tenures(days: Floats) -> Labels:
    label = np.full(len(days), None, dtype=object)
    for limit, words in reversed(_TENURES):
        label[days <= limit] = words
    return label


def _categories(codes: Floats, categories: tuple[str, ...]) -> Labels:
    label = np.full(len(codes), None, dtype=object)
    for code, word in enumerate(categories):
        label[codes == code] = word
    return label
