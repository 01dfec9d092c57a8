-- Versions of a customer's description. One row per customer and version: it is the newest one from visible_at until superseded_at,
-- which is the end of time for the last: comparisons without nulls keep the joins that read this fast.
with versions as (
    select
        *,
        cast(greatest(occurred_at, known_at) as timestamp) as visible_at
    from customers
)
select
    customer_id,
    visible_at,
    coalesce(
        min(visible_at) over (partition by customer_id order by occurred_at desc, known_at desc rows between unbounded preceding and 1 preceding),
        cast('9999-12-31 00:00:00' as timestamp)
    ) as superseded_at,
    cast(joined_at as timestamp) as joined_at,
    relation,
    relation_level,
    acquisition_channel,
    acquisition_cost,
    preferred_channel,
    region,
    country,
    age_band,
    income_band,
    household_size,
    children,
    home_ownership,
    lifestyle,
    profile_grade,
    loyalty_tier
from versions
