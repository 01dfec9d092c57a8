"""The commands of this floor: publish, serve, list, decisions."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from retain.errors import RefusedError
from retain.settings import Settings, inherited
from retain.tables import CHANNELS
from retain.terminal import note, parser, say, say_json, table, workspace

NO_REASON = {"en": "(no sign raises the risk; listed for the value at stake)", "zh": "（没有推高风险的迹象，因价值而列入）"}


def publish(argv: Sequence[str]) -> int:
    """Make the rows that the service reads."""
    options = parser(
        "publish",
        "Make the rows that the service and the lists read: one row per customer, checked, of this moment.\n"
        "exit codes: 0 done, 4 features or tables are missing, 6 workspace locked",
    )
    arguments = options.parse_args(argv)
    from serving.publishing import publish as make

    rows = make(workspace(arguments))
    card = rows.card
    if arguments.json:
        say_json(
            {"version": card.version, "customers": len(rows), "moment": card.moment.isoformat(), "models": card.models, "degraded": card.degraded}
        )
        return 0
    say(f"{len(rows)} customers as of {card.moment:%Y-%m-%d %H:%M} UTC, rows {card.version}")
    for task, model in card.models.items():
        say(f"  {task:<10} {model or f'no model; run `retain train {task}`'}")
    return 0


def serve(argv: Sequence[str]) -> int:
    """Run the service."""
    settings = Settings.read()
    options = parser(
        "serve",
        "Run the service, on loopback until there are keys (`retain keys`). Health at /livez and /readyz, metrics at /metrics, requests under\n"
        "/v1, their description at /v1/openapi.json.\n"
        "exit codes: 0 stopped, 4 nothing was published, 5 another address than loopback without keys; several may run on one workspace",
    )
    options.add_argument("--runner", choices=("uvicorn", "bentoml"), default="uvicorn", help="uvicorn is faster, bentoml has its own page and client")
    options.add_argument("--host", default=settings.host, help="another than loopback needs keys, and RETAIN_HOSTS for the names it has")
    options.add_argument("--port", type=int, default=settings.port)
    options.add_argument("--workers", type=int, default=1, metavar="N", help="processes that answer (uvicorn); one that dies is replaced")
    arguments = options.parse_args(argv)
    from serving.keys import Keyring
    from serving.runner import reachable, run

    host = arguments.host
    place = workspace(arguments)
    reachable(host, settings.hosts, Keyring(place.keys))
    if not 0 <= arguments.port <= 65535:
        raise RefusedError(f"--port {arguments.port}: a port is a number from 0 to 65535", field="port")
    if not 1 <= arguments.workers <= 64 or (arguments.workers > 1 and arguments.runner != "uvicorn"):
        raise RefusedError(f"--workers {arguments.workers}: 1 to 64 processes of uvicorn; BentoML has settings of its own", field="workers")
    from serving.rows import open_rows

    rows = open_rows(place)
    note(f"{len(rows)} customers as of {rows.card.moment:%Y-%m-%d %H:%M} UTC")
    note(f"http://{host}:{arguments.port}/v1/openapi.json with {arguments.runner}; Ctrl-C stops")
    if arguments.runner == "uvicorn":
        return run(place, host, arguments.port, settings.hosts, arguments.workers)
    return _bentoml(place.root, host, arguments.port)


def rules(argv: Sequence[str]) -> int:
    """Association rules for marketers."""
    options = parser("rules", _RULES)
    options.add_argument("--item", choices=("product", "category"), default=None, help="what goes together (default: the source's own)")
    options.add_argument("--least-orders", type=int, default=10, metavar="N", help="orders that must hold both (default 10)")
    options.add_argument("--most-p", type=float, default=0.05, metavar="P", help="corrected p at most (default 0.05)")
    options.add_argument("--top", type=int, default=50, metavar="N", help="at most so many rules (default 50)")
    options.add_argument("--out", type=Path, default=None, metavar="FILE", help="a .csv file")
    arguments = options.parse_args(argv)
    import numpy as np

    from features import interactions
    from retain import engine
    from retain.errors import ConfigError
    from serving import associations, gather

    for name, value in (("--least-orders", arguments.least_orders), ("--top", arguments.top)):
        if value < 1:
            raise ConfigError(f"{name} {value}: a number from 1 is expected", field=name.lstrip("-"))
    if not 0 < arguments.most_p <= 1:
        raise ConfigError(f"--most-p {arguments.most_p}: a chance above 0 and up to 1 is expected", field="most-p")
    if arguments.out is not None and arguments.out.suffix.lower() != ".csv":
        raise ConfigError(f"--out {arguments.out.name}: rules are written as .csv; name the file so", field="out")
    place = workspace(arguments)
    state, now = place.state(), place.now()
    item = arguments.item or state.item
    with engine.of(place) as sql:
        history = interactions.load(sql, now, item, zone=state.stored_zone)
        gather.attach_current(sql, now)
        known = gather.items(sql, item, now, state)
    names = {str(row["item_id"]): str(row["name"]) for row in known.to_dict("records") if isinstance(row["name"], str)}
    found = associations.rules(history, least_orders=arguments.least_orders, most_p=arguments.most_p)
    shown = associations.rows(found.take(np.arange(min(arguments.top, len(found)))), names)
    if arguments.out is not None:
        from serving.export import write_rows

        write_rows(arguments.out, associations.COLUMNS, shown)
    if arguments.json:
        rows = [dict(zip(associations.COLUMNS, row, strict=True)) for row in shown]
        say_json({"rules": rows, "orders": found.baskets, "pairs_tested": found.tested, "found": len(found), "as_of": now.isoformat(), "item": item})
        return 0
    cells = [[row[1], row[3], str(row[4]), f"{row[5]:.2%}", f"{row[6]:.0%}", f"{row[7]:.1f}", f"{row[9]:.1e}"] for row in shown]
    say(table(cells, ("who takes", "also takes", "orders", "support", "confidence", "lift", "p corrected"), left=(0, 1)))
    say(f"{len(found)} rules from {found.tested} pairs tested in {found.baskets} orders before {now:%Y-%m-%d}")
    say("p is Fisher's exact, corrected by Holm over all pairs tested")
    say("what is bought together was not shown to be bought because of each other: try an offer with a control group before relying on it")
    if arguments.out is not None:
        say(f"the rules are {arguments.out}")
    return 0


def lists(argv: Sequence[str]) -> int:
    """Lists for marketers."""
    options = parser(
        "list",
        "retain list churn: customers by what their leaving would cost (risk x predicted value), with reasons. Who has no consent, asked not to be\n"
        "contacted, refuses profiling or is a minor is left out and counted. Also: `retain list retention --help`, `retain list diff --help`.\n"
        "exit codes: 0 done, 2 wrong option, 4 run `retain publish` first",
    )
    options.add_argument("what", choices=("churn",))
    options.add_argument("--top", type=int, default=100, metavar="N", help="at most so many customers (default 100)")
    options.add_argument("--channel", choices=CHANNELS, default=None, help="only who may be contacted on this channel")
    options.add_argument("--language", choices=("en", "zh"), default="en", help="of the reasons")
    options.add_argument("--out", type=Path, default=None, metavar="FILE", help=".csv or .parquet; a summary lands beside it as FILE.json")
    arguments = options.parse_args(argv)
    from retain.errors import ConfigError
    from serving import export

    if arguments.top < 0:
        raise ConfigError(f"--top {arguments.top}: a number from 0 is expected", field="top")
    if arguments.out is not None:
        export.kind_of(arguments.out)
    from msgspec.structs import asdict

    from serving import pull_log
    from serving.answers import Answers
    from serving.fresh import read

    place = workspace(arguments)
    result = Answers.open(place, read(place)).churn_list(arguments.top, arguments.channel, arguments.language)
    asked = {"top": arguments.top, "channel": arguments.channel, "language": arguments.language}
    pull_log.note(place.root, pull_log.by_command(), "churn", asked, pull_log.of_churn(result), asdict(result.models))
    if arguments.out is not None:
        export.write(result, arguments.out)
    if arguments.json:
        say_json({**export.describe(result), "out": None if arguments.out is None else str(arguments.out)})
        return 0
    if arguments.out is None or result.rows:
        shown = result.rows[: 10 if arguments.out is not None else None]
        cells = [
            [
                row.customer_id,
                f"{row.risk:.2f}",
                f"{row.value:,.2f}",
                f"{row.expected_loss:,.2f}",
                row.band,
                row.stage,
                "over a year" if row.next_purchase_at is None else f"{row.next_purchase_at:%Y-%m-%d}",
                row.cause.cause,
                row.reasons[0].text if row.reasons else NO_REASON[arguments.language],
            ]
            for row in shown
        ]
        say(
            table(cells, ("customer", "risk", "value", "loss", "band", "stage", "next buys", "likely cause", "first reason"), left=(0, 4, 5, 6, 7, 8))
        )
    left = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in result.left_out.items()) or "nobody"
    say(f"{len(result.rows)} of {result.customers} customers, as of {result.as_of:%Y-%m-%d %H:%M} UTC")
    say(f"risk and value are those of the next {result.horizon_days} days; a next purchase is as likely to come before its date as after")
    say(f"left out: {left}")
    for name, part in result.value_parts.items():
        data = "no table records it" if part.coverage is None else f"{part.coverage:.0%} of active customers have data"
        say(f"value, {name.replace('_', ' ')}: {'counted' if part.counted else 'off'}; {data}")
    if result.involuntary:
        names = ", ".join(row.customer_id for row in result.involuntary[:10])
        say(f"listed apart as involuntary, no coupon: {names}{' ...' if len(result.involuntary) > 10 else ''}")
    for cause, count in result.causes.items():
        row = next(each for each in (*result.rows, *result.involuntary) if each.cause.cause == cause)
        say(f"  {count:>5} {cause.replace('_', ' '):<14} {row.cause.remedy}")
    say(f"likely causes: {export.describe(result)['causes_by']}")
    say(f"reasons ranked by {export.describe(result)['reasons_by']}; typical is {export.describe(result)['typical']}")
    for words in result.assumed:
        say(f"assumed: {words}")
    if result.synthetic:
        say("these customers are synthetic")
    if arguments.out is not None:
        say(f"written to {arguments.out}, summary in {arguments.out}.json")
    return 0


def _bentoml(root: Path, host: str, port: int) -> int:
    """BentoML's own server as a child, so that its settings of the process stay its own."""
    from serving.connections import KEEP_S

    keep = ("--timeout-keep-alive", f"{KEEP_S:.0f}")
    command = [sys.executable, "-m", "bentoml", "serve", "serving.service:Retain", "--host", host, "--port", str(port), *keep]
    child = subprocess.Popen(command, env=inherited(RETAIN_WORKSPACE=str(root), BENTOML_DO_NOT_TRACK="true"))
    try:
        return child.wait()
    except KeyboardInterrupt:
        child.send_signal(signal.SIGINT)
        child.wait()
        raise


_RULES = """Association rules: which items are in one order more often than chance would have it, for bundles, shelves and the next campaign.

Support is the share of orders with both, confidence the share of orders with the first that hold the second, lift how many times more often
than in all orders. p is Fisher's exact, corrected by Holm over all pairs that at least --least-orders orders hold.

exit codes: 0 done, 2 wrong option, 4 run `retain ingest` first"""
