"""The dispatcher: names of commands to dotted names of functions, loaded when called.

Each floor owns its commands; this module imports none of them until one is asked for, so that ``retain --help`` is quick.
A command is a function ``(argv: Sequence[str]) -> int`` that builds its own parser with ``retain.terminal.parser``.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from retain import __version__

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("experiments.demo:command", "the whole product on real data, in minutes"),
    "ingest": ("retain.commands:ingest", "a source's files to the eight tables, checked"),
    "simulate": ("retain.commands:simulate", "a synthetic shop whose truth is known"),
    "status": ("retain.commands:status", "what this workspace holds, and what time it is"),
    "features": ("features.commands:features", "list, show, build and audit features"),
    "train": ("training.commands:train", "train the models of a task and judge them"),
    "promote": ("training.commands:promote", "make a model the champion, through the gate"),
    "rollback": ("training.commands:rollback", "return to the champion before"),
    "compare": ("experiments.commands:compare", "leaderboard with intervals and paired differences"),
    "tune": ("experiments.commands:tune", "search for better settings, on earlier windows"),
    "reproduce": ("experiments.commands:reproduce", "make a model again and compare it byte by byte"),
    "drift": ("experiments.commands:drift", "what has changed since the champion was trained"),
    "policies": ("experiments.policy_commands:policies", "what a policy would have earned, from logged decisions; the gate"),
    "arena": ("experiments.arena_commands:arena", "policies against each other in worlds whose truth is known"),
    "backtest": ("experiments.commands:backtest", "predict as if today were a date in the past"),
    "crossfit": ("experiments.commands:crossfit", "predict a source without time, by folds"),
    "publish": ("serving.commands:publish", "make the rows that the service reads"),
    "pulls": ("serving.key_commands:pulls", "who pulled which list: show the log, or verify it"),
    "customer": ("serving.customer_commands:customer", "everything that is held of a customer: export it, or erase it"),
    "backup": ("serving.backup_commands:backup", "copy a workspace while its service runs, each file with its hash"),
    "restore": ("serving.backup_commands:restore", "make a workspace of a backup; nobody who was erased comes back"),
    "keys": ("serving.key_commands:keys", "who may call the service: make, list and revoke API keys"),
    "serve": ("serving.commands:serve", "run the service"),
    "list": ("serving.lists.commands:lists", "lists for marketers: churn, retention within a budget, diff"),
    "campaign": ("serving.lists.campaign_commands:campaign", "what a campaign was worth, against its control group"),
    "rules": ("serving.commands:rules", "what is bought together, for marketers"),
    "decisions": ("serving.decision_commands:decisions", "explain what would be offered to a customer; receipts: show, replay, audit"),
    "feedback": ("serving.receipt_commands:feedback", "receipts and outcomes of the service back into the tables"),
}


def _usage() -> str:
    width = max(len(name) for name in COMMANDS)
    lines = [f"  {name:<{width}}  {words}" for name, (_, words) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: retain COMMAND [OPTIONS]      retain COMMAND --help explains one command",
            "",
            *lines,
            "",
            "exit codes: 0 done, 1 unforeseen error, 2 wrong option or file, 3 data break the contract, 4 run another command first,",
            "            5 refused by a guard, 6 workspace locked, 7 a file was changed, 8 a difference was found, 130 interrupted",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        sys.stdout.write(_usage() + "\n")
        return 0
    if arguments[0] in ("-V", "--version"):
        sys.stdout.write(f"retain {__version__}\n")
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in COMMANDS:
        sys.stderr.write(f"retain: there is no command {name!r}; `retain --help` lists them\n")
        return 2
    from retain.terminal import run

    module, _, function = COMMANDS[name][0].partition(":")
    return run(name, lambda: getattr(importlib.import_module(module), function), rest)
