"""Whether a packaged model gives the same answer to a customer alone, in sevens and all at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from retain.errors import DataError, IntegrityError
from retain.files import read_json
from training.contracts import PURPOSES, Fitted, FittedRanker
from training.golden import LENGTH, golden_history, golden_rows
from training.package import load

TOLERANCE = 1e-12
"""Relative: BLAS gives a row alone and the same row in a batch in different last bits; trees are equal to the bit."""
BATCH = 7


def failures(folder: Path) -> tuple[str, ...]:
    """What speaks against a packaged model, in words: it cannot be opened, or it answers differently by how it is asked."""
    try:
        opened = load(folder)
    except (IntegrityError, DataError) as error:
        return (error.message,)
    golden = read_json(folder / "golden.json")
    same = _lists_agree(opened.fitted, golden) if isinstance(opened.fitted, FittedRanker) else _scores_agree(opened.fitted, golden)
    return () if same else (f"{folder.name}: a customer asked about alone gets another answer than in a batch",)


def _scores_agree(fitted: Fitted, golden: dict[str, Any]) -> bool:
    x = golden_rows(golden, len(fitted.columns))
    whole = fitted.predict(x)
    for size in (1, BATCH):
        parts = [fitted.predict(x[start : start + size]) for start in range(0, len(x), size)]
        if not np.allclose(np.concatenate([*parts, np.empty(0)]), whole, rtol=TOLERANCE, atol=0):
            return False
    return True


def _lists_agree(fitted: FittedRanker, golden: dict[str, Any]) -> bool:
    history = golden_history(golden, fitted.items)
    everyone = np.arange(len(history.customers), dtype=np.int64)
    for purpose in PURPOSES:
        whole = fitted.rank(history, everyone, LENGTH, purpose)
        for size in (1, BATCH):
            parts = [fitted.rank(history, everyone[start : start + size], LENGTH, purpose) for start in range(0, len(everyone), size)]
            scores = np.concatenate([part.scores for part in parts]) if parts else whole.scores
            if not np.allclose(scores, whole.scores, rtol=TOLERANCE, atol=0, equal_nan=True):
                return False
    return True
