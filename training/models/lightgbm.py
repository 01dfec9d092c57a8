"""Gradient-boosted trees for a few thousand to a hundred thousand rows: shallow, slow, regularised, without class weights.

What trees are held to may be searched on earlier windows before they learn.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field

from retain.errors import IntegrityError
from retain.files import write_json, write_text
from training.contracts import Floats, Frame
from training.models import shapes, stored
from training.models.boosting import Boosting, Settings
from training.models.once import once
from training.models.rates import Rates
from training.models.rows import canonical
from training.models.trees import check, trimmed

_SEARCH_RATE = 0.1


@dataclass(frozen=True)
class FittedLightGBM:
    """Trees in LightGBM's text form, and the booster that reads them."""

    columns: tuple[str, ...]
    rates: Rates
    text: str
    _booster: Any = field(repr=False, compare=False)
    remark: str = ""
    """How the trees came to their constraints, in plain words for the card; empty where they were given."""

    @classmethod
    def from_text(cls, columns: tuple[str, ...], rates: Rates, text: str, remark: str = "") -> Self:
        """Open trees whose structure has been checked.

        Raises:
            IntegrityError: the text is no sound model of these columns and rates.
        """
        import lightgbm

        check(text, rates.names(columns))
        try:
            return cls(columns, rates, text, lightgbm.Booster(model_str=text), remark)
        except lightgbm.basic.LightGBMError as error:
            raise IntegrityError(f"model.txt: LightGBM cannot read it ({error}); restore it or train the model again") from error

    def predict(self, x: Floats) -> Floats:
        """The chance or the amount. One thread: threads that wait for a busy core cost a thousand times the row."""
        values = self.rates.extend(stored.checked(x, self.columns), self.columns)
        if not len(values):
            return np.empty(0)
        return np.asarray(self._booster.predict(values, num_threads=1), dtype=np.float64)

    def contributions(self, x: Floats) -> Floats:
        """(rows, columns + 1) what each feature adds to the score before the link, the last column the base (SHAP values of trees).

        What a rate adds is counted with the feature that was divided.
        """
        values = self.rates.extend(stored.checked(x, self.columns), self.columns)
        width = len(self.columns)
        if not len(values):
            return np.empty((0, width + 1))
        parts = np.asarray(self._booster.predict(values, pred_contrib=True, num_threads=1), dtype=np.float64)
        result = np.hstack([parts[:, :width], parts[:, -1:]])
        for number, place in enumerate(self.rates.places(self.columns)):
            result[:, place] += parts[:, width + number]
        return result

    def save(self, folder: Path) -> None:
        """Write ``model.txt`` and ``columns.json``."""
        write_text(folder / "model.txt", self.text)
        write_json(folder / "columns.json", {"columns": list(self.columns), "rates": self.rates.to_json(), "remark": self.remark})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote; the structure is checked before LightGBM sees it."""
        found = stored.values(folder / "columns.json")
        columns = stored.names(found, "columns")
        rates = Rates.from_json(found["rates"] if isinstance(found.get("rates"), dict) else {}, columns)
        path = folder / "model.txt"
        if not path.is_file():
            raise IntegrityError("model file model.txt is missing; restore it or train the model again")
        try:
            return cls.from_text(columns, rates, path.read_text(encoding="utf-8"), str(found.get("remark", "")))
        except UnicodeDecodeError as error:
            raise IntegrityError("model.txt is not text; restore it or train the model again") from error


class LightGBM(Settings):
    """Boosted trees. Equal rows, settings and seed give an equal model, whatever the threads and the order of rows."""

    constraints: Literal["given", "searched"] = "given"
    """``searched``: what the trees are held to is found on earlier windows, see ``training.models.shapes``; else as given."""
    search_trees: int = Field(default=50, ge=1, le=5000)
    """Trees of a candidate in the search, at a learning rate of a tenth."""

    def fit(self, frame: Frame) -> FittedLightGBM:
        """Boost."""
        ordered = canonical(frame)
        return self.settle(ordered).fit(ordered)

    def settle(self, frame: Frame) -> Settled:
        """See ``Settles``."""
        if self.constraints == "given":
            return Settled(self, "")
        quick = self.model_copy(update={"trees": self.search_trees, "learning_rate": _SEARCH_RATE})
        found = once(frame, f"shape {quick.model_dump_json()}", lambda: shapes.find(frame, self.objective, partial(Boosting.of, quick)))
        chosen = {"constraints": "given", "rising": found.shape.rising, "falling": found.shape.falling, "pairs": found.shape.pairs}
        return Settled(self.model_copy(update=chosen), found.words)


@dataclass(frozen=True)
class Settled:
    """Trees whose constraints are chosen, and how they were."""

    model: LightGBM
    remark: str

    def fit(self, frame: Frame) -> FittedLightGBM:
        """Boost."""
        boosting = Boosting.of(self.model, canonical(frame))
        return FittedLightGBM.from_text(boosting.columns, boosting.rates, trimmed(boosting.train(self.model).model_to_string()), self.remark)
