-- Versions of a product. One row per product and version: it is the newest one from visible_at until superseded_at,
-- which is the end of time for the last: comparisons without nulls keep the joins that read this fast.
with versions as (
    select
        *,
        cast(greatest(occurred_at, known_at) as timestamp) as visible_at
    from products
)
select
    product_id,
    visible_at,
    coalesce(
        min(visible_at) over (partition by product_id order by occurred_at desc, known_at desc rows between unbounded preceding and 1 preceding),
        cast('9999-12-31 00:00:00' as timestamp)
    ) as superseded_at,
    category,
    brand,
    price,
    margin_rate,
    is_sellable,
    cast(launched_at as timestamp) as launched_at
from versions
