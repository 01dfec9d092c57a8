"""What judging and learning a recipe come to, whatever the task."""

from __future__ import annotations

from dataclasses import dataclass

from features.interactions import Interactions
from training.card import Curve
from training.contracts import Fitted, FittedRanker, Floats
from training.encoding import Encoder
from training.evidence import Evidence


@dataclass(frozen=True)
class Judged:
    """How good a recipe is: learned on the windows before the test window, judged on it."""

    evidence: Evidence
    curves: dict[str, Curve]


@dataclass(frozen=True)
class Learned:
    """The recipe, learned on every closed window."""

    fitted: Fitted | FittedRanker
    encoder: Encoder | None
    golden: Floats | Interactions
    """Something to ask it, so that a loaded copy can test itself."""
    rows: int
    newest: Floats
    """Scores on the customers of today; empty for a ranker."""
    notes: tuple[str, ...] = ()
