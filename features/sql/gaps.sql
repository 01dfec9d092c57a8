-- The rhythm of a customer's purchases. One row per customer and moment.
-- A gap counts if the purchase before it lies in the window too: at most 363 days back, one day less on each side because the gap was
-- counted on the clock where the customer lives and the window on UTC.
with visible as (
    select
        spine.customer_id,
        spine.event_timestamp,
        o.occurred_at,
        case
            when date_diff('day', cast(o.occurred_at as date), cast(spine.event_timestamp as date)) + o.order_gap_days <= 363
                then o.order_gap_days
        end as gap_days
    from spine
    left join orders as o
        on o.customer_id = spine.customer_id
        and o.is_opening
        and o.visible_at < spine.event_timestamp
        and o.occurred_at >= spine.since_365d
),
sums as (
    select
        customer_id,
        event_timestamp,
        date_diff('day', cast(max(occurred_at) as date), cast(event_timestamp as date)) as since_days,
        count(gap_days) as gaps,
        cast(sum(gap_days) as double) as total_days,
        cast(sum(gap_days * gap_days) as double) as total_squares,
        max(gap_days) as longest_days
    from visible
    group by customer_id, event_timestamp
)
select
    customer_id,
    event_timestamp,
    gaps as gaps_365d,
    total_days / nullif(gaps, 0) as mean_gap_days_365d,
    sqrt((gaps * total_squares - total_days * total_days) / nullif(gaps * (gaps - 1), 0)) as spread_gap_days_365d,
    longest_days as longest_gap_days_365d,
    since_days * gaps / nullif(total_days, 0) as recency_over_mean_gap,
    since_days / nullif(cast(longest_days as double), 0) as recency_over_longest_gap,
    since_days - total_days / nullif(gaps, 0) as overdue_days
from sums
