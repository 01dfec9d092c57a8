-- Who a customer is, in the newest version known. One row per customer and moment. Protected columns are never read.
select
    spine.customer_id,
    spine.event_timestamp,
    case
        when c.joined_at is not null
            then least(greatest(date_diff('day', cast(c.joined_at as date), cast(spine.event_timestamp as date)), 0), 365)
    end as tenure_days_365,
    c.relation,
    c.relation_level,
    c.acquisition_channel,
    c.acquisition_cost,
    c.preferred_channel,
    c.region,
    c.country,
    c.age_band,
    c.income_band,
    c.household_size,
    c.children,
    c.home_ownership,
    c.lifestyle,
    c.profile_grade,
    c.loyalty_tier
from spine
left join customer_versions as c
    on c.customer_id = spine.customer_id
    and c.visible_at < spine.event_timestamp
    and c.superseded_at >= spine.event_timestamp
