"""The rows of contractual churn: five times five folds of the evaluator, whatever is chosen chosen inside the other four."""

from __future__ import annotations

import pandas as pd

from benchmarks.reference import learners
from benchmarks.reference.learners import Floats, Taught

KEYS = ("customer_id", "churn")


def rows(people: pd.DataFrame, folds: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Row to ``customer_id``, ``repeat``, ``p_churn``.

    Args:
        people: the source's table, one row per customer.
        folds: the evaluator's ``customer_id``, ``repeat``, ``fold``.
    """
    facts = people.drop(columns=list(KEYS))
    words = [name for name in facts if not pd.api.types.is_numeric_dtype(facts[name])]
    columns = pd.get_dummies(facts, columns=words, drop_first=False, dtype=float).set_index(people.customer_id)
    left = pd.Series((people.churn == "Yes").to_numpy(float), index=people.customer_id)
    found: dict[str, list[pd.DataFrame]] = {}
    for (repeat, fold), held in folds.groupby(["repeat", "fold"]):
        inside = columns.index[~columns.index.isin(held.customer_id)]
        x, asked = columns.loc[inside], columns.loc[held.customer_id]
        for name, said in _fold(Taught(x, left[inside].to_numpy(), learners.folds(inside, 3), x.index == x.index), asked, f"{repeat}:{fold}").items():
            part = pd.DataFrame({"customer_id": held.customer_id.to_numpy(), "repeat": repeat, "p_churn": said})
            found.setdefault(name, []).append(part)
    return {name: pd.concat(parts, ignore_index=True) for name, parts in found.items()}


def _fold(taught: Taught, asked: pd.DataFrame, where: str) -> dict[str, Floats]:
    line = learners.logistic(taught.x, taught.y, logs=False)(asked)
    tuned = learners.searched(taught)(taught.x, taught.y)(asked)
    said = {"logistic": line, "lgbm_default": learners.chance()(taught.x, taught.y)(asked), "lgbm_tuned": tuned}
    if learners.has_catboost():
        other = learners.catboost("Logloss")(taught.x, taught.y)(asked)
        said |= {"catboost": other, "blend": learners.blended([line, tuned, other])}
    print(f"fold {where}", flush=True)
    return said
