-- Products by when they became known. One row per product: known from the moment after known_since.
select
    product_id,
    cast(min(known_since) as timestamp) as known_since
from (
    select product_id, greatest(occurred_at, known_at) as known_since from products
    union all
    select product_id, greatest(occurred_at, known_at) as known_since from transactions
) as facts
group by product_id
