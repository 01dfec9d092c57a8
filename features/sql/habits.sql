-- Where and when a customer buys. One row per customer and moment. Hours and weekdays are those where the customer lives.
select
    spine.customer_id,
    spine.event_timestamp,
    cast(count(*) filter (where o.channel in ('web', 'in_app')) as double) / nullif(count(o.channel), 0) as online_share_365d,
    cast(count(*) filter (where o.channel = 'store') as double) / nullif(count(o.channel), 0) as store_share_365d,
    cast(count(*) filter (where o.local_weekday >= 6) as double) / nullif(count(o.local_weekday), 0) as weekend_share_365d,
    cast(count(*) filter (where o.local_hour < 12) as double) / nullif(count(o.local_hour), 0) as morning_share_365d,
    cast(count(*) filter (where o.local_hour >= 17) as double) / nullif(count(o.local_hour), 0) as evening_share_365d,
    cast(sum(o.local_hour) as double) / nullif(count(o.local_hour), 0) as mean_hour_365d
from spine
left join orders as o
    on o.customer_id = spine.customer_id
    and o.is_opening
    and o.visible_at < spine.event_timestamp
    and o.occurred_at >= spine.since_365d
group by spine.customer_id, spine.event_timestamp
