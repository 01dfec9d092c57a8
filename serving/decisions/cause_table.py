"""Causes of churn as they are declared unless ``configs/causes.yaml`` says otherwise: rules that guess one, and what answers each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from retain.tables import is_protected

Cause = Literal["price", "inconvenience", "staff", "core_service", "response", "competition", "ethics", "involuntary"]
UNKNOWN = "unknown"
RECORDED = "recorded"
"""What takes the place of a rule's name where the cause is recorded."""
FACTS = (
    "complaint_open_days", "complaint_slow_days", "complaints_product", "complaints_staff", "complaints_money", "complaints_effort", "support_calls",
    "switch_intents", "defaults", "moved", "shop_closed", "returned_share", "discount_fall", "rating_mean",
)  # fmt: skip
"""What rules may look at; see ``serving.circumstances``."""


MONEY_OFF = frozenset({"discount", "coupon"})
"""Kinds of offers that take money off."""
REPAIRS = ("repair", "service", "information")
"""Kinds of offers that put right what went wrong."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rule(_Part):
    """One line of the table: where ``fact`` compares so with ``value``, the cause is taken to be ``cause``."""

    name: str
    cause: Cause
    fact: str
    is_: Literal["at_least", "at_most"] = Field(default="at_least", alias="is")
    value: float
    en: str
    """Why, with {value} for the customer's own figure."""
    zh: str

    @field_validator("fact")
    @classmethod
    def _known(cls, value: str) -> str:
        if is_protected(value):
            raise ValueError(f"{value!r} is a protected attribute: no rule may look at it")
        if value not in FACTS:
            raise ValueError(f"{value!r} is no fact; the facts are {', '.join(FACTS)}")
        return value


class Remedy(_Part):
    """What answers a cause."""

    en: str
    zh: str
    coupon: bool = False
    """Whether money off answers it."""
    kinds: tuple[str, ...] | None = None
    """Kinds of offers that may keep a customer who leaves for this; null: any, because the cause is not known."""

    @model_validator(mode="after")
    def _agrees(self) -> Remedy:
        if self.kinds is not None and self.coupon != bool(MONEY_OFF & set(self.kinds)):
            raise ValueError("coupon says whether money off answers the cause, and kinds hold a discount or coupon exactly then")
        return self


def _rule(name: str, cause: Cause, fact: str, value: float, en: str, zh: str, is_: Literal["at_least", "at_most"] = "at_least") -> Rule:
    return Rule.model_validate({"name": name, "cause": cause, "fact": fact, "value": value, "en": en, "zh": zh, "is": is_})


RULES: tuple[Rule, ...] = (
    _rule(
        "moved",
        "involuntary",
        "moved",
        1,
        "A change of region or country was recorded within a year, and nothing was bought since.",
        "一年内登记的地区或国家发生变更，此后没有购买。",
    ),
    _rule(
        "shop_closed",
        "involuntary",
        "shop_closed",
        1,
        "The only shop this customer bought in has sold nothing for two months, longer than ever before.",
        "该客户唯一光顾的门店已两个月没有任何销售，时间之长前所未有。",
    ),
    _rule("default", "involuntary", "defaults", 1, "Payment defaults recorded in a year: {value}.", "一年内记录的欠款次数：{value}。"),
    _rule("complaint_open", "response", "complaint_open_days", 7, "A complaint has been open for {value} days.", "有一项投诉已 {value} 天未结。"),
    _rule("complaint_slow", "response", "complaint_slow_days", 14, "A complaint took {value} days to close.", "有一项投诉历时 {value} 天才结案。"),
    _rule(
        "switch_intent",
        "competition",
        "switch_intents",
        1,
        "Said to be thinking of switching, times in a year: {value}.",
        "一年内表示考虑更换商家的次数：{value}。",
    ),
    _rule("complaint_staff", "staff", "complaints_staff", 1, "Complaints about staff in a year: {value}.", "一年内针对服务人员的投诉：{value} 次。"),
    _rule(
        "complaint_product",
        "core_service",
        "complaints_product",
        1,
        "Complaints about product or service in a year: {value}.",
        "一年内针对产品或服务的投诉：{value} 次。",
    ),
    _rule(
        "complaint_money", "price", "complaints_money", 1, "Complaints about money in a year: {value}.", "一年内针对价格或费用的投诉：{value} 次。"
    ),
    _rule(
        "complaint_effort",
        "inconvenience",
        "complaints_effort",
        1,
        "Complaints about time or effort in a year: {value}.",
        "一年内针对时间或精力花费的投诉：{value} 次。",
    ),
    _rule(
        "returns",
        "core_service",
        "returned_share",
        0.3,
        "Share of the money of a year that was returned: {value}.",
        "一年内退货金额占消费的比例：{value}。",
    ),
    _rule("low_ratings", "core_service", "rating_mean", 2.0, "Average rating given in a year: {value}.", "一年内的平均评分：{value}。", "at_most"),
    _rule("calls", "inconvenience", "support_calls", 3, "Support calls in a year: {value}.", "一年内的客服来电：{value} 次。"),
    _rule(
        "discounts_fell",
        "price",
        "discount_fall",
        0.05,
        "Discounts of the last 90 days are lower than those of the year, as a share of the price, by {value}.",
        "最近 90 天折扣占原价的比例比全年低 {value}。",
    ),
)
"""Tried from the top."""

_OPEN = (*sorted(MONEY_OFF), "bundle", "loyalty", "product", "category", "service", "information")
REMEDIES: Mapping[str, Remedy] = {
    "price": Remedy(
        en="Show what the price buys, or offer a smaller plan; money off only where the margin bears it.",
        zh="说明价格对应的价值，或提供更实惠的方案；仅在毛利允许时给予优惠。",
        coupon=True,
        kinds=_OPEN,
    ),
    "inconvenience": Remedy(
        en="Take the obstacle away: another channel, delivery, opening hours.", zh="消除不便：提供其他渠道、配送或营业时间。", kinds=REPAIRS
    ),
    "staff": Remedy(en="Apologise, and give another person to turn to.", zh="致歉，并指定其他服务人员对接。", kinds=REPAIRS),
    "core_service": Remedy(
        en="Put the product or service right first: repair, replace or refund.", zh="先解决产品或服务问题：维修、更换或退款。", kinds=REPAIRS
    ),
    "response": Remedy(en="Answer the complaint, and name one person who stays responsible.", zh="答复该投诉，并指定专人负责到底。", kinds=REPAIRS),
    "competition": Remedy(en="Ask what the other side offers, and compare openly.", zh="了解对方的方案，并如实比较。", coupon=True, kinds=_OPEN),
    "ethics": Remedy(
        en="Say openly what happened and what has changed; no offer before that.",
        zh="如实说明情况和已做的改变；在此之前不推优惠。",
        kinds=("information",),
    ),
    "involuntary": Remedy(
        en="No offer: the reason lies outside what we sell. Ask whether the relation can go on elsewhere or later.",
        zh="不发优惠：原因与产品和服务无关。可询问今后或异地能否继续服务。",
        kinds=(),
    ),
    UNKNOWN: Remedy(en="Ask for the reason in a short talk; no remedy before it is known.", zh="先简短沟通了解原因；原因未明前不采取措施。"),
}
"""Cause, or ``unknown`` -> its answer."""
