"""A model that learned a shorter window than was asked, answering for the longer one by a declared curve."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np

from retain.errors import IntegrityError
from retain.files import write_json
from training.contracts import Bounding, Fitted, Floats
from training.models import stored
from training.models.explained import contributions

Kind = Literal["chance", "amount"]


@dataclass(frozen=True)
class FittedStretched:
    """A chance of no purchase to a power, or an amount times a factor; see training.horizons."""

    inner: Fitted
    kind: Kind
    factor: float

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of the model inside."""
        return self.inner.columns

    def predict(self, x: Floats) -> Floats:
        """The answer of the model inside, lengthened."""
        answer = self.inner.predict(x)
        return np.clip(answer, 0.0, 1.0) ** self.factor if self.kind == "chance" else answer * self.factor

    def contributions(self, x: Floats) -> Floats | None:
        """Those of the model inside: a longer window moves every score the same way."""
        return contributions(self.inner, x)

    def bounds(self, x: Floats) -> Floats | None:
        """Those of the model inside, lengthened as its answer is."""
        inner = self.inner.bounds(x) if isinstance(self.inner, Bounding) else None
        return None if inner is None else inner * self.factor

    def save(self, folder: Path) -> None:
        """Write ``stretched.json`` and the model inside."""
        write_json(folder / "stretched.json", {"kind": self.kind, "factor": self.factor})
        stored.write(self.inner, folder / "inner")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        found = stored.values(folder / "stretched.json")
        kind = found.get("kind")
        if kind not in ("chance", "amount"):
            raise IntegrityError(f"stretched.json: kind {kind!r} is neither chance nor amount; train the model again")
        return cls(stored.read(folder / "inner"), kind, stored.number(found, "factor", least=0))
