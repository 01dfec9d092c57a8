"""``retain compare``, ``retain backtest`` and ``retain crossfit``: what they ask, say and return."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from retain.errors import ConfigError, RefusedError
from retain.terminal import note, parser, progress, say, say_json, table, workspace


def compare(argv: Sequence[str]) -> int:
    """Leaderboard with intervals and paired differences."""
    options = parser("compare", _COMPARE)
    options.add_argument("task", metavar="TASK", help="churn, clv or recommend")
    options.add_argument("runs", nargs="*", metavar="RUN", help="ids or names of trained models (default: all)")
    options.add_argument("--cutoffs", type=int, default=None, metavar="N", help="test windows at most (default: 3, or as many as history holds)")
    options.add_argument("--as-trained", action="store_true", help="only what training found on its own test window; nothing is fitted")
    options.add_argument("--html", type=Path, default=None, metavar="FILE", help="also write one page with pictures")
    arguments = options.parse_args(argv)
    if arguments.cutoffs is not None and arguments.cutoffs < 1:
        raise ConfigError(f"--cutoffs {arguments.cutoffs}: at least one test window is needed", field="cutoffs")
    if arguments.cutoffs is not None and arguments.as_trained:
        raise ConfigError("--as-trained fits nothing, so it cannot look at other --cutoffs; leave one of them out", field="cutoffs")
    from experiments import page, report
    from experiments.compare import CUTOFFS, compare
    from retain.files import write_text

    cutoffs = None if arguments.as_trained else arguments.cutoffs or CUTOFFS
    found = compare(workspace(arguments), arguments.task, arguments.runs, cutoffs, watch=lambda items, what: progress(items, len(items), what))
    if arguments.html is not None:
        write_text(arguments.html, page.page(found))
    if arguments.json:
        say_json(report.values(found))
    else:
        say(report.words(found))
        if arguments.html is not None:
            say(f"the page is {arguments.html}")
    return 0


def backtest(argv: Sequence[str]) -> int:
    """Predict as if today were a date in the past."""
    options = parser("backtest", _BACKTEST)
    options.add_argument("source", metavar="SOURCE", help="a name in configs/sources, or the path of a mapping")
    options.add_argument("--data", type=Path, default=None, metavar="DIR", help="where the source's files lie")
    options.add_argument("--as-of", required=True, metavar="DATE", help="the date, on the source's own clock")
    options.add_argument("--horizon", type=int, required=True, metavar="DAYS", help="days after it to predict")
    options.add_argument("--item", choices=("product", "category"), default=None, help="what is recommended (default: the source's own)")
    options.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the files go; DIR/workspace holds the state")
    options.add_argument("--tasks", nargs="+", default=None, metavar="TASK", help="some of churn, clv, recommend (default: all)")
    options.add_argument("--quick", action="store_true", help="smaller settings")
    arguments = options.parse_args(argv)
    from experiments.backtest import TASKS, backtest

    result = backtest(
        arguments.source,
        arguments.as_of,
        arguments.horizon,
        arguments.out,
        data=arguments.data,
        item=arguments.item,
        tasks=arguments.tasks or TASKS,
        quick=arguments.quick,
        say=lambda text: note(f"{text} ..."),
    )
    if arguments.json:
        say_json(result.summary())
    else:
        rows = []
        for task, each in result.predicted.items():
            for title, values in each.judged.items():
                chosen = "learned" if title == each.card.title else ""
                rows.append([f"{task}: {title}", each.card.primary, f"{values[each.card.primary]:.4g}", chosen])
        say(f"{arguments.source} as of {arguments.as_of}, {arguments.horizon} days ahead; judged on windows that had closed by then")
        say(table(rows, ["model", "metric", "value", ""]))
        for each in result.predicted.values():
            if each.card.windows.words:
                say(each.card.windows.words)
            if each.card.windows.season:
                say(each.card.windows.season)
            for file, count in each.files.items():
                say(f"{result.out / file}: {count} rows")
    if result.refused:
        raise RefusedError("; ".join(f"{task}: {why}" for task, why in result.refused.items()))
    return 0


def crossfit(argv: Sequence[str]) -> int:
    """Predict the customers of a source without time, each by models that did not see it."""
    options = parser("crossfit", _CROSSFIT)
    options.add_argument("source", metavar="SOURCE", help="a snapshot in configs/sources, or the path of a mapping")
    options.add_argument("--data", type=Path, default=None, metavar="DIR", help="where the source's files lie")
    options.add_argument("--task", choices=("attrition", "churn", "uplift"), default="attrition", help="the first two: the end of a contract")
    options.add_argument("--outcome", choices=("visit", "purchase", "spend", "margin"), default="visit", help="uplift: what is counted")
    options.add_argument("--treatment", default="", metavar="NAME", help="uplift: which arm, where there are several")
    options.add_argument("--folds", type=Path, default=None, metavar="FILE", help="Parquet with customer_id, fold, repeat (default: drawn by hash)")
    options.add_argument("--name", default="", help="what the hash of drawn folds begins with (default: the source's name)")
    options.add_argument("--models", nargs="+", default=(), metavar="NAME", help="recipes to choose from inside each fold (default: all)")
    options.add_argument("--quick", action="store_true", help="smaller settings")
    options.add_argument("--out", type=Path, required=True, metavar="FILE", help="where the predictions go, as Parquet")
    arguments = options.parse_args(argv)
    if arguments.task == "uplift":
        return _effects(arguments)
    from experiments.snapshots import cross

    found = cross(
        arguments.source,
        arguments.out,
        data=arguments.data,
        task=arguments.task,
        folds=arguments.folds,
        name=arguments.name,
        models=tuple(arguments.models),
        quick=arguments.quick,
        say=lambda text: note(f"{text} ..."),
    )
    if arguments.json:
        say_json(found.summary())
        return 0
    times = f"{found.repeats} times {found.folds} folds"
    say(f"{found.source}: {found.customers} customers, {times}; each predicted by models that learned from others only")
    if found.left_out:
        say(f"{found.left_out} left for a cause that nobody chose: predicted, never learned from or counted")
    say("best inside the other folds: " + ", ".join(f"{name} {count}" for name, count in found.chosen.items() if count))
    say(table([[name, f"{value:.4f}"] for name, value in found.metrics.items()], ["metric", "mean"]))
    say(f"{found.out}: {found.customers * found.repeats} rows")
    return 0


def _effects(arguments: Namespace) -> int:
    """What a treatment changes for each customer of a test."""
    from experiments.effects import cross

    if len(arguments.models) > 1:
        raise ConfigError(f"--models {' '.join(arguments.models)}: one model of configs/tasks/uplift.yaml is cross-fitted at a time", field="models")
    found = cross(
        arguments.source,
        arguments.out,
        data=arguments.data,
        outcome=arguments.outcome,
        treatment=arguments.treatment,
        folds=arguments.folds,
        name=arguments.name,
        model="".join(arguments.models),
        quick=arguments.quick,
        say=lambda text: note(f"{text} ..."),
    )
    if arguments.json:
        say_json(found.summary())
        return 0
    say(
        f"{found.source}, {found.treatment}, {found.outcome}: {found.treated} treated of {found.customers} customers, evidence of grade {found.grade}"
    )
    say("ranked, fold by fold: " + ", ".join(f"{name} {count}" for name, count in found.chosen.items()))
    rows = []
    for name in found.evidence.values:
        figure = found.evidence.interval(name)
        rows.append([name, f"{figure.value:.5f}", f"[{figure.low:.5f}, {figure.high:.5f}]"])
    say(table(rows, ["metric", "value", "95 %"]))
    say(f"{found.out}: {found.customers} rows")
    return 0


_CROSSFIT = """Cross-fitted predictions for a source of `kind: snapshot`: customer_id, repeat, fold, p_churn, one row per customer and repetition.

Folds are drawn by rank of sha256(NAME:repeat:customer_id) inside each outcome, 5 times 5, or read from FILE. Which recipe of
configs/tasks/attrition.yaml predicts a fold, its blend and its calibration are chosen inside the other folds.

With --task uplift: customer_id, fold, uplift, one row per customer of the arm and its controls, by one model of configs/tasks/uplift.yaml.

exit codes: 0 done, 2 wrong option or mapping, 3 data or folds break their contract, 5 too few customers, or a feature holds the outcome"""


def tune(argv: Sequence[str]) -> int:
    """Search for better settings."""
    options = parser("tune", _TUNE)
    options.add_argument("task", metavar="TASK", help="churn, clv, recommend, or the path of a YAML file")
    options.add_argument("--model", default="", metavar="NAME", help="which model of the file (default: the last that has settings to search)")
    options.add_argument("--minutes", type=float, default=None, metavar="M", help="no trial begins after so long (default: 5)")
    options.add_argument("--trials", type=int, default=None, metavar="N", help="at most so many trials, those of earlier calls included")
    options.add_argument("--windows", type=int, default=None, metavar="N", help="windows to choose on, before the test window (default: 2)")
    options.add_argument("--out", type=Path, default=None, metavar="FILE", help="where the experiment goes (default: tuning/ in the workspace)")
    arguments = options.parse_args(argv)
    for name in ("minutes", "trials", "windows"):
        value = getattr(arguments, name)
        if value is not None and value <= 0:
            raise ConfigError(f"--{name} {value}: a number above 0 is expected", field=name)
    from experiments import searches
    from experiments.tune import MINUTES, WINDOWS, tune
    from training.registry import mirror_search

    place = workspace(arguments)
    found = tune(
        arguments.task,
        place,
        model=arguments.model,
        minutes=arguments.minutes or MINUTES,
        trials=arguments.trials,
        windows=arguments.windows or WINDOWS,
        out=arguments.out,
        say=note,
    )
    mirrored = mirror_search(place, found.search)
    if arguments.json:
        say_json({**searches.values(found), "mlflow": mirrored.problem or "told"})
    else:
        say(searches.words(found))
    if mirrored.problem:
        note(f"retain: {mirrored.problem}; the search stands, and MLflow is told by the next `retain tune`")
        return 1
    return 0


def reproduce(argv: Sequence[str]) -> int:
    """Make a model again and compare."""
    options = parser("reproduce", _REPRODUCE)
    options.add_argument("run", metavar="RUN", help="id of a model, or a task to mean its champion")
    arguments = options.parse_args(argv)
    from experiments import searches
    from experiments.reproduce import DIFFERENT, reproduce

    found = reproduce(workspace(arguments), arguments.run)
    if arguments.json:
        say_json(searches.remade_values(found))
    else:
        say(searches.remade(found))
    return 0 if found.is_same else DIFFERENT


def drift(argv: Sequence[str]) -> int:
    """What has changed since the champion was trained."""
    options = parser("drift", _DRIFT)
    options.add_argument("task", metavar="TASK", help="churn, clv or recommend")
    arguments = options.parse_args(argv)
    from experiments.drift import MOVED, drift
    from experiments.findings import KINDS

    found = drift(workspace(arguments), arguments.task)
    if arguments.json:
        say_json(found.values())
    else:
        say(f"{found.task}: {found.title} ({found.model_id}), trained {found.trained:%Y-%m-%d}, looked at {found.now:%Y-%m-%d}")
        rows = [
            [kind, str(sum(each.kind == kind for each in found.findings)), str(sum(each.kind == kind and each.is_moved for each in found.findings))]
            for kind in KINDS
        ]
        say(table(rows, ["", "looked at", "moved"]))
        for each in found.findings:
            if each.is_moved or each.kind != "inputs":
                say(f"{'! ' if each.is_moved else '  '}{each.kind}: {each.words}")
        for words in found.unknown:
            say(f"  {words}")
        say(f"likely source: {found.source}" if found.source else "nothing has moved")
    return MOVED if found.moved else 0


_DRIFT = """What has changed since the champion was trained: its tables, inputs, scores, outcomes and calibration, and the likely source.

Needs features of today (`retain features build`). The figures are written to drift/TASK.json in the workspace, where the service's
/metrics reads them. An input counts as moved above the gate's index (configs/gate.yaml: psi) and above what chance does to samples.

exit codes: 0 nothing has moved, 4 no champion or no features of today, 7 a file was changed, 8 something has moved"""

_TUNE = """Search for better settings of a model on windows before the test window, and say what they gain on it.

The search goes on where it stopped when it is called again. Its trials are nested runs in MLflow; the file that it writes is trained with
`retain train FILE`. Which settings, and in which range, is declared in experiments/spaces.py.

exit codes: 0 done (whatever was found), 1 done but MLflow could not be told, 2 no such model, 4 features are missing,
            5 no earlier window to choose on, 130 interrupted: the trials so far are kept"""

_REPRODUCE = """Make a model again from the data, seed and code that its card names, and compare it byte by byte.

Nothing in the workspace is changed. Where something differs it is named: data, features, code, release, or a library of the environment.

exit codes: 0 the same, 2 no such model, 4 nothing trained yet, 7 the model was changed, 8 something differs"""

_COMPARE = """Every trained recipe of a task on the same customers and windows: metrics with 95 % intervals, paired differences, corrected p.

Each recipe is fitted anew before each test window, on the windows that had closed by then; what was fitted once is remembered.

exit codes: 0 done, 2 no such model, 4 nothing trained yet, or features are missing, 5 too few data, 7 a file was changed"""

_BACKTEST = """As if today were DATE: ingests only what was known before it, trains, and writes predictions for the DAYS after.

Writes churn.parquet, clv.parquet, recommend_all.parquet, recommend_new.parquet, recommend_repeat.parquet and summary.json. Churn and value
are predicted for customers with a purchase in the 365 days before, lists for everybody with a purchase.

exit codes: 0 done, 2 wrong option or mapping, 3 data break the contract, 5 a task was refused (the others are written), 6 workspace locked"""
