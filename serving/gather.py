"""What the tables say at a moment, as columns aligned to customers: consent, limits, habits, and the shop. Only rows known before it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retain.engine import Engine, quoted
from retain.facts import INTERACTION, PURCHASE, SELLABLE
from retain.workspace import State, shift_days
from serving.decisions.facts import HABITS, WORDS, Basis
from training.segments import Rules

CONTACT_DAYS = 31
"""Contacts are kept for so long: the longest window of a limit."""
FLAGS = ("do_not_contact", "refuses_profiling", "is_minor", "is_credit_blocked", "is_vulnerable")


@dataclass(frozen=True)
class Ragged:
    """Any number of entries per customer: those of customer ``i`` stand from ``start[i]`` to ``start[i + 1]``."""

    start: NDArray[np.int64]
    columns: Mapping[str, NDArray[Any]]


def at(moment: datetime) -> str:
    """A moment as SQL."""
    return f"timestamptz {quoted(moment.isoformat())}"


def before(moment: datetime, alias: str) -> str:
    """Happened, and was known, before a moment."""
    return f"({alias}.occurred_at < {at(moment)} and {alias}.known_at < {at(moment)})"


def attach_current(engine: Engine, moment: datetime) -> None:
    """Views of what holds at a moment: the last version of each customer, product and offer, and the facts before it."""
    for name, key in (("customers", "customer_id"), ("products", "product_id"), ("offers", "offer_id")):
        engine.execute(
            f"create or replace view {name}_now as select * from {name} as r where {before(moment, 'r')} "
            f"qualify row_number() over (partition by {key} order by occurred_at desc, known_at desc) = 1"
        )
    for name in ("transactions", "events", "contacts", "outcomes"):
        engine.execute(f"create or replace view {name}_then as select * from {name} as r where {before(moment, 'r')}")


def customers(engine: Engine) -> NDArray[np.object_]:
    """Everybody with any row before the moment, sorted by id."""
    named = " union ".join(f"select customer_id from {name}" for name in ("customers_now", "transactions_then", "contacts_then", "events_then"))
    ids = engine.query(f"select customer_id from ({named}) where customer_id is not null")["customer_id"]
    return np.array(sorted(ids), dtype=object)


def descriptions(engine: Engine, ids: NDArray[np.object_], assumed_consent: str | None) -> pd.DataFrame:
    """Consents as one comma-joined text, flags, words, year of birth, limit of credit; one row per id in order.

    Where a customer's row says nothing of consent, what the source assumes holds; where it assumes nothing, there is none.
    """
    columns = ", ".join([*FLAGS, *WORDS, "birth_year", "credit_limit"])
    found = engine.query(f"select customer_id, array_to_string(list_sort(consents), ',') as consents, {columns} from customers_now")
    frame = found.set_index("customer_id").reindex(ids)
    frame["consents"] = frame["consents"].where(frame["consents"].notna(), assumed_consent or "")
    for flag in FLAGS:
        frame[flag] = frame[flag].astype("boolean").fillna(False).astype(bool)
    return frame


def habits(engine: Engine, ids: NDArray[np.object_], moment: datetime, zone: str, rules: Rules) -> pd.DataFrame:
    """How each customer buys (``HABITS``) and ``is_active``; days are calendar days on the stored clock, money is net of returns."""
    rule = rules.stages

    def day(value: str) -> str:
        return f"cast(timezone({quoted(zone)}, {value}) as date)"

    def since(days: int) -> str:
        return at(shift_days(moment, -days, zone))

    period, two, year = since(rule.period_days), since(2 * rule.period_days), since(365)
    found = engine.query(
        f"""
        with bought as (select distinct customer_id, {day("occurred_at")} as day from transactions_then as t where {PURCHASE}),
        spaced as (select *, date_diff('day', lag(day) over (partition by customer_id order by day), day) as gap from bought),
        days as (
            select customer_id, min(day) as first_day, max(day) as last_day,
                avg(gap) filter (where day >= {day(year)}) as usual_gap_days,
                max(gap) filter (where day >= {day(since(rule.won_back_within_days))}) as pause_days
            from spaced group by customer_id
        ),
        money as (
            select customer_id,
                sum(cast(amount as decimal(18, 4))) filter (where occurred_at >= {period}) as spend,
                sum(cast(amount as decimal(18, 4))) filter (where occurred_at >= {two} and occurred_at < {period}) as spend_before,
                count(distinct order_id) filter (where {PURCHASE} and occurred_at >= {period}) as orders,
                count(distinct order_id) filter (where {PURCHASE} and occurred_at >= {two} and occurred_at < {period}) as orders_before,
                -sum(cast(amount as decimal(18, 4))) filter (where kind = 'return' and occurred_at >= {year}) as returned,
                sum(cast(amount as decimal(18, 4))) filter (where {PURCHASE} and occurred_at >= {year}) as paid,
                count(*) filter (where {PURCHASE} and occurred_at >= {since(rule.active_days)}) > 0 as is_active
            from transactions_then as t where customer_id is not null group by customer_id
        )
        select money.customer_id, date_diff('day', last_day, {day(at(moment))}) as recency_days,
            date_diff('day', first_day, {day(at(moment))}) as tenure_days, usual_gap_days, pause_days,
            coalesce(spend, 0) as spend, coalesce(spend_before, 0) as spend_before, orders, orders_before,
            coalesce(returned, 0) / nullif(paid, 0) as returned_share, is_active
        from money left join days using (customer_id)
        """
    )
    frame = found.set_index("customer_id").reindex(ids)
    active = frame.pop("is_active").astype("boolean").fillna(False).astype(bool)
    return frame[list(HABITS)].astype(np.float64).assign(is_active=active)


def complaints(engine: Engine, ids: NDArray[np.object_], moment: datetime) -> NDArray[np.int64]:
    """Microseconds since 1970 of the last complaint that is still open; -1 where none is."""
    found = engine.query(
        f"""
        select c.customer_id, epoch_us(max(c.occurred_at)) as micros from events_then as c
        where c.kind = 'complaint' and (c.resolved_at is null or c.resolved_at >= {at(moment)}) and not exists (
            select 1 from events_then as r where r.customer_id = c.customer_id and r.kind = 'complaint_resolved' and r.occurred_at >= c.occurred_at)
        group by c.customer_id
        """
    )
    result: NDArray[np.int64] = found.set_index("customer_id")["micros"].reindex(ids).fillna(-1).to_numpy(dtype=np.int64)
    return result


def events(engine: Engine, ids: NDArray[np.object_], since: datetime, kinds: Iterable[str]) -> dict[str, NDArray[np.float64]]:
    """Kind -> events of each customer since a moment; zero where none."""
    found = engine.query(f"select customer_id, kind, count(*) as n from events_then where occurred_at >= {at(since)} group by customer_id, kind")
    return {kind: found[found["kind"] == kind].set_index("customer_id")["n"].reindex(ids).fillna(0).to_numpy(dtype=np.float64) for kind in set(kinds)}


def contacts(engine: Engine, ids: NDArray[np.object_], moment: datetime, zone: str) -> Ragged:
    """Contacts of the last days, by time: ``micros`` since 1970, ``channel``, ``offer_id``."""
    found = engine.query(
        f"""
        select customer_id, epoch_us(occurred_at) as micros, channel, offer_id from contacts_then
        where coalesce(is_control, false) = false and occurred_at >= {at(shift_days(moment, -CONTACT_DAYS, zone))}
        order by customer_id, micros, channel, offer_id
        """
    )
    return ragged(found, ids)


def taken(engine: Engine, ids: NDArray[np.object_]) -> Ragged:
    """Offers that each customer took: ``offer_id``."""
    found = engine.query(
        """
        select distinct customer_id, offer_id from (
            select customer_id, offer_id from outcomes_then where kind in ('accepted', 'purchased')
            union all select customer_id, offer_id from transactions_then where kind = 'sale')
        where customer_id is not null and offer_id in (select offer_id from offers_now) order by customer_id, offer_id
        """
    )
    return ragged(found, ids)


def unsubscribed(engine: Engine, ids: NDArray[np.object_]) -> NDArray[np.object_]:
    """Channels that each customer left, comma-joined; ``*`` where the channel is not known. A later version of the customer's row lifts it."""
    found = engine.query(
        """
        select o.customer_id, string_agg(distinct coalesce(o.channel, '*'), ',' order by coalesce(o.channel, '*')) as channels
        from outcomes_then as o left join customers_now as c using (customer_id)
        where o.kind = 'unsubscribed' and (c.occurred_at is null or c.occurred_at <= o.occurred_at) group by o.customer_id
        """
    )
    result: NDArray[np.object_] = found.set_index("customer_id")["channels"].reindex(ids).fillna("").to_numpy(dtype=object)
    return result


def ragged(found: pd.DataFrame, ids: NDArray[np.object_]) -> Ragged:
    """Rows sorted by customer as entries per customer."""
    position = pd.Index(ids).get_indexer(found["customer_id"]) if len(found) else np.array([], dtype=np.int64)
    counts = np.bincount(position, minlength=len(ids))
    columns = {str(name): found[name].to_numpy() for name in found.columns if name != "customer_id"}
    return Ragged(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), columns)


def items(engine: Engine, item: str, moment: datetime, state: State) -> pd.DataFrame:
    """Every sellable item that was ever bought or is for sale: name, share of active customers, price and margin of one order of it.

    The margin is observed where lines carry one, declared where products carry a rate, assumed where the source assumes one; else null.
    """
    assumed = assumption(state, "margin_rate")
    year, horizon = at(shift_days(moment, -365, state.stored_zone)), at(shift_days(moment, -state.horizon_days, state.stored_zone))
    key = "coalesce(p.category, '')" if item == "category" else "t.product_id"
    listed = "p.category" if item == "category" else "p.product_id"
    name = "any_value(p.category)" if item == "category" else "min(coalesce(p.name, p.product_id))"
    single = item == "product"
    # Where the source assumes a rate, lines and products may carry figures made from it: nothing is called observed then.
    seen = "case when observed is not null then 'observed' when coalesce(declared, list_margin) is not null then 'declared' end"
    basis = seen if assumed is None else "'assumed'"
    return engine.query(
        f"""
        with lines as (
            select {key} as item_id, t.customer_id, t.order_id, t.amount, t.margin, p.margin_rate, t.occurred_at
            from transactions_then as t left join products_now as p using (product_id)
            where {INTERACTION} and {SELLABLE} and t.occurred_at >= {year} and {key} <> ''
        ),
        active as (select count(distinct customer_id) as customers from transactions_then as t where {PURCHASE} and occurred_at >= {year}),
        sold as (
            select item_id, count(distinct customer_id) filter (where occurred_at >= {horizon}) as buyers,
                sum(amount) / count(distinct order_id) as price,
                sum(margin) / nullif(count(distinct order_id) filter (where margin is not null), 0) as observed,
                sum(amount * margin_rate) / nullif(count(distinct order_id) filter (where margin_rate is not null), 0) as declared
            from lines group by item_id
        ),
        listed as (
            select {listed} as item_id, {name} as name,
                {"any_value(p.minimum_age)" if single else "nullif(min(coalesce(p.minimum_age, 0)), 0)"} as minimum_age,
                {"any_value(p.stock)" if single else "cast(null as double)"} as stock,
                {"any_value(p.suitability)" if single else "cast(null as varchar)"} as suitability,
                min(p.launched_at) as launched_at, {"max(p.retired_at)" if single else "cast(null as timestamptz)"} as retired_at,
                avg(p.price) as list_price, avg(p.price * p.margin_rate) as list_margin
            from products_now as p where {SELLABLE} and {listed} is not null group by {listed}
        )
        select coalesce(sold.item_id, listed.item_id) as item_id, coalesce(listed.name, sold.item_id) as name,
            coalesce(sold.buyers, 0) / greatest(active.customers, 1) as share, coalesce(sold.price, list_price) as price,
            coalesce(observed, declared, list_margin, sold.price * {"null" if assumed is None else float(assumed)}) as margin,
            {basis} as margin_basis,
            minimum_age, stock, launched_at, retired_at, suitability
        from sold full join listed on sold.item_id = listed.item_id cross join active
        where sold.item_id is not null or {str(single).lower()} order by 1
        """
    )


def margin_rate(engine: Engine, moment: datetime, state: State) -> tuple[float | None, Basis | None]:
    """Margin as a share of money over the last year, and where it comes from."""
    year = at(shift_days(moment, -365, state.stored_zone))
    ((margin, amount),) = engine.rows(
        f"select sum(margin), sum(amount) from transactions_then as t where {PURCHASE} and margin is not null and occurred_at >= {year}"
    )
    assumed = assumption(state, "margin_rate")
    if assumed is not None:
        return float(assumed), "assumed"
    return (float(margin) / float(amount), "observed") if amount else (None, None)


def accepted(engine: Engine) -> dict[str, tuple[int, int]]:
    """By offer kind: contacts that were accepted, of how many; contacts without an offer count for none."""
    rows = engine.rows(
        """
        select o.kind, count(*) filter (where exists (
            select 1 from outcomes_then as a where a.contact_id = c.contact_id and a.kind in ('accepted', 'purchased'))), count(*)
        from contacts_then as c join offers_now as o using (offer_id) where coalesce(c.is_control, false) = false group by o.kind order by o.kind
        """
    )
    return {str(kind): (int(hits), int(count)) for kind, hits, count in rows}


def contact_cost(engine: Engine, state: State) -> dict[str, float]:
    """Cost of one contact by channel, as far as contacts say; what the source assumes for the rest, under the channel or ``*``."""
    assumed = assumption(state, "contact_cost")
    costs = {} if assumed is None else {str(k): float(v) for k, v in assumed.items()} if isinstance(assumed, dict) else {"*": float(assumed)}
    seen = engine.rows(
        "select channel, avg(cost) from contacts_then where cost is not null and channel is not null group by channel order by channel"
    )
    return {**costs, **{str(channel): float(cost) for channel, cost in seen}}


def assumption(state: State, name: str) -> Any:
    """The value that a source assumes for something; None where it assumes nothing."""
    return next((each.value for each in state.assumed if each.name == name), None)


def offers(engine: Engine, item: str, moment: datetime) -> pd.DataFrame:
    """Offers that are valid or can still become so, with the items they cover: products, or the categories of the products."""
    covered = "coalesce(p.category, '')" if item == "category" else "p.product_id"
    return engine.query(
        f"""
        with named as (select offer_id, unnest(product_ids) as product_id from offers_now where product_ids is not null),
        covered as (
            select n.offer_id, {covered if item == "category" else "n.product_id"} as item_id
            from named as n left join products_now as p using (product_id)
            union
            select o.offer_id, {"o.category" if item == "category" else "p.product_id"} as item_id
            from offers_now as o {"" if item == "category" else "join products_now as p on p.category = o.category"} where o.category is not null
        ),
        gathered as (select offer_id, list(distinct item_id) as items from covered where item_id is not null and item_id <> '' group by offer_id)
        select o.offer_id, coalesce(o.name, o.kind || ' ' || o.offer_id) as name, o.kind, coalesce(o.goal, 'any') as goal, g.items,
            o.discount_rate, o.discount_amount, coalesce(o.cost, 0) as cost, o.margin, o.valid_from, o.valid_to, o.channels, o.regions, o.audience,
            o.minimum_age, o.stock, coalesce(o.is_once, false) as is_once, coalesce(o.needs_credit, false) as needs_credit,
            coalesce(o.is_individual_price, false) as is_individual_price, coalesce(o.lever, 1) as lever, o.outcome_days, o.text
        from offers_now as o left join gathered as g using (offer_id)
        where o.valid_to is null or o.valid_to > {at(moment)} order by o.offer_id
        """
    )
