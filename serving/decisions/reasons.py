"""Why something is proposed, or a customer is on a list: a code and a plain sentence made of the customer's own figures.

Every sentence states a fact that can be checked in the data. None claims an effect, and none presses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache

import msgspec

from serving.decisions.facts import Customer, Language, Owned, Reason, Scores, Shop, Sign
from serving.decisions.figures import count, money, percent
from serving.decisions.scoring import Worth, expected_loss
from serving.decisions.sentences import OFFERS, SIGNS
from serving.decisions.signals import BY_CODE

MOST = 3
"""Reasons of one customer or proposal."""


class Risk(msgspec.Struct, frozen=True):
    """What every proposal to keep a customer says of the customer."""

    why: tuple[Reason, ...]
    """The risk, and its first sign where there is one."""
    stake: tuple[Reason, ...]
    """What would be lost, where that is known."""


def at_risk(scores: Scores, signs: Sequence[Reason], shop: Shop, language: Language) -> Risk | None:
    """What proposals to keep a customer say of them, once for all; None where no risk was estimated."""
    if scores.churn is None:
        return None
    horizon, loss = count(shop.horizon_days, "day", language), expected_loss(scores.churn, scores.clv)
    why = (_common("RISK", language, churn=percent(scores.churn), horizon=horizon), *signs[:1])
    return Risk(why, () if loss is None else (_reason("AT_STAKE", language, loss=money(loss, shop.currency), horizon=horizon),))


def of_offer(worth: Worth, shop: Shop, owned: Mapping[str, Owned], risk: Risk | None, language: Language) -> list[Reason]:
    """Up to three reasons for one proposal.

    Args:
        worth: the priced proposal.
        shop: items and their popularity.
        owned: what the customer has bought, by item; empty where nothing personal may be said.
        risk: what a proposal to keep the customer says of them; None where nothing personal may be said.
        language: of the sentences.
    """
    reasons: list[Reason] = []
    item = worth.item
    if item is not None:
        name, share = shop.items[item].name, shop.items[item].share
        if item in owned:
            orders, days = count(owned[item].orders, "order", language), count(owned[item].last_days, "day", language)
            reasons.append(_reason("BOUGHT_BEFORE", language, item=name, orders=orders, days=days))
        elif worth.liking is not None:
            reasons.append(_common("RANKED_NEW", language, item=name, rank=worth.liking.rank))
        if share > 0:
            reasons.append(_popular(name, share, shop.horizon_days, shop.moment, language))
    else:
        accepted, contacts = shop.accepted.get(worth.passed.offer.kind, (0, 0))
        if contacts:
            reasons.append(_common("ACCEPT_RATE", language, accepted=accepted, contacts=contacts))
    if risk is not None and worth.passed.lens == "retention":
        # Why this customer, then why this offer, then what is at stake.
        reasons = [*risk.why, *reasons[:1], *risk.stake, *reasons[1:]]
    return reasons[:MOST]


def of_risk(customer: Customer, moment: datetime, currency: str, language: Language) -> list[Reason]:
    """Up to three true signs that a customer may leave, in the order in which the rows hold them; none where nothing raises the risk.

    A complaint that is open stands first whatever a model makes of it: it wants an answer before anything is offered.
    """
    found = [_sign(sign, currency, language) for sign in customer.signs]
    if customer.complaint_at is not None:
        days = count(max((moment - customer.complaint_at).days, 0), "day", language)
        found = [_reason("COMPLAINT_OPEN", language, days=days), *(each for each in found if each.code != "COMPLAINTS")]
    return found[:MOST]


@lru_cache(maxsize=16_384)
def _popular(name: str, share: float, horizon_days: int, moment: datetime, language: Language) -> Reason:
    """How many buy an item: the same for every customer."""
    horizon = count(horizon_days, "day", language)
    return _reason("POPULAR", language, item=name, share=percent(share), horizon=horizon, date=f"{moment:%Y-%m-%d}")


def _sign(sign: Sign, currency: str, language: Language) -> Reason:
    figures = BY_CODE[sign.code].figures
    words = {name: figures[name].written(value, currency, language) for name, value in sign.figures}
    text = SIGNS[sign.code][language].format(**words)
    text = text[0].upper() + text[1:]
    if sign.as_of is not None:
        text = f"{text} ({sign.as_of:%Y-%m-%d})" if language == "en" else f"{text}（截至 {sign.as_of:%Y-%m-%d}）"
    return Reason(sign.code, text)


def _reason(code: str, language: Language, **values: str | int) -> Reason:
    return Reason(code, OFFERS[code][language].format(**values))


_common = lru_cache(maxsize=16_384)(_reason)
"""The same for sentences that are said of many, again and again; what is one customer's alone would only push them out."""
