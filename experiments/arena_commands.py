"""``retain arena``: what it asks, says and returns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from retain.errors import ConfigError
from retain.terminal import note, parser, say, say_json

if TYPE_CHECKING:
    from experiments.arena.standing import Make


def arena(argv: Sequence[str]) -> int:
    """Policies against each other in worlds whose truth is known."""
    options = parser("arena", _ARENA)
    options.add_argument("--worlds", nargs="+", default=(), metavar="WORLD", help="names in configs/arena, or paths of YAML files (default: all)")
    options.add_argument("--policy", action="append", default=[], metavar="MODULE:CLASS", help="one more policy; may be given again")
    options.add_argument("--only", nargs="+", default=(), metavar="NAME", help="some of the house's policies (default: all)")
    options.add_argument("--customers", type=int, default=2000, metavar="N", help="customers of each world (default: 2000)")
    options.add_argument("--months", type=int, default=12, metavar="N", help="months that are played (default: 12)")
    options.add_argument(
        "--seeds", type=int, nargs="+", default=[101, 102], metavar="SEED", help="default: 101 102; those of docs/arena.md are 21 to 30"
    )
    options.add_argument("--html", type=Path, default=None, metavar="FILE", help="also write one page with pictures")
    options.add_argument("--out", type=Path, default=None, metavar="FILE", help="also write the figures as JSON")
    asked = options.parse_args(argv)
    for name, least in (("customers", 100), ("months", 2)):
        if getattr(asked, name) < least:
            raise ConfigError(f"--{name} {getattr(asked, name)}: at least {least} are needed", field=name)
    from experiments.arena import report, standing
    from experiments.arena.worlds import shipped_worlds, world
    from retain.files import write_json, write_text

    policies = _chosen(asked.only) | _more(asked.policy)
    worlds = [world(name) for name in asked.worlds or shipped_worlds()]
    found = [
        standing.play(one, policies, customers=asked.customers, months=asked.months, seeds=asked.seeds, watch=lambda words: note(f"{words} ..."))
        for one in worlds
    ]
    if asked.html is not None:
        write_text(asked.html, report.page(found))
    if asked.out is not None:
        write_json(asked.out, report.values(found))
    if asked.json:
        say_json(report.values(found))
    else:
        say(report.words(found))
    return 0


def _chosen(only: Sequence[str]) -> dict[str, Make]:
    from experiments.arena.standing import POLICIES

    unknown = [name for name in only if name not in POLICIES]
    if unknown:
        raise ConfigError(f"there is no policy {unknown[0]!r}; the house's are {', '.join(POLICIES)}", field="only")
    return {name: make for name, make in POLICIES.items() if not only or name in only}


def _more(named: Sequence[str]) -> dict[str, Make]:
    """Policies that the caller brings; code that the caller runs is the caller's own."""
    import importlib

    found: dict[str, Make] = {}
    for text in named:
        module, _, name = text.partition(":")
        try:
            make = getattr(importlib.import_module(module), name)
            found[make().name] = make
        except (ImportError, AttributeError, TypeError, ValueError) as error:
            raise ConfigError(f"--policy {text}: no class with a name and play(month) can be made of it ({error})", field="policy") from error
    return found


_ARENA = """Policies play against each other, month by month, in simulated worlds whose truth is known (configs/arena).

Every policy meets the same customers with the same luck, within the same budget and seats. The first month is one randomised test for all.
Reported is what each earned above no contact at all, with intervals over seeds, and beside it contacts, unsubscriptions, fatigue and
returns. A policy of your own is a class with `name` and `play(month)`, see experiments/arena/example.py.

exit codes: 0 done, 2 wrong option, world or policy"""
