"""What many decisions rest on alike, kept once by its hash: the shop, the rules of the house, the columns of the features.

``grounds/<hash>.json`` lies beside the log. A receipt names it, so that a decision can be made again when rows, offers and rules are others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec
import numpy as np

from retain import __version__
from retain.errors import IntegrityError
from retain.files import atomic_path
from serving.decisions.facts import Shop
from serving.decisions.policy import Policy
from serving.rows import Rows

FOLDER = "grounds"


class Grounds(msgspec.Struct, frozen=True):
    """What a receipt shares with others."""

    release: str
    """The release that decided."""
    shop: str
    """Hash of the shop."""
    policy: str
    """Hash of the rules."""
    policy_version: str
    rows: str
    """Version of the serving rows."""
    moment: datetime
    """When the rows were published; everything in them was known before."""
    data_digest: str
    """Version of the tables behind the rows."""
    columns: tuple[str, ...]
    """Columns of the features, as ``view__column``."""
    vocabulary: dict[str, tuple[str, ...]]
    """Words of the columns that hold words."""
    views: dict[str, str]
    """Feature views, and the version that computed them."""
    models: dict[str, str | None]


@dataclass(frozen=True)
class Opened:
    """Grounds with what they name."""

    grounds: Grounds
    shop: Shop
    policy: Policy

    def features(self, kept: bytes) -> dict[str, float | str]:
        """A receipt's features by name; what was null is left out."""
        values = np.frombuffer(kept, dtype=np.float64).tolist()
        words = self.grounds.vocabulary
        named = zip(self.grounds.columns, values, strict=True) if kept else ()
        return {name: words[name][int(value)] if name in words else value for name, value in named if value == value}

    def times(self, kept: bytes) -> dict[str, dict[str, str]]:
        """By view: when its features were true, and when the service knew them."""
        known_at = self.grounds.moment.isoformat()
        at = zip(self.grounds.views, np.frombuffer(kept, dtype="datetime64[us]").tolist(), strict=True) if kept else ()
        return {view: {"event_at": f"{moment.isoformat()}+00:00", "known_at": known_at} for view, moment in at if moment.year > 1969}


def keep(folder: Path, rows: Rows, policy: Policy) -> str:
    """Keep what decisions on these rows and rules share; return its hash. What is kept already is not written again."""
    card = rows.card
    shop = _kept(folder, msgspec.json.encode(rows.shop, order="deterministic"))
    rules = _kept(folder, policy.model_dump_json(by_alias=True).encode())
    words = {name: card.vocabulary[name] for name in card.columns if name in card.vocabulary}
    grounds = Grounds(
        __version__, shop, rules, policy.version, card.version, card.moment, card.data_digest, card.columns, words, card.views, dict(card.models)
    )
    return _kept(folder, msgspec.json.encode(grounds, order="deterministic"))


def is_kept(folder: Path, digest: str) -> bool:
    """Whether grounds and what they name lie here."""
    path = folder / FOLDER / f"{digest}.json"
    return path.is_file() and all((folder / FOLDER / f"{name}.json").is_file() for name in named(path.read_bytes()))


def named(content: bytes) -> tuple[str, str]:
    """Hashes of the shop and of the rules that grounds name."""
    found = msgspec.json.decode(content, type=Grounds)
    return found.shop, found.policy


def contents(folder: Path, digest: str) -> dict[str, bytes]:
    """Grounds and what they name, by hash, what is named first.

    Raises:
        IntegrityError: a file is missing or was changed.
    """
    content = _read(folder, digest)
    return {**{name: _read(folder, name) for name in named(content)}, digest: content}


def put(folder: Path, digest: str, content: bytes) -> bool:
    """Keep what another machine kept under a hash; what has another hash is not kept."""
    return hashlib.sha256(content).hexdigest() == digest and _kept(folder, content) == digest


def opener(folder: Path) -> Callable[[str], Opened]:
    """Opens grounds by hash, each once.

    The function raises IntegrityError where a file is missing or was changed.
    """
    opened: dict[str, Opened] = {}

    def find(digest: str) -> Opened:
        if digest not in opened:
            grounds = msgspec.json.decode(_read(folder, digest), type=Grounds)
            shop = msgspec.json.decode(_read(folder, grounds.shop), type=Shop)
            policy = Policy.model_validate_json(_read(folder, grounds.policy))
            # A release that adds a rule gives the same rules another version: answers name the one they were made by.
            policy.__dict__["version"] = grounds.policy_version
            opened[digest] = Opened(grounds, shop, policy)
        return opened[digest]

    return find


def _kept(folder: Path, content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    path = folder / FOLDER / f"{digest}.json"
    if not path.is_file():
        with atomic_path(path) as partial:
            partial.write_bytes(content)
    return digest


def _read(folder: Path, digest: str) -> bytes:
    path = folder / FOLDER / f"{digest}.json"
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != digest:
        raise IntegrityError(f"ledger/{FOLDER}/{digest[:12]}...json is missing or was changed; restore it from a backup, decisions rest on it")
    return content
