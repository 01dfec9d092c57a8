-- What a customer bought lately: recency, frequency, money and their trends. One row per customer and moment.
-- A trend is a difference of two rates, what came less what the time before would give: never divided by nothing. It is written with the
-- sums that stand there anyway: x30 - (x90 - x30) / 2 = (3 x30 - x90) / 2, and x90 - (x365 - x90) 90 / 275 = (365 x90 - 90 x365) / 275.
select
    spine.customer_id,
    spine.event_timestamp,
    date_diff(
        'day', cast(max(o.occurred_at) filter (where o.is_opening) as date), cast(spine.event_timestamp as date)
    ) as days_since_order_365d,
    date_diff(
        'day', cast(min(o.occurred_at) filter (where o.is_opening) as date), cast(spine.event_timestamp as date)
    ) as days_since_first_order_365d,
    count(*) filter (where o.is_opening and o.occurred_at >= spine.since_7d) as orders_7d,
    count(*) filter (where o.is_opening and o.occurred_at >= spine.since_30d) as orders_30d,
    count(*) filter (where o.is_opening and o.occurred_at >= spine.since_90d) as orders_90d,
    count(*) filter (where o.is_opening) as orders_365d,
    coalesce(cast(sum(o.net_amount) filter (where o.occurred_at >= spine.since_7d) as double), 0) as amount_7d,
    coalesce(cast(sum(o.net_amount) filter (where o.occurred_at >= spine.since_30d) as double), 0) as amount_30d,
    coalesce(cast(sum(o.net_amount) filter (where o.occurred_at >= spine.since_90d) as double), 0) as amount_90d,
    coalesce(cast(sum(o.net_amount) as double), 0) as amount_365d,
    coalesce(cast(sum(o.margin) as double), 0) as margin_365d,
    (
        3 * count(*) filter (where o.is_opening and o.occurred_at >= spine.since_30d)
        - count(*) filter (where o.is_opening and o.occurred_at >= spine.since_90d)
    ) / 2.0e0 as orders_30d_over_prior,
    cast(
        3 * coalesce(sum(o.net_amount) filter (where o.occurred_at >= spine.since_30d), 0)
        - coalesce(sum(o.net_amount) filter (where o.occurred_at >= spine.since_90d), 0) as double
    ) / 2 as amount_30d_over_prior,
    (365 * count(*) filter (where o.is_opening and o.occurred_at >= spine.since_90d) - 90 * count(*) filter (where o.is_opening)) / 275.0e0
        as orders_90d_over_prior,
    cast(
        365 * coalesce(sum(o.net_amount) filter (where o.occurred_at >= spine.since_90d), 0) - 90 * coalesce(sum(o.net_amount), 0) as double
    ) / 275 as amount_90d_over_prior
from spine
left join orders as o
    on o.customer_id = spine.customer_id
    and o.visible_at < spine.event_timestamp
    and o.occurred_at >= spine.since_365d
group by spine.customer_id, spine.event_timestamp
