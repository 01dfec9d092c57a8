-- How much of the range a customer buys. One row per customer and moment.
-- Only the newest purchase of each product and of each category is read, as far as then visible, so counting rows counts distinct ones.
select
    spine.customer_id,
    spine.event_timestamp,
    count(a.product_id) filter (where a.product_superseded_at >= spine.event_timestamp and a.occurred_at >= spine.since_30d) as products_30d,
    count(a.product_id) filter (where a.product_superseded_at >= spine.event_timestamp and a.occurred_at >= spine.since_90d) as products_90d,
    count(a.product_id) filter (where a.product_superseded_at >= spine.event_timestamp) as products_365d,
    count(a.category) filter (where a.category_superseded_at >= spine.event_timestamp and a.occurred_at >= spine.since_30d) as categories_30d,
    count(a.category) filter (where a.category_superseded_at >= spine.event_timestamp and a.occurred_at >= spine.since_90d) as categories_90d,
    count(a.category) filter (where a.category_superseded_at >= spine.event_timestamp) as categories_365d
from spine
left join assortment as a
    on a.customer_id = spine.customer_id
    and a.visible_at < spine.event_timestamp
    and greatest(a.product_superseded_at, a.category_superseded_at) >= spine.event_timestamp
    and a.occurred_at >= spine.since_365d
group by spine.customer_id, spine.event_timestamp
