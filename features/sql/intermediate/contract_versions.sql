-- Versions of contracts. One row per contract and version: it is the newest one from visible_at until superseded_at, which is the end of
-- time for the last: comparisons without nulls keep the joins that read this fast. A contract without an end is over at the end of time.
with versions as (
    select
        *,
        cast(greatest(occurred_at, known_at) as timestamp) as visible_at
    from subscriptions
)
select
    customer_id,
    subscription_id,
    visible_at,
    coalesce(
        min(visible_at) over (partition by subscription_id order by occurred_at desc, known_at desc rows between unbounded preceding and 1 preceding),
        cast('9999-12-31 00:00:00' as timestamp)
    ) as superseded_at,
    cast(started_at as timestamp) as started_at,
    cast(ends_at as timestamp) as agreed_until,
    coalesce(
        cast(ended_at as timestamp),
        case when is_renewed_automatically = false then cast(ends_at as timestamp) end,
        cast('9999-12-31 00:00:00' as timestamp)
    ) as over_at,
    plan,
    cast(price as decimal(18, 4)) as price,
    cast(period_days as double) as period_days,
    is_renewed_automatically,
    notice_days,
    cast(exit_fee as decimal(18, 4)) as exit_fee
from versions
