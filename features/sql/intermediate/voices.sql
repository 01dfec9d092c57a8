-- What customers told us, and points. One row per event. visible_at is the later of occurred_at and known_at.
select
    customer_id,
    cast(occurred_at as timestamp) as occurred_at,
    cast(greatest(occurred_at, known_at) as timestamp) as visible_at,
    kind,
    cast(value as decimal(18, 4)) as value,
    cast(score as decimal(18, 4)) as score,
    cast(perceived_score as decimal(18, 4)) - cast(expected_score as decimal(18, 4)) as surprise,
    cast(resolved_at as timestamp) as resolved_at
from events
where kind in ('complaint', 'complaint_resolved', 'support_call', 'rating', 'survey', 'referral', 'points_earned', 'points_spent')
