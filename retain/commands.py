"""Commands of the ground floor: ingest, simulate, status."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from pathlib import Path

from retain import signing, terminal
from retain.errors import ConfigError
from retain.files import MANIFEST
from retain.workspace import State, Workspace, moment, naive


def ingest(argv: Sequence[str]) -> int:
    """``retain ingest SOURCE [--data DIR] [--until DATE]``."""
    parser = terminal.parser(
        "ingest",
        "Read a source's files into the eight tables of a workspace, checked against the contract.\n"
        "Rows that cannot be used lie in the workspace under quarantine/ with the reason for each.\n"
        "exit codes: 0 read, 2 no such source or a mapping that says what cannot be, 3 the data break the contract or too many rows are unusable,\n"
        "            6 workspace locked, 130 interrupted: what stood before still stands",
    )
    parser.add_argument("source", help="a name in configs/sources, or the path of a mapping (docs/sources.md)")
    parser.add_argument("--data", type=Path, default=None, metavar="DIR", help="where the source's files lie (default: the mapping's package)")
    parser.add_argument("--until", default=None, metavar="DATE", help="as if today were that date, on the source's clock: nothing later is read")
    parser.add_argument(
        "--sample",
        type=float,
        default=None,
        metavar="SHARE",
        help="keep this share of the customers, the same ones every time (anonymous sales stay out)",
    )
    options = parser.parse_args(argv)
    if options.sample is not None and not 0 < options.sample <= 1:
        raise ConfigError(f"--sample {options.sample}: a share above 0, at most 1, is expected", field="sample")
    from retain.ingest import ingest as fill
    from retain.mapping import load

    workspace = terminal.workspace(options)
    until = None if options.until is None else moment(options.until, load(options.source).stored)
    report = fill(options.source, workspace, data=options.data, until=until, sample=options.sample, say=lambda text: terminal.note(f"{text} ..."))
    if options.json:
        terminal.say_json(report.model_dump(mode="json"))
    else:
        terminal.say(report.text() + f"\nThis report and the rows that could not be used lie in {workspace.quarantine}")
    return 0


def simulate(argv: Sequence[str]) -> int:
    """``retain simulate --customers N --seed S [--days D]``."""
    parser = terminal.parser(
        "simulate",
        "Fill a workspace with a synthetic shop whose truth (hazard, value, response) is known.\nIt is marked synthetic wherever it is shown.\n"
        "exit codes: 0 filled, 2 wrong option, 6 workspace locked, 130 interrupted: what stood before still stands",
    )
    parser.add_argument("--customers", type=int, default=1000, metavar="N", help="how many (default: 1000); bounded by the disk, not by memory")
    parser.add_argument("--seed", type=int, default=7, metavar="S", help="the same seed gives the same tables (default: 7)")
    parser.add_argument("--days", type=int, default=None, metavar="D", help="days of history (default: the simulator's own)")
    parser.add_argument(
        "--lines-per-customer", type=float, default=30.0, metavar="L", help="transaction lines of a customer on average (default: 30)"
    )
    parser.add_argument("--per-category", type=int, default=None, metavar="P", help="products of each of the 24 categories (default: 25)")
    options = parser.parse_args(argv)
    if options.lines_per_customer <= 0:
        raise ConfigError(f"--lines-per-customer {options.lines_per_customer}: a number above 0 is expected", field="lines_per_customer")
    if options.customers < 1:
        raise ConfigError(f"--customers {options.customers}: at least one customer is needed", field="customers")
    if options.days is not None and options.days < 1:
        raise ConfigError(f"--days {options.days}: at least one day is needed", field="days")
    from retain.simulate import simulate as fill

    workspace = terminal.workspace(options)
    further = {name: value for name, value in (("days", options.days), ("per_category", options.per_category)) if value is not None}
    fill(workspace, customers=options.customers, seed=options.seed, lines_per_customer=options.lines_per_customer, **further)
    return _show(workspace, as_json=options.json)


def status(argv: Sequence[str]) -> int:
    """``retain status``."""
    parser = terminal.parser(
        "status",
        "What a workspace holds, where it comes from, what is assumed, and what time it is there.\n"
        "exit codes: 0 said, 3 its state is broken, 4 it is empty",
    )
    options = parser.parse_args(argv)
    return _show(terminal.workspace(options), as_json=options.json)


def _show(workspace: Workspace, *, as_json: bool) -> int:
    state = workspace.state()
    if as_json:
        said = {"workspace": str(workspace.root), "now": workspace.now().isoformat(), "signatures": _signatures(workspace)}
        terminal.say_json({**said, **state.model_dump(mode="json")})
    else:
        terminal.say(_words(workspace, state))
    return 0


def _signatures(workspace: Workspace) -> dict[str, dict[str, int]]:
    """Of models and published rows how many are signed, unsigned, or refused."""
    places = {"models": workspace.models.glob(f"*/*/{MANIFEST}"), "rows": workspace.rows.glob(f"*/{MANIFEST}")}
    return {name: signing.counted(path.parent for path in sorted(found)) for name, found in places.items()}


def _words(workspace: Workspace, state: State) -> str:
    now = workspace.now().astimezone(UTC)
    clock = f"{now:%Y-%m-%d %H:%M} UTC, " + ("fixed by the source" if state.as_of is not None else "live")
    if state.stored_zone != "UTC":
        clock += f" ({naive(now, state.stored_zone):%Y-%m-%d %H:%M} {state.stored_zone})"
    leaving = "end of a contract" if state.churn == "subscriptions" else "no purchase"
    horizon = f"{state.horizon_days} days, churn is {leaving}, recommendation by {state.item}"
    facts = {
        "workspace": str(workspace.root),
        "source": f"{state.source}: {state.title}" if state.title else state.source,
        "origin": state.origin or "not said",
        "licence": state.licence or "not said",
        "clock": clock,
        "zones": f"stored {state.stored_zone}, local {state.local_zone}",
        "currency": state.currency or "not said",
        "horizon": "none: a snapshot, customers as they stood once, without time" if state.kind == "snapshot" else horizon,
        "digest": state.digest,
    }
    for name, counts in _signatures(workspace).items():
        if counts:
            facts[name] = ", ".join(f"{count} {word}" for word, count in counts.items()) + ("" if signing.is_demanded() else " (no key is set)")
    lines = ["SYNTHETIC DATA: made by the simulator, about nobody", ""] if state.synthetic else []
    lines += [f"{name:<10} {value}" for name, value in facts.items()]
    lines += ["", terminal.table([[name, f"{rows:,}"] for name, rows in state.tables.items()], ["table", "rows"])]
    if state.assumed:
        lines += ["", "assumed, because the source does not say:"]
        lines += [f"  {one.name} = {one.value}: {one.basis}" for one in state.assumed]
    return "\n".join(lines)
