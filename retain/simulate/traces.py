"""Events of a block: what customers leave behind besides orders - visits, views, carts, complaints, calls, ratings, points, surveys, referrals."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from retain.simulate.baskets import ONLINE, Baskets, Choice
from retain.simulate.behaviour import FADING, Life, Log
from retain.simulate.columns import DAY_S, Clock, Rows, joined, late, times, where, words
from retain.simulate.draws import Draws, Floats, Integers
from retain.simulate.market import Market
from retain.simulate.sales import GOODWILL_AMOUNT
from retain.tables import CAUSES

CHANNELS = ("web", "in_app", "store", "call_center", "email")
WEB, APP, STORE, CALLS, EMAIL = range(5)
DEVICES = ("phone", "desktop", "tablet")
GAPS = ("knowledge", "standard", "delivery", "communication")
DRIVERS = ("product", "service", "staff", "image", "money", "time", "mental", "bodily")
CAUSE_WEIGHTS = (16, 10, 14, 26, 10, 12, 4, 0)
"""How often each cause stands behind a complaint; nobody complains about what was involuntary."""
_LATE, _LATE_S = 0.025, 20 * 3600.0
_OPEN_S = 11 * 3600


def events(choice: Choice, life: Life, baskets: Baskets, quarter_of: Integers, first: int, ids: pa.Array, clock: Clock) -> list[Rows]:
    """Every event of a block, whenever it is known."""
    return [
        *_browsing(choice, life, quarter_of, first, ids, clock),
        *_research(choice.shop, baskets, ids, clock),
        *_afterwards(choice, baskets, clock),
        *_complaints(choice, life, clock),
        *_talk(choice, life, clock),
    ]


def _rows(kind: str, draws: Draws, who: Integers, occurred: Integers, channel: Integers | int, **columns: pa.Array | Floats) -> Rows:
    fixed = {"kind": words(np.zeros(len(who), dtype=np.int64), (kind,)), "channel": words(np.broadcast_to(np.asarray(channel), len(who)), CHANNELS)}
    return Rows(who, occurred, late(occurred, draws.named("known"), _LATE, _LATE_S), fixed | columns)


def _of(choice: Choice, log: Log, purpose: str) -> Draws:
    return choice.who.draws.named(purpose).take(log.who).at(log.day)


def _browsing(choice: Choice, life: Life, quarter_of: Integers, first: int, ids: pa.Array, clock: Clock) -> list[Rows]:
    """Visits that lead to no order: some look at products, a few leave a cart behind."""
    log = life.visits
    draws = _of(choice, log, "visit")
    at = clock.us(log.day, 7 * 3600 + draws.named("second").below(14 * 3600))
    online = draws.named("where").choice([55, 25, 20])
    session = joined(ids.take(pa.array(log.who)), "-V", pa.array(log.day + 20_000).cast(pa.string()))
    seconds = np.round(draws.named("duration").exponential(240.0)) + 5
    device = words(np.where(online == STORE, -1, draws.named("device").choice([55, 35, 10])), DEVICES)
    opens = (online == APP) & draws.named("opens").chance(0.5)
    parts = []
    for kind, chosen in (("visit", ~opens), ("app_open", opens)):
        row = np.flatnonzero(chosen)
        take = pa.array(row)
        parts.append(
            _rows(
                kind,
                draws.take(row),
                log.who[row],
                at[row],
                online[row],
                session_id=session.take(take),
                device=device.take(take),
                duration_s=seconds[row],
            )
        )
    looks = np.flatnonzero((online != STORE) & draws.named("looks").chance(0.6))
    seen = choice.discover(log.who[looks], log.day[looks], quarter_of[log.day[looks] - first], draws.take(looks).named("seen"))
    for kind, share, after in (("search", 0.2, 20), ("view", 1.0, 45), ("cart", 0.2, 120), ("wishlist", 0.05, 140)):
        some = np.flatnonzero(draws.take(looks).named(kind).chance(share))
        row = looks[some]
        columns = {
            "session_id": session.take(pa.array(row)),
            "product_id": words(np.where(kind == "search", -1, seen[some]), choice.shop.product_ids),
        }
        parts.append(_rows(kind, draws.take(row).named(kind), log.who[row], at[row] + after * 1_000_000, online[row], **columns))
    return parts


def _research(shop: Market, baskets: Baskets, ids: pa.Array, clock: Clock) -> list[Rows]:
    """Before an online order: the visit, the view and the cart that led to it, up to two days earlier."""
    b = baskets
    row = np.flatnonzero(np.isin(b.channel, ONLINE) & b.draws.named("research").chance(0.7))
    draws = b.draws.take(row).named("research")
    at = clock.us(b.day[row], b.second[row]) - (600 + draws.named("lead").exponential(10 * 3600.0).clip(0, 2 * DAY_S).astype(np.int64)) * 1_000_000
    channel = np.where(b.channel[row] == ONLINE[0], WEB, APP)
    session = joined(ids.take(pa.array(b.who[row])), "-S", pa.array(b.day[row] + 20_000).cast(pa.string()))
    device = words(draws.named("device").choice([55, 35, 10]), DEVICES)
    product = words(b.first_product[row], shop.product_ids)
    visit = _rows(
        "visit",
        draws,
        b.who[row],
        at,
        channel,
        session_id=session,
        device=device,
        duration_s=np.round(draws.named("duration").exponential(500.0)) + 20,
    )
    view = _rows("view", draws.named("view"), b.who[row], at + 60_000_000, channel, session_id=session, product_id=product)
    cart = _rows("cart", draws.named("cart"), b.who[row], at + 180_000_000, channel, session_id=session, product_id=product)
    return [visit, view, cart]


def _afterwards(choice: Choice, baskets: Baskets, clock: Clock) -> list[Rows]:
    """After an order: points for members of the programme, and some ratings, which fall before customers leave."""
    who, b = choice.who, baskets
    at = clock.us(b.day, b.second)
    earned = np.flatnonzero(who.is_member[b.who])
    spent = np.flatnonzero(who.is_member[b.who] & b.draws.named("spends").chance(0.04))
    rated = np.flatnonzero(b.draws.named("rates").chance(0.13))
    draws = b.draws.take(rated).named("rating")
    mood = 4.2 + 0.6 * who.pleasure[b.who[rated]] - 1.5 * (b.state[rated] == FADING) + 0.8 * draws.named("stars").normal()
    product = words(b.first_product[rated], choice.shop.product_ids)
    later = at[rated] + (DAY_S + draws.named("later").exponential(3.0 * DAY_S).astype(np.int64)) * 1_000_000
    return [
        _rows("points_earned", b.draws.take(earned).named("earned"), b.who[earned], at[earned] + 1_000_000, STORE, value=np.floor(b.amount[earned])),
        _rows(
            "points_spent",
            b.draws.take(spent).named("spent"),
            b.who[spent],
            at[spent] + 2_000_000,
            STORE,
            value=100.0 * (1 + b.draws.take(spent).named("points").below(5)),
        ),
        _rows(
            "rating",
            draws,
            b.who[rated],
            later,
            WEB,
            value=np.clip(np.round(mood), 1, 5),
            product_id=product,
        ),
    ]


def _complaints(choice: Choice, life: Life, clock: Clock) -> list[Rows]:
    log = life.complaints
    draws = _of(choice, log, "complaint")
    at = clock.us(log.day, 8 * 3600 + draws.named("second").below(_OPEN_S))
    cause, gap = draws.named("cause").choice(CAUSE_WEIGHTS), draws.named("gap").choice([20, 20, 40, 20])
    channel = np.array([CALLS, EMAIL, STORE])[draws.named("channel").choice([50, 35, 15])]
    driver = words(draws.named("driver").choice([25, 20, 15, 4, 16, 12, 6, 2]), DRIVERS)
    made = _rows("complaint", draws, log.who, at, channel, cause=words(cause, CAUSES), service_gap=words(gap, GAPS), driver=driver)
    mended = np.flatnonzero(log.detail == 1)
    done = at[mended] + (4 * 3600 + draws.take(mended).named("mended").exponential(2.0 * DAY_S).astype(np.int64)) * 1_000_000
    columns = {"cause": words(cause[mended], CAUSES), "compensation": np.full(len(mended), GOODWILL_AMOUNT), "resolved_at": times(done)}
    closed = _rows("complaint_resolved", draws.take(mended).named("closed"), log.who[mended], done, CALLS, **columns)
    return [made, closed]


def _talk(choice: Choice, life: Life, clock: Clock) -> list[Rows]:
    """Support calls, referrals and answers to surveys."""
    who = choice.who
    calls, refers, log = life.calls, life.referrals, life.surveys
    ringing, telling, draws = _of(choice, calls, "call"), _of(choice, refers, "referral"), _of(choice, log, "survey")
    mood = who.pleasure[log.who] - 2.0 * (log.detail == FADING)
    is_nps = draws.named("nps").chance(0.5)
    score = np.clip(np.round(7.6 + 1.2 * mood + 1.3 * draws.named("score").normal()), 0, 10)
    expected = np.clip(np.round(7.0 + 0.9 * draws.named("expected").normal()), 1, 10)
    perceived = np.clip(np.round(7.2 + 1.1 * mood + draws.named("perceived").normal()), 1, 10)
    called = clock.us(calls.day, 8 * 3600 + ringing.named("second").below(_OPEN_S))
    told = clock.us(refers.day, 9 * 3600 + telling.named("second").below(_OPEN_S))
    answered = clock.us(log.day, 7 * 3600 + draws.named("second").below(14 * 3600))
    call = {
        "duration_s": np.round(ringing.named("duration").exponential(280.0)) + 30,
        "staff_id": words(ringing.named("staff").below(40), [f"A{number:02d}" for number in range(40)]),
    }
    answer = {
        "score": where(is_nps, score),
        "expected_score": where(~is_nps, expected),
        "perceived_score": where(~is_nps, perceived),
        "question": words(np.where(is_nps, 0, 1), ("recommend", "satisfaction")),
        "driver": words(np.where(is_nps, -1, draws.named("driver").below(len(DRIVERS))), DRIVERS),
    }
    return [
        _rows("support_call", ringing, calls.who, called, CALLS, **call),
        _rows("referral", telling, refers.who, told, APP, value=1.0 + telling.named("friends").below(3)),
        _rows("survey", draws, log.who, answered, EMAIL, **answer),
    ]
