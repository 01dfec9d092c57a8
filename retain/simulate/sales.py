"""Transactions of a block: lines, gifts, delivery fees, returns and goodwill, some of them known late."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from retain.simulate.baskets import ADJUSTMENT, FEE, GIFT, LINE_KINDS, NEVER, RETURN, SALE, SHOP_CHANNELS, Baskets
from retain.simulate.behaviour import Life
from retain.simulate.campaigns import Campaigns
from retain.simulate.columns import Clock, Rows, joined, late, words
from retain.simulate.draws import Floats, Integers
from retain.simulate.market import DELIVERY, DELIVERY_FEE, GOODWILL, OFFER_IDS, Market
from retain.simulate.people import REGIONS, People

GOODWILL_AMOUNT = 5.0
_FEE_LINE = 99
_PAYMENTS = ("card", "cash", "invoice")
_LATE_ORDERS, _LATE_LINES, _LATE_RETURNS = 0.02, 0.002, 0.03
_LATE_S = 36 * 3600.0


def lines(who: People, shop: Market, life: Life, baskets: Baskets, ids: pa.Array, campaigns: Campaigns, clock: Clock) -> list[Rows]:
    """Every line of a block, whenever it happens and is known."""
    b, of = baskets, baskets.line_order
    # No two orders of a customer fall on one day, so customer and day make the id; it does not depend on where the data begin.
    order_id = joined(ids.take(pa.array(b.who)), "-", pa.array(b.day + 20_000).cast(pa.string()))
    sold = clock.us(b.day, b.second)
    known = late(sold, b.draws.named("order known"), _LATE_ORDERS, _LATE_S)
    line = b.draws.take(of).named("line known").at(b.line_number)
    line_known = np.maximum(known[of], late(sold[of], line, _LATE_LINES, _LATE_S))
    store = who.region[b.who] * 5 + who.draws.named("store").take(b.who).below(5)
    payment = np.where(b.channel == 0, b.draws.named("payment").choice([60, 40]), np.where(b.draws.named("invoice").chance(0.3), 2, 0))
    wave = np.where(b.contact >= 0, np.append(campaigns.wave, -1)[b.contact], -1)
    of_order = {
        "channel": words(b.channel, SHOP_CHANNELS),
        "store_id": words(np.where(b.channel == 0, store, -1), [f"S{number:02d}" for number in range(5 * len(REGIONS))]),
        "region": words(who.region[b.who], REGIONS),
        "offer_id": words(b.offer, OFFER_IDS),
        "campaign_id": words(wave, campaigns.ids),
        "payment": words(payment, _PAYMENTS),
    }

    def rows(
        order: Integers,
        occurred: Integers,
        known: Integers,
        kind: Integers | int,
        product: Integers,
        number: Integers,
        values: Mapping[str, Floats],
        suffix: str = "",
    ) -> Rows:
        at = pa.array(order)
        ids_of = order_id.take(at)
        columns = {name: column.take(at) for name, column in of_order.items()}
        columns |= {
            "order_id": joined(ids_of, suffix) if suffix else ids_of,
            "line_id": pa.array(number + 1).cast(pa.string()),
            "product_id": words(product, shop.product_ids),
            "kind": words(np.broadcast_to(np.asarray(kind), len(order)), LINE_KINDS),
            "currency": pa.array(["EUR"]).take(pa.array(np.zeros(len(order), dtype=np.int32))),
            **{name: pa.array(value) for name, value in values.items()},
        }
        if suffix:
            columns["returned_order_id"] = ids_of
        return Rows(b.who[order], occurred, known, columns)

    margin = np.round(b.line_amount - shop.unit_cost[b.product] * b.quantity, 2)
    units = b.quantity.astype(float)
    money = {"quantity": units, "amount": b.line_amount, "discount": b.discount, "margin": margin}
    sales = rows(of, sold[of], line_known, np.where(b.is_gift, GIFT, SALE), b.product, b.line_number, money)

    paid = np.flatnonzero(b.has_fee)
    one, none = np.ones(len(paid)), np.zeros(len(paid))
    money = {"quantity": one, "amount": one * DELIVERY_FEE, "discount": none, "margin": none}
    fees = rows(paid, sold[paid], known[paid], FEE, np.full(len(paid), shop.product_ids.index(DELIVERY)), np.full(len(paid), _FEE_LINE), money)

    back = np.flatnonzero(b.return_day < NEVER)
    returned = clock.us(b.return_day[back], 9 * 3600 + line.named("return hour").take(back).below(9 * 3600))
    seen = late(returned, line.named("return known").take(back), _LATE_RETURNS, _LATE_S)
    money = {"quantity": -units[back], "amount": -b.line_amount[back], "discount": np.zeros(len(back)), "margin": -margin[back]}
    returns = rows(of[back], returned, seen, RETURN, b.product[back], b.line_number[back], money, "-R")
    return [sales, fees, returns, _goodwill(shop, life, ids, clock)]


def _goodwill(shop: Market, life: Life, ids: pa.Array, clock: Clock) -> Rows:
    """Money given when a complaint was put right, on the day after it."""
    mended = life.complaints.detail == 1
    who, day = life.complaints.who[mended], life.complaints.day[mended] + 1
    at = clock.us(day, 10 * 3600)
    amount = np.full(len(who), -GOODWILL_AMOUNT)
    return Rows(who, at, at, {
        "order_id": joined(ids.take(pa.array(who)), "-", pa.array(day + 20_000).cast(pa.string()), "-G"),
        "line_id": words(np.zeros(len(who), dtype=np.int64), ("1",)),
        "product_id": words(np.full(len(who), shop.product_ids.index(GOODWILL)), shop.product_ids),
        "kind": words(np.full(len(who), ADJUSTMENT), LINE_KINDS),
        "quantity": np.ones(len(who)),
        "amount": amount,
        "margin": amount,
        "currency": words(np.zeros(len(who), dtype=np.int64), ("EUR",)),
        "channel": words(np.full(len(who), 3), SHOP_CHANNELS),
    })  # fmt: skip
