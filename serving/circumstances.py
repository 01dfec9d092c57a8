"""What is recorded that bears on why a customer may leave: causes given, complaints, moves, closed shops. One row per customer, of one year."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retain.engine import Engine
from retain.facts import PURCHASE
from retain.workspace import shift_days
from serving.gather import at, before

CLOSED_DAYS = 60
"""A shop without a sale for so long, while others sell, may be closed ..."""
CLOSED_PAUSES = 5
"""... if that is at least so many times its longest pause between two days with sales in the year before, ..."""
CLOSED_LEAST_CUSTOMERS = 20
"""... and so many customers bought there in a year: the silence of fewer may be theirs."""
CLOSED_LEAST_ORDERS = 3
"""Who has bought there so often in a year, and nowhere else, lost the shop; who has bought elsewhere too is not said to be gone for that."""
COLUMNS = (
    "recorded", "recorded_at", "complaint_open_days", "complaint_slow_days", "complaints_product", "complaints_staff", "complaints_money",
    "complaints_effort", "switch_intents", "defaults", "moved", "shop_closed",
)  # fmt: skip


def circumstances(engine: Engine, ids: NDArray[np.object_], moment: datetime, zone: str) -> pd.DataFrame:
    """One row per id in order; null where nothing is recorded. The views of ``gather.attach_current`` are there.

    ``recorded`` is the cause given last, with an event or with the end of a contract, and ``recorded_at`` when. What is called involuntary
    rests on a record (a cause given, a default) or on a strict rule: a move recorded after which nothing was bought, or the closing of the only
    shop that the customer bought in.
    """
    now, year, silent = at(moment), at(shift_days(moment, -365, zone)), at(shift_days(moment, -CLOSED_DAYS, zone))
    found = engine.query(
        f"""
        with given as (
            select customer_id, cause, occurred_at as given_at from events_then where cause is not null and occurred_at >= {year}
            union all
            select customer_id, end_cause, ended_at from subscriptions as r
            where end_cause is not null and ended_at >= {year} and ended_at < {now} and {before(moment, "r")}
        ),
        recorded as (select customer_id, arg_max(cause, given_at) as recorded, max(given_at) as recorded_at from given group by customer_id),
        closed as (
            select c.customer_id, c.occurred_at, c.driver,
                least(c.resolved_at, (
                    select min(r.occurred_at) from events_then as r
                    where r.customer_id = c.customer_id and r.kind = 'complaint_resolved' and r.occurred_at >= c.occurred_at
                )) as closed_at
            from events_then as c where c.kind = 'complaint' and c.occurred_at >= {year}
        ),
        complaints as (
            select customer_id,
                max(date_diff('day', occurred_at, {now})) filter (where closed_at is null or closed_at >= {now}) as complaint_open_days,
                max(date_diff('day', occurred_at, closed_at)) filter (where closed_at < {now}) as complaint_slow_days,
                count(*) filter (where driver in ('product', 'service')) as complaints_product,
                count(*) filter (where driver = 'staff') as complaints_staff,
                count(*) filter (where driver = 'money') as complaints_money,
                count(*) filter (where driver in ('time', 'mental', 'bodily')) as complaints_effort
            from closed group by customer_id
        ),
        events as (
            select customer_id, count(*) filter (where kind = 'switch_intent') as switch_intents, count(*) filter (where kind = 'default') as defaults
            from events_then where occurred_at >= {year} group by customer_id
        ),
        versions as (
            select customer_id, occurred_at, region, country,
                lag(region) over who as region_before, lag(country) over who as country_before
            from customers as r where {before(moment, "r")} window who as (partition by customer_id order by occurred_at, known_at)
        ),
        moves as (
            select customer_id, cast(max(case when region <> region_before or country <> country_before then 1 else 0 end) as bigint) as moved
            from versions where occurred_at >= {year} and not exists (
                select 1 from transactions_then as t
                where t.customer_id = versions.customer_id and t.occurred_at > versions.occurred_at and {PURCHASE})
            group by customer_id
        ),
        pauses as (
            select store_id, max(pause) as longest from (
                select store_id, date_diff('day', lag(day) over (partition by store_id order by day), day) as pause from (
                    select distinct store_id, cast(occurred_at as date) as day from transactions_then as t
                    where {PURCHASE} and store_id is not null and occurred_at >= {year})
            ) group by store_id
        ),
        shops as (
            select store_id, max(occurred_at) as last_at, count(distinct customer_id) as people from transactions_then as t
            where {PURCHASE} and store_id is not null and occurred_at >= {year} group by store_id
        ),
        sole as (
            select customer_id, min(store_id) as store_id from transactions_then as t where {PURCHASE} and occurred_at >= {year}
            group by customer_id
            having count(distinct coalesce(store_id, '')) = 1 and count(distinct order_id) >= {CLOSED_LEAST_ORDERS}
        ),
        gone as (
            select sole.customer_id, 1 as shop_closed from sole join shops using (store_id) join pauses using (store_id)
            where shops.last_at < {silent} and shops.people >= {CLOSED_LEAST_CUSTOMERS} and (select max(last_at) from shops) >= {silent}
                and date_diff('day', cast(shops.last_at as date), cast({now} as date)) >= {CLOSED_PAUSES} * pauses.longest
        ),
        everyone as (
            select customer_id from recorded union select customer_id from complaints union select customer_id from events
            union select customer_id from moves union select customer_id from gone
        )
        select customer_id, {", ".join(COLUMNS)} from everyone
        left join recorded using (customer_id) left join complaints using (customer_id) left join events using (customer_id)
        left join moves using (customer_id) left join gone using (customer_id)
        """
    )
    return found.set_index("customer_id").reindex(ids)
