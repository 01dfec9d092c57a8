"""Columns made once at ingest: local hour and weekday, the number of an order and the gap to the one before, the category.

Order number and gap are as far as then known: a line counts the customer's purchases that happened before it and were known no later
than the line itself. A purchase that becomes known later changes nothing on lines that could be seen before.
"""

from __future__ import annotations

from retain.engine import Engine, quoted
from retain.facts import PURCHASE

NUMBERED = "numbered_orders"
JOINED = f"left join {NUMBERED} as n on {' and '.join(f'n.{name} = t.{name}' for name in ('customer_id', 'order_id', 'occurred_at', 'known_at'))}"
"""Joins what ``number_orders`` found to lines ``t``."""


def category(path: str, level: int) -> str:
    """SQL for the category at a level of a path like ``GROCERY > BREAD``; null where the path is shorter."""
    return f"nullif(trim(string_split({path}, '>')[{level}]), '')"


def local_hour(at: str, zone: str) -> str:
    """SQL for the hour of the day on the clock of ``zone``."""
    return f"cast(hour(timezone({quoted(zone)}, {at})) as bigint)"


def local_weekday(at: str, zone: str) -> str:
    """SQL for the day of the week on the clock of ``zone``; Monday is 1."""
    return f"cast(isodow(timezone({quoted(zone)}, {at})) as bigint)"


def of_lines(zone: str) -> dict[str, str]:
    """SQL of what is derived of lines ``t``, with ``JOINED`` behind them."""
    return {
        "local_hour": local_hour("t.occurred_at", zone),
        "local_weekday": local_weekday("t.occurred_at", zone),
        "order_number": f"case when {PURCHASE} then n.order_number end",
        "order_gap_days": f"case when {PURCHASE} then n.order_gap_days end",
    }


def number_orders(engine: Engine, lines: str, zone: str) -> None:
    """Make the table ``numbered_orders``: one row per customer, order, ``occurred_at`` and ``known_at`` of the purchases in ``lines``.

    Purchases recorded as they happened are known to every later line, so one pass over them in time order counts them. Only those that
    became known late are compared with each line of their customer. Orders at the same moment stand in the order of their ids.
    """
    engine.execute(
        f"""
        create or replace temporary table purchase_moments as
        select t.customer_id, t.order_id, t.occurred_at, t.known_at
        from ({lines}) as t where {PURCHASE}
        group by all
        """
    )
    # prompt: an order by its first line that was known at once. late: what became known afterwards.
    engine.execute(
        """
        create or replace temporary view prompt as
        select customer_id, order_id, min(occurred_at) as occurred_at
        from purchase_moments where known_at = occurred_at
        group by customer_id, order_id
        """
    )
    engine.execute(
        """
        create or replace temporary table counted as
        with steps as (
            select
                customer_id, order_id, occurred_at,
                row_number() over (partition by customer_id order by occurred_at, order_id) as number,
                lag(occurred_at) over (partition by customer_id order by occurred_at, order_id) as before_it
            from prompt
        ),
        timeline as (
            select customer_id, order_id, occurred_at, cast(null as timestamptz) as known_at, false as is_line,
                struct_pack(order_id := order_id, occurred_at := occurred_at, number := number, before_it := before_it) as step
            from steps
            union all
            select customer_id, order_id, occurred_at, known_at, true, null from purchase_moments
        ),
        placed as (
            select customer_id, order_id, occurred_at, known_at, is_line,
                last_value(step ignore nulls) over (
                    partition by customer_id order by occurred_at, order_id, is_line rows between unbounded preceding and current row
                ) as latest
            from timeline
        )
        select
            placed.customer_id, placed.order_id, placed.occurred_at, placed.known_at,
            coalesce(latest.number, 0) - (case when own.order_id is not null and own.occurred_at <= placed.occurred_at then 1 else 0 end) as before,
            case when latest.order_id = placed.order_id then latest.before_it else latest.occurred_at end as previous_at
        from placed
        left join prompt as own on own.customer_id = placed.customer_id and own.order_id = placed.order_id
        where placed.is_line
        """
    )
    engine.execute(
        f"""
        create or replace temporary table {NUMBERED} as
        with late_orders as (
            select line.customer_id, line.order_id, line.occurred_at, line.known_at, late.order_id as late_order_id, min(late.occurred_at) as late_at
            from purchase_moments as line
            join purchase_moments as late
                on late.customer_id = line.customer_id
                and late.known_at > late.occurred_at
                and late.known_at <= line.known_at
                and late.order_id <> line.order_id
                and row(late.occurred_at, late.order_id) < row(line.occurred_at, line.order_id)
            left join prompt as same
                on same.customer_id = line.customer_id
                and same.order_id = late.order_id
            where same.order_id is null or row(same.occurred_at, same.order_id) >= row(line.occurred_at, line.order_id)
            group by all
        ),
        late_counts as (
            select customer_id, order_id, occurred_at, known_at, count(*) as before, max(late_at) as previous_at
            from late_orders group by all
        ),
        together as (
            select c.customer_id, c.order_id, c.occurred_at, c.known_at,
                c.before + coalesce(l.before, 0) as before, greatest(c.previous_at, l.previous_at) as previous_at
            from counted as c
            left join late_counts as l
                on l.customer_id = c.customer_id and l.order_id = c.order_id and l.occurred_at = c.occurred_at and l.known_at = c.known_at
        )
        select customer_id, order_id, occurred_at, known_at, before + 1 as order_number,
            date_diff('day', {_local_date("previous_at", zone)}, {_local_date("occurred_at", zone)}) as order_gap_days
        from together
        """
    )
    engine.execute("drop table counted")
    engine.execute("drop view prompt")
    engine.execute("drop table purchase_moments")


def _local_date(at: str, zone: str) -> str:
    return f"cast(timezone({quoted(zone)}, {at}) as date)"
