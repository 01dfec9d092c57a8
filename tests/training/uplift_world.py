"""Contacts whose true effects are known."""

from __future__ import annotations

from typing import Literal

import numpy as np

from training.contracts import Floats, Frame
from training.models.uplift.contacts import CONTROL, Contacts

World = Literal["flat", "response", "own", "none"]


def world(rows: int, kind: World = "own", seed: int = 1, treated: float = 0.5, *, logged: bool = True) -> tuple[Contacts, Floats]:
    """A campaign with one treatment and the true effect of each customer.

    The effect is equal for all (``flat``), half of the outcome without treatment (``response``), only with those whose ``taste`` is above
    zero, whatever else they do (``own``), or nothing.
    """
    random = np.random.default_rng(seed)
    recency, taste, money = random.normal(size=rows), random.normal(size=rows), random.gamma(2.0, 50.0, rows)
    region = np.where(random.random(rows) < 0.1, np.nan, random.integers(0, 3, rows))
    base = np.where(recency > 0, 0.3, 0.1)
    effect = {"flat": np.full(rows, 0.05), "response": 0.5 * base, "own": 0.25 * (taste > 0), "none": np.zeros(rows)}[kind]
    is_treated = random.random(rows) < treated
    y = (random.random(rows) < base + is_treated * effect).astype(np.float64)
    frame = Frame(
        customer_id=np.array([f"c{place:05d}" for place in range(rows)], dtype=object),
        cutoff=np.full(rows, np.datetime64("2025-03-01", "us")),
        columns=("recency", "taste", "money", "region"),
        x=np.column_stack([recency, taste, money, region]),
        y=y,
        horizon_days=14,
        categorical=frozenset({"region"}),
    )
    chance = np.where(is_treated, treated, 1 - treated) if logged else np.full(rows, np.nan)
    arm = np.where(is_treated, 0, CONTROL)
    return Contacts(frame, arm, np.zeros(rows, dtype=np.int64), chance, ("mail",), (0.5,), "visit", "customers", np.zeros(rows, dtype=bool)), effect
