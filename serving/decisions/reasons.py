"""Why something is proposed, or a customer is on a list: a code and a plain sentence made of the customer's own figures.

Every sentence states a fact that can be checked in the data. None claims an effect, and none presses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from serving.decisions.facts import Habits, Language, Scores, Shop
from serving.decisions.scoring import Worth, expected_loss

TEXTS: Mapping[str, Mapping[Language, str]] = {
    "BOUGHT_BEFORE": {"en": "{item}: bought in {orders}, last {days} ago.", "zh": "{item}:购买过{orders},上次在{days}前。"},
    "RANKED_NEW": {
        "en": "{item} is number {rank} of what the model ranks for this customer among things never bought.",
        "zh": "在该客户从未购买过的品项中,模型将{item}排在第 {rank} 位。",
    },
    "POPULAR": {
        "en": "{share} of active customers bought {item} in the {horizon} before {date}.",
        "zh": "在 {date} 之前的{horizon}内,{share} 的活跃客户购买了{item}。",
    },
    "ACCEPT_RATE": {
        "en": "{accepted} of {contacts} contacts with offers of this kind were accepted.",
        "zh": "此类优惠的 {contacts} 次接触中有 {accepted} 次被接受。",
    },
    "RISK": {"en": "Estimated risk of no purchase within {horizon}: {churn}.", "zh": "预计在{horizon}内不再购买的风险为 {churn}。"},
    "AT_STAKE": {"en": "Risk times predicted value is {loss} within {horizon}.", "zh": "风险乘以预测价值为 {loss}({horizon}内)。"},
    "COMPLAINT_OPEN": {"en": "A complaint has been open for {days}.", "zh": "有一项投诉已 {days}未结。"},
    "PAUSE": {"en": "Last purchase {recency} ago; the usual gap between two is {gap}.", "zh": "上次购买在{recency}前;通常间隔{gap}。"},
    "SILENT": {"en": "No purchase for {recency}.", "zh": "已有{recency}没有购买。"},
    "SPEND_DOWN": {
        "en": "Spent {spend} in the last {period}, {before} in the {period} before.",
        "zh": "最近{period}消费 {spend},之前{period}消费 {before}。",
    },
    "ORDERS_DOWN": {
        "en": "{orders} in the last {period}, {before} in the {period} before.",
        "zh": "最近{period}有{orders},之前{period}有{before}。",
    },
    "ONE_ORDER": {"en": "Bought only once, {recency} ago.", "zh": "只购买过一次,在{recency}前。"},
    "RETURNS": {"en": "Returned {share} of the money spent in a year.", "zh": "一年内退货金额占消费的 {share}。"},
}


@dataclass(frozen=True)
class Reason:
    """A code and its sentence."""

    code: str
    text: str


def of_offer(worth: Worth, shop: Shop, owned: Mapping[str, tuple[int, int]], scores: Scores | None, language: Language) -> list[Reason]:
    """Up to three reasons for one proposal.

    Args:
        worth: the priced proposal.
        shop: items and their popularity.
        owned: item -> (orders, days since the last); empty where nothing personal may be said.
        scores: what the models say; None where nothing personal may be said.
        language: of the sentences.
    """
    reasons: list[Reason] = []
    item = worth.item
    if item is not None:
        name, share = shop.items[item].name, shop.items[item].share
        if item in owned:
            orders, days = owned[item]
            reasons.append(_reason("BOUGHT_BEFORE", language, item=name, orders=_count(orders, "order", language), days=_days(days, language)))
        elif worth.liking is not None:
            reasons.append(_reason("RANKED_NEW", language, item=name, rank=worth.liking.rank))
        if share > 0:
            horizon = _days(shop.horizon_days, language)
            reasons.append(_reason("POPULAR", language, item=name, share=_percent(share), horizon=horizon, date=f"{shop.moment:%Y-%m-%d}"))
    else:
        accepted, contacts = shop.accepted.get(worth.passed.offer.kind, (0, 0))
        if contacts:
            reasons.append(_reason("ACCEPT_RATE", language, accepted=accepted, contacts=contacts))
    if worth.passed.lens == "retention" and scores is not None and scores.churn is not None:
        horizon = _days(shop.horizon_days, language)
        reasons.insert(0, _reason("RISK", language, churn=_percent(scores.churn), horizon=horizon))
        loss = expected_loss(scores.churn, scores.clv)
        if loss is not None:
            reasons.insert(1, _reason("AT_STAKE", language, loss=_money(loss, shop.currency), horizon=horizon))
    return reasons[:3]


def of_risk(habits: Habits, complaint_at: datetime | None, moment: datetime, currency: str, language: Language) -> list[Reason]:
    """Up to three true signs that a customer is drifting away, the strongest first; none where nothing is out of the ordinary."""
    found: list[tuple[float, Reason]] = []
    recency, gap, period = habits.recency_days, habits.usual_gap_days, _days(habits.period_days, language)
    if complaint_at is not None:
        found.append((9.0, _reason("COMPLAINT_OPEN", language, days=_days((moment - complaint_at).days, language))))
    if recency is not None and gap is not None and gap > 0 and recency > 1.5 * gap:
        found.append((recency / gap, _reason("PAUSE", language, recency=_days(recency, language), gap=_days(gap, language))))
    elif recency is not None and gap is None:
        found.append((1.6 + recency / 365, _reason("ONE_ORDER", language, recency=_days(recency, language))))
    elif recency is not None and recency >= 28:
        found.append((1.0 + recency / 365, _reason("SILENT", language, recency=_days(recency, language))))
    if habits.spend is not None and habits.spend_before and habits.spend < 0.8 * habits.spend_before and habits.spend_before > 0:
        strength = habits.spend_before / max(habits.spend, habits.spend_before / 8)
        spend, before = _money(habits.spend, currency), _money(habits.spend_before, currency)
        found.append((strength, _reason("SPEND_DOWN", language, spend=spend, before=before, period=period)))
    if habits.orders is not None and habits.orders_before and habits.orders < 0.8 * habits.orders_before:
        strength = habits.orders_before / max(habits.orders, habits.orders_before / 8)
        orders, before = _count(habits.orders, "order", language), _count(habits.orders_before, "order", language)
        found.append((strength * 0.9, _reason("ORDERS_DOWN", language, orders=orders, before=before, period=period)))
    if habits.returned_share is not None and habits.returned_share >= 0.2:
        found.append((1.0 + habits.returned_share, _reason("RETURNS", language, share=_percent(habits.returned_share))))
    found.sort(key=lambda each: (-each[0], each[1].code))
    return [reason for _, reason in found[:3]]


def _reason(code: str, language: Language, **values: object) -> Reason:
    return Reason(code, TEXTS[code][language].format(**values))


def _days(days: float, language: Language) -> str:
    return _count(days, "day", language)


def _count(number: float, word: str, language: Language) -> str:
    """``3 orders``; whole numbers, because nobody counts half a day."""
    whole = round(number)
    if language == "zh":
        return f"{whole}{'天' if word == 'day' else '笔订单'}"
    return f"{whole} {word}" if whole == 1 else f"{whole} {word}s"


def _percent(share: float) -> str:
    """Whole per cent in the middle, one decimal at the ends, never rounded to a certainty."""
    if 0 < share < 0.001:
        return "under 0.1 %"
    if 0.999 < share < 1:
        return "over 99.9 %"
    return f"{share * 100:.1f} %" if share < 0.1 or share > 0.9 else f"{share * 100:.0f} %"


def _money(amount: float, currency: str) -> str:
    return f"{amount:,.2f} {currency}".strip()
