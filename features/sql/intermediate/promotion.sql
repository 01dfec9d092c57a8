-- Contacts and the answers to them. One row per contact that was sent (kind 'contact') and per outcome (its kind), with the channel of the
-- contact where the outcome names none and its contact was known.
select
    customer_id,
    cast(occurred_at as timestamp) as occurred_at,
    cast(greatest(occurred_at, known_at) as timestamp) as visible_at,
    'contact' as kind,
    channel,
    cast(cost as decimal(18, 4)) as cost
from contacts
where coalesce(is_control, false) = false
union all
select
    o.customer_id,
    cast(o.occurred_at as timestamp) as occurred_at,
    cast(greatest(o.occurred_at, o.known_at) as timestamp) as visible_at,
    o.kind,
    coalesce(o.channel, c.channel) as channel,
    cast(0 as decimal(18, 4)) as cost
from outcomes as o
left join contacts as c
    on c.contact_id = o.contact_id
    and greatest(c.occurred_at, c.known_at) <= greatest(o.occurred_at, o.known_at)
