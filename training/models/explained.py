"""How a model that holds others says what each feature adds to its score: from what the models inside say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training.contracts import Explaining, Fitted, Floats
from training.models.logistic import sigmoid

_CLIP = 1e-6


def contributions(fitted: Fitted, x: Floats) -> Floats | None:
    """What each feature adds to the score of a model, see ``Explaining``; None where it cannot say."""
    return fitted.contributions(x) if isinstance(fitted, Explaining) else None


def line(parts: Floats | None, slope: float = 1.0, shift: float = 0.0) -> Floats | None:
    """Contributions to ``slope`` times the score plus ``shift``."""
    if parts is None:
        return None
    result = parts * slope
    result[:, -1] += shift
    return result


def weighted(members: Sequence[Fitted], weights: Sequence[float], columns: tuple[str, ...], x: Floats) -> Floats | None:
    """Contributions to the weighted sum of the logits of several models; None where none of them can say.

    Args:
        members: Models of chances, each with columns of its own.
        weights: One per member.
        columns: Those of ``x``; every member's are among them.
        x: (rows, columns).
    """
    place = {name: position for position, name in enumerate(columns)}
    result, said = np.zeros((len(x), len(columns) + 1)), False
    for member, weight in zip(members, weights, strict=True):
        where = [place[name] for name in member.columns]
        own = np.ascontiguousarray(x[:, where])
        parts = contributions(member, own)
        if parts is None:
            # What a model does not explain still moves the score; it belongs to no feature.
            result[:, -1] += weight * logit(member.predict(own))
            continue
        said = True
        result[:, where] += weight * parts[:, :-1]
        result[:, -1] += weight * parts[:, -1]
    return result if said else None


def logit(p: Floats) -> Floats:
    """log(p / (1 - p)), kept finite at the ends.

    >>> logit(np.array([0.5])).tolist()
    [0.0]
    """
    clipped = np.clip(p, _CLIP, 1 - _CLIP)
    return np.asarray(np.log(clipped / (1 - clipped)))


def pooled(answers: Sequence[Floats], weights: Sequence[float]) -> Floats:
    """The chance whose logit is the weighted sum of theirs."""
    total = np.zeros(len(answers[0]))
    for answer, weight in zip(answers, weights, strict=True):
        total += weight * logit(answer)
    return sigmoid(total)
