"""What a campaign did, gathered from the tables: who was drawn into which group, and what each customer did in the window after."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retain.engine import Engine, of, quoted
from retain.errors import DataError
from retain.facts import PURCHASE
from retain.files import read_json, verify_folder
from retain.workspace import Workspace
from serving import gather
from serving.decisions.figures import Floats
from serving.lists.files import CAMPAIGN
from serving.lists.running import ARMS, FOLDER, LIST

FUNNEL = ("shown", "opened", "clicked", "accepted", "purchased")
"""Outcomes of a contact, each further than the one before."""
BEHIND = "the tables may be behind"
"""Begins the note that order lines end before the windows do: then what was bought is not all there."""
LAG = pd.Timedelta(days=1)
HARMS = ("unsubscribed", "complained", "returned")
"""Customers who left a channel, complained, or sent something back."""


@dataclass(frozen=True)
class Gathered:
    """Customers of a campaign in the order in which they were drawn, and what they did in the window."""

    campaign: str
    customers: NDArray[np.object_]
    at: NDArray[np.datetime64]
    """(customers,) when the window began."""
    is_contacted: NDArray[np.bool_]
    chance: Floats
    """(customers,) of being contacted."""
    is_closed: NDArray[np.bool_]
    """(customers,) whether the window is over."""
    buys: Floats
    """(customers,) 1 who bought."""
    revenue: Floats
    """(customers, days) money by day since the start, net of returns."""
    margin: Floats | None
    """(customers, days); None where no margin is known."""
    sold: Floats
    """(customers,) money of purchases, before returns."""
    sent_back: Floats
    """(customers,) money of returns, as a positive amount."""
    harms: dict[str, NDArray[np.bool_]]
    cost: Floats
    """(customers,) of contacts, and of offers as often as they were taken."""
    days: int
    as_of: datetime
    currency: str
    groups_by: Literal["list", "contacts"]
    notes: tuple[str, ...]
    synthetic: bool
    funnel: dict[str, int]
    """Contacted customers with each outcome of ``FUNNEL`` of this campaign, where any is recorded."""
    has_days: bool
    """False of a source without times: everything stands on the first day."""


def gathered(workspace: Workspace, campaign: str, days: int | None = None, margin_rate: float | None = None) -> Gathered:
    """Gather a campaign.

    Raises:
        DataError: no such campaign, or nobody in one of its groups.
    """
    state, now = workspace.state(), workspace.now()
    length = state.horizon_days if days is None else days
    with of(workspace) as sql:
        gather.attach_current(sql, now)
        arms, groups_by, notes = _arms(workspace, sql, campaign)
        if not len(arms):
            raise DataError(f"no campaign {campaign!r}: neither a list nor a contact bears its name; `retain list retention --campaign` names one")
        if arms["is_contacted"].all() or not arms["is_contacted"].any():
            missing = "held out" if arms["is_contacted"].all() else "contacted"
            raise DataError(f"campaign {campaign!r}: nobody was {missing}, so there is nothing to compare with")
        arms["place"] = np.arange(len(arms))
        arms["ends"] = arms["began"] + pd.Timedelta(days=length)
        lines = _lines(sql, arms, state.kind == "snapshot", campaign)
        rate, basis = gather.margin_rate(sql, now, state)
        if margin_rate is not None:
            rate, basis = margin_rate, "declared"
        told = _told(sql, arms, state.kind == "snapshot", campaign)
        last = None if state.kind == "snapshot" else sql.query(_LAST)["last"].iloc[0]
        reached = dict(sql.rows(_REACHED.format(campaign=quoted(campaign))))
        cost = sql.query(_COST.format(campaign=quoted(campaign)), arms=arms).set_index("place")["cost"].reindex(arms["place"]).fillna(0.0)
    closed = arms.loc[arms["ends"] <= pd.Timestamp(now), "ends"]
    if last is not None and len(closed) and (pd.isna(last) or pd.Timestamp(last) < closed.max() - LAG):
        until = "nothing" if pd.isna(last) else f"nothing after {pd.Timestamp(last).tz_convert('UTC'):%Y-%m-%d %H:%M} UTC"
        notes = (*notes, f"{BEHIND}: they hold {until}, and windows go on until {closed.max():%Y-%m-%d}; ingest what is missing first")
    if groups_by == "list" and not cost.any():
        cost = arms["expected_cost"] * arms["is_contacted"]
        notes = (*notes, "no contact of the campaign is recorded with a cost: costs are those that the list expected")
    size = (len(arms), length)
    revenue, margin = np.zeros(size), np.zeros(size)
    day = np.clip(lines["day"].to_numpy(dtype=np.int64), 0, length - 1)
    where = (lines["place"].to_numpy(dtype=np.int64), day)
    amount = lines["amount"].to_numpy(dtype=np.float64)
    np.add.at(revenue, where, amount)
    own = lines["margin"].to_numpy(dtype=np.float64, na_value=np.nan)
    is_own = np.isfinite(own) & (margin_rate is None)
    if rate is not None or is_own.all():
        np.add.at(margin, where, np.where(is_own, own, amount * (rate or 0.0)))
        notes = (*notes, f"margin: {'on the lines' if is_own.all() else f'{rate:.0%} of the money, {basis}'}")
    sums = lines.groupby("place")[["sold", "sent_back", "buys"]].sum().reindex(arms["place"]).fillna(0.0)
    return Gathered(
        campaign=campaign,
        customers=arms["customer_id"].to_numpy(dtype=object),
        at=arms["began"].dt.tz_localize(None).to_numpy(dtype="datetime64[us]"),
        is_contacted=arms["is_contacted"].to_numpy(dtype=bool),
        chance=arms["chance"].to_numpy(dtype=np.float64),
        is_closed=(arms["ends"] <= pd.Timestamp(now)).to_numpy(dtype=bool),
        buys=(sums["buys"] > 0).to_numpy(dtype=np.float64),
        revenue=revenue,
        margin=margin if rate is not None or is_own.all() else None,
        sold=sums["sold"].to_numpy(dtype=np.float64),
        sent_back=sums["sent_back"].to_numpy(dtype=np.float64),
        harms={**told, "returned": (sums["sent_back"] > 0).to_numpy(dtype=bool)},
        cost=cost.to_numpy(dtype=np.float64),
        days=length,
        as_of=now,
        currency=state.currency,
        groups_by=groups_by,
        notes=notes,
        synthetic=state.synthetic,
        funnel={kind: int(reached[kind]) for kind in FUNNEL if kind in reached},
        has_days=state.kind == "history",
    )


def _arms(workspace: Workspace, sql: Engine, campaign: str) -> tuple[pd.DataFrame, Literal["list", "contacts"], tuple[str, ...]]:
    """One row per customer, in the order of being drawn: ``customer_id``, ``began``, ``is_contacted``, ``chance``."""
    folder = workspace.lists / FOLDER / campaign
    runs = sorted(each for each in folder.iterdir() if each.is_dir()) if CAMPAIGN.fullmatch(campaign) and folder.is_dir() else []
    if runs:
        return _drawn(runs), "list", ()
    contacts = sql.query(
        f"""
        select customer_id, min(occurred_at) as began, bool_or(not coalesce(is_control, false)) as is_contacted,
            arg_min(probability, occurred_at) as probability, arg_min(coalesce(arm, ''), occurred_at) as arm
        from contacts_then where campaign_id = {quoted(campaign)} group by customer_id order by began, md5(customer_id)
        """
    )
    share = float(contacts["is_contacted"].mean()) if len(contacts) else 0.0
    known = contacts["probability"].to_numpy(dtype=np.float64, na_value=np.nan)
    is_contacted = contacts["is_contacted"].to_numpy(dtype=bool)
    arms = contacts.loc[is_contacted, "arm"].nunique()
    control = known[~is_contacted]
    notes: tuple[str, ...] = ()
    if len(known) and np.isfinite(known).all() and arms <= 1:
        chance = np.where(is_contacted, known, 1.0 - known)
    elif len(control) and np.isfinite(control).all() and np.ptp(control) < 1e-9:
        chance = np.full(len(known), 1.0 - control[0])
    else:
        chance = np.full(len(known), share)
        notes = ("the chance of being contacted was not written down: the share of the contacted stands for it, right only if it was equal for all",)
    contacts["chance"] = np.clip(chance, 0.01, 0.99)
    return contacts[["customer_id", "began", "is_contacted", "chance"]], "contacts", notes


def _drawn(runs: list[Path]) -> pd.DataFrame:
    """From lists of a campaign: whoever stands on several is what the first one drew."""
    parts = []
    for folder in runs:
        verify_folder(folder)
        moment = pd.Timestamp(read_json(folder / LIST)["as_of"])
        parts.append(pd.read_parquet(folder / ARMS).assign(began=moment.tz_convert("UTC")))
    arms = pd.concat(parts).drop_duplicates("customer_id")
    if (arms["chance"] < 1).any():
        # Who could not have been held out compares with nobody.
        arms = arms[arms["chance"] < 1].copy()
    arms["is_contacted"] = arms["is_contacted"].astype(bool)
    arms["mixed"] = pd.util.hash_array(arms["customer_id"].to_numpy(dtype=object))
    return arms.sort_values(["began", "mixed"], ignore_index=True).rename(columns={"cost": "expected_cost"})


def _lines(sql: Engine, arms: pd.DataFrame, is_snapshot: bool, campaign: str) -> pd.DataFrame:
    """Money by customer and day of the window; a snapshot has no times, so what came of the campaign is all there is."""
    if is_snapshot:
        return sql.query(
            f"""
            select a.place, 0 as day, sum(o.amount) as amount, cast(null as double) as margin, sum(o.amount) as sold, 0.0 as sent_back, 1 as buys
            from arms as a join outcomes as o using (customer_id) where o.campaign_id = {quoted(campaign)} and o.kind = 'purchased' group by a.place
            """,
            arms=arms,
        )
    return sql.query(
        f"""
        select a.place, cast(floor((epoch(t.occurred_at) - epoch(a.began)) / 86400) as bigint) as day, t.amount, t.margin,
            case when {PURCHASE} then t.amount else 0 end as sold, case when t.kind = 'return' then -t.amount else 0 end as sent_back,
            cast({PURCHASE} as integer) as buys
        from arms as a join transactions_then as t using (customer_id) where t.occurred_at >= a.began and t.occurred_at < a.ends
        order by a.place, t.occurred_at, t.order_id, t.line_id
        """,
        arms=arms,
    )


def _told(sql: Engine, arms: pd.DataFrame, is_snapshot: bool, campaign: str) -> dict[str, NDArray[np.bool_]]:
    """Who unsubscribed or complained in the window, by whatever way; both groups are asked alike."""
    window = f"r.campaign_id = {quoted(campaign)}" if is_snapshot else "r.occurred_at >= a.began and r.occurred_at < a.ends"
    found = {}
    for name, parts in {
        "unsubscribed": ("select * from outcomes_then where kind = 'unsubscribed'",),
        "complained": ("select * from outcomes_then where kind = 'complained'", "select * from events_then where kind = 'complaint'"),
    }.items():
        union = " union all ".join(f"select customer_id, occurred_at, campaign_id from ({part})" for part in parts)
        rows = sql.query(f"select distinct a.place from arms as a join ({union}) as r using (customer_id) where {window}", arms=arms)
        mask = np.zeros(len(arms), dtype=bool)
        mask[rows["place"].to_numpy(dtype=np.int64)] = True
        found[name] = mask
    return found


_COST = """
with sent as (
    select a.place, sum(coalesce(c.cost, 0)) as cost from arms as a join contacts_then as c using (customer_id)
    where c.campaign_id = {campaign} and not coalesce(c.is_control, false) group by a.place
),
taken as (
    select a.place, sum(coalesce(o.cost, 0)) as cost
    from arms as a join outcomes_then as r using (customer_id) join offers_now as o on o.offer_id = r.offer_id
    where r.campaign_id = {campaign} and r.kind = 'accepted' group by a.place
)
select place, sum(cost) as cost from (select * from sent union all select * from taken) group by place
"""
_LAST = "select max(occurred_at) as last from transactions_then"
_REACHED = """
select r.kind, count(distinct r.customer_id) from outcomes_then as r
where r.campaign_id = {campaign} and r.customer_id in (
    select customer_id from contacts_then where campaign_id = {campaign} and not coalesce(is_control, false))
group by r.kind
"""
