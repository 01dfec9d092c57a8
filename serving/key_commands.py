"""The commands of whoever decides who may ask: keys."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from retain.errors import ConfigError
from retain.signing import pair
from retain.terminal import note, parser, say, say_json, table, workspace
from retain.workspace import computer_time
from serving import keys as kept
from serving import pull_log


def pulls(argv: Sequence[str]) -> int:
    """``retain pulls list | verify [--head HASH]``."""
    options = parser("pulls", _PULLS)
    options.add_argument("what", choices=("list", "verify"))
    options.add_argument("--head", default=None, metavar="HASH", help="a hash that was noted before; is it still in the log?")
    arguments = options.parse_args(argv)
    found = pull_log.entries(workspace(arguments).pulls, arguments.head)
    head = found[-1].chain if found else pull_log.START
    if arguments.json:
        say_json({"pulls": [each.model_dump(mode="json") for each in found], "head": head})
        return 0
    if arguments.what == "list" and found:
        cells = [[f"{each.at:%Y-%m-%d %H:%M:%S}", each.who, each.list, str(each.rows), each.content[:12]] for each in found]
        say(table(cells, ("when (UTC)", "who", "list", "rows", "content"), left=(0, 1, 2, 4)))
    say(f"{len(found)} pulls, each follows from the one before; head {head}")
    return 0


def keys(argv: Sequence[str]) -> int:
    """``retain keys create NAME --scope SCOPE | list | revoke KEY``."""
    options = parser("keys", _KEYS)
    options.add_argument("what", choices=("create", "list", "revoke", "pair"))
    options.add_argument("subject", nargs="?", default=None, metavar="NAME|KEY", help="create: whose key it is; revoke: the key's id")
    options.add_argument("--scope", action="append", choices=kept.SCOPES, default=None, help="what it opens; may be given several times")
    options.add_argument("--days", type=int, default=90, metavar="N", help="until it expires (default 90)")
    options.add_argument("--per-minute", type=int, default=6000, metavar="N", help="requests that one process lets through (default 6000)")
    arguments = options.parse_args(argv)
    place, now = workspace(arguments), computer_time()
    if (arguments.subject is None) != (arguments.what in ("list", "pair")):
        raise ConfigError(f"keys {arguments.what}: {'name whose key, or which key' if arguments.subject is None else 'takes no name'}")
    if arguments.what == "pair":
        secret, public = pair(secrets.token_bytes(32))
        say_json({"signing": secret, "verify": public}) if arguments.json else say(f"RETAIN_SIGNING_KEY={secret}\nRETAIN_VERIFY_KEY={public}")
        return 0
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


_PULLS = """Who pulled which list, when, of how many customers; a hash tells one list from another, nobody is named.

  retain pulls list            the log, once it is checked
  retain pulls verify          every line follows from the one before, and none is missing at the end
  retain pulls verify --head   a hash noted elsewhere is still in the log: it was not written anew since

exit codes: 0 whole, 7 a line was changed, removed or added; the message names the place"""
_KEYS = """Who may call the service. Without any key it answers this machine only; from the first key on every route demands one, for good.

  retain keys create crm-prod --scope crm     shows a key once; `Authorization: Bearer KEY` opens what its scopes open
  retain keys list                            who has which key, and until when; never the keys themselves
  retain keys pair                            a pair that signs models and rows, and checks them; nothing of it is kept
  retain keys revoke KEY                      closes one; a running service knows within a second

Two keys of one name may hold at a time, so that callers change over without a gap: make the second, change over, revoke the first.

exit codes: 0 done, 2 wrong option or no such key, 5 refused: two keys of that name hold, or the file of keys can be read by others"""
