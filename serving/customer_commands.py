"""The command of whoever answers for a customer's data: export and erase."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from retain.errors import ConfigError, NotReadyError
from retain.files import write_json
from retain.terminal import note, parser, say, say_json, workspace


def customer(argv: Sequence[str]) -> int:
    """``retain customer export ID | erase ID | erase --again``."""
    options = parser("customer", _CUSTOMER)
    options.add_argument("what", choices=("export", "erase"))
    options.add_argument("customer", nargs="?", default=None, metavar="ID")
    options.add_argument("--again", action="store_true", help="erase: remove all who were erased before, after a restore or an interruption")
    options.add_argument("--out", type=Path, default=None, metavar="FILE", help="export: a file instead of standard output")
    arguments = options.parse_args(argv)
    if (arguments.customer is None) != (arguments.again and arguments.what == "erase"):
        raise ConfigError(
            f"customer {arguments.what}: name one customer" + (", or say --again" if arguments.what == "erase" else ""), field="customer"
        )
    place = workspace(arguments)
    if not place.root.is_dir():
        raise NotReadyError(f"the workspace {place.root} is not there; name another with --workspace")
    from serving import erasure, pull_log

    if arguments.what == "export":
        found = _plain(erasure.export(place, arguments.customer))
        # By the hash of all that is handed over, which nobody can guess: that of one id could be, also after an erasure.
        pull_log.note(place.root, pull_log.by_command(), "customer", {}, [json.dumps(found, sort_keys=True)], {})
        if arguments.out is None:
            say_json(found)
        else:
            write_json(arguments.out, found)
            note(f"written to {arguments.out}; it names the customer, so keep it where only the customer gets it")
        return 0
    receipt = erasure.erase(place, arguments.customer, os.urandom(32))
    if arguments.json:
        say_json(receipt)
        return 0
    for where, rows in receipt["removed"].items():
        say(f"{rows:>8}  {where}")
    say(f"{sum(receipt['removed'].values())} rows removed, {receipt['tombstones']} customers will be rejected at every ingest")
    for words in receipt["not_reached"]:
        say(f"not reached: {words}")
    return 0


def _plain(value: object) -> object:
    """What JSON has no word for, as text."""
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if value is None or isinstance(value, str | int | bool) or (isinstance(value, float) and value == value) else str(value)


_CUSTOMER = """Everything that is held of one customer.

  retain customer export ID     tables, quarantine, features, the published row, the ledger, lists, as JSON
  retain customer erase ID      remove it all; a tombstone (a keyed hash) rejects the customer's rows at every later ingest; prints a receipt
  retain customer erase --again after a restore: remove all who were erased before

A running service knows the erased no more within a second. Interrupted, the same command goes on.

exit codes: 0 done, 2 wrong option, 4 no such workspace, 6 workspace locked, 7 tombstones cannot be read"""
