"""Who stands before the gate: finished model folders with their evidence, and what lies between two of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from retain.config import build, read, shipped
from retain.errors import ConfigError, NotReadyError
from retain.workspace import Workspace
from training import parity, promotions
from training.card import Card
from training.evidence import Evidence
from training.gate import Candidate, Facts, Rules, Verdict, decide
from training.harm import by_slice
from training.intervals import Interval
from training.latency import latency_ms
from training.package import champion, folders, load, read_card

CALIBRATION = "ece"
"""The metric that is a calibration error, where a task has one."""


@dataclass(frozen=True)
class Contender:
    """A finished model and what it was judged at."""

    card: Card
    folder: Path
    evidence: Evidence
    failures: tuple[str, ...] = ()
    """Guards of structure and parity that did not hold."""
    latency_ms: float | None = None
    """Processor time of one answer, as measured when it was opened."""

    @classmethod
    def open(cls, folder: Path) -> Contender:
        """Read a model folder, try the model inside, and time it."""
        failures = parity.failures(folder)
        return cls(read_card(folder), folder, Evidence.load(folder), failures, None if failures else latency_ms(load(folder)))

    @property
    def id(self) -> str:
        """The model's id."""
        return self.card.model_id

    def facts(self) -> Candidate:
        """What the gate knows of it."""
        card = self.card
        return Candidate(
            model_id=card.model_id,
            title=card.title,
            is_simple=card.is_simple,
            primary=card.primary,
            value=self.evidence.values[card.primary],
            is_higher_better=card.metrics[card.primary].better == "higher",
            customers=self.evidence.customers,
            calibration_error=self.evidence.values.get(CALIBRATION),
            latency_ms=self.latency_ms,
            failures=self.failures,
            cautions=tuple(words for words in (card.windows.words, card.windows.season) if words),
        )


def ranked(contenders: Sequence[Contender]) -> list[Contender]:
    """The best by the primary metric first; equal ones by id."""
    return sorted(contenders, key=lambda contender: (-contender.facts().oriented, contender.id))


def rules() -> Rules:
    """The limits of the gate."""
    return read(shipped("gate.yaml"), Rules)


def between(candidate: Contender, reigning: Contender, reason: str = "", override: str = "") -> Facts:
    """What was measured between a candidate and the champion."""
    primary = candidate.card.primary
    measure = candidate.card.metrics[primary]
    better, limits = measure.better or None, rules()
    ours, theirs = candidate.evidence, reigning.evidence
    return Facts(
        difference=ours.minus(theirs, primary, better),
        gain=Interval(measure.gain, measure.gain_low, measure.gain_high),
        calibration=ours.minus(theirs, CALIBRATION, "lower") if CALIBRATION in ours.values else None,
        slices=by_slice(ours, theirs, primary, better, limits.slice_customers),
        psi=ours.shift_from(theirs),
        is_same_recipe=_recipe(candidate.card.model_spec) == _recipe(reigning.card.model_spec),
        reason=reason,
        override=override,
    )


def choose(workspace: Workspace, task: str, trained: Sequence[Contender], judge: Callable[[Any], Evidence], reason: str = "") -> dict[str, Verdict]:
    """Let the gate choose among freshly trained models and write down what it grants. Hold the workspace's lock.

    Without a champion the strongest simple model is asked for first. Then the others challenge, the strongest first, until one is
    promoted. A champion of an earlier run is judged anew by its recipe on the windows of this run: its own folder may have learned
    from the test window. A champion that no longer verifies answers nobody, so it defends nothing: the gate chooses as if there were none,
    and the ledger says why.

    Args:
        workspace: Where the ledger lies.
        task: Name of the task.
        trained: What this run made.
        judge: Evidence of a recipe on the test window of this run.
        reason: Lets a challenger that is not worse replace the champion.

    Returns:
        Model id to the gate's word, for those that were asked about.
    """
    limits, verdicts = rules(), dict[str, Verdict]()
    at, lost = champion(workspace, task), unusable(workspace, task)
    if at is None or lost:
        simple = ranked([contender for contender in trained if contender.card.is_simple])
        sound = [contender for contender in simple if not contender.failures]
        first = next(iter(sound or simple), None)
        if first is None:
            return {contender.id: decide(contender.facts(), None, Facts(), limits) for contender in trained}
        verdict = verdicts[first.id] = _mourning(lost, decide(first.facts(), None, Facts(strongest_simple=first.id), limits))
        if not verdict.promote:
            return verdicts
        promotions.promote(workspace, task, first.id, verdict, workspace.now())
        at = first.folder
    reigning = next((contender for contender in trained if contender.folder == at), None) or _judged_anew(Contender.open(at), judge)
    for contender in ranked(trained):
        if contender.id == reigning.id:
            continue
        verdict = verdicts[contender.id] = decide(contender.facts(), reigning.facts(), between(contender, reigning, reason), limits)
        if verdict.promote:
            promotions.promote(workspace, task, contender.id, verdict, workspace.now())
            break
    return verdicts


def promote(workspace: Workspace, task: str, name: str, reason: str = "", override: str = "") -> tuple[Contender, Verdict]:
    """Ask the gate about one finished model and write down what it grants. Hold the workspace's lock.

    Args:
        workspace: Where models and ledger lie.
        task: Name of the task.
        name: Id of a model, or its title: then the newest of that title.
        reason: Lets a model that is not worse replace the champion.
        override: Why to promote against the rules.
    """
    candidate = Contender.open(find(workspace, task, name))
    at, lost = champion(workspace, task), unusable(workspace, task)
    if at is None or lost:
        others = [Contender(read_card(folder), folder, Evidence.load(folder)) for folder in folders(workspace, task)]
        simple = ranked([other for other in others if other.card.is_simple and other.evidence.rows == candidate.evidence.rows])
        facts = Facts(strongest_simple=simple[0].id if simple else "", reason=reason, override=override)
        verdict = _mourning(lost, decide(candidate.facts(), None, facts, rules()))
    else:
        reigning = Contender.open(at)
        verdict = decide(candidate.facts(), reigning.facts(), between(candidate, reigning, reason, override), rules())
    if verdict.promote:
        promotions.promote(workspace, task, candidate.id, verdict, workspace.now())
    return candidate, verdict


def unusable(workspace: Workspace, task: str) -> str:
    """Why the champion of a task can no longer answer, in words; empty while it can, or while there is none."""
    at = champion(workspace, task)
    return "; ".join(parity.failures(at)) if at is not None else ""


def find(workspace: Workspace, task: str, name: str) -> Path:
    """Folder of a model by id or title.

    Raises:
        NotReadyError: no model of the task has been trained.
        ConfigError: none is called so, or several of the same moment are.
    """
    known = folders(workspace, task)
    if not known:
        raise NotReadyError(f"there are no models of {task}; run `retain train {task}` first")
    if name in {folder.name for folder in known}:
        return workspace.models / task / name
    cards = {folder: read_card(folder) for folder in known}
    found = [folder for folder in known if cards[folder].title == name]
    if not found:
        choices = ", ".join(sorted({card.title for card in cards.values()}))
        raise ConfigError(f"{task} has no model {name!r}; give an id from `retain compare {task}`, or one of {choices}", field="model")
    newest = [folder for folder in found if cards[folder].moment == max(cards[each].moment for each in found)]
    if len(newest) > 1:
        raise ConfigError(
            f"{len(newest)} models of {task} are called {name!r}; give an id: {', '.join(folder.name for folder in newest)}", field="model"
        )
    return newest[0]


def _judged_anew(reigning: Contender, judge: Callable[[Any], Evidence]) -> Contender:
    try:
        model = build(reigning.card.model_spec, f"the champion {reigning.id}")
    except ConfigError:
        # This release has no such recipe: its old evidence stands, which was drawn from other rows, and the gate will say so.
        return reigning
    return replace(reigning, evidence=replace(judge(model), newest=reigning.evidence.newest))


def _mourning(lost: str, verdict: Verdict) -> Verdict:
    return replace(verdict, warnings=(f"the champion until now no longer verifies: {lost}", *verdict.warnings)) if lost else verdict


def _recipe(spec: Mapping[str, Any]) -> list[str]:
    """The classes of a model and of those inside it; settings may differ."""
    inner = [name for value in spec.values() if isinstance(value, Mapping) for name in _recipe(value)]
    return [str(spec.get("use", "")), *inner]
