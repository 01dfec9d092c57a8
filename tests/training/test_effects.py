"""Effects keep customers, treatments and grades together."""

from __future__ import annotations

import numpy as np
import pytest

from retain.errors import DataError
from training.effects import Effects


def _effects(customers: int = 3) -> Effects:
    value = np.arange(2.0 * customers).reshape(customers, 2)
    names = np.array([f"c{k}" for k in range(customers)], dtype=object)
    return Effects(names, ("mail", "call"), value, value - 1, value + 1, ("A", "C"), "spend", "EUR")


def test_a_treatment_is_found_by_name() -> None:
    value, low, high, grade = _effects().of("call")
    assert value.tolist() == [1.0, 3.0, 5.0]
    assert (low < value).all()
    assert (value < high).all()
    assert grade == "C"


def test_an_unknown_treatment_is_refused() -> None:
    with pytest.raises(DataError, match="mail, call"):
        _effects().of("fax")


def test_customers_are_taken_in_the_given_order() -> None:
    some = _effects().take(np.array([2, 0]))
    assert list(some.customers) == ["c2", "c0"]
    assert some.value.tolist() == [[4.0, 5.0], [0.0, 1.0]]


def test_arrays_of_another_shape_are_refused() -> None:
    value = np.zeros((2, 2))
    with pytest.raises(ValueError, match="2 customers and 1 treatments"):
        Effects(np.array(["a", "b"], dtype=object), ("mail",), value, value, value, ("A",), "visit", "customers")
