-- Where a customer needed help. One row per customer and moment.
-- A complaint is closed by its resolved_at or by an event of its own; sources write one, the other or both, so the larger count holds.
select
    spine.customer_id,
    spine.event_timestamp,
    date_diff(
        'day', cast(max(a.occurred_at) filter (where a.kind = 'complaint') as date), cast(spine.event_timestamp as date)
    ) as days_since_complaint_365d,
    count(*) filter (where a.kind = 'complaint' and a.occurred_at >= spine.since_30d) as complaints_30d,
    count(*) filter (where a.kind = 'complaint' and a.occurred_at >= spine.since_90d) as complaints_90d,
    count(*) filter (where a.kind = 'complaint') as complaints_365d,
    greatest(
        count(*) filter (where a.kind = 'complaint')
        - greatest(
            count(*) filter (where a.kind = 'complaint' and a.resolved_at < spine.event_timestamp),
            count(*) filter (where a.kind = 'complaint_resolved')
        ),
        0
    ) as open_complaints_365d,
    date_diff(
        'day', cast(max(a.occurred_at) filter (where a.kind = 'support_call') as date), cast(spine.event_timestamp as date)
    ) as days_since_support_call_365d,
    count(*) filter (where a.kind = 'support_call' and a.occurred_at >= spine.since_30d) as support_calls_30d,
    count(*) filter (where a.kind = 'support_call') as support_calls_365d
from spine
left join actions as a
    on a.customer_id = spine.customer_id
    and a.visible_at < spine.event_timestamp
    and a.occurred_at >= spine.since_365d
    and a.kind in ('complaint', 'complaint_resolved', 'support_call')
group by spine.customer_id, spine.event_timestamp
