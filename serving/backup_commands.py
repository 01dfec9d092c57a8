"""The commands of whoever must be able to come back: backup and restore."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from retain.terminal import note, parser, say, say_json, workspace

DAMAGED = 7
"""Exit code: done, but something was not in order before."""


def backup(argv: Sequence[str]) -> int:
    """``retain backup --out DIR``."""
    options = parser("backup", _BACKUP)
    options.add_argument("--out", type=Path, required=True, metavar="DIR", help="a folder that is not there yet")
    options.add_argument("--copy", action="store_true", help="copy also what could be linked: for a backup that shares no place on the disk")
    arguments = options.parse_args(argv)
    from serving import backups

    made = backups.backup(workspace(arguments), arguments.out, link=not arguments.copy)
    if arguments.json:
        say_json({**backups.told(made), "out": str(arguments.out)})
    else:
        say(f"{made.files} files, {made.bytes:,} bytes in {arguments.out}, {'signed' if made.signed else 'unsigned'}")
        if made.linked:
            say(f"{made.linked} of them share their place on the disk with the workspace: copy the folder to another disk, or make it with --copy")
        say("it holds customers and keys: keep it where only those get who may see them")
    for name in made.damaged:
        note(f"{name} was damaged before it was backed up: it is not what the manifest of its folder says")
    return DAMAGED if made.damaged else 0


def restore(argv: Sequence[str]) -> int:
    """``retain restore DIR --workspace NEW``."""
    options = parser("restore", _RESTORE)
    options.add_argument("backup", type=Path, metavar="DIR", help="what `retain backup` made")
    options.add_argument("--tombstones", type=Path, default=None, metavar="DIR", help="further tombstones, of the workspace that was lost")
    arguments = options.parse_args(argv)
    from dataclasses import asdict

    from serving.restoring import restore as again

    place = workspace(arguments)
    made = again(arguments.backup, place, arguments.tombstones)
    if arguments.json:
        say_json({**asdict(made), "about": made.about.model_dump(mode="json"), "workspace": str(place.root)})
    else:
        say(f"{made.files} files of {made.about.made_at:%Y-%m-%d %H:%M} UTC are the workspace {place.root} ({made.signed})")
        for where, rows in made.removed.items():
            say(f"{rows:>8}  {where} of the erased, removed again")
        if made.tombstones:
            say(f"{made.tombstones} customers were erased and did not come back")
        if made.keys:
            say(f"{made.keys} API keys hold again as they did then; `retain keys list` shows them: revoke again what was revoked since")
    if not made.is_later_known:
        lay = "" if made.about.tombstones is None else f" (they lay in {made.about.tombstones})"
        note(
            f"nobody here knows who was erased after {made.about.made_at:%Y-%m-%d %H:%M} UTC, so whoever was is back: "
            f"restore again with --tombstones DIR or RETAIN_TOMBSTONES naming the workspace's tombstones{lay}"
        )
    for words in made.problems:
        note(f"not in order when it was backed up: {words}")
    return DAMAGED if made.problems else 0


_BACKUP = """Copy a workspace to a new folder while its service runs: tables, features, models, MLflow's catalogue, rows, the ledger, lists,
keys, tombstones, each file with its hash, signed where RETAIN_SIGNING_KEY is set.

Everything that was acknowledged before the command began is in it. Training, ingest and publishing wait. What is only replaced as a whole
is linked where the file system allows, which costs no place and does not protect from a broken disk.

exit codes: 0 done, 2 wrong option, 4 no such workspace, 5 there is something at DIR, 6 workspace locked,
            7 done, but files were damaged before: they are named"""

_RESTORE = """Make a workspace of a backup, under a name that is free. Each file is checked before anything appears there; a backup that was
changed is refused with the name of the file, and nothing is overwritten.

Who was erased does not come back, also who was erased after the backup, as long as a place that knows is there: tombstones are taken from
the backup, from where it was made, from RETAIN_TOMBSTONES, from the place itself (a folder that holds nothing but tombstones/) and from
--tombstones, and everybody they mean is removed again before. Where nobody knows who was erased later, that is said.

exit codes: 0 done, 2 wrong option, 4 no backup there, 5 something is at the place or tombstones do not fit, 7 the backup was changed or is
            not signed as demanded (nothing was restored), or it was done and something was not in order before: it is named"""
