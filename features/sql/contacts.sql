-- How a customer was contacted, what it cost, and the answers: fatigue and response. One row per customer and moment. Controls were not
-- contacted. Rates are answers per contact, smoothed: one answer and twenty contacts are added, so without contacts they stand at 5 %.
select
    spine.customer_id,
    spine.event_timestamp,
    date_diff('day', cast(max(p.occurred_at) filter (where p.kind = 'contact') as date), cast(spine.event_timestamp as date)) as days_since_contact_365d,
    count(*) filter (where p.kind = 'contact' and p.occurred_at >= spine.since_7d) as contacts_7d,
    count(*) filter (where p.kind = 'contact' and p.occurred_at >= spine.since_30d) as contacts_30d,
    count(*) filter (where p.kind = 'contact' and p.occurred_at >= spine.since_90d) as contacts_90d,
    count(*) filter (where p.kind = 'contact') as contacts_365d,
    coalesce(cast(sum(p.cost) filter (where p.occurred_at >= spine.since_90d) as double), 0) as contact_cost_90d,
    coalesce(cast(sum(p.cost) as double), 0) as contact_cost_365d,
    count(*) filter (where p.kind = 'contact' and p.channel = 'email' and p.occurred_at >= spine.since_90d) as email_contacts_90d,
    count(*) filter (where p.kind = 'contact' and p.channel = 'email') as email_contacts_365d,
    count(*) filter (where p.kind = 'contact' and p.channel = 'sms' and p.occurred_at >= spine.since_90d) as sms_contacts_90d,
    count(*) filter (where p.kind = 'contact' and p.channel = 'sms') as sms_contacts_365d,
    count(*) filter (where p.kind = 'contact' and p.channel = 'push' and p.occurred_at >= spine.since_90d) as push_contacts_90d,
    count(*) filter (where p.kind = 'contact' and p.channel = 'push') as push_contacts_365d,
    count(*) filter (where p.kind = 'contact' and p.channel = 'mail' and p.occurred_at >= spine.since_90d) as mail_contacts_90d,
    count(*) filter (where p.kind = 'contact' and p.channel = 'mail') as mail_contacts_365d,
    count(*) filter (where p.kind = 'contact' and p.channel = 'call_center' and p.occurred_at >= spine.since_90d) as call_center_contacts_90d,
    count(*) filter (where p.kind = 'contact' and p.channel = 'call_center') as call_center_contacts_365d,
    date_diff(
        'day', cast(max(p.occurred_at) filter (where p.kind in ('clicked', 'accepted')) as date), cast(spine.event_timestamp as date)
    ) as days_since_response_365d,
    count(*) filter (where p.kind = 'opened' and p.occurred_at >= spine.since_30d) as opened_30d,
    count(*) filter (where p.kind = 'opened' and p.occurred_at >= spine.since_90d) as opened_90d,
    count(*) filter (where p.kind = 'clicked' and p.occurred_at >= spine.since_30d) as clicked_30d,
    count(*) filter (where p.kind = 'clicked' and p.occurred_at >= spine.since_90d) as clicked_90d,
    count(*) filter (where p.kind = 'accepted' and p.occurred_at >= spine.since_30d) as accepted_30d,
    count(*) filter (where p.kind = 'accepted' and p.occurred_at >= spine.since_90d) as accepted_90d,
    count(*) filter (where p.kind = 'accepted') as accepted_365d,
    count(*) filter (where p.kind = 'rejected') as rejected_365d,
    count(*) filter (where p.kind = 'unsubscribed') as unsubscribed_365d,
    count(*) filter (where p.kind = 'complained') as complained_365d,
    (count(*) filter (where p.kind = 'opened') + 1) / (count(*) filter (where p.kind = 'contact') + 20.0e0) as open_rate_365d,
    (count(*) filter (where p.kind = 'accepted') + 1) / (count(*) filter (where p.kind = 'contact') + 20.0e0) as accept_rate_365d,
    (count(*) filter (where p.kind = 'accepted' and p.occurred_at >= spine.since_90d) + 1)
    / (count(*) filter (where p.kind = 'contact' and p.occurred_at >= spine.since_90d) + 20.0e0) as accept_rate_90d,
    (count(*) filter (where p.channel = 'email' and p.kind in ('clicked', 'accepted')) + 1)
    / (count(*) filter (where p.channel = 'email' and p.kind = 'contact') + 20.0e0)
        as email_response_rate_365d,
    (count(*) filter (where p.channel = 'sms' and p.kind in ('clicked', 'accepted')) + 1)
    / (count(*) filter (where p.channel = 'sms' and p.kind = 'contact') + 20.0e0)
        as sms_response_rate_365d,
    (count(*) filter (where p.channel = 'push' and p.kind in ('clicked', 'accepted')) + 1)
    / (count(*) filter (where p.channel = 'push' and p.kind = 'contact') + 20.0e0)
        as push_response_rate_365d,
    (count(*) filter (where p.channel = 'mail' and p.kind in ('clicked', 'accepted')) + 1)
    / (count(*) filter (where p.channel = 'mail' and p.kind = 'contact') + 20.0e0)
        as mail_response_rate_365d,
    (count(*) filter (where p.channel = 'call_center' and p.kind in ('clicked', 'accepted')) + 1)
    / (count(*) filter (where p.channel = 'call_center' and p.kind = 'contact') + 20.0e0)
        as call_center_response_rate_365d
from spine
left join promotion as p
    on p.customer_id = spine.customer_id
    and p.visible_at < spine.event_timestamp
    and p.occurred_at >= spine.since_365d
group by spine.customer_id, spine.event_timestamp
