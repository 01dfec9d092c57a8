"""What happened after a cutoff: who was active before it, and what each bought, spent and returned in the horizon."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import pandas as pd

from retain.engine import Engine
from retain.facts import PURCHASE, VALUED
from retain.workspace import shift_days

ACTIVE_DAYS = 365
"""A customer with a purchase in this many calendar days before the cutoff is asked about: the population of churn and value."""

# Money is summed as decimals: sums of floats depend on the order of addition, and threads change it.
_SQL = f"""
with population as (
    select w.cutoff, w.until, w.is_closed, t.customer_id
    from windows as w
    join transactions as t
        on t.occurred_at >= w.since and t.occurred_at < w.cutoff and t.known_at < w.cutoff
    where {PURCHASE}
    group by all
)
select
    q.customer_id,
    q.cutoff,
    q.is_closed,
    cast(coalesce(sum(cast(t.amount as decimal(38, 6))), 0) as double) as spend,
    case
        when count(*) filter (where {VALUED} and t.margin is null) = 0 then cast(coalesce(sum(cast(t.margin as decimal(38, 6))), 0) as double)
    end as margin,
    count(distinct t.order_id) filter (where {PURCHASE}) as purchases,
    count(*) filter (where {PURCHASE}) > 0 as returned
from population as q
left join transactions as t
    on t.customer_id = q.customer_id and t.occurred_at >= q.cutoff and t.occurred_at < q.until
group by q.customer_id, q.cutoff, q.is_closed
order by q.cutoff, q.customer_id
"""


_LEFT = """
with versions as (
    select * from subscriptions qualify row_number() over (partition by subscription_id order by occurred_at desc, known_at desc) = 1
)
select
    customer_id,
    bool_and(ended_at is not null) as ended,
    bool_and(ended_at is not null) and coalesce(max_by(end_cause, ended_at) = 'involuntary', false) as is_involuntary
from versions
group by customer_id
order by customer_id
"""


def left(engine: Engine) -> pd.DataFrame:
    """Who had left when a snapshot was taken: whose every contract had ended, and whether the last one ended for a cause nobody chose.

    Returns:
        One row per customer with a contract, sorted: ``customer_id``, ``ended``, ``is_involuntary``.
    """
    return engine.query(_LEFT)


def after(engine: Engine, cutoffs: Sequence[datetime], horizon_days: int, zone: str, now: datetime) -> pd.DataFrame:
    """The population of each cutoff and what it did in the ``horizon_days`` after, sorted by cutoff and customer.

    Days are calendar days of ``zone``. The population is what was known at the cutoff; the outcome is what is known now.

    Returns:
        One row per customer and cutoff: ``customer_id``, ``cutoff`` (UTC), ``is_closed`` (the window ended at or before ``now``; if
        not, the outcome is only what happened so far), ``spend`` and ``margin`` (net of all lines; margin is null where a line of the
        window has none), ``purchases`` (orders), ``returned`` (at least one purchase).
    """
    windows = pd.DataFrame(
        {
            "since": [shift_days(cutoff, -ACTIVE_DAYS, zone) for cutoff in cutoffs],
            "cutoff": list(cutoffs),
            "until": [shift_days(cutoff, horizon_days, zone) for cutoff in cutoffs],
        }
    ).astype("datetime64[us, UTC]")
    windows["is_closed"] = windows["until"] <= pd.Timestamp(now)
    return engine.query(_SQL, windows=windows)
