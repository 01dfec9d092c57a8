-- What a customer tells us: complaints, calls, ratings, surveys, referrals; and loyalty points. One row per customer and moment.
-- A complaint is closed by its resolved_at or by an event of its own; sources write one, the other or both, so the larger count holds.
select
    spine.customer_id,
    spine.event_timestamp,
    date_diff(
        'day', cast(max(v.occurred_at) filter (where v.kind = 'complaint') as date), cast(spine.event_timestamp as date)
    ) as days_since_complaint_365d,
    count(*) filter (where v.kind = 'complaint' and v.occurred_at >= spine.since_30d) as complaints_30d,
    count(*) filter (where v.kind = 'complaint' and v.occurred_at >= spine.since_90d) as complaints_90d,
    count(*) filter (where v.kind = 'complaint') as complaints_365d,
    greatest(
        count(*) filter (where v.kind = 'complaint')
        - greatest(
            count(*) filter (where v.kind = 'complaint' and v.resolved_at < spine.event_timestamp),
            count(*) filter (where v.kind = 'complaint_resolved')
        ),
        0
    ) as open_complaints_365d,
    date_diff(
        'day', cast(max(v.occurred_at) filter (where v.kind = 'support_call') as date), cast(spine.event_timestamp as date)
    ) as days_since_support_call_365d,
    count(*) filter (where v.kind = 'support_call' and v.occurred_at >= spine.since_30d) as support_calls_30d,
    count(*) filter (where v.kind = 'support_call') as support_calls_365d,
    count(*) filter (where v.kind = 'rating') as ratings_365d,
    cast(sum(v.value) filter (where v.kind = 'rating') as double) / nullif(count(v.value) filter (where v.kind = 'rating'), 0) as rating_mean_365d,
    cast(sum(v.value) filter (where v.kind = 'rating' and v.occurred_at >= spine.since_90d) as double)
    / nullif(count(v.value) filter (where v.kind = 'rating' and v.occurred_at >= spine.since_90d), 0) as rating_mean_90d,
    count(*) filter (where v.kind = 'survey') as surveys_365d,
    cast(sum(v.score) filter (where v.kind = 'survey') as double)
    / nullif(count(v.score) filter (where v.kind = 'survey'), 0) as survey_score_mean_365d,
    cast(sum(v.surprise) filter (where v.kind = 'survey') as double)
    / nullif(count(v.surprise) filter (where v.kind = 'survey'), 0) as surprise_mean_365d,
    count(*) filter (where v.kind = 'referral') as referrals_365d,
    coalesce(cast(sum(v.value) filter (where v.kind = 'points_earned' and v.occurred_at >= spine.since_90d) as double), 0) as points_earned_90d,
    coalesce(cast(sum(v.value) filter (where v.kind = 'points_earned') as double), 0) as points_earned_365d,
    coalesce(cast(sum(v.value) filter (where v.kind = 'points_spent') as double), 0) as points_spent_365d
from spine
left join voices as v
    on v.customer_id = spine.customer_id
    and v.visible_at < spine.event_timestamp
    and v.occurred_at >= spine.since_365d
group by spine.customer_id, spine.event_timestamp
