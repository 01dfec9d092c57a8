"""What many decisions rest on alike, kept once by its hash: the shop, the rules of the house, the columns of the features.

``grounds/<hash>.json`` lies beside the log. A receipt names it, so that a decision can be made again when rows, offers and rules are others.
An offer may name whom it is for. Where such a customer was erased, a note of what stands for it now lies under the hash of before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Iterator
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
_NOTE_BYTES = 200
"""No note is longer."""


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


class Swept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What lies where the erased were named."""

    swept: str
    """Hash of the same without them. No decision about anybody else rested on them."""


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
        IntegrityError: a file is missing or was changed, or the erased went from it: others know it by its hash only.
    """
    content = _kept_as(folder, digest)
    return {**{name: _kept_as(folder, name) for name in named(content)}, digest: content}


def put(folder: Path, digest: str, content: bytes) -> bool:
    """Keep what another machine kept under a hash; what has another hash is not kept."""
    return hashlib.sha256(content).hexdigest() == digest and _kept(folder, content) == digest


def naming(folder: Path, wanted: Container[str]) -> Iterator[tuple[Path, Shop]]:
    """Files of shops with an offer that is for one of these customers by name, and the shops."""
    for path in sorted((folder / FOLDER).glob("*.json")):
        content = path.read_bytes()
        if b'"audience":["' in content:
            shop = msgspec.json.decode(content, type=Shop)
            if named_in(shop, wanted):
                yield path, shop


def sweep(folder: Path, buried: Container[str]) -> int:
    """Take the erased out of whom kept offers are for; return how many files named one. Whatever rested on these files finds what stands now."""
    found = list(naming(folder, buried))
    for path, shop in found:
        now = _kept(folder, msgspec.json.encode(without(shop, buried), order="deterministic"))
        with atomic_path(path) as partial:
            partial.write_bytes(msgspec.json.encode(Swept(now)))
    return len(found)


def named_in(shop: Shop, wanted: Container[str]) -> int:
    """How often offers of a shop are for one of these customers by name."""
    return sum(each in wanted for offer in shop.offers for each in offer.audience or ())


def without(shop: Shop, buried: Container[str]) -> Shop:
    """The same shop, whose offers are for none of these by name; an offer that was for them only is for nobody."""
    offers = [
        offer if offer.audience is None else msgspec.structs.replace(offer, audience=tuple(each for each in offer.audience if each not in buried))
        for offer in shop.offers
    ]
    return msgspec.structs.replace(shop, offers=tuple(offers))


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
    """What is kept under a hash, or what stands for it since somebody was erased."""
    notes = set[str]()
    while (note := _note(folder, digest)) is not None and digest not in notes:
        notes.add(digest)
        digest = note.swept
    return _kept_as(folder, digest)


def _note(folder: Path, digest: str) -> Swept | None:
    path = folder / FOLDER / f"{digest}.json"
    if not path.is_file() or path.stat().st_size > _NOTE_BYTES:
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=Swept)
    except msgspec.DecodeError:
        return None


def _kept_as(folder: Path, digest: str) -> bytes:
    path = folder / FOLDER / f"{digest}.json"
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != digest:
        raise IntegrityError(f"ledger/{FOLDER}/{digest[:12]}...json is missing or was changed; restore it from a backup, decisions rest on it")
    return content
