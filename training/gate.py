"""May the candidate replace the champion? One text for all tasks; pure: facts in, verdict out.

The first champion is the strongest simple model, if its guards hold. A challenger needs a paired interval clear of zero against the
champion, or non-inferiority within the margin and a stated reason. Where an override was given it is said, and so is what it overrode.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan

from pydantic import BaseModel, ConfigDict, Field

from training.harm import SliceDifference
from training.intervals import Interval


class Rules(BaseModel):
    """The limits of the gate: ``configs/gate.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    margin: float = Field(default=0.01, ge=0)
    """Non-inferiority: the share of the champion's primary metric that a challenger may lose, at the lower end of its interval."""
    calibration_slack: float = Field(default=0.01, ge=0)
    """How much worse a challenger's calibration error may be."""
    calibration_warning: float = Field(default=0.05, ge=0)
    """Calibration error above which a first champion carries a warning."""
    psi: float = Field(default=0.25, gt=0)
    """Population stability index of the scores, challenger against a champion of the same recipe, above which only an override promotes."""
    minimum_customers: int = Field(default=50, ge=1)
    """Fewer customers on the test window than this are no evidence."""
    slice_customers: int = Field(default=100, ge=1)
    """Customers of a slice from which it counts whether a challenger is worse there."""
    slice_p: float = Field(default=0.05, gt=0, lt=1)
    """Corrected p below which a challenger counts as worse on a slice."""
    latency_ms: float = Field(default=50.0, gt=0)
    """Processor time of one answer, 99th percentile, that a model may take."""


@dataclass(frozen=True)
class Candidate:
    """What the gate knows of one model: figures of the test window."""

    model_id: str
    title: str
    is_simple: bool
    primary: str
    value: float
    """The primary metric."""
    is_higher_better: bool
    customers: int
    """Customers of the test window."""
    calibration_error: float | None = None
    """None where scores are no probabilities."""
    latency_ms: float | None = None
    """Processor time of one answer, 99th percentile; None where it was not measured."""
    failures: tuple[str, ...] = ()
    """Guards of structure, parity and leaks that did not hold; nothing overrides them."""
    cautions: tuple[str, ...] = ()
    """What the guards want said."""

    @property
    def oriented(self) -> float:
        """The primary metric, so that more is better."""
        return self.value if self.is_higher_better else -self.value


@dataclass(frozen=True)
class Facts:
    """What was measured between the candidate and others, and what a person said."""

    strongest_simple: str = ""
    """Id of the strongest simple model of the task, by the primary metric."""
    difference: Interval | None = None
    """Paired: candidate minus champion on the primary metric, so that more is better; None where both were never judged on the same rows."""
    gain: Interval | None = None
    """Paired: candidate minus baseline, so that more is better."""
    calibration: Interval | None = None
    """Paired: candidate minus champion on the calibration error, so that more is better."""
    slices: tuple[SliceDifference, ...] = ()
    """Paired: candidate minus champion on the primary metric, slice by slice."""
    psi: float | None = None
    """Of the candidate's scores against the champion's, each on the customers of the day it was trained."""
    is_same_recipe: bool = True
    """Whether both are the same kind of model. If so, scores that shifted mean that the data did; if not, they differ by design."""
    reason: str = ""
    override: str = ""
    """Why a person promotes against the rules; audited."""


@dataclass(frozen=True)
class Verdict:
    """The gate's word."""

    promote: bool
    reasons: tuple[str, ...]
    """Why, or why not; never empty."""
    warnings: tuple[str, ...] = ()
    overridden: tuple[str, ...] = ()
    """Objections that an override set aside."""


def decide(candidate: Candidate, champion: Candidate | None, facts: Facts, rules: Rules) -> Verdict:
    """May ``candidate`` become the champion?"""
    if candidate.failures:
        return Verdict(False, candidate.failures, candidate.cautions)
    if candidate.customers < rules.minimum_customers:
        few = f"only {candidate.customers} customers on the test window; at least {rules.minimum_customers} are needed for a verdict"
        return Verdict(False, (few,), candidate.cautions)
    if champion is not None and champion.model_id == candidate.model_id:
        return Verdict(False, (f"{candidate.title} is the champion already",), candidate.cautions)
    if champion is None:
        grounds, objections, warnings = _first(candidate, facts, rules)
    else:
        grounds, objections, warnings = _challenge(candidate, champion, facts, rules)
    warnings = (*candidate.cautions, *warnings)
    if candidate.latency_ms is not None and candidate.latency_ms > rules.latency_ms:
        slow = f"one answer of {candidate.title} takes {candidate.latency_ms:.1f} ms of processor time (99th percentile)"
        objections = (*objections, f"{slow}; at most {rules.latency_ms:g} ms is allowed")
    if not objections:
        return Verdict(True, grounds, warnings)
    if facts.override:
        return Verdict(True, (*grounds, f"promoted against the rules: {facts.override}"), warnings, objections)
    return Verdict(False, objections, warnings)


Judgement = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
"""Grounds, objections, warnings."""


def _first(candidate: Candidate, facts: Facts, rules: Rules) -> Judgement:
    objections: list[str] = []
    warnings: list[str] = []
    if not candidate.is_simple:
        objections.append(f"{candidate.title} is not simple, and the first champion is the strongest simple model")
    elif facts.strongest_simple and facts.strongest_simple != candidate.model_id:
        objections.append(f"{candidate.title} is not the strongest simple model ({facts.strongest_simple} is)")
    error = candidate.calibration_error
    if error is not None and error > rules.calibration_warning:
        warnings.append(f"calibration error {error:.3f} is above {rules.calibration_warning:g}: read its scores as a ranking, not as probabilities")
    return (f"{candidate.title} is the strongest simple model, and its guards hold",), tuple(objections), tuple(warnings)


def _challenge(candidate: Candidate, champion: Candidate, facts: Facts, rules: Rules) -> Judgement:
    is_won, words = _compared(candidate, champion, facts, rules)
    objections = [] if is_won else [words]
    below = facts.gain
    if below is not None and below.high < 0:
        objections.append(f"{candidate.title} is worse than its baseline on {candidate.primary}: {_words(below)}")
    objections += _harmed(candidate, champion, facts, rules)
    warnings: list[str] = []
    if candidate.calibration_error is not None and champion.calibration_error is not None:
        worse = candidate.calibration_error - champion.calibration_error
        if worse > rules.calibration_slack:
            error = f"calibration error {candidate.calibration_error:.4f} is {worse:.4f} above the champion's {champion.calibration_error:.4f}"
            if facts.calibration is None or facts.calibration.high < 0:
                objections.append(f"{error}; at most {rules.calibration_slack:g} is allowed")
            else:
                warnings.append(f"{error}, which these customers do not show to be more than chance: {_words(facts.calibration)}")
    if facts.psi is not None and facts.psi > rules.psi:
        shift = f"its scores are shifted against the champion's: PSI {facts.psi:.2f}"
        if facts.is_same_recipe:
            objections.append(f"{shift}, at most {rules.psi:g} is allowed between models of one recipe")
        else:
            warnings.append(f"{shift}; limits that were set on the champion's scores need another look")
    return (words,) if is_won else (), tuple(objections), tuple(warnings)


def _compared(candidate: Candidate, champion: Candidate, facts: Facts, rules: Rules) -> tuple[bool, str]:
    """Whether the primary metric speaks for the candidate, and the words for it."""
    ours, theirs, metric = candidate.title, champion.title, candidate.primary
    difference = facts.difference
    if difference is None or isnan(difference.low):
        return False, f"{ours} and the champion {theirs} were never judged on the same customers and window; run `retain train` for the task again"
    measured = _words(difference)
    if difference.low > 0:
        return True, f"{ours} beats {theirs} on {metric}: {measured}"
    if difference.low <= -rules.margin * abs(champion.value):
        return False, f"{ours} does not beat {theirs} on {metric}: {measured}"
    if facts.reason:
        return True, f"{ours} is at most {rules.margin:.0%} worse than {theirs} on {metric} ({measured}), and the reason stated is: {facts.reason}"
    return False, f"no difference shown from {theirs} on {metric} ({measured}); it is at most {rules.margin:.0%} worse, so a stated --reason would do"


def _harmed(candidate: Candidate, champion: Candidate, facts: Facts, rules: Rules) -> list[str]:
    return [
        f"{candidate.title} is worse than {champion.title} on the slice {each.name} ({each.customers} customers): {_words(each.difference)}"
        for each in facts.slices
        if each.customers >= rules.slice_customers and each.is_behind(rules.slice_p)
    ]


def _words(difference: Interval) -> str:
    return f"{difference.value:+.4g} [{difference.low:+.4g}, {difference.high:+.4g}]"
