"""What is written beside the tables and no model may read: true hazards, values and responses, and what happened after the clock."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from retain.simulate import baskets, oracle
from retain.simulate.baskets import Choice
from retain.simulate.behaviour import STILL_HERE, Life
from retain.simulate.columns import Clock, Rows, words
from retain.simulate.draws import Floats
from retain.simulate.market import CATEGORY_NAMES, KINDS
from retain.simulate.people import People
from retain.simulate.records import end_cause
from retain.tables import CAUSES

STATES = ("active", "fading", "gone")


def tables(
    who: People, life: Life, choice: Choice, lines: Sequence[Rows], ids: pa.Array, clock: Clock, quarter: int, horizon: int
) -> dict[str, pa.Table]:
    """Truth of a block: ``customers`` (one row each), ``responses`` (customer and kind of offer), ``tastes`` (share of each category)."""
    day = clock.as_of.date()
    plain = oracle.future(who, life.standing, horizon, day)
    spend, margin = baskets.worth(choice, quarter)
    bought = np.bincount(life.orders.who[life.orders.day >= 0], minlength=len(ids))
    spent = _after(lines, len(ids), int(clock.us(0)), int(clock.us(horizon)))
    customers = pa.table({
        "customer_id": ids,
        "state": words(life.standing.state.astype(np.int64), STATES),
        "gone_probability": plain.gone,
        "fade_per_day": who.fade,
        "recover_per_day": who.recover * life.standing.care,
        "lifetime_end_at": clock.times(life.end_day, where=life.end_day < STILL_HERE),
        "end_cause": words(np.where(life.end_day < STILL_HERE, end_cause(who, life), -1), CAUSES),
        "orders_per_day": who.order_rate,
        "spend_per_order": spend,
        "margin_per_order": margin,
        "no_purchase_probability": plain.no_order,
        "expected_orders": plain.orders,
        "expected_spend": plain.orders * spend,
        "expected_margin": plain.orders * margin,
        "has_purchase_after": pa.array(bought > 0),
        "orders_after": bought,
        "spend_after": np.round(spent, 2),
    })  # fmt: skip
    responses = []
    for kind in range(len(KINDS)):
        with_offer = oracle.future(who, life.standing, horizon, day, kind)
        responses.append(pa.table({
            "customer_id": ids,
            "kind": words(np.full(len(ids), kind), KINDS),
            "accept_probability": with_offer.accepts,
            "purchase_uplift": plain.no_order - with_offer.no_order,
            "orders_uplift": with_offer.orders - plain.orders,
            "margin_uplift": (with_offer.orders - plain.orders) * margin,
        }))  # fmt: skip
    response = pa.concat_tables(responses)
    by_customer = np.arange(len(response)).reshape(len(KINDS), len(ids)).T.ravel()
    tastes = pa.table({"customer_id": ids, **{name: choice.usual[:, place] for place, name in enumerate(CATEGORY_NAMES)}})
    return {"customers": customers, "responses": response.take(pa.array(by_customer)), "tastes": tastes}


def _after(lines: Sequence[Rows], count: int, start: int, end: int) -> Floats:
    """Money of each customer within the horizon, whatever the kind of the line."""
    money = np.zeros(count)
    for part in lines:
        inside = np.flatnonzero((part.occurred >= start) & (part.occurred < end))
        amount = np.asarray(part.columns["amount"])[inside]
        money += np.bincount(part.who[inside], amount, minlength=count)
    return money
