-- Orders as they became visible. One row per customer, order, occurred_at and visible_at (the later of occurred_at and known_at): sums of
-- its lines, so it is exact at any moment. Money is decimal: its sums do not depend on the order of rows. is_opening marks the part that
-- made the purchase visible first: an order whose lines become known at several times is counted once, at the time of that part.
with lines as (
    select
        t.customer_id,
        t.order_id,
        t.occurred_at,
        greatest(t.occurred_at, t.known_at) as visible_at,
        ((t.kind = 'sale' and t.amount > 0 or t.kind = 'free') and t.customer_id is not null) as is_purchase,
        t.kind = 'return' as is_return,
        cast(t.amount as decimal(18, 4)) as amount,
        cast(t.discount as decimal(18, 4)) as discount,
        cast(t.margin as decimal(18, 4)) as margin,
        cast(t.quantity as decimal(18, 4)) as quantity,
        t.channel,
        t.local_hour,
        t.local_weekday,
        t.order_gap_days
    from transactions as t
    where t.customer_id is not null
),
parts as (
    select
        customer_id,
        order_id,
        cast(occurred_at as timestamp) as occurred_at,
        cast(visible_at as timestamp) as visible_at,
        count(*) filter (where is_purchase) as lines,
        cast(sum(amount) as decimal(18, 4)) as net_amount,
        cast(coalesce(sum(margin), 0) as decimal(18, 4)) as margin,
        cast(coalesce(sum(amount) filter (where is_purchase), 0) as decimal(18, 4)) as sold_amount,
        cast(coalesce(sum(discount) filter (where is_purchase), 0) as decimal(18, 4)) as discount,
        cast(coalesce(sum(quantity) filter (where is_purchase), 0) as decimal(18, 4)) as units,
        cast(coalesce(sum(amount) filter (where is_return), 0) as decimal(18, 4)) as returned_amount,
        count(*) filter (where is_return) as returned_lines,
        min(channel) filter (where is_purchase) as channel,
        min(local_hour) filter (where is_purchase) as local_hour,
        min(local_weekday) filter (where is_purchase) as local_weekday,
        max(order_gap_days) filter (where is_purchase) as order_gap_days
    from lines
    group by customer_id, order_id, occurred_at, visible_at
)
select
    *,
    lines > 0 and row_number() over (
        partition by customer_id, order_id, lines > 0 order by visible_at, occurred_at
    ) = 1 as is_opening
from parts
