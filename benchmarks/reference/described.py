"""Some sixty features of each customer at a cut, of its own ledger's rows before it, by pandas: apart from the product's features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from benchmarks.reference import processes
from benchmarks.reference.protocol import DAY, Moment

RFM = ("recency", "orders", "spend", "tenure")
WINDOWS = (7, 14, 30, 60, 90, 180)
STABLE_DAYS = 90
"""Look-back of what is to mean the same however long the history is."""
FADING_DAYS = (7, 30, 90)


def rfm(moment: Moment) -> pd.DataFrame:
    """Days since the last purchase, orders, net money, days since the first: of all history."""
    rows = moment.before()
    placed = rows[rows.purchase].groupby("customer_id")
    return pd.DataFrame(
        {
            "recency": (moment.at - placed.ts.max()) / DAY,
            "orders": placed.order_id.nunique().astype(float),
            "spend": rows.groupby("customer_id").value.sum(),
            "tenure": (moment.at - placed.ts.min()) / DAY,
        }
    ).reindex(moment.population())


def rich(moment: Moment) -> pd.DataFrame:
    """All of history, the last window of the horizon's length, and what a purchase process says."""
    people = moment.population()
    rows = moment.before()
    found = _of(rows, moment.at, people, WINDOWS)
    found["rate"] = found.orders / (found.tenure + 1)
    found["spend_rate"] = found.spend / (found.tenure + 1)
    recent = rows[rows.ts >= moment.at - moment.horizon_days * DAY]
    found["period_orders"] = _count(recent[recent.purchase], people)
    found["period_spend"] = recent.groupby("customer_id").value.sum().reindex(people, fill_value=0.0)
    return pd.concat([found, processes.outlook(moment)], axis=1)


def stable(moment: Moment) -> pd.DataFrame:
    """What 90 days say, and rates per day of the whole history."""
    people, rows, whole = moment.population(), moment.before(), rfm(moment)
    found = _of(rows[rows.ts >= moment.at - STABLE_DAYS * DAY], moment.at, people, [days for days in WINDOWS if days <= STABLE_DAYS])
    found["recency"] = whole.recency.clip(upper=STABLE_DAYS)
    found["tenure"] = whole.tenure.clip(upper=STABLE_DAYS)
    for name in ("orders", "spend"):
        found[f"{name}_per_day"] = whole[name] / (whole.tenure + 1)
    found["rest"] = whole.recency / (whole.tenure + 1)
    return found


def _of(rows: pd.DataFrame, at: pd.Timestamp, people: pd.Index, windows: Sequence[int]) -> pd.DataFrame:
    """Features of some rows; NaN where a customer has none of a kind."""
    bought = rows[rows.purchase]
    placed = bought.groupby(["customer_id", "order_id"], sort=True).agg(ts=("ts", "min"), value=("value", "sum"), lines=("value", "size"))
    placed = placed.reset_index().sort_values(["customer_id", "ts"], kind="stable")
    placed["age"] = (at - placed.ts) / DAY
    of = placed.groupby("customer_id")
    net, age = rows.groupby("customer_id").value, (at - rows.ts) / DAY
    found = pd.DataFrame(index=people)
    found["recency"], found["tenure"], found["orders"], found["spend"] = of.age.min(), of.age.max(), of.size(), net.sum()
    for name, values in {**_gaps(placed), **_amounts(placed)}.items():
        found[name] = values
    for name in ("mean", "median", "max"):
        found[f"overdue_{name}"] = found.recency / found[f"gap_{name}"].clip(lower=1.0)
    found["overdue_z"] = (found.recency - found.gap_mean) / (found.gap_std + 1.0)
    for days in windows:
        found[f"orders_{days}"] = _count(placed[placed.age <= days], people)
        found[f"spend_{days}"] = rows[age <= days].groupby("customer_id").value.sum().reindex(people, fill_value=0.0)
    for short, long in ((30, 90), (90, 180)):
        if long in windows:
            found[f"orders_{short}_of_{long}"] = found[f"orders_{short}"] / found[f"orders_{long}"].replace(0.0, np.nan)
            found[f"spend_{short}_of_{long}"] = found[f"spend_{short}"] / found[f"spend_{long}"].where(found[f"spend_{long}"] > 0)
    for days in FADING_DAYS:
        faded = np.exp(-placed.age / days)
        found[f"faded_orders_{days}"] = faded.groupby(placed.customer_id).sum()
        found[f"faded_spend_{days}"] = (faded * placed.value).groupby(placed.customer_id).sum()
    back = rows[rows.value < 0]
    found["returns"] = _count(back, people)
    found["returned"] = -back.groupby("customer_id").value.sum().reindex(people, fill_value=0.0)
    found["returned_share"] = found.returned / placed.groupby("customer_id").value.sum().clip(lower=1.0)
    first = bought.groupby(["customer_id", "item"]).ts.min().reset_index()
    found["items"] = first.groupby("customer_id").size()
    found["items_per_order"] = found["items"] / found.orders
    found["lines_per_order"] = of.lines.mean()
    found["new_items"] = _count(first[first.ts >= at - 30 * DAY], people) / found["items"]
    return found.astype(float)


def _gaps(placed: pd.DataFrame) -> dict[str, pd.Series]:
    """Days between purchase days."""
    day = pd.DataFrame({"customer_id": placed.customer_id, "day": placed.ts.dt.floor("D")}).drop_duplicates()
    gap = day.groupby("customer_id").day.diff() / DAY
    known = gap.notna()
    of = gap[known].groupby(day.customer_id[known])
    names = {"mean": of.mean(), "median": of.median(), "std": of.std(), "max": of.max(), "min": of.min(), "last": of.last()}
    return {"days": day.groupby("customer_id").size(), **{f"gap_{name}": values for name, values in names.items()}}


def _amounts(placed: pd.DataFrame) -> dict[str, pd.Series]:
    """The shape of what an order comes to."""
    of = placed.groupby("customer_id").value
    mean = of.mean()
    names = {"mean": mean, "median": of.median(), "std": of.std(), "max": of.max(), "min": of.min(), "last": of.last()}
    return {**{f"order_{name}": values for name, values in names.items()}, "order_last_of_mean": of.last() / mean.clip(lower=0.01)}


def _count(rows: pd.DataFrame, people: pd.Index) -> pd.Series:
    return rows.groupby("customer_id").size().reindex(people, fill_value=0).astype(float)
