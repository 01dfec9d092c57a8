"""The champion of uplift on the published rows: effects of everybody, or why there are none."""

from __future__ import annotations

import numpy as np

from retain.errors import DataError
from retain.workspace import Workspace
from serving.champions import on_rows, packages
from serving.persuasion import priced_by
from serving.rows import Rows
from training.effects import Effects, Estimating, of_rows

BLOCK = 20_000
NONE = "no effects are estimated (grade D): gains are propensity x value, which says who buys and not whom a contact changes"
"""What is said of a list without effects."""


def estimated(workspace: Workspace, rows: Rows) -> tuple[Effects | None, tuple[str, ...]]:
    """Effects of all customers of the rows, in their order, and what has to be said; None where they cannot be told in money."""
    package, code = packages(workspace, "uplift")
    if package is None:
        return None, (NONE,) if code == "uplift_no_model" else (NONE, "the champion of uplift does not verify and was not used")
    try:
        scorer = on_rows(package, rows.card.columns, rows.card.vocabulary)
    except DataError as error:
        return None, (NONE, f"the champion of uplift was not used: {error.message}")
    if not isinstance(scorer.fitted, Estimating):
        return None, (NONE, f"{scorer.model_id} estimates no effects")
    ids = np.array([rows.id(position) for position in range(len(rows))], dtype=object)
    shape = (len(rows), len(scorer.fitted.treatments))
    value, low, high = (np.full(shape, np.nan) for _ in range(3))
    known = np.flatnonzero(rows.array("is_known"))
    for start in range(0, len(known), BLOCK):
        block = known[start : start + BLOCK]
        made = of_rows(scorer.fitted, ids[block], scorer.encoded(rows.array("raw")[block]))
        value[block], low[block], high[block] = made.value, made.low, made.high
    fitted = scorer.fitted
    effects = Effects(ids, fitted.treatments, value, low, high, fitted.grades, fitted.outcome, fitted.unit)
    if not priced_by(effects):
        return None, (NONE, f"{scorer.model_id} tells effects on {effects.outcome}, which nobody prices")
    grades = ", ".join(f"{name} {grade}" for name, grade in zip(fitted.treatments, fitted.grades, strict=True))
    return effects, (f"effects of {scorer.model_id} on {effects.outcome}, by evidence: {grades}",)
