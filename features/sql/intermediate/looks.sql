-- Visits, looks and carts. One row per event. visible_at is the later of occurred_at and known_at.
select
    customer_id,
    cast(occurred_at as timestamp) as occurred_at,
    cast(greatest(occurred_at, known_at) as timestamp) as visible_at,
    kind
from events
where kind in ('visit', 'app_open', 'view', 'search', 'cart', 'wishlist')
