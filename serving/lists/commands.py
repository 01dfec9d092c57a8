"""The commands of lists under a budget: `retain list retention` and `retain list diff`; other lists are passed on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from retain.errors import ConfigError
from retain.tables import CHANNELS
from retain.terminal import parser, say, say_json, table, workspace


def lists(argv: Sequence[str]) -> int:
    """Lists for marketers: the first word says which."""
    own = {"retention": retention, "diff": diff}
    if argv and argv[0] in own:
        return own[argv[0]](argv[1:])
    from serving.commands import lists as others

    return others(argv)


def retention(argv: Sequence[str]) -> int:
    """Whom to contact with what, within a budget."""
    options = parser("list retention", _RETENTION)
    options.add_argument(
        "--budget", type=float, default=None, metavar="MONEY", help="expected costs of contacts and offers at most (default: no limit)"
    )
    options.add_argument("--call-seats", type=float, default=None, metavar="N", help="calls that can be made: --seats call_center=N")
    options.add_argument("--seats", default="", metavar="CHANNEL=N,...", help="contacts that can be made by channel (default: no limit)")
    options.add_argument("--channel-costs", default="", metavar="CHANNEL=MONEY,...", help="channels to use, and the cost of a contact on each")
    options.add_argument("--holdout", default="10%", metavar="SHARE", help="of the chosen who are not contacted, to compare with (default 10%%)")
    options.add_argument("--no-holdout", default="", metavar="REASON", help="hold nobody out, and write down why; nothing can be shown then")
    options.add_argument(
        "--margin-rate", type=float, default=None, metavar="SHARE", help="margin as a share of money spent, where the source knows none"
    )
    options.add_argument("--saved-share", type=float, default=None, metavar="SHARE", help="of a loss that an accepted offer keeps, without effects")
    options.add_argument("--campaign", default=None, metavar="NAME", help="draws the control group and names the report (default: retention-DATE)")
    options.add_argument("--valid-days", type=float, default=7.0, metavar="DAYS", help="how long its prices hold for calls (default 7)")
    options.add_argument(
        "--by-calls",
        action="store_true",
        help="the limits are spent by calls, one by one, instead of by sending the list: prices follow what was used",
    )
    options.add_argument("--out", type=Path, default=None, metavar="FILE", help=".csv, .parquet or .xlsx; without it nothing is kept")
    arguments = options.parse_args(argv)
    asked_seats = _amounts("seats", arguments.seats)
    if arguments.call_seats is not None:
        if "call_center" in asked_seats:
            raise ConfigError("--call-seats and --seats call_center=... say the same; give one of them", field="call-seats")
        asked_seats["call_center"] = arguments.call_seats
    share = 0.0 if arguments.no_holdout else _share(arguments.holdout)
    for name, value in (("budget", arguments.budget), ("call-seats", arguments.call_seats), ("valid-days", arguments.valid_days)):
        if value is not None and not 0 <= value < float("inf"):
            raise ConfigError(f"--{name} {value}: a number from 0 is expected", field=name)
    for channel, count in asked_seats.items():
        if count != int(count):
            raise ConfigError(f"--seats {channel}={count}: a contact is made or not; give a whole number", field="seats")
    for name, value in (("margin-rate", arguments.margin_rate), ("saved-share", arguments.saved_share)):
        if value is not None and not 0 <= value <= 1:
            raise ConfigError(f"--{name} {value}: a share from 0 to 1 is expected", field=name)
    from serving import export, pull_log
    from serving.answers import Answers
    from serving.fresh import read
    from serving.lists.choosing import Asked
    from serving.lists.files import named, save
    from serving.lists.retention import retention as make
    from serving.lists.words import manifest

    if arguments.out is not None:
        export.kind_of(arguments.out)
    place = workspace(arguments)
    answers = Answers.open(place, read(place))
    if arguments.by_calls and not answers.policy.hold_hours:
        raise ConfigError("--by-calls: calls hold no contact while hold_hours of configs/decisions.yaml is 0; give it some hours", field="by-calls")
    asked = Asked(
        campaign=named(arguments.campaign or f"retention-{place.now():%Y-%m-%d}"),
        budget=arguments.budget,
        seats=asked_seats,
        channel_costs=_amounts("channel-costs", arguments.channel_costs),
        holdout=share,
        margin_rate=arguments.margin_rate,
        saved_share=arguments.saved_share,
        valid_days=arguments.valid_days,
        without_holdout=arguments.no_holdout,
        is_by_calls=arguments.by_calls,
    )
    result = make(answers, asked)
    said = manifest(result, answers.rows.shop.currency, len(answers.rows))
    customers = [answers.rows.id(entry.position) for entry in result.entries]
    terms = {"campaign": asked.campaign, "budget": asked.budget, "run": result.run, "out": None if arguments.out is None else arguments.out.name}
    pull_log.note(place.root, pull_log.by_command(), "retention", terms, customers, answers.rows.card.models)
    if arguments.out is not None:
        save(place, answers.pull(), result, arguments.out)
    if arguments.json:
        say_json({**said, "out": None if arguments.out is None else str(arguments.out)})
        return 0
    _show(said, result.uncosted)
    if answers.rows.shop.synthetic:
        say("these customers are synthetic")
    if arguments.out is not None:
        say(f"written to {arguments.out}; held out, reasons of everybody, page and manifest lie beside it")
    return 0


def _show(said: Mapping[str, Any], uncosted: Sequence[str]) -> None:
    from serving.lists.words import why

    gain, low, high = said["expected_gain"]
    currency, groups, left = said["currency"], said["groups"], said["left_out"]
    say(f"campaign {said['campaign']}, run {said['run']}, as of {said['as_of']}")
    say(f"{said['contacted']} customers to contact, {said['held_out']} held out, of {said['customers']}")
    say(f"expected gain {gain:,.2f} {currency} [{low:,.2f}, {high:,.2f}] after costs of {said['expected_cost']:,.2f}; evidence {said['evidence']}")
    say(f"the chosen, control group included, gain at most {said['below_best']:.2%} less than the best possible choice within these limits")
    for words in said["said"]:
        say(f"  {words}")
    say("kinds of customers: " + ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in groups.items()))
    say(table([[name.replace("_", " "), str(count), why(name)] for name, count in left.items()], ("not on it", "customers", "why"), left=(0, 2)))
    for name in uncosted:
        say(f"left out: {name}, because nobody says what a contact costs there")


def diff(argv: Sequence[str]) -> int:
    """Who entered or left between two lists, and why."""
    options = parser("list diff", _DIFF)
    options.add_argument("before", type=Path, metavar="A", help="the earlier list, as it was written by --out")
    options.add_argument("after", type=Path, metavar="B", help="the later one")
    options.add_argument("--out", type=Path, default=None, metavar="FILE", help="every change, as .csv, .parquet or .xlsx")
    arguments = options.parse_args(argv)
    from serving.export import kind_of, write_table
    from serving.lists.differences import COLUMNS, NUMBERS, difference, read

    if arguments.out is not None:
        kind_of(arguments.out)
    before, after = read(arguments.before), read(arguments.after)
    found = difference(before, after)
    if arguments.out is not None:
        write_table(arguments.out, COLUMNS, found.rows, after.as_of, NUMBERS, frozenset())
    if arguments.json:
        say_json(
            {
                "counts": found.counts,
                "changed": found.changed,
                "entered": found.entered,
                "left": found.left,
                "stayed": found.stayed,
                "moved": found.moved,
            }
        )
        return 0
    say(f"{found.stayed} stayed, {found.moved} of them with another offer or channel; {found.entered} entered, {found.left} left")
    for words in found.changed:
        say(f"  {words}")
    say(table([[way, why, str(count)] for way, why, count in found.counts], ("", "why", "customers"), left=(0, 1)))
    for row in found.rows[:20]:
        say(f"  {row[0]}: {row[1]}, {row[3]}")
    if len(found.rows) > 20:
        say(f"  ... and {len(found.rows) - 20} more; --out writes them all")
    return 0


def _amounts(name: str, text: str) -> dict[str, float]:
    """``call_center=3,email=0.05`` as amounts by channel."""
    found: dict[str, float] = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        channel, _, amount = part.partition("=")
        try:
            value = float(amount)
        except ValueError as error:
            raise ConfigError(f"--{name} {part}: a channel and an amount like call_center=3 are expected", field=name) from error
        if channel not in CHANNELS or not 0 <= value < float("inf"):
            raise ConfigError(f"--{name} {part}: an amount from 0 for one of {', '.join(CHANNELS)} is expected", field=name)
        if channel in found:
            raise ConfigError(f"--{name}: {channel} is given twice; give one amount for each channel", field=name)
        found[channel] = value
    return found


def _share(text: str) -> float:
    """``10%`` or ``0.1``."""
    try:
        share = float(text.removesuffix("%")) / (100.0 if text.endswith("%") else 1.0)
    except ValueError as error:
        raise ConfigError(f"--holdout {text}: a share like 10% or 0.1 is expected", field="holdout") from error
    if not 0 < share <= 0.5:
        raise ConfigError(f"--holdout {text}: more than nobody and at most half is expected; --no-holdout REASON holds nobody out", field="holdout")
    return share


_RETENTION = """Whom to contact with what to keep them, within a budget and the seats there are: the most expected margin over everybody.

Gains are incremental where effects are estimated (`retain train uplift`); else they are propensity x value, and the list says so. Who has no consent
or is otherwise withheld by the rules that decide calls is left out and counted; so are sleeping dogs and lost causes. A part of the chosen is held
out. Beside the list lie FILE.holdout (do not contact), FILE.why.parquet (what became of everybody), FILE.html and FILE.json (the manifest).
An offer's stock is a limit as seats are. The prices of money, seats and stock go to the workspace, where calls use them.

exit codes: 0 done (also when the list is empty), 2 wrong option, 4 run `retain publish` first, 5 nothing can be told in money"""
_DIFF = """Who entered or left a retention list between two pulls, and why: consent and rules, risk, value, price, limits, control group.

exit codes: 0 done, 2 wrong option, 3 not a list with its manifest"""
