"""All policies in all worlds over all seeds, and what can be said of it: profit above that of no contact, paired by seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from experiments.arena import life
from experiments.arena.ours import Ours
from experiments.arena.play import Nobody, Player, Season, season
from experiments.arena.simple import Popular, PropensityValue, Random, Response, Richer, Risk
from experiments.arena.worlds import World
from training.contracts import Floats
from training.intervals import LEVEL, Interval

Make = Callable[[], Player]
POLICIES: Mapping[str, Make] = {each.name: each for each in (Random, Popular, Risk, Response, Richer, PropensityValue, Ours)}
"""Those that play unless others are named. Each season is played by a new one."""
OURS = Ours.name


@dataclass(frozen=True)
class Played:
    """One world."""

    title: str
    words: str
    customers: int
    seeds: tuple[int, ...]
    gained: dict[str, Floats]
    """By policy: (seeds, months) money per customer above that of no contact."""
    seasons: dict[str, tuple[Season, ...]]

    def total(self, name: str) -> Interval:
        """Money per customer over all months, above that of no contact."""
        return over_seeds(self.gained[name].sum(axis=1))

    def against(self, name: str, other: str) -> Interval:
        """The difference of two policies, paired by seed."""
        return over_seeds(self.gained[name].sum(axis=1) - self.gained[other].sum(axis=1))

    def best_simple(self, name: str) -> str:
        """The policy besides one that earned the most: chosen after the fact, so it is flattered."""
        return max((other for other in self.gained if other != name), key=lambda other: self.total(other).value)

    def curve(self, name: str) -> tuple[Floats, Floats, Floats]:
        """(months,) cumulative money with its interval."""
        each = [over_seeds(column) for column in self.gained[name].cumsum(axis=1).T]
        return tuple(np.array([getattr(one, part) for one in each]) for part in ("value", "low", "high"))  # type: ignore[return-value]

    def mean(self, name: str, what: str) -> float:
        """A figure of the seasons: contacts, refused and left per customer over all months; fatigue and returned as means of months."""
        values = np.array([getattr(one, what) for one in self.seasons[name]])
        return float(values.mean() if what in ("fatigue", "returned") else values.sum(axis=1).mean() / self.customers)


def over_seeds(values: Floats) -> Interval:
    """The mean of seeds with a t interval; without one where there is a single seed."""
    from scipy.stats import t

    count, mean = len(values), float(values.mean())
    if count < 2:
        return Interval(mean, float("-inf"), float("inf"))
    reach = float(t.ppf(0.5 + LEVEL / 2, count - 1)) * float(values.std(ddof=1)) / sqrt(count)
    return Interval(mean, mean - reach, mean + reach)


def play(
    world: World,
    policies: Mapping[str, Make],
    *,
    customers: int,
    months: int,
    seeds: Sequence[int],
    watch: Callable[[str], None] = lambda _: None,
) -> Played:
    """Every policy in a world, with the same customers and the same luck."""
    gained: dict[str, list[Floats]] = {name: [] for name in policies}
    seasons: dict[str, list[Season]] = {name: [] for name in policies}
    for seed in seeds:
        watch(f"{world.title}, seed {seed}")
        town = life.town(world, customers, seed)
        alone = season(town, Nobody, months).profit
        for name, make in policies.items():
            found = season(town, make, months)
            seasons[name].append(found)
            gained[name].append((found.profit - alone) / customers)
    return Played(
        world.title,
        world.words,
        customers,
        tuple(seeds),
        {name: np.array(rows) for name, rows in gained.items()},
        {name: tuple(rows) for name, rows in seasons.items()},
    )
