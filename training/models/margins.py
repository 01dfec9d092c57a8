"""Margin of money, for models that read what customers spent and no outcome: one share for all, from what the features say of the year."""

from __future__ import annotations

from math import fsum

import numpy as np

from retain.errors import RefusedError
from training.contracts import Frame
from training.models.rules import AMOUNT

MARGIN = "purchases__margin_365d"


def share(frame: Frame) -> float:
    """What a unit of net money is worth in the measure of the frame: 1 where that is money, else its share of margin at the newest cutoff.

    Raises:
        RefusedError: margin is asked for, and the features know none.
    """
    if frame.measure == "spend":
        return 1.0
    rows = frame.at_newest() if len(frame) else frame
    known = {MARGIN, AMOUNT} <= set(frame.columns)
    margin, money = (fsum(np.nan_to_num(column)) for column in rows.select((MARGIN, AMOUNT)).x.T) if known else (0.0, 0.0)
    if margin <= 0 or money <= 0:
        raise RefusedError(
            "margin is asked for, and the year before the newest cutoff shows none (purchases__margin_365d, purchases__amount_365d); give the "
            "source a margin rate or choose `measure: spend`",
            field="measure",
        )
    return margin / money
