-- Whether a customer buys more or less than before. One row per customer and moment.
-- A trend is a difference of two rates, what came less what the time before would give, so it is never divided by nothing.
select
    spine.customer_id,
    spine.event_timestamp,
    count(*) filter (where o.is_opening and o.occurred_at >= spine.since_30d)
    - count(*) filter (where o.is_opening and o.occurred_at >= spine.since_90d and o.occurred_at < spine.since_30d) / 2.0e0 as orders_30d_over_prior,
    coalesce(cast(sum(o.net_amount) filter (where o.occurred_at >= spine.since_30d) as double), 0)
    - coalesce(cast(sum(o.net_amount) filter (where o.occurred_at >= spine.since_90d and o.occurred_at < spine.since_30d) as double), 0) / 2
        as amount_30d_over_prior,
    count(*) filter (where o.is_opening and o.occurred_at >= spine.since_90d)
    - count(*) filter (where o.is_opening and o.occurred_at < spine.since_90d) * 90.0e0 / 275 as orders_90d_over_prior,
    coalesce(cast(sum(o.net_amount) filter (where o.occurred_at >= spine.since_90d) as double), 0)
    - coalesce(cast(sum(o.net_amount) filter (where o.occurred_at < spine.since_90d) as double), 0) * 90 / 275 as amount_90d_over_prior
from spine
left join orders as o
    on o.customer_id = spine.customer_id
    and o.visible_at < spine.event_timestamp
    and o.occurred_at >= spine.since_365d
group by spine.customer_id, spine.event_timestamp
