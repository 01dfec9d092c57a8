"""Contacts and outcomes of a block: what campaigns sent to whom, with which probability, and what came of it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from retain.simulate.baskets import Baskets
from retain.simulate.behaviour import ACTIVE, Life
from retain.simulate.columns import DAY_S, Clock, Rows, joined, late, words
from retain.simulate.draws import Integers
from retain.simulate.market import CHANNEL_COST, CHANNELS, OFFER_IDS, Wave
from retain.simulate.people import People

OPENS = np.array([0.34, 0.70, 0.22, 0.40, 0.55])
"""Share of contacts that are noticed, by channel: opened, read, answered."""
CLICKS = np.array([0.22, 0.12, 0.25, 0.0, 0.0])
REFUSES = np.array([0.0, 0.0, 0.0, 0.0, 0.35])
_FADED = 0.4
"""Factor on noticing for those who are not active."""
_KINDS = ("shown", "opened", "clicked", "accepted", "rejected", "purchased", "unsubscribed", "complained")
_LATE, _LATE_S = 0.03, 30 * 3600.0


class Campaigns:
    """Waves by contact of a block."""

    def __init__(self, life: Life, waves: dict[int, Wave]) -> None:
        ordered = list(waves.values())
        place = {wave.day: number for number, wave in enumerate(ordered)}
        self.ids = tuple(wave.campaign_id for wave in ordered)
        days, back = np.unique(life.contacts.day, return_inverse=True)
        self.wave = np.array([place[int(day)] for day in days], dtype=np.int64)[back] if len(days) else np.zeros(0, dtype=np.int64)
        """Wave of each contact."""
        self.offer = np.array([wave.offer for wave in ordered], dtype=np.int64)[self.wave] if ordered else self.wave
        self.channel = np.array([wave.channel for wave in ordered], dtype=np.int64)[self.wave] if ordered else self.wave
        self.is_targeted = np.array([wave.is_targeted for wave in ordered], dtype=bool)[self.wave] if ordered else self.wave.astype(bool)

    def contact_id(self, ids: pa.Array, who: Integers, contact: Integers) -> pa.Array:
        """Ids of contacts; a customer is met once by a wave."""
        return joined(ids.take(pa.array(who)), "-", words(self.wave[contact], self.ids))


def contacts(who: People, life: Life, campaigns: Campaigns, ids: pa.Array, clock: Clock) -> list[Rows]:
    """Every contact of a block, controls included."""
    log = life.contacts
    draws = who.draws.named("contact").take(log.who).at(log.day)
    control = log.detail == 1
    at = _sent(who, life, clock)
    return [Rows(log.who, at, late(at, draws.named("known"), 0.01, _LATE_S), {
        "contact_id": campaigns.contact_id(ids, log.who, np.arange(len(log.who))),
        "channel": words(campaigns.channel, CHANNELS),
        "offer_id": words(campaigns.offer, OFFER_IDS),
        "campaign_id": words(campaigns.wave, campaigns.ids),
        "arm": words(np.where(control, 0, 1), ("control", "offer")),
        "is_control": pa.array(control),
        "probability": life.probability,
        "cost": np.where(control, 0.0, CHANNEL_COST[campaigns.channel]),
        "currency": words(np.zeros(len(log.who), dtype=np.int64), ("EUR",)),
        "creative": words(np.where(control, -1, draws.named("creative").below(2)), ("picture", "text")),
        "market_block": words(np.where(campaigns.is_targeted, 1, 0), ("everybody", "buyers first")),
    })]  # fmt: skip


def _sent(who: People, life: Life, clock: Clock) -> Integers:
    seconds = who.draws.named("sent").take(life.contacts.who).at(life.contacts.day).below(4 * 3600)
    return clock.us(life.contacts.day, 8 * 3600 + seconds)


def outcomes(who: People, life: Life, campaigns: Campaigns, baskets: Baskets, ids: pa.Array, clock: Clock) -> list[Rows]:
    """Every outcome of a block, whenever it is known."""
    log = life.contacts
    draws = who.draws.named("answer").take(log.who).at(log.day)
    sent = _sent(who, life, clock)
    treated = log.detail == 0
    mood = np.where(life.contact_state == ACTIVE, 1.0, _FADED)
    opened = treated & draws.named("opens").chance(OPENS[campaigns.channel] * mood)
    clicked = opened & draws.named("clicks").chance(CLICKS[campaigns.channel])
    refused = opened & draws.named("refuses").chance(REFUSES[campaigns.channel])
    complained = treated & draws.named("complains").chance(0.0015 / mood)
    shown = treated & np.isin(campaigns.channel, (2, 4)) & draws.named("arrives").chance(0.9)
    soon = sent + np.minimum(60 + draws.named("soon").exponential(9 * 3600.0), 5 * DAY_S).astype(np.int64) * 1_000_000

    def rows(kind: str, contact: Integers, at: Integers, **columns: pa.Array) -> Rows:
        lot = draws.take(contact).named(kind)
        return Rows(log.who[contact], at, late(at, lot.named("known"), _LATE, _LATE_S), {
            "kind": words(np.full(len(contact), _KINDS.index(kind)), _KINDS),
            "contact_id": campaigns.contact_id(ids, log.who[contact], contact),
            "offer_id": words(campaigns.offer[contact], OFFER_IDS),
            "campaign_id": words(campaigns.wave[contact], campaigns.ids),
            "channel": words(campaigns.channel[contact], CHANNELS),
            **columns,
        })  # fmt: skip

    used = np.flatnonzero(baskets.contact >= 0)
    contact = baskets.contact[used]
    bought = clock.us(baskets.day[used], baskets.second[used])
    money = {"amount": baskets.amount[used], "currency": words(np.zeros(len(used), dtype=np.int64), ("EUR",))}
    in_time = pa.array(np.full(len(used), fill_value=False))
    left = life.unsubscribed.detail
    plain = [(kind, np.flatnonzero(chosen)) for kind, chosen in (("opened", opened), ("rejected", refused), ("complained", complained))]
    return [
        rows("shown", np.flatnonzero(shown), sent[shown] + 1_000_000),
        *(rows(kind, which, soon[which]) for kind, which in plain),
        rows("clicked", np.flatnonzero(clicked), soon[clicked] + 40_000_000),
        rows("unsubscribed", left, soon[left] + 90_000_000),
        rows("accepted", contact, bought),
        rows("purchased", contact, bought + 1_000_000, is_late=in_time, **money),
    ]
