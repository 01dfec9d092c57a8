"""Why each customer may leave, for everybody at once, when the rows are published: features and the churn model's contributions, by blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.champions import Scorer, on_rows
from serving.decisions import drivers
from serving.decisions.figures import Known
from serving.decisions.signals import NEEDS
from training.package import Package

BLOCK = 20_000


def signs(
    package: Package | None, columns: Sequence[str], vocabulary: Mapping[str, Sequence[str]], arrays: dict[str, NDArray[Any]]
) -> tuple[dict[str, float], drivers.Basis]:
    """``sign``, ``sign_weight`` and ``sign_figures`` of everybody into ``arrays``; return what is typical, and what ranked the signs.

    Args:
        package: the churn champion; without one nothing is said.
        columns: of ``arrays["raw"]``.
        vocabulary: words of the raw columns that hold words.
        arrays: of the rows, with ``raw`` and ``is_known``.
    """
    count, raw = len(arrays["ids"]), arrays["raw"]
    arrays["sign"] = np.full((count, drivers.MOST), -1, dtype=np.int16)
    arrays["sign_weight"] = np.full((count, drivers.MOST), np.nan)
    arrays["sign_figures"] = np.full((count, drivers.MOST, drivers.WIDTH), np.nan)
    people = np.flatnonzero(arrays["is_known"])
    place = {name: columns.index(name) for name in NEEDS if name in columns}
    typical = drivers.typical({name: raw[people, position] for name, position in place.items()})
    if package is None:
        return typical, "rules"
    scorer = on_rows(package, columns, vocabulary)
    basis: drivers.Basis = "rules"
    for start in range(0, len(people), BLOCK):
        chosen = people[start : start + BLOCK]
        basis = ranked(scorer, chosen, columns, typical, arrays)
    return typical, basis


def ranked(
    scorer: Scorer, chosen: NDArray[np.intp], columns: Sequence[str], typical: Mapping[str, float], arrays: dict[str, NDArray[Any]]
) -> drivers.Basis:
    """``sign``, ``sign_weight`` and ``sign_figures`` of some customers into ``arrays``; return what ranked them."""
    raw = arrays["raw"][chosen]
    known = Known({name: raw[:, columns.index(name)] for name in NEEDS if name in columns}, typical, len(chosen))
    parts = scorer.contributions(raw)
    found = drivers.by_rules(known) if parts is None else drivers.by_model(known, scorer.fitted.columns, parts)
    arrays["sign"][chosen], arrays["sign_weight"][chosen], arrays["sign_figures"][chosen] = found.signal, found.weight, found.figures
    return "rules" if parts is None else "model"
