-- Customers by when they became known. One row per customer: known from the moment after known_since.
select
    customer_id,
    cast(min(known_since) as timestamp) as known_since
from (
    select customer_id, greatest(occurred_at, known_at) as known_since from customers
    union all
    select customer_id, greatest(occurred_at, known_at) as known_since from transactions where customer_id is not null
    union all
    select customer_id, greatest(occurred_at, known_at) as known_since from events
    union all
    select customer_id, greatest(occurred_at, known_at) as known_since from contacts
    union all
    select customer_id, greatest(occurred_at, known_at) as known_since from subscriptions
) as facts
group by customer_id
