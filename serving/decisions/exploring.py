"""Which of the ranked candidates are shown, by chance where the policy declares it, and the exact probability of what was shown. Pure.

One mixture covers every arm. With probability ``share`` the first slots are an ordered sample without replacement from the first ``reach``
candidates, every order equally likely; otherwise the best are shown in their order. So each figure has a closed form and nothing is
estimated by simulation. Chance is a hash of a seed and a key, so that the same decision is made again from the same key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from math import floor as whole
from math import perm
from typing import NamedTuple

import msgspec

_BITS = 53
"""Bits of the number that decides whether to explore: as many as a float holds exactly."""


class Mixture(msgspec.Struct, frozen=True):
    """How slots are filled from candidates that stand in the order of their priority."""

    count: int
    """Candidates."""
    slots: int
    """Slots filled: as many as were asked for, or as there are candidates."""
    share: float = 0.0
    """Probability that the explored slots are filled by chance."""
    reach: int = 0
    """How many of the first candidates chance chooses from."""

    @property
    def explored(self) -> int:
        """Slots that chance may fill: the first ones."""
        return min(self.slots, self.reach)

    def at(self, slot: int, candidate: int) -> float:
        """Probability that a slot shows a candidate; over all candidates it sums to one."""
        if slot >= self.reach or slot >= self.slots:
            return 1.0 if candidate == slot else 0.0
        by_chance = self.share / self.reach if candidate < self.reach else 0.0
        return by_chance + (1.0 - self.share if candidate == slot else 0.0)

    @property
    def chances(self) -> tuple[float, ...]:
        """Probability of each candidate to be shown in any slot; they sum to the number of slots."""
        count, slots, reach, explored = self.count, self.slots, self.reach, self.explored
        by_chance = self.share * explored / reach if reach else 0.0
        settled = max(slots - reach, 0)
        rest = count - reach - settled
        return (*(by_chance + (1.0 - self.share),) * explored, *(by_chance,) * (reach - explored), *(1.0,) * settled, *(0.0,) * rest)

    def joint(self, order: Sequence[int]) -> float:
        """Probability of exactly these candidates in exactly these slots; over all orders it sums to one."""
        explored, best = self.explored, list(range(self.slots))
        if len(order) != self.slots or [*order[explored:]] != best[explored:]:
            return 0.0
        first = [*order[:explored]]
        if len(set(first)) != explored or (first and max(first) >= self.reach):
            return 0.0
        by_chance = self.share / perm(self.reach, explored) if explored else 0.0
        return by_chance + (1.0 - self.share if first == best[:explored] else 0.0)


NONE = Mixture(0, 0)
"""Nothing to fill slots from."""


class Drawn(NamedTuple):
    """What is shown."""

    order: tuple[int, ...]
    """Candidate of each slot."""
    p: tuple[float, ...]
    """Probability with which each slot shows its candidate."""
    joint: float
    """Probability of all slots together."""


def settled(count: int, slots: int) -> Mixture:
    """The best in their order, for certain."""
    return Mixture(count, min(slots, count))


def exploring(count: int, slots: int, floor: float, most: float) -> Mixture:
    """The best in their order, but for a share that is explored: each explored candidate stands in each explored slot with at least ``floor``.

    Args:
        count: candidates.
        slots: asked for.
        floor: probability that each explored candidate gets in each slot by chance.
        most: the explored share is never more; it bounds how many candidates are explored.
    """
    reach = min(count, whole(most / floor + 1e-9)) if floor > 0 else 0
    if reach < 2:
        return settled(count, slots)
    return Mixture(count, min(slots, count), min(most, floor * reach), reach)


def random(count: int, slots: int) -> Mixture:
    """Every order of every candidate equally likely."""
    return Mixture(count, min(slots, count), 1.0 if count else 0.0, count)


def draw(mixture: Mixture, seed: str, key: str) -> Drawn:
    """Fill the slots; the same seed and key fill them the same way everywhere."""
    slots, reach, explored, share = mixture.slots, mixture.reach, mixture.explored, mixture.share
    if not share:
        return Drawn(tuple(range(slots)), (1.0,) * slots, 1.0)
    order = list(range(slots))
    if explored:
        number = int.from_bytes(hashlib.sha256(f"exploring\n{seed}\n{key}".encode("utf-8", "surrogatepass")).digest(), "big")
        number, chance = number >> _BITS, number & ((1 << _BITS) - 1)
        if chance < share * (1 << _BITS):
            rest = list(range(reach))
            for slot in range(explored):
                # 203 bits are so many more than the orders of some slots that none is likelier than another by more than 2**-60.
                number, place = divmod(number, len(rest))
                order[slot] = rest.pop(place)
        else:
            # The best, as mostly: the same figures as below, without asking slot by slot.
            best = share / reach + (1.0 - share)
            return Drawn(tuple(order), (best,) * explored + (1.0,) * (slots - explored), share / perm(reach, explored) + (1.0 - share))
    return Drawn(tuple(order), tuple([mixture.at(slot, candidate) for slot, candidate in enumerate(order)]), mixture.joint(order))


__all__ = ["NONE", "Drawn", "Mixture", "draw", "exploring", "random", "settled"]
