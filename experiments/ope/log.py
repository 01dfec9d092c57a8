"""Logged decisions: what was done, with which probability, what came of it, and what another policy would have done. Checked values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from retain.errors import DataError
from training.contracts import Floats, Integers

SUMS_TO_ONE = 1e-6
"""How far the probabilities of a policy may sum from one."""


@dataclass(frozen=True)
class Log:
    """One row per decision. The policy that logged is known by the probabilities of what it did."""

    actions: tuple[str, ...]
    """k names; one may occur in a challenger only."""
    action: Integers
    """(n,) place of what was done."""
    probability: Floats
    """(n,) with which it was done, above 0."""
    reward: Floats
    """(n,) what came of it."""
    challenger: Floats
    """(n, k) probabilities of the policy that is judged."""
    champion: Floats | None = None
    """(n, k) of the policy it is compared to; None means the policy that logged, as it was."""
    logging: Floats | None = None
    """(n, k) of the policy that logged, where they are known of every action and not only of what was done."""
    x: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    """(n, d) what was known before the decision, as numbers; no columns where nothing was."""
    customer: Integers | None = None
    """(n,) number of the customer; None means that each row is another."""
    contexts: Mapping[str, NDArray[np.object_]] = field(default_factory=dict)
    """By name: (n,) words of what was known, few kinds of them, to say where something is missing."""

    def __post_init__(self) -> None:
        n, k = len(self.action), len(self.actions)
        if n < 2:
            raise DataError(f"a log of {n} decisions says nothing; at least 2 are needed, and some hundreds to learn anything")
        for name, values in (("probability", self.probability), ("reward", self.reward)):
            bad = ~np.isfinite(values) if name == "reward" else ~((values > 0) & (values <= 1))
            if bad.any():
                row = int(np.flatnonzero(bad)[0])
                want = "a finite number" if name == "reward" else "above 0 and at most 1: what was done had some probability"
                raise DataError(f"row {row + 1}: {name} {values[row]:g} is not {want}", field=name, row=row)
        for name, policy in (("challenger", self.challenger), ("champion", self.champion), ("log", self.logging)):
            if policy is None:
                continue
            if policy.shape != (n, k):
                raise DataError(f"{name}: probabilities of {policy.shape} for {n} decisions among {k} actions", field=name)
            odd = ~(np.abs(policy.sum(axis=1) - 1) <= SUMS_TO_ONE) | (policy < 0).any(axis=1)
            if odd.any():
                row = int(np.flatnonzero(odd)[0])
                raise DataError(f"row {row + 1}: the probabilities of the {name} sum to {policy[row].sum():g}, not to 1", field=name, row=row)

    def __len__(self) -> int:
        return len(self.action)

    @property
    def features(self) -> Floats:
        """(n, d) what was known, without columns where nothing was."""
        return self.x if len(self.x) == len(self) else np.zeros((len(self), 0))

    @property
    def owner(self) -> Integers:
        """(n,) number of whoever each row belongs to, from 0."""
        if self.customer is None:
            return np.arange(len(self), dtype=np.int64)
        return np.asarray(np.unique(self.customer, return_inverse=True)[1], dtype=np.int64)

    def weights(self, policy: Floats) -> Floats:
        """(n,) how much likelier a policy does what was done than the one that logged."""
        return np.asarray(policy[np.arange(len(self)), self.action] / self.probability)
