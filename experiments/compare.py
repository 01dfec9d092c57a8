"""Which model is really better: the leaderboard of a task, and for each pair the paired difference with a corrected p."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from retain.errors import NotReadyError
from retain.workspace import Workspace
from training.candidates import Contender, ranked
from training.card import Card
from training.evidence import Evidence, holm, p_value
from training.intervals import Interval
from training.package import champion, folders, read_card

SIGNIFICANT = 0.05
SHOWN = 10
"""Models compared pair by pair at most; more pairs would make every corrected p one."""


@dataclass(frozen=True)
class Pair:
    """Two models on the primary metric, judged on the same customers."""

    better: str
    """Title of the model that stands higher on the leaderboard."""
    worse: str
    difference: Interval
    """Turned so that more is better for the first."""
    p: float
    """Of "no difference", from the paired bootstrap, two-sided."""
    p_corrected: float
    """By Holm, over all pairs shown."""

    @property
    def verdict(self) -> Literal["better", "no difference shown"]:
        """What the numbers allow to be said."""
        return "better" if self.difference.low > 0 and self.p_corrected < SIGNIFICANT else "no difference shown"


@dataclass(frozen=True)
class Comparison:
    """A leaderboard and its pairs."""

    task: str
    champion: str | None
    """Id of the champion, whether it stands on this leaderboard or not."""
    standing: tuple[Contender, ...]
    """Models judged on the same customers and window, the best first."""
    pairs: tuple[Pair, ...]
    others: tuple[Card, ...]
    """Models that were judged on another window, and so cannot be compared."""


def compare(workspace: Workspace, task: str) -> Comparison:
    """Everything that has been trained for a task, beside each other.

    Raises:
        NotReadyError: no model of the task has been trained.
    """
    cards = {folder: read_card(folder) for folder in folders(workspace, task)}
    if not cards:
        raise NotReadyError(f"there are no models of {task}; run `retain train {task}` first")
    opened = [Contender(card, folder, Evidence.load(folder)) for folder, card in cards.items()]
    at = champion(workspace, task)
    newest = max(opened, key=lambda contender: (contender.card.moment, contender.folder == at, contender.id))
    standing = ranked([contender for contender in opened if contender.evidence.rows == newest.evidence.rows])
    others = tuple(contender.card for contender in opened if contender.evidence.rows != newest.evidence.rows)
    return Comparison(task, None if at is None else at.name, tuple(standing), pairs(standing[:SHOWN]), others)


def pairs(standing: Sequence[Contender]) -> tuple[Pair, ...]:
    """Each pair of a leaderboard, p corrected over all of them."""
    found: list[tuple[Contender, Contender, Interval, float]] = []
    for first, second in combinations(standing, 2):
        primary = first.card.primary
        better = first.card.metrics[primary].better or None
        difference = first.evidence.minus(second.evidence, primary, better)
        drawn = first.evidence.differences(second.evidence, primary, better)
        if difference is not None and drawn is not None:
            found.append((first, second, difference, p_value(drawn)))
    corrected = holm([p for *_, p in found])
    names = labels(standing)
    return tuple(Pair(names[a.id], names[b.id], difference, p, q) for (a, b, difference, p), q in zip(found, corrected, strict=True))


def labels(standing: Sequence[Contender]) -> dict[str, str]:
    """What to call each model: its title, with the end of its id where two share one."""
    titles = [contender.card.title for contender in standing]
    return {
        contender.id: contender.card.title if titles.count(contender.card.title) == 1 else f"{contender.card.title} {contender.id[-6:]}"
        for contender in standing
    }
