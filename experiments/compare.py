"""Which model is really better: the leaderboard of a task over several test windows, and for each pair the paired difference.

What is compared are recipes: each is fitted anew before every test window, and judged on it. So models of different days stand on one
board, and none has seen what it is judged on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from experiments.wishes import Wished, prices
from retain.config import build
from retain.errors import ConfigError, NotReadyError
from retain.workspace import Workspace
from training.candidates import Contender, find
from training.card import Card, Measure
from training.controls import controls
from training.evidence import Evidence, holm, p_value
from training.experiment import of_card
from training.intervals import Interval
from training.judgement import Judged
from training.package import champion, folders, read_card
from training.pipeline import Bench, bench_of, measures

SIGNIFICANT = 0.05
SHOWN = 10
"""Models compared pair by pair at most; more pairs would make every corrected p one."""
CUTOFFS = 3
"""Test windows, where history holds so many."""


@dataclass(frozen=True)
class Standing:
    """One recipe on the board."""

    card: Card
    """Of its newest model, or of the champion where that is of this recipe."""
    label: str
    """What it is called here: its title, with the end of its id where two share one."""
    evidence: Evidence
    """Over all test windows."""
    metrics: dict[str, Measure]
    """Beside the baseline's, over all test windows."""
    parts: tuple[Judged, ...]
    """Window by window, the newest first; empty where only what training found is shown."""
    size_bytes: int
    """Of its folder."""
    models: tuple[str, ...]
    """Ids of all models of this recipe."""


@dataclass(frozen=True)
class Pair:
    """Two models on the primary metric, judged on the same customers."""

    better: str
    """Label of the model that stands higher on the leaderboard."""
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
    standing: tuple[Standing, ...]
    """Recipes judged on the same customers and windows, the best first."""
    pairs: tuple[Pair, ...]
    others: dict[str, str]
    """Models that cannot stand on this board, and why."""
    wishes: tuple[Wished, ...] = ()
    """What the shop's wishes for its lists cost; empty where it has none, or customers are scored."""

    @property
    def windows(self) -> int:
        """Test windows behind the board."""
        return max(len(self.standing[0].parts), 1)

    @property
    def is_baseline_shown(self) -> bool:
        """Whether the baseline stands on the board itself."""
        return any(each.card.model_spec == each.card.baseline_spec for each in self.standing)


Watch = Callable[[Sequence[Any], str], Any]
"""Passes items through and shows how far they are."""


def _unwatched(items: Sequence[Any], what: str) -> Any:
    del what
    return items


def compare(workspace: Workspace, task: str, runs: Sequence[str] = (), cutoffs: int | None = CUTOFFS, watch: Watch = _unwatched) -> Comparison:
    """What has been trained for a task, beside each other.

    Args:
        workspace: Where models and features lie.
        task: Name of the task.
        runs: Ids or titles of models; all where empty.
        cutoffs: Test windows at most; None shows what training found, without fitting anything.
        watch: Shows progress.

    Raises:
        NotReadyError: no model of the task has been trained, or features are missing.
        ConfigError: a model asked for is not there.
    """
    chosen = _asked(workspace, task, runs)
    at = champion(workspace, task)
    reigning = None if at is None else at.name
    if cutoffs is None:
        standing, others = _as_trained(chosen, reigning)
        return Comparison(task, reigning, standing, pairs(standing[:SHOWN]), others)
    standing, others, opened = _anew(workspace, chosen, reigning, cutoffs, watch)
    served = next((each for each in standing if reigning in each.models), standing[0])
    return Comparison(task, reigning, standing, pairs(standing[:SHOWN]), others, prices(workspace, opened.trial, served.card, controls()))


def pairs(standing: Sequence[Standing]) -> tuple[Pair, ...]:
    """Each pair of a leaderboard, p corrected over all of them."""
    found: list[tuple[Standing, Standing, Interval, float]] = []
    for first, second in combinations(standing, 2):
        primary = first.card.primary
        better = first.metrics[primary].better or None
        difference = first.evidence.minus(second.evidence, primary, better)
        drawn = first.evidence.differences(second.evidence, primary, better)
        if difference is not None and drawn is not None:
            found.append((first, second, difference, p_value(drawn)))
    corrected = holm([p for *_, p in found])
    return tuple(Pair(a.label, b.label, difference, p, q) for (a, b, difference, p), q in zip(found, corrected, strict=True))


def labels(cards: Sequence[Card]) -> dict[str, str]:
    """What to call each model: its title, with the end of its id where two share one."""
    titles = [card.title for card in cards]
    return {card.model_id: card.title if titles.count(card.title) == 1 else f"{card.title} {card.model_id[-6:]}" for card in cards}


def _asked(workspace: Workspace, task: str, runs: Sequence[str]) -> list[tuple[Card, Path]]:
    known = folders(workspace, task)
    if not known:
        raise NotReadyError(f"there are no models of {task}; run `retain train {task}` first")
    wanted = list(dict.fromkeys(find(workspace, task, name) for name in runs)) if runs else known
    return [(read_card(folder), folder) for folder in wanted]


def _as_trained(chosen: Sequence[tuple[Card, Path]], reigning: str | None) -> tuple[tuple[Standing, ...], dict[str, str]]:
    """What stands in the folders: only models judged on the same rows can be compared."""
    opened = [Contender(card, folder, Evidence.load(folder)) for card, folder in chosen]
    newest = max(opened, key=lambda each: (each.card.moment, each.id == reigning, each.id))
    names = labels([each.card for each in opened])
    same = [each for each in opened if each.evidence.rows == newest.evidence.rows]
    standing = [Standing(each.card, names[each.id], each.evidence, each.card.metrics, (), _size(each.folder), (each.id,)) for each in same]
    return _ranked(standing), {each.id: "judged on another window" for each in opened if each not in same}


def _anew(
    workspace: Workspace, chosen: Sequence[tuple[Card, Path]], reigning: str | None, cutoffs: int, watch: Watch
) -> tuple[tuple[Standing, ...], dict[str, str], Bench]:
    """Every recipe on the test windows of today."""
    first = max(chosen, key=lambda each: (each[0].moment, each[0].model_id == reigning, each[0].model_id))[0]
    others: dict[str, str] = {}
    recipes: dict[str, list[tuple[Card, Path]]] = {}
    for card, folder in chosen:
        if (card.task_spec, card.cutoffs) != (first.task_spec, first.cutoffs):
            others[card.model_id] = "answers another question"
        else:
            recipes.setdefault(repr(card.model_spec), []).append((card, folder))
    opened = bench_of(of_card(first), workspace, cutoffs)
    heads = [max(group, key=lambda each: (each[0].model_id == reigning, each[0].moment, each[0].model_id)) for group in recipes.values()]
    names = labels([card for card, _ in heads])
    standing = []
    for (card, folder), group in watch(list(zip(heads, recipes.values(), strict=True)), f"recipes of {first.task}"):
        try:
            model, baseline = build(card.model_spec, card.model_id), build(card.baseline_spec, card.model_id)
        except ConfigError:
            others |= {each.model_id: "this release has no such recipe" for each, _ in group}
            continue
        ids = tuple(sorted(each.model_id for each, _ in group))
        standing.append(_stood(opened, card, names[card.model_id], model, baseline, _size(folder), ids))
    if not standing:
        raise NotReadyError(f"none of the models of {first.task} can be judged by this release; run `retain train {first.task}`")
    return _ranked(standing), others, opened


def _stood(opened: Bench, card: Card, label: str, model: Any, baseline: Any, size: int, ids: tuple[str, ...]) -> Standing:
    judged, against = opened.judge(model), opened.judge(baseline)
    return Standing(
        card=card,
        label=label,
        evidence=judged.evidence,
        metrics=measures(judged.evidence, against.evidence, opened.trial, card.title),
        parts=opened.at_each(model),
        size_bytes=size,
        models=ids,
    )


def _ranked(standing: Sequence[Standing]) -> tuple[Standing, ...]:
    """The best by the primary metric first; equal ones by id."""

    def place(each: Standing) -> tuple[float, str]:
        measure = each.metrics[each.card.primary]
        return (-measure.value if measure.better == "higher" else measure.value, each.card.model_id)

    return tuple(sorted(standing, key=place))


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
