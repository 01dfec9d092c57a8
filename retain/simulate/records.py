"""What the company keeps on file: customers in versions, contracts, products and offers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from retain.simulate.behaviour import Life
from retain.simulate.columns import Clock, Rows, joined, numbered, where, words
from retain.simulate.draws import Draws, Integers
from retain.simulate.market import CATEGORIES, CHANNELS, DELIVERY_FEE, DEPARTMENTS, OFFERS, Market
from retain.simulate.people import AGE_BANDS, CONSENTS, INCOME_BANDS, LIFESTYLES, REGIONS, SOURCES, TIERS, People, acquisition_cost
from retain.tables import CAUSES

_JOIN_S = 4 * 3600
_YEAR = 2025
_INVOLUNTARY = CAUSES.index("involuntary")
_CAUSE_WEIGHTS = (18, 10, 14, 26, 10, 16, 4, 2)
_PLANS = ("monthly", "yearly")


def customers(who: People, life: Life, clock: Clock, first: int) -> list[Rows]:
    """One version when they joined, one for each consent withdrawn, one for each rise in the programme."""
    count = len(who.number)
    tier = np.where(who.is_member, who.draws.named("tier").choice([70, 22, 8]), -1)
    lift = who.draws.named("rise").below(-first) - -first
    risers = np.flatnonzero((tier >= 0) & (tier < 2) & who.draws.named("rises").chance(0.25) & (lift > who.join_day))
    quits = life.unsubscribed
    person = np.concatenate([np.arange(count), quits.who, risers])
    occurred = np.concatenate([clock.us(who.join_day, _JOIN_S), clock.us(quits.day, 20 * 3600), clock.us(lift[risers], 21 * 3600)])
    mask = np.concatenate([who.consent, life.mask, np.full(len(risers), -1)])
    level = np.concatenate([tier, np.full(len(quits.who), -2), tier[risers] + 1])
    order = np.lexsort((occurred, person))
    person, occurred = person[order], occurred[order]
    # What a version does not change it takes over from the version before; the first one of each customer says everything.
    mask, level = _carried(mask[order], -1), _carried(level[order], -2)
    known = occurred + np.where(numbered(person) > 0, 3600 * 1_000_000, 0)
    return [Rows(person, occurred, known, {**_described(who, person, clock), "consents": _consents(mask), "loyalty_tier": words(level, TIERS)})]


def _carried(values: Integers, unknown: int) -> Integers:
    """The last known value up to each row."""
    return values[np.maximum.accumulate(np.where(values != unknown, np.arange(len(values)), 0))]


def _consents(mask: Integers) -> pa.Array:
    kinds, position = np.unique(mask, return_inverse=True)
    lists = [[name for bit, name in enumerate(CONSENTS) if kind >> bit & 1] for kind in kinds]
    return pa.array(lists, type=pa.list_(pa.string())).take(pa.array(position))


def _described(who: People, person: Integers, clock: Clock) -> dict[str, pa.Array]:
    """Descriptive columns, one row per version."""
    draws = who.draws
    age = np.searchsorted([18, 30, 45, 60, 75], _YEAR - who.birth_year, side="right")
    is_open = draws.named("tells").chance(0.85)
    firm = draws.named("firm").uniform()
    grade = np.digitize(who.income - 0.6 * (who.source == 5) + draws.named("grade").normal(), [0.5, 2.0, 3.2])
    columns = {
        "joined_at": clock.times(who.join_day, _JOIN_S),
        "do_not_contact": pa.array(who.do_not_contact),
        "refuses_profiling": pa.array(draws.named("refuses").chance(0.04)),
        "is_minor": pa.array(_YEAR - who.birth_year < 18),
        "is_vulnerable": pa.array(draws.named("vulnerable").chance(0.02)),
        "relation": words(np.where(firm < 0.03, 1, np.where(firm < 0.04, 2, 0)), ("general", "enterprise", "internal")),
        "relation_level": words(draws.named("level").choice([55, 25, 12, 6, 2]), ("basic", "reactive", "accountable", "proactive", "partner")),
        "acquisition_channel": words(who.source, SOURCES),
        "acquisition_cost": pa.array(acquisition_cost(who)),
        "time_zone": words(np.zeros(len(age), dtype=np.int64), ("Europe/Berlin",)),
        "language": words(draws.named("language").choice([88, 12]), ("de", "en")),
        "preferred_channel": words(np.where(is_open, draws.named("prefers").choice([50, 15, 10, 15, 10]), -1), CHANNELS),
        "region": words(who.region, REGIONS),
        "country": words(draws.named("country").choice([88, 8, 4]), ("DE", "AT", "CH")),
        "gender": words(draws.named("gender").choice([50, 48, 2]), ("female", "male", "other")),
        "age_band": words(np.where(is_open, age, -1), AGE_BANDS),
        "birth_year": where(is_open, who.birth_year),
        "income_band": words(np.where(draws.named("income known").chance(0.7), who.income, -1), INCOME_BANDS),
        "education": words(np.where(is_open, draws.named("education").choice([30, 45, 25]), -1), ("school", "vocational", "university")),
        "home_ownership": words(np.where(is_open, draws.named("home").chance(0.3 + 0.1 * who.income).astype(np.int64), -1), ("rents", "owns")),
        "household_size": where(is_open, who.household),
        "children": where(is_open, np.maximum(who.household - 2, 0)),
        "lifestyle": words(np.where(draws.named("surveyed").chance(0.3), who.lifestyle, -1), LIFESTYLES),
        "profile_grade": words(3 - grade, ("A", "B", "C", "eliminated")),
        "credit_limit": pa.array(200.0 + 150.0 * who.income),
        "is_credit_blocked": pa.array(draws.named("blocked").chance(0.02)),
        "identities": _identities(who),
    }
    return {name: column.take(pa.array(person)) for name, column in columns.items()}


def _identities(who: People) -> pa.Array:
    """The number in the loyalty programme, for its members."""
    card = joined("loyalty:", pa.array(who.number + 70_000_000).cast(pa.string())).filter(pa.array(who.is_member))
    offsets = np.r_[0, np.cumsum(who.is_member)].astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), card)


def end_cause(who: People, life: Life) -> Integers:
    """Why each customer would leave or left, by position in CAUSES."""
    return np.where(life.is_involuntary, _INVOLUNTARY, who.draws.named("end cause").choice(_CAUSE_WEIGHTS))


def subscriptions(who: People, life: Life, ids: pa.Array, clock: Clock) -> list[Rows]:
    """Delivery passes: a version when they start, and one when they end because the customer left."""
    start = who.join_day + 1 + who.draws.named("pass start").below(150)
    end = life.end_day + 1 + who.draws.named("pass end").below(10)
    holders = np.flatnonzero(who.has_pass & (start < 0) & (start < end))
    left = holders[end[holders] < 0]
    parts = []
    for version, chosen in enumerate((holders, left)):
        is_end = np.full(len(chosen), version == 1)
        yearly = who.draws.named("yearly").chance(0.4)[chosen]
        began = clock.us(start[chosen], 11 * 3600)
        occurred = clock.us(end[chosen], 12 * 3600) if version else began
        period = np.where(yearly, 365, 30)
        bonds = {
            name: np.round(who.draws.named(name).take(chosen).uniform(), 2)
            for name in ("switching_risk", "switching_evaluation", "switching_learning", "switching_setup")
        }
        parts.append(Rows(chosen, occurred, occurred, {
            "subscription_id": joined(ids.take(pa.array(chosen)), "-pass"),
            "started_at": clock.times(start[chosen], 11 * 3600),
            "ends_at": clock.times(start[chosen] + period * (1 + np.maximum(-start[chosen], 0) // period), 11 * 3600, where=~is_end | yearly),
            "ended_at": clock.times(end[chosen], 12 * 3600, where=is_end),
            "end_cause": words(np.where(is_end, end_cause(who, life)[chosen], -1), CAUSES),
            "plan": words(yearly.astype(np.int64), _PLANS),
            "price": np.where(yearly, 49.0, 4.9),
            "currency": words(np.zeros(len(chosen), dtype=np.int64), ("EUR",)),
            "period_days": period,
            "is_renewed_automatically": pa.array(~yearly),
            "notice_days": np.where(yearly, 30, 0),
            "exit_fee": np.where(yearly, 10.0, 0.0),
            **bonds,
            "switching_benefits": np.round(40 * who.draws.named("benefits").take(chosen).uniform(), 2),
        }))  # fmt: skip
    return parts


def products(seed: int, shop: Market, clock: Clock) -> pa.Table:
    """The range, in the order of the ids; the last two are a fee and a credit, which nobody may propose."""
    count = len(shop.product_ids)
    extra = count - len(shop.price)
    draws = Draws.seeded(seed, np.arange(count)).named("article")
    paths = [f"{department} > {name}" for department, name, _, _ in CATEGORIES]
    category = np.r_[shop.category, np.full(extra, -1)]
    sells = category >= 0
    launch = np.r_[shop.launch_day, np.full(extra, -3000)]
    retire = np.r_[np.where(shop.retire_day < 0, shop.retire_day, 0), np.zeros(extra, dtype=np.int64)]
    rank = np.arange(count) % shop.per_category + 1
    wine = category == [name for _, name, _, _ in CATEGORIES].index("Wine")
    label = [
        f"{CATEGORIES[kind][1]} {number}" if kind >= 0 else ("Delivery" if number == 1 else "Goodwill")
        for kind, number in zip(category, np.r_[rank[:-extra], 1, 2], strict=True)
    ]
    maker = draws.named("brand").below(30)
    columns = {
        "product_id": pa.array(shop.product_ids),
        "occurred_at": clock.times(launch),
        "known_at": clock.times(launch),
        "name": pa.array(label),
        "category_path": words(category, paths),
        "brand": words(np.where(sells, maker, -1), [f"Brand {number:02d}" for number in range(30)]),
        "manufacturer": words(np.where(sells, maker // 3, -1), [f"Maker {number}" for number in range(10)]),
        "price": np.r_[shop.price, DELIVERY_FEE, 0.0],
        "unit_cost": np.r_[shop.unit_cost, DELIVERY_FEE, 0.0],
        "margin_rate": where(sells, np.r_[shop.margin_rate, np.zeros(extra)]),
        "is_sellable": pa.array(sells),
        "stock": where(sells, np.where(draws.named("out").chance(0.03), 0.0, 20.0 + draws.named("stock").below(2000))),
        "minimum_age": where(wine, 18),
        "launched_at": clock.times(launch),
        "retired_at": clock.times(retire, where=retire < 0),
    }
    order = np.argsort(np.array(shop.product_ids))
    return pa.table(columns).take(pa.array(order))


def offers(shop: Market, clock: Clock, first: int) -> pa.Table:
    """What may be proposed, as it was announced before it became valid; one offer has a second version that raised its cost."""
    announced = [max(min(offer.from_day, -1) - 14, first - 60) for offer in OFFERS]
    rows = [(offer, day, offer.cost) for offer, day in zip(OFFERS, announced, strict=True)]
    rows.insert(3, (OFFERS[2], first // 3, OFFERS[2].cost + 0.5))
    these = [offer for offer, _, _ in rows]
    at = clock.times(np.array([day for _, day, _ in rows]))
    texts = {
        name: pa.array([getattr(offer, name) for offer in these], type=pa.string())
        for name in ("offer_id", "name", "kind", "goal", "category", "text")
    }
    numbers = {
        name: pa.array([getattr(offer, name) for offer in these], type=pa.float64())
        for name in ("discount_rate", "discount_amount", "margin", "stock", "lever")
    }
    lists = {name: pa.array([getattr(offer, name) for offer in these], type=pa.list_(pa.string())) for name in ("channels", "regions", "audience")}
    flags = {name: pa.array([getattr(offer, name) for offer in these]) for name in ("is_once", "needs_credit")}
    return pa.table({
        **texts, **numbers, **lists, **flags,
        "occurred_at": at,
        "known_at": at,
        "cost": pa.array([cost for _, _, cost in rows]),
        "valid_from": clock.times(np.array([max(offer.from_day, first - 30) for offer in these])),
        "valid_to": clock.times(np.array([offer.to_day for offer in these])),
        "minimum_age": pa.array([offer.minimum_age for offer in these], type=pa.int64()),
        "product_ids": pa.array([_covered(shop, offer.category) for offer in these], type=pa.list_(pa.string())),
        "is_individual_price": pa.array([False] * len(these)),
        "outcome_days": pa.array([14] * len(these)),
    })  # fmt: skip


def _covered(shop: Market, category: str | None) -> list[str] | None:
    names = [name for members in DEPARTMENTS.values() for name, _, _ in members]
    return None if category is None else list(shop.product_ids[names.index(category) * shop.per_category :][: shop.per_category])
