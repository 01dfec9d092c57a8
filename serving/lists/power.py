"""What a campaign will be able to show: the smallest effect that groups of these sizes find, once at the end, or looked at all along. Pure.

Two means with normal errors (Lachin 1981, "Introduction to sample size determination and power analysis for clinical trials"): the effect that is
found with the wanted power is (z(1 - alpha/2) + z(power)) x sqrt(variance / contacted + variance / held out). Who looks all along pays with the
radius of a confidence sequence in place of z(1 - alpha/2), see ``serving.lists.confidence``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from serving.lists.confidence import factor

POWER = 0.8
_Z_LEVEL, _Z_POWER = 1.959963984540054, 0.8416212335729143
"""Of 95 % two-sided, and of 80 %."""


@dataclass(frozen=True)
class Power:
    """What groups of some size find of one outcome."""

    contacted: int
    held_out: int
    baseline: float
    """Mean of the outcome without contact."""
    deviation: float
    """Standard deviation of the outcome between customers."""
    at_end: float | None
    """Smallest effect found with a power of 80 % by one look at the end; None where a group is empty."""
    all_along: float | None
    """The same where anybody looks at any time."""
    likely: float | None = None
    """The effect that the list itself expects."""

    @property
    def rounds(self) -> int | None:
        """How many campaigns like this one would have to be run to find the likely effect by one look at the end."""
        if self.at_end is None or not self.likely or self.likely <= 0:
            return None
        return max(1, math.ceil((self.at_end / self.likely) ** 2))


def power(contacted: int, held_out: int, baseline: float, deviation: float, likely: float | None = None) -> Power:
    """What these groups find.

    >>> note = power(3600, 400, 0.30, (0.3 * 0.7) ** 0.5)
    >>> round(note.at_end, 4)
    0.0677
    """
    if contacted < 2 or held_out < 2:
        return Power(contacted, held_out, baseline, deviation, None, None, likely)
    error = deviation * math.sqrt(1 / contacted + 1 / held_out)
    along = factor(contacted + held_out)
    return Power(contacted, held_out, baseline, deviation, (_Z_LEVEL + _Z_POWER) * error, (along + _Z_POWER) * error, likely)
