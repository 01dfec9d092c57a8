"""How much is enough to learn something from: every bound on what training looks at, and how customers are chosen where there are more.

Bounds hold at every size: below them nothing is left out. What is left out are whole customers, chosen by a hash of their ids: the same ones in
every run, at every cutoff, in any order of rows. Why these numbers, and what they cost: docs/decisions/0020-enough.md.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

MOST_CELLS = 40_000_000
"""Rows times features of a frame to learn from and to judge on; and of the customers of the present moment whose scores and features are kept
as shares, to see drift later. All customers get scores."""
FOLDS_ROWS = 100_000
"""Rows of a frame above which customers are held out by halves in place of fifths: half of them teach so much that all would say the same."""
SEARCH_ROWS = 10_000
"""Rows on which constraints of trees are compared: more would not move a choice among four."""


def few(customers: NDArray[np.object_], most: int) -> NDArray[np.bool_]:
    """(rows,) which rows to keep, about ``most``: all of a customer or none. A smaller bound keeps some of those that a larger one keeps.

    Args:
        customers: (rows,) ids.
        most: rows to keep, about.
    """
    if len(customers) <= most:
        return np.ones(len(customers), dtype=np.bool_)
    marks = pd.util.hash_array(np.asarray(customers, dtype=object), categorize=True)
    return np.asarray(marks < np.uint64(most / len(customers) * 2**64), dtype=np.bool_)
