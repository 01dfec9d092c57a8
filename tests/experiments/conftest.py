"""Small frames for the tests of experiments."""

from __future__ import annotations

import numpy as np
import pytest

from training.contracts import Frame


@pytest.fixture
def frame() -> Frame:
    """Two hundred customers at one cutoff, two columns, one of them with nulls."""
    rng = np.random.default_rng(1)
    x = rng.integers(1, 90, (200, 2)).astype(np.float64)
    x[::7, 1] = np.nan
    customers = np.array([f"c{i:03d}" for i in range(200)], dtype=object)
    columns = ("purchases__days_since_order_365d", "purchases__orders_365d")
    return Frame(customers, np.full(200, np.datetime64("2017-12-04", "us")), columns, x, (x[:, 0] > 45).astype(np.float64), 28)
