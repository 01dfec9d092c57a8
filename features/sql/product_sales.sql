-- How a product sells: popularity, trend, repeat buying, price paid, margin. One row per product and moment. Anonymous sales count,
-- except as buyers. A buyer is counted at the newest purchase of the product, so counting rows counts distinct buyers.
select
    spine.product_id,
    spine.event_timestamp,
    date_diff('day', cast(max(a.occurred_at) as date), cast(spine.event_timestamp as date)) as days_since_sale_365d,
    date_diff('day', cast(min(a.occurred_at) as date), cast(spine.event_timestamp as date)) as days_since_first_sale_365d,
    count(a.customer_id) filter (where a.product_superseded_at >= spine.event_timestamp and a.occurred_at >= spine.since_7d) as buyers_7d,
    count(a.customer_id) filter (where a.product_superseded_at >= spine.event_timestamp and a.occurred_at >= spine.since_28d) as buyers_28d,
    count(a.customer_id) filter (where a.product_superseded_at >= spine.event_timestamp and a.occurred_at >= spine.since_90d) as buyers_90d,
    count(a.customer_id) filter (where a.product_superseded_at >= spine.event_timestamp) as buyers_365d,
    coalesce(cast(sum(a.units) filter (where a.occurred_at >= spine.since_28d) as double), 0) as units_28d,
    coalesce(cast(sum(a.amount) filter (where a.occurred_at >= spine.since_28d) as double), 0) as amount_28d,
    (
        90 * count(a.product_id) filter (where a.occurred_at >= spine.since_28d)
        - 28 * count(a.product_id) filter (where a.occurred_at >= spine.since_90d)
    ) / 62.0e0 as sales_28d_over_prior,
    cast(count(a.customer_id) filter (where a.product_superseded_at < spine.event_timestamp) as double) / nullif(count(a.customer_id), 0)
        as repeat_share_365d,
    cast(sum(a.amount) filter (where a.occurred_at >= spine.since_90d) as double)
    / nullif(cast(sum(a.units) filter (where a.occurred_at >= spine.since_90d) as double), 0) as price_paid_90d,
    cast(sum(a.margin) as double) / nullif(cast(sum(a.amount) as double), 0) as margin_share_365d
from spine
left join assortment as a
    on a.product_id = spine.product_id
    and a.visible_at < spine.event_timestamp
    and a.occurred_at >= spine.since_365d
group by spine.product_id, spine.event_timestamp
