-- The days on which a customer bought: how many, when, and what was spent on each. One row per customer and moment.
-- Purchase processes (BG/NBD, Pareto/NBD, Gamma-Gamma) read four of these columns: repeats are the days after the first, the span goes from
-- the first to the last, observed are the days since the first. A day counts if the whole of it lies in the window.
-- The money of the first day comes out of the same pass: the largest of age x 10^14 - money is that of the oldest day, and falls apart again.
with ranked as (
    select
        spine.customer_id,
        spine.event_timestamp,
        d.amount,
        date_diff('day', cast(d.day as date), cast(spine.event_timestamp as date)) as age_days,
        row_number() over (partition by spine.customer_id, spine.event_timestamp order by d.day desc) as nearness
    from spine
    left join purchase_days as d
        on d.customer_id = spine.customer_id
        and d.visible_at < spine.event_timestamp
        and d.superseded_at >= spine.event_timestamp
        and cast(d.day as timestamp) >= spine.since_365d
),
sums as (
    select
        customer_id,
        event_timestamp,
        count(age_days) as days,
        max(age_days) as first_days,
        min(age_days) as last_days,
        cast(sum(age_days) as double) as total_days,
        max(age_days) filter (where nearness = 2) as second_days,
        max(age_days) filter (where nearness = 3) as third_days,
        max(age_days) filter (where nearness = 5) as fifth_days,
        sum(amount) as amount,
        max(cast(age_days as decimal(18, 0)) * 100000000000000 - amount) as first_day,
        max(amount) filter (where nearness = 1) as newest_amount,
        max(amount) as largest_amount,
        median(cast(amount as double)) as median_amount
    from ranked
    group by customer_id, event_timestamp
)
select
    customer_id,
    event_timestamp,
    days as order_days_365d,
    first_days as observed_days_365d,
    first_days - last_days as span_days_365d,
    second_days as days_since_second_newest_day_365d,
    third_days as days_since_third_newest_day_365d,
    fifth_days as days_since_fifth_newest_day_365d,
    total_days / nullif(cast(days * first_days as double), 0) as mean_age_over_oldest_365d,
    coalesce(cast(amount - (cast(first_days as decimal(18, 0)) * 100000000000000 - first_day) as double), 0) as repeat_amount_365d,
    cast(newest_amount as double) as newest_day_amount_365d,
    cast(largest_amount as double) as largest_day_amount_365d,
    median_amount as median_day_amount_365d
from sums
