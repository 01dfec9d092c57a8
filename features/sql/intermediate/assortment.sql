-- What was bought when. One row per customer, product, occurred_at and visible_at (the later of occurred_at and known_at), anonymous
-- sales included. A row is the customer's newest purchase of the product from visible_at until product_superseded_at, and of the category
-- until category_superseded_at: distinct products, categories and buyers of any window are then plain counts. The category is the one
-- known at the sale.
with sold as (
    select
        t.customer_id,
        t.product_id,
        t.occurred_at,
        greatest(t.occurred_at, t.known_at) as visible_at,
        sum(cast(t.quantity as decimal(18, 4))) as units,
        sum(cast(t.amount as decimal(18, 4))) as amount,
        sum(cast(t.margin as decimal(18, 4))) as margin
    from transactions as t
    where t.kind = 'sale' and t.amount > 0 or t.kind = 'free'
    group by t.customer_id, t.product_id, t.occurred_at, greatest(t.occurred_at, t.known_at)
),
timed as (
    select
        customer_id,
        product_id,
        cast(occurred_at as timestamp) as occurred_at,
        cast(visible_at as timestamp) as visible_at,
        cast(units as decimal(18, 4)) as units,
        cast(amount as decimal(18, 4)) as amount,
        cast(coalesce(margin, 0) as decimal(18, 4)) as margin
    from sold
),
described as (
    select
        s.*,
        p.category
    from timed as s
    left join product_versions as p
        on p.product_id = s.product_id
        and p.visible_at <= s.visible_at
        and p.superseded_at > s.visible_at
)
select
    *,
    coalesce(
        min(visible_at) over (
            partition by customer_id, product_id order by occurred_at desc, visible_at desc rows between unbounded preceding and 1 preceding
        ),
        cast('9999-12-31 00:00:00' as timestamp)
    ) as product_superseded_at,
    coalesce(
        min(visible_at) over (
            partition by customer_id, category
            order by occurred_at desc, visible_at desc, product_id desc rows between unbounded preceding and 1 preceding
        ),
        cast('9999-12-31 00:00:00' as timestamp)
    ) as category_superseded_at
from described
