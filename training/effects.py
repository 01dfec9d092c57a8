"""What contacting a customer changes: the incremental outcome of each treatment against no contact, how sure it is, and on what evidence.

Champions of the task ``uplift`` answer with ``Effects``; lists, policies and reports read nothing else of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from retain.errors import DataError
from training.contracts import Floats

if TYPE_CHECKING:
    import pandas as pd

    from training.package import Package

Grade = Literal["A", "B", "C", "D"]
GRADES: dict[Grade, str] = {
    "A": "randomised: each customer of a campaign had the same chance of the treatment",
    "B": "logged: each customer's chance of the treatment was written down when it was drawn",
    "C": "adjusted: chances were estimated from what was known of the customers; what was not known may mislead",
    "D": "none: nobody was left untreated, so no effect is claimed",
}
"""What each grade of evidence means."""


@dataclass(frozen=True)
class Effects:
    """Incremental outcome of each treatment for each customer, against no contact. Costs are not taken off."""

    customers: NDArray[np.object_]
    """(n,) ids."""
    treatments: tuple[str, ...]
    """k names: kinds of offers, offers with their channel, or arms, as the task says."""
    value: Floats
    """(n, k) in ``unit``; NaN where the grade is D: then nothing is claimed, and whoever decides falls back to propensity x value."""
    low: Floats
    """(n, k) lower end of the 95 % interval of the mean effect among customers with this score."""
    high: Floats
    """(n, k) upper end."""
    grades: tuple[Grade, ...]
    """k letters, see ``GRADES``."""
    outcome: str
    """What is counted: visit, purchase, spend or margin."""
    unit: str
    """Unit of the values: a currency, or ``customers`` where the outcome is yes or no."""

    def __post_init__(self) -> None:
        shape = (len(self.customers), len(self.treatments))
        if not (self.value.shape == self.low.shape == self.high.shape == shape and len(self.grades) == len(self.treatments)):
            raise ValueError(
                f"effects: {shape[0]} customers and {shape[1]} treatments, but values {self.value.shape}, intervals {self.low.shape} and "
                f"{self.high.shape}, {len(self.grades)} grades"
            )

    def __len__(self) -> int:
        return len(self.customers)

    def of(self, treatment: str) -> tuple[Floats, Floats, Floats, Grade]:
        """Value, low, high and grade of one treatment.

        Raises:
            DataError: no such treatment was learned.
        """
        if treatment not in self.treatments:
            raise DataError(f"no effect of {treatment!r} was learned; the treatments are {', '.join(self.treatments)}", field="treatment")
        place = self.treatments.index(treatment)
        return self.value[:, place], self.low[:, place], self.high[:, place], self.grades[place]

    def take(self, rows: NDArray[np.intp]) -> Effects:
        """Some customers, in the given order."""
        return replace(self, customers=self.customers[rows], value=self.value[rows], low=self.low[rows], high=self.high[rows])


@runtime_checkable
class Estimating(Protocol):
    """A fitted model of the task ``uplift``: what it predicts as a score is the largest effect of any treatment."""

    @property
    def treatments(self) -> tuple[str, ...]:
        """Names of the treatments."""

    @property
    def grades(self) -> tuple[Grade, ...]:
        """Grade of each."""

    @property
    def outcome(self) -> str:
        """What is counted."""

    @property
    def unit(self) -> str:
        """In which unit."""

    def estimate(self, x: Floats) -> tuple[Floats, Floats, Floats]:
        """(rows, columns) -> value, low, high, each (rows, treatments)."""


def effects(package: Package, customers: Sequence[str] | NDArray[np.object_], features: pd.DataFrame) -> Effects:
    """What the champion says of some customers.

    Args:
        package: An opened model folder of the task ``uplift``.
        customers: Row-aligned with ``features``.
        features: Raw features as the feature store gives them; columns are taken by name.

    Raises:
        DataError: a column is missing, or the model estimates no effects.
    """
    fitted, encoder = package.fitted, package.encoder
    if encoder is None or not isinstance(fitted, Estimating):
        raise DataError(f"{package.card.model_id} estimates no effects; ask the champion of uplift, see `retain train uplift`")
    missing = [column for column in package.card.columns if column not in features.columns]
    if missing:
        raise DataError(f"{package.card.model_id}: column {missing[0]} is missing from the features; rebuild them with `retain features build`")
    return of_rows(fitted, customers, encoder.encode(features[list(package.card.columns)]))


def of_rows(fitted: Estimating, customers: Sequence[str] | NDArray[np.object_], x: Floats) -> Effects:
    """The same for rows that are encoded already, in the order of the model's columns."""
    value, low, high = fitted.estimate(x)
    names = np.array([str(customer) for customer in customers], dtype=object)
    return Effects(names, fitted.treatments, value, low, high, fitted.grades, fitted.outcome, fitted.unit)
