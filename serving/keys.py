"""API keys: who may ask, for what, how often and until when. The workspace holds hashes of them; a key itself is shown once.

A key is 256 random bits, so its SHA-256 cannot be searched: scrypt and the like make guesses at what people think up expensive, nobody can
guess here, and every request would pay for it. The file is read anew within a second of a change, so a revoked key is refused without a
restart. Expiry is by the computer's clock: the clock of a workspace can stand still.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from retain.errors import ConfigError, DataError, IntegrityError, RefusedError
from retain.files import alone, atomic_path, read_json
from retain.workspace import computer_time

Scope = Literal["crm", "marketer", "scientist", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
PER_NAME = 2
"""Keys of one name that hold at the same time: the old and the new one while callers change over."""
RELOAD_S = 1.0
_SHOWN = re.compile(rb"retain_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_NOBODY = hashlib.sha256(b"nobody").hexdigest()


class Key(BaseModel):
    """A key as it is kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key_id: Annotated[str, StringConstraints(pattern="^[0-9a-f]{12}$")]
    """Stands in the key in clear, names it in lists and logs."""
    name: Annotated[str, StringConstraints(pattern="^[a-z0-9][a-z0-9._-]{0,63}$")]
    """Whose key it is."""
    hash: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
    scopes: tuple[Scope, ...] = Field(min_length=1)
    created_at: AwareDatetime
    expires_at: AwareDatetime
    per_minute: int = Field(default=6000, ge=1, le=10_000_000)
    """Requests that one process lets through, on average."""
    revoked_at: AwareDatetime | None = None

    def holds(self, now: datetime) -> bool:
        """Whether it opens anything at a moment."""
        return self.revoked_at is None and now < self.expires_at


def minted(random: bytes, name: str, scopes: Sequence[Scope], now: datetime, *, days: int, per_minute: int) -> tuple[Key, str]:
    """A new key of 32 + 6 random bytes, and its text, which nothing can give back later.

    Raises:
        ConfigError: the name, a scope or a figure cannot be.
    """
    key_id, secret = random[32:38].hex(), base64.urlsafe_b64encode(random[:32]).rstrip(b"=")
    text = f"retain_{key_id}_{secret.decode()}"
    try:
        key = Key(
            key_id=key_id,
            name=name,
            hash=hashlib.sha256(secret).hexdigest(),
            scopes=tuple(each for each in SCOPES if each in scopes),
            created_at=now,
            expires_at=now + timedelta(days=days),
            per_minute=per_minute,
        )
    except ValidationError as error:
        first = error.errors()[0]
        place = str(first["loc"][0])
        if place == "name":
            words = "a name begins with a small letter or a digit; up to 64 of those, dots, dashes and underscores are expected"
            raise ConfigError(f"name {name!r}: {words}, for example crm-prod", field=place) from error
        raise ConfigError(f"{place}: {first['msg'].lower()}; `retain keys --help` explains the options", field=place) from error
    return key, text


def load(path: Path) -> tuple[Key, ...]:
    """All keys, revoked ones too; none where none was ever made.

    Raises:
        RefusedError: others than the owner can read or change the file.
        IntegrityError: it is not what this program writes.
    """
    if not path.is_file():
        return ()
    if path.stat().st_mode & 0o077:
        raise RefusedError(f"{path.name} can be read or changed by others than its owner; type: chmod 600 {path.name}")
    try:
        keys = tuple(Key.model_validate(each) for each in read_json(path)["keys"])
    except (ValidationError, DataError, KeyError, TypeError) as error:
        raise IntegrityError(f"{path.name} is not a list of keys; restore it, or remove it and make new keys") from error
    if len({key.key_id for key in keys}) < len(keys):
        raise IntegrityError(f"{path.name} names a key twice; restore it, or remove it and make new keys")
    return keys


def add(path: Path, key: Key, now: datetime) -> None:
    """Keep a new key.

    Raises:
        RefusedError: two keys of that name hold already.
    """
    with alone(path):
        keys = load(path)
        held = [each.key_id for each in keys if each.name == key.name and each.holds(now)]
        if len(held) >= PER_NAME:
            raise RefusedError(f"{key.name} has {len(held)} keys that hold ({', '.join(held)}); revoke one of them first", field="name")
        _write(path, (*keys, key))


def revoke(path: Path, key_id: str, now: datetime) -> Key:
    """Close a key for good.

    Raises:
        ConfigError: there is no such key.
    """
    with alone(path):
        keys = load(path)
        found = next((each for each in keys if each.key_id == key_id), None)
        if found is None:
            raise ConfigError(f"there is no key {key_id!r}; `retain keys list` names them", field="key")
        closed = found.model_copy(update={"revoked_at": found.revoked_at or now})
        _write(path, tuple(closed if each is found else each for each in keys))
    return closed


class Keyring:
    """The keys as a running process knows them."""

    def __init__(self, path: Path, clock: Callable[[], datetime] = computer_time, tick: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._tick = tick
        self._seen: tuple[int, int, int] | None = None
        self._looked_at = -RELOAD_S
        self._keys: dict[str, Key] = {}
        self.is_closed = False
        """Whether a key is demanded: from the first key on, and for as long as the process lives even if the file goes."""
        self.broken: str | None = None
        """Why the keys cannot be read; nobody is let in then."""
        self.refresh()

    def refresh(self) -> None:
        """Read the file where it has changed; it is looked at once a second at most."""
        if self._tick() - self._looked_at < RELOAD_S:
            return
        self._looked_at = self._tick()
        try:
            found = self._path.stat()
            seen = (found.st_ino, found.st_mtime_ns, found.st_mode)
        except FileNotFoundError:
            self._seen, self._keys, self.broken = None, {}, None
            return
        if seen == self._seen:
            return
        self.is_closed = True
        try:
            self._keys, self.broken = {key.key_id: key for key in load(self._path)}, None
        except (RefusedError, IntegrityError, OSError) as error:
            self._keys, self.broken = {}, str(error)
        self._seen = seen

    def find(self, shown: bytes) -> Key | None:
        """The key that was shown, if it holds now. What is unknown takes as long as what is known."""
        parts = _SHOWN.fullmatch(shown)
        key = None if parts is None else self._keys.get(parts[1].decode())
        secret = b"" if parts is None else parts[2]
        is_right = hmac.compare_digest(hashlib.sha256(secret).hexdigest(), _NOBODY if key is None else key.hash)
        return key if key is not None and is_right and key.holds(self._clock()) else None

    def lets(self, opened: Key | None) -> bool:
        """Whether what a key opened (None: what no key did) may go on: it was not revoked since, and no first key was made."""
        self.refresh()
        if opened is None:
            return not self.is_closed
        key = self._keys.get(opened.key_id)
        return key is not None and key.hash == opened.hash and key.holds(self._clock())

    @property
    def has_any(self) -> bool:
        """Whether some key holds now."""
        now = self._clock()
        return any(key.holds(now) for key in self._keys.values())


def _write(path: Path, keys: Sequence[Key]) -> None:
    text = '{"keys": [\n' + ",\n".join(key.model_dump_json() for key in keys) + "\n]}\n"
    with atomic_path(path) as partial:
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
