"""``retain policies``: what it asks, says and returns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from retain.errors import ConfigError, NotReadyError, RefusedError
from retain.terminal import parser, say, say_json, workspace

if TYPE_CHECKING:
    import argparse

    import pandas as pd

    from experiments.ope.tables import Columns


def policies(argv: Sequence[str]) -> int:
    """Judge a policy by what another one logged."""
    options = parser("policies", _POLICIES)
    options.add_argument("what", choices=("compare",), metavar="compare", help="a challenger with the policy in place")
    options.add_argument("table", type=Path, nargs="?", default=None, metavar="FILE", help="logged decisions, CSV or Parquet (default: the ledger)")
    options.add_argument("--rules", type=Path, default=None, metavar="FILE", help="other rules of the house, judged on the ledger's decisions")
    options.add_argument("--by", choices=("kind", "offer"), default="kind", help="what one action of the ledger is (default: kind)")
    options.add_argument("--challenger", default=None, metavar="POLICY", help="column of its action, or front of POLICY:ACTION columns")
    options.add_argument("--champion", default=None, metavar="POLICY", help="the policy in place (default: the one that logged)")
    options.add_argument("--action", default="action", metavar="COLUMN", help="what was done")
    options.add_argument("--probability", default="probability", metavar="COLUMN", help="with which probability it was done")
    options.add_argument(
        "--reward",
        default=None,
        metavar="COLUMN",
        help="what came of it; null where nobody knows yet. Of the ledger: accepted (default), amount or spend",
    )
    options.add_argument("--customer", default="customer_id", metavar="COLUMN", help="whose rows belong together, where the table has it")
    options.add_argument("--context", nargs="*", default=None, metavar="COLUMN", help="known before the decision (default: all other columns)")
    options.add_argument("--clip", default=None, metavar="W", help="cut weights at W, or `none` (default: the root of the number of decisions)")
    options.add_argument("--margin", type=float, default=0.0, metavar="SHARE", help="of the champion's value that the gain must exceed (default: 0)")
    asked = options.parse_args(argv)
    from experiments import policies
    from experiments.ope import tables
    from experiments.ope.gate import Rules

    if asked.margin < 0:
        raise ConfigError(f"--margin {asked.margin:g}: a share of 0 or more is expected", field="margin")
    if asked.table is None:
        table, columns, title, left_out = _of_ledger(asked)
    elif asked.rules is not None:
        raise ConfigError("--rules judges decisions of the ledger, whose receipts can be made again; leave FILE out", field="rules")
    else:
        names = (asked.challenger or "challenger", asked.champion, None)
        table, columns = tables.read(asked.table), _columns(asked, asked.reward or "reward", *names)
        title, left_out = asked.table.name, ()
    log, unknown = tables.log(table, columns)
    found = policies.compare(log, title, unknown=unknown, left_out=left_out, rules=Rules(margin=asked.margin), clip=_clip(asked.clip))
    if asked.json:
        say_json(policies.values(found))
    else:
        say(policies.words(found))
    return 0 if found.verdict.is_allowed else RefusedError.exit_code


def _columns(asked: argparse.Namespace, reward: str, challenger: str, champion: str | None, logging: str | None) -> Columns:
    from experiments.ope.tables import Columns

    context = None if asked.context is None else tuple(asked.context)
    return Columns(asked.action, asked.probability, reward, challenger, champion, logging, asked.customer, context)


def _of_ledger(asked: argparse.Namespace) -> tuple[pd.DataFrame, Columns, str, tuple[str, ...]]:
    """The ledger's decisions as a table, its columns, what it is called, and what was left out."""
    from typing import get_args

    from experiments.ope.receipts import JUDGED, LOGGED, Reward, receipts
    from serving.decisions.policy import policy

    known: dict[str, Reward] = {name: name for name in get_args(Reward)}
    reward = asked.reward or "accepted"
    if reward not in known:
        raise ConfigError(f"--reward {reward}: of the ledger's decisions {', '.join(known)} are known", field="reward")
    if (asked.rules is None) == (asked.challenger is None):
        raise ConfigError("what is to be judged? give --rules FILE, or else --challenger always:ACTION or uniform", field="rules")
    place = workspace(asked)
    found = receipts(place, None if asked.rules is None else policy(asked.rules), by=asked.by, reward=known[reward])
    if found.table["reward"].isna().all():
        raise NotReadyError(
            f"{place.root}: of none of {len(found.table)} decisions it is known what came of it: their windows are open, or order lines end before "
            "they do; let time pass, or ingest newer lines"
        )
    counts = (
        (found.control, "of the control group, for whom no rules are judged"),
        (found.changed, "that this release decides otherwise"),
        (found.waiting, "at or after the clock of the workspace"),
    )
    # The rules that decided are the champion, with all their chances: that makes their value surer than what they happened to draw.
    columns = _columns(asked, "reward", asked.challenger or JUDGED, asked.champion or LOGGED, LOGGED)
    title = f"the ledger of {place.root.name}, {_REWARDS[known[reward]]}"
    return found.table.drop(columns="decision_id"), columns, title, tuple(f"{count} decisions {why}" for count, why in counts if count)


def _clip(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = float("inf") if text == "none" else float(text)
    except ValueError as error:
        raise ConfigError(f"--clip {text}: a number of at least 1, or none, is expected", field="clip") from error
    if not value >= 1:
        raise ConfigError(f"--clip {text}: a number of at least 1, or none, is expected", field="clip")
    return value


_REWARDS = {
    "accepted": "acceptances of what stood first",
    "amount": "money of purchases told of what stood first",
    "spend": "all that customers spent in the shop's window",
}

_POLICIES = """retain policies compare: what a challenger would have earned per decision, from decisions that another policy logged.

Without FILE the decisions are those of the ledger: --rules FILE judges other rules of the house (a file such as configs/decisions.yaml) by making
every receipt again with them; the action is what stands first, the reward what came of it in its window.

FILE has one row per decision: action, probability (of that action, as the log's policy drew it), reward, what the challenger would have done
(a column `challenger`, or columns `challenger:ACTION` with probabilities; `--challenger always:ACTION` or `uniform` need no column), and, if
known, customer_id and columns of context. Weighted (IPS, SNIPS) and doubly robust (DR) values with 95 % intervals, what clipping moved, how
many customers the log is worth, and where the challenger does what the log never did.

exit codes: 0 may be launched, 2 wrong option or column, 3 data break the contract, 4 nothing was decided yet, 5 kept from launch"""
