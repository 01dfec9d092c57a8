"""What is worth knowing of freshly ingested tables and would otherwise surprise somebody later; counted, never repaired."""

from __future__ import annotations

from retain.engine import Engine

_COUNTS = {
    "anonymous_sale_lines": "select count(*) from transactions where customer_id is null",
    "sale_lines_without_money": "select count(*) from transactions where kind = 'sale' and amount = 0",
    "free_lines_that_count_as_purchases": "select count(*) from transactions where kind = 'free'",
    "gift_lines": "select count(*) from transactions where kind = 'gift'",
    "return_lines": "select count(*) from transactions where kind = 'return'",
    "returns_without_an_earlier_sale": """
        with sold as (
            select customer_id, product_id, min(occurred_at) as first_at from transactions
            where kind in ('sale', 'free') and customer_id is not null group by customer_id, product_id
        )
        select count(*) from transactions as r
        left join sold as s on s.customer_id = r.customer_id and s.product_id = r.product_id and s.first_at <= r.occurred_at
        where r.kind = 'return' and r.customer_id is not null and s.customer_id is null
    """,
    "products_returned_for_more_than_was_paid": """
        select count(*) from (
            select customer_id, product_id from transactions
            where kind in ('sale', 'return') and customer_id is not null
            group by customer_id, product_id
            having count(*) filter (where kind = 'return') > 0 and count(*) filter (where kind = 'sale') > 0
                and sum(cast(amount as decimal(38, 4))) < 0
        )
    """,
    "customers": "select count(distinct customer_id) from transactions where customer_id is not null",
    "customers_with_transactions_and_no_description": """
        select count(*) from (select distinct customer_id from transactions where customer_id is not null) as t
        anti join customers using (customer_id)
    """,
    "customers_with_a_description_and_no_transactions": """
        select count(*) from (select distinct customer_id from customers) as c
        anti join (select distinct customer_id from transactions where customer_id is not null) as t using (customer_id)
    """,
    "products_with_transactions_and_no_description": """
        select count(*) from (select distinct product_id from transactions) as t anti join products using (product_id)
    """,
    "lines_known_late": "select count(*) from transactions where known_at > occurred_at",
}


def census(engine: Engine) -> dict[str, int]:
    """Counts over the attached contract tables, by name."""
    return {name: int(engine.rows(sql)[0][0]) for name, sql in _COUNTS.items()}
