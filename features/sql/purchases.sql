-- What a customer bought lately: recency, frequency, money and their trends. One row per customer and moment.
-- A trend is a difference of two rates, what came less what the time before would give: never divided by nothing. It is written with the
-- sums that stand there anyway: x30 - (x90 - x30) / 2 = (3 x30 - x90) / 2, and x90 - (x365 - x90) 90 / 275 = (365 x90 - 90 x365) / 275.
-- Fading sums weigh a purchase less the older it is, by half in 14, 45 or 120 days. The weight falls in steps, at the ends of the windows,
-- to the mean of the curve between them; in thousandths it is the sum of the numbers before the windows that hold the purchase. So the
-- sums stay exact, and no engine has to raise anything to a power.
with sums as (
    select
        spine.customer_id,
        spine.event_timestamp,
        max(o.occurred_at) filter (where o.is_opening) as last_at,
        min(o.occurred_at) filter (where o.is_opening) as first_at,
        count(*) filter (where o.is_opening and o.occurred_at >= spine.since_7d) as n7,
        count(*) filter (where o.is_opening and o.occurred_at >= spine.since_14d) as n14,
        count(*) filter (where o.is_opening and o.occurred_at >= spine.since_30d) as n30,
        count(*) filter (where o.is_opening and o.occurred_at >= spine.since_60d) as n60,
        count(*) filter (where o.is_opening and o.occurred_at >= spine.since_90d) as n90,
        count(*) filter (where o.is_opening and o.occurred_at >= spine.since_180d) as n180,
        count(*) filter (where o.is_opening) as n365,
        coalesce(sum(o.net_amount) filter (where o.occurred_at >= spine.since_7d), 0) as m7,
        coalesce(sum(o.net_amount) filter (where o.occurred_at >= spine.since_14d), 0) as m14,
        coalesce(sum(o.net_amount) filter (where o.occurred_at >= spine.since_30d), 0) as m30,
        coalesce(sum(o.net_amount) filter (where o.occurred_at >= spine.since_60d), 0) as m60,
        coalesce(sum(o.net_amount) filter (where o.occurred_at >= spine.since_90d), 0) as m90,
        coalesce(sum(o.net_amount) filter (where o.occurred_at >= spine.since_180d), 0) as m180,
        coalesce(sum(o.net_amount), 0) as m365,
        coalesce(sum(o.margin), 0) as margin
    from spine
    left join orders as o
        on o.customer_id = spine.customer_id
        and o.visible_at < spine.event_timestamp
        and o.occurred_at >= spine.since_365d
    group by spine.customer_id, spine.event_timestamp
)
select
    customer_id,
    event_timestamp,
    date_diff('day', cast(last_at as date), cast(event_timestamp as date)) as days_since_order_365d,
    date_diff('day', cast(first_at as date), cast(event_timestamp as date)) as days_since_first_order_365d,
    n7 as orders_7d,
    n14 as orders_14d,
    n30 as orders_30d,
    n60 as orders_60d,
    n90 as orders_90d,
    n180 as orders_180d,
    n365 as orders_365d,
    cast(m7 as double) as amount_7d,
    cast(m14 as double) as amount_14d,
    cast(m30 as double) as amount_30d,
    cast(m60 as double) as amount_60d,
    cast(m90 as double) as amount_90d,
    cast(m180 as double) as amount_180d,
    cast(m365 as double) as amount_365d,
    cast(margin as double) as margin_365d,
    (3 * n30 - n90) / 2.0e0 as orders_30d_over_prior,
    cast(3 * m30 - m90 as double) / 2 as amount_30d_over_prior,
    (365 * n90 - 90 * n365) / 275.0e0 as orders_90d_over_prior,
    cast(365 * m90 - 90 * m365 as double) / 275 as amount_90d_over_prior,
    (247 * n7 + 253 * n14 + 227 * n30 + 91 * n60 + 24 * n90 + 3 * n180) / 1000.0e0 as fading_orders_14d,
    (97 * n7 + 137 * n14 + 210 * n30 + 186 * n60 + 183 * n90 + 114 * n180 + 21 * n365) / 1000.0e0 as fading_orders_45d,
    (39 * n7 + 60 * n14 + 109 * n30 + 123 * n60 + 185 * n90 + 247 * n180 + 217 * n365) / 1000.0e0 as fading_orders_120d,
    cast(247 * m7 + 253 * m14 + 227 * m30 + 91 * m60 + 24 * m90 + 3 * m180 as double) / 1000 as fading_amount_14d,
    cast(97 * m7 + 137 * m14 + 210 * m30 + 186 * m60 + 183 * m90 + 114 * m180 + 21 * m365 as double) / 1000 as fading_amount_45d,
    cast(39 * m7 + 60 * m14 + 109 * m30 + 123 * m60 + 185 * m90 + 247 * m180 + 217 * m365 as double) / 1000 as fading_amount_120d
from sums
