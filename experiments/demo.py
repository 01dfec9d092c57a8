"""``retain demo``: the whole product on real data, by the same commands that a user types, and a last screen that says what it showed."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable, Sequence

from experiments import tour
from retain import terminal
from retain.cli import main
from retain.errors import RetainError
from retain.workspace import Workspace

TASKS = ("churn", "clv", "recommend")
SHARE = 0.15
"""Share of the customers that ``--slice`` keeps."""


class _StageError(RetainError):
    """A stage of the demo ended with an error of its own, which has been told already."""

    code = "demo"


def command(argv: Sequence[str]) -> int:
    """Run every stage, then the last screen."""
    parser = terminal.parser(
        "demo",
        "The whole product on a real retailer's year (Complete Journey, 2,469 households): tables, features, models, service, list.\n"
        "Everything lies in the workspace afterwards, and every command of it can be typed again.\n"
        "exit codes: 0 every stage ran, 1 a stage failed (what it says tells the remedy), 2 wrong option, 130 interrupted",
    )
    parser.add_argument("--source", default="completejourney", help="another source (default: completejourney)")
    parser.add_argument("--data", default=None, metavar="DIR", help="folder of its files, where the source needs one")
    parser.add_argument("--simulate", type=int, default=None, metavar="N", help="a synthetic shop of N customers instead of a source")
    parser.add_argument("--slice", action="store_true", help=f"a quick look at {SHARE * 100:.0f} %% of the customers")
    options = parser.parse_args(argv)
    place = terminal.workspace(options)
    seconds: dict[str, float] = {}
    for title, run in _stages(_tables(options), place, options.slice):
        _stage(title, run, seconds)
    answers = tour.answers(place)
    seconds["service"] = answers.seconds
    summary = tour.summary(place, seconds, answers, place.lists / "churn.csv")
    if options.json:
        terminal.say_json(summary.figures)
    else:
        terminal.say(summary.words)
    return 0


def _tables(options: Namespace) -> list[str]:
    """The command that fills the tables."""
    if options.simulate is not None:
        return ["simulate", "--customers", str(options.simulate)]
    return ["ingest", options.source, *(["--data", options.data] if options.data else []), *(["--sample", str(SHARE)] if options.slice else [])]


def _stages(tables: list[str], place: Workspace, is_slice: bool) -> list[tuple[str, Callable[[], int]]]:
    own = ["--workspace", str(place.root)] if place != Workspace.at() else []
    quick = ["--quick"] if is_slice else []
    out = place.lists / "churn.csv"
    return [
        ("tables", lambda: _typed([*tables, *own])),
        ("features", lambda: _typed(["features", "build", *own]) or tour.vary(place)),
        *((f"model: {task}", lambda task=task: _typed(["train", task, *quick, *own])) for task in TASKS),
        ("online = offline", lambda: _typed(["features", "audit", *own])),
        ("rows", lambda: _typed(["publish", *own])),
        ("churn list", lambda: _typed(["list", "churn", "--top", "500", "--out", str(out), *own])),
    ]


def _typed(arguments: Sequence[str]) -> int:
    """Run a command as if it had been typed, and show it."""
    terminal.note(f"\n$ retain {' '.join(arguments)}")
    return main(arguments)


def _stage(title: str, run: Callable[[], int], seconds: dict[str, float]) -> None:
    start = time.monotonic()
    code = run()
    if code == 130:
        raise KeyboardInterrupt
    if code != 0:
        raise _StageError(f"the stage `{title}` ended with exit code {code}; what it says above tells the remedy")
    seconds[title] = time.monotonic() - start
