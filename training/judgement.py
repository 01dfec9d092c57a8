"""What judging and learning a recipe come to, whatever the task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pydantic import BaseModel, ConfigDict

from features.interactions import Interactions
from training.card import Curve, Windows
from training.contracts import Fitted, FittedRanker, Floats
from training.encoding import Encoder
from training.evidence import Evidence, pooled
from training.reference import Reference


class Cost(BaseModel):
    """What a recipe took: measured, so it never stands on a card, which is equal for equal runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fit_cpu_s: float
    """CPU seconds of learning, all threads together."""
    rows_per_s: float
    """Customers scored, or given lists, per CPU second."""
    training_rows: int
    """Rows, or purchases, learned from."""
    features: int
    """Columns that the model reads; 0 for a ranker."""


@dataclass(frozen=True)
class Judged:
    """How good a recipe is: learned on the windows before the test window, judged on it."""

    evidence: Evidence
    curves: dict[str, Curve]
    windows: Windows
    cost: Cost | None = None


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
    reference: Reference
    """What the inputs of today look like, to see drift later."""
    notes: tuple[str, ...] = ()


def together(parts: Sequence[Judged]) -> Judged:
    """Several test windows as one, the newest first: figures are means over windows, curves and cost are those of the newest."""
    windows = parts[0].windows
    test = sorted(moment for part in parts for moment in part.windows.test)
    return replace(parts[0], evidence=pooled([part.evidence for part in parts]), windows=windows.model_copy(update={"test": tuple(test)}))
