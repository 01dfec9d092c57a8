"""Signatures of what is opened later: ed25519 over a folder's list of hashes, so that only whoever holds the key can make a champion.

Whoever trains or publishes holds RETAIN_SIGNING_KEY and signs; whoever answers needs RETAIN_VERIFY_KEY only, the public half, and refuses
what is unsigned or signed by somebody else. Without either key nothing is signed or refused, and ``unsigned`` is reported.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from retain.errors import ConfigError, DataError, IntegrityError
from retain.files import MANIFEST, read_json
from retain.settings import Settings

PURPOSE = b"retain manifest 1\n"
"""What is signed begins with it, so that a signature made for something else is none of a manifest."""
Signed = Literal["signed", "unsigned", "unchecked"]


def signature(files: Mapping[str, str]) -> str | None:
    """The signature of a list of names and hashes; None where the deployment has no key.

    Raises:
        ConfigError: the key is no ed25519 key.
    """
    secret = Settings.read().signing_key.get_secret_value()
    if not secret:
        return None
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(_bytes(secret, "RETAIN_SIGNING_KEY")).sign(_message(files)).hex()


def check(manifest: Mapping[str, object], place: str) -> Signed:
    """Whether a manifest is signed by the key of the deployment; ``unsigned`` or ``unchecked`` where it has none.

    Raises:
        IntegrityError: there is a key, and the manifest is unsigned or signed by another.
        ConfigError: the key is no ed25519 key.
    """
    found, files = manifest.get("signature"), manifest.get("files")
    public = _public(Settings.read())
    if public is None:
        return "unsigned" if found is None else "unchecked"
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if not isinstance(found, str) or not isinstance(files, dict):
        raise IntegrityError(f"{place}: it is unsigned, and this deployment demands a signature; make it again with RETAIN_SIGNING_KEY set")
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(bytes.fromhex(found), _message(files))
    except (InvalidSignature, ValueError) as error:
        raise IntegrityError(f"{place}: it is not signed by the key of this deployment; restore it, or make it again") from error
    return "signed"


def is_demanded() -> bool:
    """Whether what is unsigned is refused."""
    return _public(Settings.read()) is not None


def checked(folder: Path) -> Signed:
    """``check`` of a finished folder's manifest."""
    found = read_json(folder / MANIFEST)
    return check(found if isinstance(found, dict) else {}, folder.name)


def counted(folders: Iterable[Path]) -> dict[str, int]:
    """How many finished folders are signed, unsigned, or refused by this deployment."""
    found: Counter[str] = Counter()
    for folder in folders:
        try:
            found[checked(folder)] += 1
        except (IntegrityError, DataError):
            found["refused"] += 1
    return dict(sorted(found.items()))


def pair(random: bytes) -> tuple[str, str]:
    """A new pair of keys from 32 random bytes, in hex: what signs, and what checks."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return random.hex(), Ed25519PrivateKey.from_private_bytes(random).public_key().public_bytes_raw().hex()


def _public(settings: Settings) -> bytes | None:
    if settings.verify_key:
        return _bytes(settings.verify_key, "RETAIN_VERIFY_KEY")
    secret = settings.signing_key.get_secret_value()
    return bytes.fromhex(pair(_bytes(secret, "RETAIN_SIGNING_KEY"))[1]) if secret else None


def _bytes(text: str, name: str) -> bytes:
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != 32:
        raise ConfigError(f"environment variable {name}: 64 hexadecimal digits are expected; `retain keys pair` makes a pair", field=name)
    return value


def _message(files: Mapping[str, str]) -> bytes:
    return PURPOSE + json.dumps(dict(files), sort_keys=True, ensure_ascii=False).encode()
