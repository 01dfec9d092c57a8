"""What happened after a cutoff: who was active before it, what each bought, spent and returned in the horizon, and whose contract ended."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

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


# The purchases of the few with such a cause are looked at, and nobody else's.
_INVOLUNTARY = f"""
with causes as (
    select customer_id, occurred_at from events where cause = 'involuntary'
    union all select customer_id, ended_at from subscriptions where end_cause = 'involuntary'
),
caused as (
    select q.place, q.customer_id, q.until, max(c.occurred_at) as caused_at
    from asked as q join causes as c on c.customer_id = q.customer_id and c.occurred_at < q.until
    group by all
)
select q.place
from caused as q join transactions as t on t.customer_id = q.customer_id and t.occurred_at < q.until
where {PURCHASE}
group by q.place, q.caused_at
having max(t.occurred_at) <= q.caused_at
"""

# A contract that says it does not renew itself ends on its agreed day. Whoever signs another one within the window has not left.
_CONTRACTS = """
with versions as (select *, coalesce(ended_at, case when is_renewed_automatically = false then ends_at end) as over_at from subscriptions),
then_known as (
    select w.cutoff, w.until, w.is_closed, s.customer_id, s.started_at, s.over_at
    from windows as w join versions as s on s.occurred_at < w.cutoff and s.known_at < w.cutoff
    qualify row_number() over (partition by w.cutoff, s.subscription_id order by s.occurred_at desc, s.known_at desc) = 1
),
population as (
    select distinct cutoff, until, is_closed, customer_id from then_known where started_at < cutoff and (over_at is null or over_at >= cutoff)
),
now_known as (
    select * from versions qualify row_number() over (partition by subscription_id order by occurred_at desc, known_at desc) = 1
)
select
    q.customer_id,
    q.cutoff,
    q.is_closed,
    bool_or(n.over_at is null or n.over_at >= q.until) as returned,
    coalesce(max_by(coalesce(n.end_cause, ''), n.over_at) filter (where n.over_at < q.until) = 'involuntary', false) as is_involuntary
from population as q join now_known as n on n.customer_id = q.customer_id and n.started_at < q.until
group by q.customer_id, q.cutoff, q.is_closed
order by q.cutoff, q.customer_id
"""

_LEFT = """
with versions as (
    select * from subscriptions qualify row_number() over (partition by subscription_id order by occurred_at desc, known_at desc) = 1
)
select
    customer_id,
    bool_or(ended_at is null) as returned,
    coalesce(max_by(coalesce(end_cause, ''), ended_at) = 'involuntary', false) as is_involuntary
from versions
group by customer_id
order by customer_id
"""


def after(engine: Engine, cutoffs: Sequence[datetime], horizon_days: int, zone: str, now: datetime) -> pd.DataFrame:
    """The population of each cutoff and what it did in the ``horizon_days`` after, sorted by cutoff and customer.

    Days are calendar days of ``zone``. The population is what was known at the cutoff; the outcome is what is known now.

    Returns:
        One row per customer and cutoff: ``customer_id``, ``cutoff`` (UTC), ``is_closed`` (the window ended at or before ``now``; if
        not, the outcome is only what happened so far), ``spend`` and ``margin`` (net of all lines; margin is null where a line of the
        window has none), ``purchases`` (orders), ``returned`` (at least one purchase).
    """
    return engine.query(_SQL, windows=_windows(cutoffs, horizon_days, zone, now))


def involuntary(engine: Engine, after: pd.DataFrame, horizon_days: int, zone: str) -> NDArray[np.bool_]:
    """(rows of ``after``,) whether a cause that nobody chose (moved away, closed, died) is on record after the last purchase."""
    until = {cutoff: shift_days(cutoff.to_pydatetime(), horizon_days, zone) for cutoff in after["cutoff"].unique()}
    asked = after[["customer_id"]].assign(until=after["cutoff"].map(until), place=np.arange(len(after)))
    found = engine.query(_INVOLUNTARY, asked=asked.astype({"until": "datetime64[us, UTC]"}))
    return np.isin(np.arange(len(after)), found["place"])


def contracts(engine: Engine, cutoffs: Sequence[datetime], horizon_days: int, zone: str, now: datetime) -> pd.DataFrame:
    """Who held a running contract at each cutoff, as then known, and who holds one ``horizon_days`` later, as known now.

    Returns:
        One row per customer and cutoff, sorted by cutoff and customer: ``customer_id``, ``cutoff``, ``is_closed``, ``returned`` (a contract,
        the old one or a new one, still runs at the end of the window), ``is_involuntary`` (the last end has a cause that nobody chose).
    """
    return engine.query(_CONTRACTS, windows=_windows(cutoffs, horizon_days, zone, now))


def left(engine: Engine) -> pd.DataFrame:
    """Who had left when a snapshot was taken: one row per customer with a contract, sorted, with the last two columns of ``contracts``."""
    return engine.query(_LEFT)


def _windows(cutoffs: Sequence[datetime], horizon_days: int, zone: str, now: datetime) -> pd.DataFrame:
    windows = pd.DataFrame(
        {
            "since": [shift_days(cutoff, -ACTIVE_DAYS, zone) for cutoff in cutoffs],
            "cutoff": list(cutoffs),
            "until": [shift_days(cutoff, horizon_days, zone) for cutoff in cutoffs],
        }
    ).astype("datetime64[us, UTC]")
    windows["is_closed"] = windows["until"] <= pd.Timestamp(now)
    return windows
