"""Purchase processes on the row's own histories. The fits are the product's: they give the published parameters, so another would tell nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmarks.reference.protocol import DAY, Moment
from training.models.purchase_process.bgnbd import BgNbdProcess
from training.models.purchase_process.history import History
from training.models.purchase_process.outlook import none_within, purchases_within
from training.models.purchase_process.pareto import ParetoNbdProcess
from training.models.purchase_process.spend import GammaGamma

Process = type[BgNbdProcess] | type[ParetoNbdProcess]
WEEK_DAYS = 7.0


def outlook(moment: Moment, process: Process = BgNbdProcess) -> pd.DataFrame:
    """Of each customer: chance of no purchase in the horizon, purchases and money to expect, chance of being alive.

    All of history; days with a purchase, in weeks; money of repeat days, returns not taken off.
    """
    people, rows = moment.population(), moment.before()
    bought = rows[rows.purchase & rows.customer_id.isin(people)]
    days = bought.assign(day=bought.ts.dt.floor("D")).groupby(["customer_id", "day"]).value.sum().reset_index()
    of = days.groupby("customer_id")
    first, last = of.day.min().reindex(people), of.day.max().reindex(people)
    repeats = (of.size().reindex(people) - 1).to_numpy(float)
    # The day of the first purchase is over before the watch begins.
    watched = ((moment.at.floor("D") - first) / DAY - 1).to_numpy(float)
    history = History(repeats, ((last - first) / DAY).to_numpy(float), np.maximum(watched, 0.0))
    seen = History(history.repeats, history.last, np.maximum(history.watched, history.last)).over(WEEK_DAYS)
    again = days[days.day > days.customer_id.map(first)]
    mean = again.groupby("customer_id").value.mean().reindex(people, fill_value=0.0).to_numpy(float)
    fitted = process.fit(seen)
    spend = GammaGamma.fit(seen.repeats, mean)
    horizon = moment.horizon_days / WEEK_DAYS
    purchases = np.asarray(purchases_within(fitted, seen, horizon))
    return pd.DataFrame(
        {
            "p_none": np.asarray(none_within(fitted, seen, horizon)),
            "p_purchases": purchases,
            "p_money": purchases * spend.expected(seen.repeats, mean),
            "p_alive": fitted.alive(seen),
        },
        index=people,
    )
