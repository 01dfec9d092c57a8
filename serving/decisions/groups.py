"""Which of four kinds a customer is, as far as effects say: persuadable, sure, lost cause, sleeping dog. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from serving.decisions.figures import Floats

GROUPS = ("persuadable", "sure", "lost_cause", "sleeping_dog", "undecided")
"""Sleeping dog: the interval of an effect lies below zero and no contact is expected to gain. Persuadable: some contact is expected to gain.
Of the rest, who is likelier to leave than not is a lost cause, the others are sure; where no effect is known, nobody is sorted."""
LIKELY = 0.5


def groups(risk: Floats, gain: Floats, high: Floats, is_known: NDArray[np.bool_]) -> NDArray[np.int8]:
    """(customers,) place in ``GROUPS``.

    Args:
        risk: (customers,) of leaving.
        gain: (customers, actions) expected money after costs; ``-inf`` where it must not be taken.
        high: (customers, actions) upper end of the effect; NaN where none is known.
        is_known: (customers, actions) whether the effect was estimated.
    """
    best = gain.max(axis=1, initial=-np.inf)
    has_dog = ((high < 0) & is_known).any(axis=1)
    found = np.select([best > 0, has_dog, risk >= LIKELY], [0, 3, 2], default=1)
    return np.where(is_known.any(axis=1), found, GROUPS.index("undecided")).astype(np.int8)


def counted(codes: NDArray[np.int8]) -> Mapping[str, int]:
    """How many there are of each kind that occurs."""
    return {name: int((codes == place).sum()) for place, name in enumerate(GROUPS) if (codes == place).any()}
