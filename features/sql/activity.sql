-- What a customer does besides buying: visits, looks, carts. One row per customer and moment.
select
    spine.customer_id,
    spine.event_timestamp,
    date_diff(
        'day', cast(max(a.occurred_at) filter (where a.kind in ('visit', 'app_open')) as date), cast(spine.event_timestamp as date)
    ) as days_since_visit_365d,
    date_diff(
        'day', cast(max(a.occurred_at) filter (where a.kind = 'view') as date), cast(spine.event_timestamp as date)
    ) as days_since_view_365d,
    date_diff(
        'day', cast(max(a.occurred_at) filter (where a.kind = 'cart') as date), cast(spine.event_timestamp as date)
    ) as days_since_cart_365d,
    count(*) filter (where a.kind = 'visit' and a.occurred_at >= spine.since_7d) as visits_7d,
    count(*) filter (where a.kind = 'visit' and a.occurred_at >= spine.since_30d) as visits_30d,
    count(*) filter (where a.kind = 'visit' and a.occurred_at >= spine.since_90d) as visits_90d,
    count(*) filter (where a.kind = 'visit' and a.occurred_at >= spine.since_30d)
    - count(*) filter (where a.kind = 'visit' and a.occurred_at >= spine.since_90d and a.occurred_at < spine.since_30d) / 2.0e0 as visits_30d_over_prior,
    count(*) filter (where a.kind = 'app_open' and a.occurred_at >= spine.since_30d) as app_opens_30d,
    count(*) filter (where a.kind = 'view' and a.occurred_at >= spine.since_30d) as views_30d,
    count(*) filter (where a.kind = 'view' and a.occurred_at >= spine.since_90d) as views_90d,
    count(*) filter (where a.kind = 'search' and a.occurred_at >= spine.since_90d) as searches_90d,
    count(*) filter (where a.kind = 'cart' and a.occurred_at >= spine.since_30d) as carts_30d,
    count(*) filter (where a.kind = 'cart' and a.occurred_at >= spine.since_90d) as carts_90d,
    count(*) filter (where a.kind = 'wishlist' and a.occurred_at >= spine.since_90d) as wishes_90d
from spine
left join actions as a
    on a.customer_id = spine.customer_id
    and a.visible_at < spine.event_timestamp
    and a.occurred_at >= spine.since_365d
    and a.kind in ('visit', 'app_open', 'view', 'search', 'cart', 'wishlist')
group by spine.customer_id, spine.event_timestamp
