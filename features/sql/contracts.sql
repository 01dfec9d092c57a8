-- The running contracts of a customer, by the terms known then. One row per customer and moment. When a contract will really end is never read.
select
    spine.customer_id,
    spine.event_timestamp,
    count(c.subscription_id) as contracts_running,
    case
        when min(c.started_at) is not null
            then least(date_diff('day', cast(min(c.started_at) as date), cast(spine.event_timestamp as date)), 1825)
    end as contract_days_1825,
    date_diff('day', cast(spine.event_timestamp as date), cast(min(c.agreed_until) as date)) as days_to_agreed_end,
    cast(sum(c.price) as double) as contract_price,
    min(c.period_days) as contract_period_days,
    min(c.plan) as contract_plan,
    max(case when c.is_renewed_automatically then 1 when c.is_renewed_automatically = false then 0 end) as renews_itself,
    max(c.notice_days) as notice_days,
    cast(max(c.exit_fee) as double) as exit_fee
from spine
left join contract_versions as c
    on c.customer_id = spine.customer_id
    and c.visible_at < spine.event_timestamp
    and c.superseded_at >= spine.event_timestamp
    and c.started_at < spine.event_timestamp
    and c.over_at >= spine.event_timestamp
group by spine.customer_id, spine.event_timestamp
