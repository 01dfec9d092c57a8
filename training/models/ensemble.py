"""Several models asked together: a weighted mean of their logits for a chance, of their answers for an amount.

The weights come from rows that the members did not learn from (stacking, Wolpert 1992): other customers at the same cutoffs and, as much
again, the newest window by members of the windows before. The map of a chance and the total of an amount come from other customers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from retain.config import build
from retain.errors import IntegrityError
from retain.files import write_json
from training.contracts import Fitted, Floats, Frame, Model
from training.models import held_out, pooling, stored
from training.models.calibrated import FittedCalibrated, calibration
from training.models.explained import pooled, weighted
from training.models.held_out import Learned
from training.models.maps import Method
from training.models.parallel import together
from training.models.rows import canonical
from training.models.seasons import anniversaries, move

Kind = Literal["chance", "amount"]
_MOST = 16
_LEAST_EARLIER = 2
"""Windows that must have closed before the newest one, for models of them alone to be asked about it."""
_FILE = "ensemble.json"


@dataclass(frozen=True)
class Parts:
    """What a blend of a frame is made of, row-aligned with it: members, and what they say of rows that they did not learn from."""

    fitted: tuple[Fitted, ...]
    said: Floats
    """(rows, members) by members of other customers."""
    later: Floats | None
    """(rows of the newest cutoff, members) by members of the windows before; None where there are too few of them."""

    def only(self, kept: Sequence[int]) -> Parts:
        """Some of the members."""
        return Parts(tuple(self.fitted[k] for k in kept), self.said[:, kept], None if self.later is None else self.later[:, kept])


@dataclass(frozen=True)
class FittedEnsemble:
    """Models, how much each counts, and what kind of answer they give."""

    members: tuple[Fitted, ...]
    weights: tuple[float, ...]
    """Of chances they sum to one; of amounts each holds the factor that sets the member's total right."""
    kind: Kind

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that a member needs, in the order of the members."""
        return tuple(dict.fromkeys(name for member in self.members for name in member.columns))

    def predict(self, x: Floats) -> Floats:
        """The weighted mean; each member gets its own columns."""
        values, place = stored.checked(x, self.columns), {name: position for position, name in enumerate(self.columns)}
        answers = [member.predict(np.ascontiguousarray(values[:, [place[name] for name in member.columns]])) for member in self.members]
        return _pool(answers, self.weights, self.kind)

    def contributions(self, x: Floats) -> Floats | None:
        """Of a chance, the weighted sum of the members' contributions; None for amounts, whose mean is no sum of logs."""
        return weighted(self.members, self.weights, self.columns, stored.checked(x, self.columns)) if self.kind == "chance" else None

    def save(self, folder: Path) -> None:
        """Write ``ensemble.json`` and each member into a folder of its own."""
        write_json(folder / _FILE, {"kind": self.kind, "weights": list(self.weights)})
        for number, member in enumerate(self.members):
            stored.write(member, folder / f"member{number}")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        found = stored.values(folder / _FILE)
        kind, weights = found.get("kind"), stored.numbers(found, "weights")
        if kind not in ("chance", "amount") or not 0 < len(weights) <= _MOST or (weights < 0).any():
            raise IntegrityError(f"{_FILE}: kind {kind!r} with weights {weights.tolist()} is not known; train the model again")
        return cls(tuple(stored.read(folder / f"member{number}") for number in range(len(weights))), tuple(weights.tolist()), kind)


class Ensemble(BaseModel):
    """Learn each member on the same rows, and how much it counts on rows that it did not learn from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    members: tuple[dict[str, Any], ...] = Field(min_length=1, max_length=_MOST)
    """The models inside, each as ``use: module:Class``."""
    kind: Kind = "chance"
    weights: Literal["learned", "equal"] = "learned"
    """``equal`` holds nothing out: neither map nor level is learned."""
    least_weight: float = Field(default=0.02, ge=0, lt=1)
    """A member with a smaller share is left out."""
    method: Method | Literal["auto"] = "auto"
    """The map of a chance, see ``Calibrated``."""
    level: Literal["newest", "all"] = "newest"
    """The window whose mean the chances shall have, see ``Calibrated``. Totals of amounts are set right over all windows, and
    for the season of the window to come by the same season of earlier years, where there is one."""
    widest: float = Field(default=1.5, ge=1)
    """The factor of a total stays between 1 / widest and widest: a larger gap is a fault, not a level."""

    def fit(self, frame: Frame) -> Fitted:
        """Learn."""
        return self.learn(canonical(frame)).fitted

    def learn(self, frame: Frame) -> Learned:
        """See ``HoldsOut``."""
        found = self.parts(frame)
        if isinstance(found, Parts):
            return self.blend(found, frame)
        return Learned(FittedEnsemble(found, (1 / len(found),) * len(found), self.kind), None)

    def parts(self, frame: Frame) -> Parts | tuple[Fitted, ...]:
        """The members learned; alone where they are to count alike, or there are too few customers to say how much each counts."""
        models = [build(member, f"ensemble member {number}") for number, member in enumerate(self.members)]
        if self.weights == "equal" or not len(frame):
            return tuple(model.fit(frame) for model in models)
        learned = [held_out.learn(model, frame) for model in models]
        fitted = tuple(each.fitted for each in learned)
        said = [each.held_out for each in learned if each.held_out is not None]
        if len(said) < len(models) or len(np.unique(frame.y)) < 2:
            return fitted
        return Parts(fitted, np.column_stack(said), _later(models, frame))

    def blend(self, parts: Parts, frame: Frame) -> Learned:
        """How much each member counts, and the map of a chance or the level of an amount."""
        weights = self._weights(parts, frame)
        used = np.flatnonzero(weights > 0)
        ensemble = FittedEnsemble(tuple(parts.fitted[k] for k in used), tuple(weights[used].tolist()), self.kind)
        answer = _pool([parts.said[:, k] for k in used], ensemble.weights, self.kind)
        if self.kind == "amount":
            season = anniversaries(frame)
            factor = float(np.clip(np.exp(move(answer[season], frame.y[season])), 1 / self.widest, self.widest)) if len(season) else 1.0
            # What was said of the windows learned from stays as it was said: the season is that of the window to come.
            return Learned(replace(ensemble, weights=tuple(weight * factor for weight in ensemble.weights)), answer)
        found = calibration(answer, frame, self.method, self.level)
        return Learned(FittedCalibrated(ensemble, found), found(answer))

    def _weights(self, parts: Parts, frame: Frame) -> Floats:
        customers = len(np.unique(frame.customer_id.astype(str)))
        answers, actual, later = parts.said, frame.y, parts.later
        factors = np.ones(len(parts.fitted))
        if self.kind == "amount":
            came = float(frame.y.sum())
            totals = [float(answer.sum()) for answer in answers.T]
            factors = np.array([np.clip(came / total, 1 / self.widest, self.widest) if came > 0 and total > 0 else 1.0 for total in totals])
        if later is not None:
            # As much evidence from a later window as from other customers: each of its rows stands for several.
            times = max(1, round(len(frame) / len(later)))
            answers, actual = np.vstack([answers, *[later] * times]), np.concatenate([actual, *[frame.y[held_out.newest(frame)]] * times])
        shares = (pooling.of_amounts if self.kind == "amount" else pooling.of_chances)(answers * factors, actual, customers)
        kept = np.where(shares >= min(self.least_weight, float(shares.max())), shares, 0.0)
        return np.asarray(kept / kept.sum() * factors, dtype=np.float64)


def _later(models: Sequence[Model], frame: Frame) -> Floats | None:
    """(rows of the newest cutoff, models) what each says that learned from earlier windows alone; None where there are too few of them."""
    early = frame.take(held_out.closed_before_newest(frame))
    if len(np.unique(early.cutoff)) < _LEAST_EARLIER or len(np.unique(early.y)) < 2:
        return None
    said = together([partial(held_out.forward, model, frame) for model in models])
    return np.column_stack([each for each in said if each is not None])


def _pool(answers: Sequence[Floats], weights: Sequence[float], kind: Kind) -> Floats:
    if kind == "chance":
        return pooled(answers, weights)
    total = np.zeros(len(answers[0]))
    for answer, weight in zip(answers, weights, strict=True):
        total += weight * answer
    return total
