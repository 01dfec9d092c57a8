"""A shop small enough to count by hand: six customers, four items, models that are plain formulas."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from serving.answers import Answers
from serving.champions import Champions, Scorer
from serving.decisions import drivers
from serving.decisions.causes import Causes
from serving.decisions.facts import Estimate, Item, Offer, Shop
from serving.decisions.figures import Known
from serving.decisions.policy import Policy
from serving.decisions.signals import SIGNALS
from serving.decisions.value_parts import KINDS
from serving.desk import Desk
from serving.ledger import Ledger
from serving.rows import SCHEMA_VERSION, Rows, RowsCard

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
T = TypeVar("T")


@dataclass(frozen=True)
class Column:
    """A model that answers with one of its columns."""

    columns: tuple[str, ...]
    place: int

    def predict(self, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.asarray(x[:, self.place].copy())

    def save(self, folder: Path) -> None:
        raise AssertionError(folder)


def micros(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000


PEOPLE = {
    # id: consents, (do_not_contact, refuses_profiling, is_minor, credit blocked), churn, clv, owned {item: (orders, days)}
    "ann": ("*:*", (0, 0, 0, 0), 0.2, 100.0, {"bread": (5, 3), "milk": (2, 30)}),
    "bob": ("email:marketing", (0, 0, 0, 0), 0.9, 50.0, {"bread": (1, 40)}),
    "cid": ("", (0, 0, 0, 0), 0.5, 200.0, {"milk": (1, 10)}),
    "dee": ("*:*", (1, 0, 0, 0), 0.5, 400.0, {"milk": (1, 10)}),
    "eve": ("*:*", (0, 1, 0, 0), 0.5, 300.0, {"milk": (1, 10)}),
    "fay": ("*:*", (0, 0, 1, 0), 0.5, 300.0, {"milk": (1, 10)}),
    "gus": ("*:*", (0, 0, 0, 0), np.nan, np.nan, {}),
}
NAMES = ("bread", "jam", "milk", "tea")


def shop(**changes: Any) -> Shop:
    items = {
        "bread": Item("bread", "Bread", 0.5, 2.0, 1.0, "observed"),
        "jam": Item("jam", "Jam", 0.2, 4.0, 2.0, "observed"),
        "milk": Item("milk", "Milk", 0.4, 1.5, 0.5, "observed"),
        "tea": Item("tea", "Tea", 0.1, 6.0, 3.0, "assumed"),
    }
    values: dict[str, Any] = {
        "moment": NOW,
        "items": items,
        "popular": ("bread", "milk", "jam", "tea"),
        "offers": (),
        "horizon_days": 28,
        "currency": "EUR",
        "contact_cost": {"email": 0.01, "call_center": 3.0},
        "margin_rate": 0.5,
        "margin_basis": "observed",
    }
    return Shop(**{**values, **changes})


def rows(shop: Shop, contacts: dict[str, list[tuple[datetime, str | None, str | None]]] | None = None) -> Rows:
    people = sorted(PEOPLE)
    vocabulary: dict[str, tuple[str, ...]] = {
        "consents": tuple(dict.fromkeys(PEOPLE[each][0] for each in people)),
        "unsubscribed": ("",),
        "relation": ("general",),
        "region": ("north",),
        "country": ("NL",),
        "time_zone": ("Europe/Amsterdam",),
        "relation_level": ("basic",),
        "preferred_channel": ("email",),
        "channel": ("email", "call_center"),
        "offer_id": ("once", "spring"),
        "band": ("vip", "small", "inactive"),
        "stage": ("mature", "potential"),
        "profile__tier": ("gold", "silver"),
        "cause_rule": tuple(rule.name for rule in Causes().rules),
        "sign": tuple(signal.code for signal in SIGNALS),
    }
    own = [(NAMES.index(item), orders, days) for each in people for item, (orders, days) in sorted(PEOPLE[each][4].items())]
    sent = [entry for each in people for entry in (contacts or {}).get(each, [])]
    count = len(people)

    def starts(sizes: list[int]) -> np.ndarray[Any, Any]:
        return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    def code(name: str, word: str | None) -> int:
        return -1 if word is None else vocabulary[name].index(word)

    def listed(purpose: str) -> np.ndarray[Any, Any]:
        result = np.full((count, 50), -1, dtype=np.int32)
        for place, each in enumerate(people):
            owned = sorted(PEOPLE[each][4], key=lambda item: -PEOPLE[each][4][item][0])
            new = [item for item in ("jam", "tea", "bread", "milk") if item not in owned] if owned else []
            chosen = {"new": new, "repeat": owned, "all": [*owned, *new]}[purpose]
            result[place, : len(chosen)] = [NAMES.index(item) for item in chosen]
        return result

    recency = {each: min((days for _, days in PEOPLE[each][4].values()), default=np.nan) for each in people}
    raw = np.array([[PEOPLE[each][2], PEOPLE[each][3], index % 2, recency[each], 7.0] for index, each in enumerate(people)], dtype=np.float64)
    columns = ("churn", "clv", "profile__tier", "purchases__days_since_order_365d", "gaps__mean_gap_days_365d")
    signs = drivers.by_rules(Known(dict(zip(columns, raw.T, strict=True)), {}, count))
    habits = np.full((count, 9), np.nan)
    habits[:, 0] = list(recency.values())
    habits[:, 2] = 7.0
    arrays: dict[str, Any] = {
        "ids": np.array([each.encode() for each in people]),
        "raw": raw,
        "is_known": np.isfinite(raw[:, 0]),
        "is_stale": np.zeros(count, dtype=bool),
        "is_active": np.isfinite(raw[:, 0]),
        "age_s": np.where(np.isfinite(raw[:, 0]), 3600.0, np.nan),
        "scores": raw[:, :2],
        **{name: np.full(count, -1, dtype=np.int16) for name in ("cause", "cause_rule", "cause_recorded")},
        "cause_value": np.full(count, np.nan),
        "cause_at": np.full(count, -1, dtype=np.int64),
        "parts": np.full((count, len(KINDS)), np.nan),
        "sign": signs.signal,
        "sign_weight": signs.weight,
        "sign_figures": signs.figures,
        "band": np.where(np.isfinite(raw[:, 0]), 1, 2).astype(np.int32),
        "stage": np.where(np.isfinite(raw[:, 0]), 0, 1).astype(np.int32),
        "flags": np.array([(*PEOPLE[each][1], 0) for each in people], dtype=bool),
        "credit_limit": np.full(count, np.nan),
        "birth_year": np.zeros(count, dtype=np.int32),
        "complaint": np.full(count, -1, dtype=np.int64),
        "habits": habits,
        "consents": np.array([code("consents", PEOPLE[each][0]) for each in people], dtype=np.int32),
        "unsubscribed": np.zeros(count, dtype=np.int32),
        **{name: np.zeros(count, dtype=np.int32) for name in ("relation", "region", "country", "time_zone", "relation_level", "preferred_channel")},
        "contacts.start": starts([len((contacts or {}).get(each, [])) for each in people]),
        "contacts.micros": np.array([micros(at) for at, _, _ in sent], dtype=np.int64),
        "contacts.channel": np.array([code("channel", channel) for _, channel, _ in sent], dtype=np.int32),
        "contacts.offer_id": np.array([code("offer_id", offer) for _, _, offer in sent], dtype=np.int32),
        "taken.start": starts([1 if each == "ann" else 0 for each in people]),
        "taken.offer_id": np.array([0], dtype=np.int32),
        "owned.start": starts([len(PEOPLE[each][4]) for each in people]),
        "owned.item": np.array([item for item, _, _ in own], dtype=np.int32),
        "owned.orders": np.array([orders for _, orders, _ in own], dtype=np.int32),
        "owned.days": np.array([days for _, _, days in own], dtype=np.int32),
        **{f"list_{purpose}": listed(purpose) for purpose in ("all", "new", "repeat")},
    }
    share = [Estimate(0.5 / rank, 0.4 / rank, 0.6 / rank) for rank in range(1, 51)]
    card = RowsCard(
        schema_version=SCHEMA_VERSION,
        version="hand",
        moment=NOW,
        source="hand",
        title="By hand",
        data_digest="hand",
        columns=columns,
        vocabulary=vocabulary,
        names=NAMES,
        models={"churn": "churn-hand", "clv": "clv-hand", "recommend": "recommend-hand"},
        shares={purpose: [share, share] for purpose in ("all", "new", "repeat")},
        period_days=90,
        figures={signal.code: tuple(signal.figures) for signal in SIGNALS},
    )
    return Rows(card, shop, arrays)


def champions() -> Champions:
    columns = ("churn", "clv")
    where = np.array([0, 1], dtype=np.intp)
    return Champions({"churn": Scorer("churn-hand", Column(columns, 0), where, {}), "clv": Scorer("clv-hand", Column(columns, 1), where, {})})


@pytest.fixture
def make() -> Callable[..., Answers]:
    """Answers of the shop by hand, with changes to the shop, contacts, or the policy."""

    def build(*, offers: tuple[Offer, ...] = (), contacts: Any = None, policy: Policy | None = None, **changes: Any) -> Answers:
        changed = shop(offers=offers, **changes)
        return Answers(rows(changed, contacts), champions(), Policy() if policy is None else policy, lambda: NOW)

    return build


@pytest.fixture
def desk(make: Callable[..., Answers], tmp_path: Path) -> Iterator[Desk]:
    """A desk over the shop by hand with a ledger of its own."""
    desk = Desk(make(), Ledger(tmp_path / "ledger"))
    yield desk
    desk.close()


@pytest.fixture
def wait() -> Callable[[Awaitable[T]], T]:
    """Run a coroutine to its end."""

    async def run(work: Awaitable[T]) -> T:
        return await work

    return lambda work: asyncio.run(run(work))


@pytest.fixture
def now() -> datetime:
    """The clock of the shop by hand: Tuesday noon."""
    return NOW


@pytest.fixture
def days() -> Callable[[float], timedelta]:
    return lambda count: timedelta(days=count)
