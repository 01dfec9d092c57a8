"""``retain compare`` and ``retain backtest``: what they ask, say and return."""

from __future__ import annotations

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
            for file, count in each.files.items():
                say(f"{result.out / file}: {count} rows")
    if result.refused:
        raise RefusedError("; ".join(f"{task}: {why}" for task, why in result.refused.items()))
    return 0


_COMPARE = """Every trained recipe of a task on the same customers and windows: metrics with 95 % intervals, paired differences, corrected p.

Each recipe is fitted anew before each test window, on the windows that had closed by then; what was fitted once is remembered.

exit codes: 0 done, 2 no such model, 4 nothing trained yet, or features are missing, 5 too few data, 7 a file was changed"""

_BACKTEST = """As if today were DATE: ingests only what was known before it, trains, and writes predictions for the DAYS after.

Writes churn.parquet, clv.parquet, recommend_all.parquet, recommend_new.parquet, recommend_repeat.parquet and summary.json. Churn and value
are predicted for customers with a purchase in the 365 days before, lists for everybody with a purchase.

exit codes: 0 done, 2 wrong option or mapping, 3 data break the contract, 5 a task was refused (the others are written), 6 workspace locked"""
