-- What a customer says of us, and loyalty in words and points. One row per customer and moment.
select
    spine.customer_id,
    spine.event_timestamp,
    count(*) filter (where a.kind = 'rating') as ratings_365d,
    cast(sum(a.value) filter (where a.kind = 'rating') as double) / nullif(count(a.value) filter (where a.kind = 'rating'), 0) as rating_mean_365d,
    cast(sum(a.value) filter (where a.kind = 'rating' and a.occurred_at >= spine.since_90d) as double) / nullif(count(a.value) filter (where a.kind = 'rating' and a.occurred_at >= spine.since_90d), 0) as rating_mean_90d,
    count(*) filter (where a.kind = 'survey') as surveys_365d,
    cast(sum(a.score) filter (where a.kind = 'survey') as double) / nullif(count(a.score) filter (where a.kind = 'survey'), 0) as survey_score_mean_365d,
    cast(sum(a.surprise) filter (where a.kind = 'survey') as double) / nullif(count(a.surprise) filter (where a.kind = 'survey'), 0) as surprise_mean_365d,
    count(*) filter (where a.kind = 'referral') as referrals_365d,
    coalesce(cast(sum(a.value) filter (where a.kind = 'points_earned' and a.occurred_at >= spine.since_90d) as double), 0) as points_earned_90d,
    coalesce(cast(sum(a.value) filter (where a.kind = 'points_earned') as double), 0) as points_earned_365d,
    coalesce(cast(sum(a.value) filter (where a.kind = 'points_spent') as double), 0) as points_spent_365d
from spine
left join actions as a
    on a.customer_id = spine.customer_id
    and a.visible_at < spine.event_timestamp
    and a.occurred_at >= spine.since_365d
    and a.kind in ('rating', 'survey', 'referral', 'points_earned', 'points_spent')
group by spine.customer_id, spine.event_timestamp
