"""One checked, precomputed row per customer: published as a whole, opened memory-mapped, read without Feast, SQL or pandas.

``rows/<version>/`` holds arrays, the shop, the card and the manifest of hashes; ``rows/current.json`` points to it and names the version
before, which is kept. No file of it can run code.
"""

from __future__ import annotations

import copy
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache, partial
from math import isnan
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from retain.erasure import Tombstones
from retain.errors import IntegrityError, NotReadyError
from retain.files import read_json, verify_folder
from retain.signing import checked
from retain.tables import CAUSES
from retain.workspace import Workspace
from serving import fixed
from serving.decisions import drivers
from serving.decisions.facts import WORDS, Contact, Customer, Effect, Estimate, Habits, Liking, Owned, Scores, Shop, Sign
from serving.decisions.signals import BY_CODE
from serving.decisions.value_parts import KINDS, PURCHASE, Priced
from serving.effects import Treatments, in_money
from serving.newcomers import Segments, likings
from training.contracts import Floats

POINTER = "current.json"
SCHEMA_VERSION = 4
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CANDIDATES = 20
"""Items of each list that a decision looks at."""
DAY_S = 86_400.0
_NOTHING: frozenset[str] = frozenset()
RECENT = 50
"""Most contacts of a customer that limits look at; the latest count."""
SEGMENTS_KEPT = 512
"""Sets of segments whose list of items is kept in memory: some kilobytes each."""


@dataclass(frozen=True)
class Fed:
    """How far the ledger had flowed back into the tables (``retain feedback``)."""

    since: tuple[int, int]
    """Place in the log before which everything flowed back."""
    until: tuple[int, int]
    """Place in the log behind which nothing did."""
    at: datetime
    """Between the two, what had happened and was known before this moment, and whose customer was known, did."""


@dataclass(frozen=True)
class RowsCard:
    """What stands on the card of published rows."""

    schema_version: int
    version: str
    moment: datetime
    """Everything in the rows was known before it."""
    source: str
    title: str
    data_digest: str
    columns: tuple[str, ...]
    """Raw feature columns, as ``view__column``."""
    vocabulary: dict[str, tuple[str, ...]]
    """Words of each feature column that holds words, and of ``consents``, ``relation`` and the like."""
    names: tuple[str, ...]
    """Item ids by position in the lists."""
    models: dict[str, str | None]
    """Model behind the stored scores and lists, by task."""
    shares: dict[str, list[list[Estimate]]]
    """By purpose: share bought by rank, of all and of those who buy."""
    period_days: int
    degraded: tuple[str, ...] = ()
    typical: dict[str, float] = field(default_factory=dict)
    """Medians of features over all customers whose features are known: what sentences compare with."""
    figures: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By code of a sign: the names of its figures, in the order in which the rows hold them."""
    reasons: drivers.Basis = "rules"
    """What ranks the signs of a customer: the churn model's own contributions, or rules where it has none."""
    parts: dict[str, Priced] = field(default_factory=dict)
    """The parts of value besides purchases: prices and coverage."""
    views: dict[str, str] = field(default_factory=dict)
    """Feature views behind the columns, and the version that computed them; ``features_at`` has their times in this order."""
    fed: Fed | None = None
    """What of the ledger the tables behind the rows know; None where they know nothing of it."""
    effects: Treatments = field(default_factory=Treatments)
    """What the effects on the rows are of."""
    wishes: dict[str, float | int | None] = field(default_factory=dict)
    """What the shop wished of the lists when they were made: the values of ``training.controls.Controls``."""
    segments: Segments = field(default_factory=Segments)
    """Which segments customers without history are looked up in."""


_FLAGS, _SCORES, _HABITS = fixed.PLACES["flags"], fixed.PLACES["scores"], fixed.PLACES["habits"]
_SIGN, _SIGN_WEIGHT = fixed.PLACES["sign"], fixed.PLACES["sign_weight"]
_WORDS = slice(fixed.PLACES[WORDS[0]].start, fixed.PLACES[WORDS[-1]].stop)
_IS_KNOWN, _IS_STALE, _AGE_S, _BAND, _STAGE = map(fixed.place, ("is_known", "is_stale", "age_s", "band", "stage"))
_CONSENTS, _UNSUBSCRIBED, _COMPLAINT, _CAUSE = map(fixed.place, ("consents", "unsubscribed", "complaint", "cause"))
_BIRTH_YEAR, _CREDIT_LIMIT, _SIGN_FIGURES = map(fixed.place, ("birth_year", "credit_limit", "sign_figures"))
_OWNED, _CONTACTS, _TAKEN = range(fixed.PLACES[fixed.COUNTS].start, fixed.PLACES[fixed.COUNTS].stop)
"""How many entries there are, in the order of ``fixed.RAGGED``."""


class Row(msgspec.Struct, frozen=True):
    """One customer's row."""

    rows: Rows
    position: int
    customer_id: str
    record: tuple[Any, ...]
    """What every decision reads, by ``serving.fixed.PLACES``."""

    @property
    def raw(self) -> Floats:
        """(1, columns) features as they are; words as positions in the vocabulary."""
        return np.asarray(self.rows.arrays["raw"][self.position : self.position + 1])

    def features(self) -> dict[str, float | str]:
        """What is known of the raw features, by name; words as words."""
        words = self.rows.card.vocabulary
        values = zip(self.rows.card.columns, self.raw[0].tolist(), strict=True)
        return {name: words[name][int(value)] if name in words else value for name, value in values if value == value}

    @property
    def features_at(self) -> bytes:
        """Event time of each view's features, views by name, in microseconds since 1970 (int64); -1 where there was none."""
        rows = self.rows
        if not rows.card.views:
            return b""
        at: NDArray[np.int64] = rows.arrays["features_at"][self.position]
        return (at if rows.views_order is None else at[rows.views_order]).tobytes()

    @property
    def has_features(self) -> bool:
        """Whether the feature store knew the customer."""
        return bool(self.record[_IS_KNOWN])

    @property
    def age_s(self) -> float | None:
        """Age of the oldest feature when the rows were published."""
        age: float = self.record[_AGE_S]
        return None if isnan(age) else age

    @property
    def is_stale(self) -> bool:
        """Whether a feature was older than its time to live when the rows were published."""
        return bool(self.record[_IS_STALE])

    @property
    def stored(self) -> Scores:
        """The scores that were made when the rows were published."""
        churn, clv = self.record[_SCORES]
        words = self.rows.card.vocabulary
        # Only NaN differs from itself.
        churn, clv = churn if churn == churn else None, clv if clv == clv else None
        return Scores(churn, clv, words["band"][self.record[_BAND]], words["stage"][self.record[_STAGE]])

    def likings(self, purpose: str, churn: float | None, most: int) -> tuple[Liking, ...]:
        """The first items of a ranked list; with a churn score the share is that of buyers, times the chance to be one.

        Who has bought nothing has no list: what the customer's segments buy answers, and nothing where repeats are asked for.
        """
        if not self.has_history:
            return () if purpose == "repeat" else self.rows.likings_of(self.segment_rows, most)
        names = self.rows.card.names
        found = self.rows.arrays[f"list_{purpose}"][self.position, :most].tolist()
        factor = 1.0 if churn is None else 1.0 - churn
        by_rank = self.rows.by_rank[purpose][0 if churn is None else 1]
        return tuple(
            [
                Liking(names[item], rank, Estimate(value * factor, low * factor, high * factor))
                for item, (rank, value, low, high) in zip(found, by_rank, strict=False)
                if item >= 0
            ]
        )

    def effects(self, clv: float | None) -> dict[str, Effect]:
        """What is known of what treatments change, in money."""
        known = self.rows.card.effects
        return in_money(known, self.rows.arrays["effect"][self.position].tolist(), clv, self.rows.shop.margin_rate) if known.names else {}

    @property
    def has_history(self) -> bool:
        """Whether the customer ever bought anything."""
        return bool(self.record[_OWNED])

    @property
    def segments(self) -> dict[str, str]:
        """Column -> word, of the segments that the customer is in."""
        return self.rows.card.segments.words(self.segment_rows)

    @property
    def segment_rows(self) -> list[int]:
        """Rows of the segments' table that the customer is in, column by column; -1 is none."""
        return list(self.rows.arrays["segment"][self.position].tolist()) if self.rows.card.segments.cells else []

    def habits(self) -> Habits:
        """How the customer buys."""
        figures: list[Any] = [value if value == value else None for value in self.record[_HABITS]]
        figures.append(self.rows.card.period_days)
        return Habits(*figures)

    def value_parts(self, purchase: float) -> dict[str, float]:
        """What the customer is worth by part: purchases as predicted, and the parts that are on and have data."""
        more = zip(KINDS, self.rows.arrays["parts"][self.position].tolist(), strict=True)
        return {PURCHASE: purchase, **{name: amount for name, amount in more if not np.isnan(amount)}}

    def signs(self) -> tuple[Sign, ...]:
        """Why the customer may leave, strongest first; a day is named where the features are older than the rows."""
        rows, values = self.rows, self.record
        places = values[_SIGN]
        if places[0] < 0:
            return ()
        age = self.age_s or 0.0
        as_of = rows.card.moment - timedelta(seconds=age) if age >= DAY_S else None
        found = []
        for number, (place, weight) in enumerate(zip(places, values[_SIGN_WEIGHT], strict=True)):
            if place >= 0 and (code := rows.spoken[place]) is not None:
                start = _SIGN_FIGURES + number * drivers.WIDTH
                found.append(drivers.sign(code, weight, values[start : start + drivers.WIDTH], as_of))
        return tuple(found)

    def customer(self, at: datetime, scores: Scores, *, explain: bool = False, purposes: Iterable[str] | None = None) -> Customer:
        """What the rules may know of the customer: all ranked lists or those for some purposes; with ``explain`` also why one may leave."""
        rows, values = self.rows, self.record
        card, names, words = rows.card, rows.card.names, rows.card.vocabulary
        do_not_contact, refuses_profiling, is_minor, is_credit_blocked, is_vulnerable = values[_FLAGS]
        relation, region, country, zone, level, preferred = [
            None if code < 0 else words[name][code] for name, code in zip(WORDS, values[_WORDS], strict=True)
        ]
        consents, unsubscribed = values[_CONSENTS], values[_UNSUBSCRIBED]
        complaint, born, limit, cause = values[_COMPLAINT], values[_BIRTH_YEAR], values[_CREDIT_LIMIT], values[_CAUSE]
        passed_days = max((at - card.moment).days, 0)
        owned = rows.entries("owned", self.position, ("item", "orders", "days")) if values[_OWNED] else ()
        wanted = card.shares if purposes is None else purposes
        # By place, in the order of the fields: with more than fifteen names Python would make a dictionary of them first, at thrice the price.
        return Customer(
            self.customer_id,
            _NOTHING if consents < 0 else _names(words["consents"][consents]),
            do_not_contact,
            refuses_profiling,
            is_minor,
            is_vulnerable,
            is_credit_blocked,
            None if isnan(limit) else limit,
            relation,
            region,
            country,
            born if born > 0 else None,
            zone,
            level,
            preferred,
            None if complaint < 0 else _moment(complaint),
            _NOTHING if unsubscribed < 0 else _names(words["unsubscribed"][unsubscribed]),
            self._contacts() if values[_CONTACTS] else (),
            self._accepted() if values[_TAKEN] else _NOTHING,
            {},
            {names[item]: Owned(orders, days + passed_days) for item, orders, days in owned},
            self.habits(),
            self.signs() if explain else (),
            None if cause < 0 else CAUSES[cause],
            scores,
            {purpose: self.likings(purpose, scores.churn, CANDIDATES) for purpose in wanted},
            self.effects(scores.clv),
        )

    def _contacts(self) -> tuple[Contact, ...]:
        rows = self.rows
        found = rows.entries("contacts", self.position, ("micros", "channel", "offer_id"))[-RECENT:]
        return tuple(
            [Contact(_moment(at), rows.vocabulary_word("channel", channel), rows.vocabulary_word("offer_id", offer)) for at, channel, offer in found]
        )

    def _accepted(self) -> frozenset[str]:
        words = self.rows.card.vocabulary["offer_id"]
        return frozenset([words[offer] for (offer,) in self.rows.entries("taken", self.position, ("offer_id",))])


class Rows:
    """The published rows of a workspace, opened once; safe to share between threads, because nothing here changes."""

    def __init__(self, card: RowsCard, shop: Shop, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.card = card
        self.shop = shop
        self.tombstones: Tombstones | None = None
        """Of whoever was erased since the rows were published; None where nobody was."""
        self.arrays, self._records = fixed.opened(arrays)
        """By name."""
        self._ids = self.arrays["ids"]
        self._place = {name: position for position, name in enumerate(card.columns)}
        names = list(card.views)
        # What is the same for everybody of the same segments is reckoned once; it took a third of a decision about a newcomer.
        table = self.arrays.get("segments.share", np.zeros((0, 0), dtype=np.float32))
        self._of_segments = lru_cache(SEGMENTS_KEPT)(partial(likings, card.segments, table))
        self.views_order = None if names == sorted(names) else np.argsort(names)
        """Where the times of each view stand, views by name as grounds list them; None where they stand so."""

    def __len__(self) -> int:
        return len(self._ids)

    @classmethod
    def open(cls, folder: Path) -> Rows:
        """Open one version, after its hashes hold.

        Raises:
            IntegrityError: a file is missing, changed or of a newer release.
        """
        listed = verify_folder(folder)
        checked(folder)
        try:
            card = msgspec.json.decode((folder / "card.json").read_bytes(), type=RowsCard)
            shop = msgspec.json.decode((folder / "shop.json").read_bytes(), type=Shop)
            arrays = {name[:-4]: np.load(folder / name, mmap_mode="r", allow_pickle=False) for name in listed if name.endswith(".npy")}
            if card.schema_version == SCHEMA_VERSION and fixed.NAME not in arrays:
                raise ValueError(f"{fixed.NAME}.npy is missing")
            rows = cls(card, shop, arrays) if card.schema_version == SCHEMA_VERSION else None
        except (msgspec.DecodeError, ValueError, KeyError, OSError) as error:
            raise IntegrityError(f"{folder.name}: the rows cannot be read ({error}); run `retain publish`") from error
        if rows is None:
            raise IntegrityError(f"{folder.name}: rows of schema {card.schema_version}, this release reads {SCHEMA_VERSION}; run `retain publish`")
        lengths = {len(array) for name, array in arrays.items() if "." not in name}
        if lengths - {len(arrays["ids"])}:
            raise IntegrityError(f"{folder.name}: its arrays have different lengths; run `retain publish`")
        return rows

    def get(self, customer_id: str) -> Row | None:
        """The row of a customer; None where nobody is known under that id."""
        key = customer_id.encode("utf-8", "surrogatepass")
        position = bisect_left(self._ids, key)
        if position == len(self._ids) or self._ids[position] != key or (self.tombstones is not None and customer_id in self.tombstones):
            return None
        return self._row(position, customer_id)

    def row(self, position: int) -> Row:
        """The row at a position."""
        return self._row(position, self.id(position))

    def _row(self, position: int, customer_id: str) -> Row:
        return Row(self, position, customer_id, fixed.read(self._records, position * fixed.SIZE))

    def positions(self, customer_ids: Sequence[str]) -> NDArray[np.intp]:
        """Where those of some customers stand who are known; looked up all at once."""
        keys = [each.encode("utf-8", "surrogatepass") for each in customer_ids if self.tombstones is None or each not in self.tombstones]
        # A longer key than any would make a wider copy of all.
        asked = np.array([each for each in keys if len(each) <= self._ids.itemsize], dtype=self._ids.dtype)
        if not len(self._ids) or not len(asked):
            return np.empty(0, dtype=np.intp)
        found = np.minimum(np.searchsorted(self._ids, asked), len(self._ids) - 1)
        known: NDArray[np.intp] = found[self._ids[found] == asked]
        return known

    def burying(self, buried: Tombstones | None) -> Rows:
        """The same rows, in which nobody who was erased since is known any more."""
        other = copy.copy(self)
        other.tombstones = buried or None
        other.__dict__.pop("buried", None)
        return other

    @cached_property
    def spoken(self) -> list[str | None]:
        """By position, the code of each sign of the rows; None of one that this release does not know, or says with other figures."""
        known = {code for code, signal in BY_CODE.items() if self.card.figures.get(code) == tuple(signal.figures)}
        return [code if code in known else None for code in self.card.vocabulary.get("sign", ())]

    @cached_property
    def by_rank(self) -> dict[str, list[list[tuple[int, float, float, float]]]]:
        """By purpose, of all and of those who buy: each rank from 1 with the share that buys what stands there, and its interval."""
        return {
            purpose: [[(rank, *p.triple) for rank, p in enumerate(listed, start=1)] for listed in both] for purpose, both in self.card.shares.items()
        }

    @cached_property
    def buried(self) -> NDArray[np.bool_]:
        """(customers,) who was erased since the rows were published."""
        buried = self.tombstones
        return np.array([buried is not None and self.id(place) in buried for place in range(len(self))], dtype=bool)

    def id(self, position: int) -> str:
        """The customer at a position."""
        return bytes(self._ids[position]).decode()

    @property
    def names(self) -> Collection[str]:
        """Names of the arrays."""
        return self.arrays.keys()

    def array(self, name: str) -> NDArray[Any]:
        """One array by name."""
        return self.arrays[name]

    def features(self, names: Sequence[str], where: slice | NDArray[np.intp]) -> dict[str, Floats]:
        """Raw features of some customers by column, those that the rows hold."""
        raw = self.arrays["raw"]
        return {name: raw[where, self._place[name]] for name in names if name in self._place}

    def segment_likings(self, words: Mapping[str, str], most: int) -> tuple[Liking, ...]:
        """What customers with these words in their profile buy, for one without history; empty where none of them is a segment."""
        return self.likings_of(list(self.card.segments.rows(words).values()), most)

    def likings_of(self, segments: Sequence[int], most: int) -> tuple[Liking, ...]:
        """The same by the rows of the segments' table, column by column; -1 is none."""
        found = tuple([row for row in segments if row >= 0])
        return self._of_segments(found, most) if found else ()

    def vocabulary_word(self, name: str, code: int) -> str | None:
        """A word by its code; -1 is none."""
        return None if code < 0 else self.card.vocabulary[name][code]

    def entries(self, name: str, position: int, columns: Sequence[str]) -> list[tuple[Any, ...]]:
        """A customer's entries in a ragged table, in its order."""
        start, end = self.arrays[f"{name}.start"][position : position + 2].tolist()
        return list(zip(*[self.arrays[f"{name}.{column}"][start:end].tolist() for column in columns], strict=True)) if end > start else []


def open_rows(workspace: Workspace, open_version: Callable[[Path], Rows] = Rows.open) -> Rows:
    """The rows that the pointer names, or the version before where they do not verify.

    Raises:
        NotReadyError: nothing was published.
        IntegrityError: neither version verifies.
        OSError: neither can be read.
    """
    version, before = versions(workspace)
    try:
        return open_version(version)
    except (IntegrityError, OSError):
        if before is None:
            raise
        return open_version(before)


def versions(workspace: Workspace) -> tuple[Path, Path | None]:
    """Folders of the rows that the pointer names, and of the version before where there is one.

    Raises:
        NotReadyError: nothing was published.
        IntegrityError: the pointer names nothing.
    """
    pointer = workspace.rows / POINTER
    if not pointer.is_file():
        raise NotReadyError(f"the workspace {workspace.root} has no serving rows; run `retain publish` first")
    named = read_json(pointer)
    if not isinstance(named, dict) or not isinstance(named.get("version"), str):
        raise IntegrityError(f"{POINTER} of the serving rows names no version; run `retain publish`")
    return workspace.rows / named["version"], workspace.rows / named["previous"] if named.get("previous") else None


@lru_cache(maxsize=4096)
def _names(word: str) -> frozenset[str]:
    """What a word with commas names; few differ."""
    return frozenset(word.split(",")) - {""}


def _moment(micros: int) -> datetime:
    return EPOCH + timedelta(microseconds=micros)
