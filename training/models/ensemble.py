"""Several models asked together: the mean of their logits for a chance, the mean of their answers for an amount."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from retain.config import build
from retain.errors import IntegrityError
from retain.files import write_json
from training.contracts import Fitted, Floats, Frame
from training.models import stored
from training.models.explained import mean_of_logits, weighted

Kind = Literal["chance", "amount"]
_MOST = 16


@dataclass(frozen=True)
class FittedEnsemble:
    """Models and what kind of answer they give."""

    members: tuple[Fitted, ...]
    kind: Kind

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that a member needs, in the order of the members."""
        return tuple(dict.fromkeys(name for member in self.members for name in member.columns))

    def predict(self, x: Floats) -> Floats:
        """The mean; each member gets its own columns."""
        values, place = stored.checked(x, self.columns), {name: position for position, name in enumerate(self.columns)}
        answers = [member.predict(np.ascontiguousarray(values[:, [place[name] for name in member.columns]])) for member in self.members]
        if self.kind == "amount":
            return np.asarray(sum(answers) / len(answers))
        return mean_of_logits(answers)

    def contributions(self, x: Floats) -> Floats | None:
        """Of a chance, the mean of the members' contributions; None for amounts, whose mean is no sum of logs."""
        if self.kind == "amount":
            return None
        share = 1 / len(self.members)
        return weighted(self.members, [share] * len(self.members), self.columns, stored.checked(x, self.columns))

    def save(self, folder: Path) -> None:
        """Write ``ensemble.json`` and each member into a folder of its own."""
        write_json(folder / "ensemble.json", {"kind": self.kind, "members": len(self.members)})
        for number, member in enumerate(self.members):
            stored.write(member, folder / f"member{number}")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        found = stored.values(folder / "ensemble.json")
        kind, count = found.get("kind"), stored.number(found, "members", least=1, most=_MOST)
        if kind not in ("chance", "amount") or count != int(count):
            raise IntegrityError(f"ensemble.json: kind {kind!r} with {count} members is not known; train the model again")
        return cls(tuple(stored.read(folder / f"member{number}") for number in range(int(count))), kind)


class Ensemble(BaseModel):
    """Learn each member on the same rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    members: tuple[dict[str, Any], ...] = Field(min_length=1, max_length=_MOST)
    """The models inside, each as ``use: module:Class``."""
    kind: Kind = "chance"

    def fit(self, frame: Frame) -> FittedEnsemble:
        """Learn."""
        return FittedEnsemble(tuple(build(member, f"ensemble member {number}").fit(frame) for number, member in enumerate(self.members)), self.kind)
