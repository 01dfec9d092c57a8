"""Where the challenger does what the log never did: no weighting can say what comes of that, so it is named."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.ope.log import Log
from training.contracts import Floats

LEAST = 0.001
"""Share of the challenger's decisions from which a gap is named."""
_SIGNIFICANT = 4.0
"""Standard errors: many actions and places are looked at, and what is named should be true."""


@dataclass(frozen=True)
class Gap:
    """Weight of the challenger that the log does not reach."""

    action: str
    share: float
    """Of the challenger's decisions."""
    where: str = ""
    """``column = value``; empty means anywhere."""
    is_proven: bool = True
    """False where the weights add up to too little, but nobody can say for whom."""

    @property
    def words(self) -> str:
        """A sentence."""
        place = f" where {self.where}" if self.where else ""
        if self.is_proven:
            return f"{self.action!r}: the challenger does it{place} in {self.share:.1%} of all decisions, the log never does"
        return (
            f"{self.action!r}: the weights say that the log reaches {self.share:.1%} of all decisions less than the challenger wants{place}; "
            "somewhere the log never does it, or its probabilities are too high"
        )


def gaps(log: Log) -> tuple[Gap, ...]:
    """Every gap, the largest first; an action that is missing everywhere is not named again by place.

    Where the log knows with which probability it would have done everything else, the gap is a sum; otherwise it is looked for.
    """
    found: list[Gap] = []
    whole = log.weights(log.challenger)
    for place, name in enumerate(log.actions):
        wanted, done = log.challenger[:, place], log.action == place
        if wanted.mean() < LEAST:
            continue
        if not done.any():
            found.append(Gap(name, float(wanted.mean())))
            continue
        if log.logging is not None:
            share = float(np.where(log.logging[:, place] > 0, 0.0, wanted).mean())
            if share >= LEAST:
                found.append(Gap(name, share, "the rules that logged gave it no chance"))
            continue
        by_place = [
            Gap(name, share, f"{column} = {value}")
            for column, words in log.contexts.items()
            for value, share in _never(words, wanted, done)
            if share >= LEAST
        ]
        found += by_place
        missing = wanted - np.where(done, whole, 0.0)
        error = float(missing.std()) / np.sqrt(len(log))
        if not by_place and missing.mean() > max(LEAST, _SIGNIFICANT * error):
            found.append(Gap(name, float(missing.mean()), is_proven=False))
    return tuple(sorted(found, key=lambda gap: (-gap.share, gap.action, gap.where)))


def missing(found: tuple[Gap, ...]) -> float:
    """Share of the challenger's decisions that lie in a gap, at least: of one action the widest gap counts."""
    widest: dict[str, float] = {}
    for gap in found:
        widest[gap.action] = max(widest.get(gap.action, 0.0), gap.share)
    return min(1.0, sum(widest.values()))


def _never(words: NDArray[np.object_], wanted: Floats, done: NDArray[np.bool_]) -> list[tuple[str, float]]:
    """Values of a column where an action is wanted and was never done, with the share of all decisions."""
    values, place = np.unique(words.astype(str), return_inverse=True)
    asked, seen = np.bincount(place, wanted, len(values)), np.bincount(place, done, len(values))
    return [(str(values[i]), float(asked[i]) / len(wanted)) for i in np.flatnonzero((seen == 0) & (asked > 0))]
