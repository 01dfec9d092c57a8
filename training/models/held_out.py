"""Predictions for rows that a model did not learn from: a later window where there is one, else other customers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.contracts import Floats, Frame, Model, score
from training.models.rows import Rows, folds, later_window

FOLDS = 5


@dataclass(frozen=True)
class HeldOut:
    """Rows of a frame and what a model that did not see them says of them."""

    rows: Rows
    predicted: Floats


def predictions(model: Model, frame: Frame, later_cutoffs: int) -> HeldOut | None:
    """Predictions for the rows of the newest cutoff by a model of earlier closed windows, or for all rows by models of other customers.

    Other customers at the same cutoffs say whether the shape is right. They are asked about all cutoffs, because the level of the newest
    window alone is a season, and only a model of earlier windows can say whether it lasts.

    Args:
        model: Hyperparameters.
        frame: Rows in canonical order.
        later_cutoffs: Earlier closed cutoffs below which, or below half of all, time gives way to customers.

    Returns:
        None where the frame has too few customers to hold any out.
    """
    split = later_window(frame)
    cutoffs = len(np.unique(frame.cutoff))
    # A model of a small part of the cutoffs is not the one that will be used: its level is that of a shallow history.
    if split is not None and len(np.unique(frame.cutoff[split[0]])) >= max(later_cutoffs, cutoffs / 2):
        early, late = split
        return HeldOut(late, score(model.fit(frame.take(early)), frame.take(late)))
    return across_customers(model, frame, np.arange(len(frame)))


def across_customers(model: Model, frame: Frame, rows: Rows) -> HeldOut | None:
    """Predictions for some rows, each by a model that learned from other customers at all cutoffs; None with too few customers."""
    fold = folds(frame, FOLDS)
    predicted = np.full(len(frame), np.nan)
    for k in range(FOLDS):
        asked, rest = rows[fold[rows] == k], np.flatnonzero(fold != k)
        if not len(rest):
            return None
        if len(asked):
            predicted[asked] = score(model.fit(frame.take(rest)), frame.take(asked))
    return HeldOut(rows, predicted[rows])
