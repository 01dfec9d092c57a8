"""The commands of whoever decides who may ask: keys."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from retain.errors import ConfigError
from retain.terminal import note, parser, say, say_json, table, workspace
from retain.workspace import computer_time
from serving import keys as kept


def keys(argv: Sequence[str]) -> int:
    """``retain keys create NAME --scope SCOPE | list | revoke KEY``."""
    options = parser("keys", _KEYS)
    options.add_argument("what", choices=("create", "list", "revoke"))
    options.add_argument("subject", nargs="?", default=None, metavar="NAME|KEY", help="create: whose key it is; revoke: the key's id")
    options.add_argument("--scope", action="append", choices=kept.SCOPES, default=None, help="what it opens; may be given several times")
    options.add_argument("--days", type=int, default=90, metavar="N", help="until it expires (default 90)")
    options.add_argument("--per-minute", type=int, default=6000, metavar="N", help="requests that one process lets through (default 6000)")
    arguments = options.parse_args(argv)
    place, now = workspace(arguments), computer_time()
    if (arguments.subject is None) != (arguments.what == "list"):
        raise ConfigError(f"keys {arguments.what}: {'takes no name' if arguments.what == 'list' else 'name whose key, or which key'}")
    if arguments.what == "create":
        if not arguments.scope:
            raise ConfigError(f"--scope is missing: say what the key opens ({', '.join(kept.SCOPES)})", field="scope")
        if not 1 <= arguments.days <= 366:
            raise ConfigError(f"--days {arguments.days}: from 1 to 366 days are expected; make a new key before it expires", field="days")
        key, text = kept.minted(
            secrets.token_bytes(38), arguments.subject, arguments.scope, now, days=arguments.days, per_minute=arguments.per_minute
        )
        kept.add(place.keys, key, now)
        if arguments.json:
            say_json({"key": text, **_shown(key, "holds")})
            return 0
        note(f"{key.name}: opens {', '.join(key.scopes)} until {key.expires_at:%Y-%m-%d}; this is the only time that it is shown")
        say(text)
        return 0
    if arguments.what == "revoke":
        key = kept.revoke(place.keys, arguments.subject, now)
        say_json(_shown(key, "revoked")) if arguments.json else say(
            f"{key.key_id} of {key.name} opens nothing any more; a running service knows in a second"
        )
        return 0
    held = [_shown(key, "revoked" if key.revoked_at else "holds" if key.holds(now) else "expired") for key in kept.load(place.keys)]
    if arguments.json:
        say_json({"keys": held})
    elif held:
        cells = [
            [each["id"], each["name"], " ".join(each["scopes"]), each["expires_at"][:10], str(each["per_minute"]), each["state"]] for each in held
        ]
        say(table(cells, ("key", "name", "scopes", "expires", "per minute", "state"), left=(0, 1, 2, 3, 5)))
    else:
        say("there are no keys: the service answers whoever is on this machine, and listens to nobody else")
    return 0


def _shown(key: kept.Key, state: str) -> dict[str, Any]:
    return {
        "id": key.key_id,
        "name": key.name,
        "scopes": list(key.scopes),
        "created_at": key.created_at.isoformat(timespec="seconds"),
        "expires_at": key.expires_at.isoformat(timespec="seconds"),
        "per_minute": key.per_minute,
        "state": state,
    }


_KEYS = """Who may call the service. Without any key it answers this machine only; from the first key on every route demands one, for good.

  retain keys create crm-prod --scope crm     shows a key once; `Authorization: Bearer KEY` opens what its scopes open
  retain keys list                            who has which key, and until when; never the keys themselves
  retain keys revoke KEY                      closes one; a running service knows within a second

Two keys of one name may hold at a time, so that callers change over without a gap: make the second, change over, revoke the first.

exit codes: 0 done, 2 wrong option or no such key, 5 refused: two keys of that name hold, or the file of keys can be read by others"""
