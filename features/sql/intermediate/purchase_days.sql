-- Days on which a customer bought, and for how much, as far as then known. One row per customer, day and visible_at (the later of
-- occurred_at and known_at): it holds from visible_at until superseded_at, when more of the day becomes visible. At any moment one row of
-- each day holds, so counting rows counts days. Days are those of the clock of all times here, UTC.
with sold as (
    select
        t.customer_id,
        cast(cast(t.occurred_at as timestamp) as date) as day,
        greatest(t.occurred_at, t.known_at) as visible_at,
        sum(cast(t.amount as decimal(18, 4))) as amount
    from transactions as t
    where ((t.kind = 'sale' and t.amount > 0 or t.kind = 'free') and t.customer_id is not null)
    group by t.customer_id, cast(cast(t.occurred_at as timestamp) as date), greatest(t.occurred_at, t.known_at)
)
select
    customer_id,
    day,
    cast(visible_at as timestamp) as visible_at,
    cast(
        coalesce(
            min(visible_at) over (partition by customer_id, day order by visible_at rows between 1 following and 1 following),
            cast('9999-12-31 00:00:00' as timestamp)
        ) as timestamp
    ) as superseded_at,
    cast(
        sum(amount) over (partition by customer_id, day order by visible_at rows between unbounded preceding and current row) as decimal(18, 4)
    ) as amount
from sold
