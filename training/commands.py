"""``retain train``, ``promote`` and ``rollback``: what they ask, say and return."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retain.errors import NotReadyError, RefusedError
from retain.terminal import note, parser, say, say_json, table, workspace

if TYPE_CHECKING:
    from retain.workspace import Workspace
    from training.candidates import Contender
    from training.gate import Verdict
    from training.pipeline import Outcome
    from training.registry import Mirrored

UNREACHED = 1
"""Exit code when everything stands but MLflow could not be told."""


def train(argv: Sequence[str]) -> int:
    """Train the models of a task."""
    options = parser("train", _TRAIN)
    options.add_argument("task", metavar="TASK", help="churn, clv, recommend, uplift, or the path of a YAML file")
    options.add_argument("--models", nargs="+", default=[], metavar="NAME", help="only these models of the task's file")
    options.add_argument("--quick", action="store_true", help="smaller settings where the task's file has them")
    options.add_argument("--reason", default="", help="why a challenger that is not worse may replace the champion")
    arguments = options.parse_args(argv)
    from training.pipeline import train

    place = workspace(arguments)
    outcome = train(
        arguments.task,
        place,
        models=arguments.models,
        quick=arguments.quick,
        reason=arguments.reason,
        commit=_commit(),
        show=not arguments.json,
    )
    if arguments.json:
        say_json(_outcome(outcome))
    else:
        _tell(outcome)
        _treatments(place, outcome.task)
    return _told(outcome.mirrored)


def promote(argv: Sequence[str]) -> int:
    """Ask the gate to make a model the champion."""
    options = parser("promote", _PROMOTE)
    options.add_argument("task", metavar="TASK")
    options.add_argument("model", metavar="MODEL", help="id or name of a trained model; `retain compare TASK` lists them")
    options.add_argument("--reason", default="", help="why a model that is not worse may replace the champion")
    options.add_argument("--override", default="", metavar="WHY", help="promote against the rules; what was overridden, and why, is written down")
    arguments = options.parse_args(argv)
    from training import candidates, promotions
    from training.registry import mirror

    place = workspace(arguments)
    with place.lock(f"retain promote {arguments.task}"):
        promotions.follow(place)
        candidate, verdict = candidates.promote(place, arguments.task, arguments.model, arguments.reason, arguments.override)
        if not verdict.promote:
            raise RefusedError(f"{candidate.card.title} ({candidate.id}) is not promoted: {'; '.join(verdict.reasons)}")
        mirrored = mirror(place, arguments.task)
    if arguments.json:
        say_json({"task": arguments.task, "champion": candidate.id, **_verdict(verdict), "mlflow": mirrored.problem or "told"})
    else:
        say(f"{arguments.task}: {candidate.card.title} ({candidate.id}) is the champion")
        _words(verdict)
    return _told(mirrored)


def rollback(argv: Sequence[str]) -> int:
    """Return to the champion before."""
    options = parser("rollback", _ROLLBACK)
    options.add_argument("task", metavar="TASK")
    options.add_argument("--reason", default="", help="written into the ledger")
    arguments = options.parse_args(argv)
    from training import promotions
    from training.package import load

    place = workspace(arguments)
    if not place.promotions.is_file():
        raise NotReadyError(f"nothing has been promoted yet; run `retain train {arguments.task}` first")
    with place.lock(f"retain rollback {arguments.task}"):
        promotions.follow(place)
        target = promotions.before(place, arguments.task)
        # Opened as the service opens it: what does not verify is not returned to.
        title = load(place.models / arguments.task / target).card.title
        entry = promotions.rollback(place, arguments.task, place.now(), arguments.reason)
    if arguments.json:
        say_json({"task": arguments.task, "champion": entry.model_id, "until": entry.previous, "sequence": entry.sequence})
    else:
        say(f"{arguments.task}: {title} ({entry.model_id}) is the champion again, instead of {entry.previous}")
        say("the ledger has it; MLflow's alias follows with the next `retain train` or `retain promote`")
    return 0


def _tell(outcome: Outcome) -> None:
    """The leaderboard of one run, and what the gate said."""
    from training.candidates import ranked

    ordered = ranked(outcome.trained)
    card = ordered[0].card
    names = list(card.metrics)[:5]
    rows = []
    for contender in ordered:
        mark = " *" if contender.id == outcome.champion else ""
        measures = [contender.card.metrics.get(name) for name in names]
        gain = contender.card.metrics[card.primary]
        rows.append(
            [
                contender.card.title + mark,
                *(f"{m.value:.4g} [{m.low:.4g}, {m.high:.4g}]" if m else "-" for m in measures),
                f"{gain.gain:+.3g} [{gain.gain_low:+.3g}, {gain.gain_high:+.3g}]",
            ]
        )
    since = ", ".join(f"{moment:%Y-%m-%d}" for moment in card.windows.test)
    say(f"{outcome.task}: judged on {card.test_rows} rows from {since}, {card.horizon_days} days ahead, 95 % intervals")
    if card.synthetic:
        say("the data are synthetic")
    if card.windows.words:
        say(card.windows.words)
    say()
    say(table(rows, ["model", *names, f"gain in {card.primary} on baseline"]))
    say()
    if outcome.lost:
        say(f"the champion of {outcome.task} before this run no longer verified, so it defended nothing: {outcome.lost}")
    titles = {contender.id: contender.card.title for contender in outcome.trained}
    for model_id, verdict in outcome.verdicts.items():
        say(f"{'promoted' if verdict.promote else 'not promoted'}: {titles[model_id]} ({model_id})")
        _words(verdict)
    say(
        f"champion of {outcome.task}: {titles.get(outcome.champion or '', 'of an earlier run')} ({outcome.champion})"
        if outcome.champion
        else "there is no champion"
    )


def _treatments(place: Workspace, task: str) -> None:
    """Of a champion that tells effects: what it says of each treatment."""
    from training.models.uplift.fitted import FittedUplift
    from training.package import champion, load, read_card
    from training.uplift_table import HEAD, treatments, words

    at = champion(place, task)
    if at is None or not read_card(at).fitted.endswith(f":{FittedUplift.__name__}"):
        return
    package = load(at)
    if isinstance(package.fitted, FittedUplift):
        say()
        say(table(treatments(package.card, package.fitted), HEAD, left=(0, 1)))
        say(words(package.fitted))


def _words(verdict: Verdict) -> None:
    for reason in verdict.reasons:
        say(f"  {reason}")
    for objection in verdict.overridden:
        say(f"  overridden: {objection}")
    for warning in verdict.warnings:
        say(f"  warning: {warning}")


def _told(mirrored: Mirrored) -> int:
    if not mirrored.problem:
        return 0
    note(f"retain: {mirrored.problem}; models and promotions stand, and MLflow is brought up to date by the next `retain train` or `retain promote`")
    return UNREACHED


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "task": outcome.task,
        "champion": outcome.champion,
        "champion_before_no_longer_verified": outcome.lost,
        "models": [_model(contender) for contender in outcome.trained],
        "verdicts": {model_id: _verdict(verdict) for model_id, verdict in outcome.verdicts.items()},
        "mlflow": outcome.mirrored.problem or "told",
    }


def _model(contender: Contender) -> dict[str, Any]:
    card = contender.card.model_dump(
        mode="json", include={"title", "is_simple", "primary", "metrics", "windows", "training_rows", "test_rows", "synthetic", "notes"}
    )
    return {"model_id": contender.id, **card, "failures": list(contender.failures)}


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {"promote": verdict.promote, "reasons": verdict.reasons, "warnings": verdict.warnings, "overridden": verdict.overridden}


def _commit() -> str:
    """The commit of a checkout, read from its files; empty when installed."""
    git = Path(str(files("retain"))).parent / ".git"
    try:
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        return (git / head.removeprefix("ref: ")).read_text(encoding="utf-8").strip() if head.startswith("ref: ") else head
    except OSError:
        return ""


_TRAIN = """Train the models of a task, judge each beside its baseline on the newest closed window, and let the gate choose the champion.

Needs built features (`retain features build`). Models, the promotion ledger and MLflow's catalogue are written in the workspace.

exit codes: 0 trained (whatever the gate said), 1 trained but MLflow could not be told, 2 no such task or model, 4 features are missing,
            5 too few data or a leak, 6 workspace locked, 130 interrupted: the champion is unchanged"""

_PROMOTE = """Ask the gate to make a trained model the champion of its task.

A first champion is the strongest simple model; a challenger must beat the champion, or be not worse and have a --reason.

exit codes: 0 promoted, 1 promoted but MLflow could not be told, 2 no such model, 4 nothing trained yet, 5 refused by the gate,
            6 workspace locked, 7 a file was changed"""

_ROLLBACK = """Return to the champion before the present one, at once; the ledger keeps both.

exit codes: 0 done, 4 nothing promoted yet, 5 no champion before, 6 workspace locked, 7 a file was changed"""
