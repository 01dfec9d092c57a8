-- How often a customer was contacted, and what it cost: fatigue. One row per customer and moment. Controls were not contacted.
select
    spine.customer_id,
    spine.event_timestamp,
    date_diff('day', cast(max(p.occurred_at) as date), cast(spine.event_timestamp as date)) as days_since_contact_365d,
    count(p.kind) filter (where p.occurred_at >= spine.since_7d) as contacts_7d,
    count(p.kind) filter (where p.occurred_at >= spine.since_30d) as contacts_30d,
    count(p.kind) filter (where p.occurred_at >= spine.since_90d) as contacts_90d,
    count(p.kind) as contacts_365d,
    coalesce(cast(sum(p.cost) filter (where p.occurred_at >= spine.since_90d) as double), 0) as contact_cost_90d,
    coalesce(cast(sum(p.cost) as double), 0) as contact_cost_365d,
    count(*) filter (where p.channel = 'email' and p.occurred_at >= spine.since_90d) as email_contacts_90d,
    count(*) filter (where p.channel = 'email') as email_contacts_365d,
    count(*) filter (where p.channel = 'sms' and p.occurred_at >= spine.since_90d) as sms_contacts_90d,
    count(*) filter (where p.channel = 'sms') as sms_contacts_365d,
    count(*) filter (where p.channel = 'push' and p.occurred_at >= spine.since_90d) as push_contacts_90d,
    count(*) filter (where p.channel = 'push') as push_contacts_365d,
    count(*) filter (where p.channel = 'mail' and p.occurred_at >= spine.since_90d) as mail_contacts_90d,
    count(*) filter (where p.channel = 'mail') as mail_contacts_365d,
    count(*) filter (where p.channel = 'call_center' and p.occurred_at >= spine.since_90d) as call_center_contacts_90d,
    count(*) filter (where p.channel = 'call_center') as call_center_contacts_365d
from spine
left join promotion as p
    on p.customer_id = spine.customer_id
    and p.kind = 'contact'
    and p.visible_at < spine.event_timestamp
    and p.occurred_at >= spine.since_365d
group by spine.customer_id, spine.event_timestamp
