-- What a customer's purchases are like: size, discounts, returns, place and time. One row per customer and moment.
-- Hours and weekdays are those where the customer lives.
select
    spine.customer_id,
    spine.event_timestamp,
    cast(sum(o.sold_amount) as double) / nullif(count(*) filter (where o.is_opening), 0) as amount_per_order_365d,
    cast(sum(o.sold_amount) filter (where o.occurred_at >= spine.since_90d) as double)
    / nullif(count(*) filter (where o.is_opening and o.occurred_at >= spine.since_90d), 0) as amount_per_order_90d,
    cast(sum(o.sold_amount) filter (where o.occurred_at >= spine.since_90d) as double) * count(*) filter (where o.is_opening)
    / nullif(
        cast(sum(o.sold_amount) as double) * count(*) filter (where o.is_opening and o.occurred_at >= spine.since_90d), 0
    ) as amount_per_order_90d_over_365d,
    cast(sum(o.lines) as double) / nullif(count(*) filter (where o.is_opening), 0) as lines_per_order_365d,
    cast(sum(o.units) as double) / nullif(count(*) filter (where o.is_opening), 0) as units_per_order_365d,
    cast(sum(o.discount) as double) / nullif(cast(sum(o.sold_amount) + sum(o.discount) as double), 0) as discount_share_365d,
    cast(sum(o.discount) filter (where o.occurred_at >= spine.since_90d) as double)
    / nullif(
        cast(
            sum(o.sold_amount) filter (where o.occurred_at >= spine.since_90d) + sum(o.discount) filter (where o.occurred_at >= spine.since_90d)
            as double
        ),
        0
    ) as discount_share_90d,
    coalesce(sum(o.returned_lines), 0) as returned_lines_365d,
    coalesce(cast(-sum(o.returned_amount) filter (where o.occurred_at >= spine.since_90d) as double), 0) as returned_amount_90d,
    cast(-sum(o.returned_amount) as double) / nullif(cast(sum(o.sold_amount) as double), 0) as return_share_365d,
    cast(count(*) filter (where o.is_opening and o.channel in ('web', 'in_app')) as double)
    / nullif(count(o.channel) filter (where o.is_opening), 0) as online_share_365d,
    cast(count(*) filter (where o.is_opening and o.channel = 'store') as double)
    / nullif(count(o.channel) filter (where o.is_opening), 0) as store_share_365d,
    cast(count(*) filter (where o.is_opening and o.local_weekday >= 6) as double)
    / nullif(count(o.local_weekday) filter (where o.is_opening), 0) as weekend_share_365d,
    cast(count(*) filter (where o.is_opening and o.local_hour < 12) as double)
    / nullif(count(o.local_hour) filter (where o.is_opening), 0) as morning_share_365d,
    cast(count(*) filter (where o.is_opening and o.local_hour >= 17) as double)
    / nullif(count(o.local_hour) filter (where o.is_opening), 0) as evening_share_365d,
    cast(sum(o.local_hour) filter (where o.is_opening) as double) / nullif(count(o.local_hour) filter (where o.is_opening), 0) as mean_hour_365d
from spine
left join orders as o
    on o.customer_id = spine.customer_id
    and o.visible_at < spine.event_timestamp
    and o.occurred_at >= spine.since_365d
group by spine.customer_id, spine.event_timestamp
