"""Random numbers that depend on what they are for and on nothing else: a seed, a purpose, a customer, a day.

Each number is a hash of its coordinates (the finaliser of SplitMix64), so a customer's life is the same whoever else is
simulated, in whatever blocks and in whatever order.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def _mix(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread every bit of a key over all bits of a new array; multiplication wraps around on purpose."""
    mixed = keys ^ (keys >> np.uint64(30))
    mixed *= _FIRST
    mixed ^= mixed >> np.uint64(27)
    mixed *= _SECOND
    mixed ^= mixed >> np.uint64(31)
    return mixed


@dataclass(frozen=True)
class Draws:
    """One stream of random numbers per row."""

    keys: NDArray[np.uint64]

    @classmethod
    def seeded(cls, seed: int, rows: ArrayLike) -> Draws:
        """Streams of numbered rows under a seed."""
        start = np.frombuffer(hashlib.blake2b(str(seed).encode(), digest_size=8).digest(), dtype=np.uint64)
        return cls(start).at(rows)

    def named(self, purpose: str) -> Draws:
        """The streams of the same rows for another purpose."""
        word = np.frombuffer(hashlib.blake2b(purpose.encode(), digest_size=8).digest(), dtype=np.uint64)
        return Draws(_mix(self.keys ^ word))

    def at(self, numbers: ArrayLike) -> Draws:
        """The streams of the same rows at a number each, for example a day; a column of numbers makes a matrix of streams."""
        offsets = (np.asarray(numbers, dtype=np.int64) + 1).astype(np.uint64)
        return Draws(_mix(self.keys + np.atleast_1d(offsets) * _STEP))

    def take(self, rows: NDArray[np.intp]) -> Draws:
        """The streams of some rows, in the given order."""
        return Draws(self.keys[rows])

    def uniform(self) -> Floats:
        """Strictly between zero and one."""
        return ((self.keys >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53

    def normal(self) -> Floats:
        """Mean zero, variance one."""
        values: Floats = ndtri(self.uniform())
        return values

    def exponential(self, mean: ArrayLike = 1.0) -> Floats:
        """Waiting times with a mean."""
        return -np.log(self.uniform()) * np.asarray(mean, dtype=np.float64)

    def below(self, limit: ArrayLike) -> Integers:
        """A whole number from zero to below a limit, each as likely."""
        number: Integers = (self.uniform() * np.asarray(limit)).astype(np.int64)
        return number

    def chance(self, probability: ArrayLike) -> Flags:
        """True with a probability."""
        return self.uniform() < np.asarray(probability)

    def choice(self, weights: ArrayLike) -> Integers:
        """A position drawn by weight; all rows share the weights."""
        cumulative = np.cumsum(np.asarray(weights, dtype=np.float64))
        position: Integers = np.minimum(np.searchsorted(cumulative / cumulative[-1], self.uniform()), len(cumulative) - 1)
        return position
