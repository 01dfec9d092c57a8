"""``retain policies``: what it asks, says and returns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from retain.errors import ConfigError, RefusedError
from retain.terminal import parser, say, say_json


def policies(argv: Sequence[str]) -> int:
    """Judge a policy by what another one logged."""
    options = parser("policies", _POLICIES)
    options.add_argument("what", choices=("compare",), metavar="compare", help="a challenger with the policy in place")
    options.add_argument("table", type=Path, metavar="FILE", help="logged decisions, CSV or Parquet")
    options.add_argument("--challenger", default="challenger", metavar="POLICY", help="column of its action, or front of POLICY:ACTION columns")
    options.add_argument("--champion", default=None, metavar="POLICY", help="the policy in place (default: the one that logged)")
    options.add_argument("--action", default="action", metavar="COLUMN", help="what was done")
    options.add_argument("--probability", default="probability", metavar="COLUMN", help="with which probability it was done")
    options.add_argument("--reward", default="reward", metavar="COLUMN", help="what came of it; null where nobody knows yet")
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
    context = None if asked.context is None else tuple(asked.context)
    columns = tables.Columns(asked.action, asked.probability, asked.reward, asked.challenger, asked.champion, asked.customer, context)
    log, unknown = tables.log(tables.read(asked.table), columns)
    found = policies.compare(log, asked.table.name, unknown=unknown, rules=Rules(margin=asked.margin), clip=_clip(asked.clip))
    if asked.json:
        say_json(policies.values(found))
    else:
        say(policies.words(found))
    return 0 if found.verdict.is_allowed else RefusedError.exit_code


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


_POLICIES = """retain policies compare FILE: what a challenger would have earned per decision, from decisions that another policy logged.

FILE has one row per decision: action, probability (of that action, as the log's policy drew it), reward, what the challenger would have done
(a column `challenger`, or columns `challenger:ACTION` with probabilities; `--challenger always:ACTION` or `uniform` need no column), and, if
known, customer_id and columns of context. Weighted (IPS, SNIPS) and doubly robust (DR) values with 95 % intervals, what clipping moved, how
many customers the log is worth, and where the challenger does what the log never did.

exit codes: 0 may be launched, 2 wrong option or column, 3 data break the contract, 5 kept from launch"""
