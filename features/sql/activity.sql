-- What a customer does besides buying: visits, looks, carts. One row per customer and moment.
select
    spine.customer_id,
    spine.event_timestamp,
    date_diff(
        'day', cast(max(l.occurred_at) filter (where l.kind in ('visit', 'app_open')) as date), cast(spine.event_timestamp as date)
    ) as days_since_visit_365d,
    date_diff(
        'day', cast(max(l.occurred_at) filter (where l.kind = 'view') as date), cast(spine.event_timestamp as date)
    ) as days_since_view_365d,
    date_diff(
        'day', cast(max(l.occurred_at) filter (where l.kind = 'cart') as date), cast(spine.event_timestamp as date)
    ) as days_since_cart_365d,
    count(*) filter (where l.kind = 'visit' and l.occurred_at >= spine.since_7d) as visits_7d,
    count(*) filter (where l.kind = 'visit' and l.occurred_at >= spine.since_30d) as visits_30d,
    count(*) filter (where l.kind = 'visit' and l.occurred_at >= spine.since_90d) as visits_90d,
    (
        3 * count(*) filter (where l.kind = 'visit' and l.occurred_at >= spine.since_30d)
        - count(*) filter (where l.kind = 'visit' and l.occurred_at >= spine.since_90d)
    ) / 2.0e0 as visits_30d_over_prior,
    count(*) filter (where l.kind = 'app_open' and l.occurred_at >= spine.since_30d) as app_opens_30d,
    count(*) filter (where l.kind = 'view' and l.occurred_at >= spine.since_30d) as views_30d,
    count(*) filter (where l.kind = 'view' and l.occurred_at >= spine.since_90d) as views_90d,
    count(*) filter (where l.kind = 'search' and l.occurred_at >= spine.since_90d) as searches_90d,
    count(*) filter (where l.kind = 'cart' and l.occurred_at >= spine.since_30d) as carts_30d,
    count(*) filter (where l.kind = 'cart' and l.occurred_at >= spine.since_90d) as carts_90d,
    count(*) filter (where l.kind = 'wishlist' and l.occurred_at >= spine.since_90d) as wishes_90d
from spine
left join looks as l
    on l.customer_id = spine.customer_id
    and l.visible_at < spine.event_timestamp
    and l.occurred_at >= spine.since_365d
group by spine.customer_id, spine.event_timestamp
