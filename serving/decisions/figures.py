"""Figures in sentences: which features make them, and how they are rounded and written in English and Chinese."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.decisions.facts import Language

Floats = NDArray[np.float64]

UNITS: Mapping[str, tuple[str, str, str]] = {
    "day": ("day", "days", "天"),
    "order": ("order", "orders", "笔订单"),
    "product": ("different product", "different products", "种商品"),
    "category": ("category", "categories", "个品类"),
    "line": ("line", "lines", "个品项"),
    "visit": ("visit", "visits", "次访问"),
    "complaint": ("complaint", "complaints", "次投诉"),
    "call": ("support call", "support calls", "次客服来电"),
    "contract": ("contract", "contracts", "份合同"),
    "contact": ("contact", "contacts", "次触达"),
    "offer": ("offer", "offers", "项优惠"),
    "time": ("time", "times", "次"),
    "point": ("point", "points", "分"),
}
"""What is counted: one, several, and in Chinese."""


_NO_SIGN = 0.0
"""Added to what was rounded: no figure reads -0."""


class Known(msgspec.Struct, frozen=True):
    """Features of some customers, and what is typical of all."""

    values: Mapping[str, Floats]
    """``view__column`` -> (customers,); NaN where nothing is known."""
    typical: Mapping[str, float]
    """Medians of all customers whose features are known."""
    count: int

    def value(self, name: str) -> Floats:
        """A feature; unknown for everybody where the rows do not hold it."""
        found = self.values.get(name)
        return np.full(self.count, np.nan) if found is None else found

    def median(self, name: str) -> Floats:
        """The median of a feature, once per customer."""
        return np.full(self.count, self.typical.get(name, np.nan))


@dataclass(frozen=True)
class Figure:
    """One number of a sentence."""

    unit: str
    """A key of ``UNITS``, or ``money``, ``share``, ``score``."""
    needs: tuple[str, ...]
    """The features that it is made of."""
    of: Callable[[Known], Floats]
    """(customers,)"""
    decimals: int = 0

    def shown(self, known: Known) -> Floats:
        """(customers,) rounded as it will be written, so that what is compared is what is read."""
        values = self.of(known)
        if self.unit == "share":
            return np.asarray(np.where((values < 0.1) | (values > 0.9), values.round(3), values.round(2)) + _NO_SIGN)
        return np.asarray(values.round(2 if self.unit == "money" else self.decimals) + _NO_SIGN)

    def written(self, value: float, currency: str, language: Language) -> str:
        """The number in words."""
        if self.unit == "money":
            return money(value, currency)
        if self.unit == "share":
            return percent(value)
        if self.unit == "score":
            return f"{value:.{self.decimals}f}"
        return count(value, self.unit, language, self.decimals)


def feature(unit: str, name: str, decimals: int = 0) -> Figure:
    """A feature as it is stored."""
    return Figure(unit, (name,), lambda known: known.value(name), decimals)


def typical(unit: str, name: str, decimals: int = 0) -> Figure:
    """The median of a feature over all customers."""
    return Figure(unit, (name,), lambda known: known.median(name), decimals)


def pace(unit: str, recent: str, change: str) -> Figure:
    """What a recent window would have held at the pace before it: the window less its change against that pace; to one decimal."""
    return Figure(unit, (recent, change), lambda known: known.value(recent) - known.value(change), 1)


@lru_cache(maxsize=4096)
def count(number: float, unit: str, language: Language, decimals: int = 0) -> str:
    """A count with what is counted; whole unless decimals are asked for.

    >>> count(3.2, "day", "en"), count(1, "order", "en"), count(0, "order", "en"), count(2.5, "order", "zh", 1)
    ('3 days', '1 order', 'no order', '2.5 笔订单')
    """
    text = f"{number:,.{decimals}f}"
    one, several, chinese = UNITS[unit]
    if language == "zh":
        return f"{text} {chinese}"
    if text == "0" and unit != "day":
        return f"no {one}"
    return f"{text} {one if text == '1' else several}"


def percent(share: float) -> str:
    """Whole per cent in the middle, one decimal at the ends, never rounded to a certainty."""
    if 0 < share < 0.001:
        return "under 0.1 %"
    if 0.999 < share < 1:
        return "over 99.9 %"
    return f"{share * 100:.1f} %" if share < 0.1 or share > 0.9 else f"{share * 100:.0f} %"


def money(amount: float, currency: str) -> str:
    """An amount with its currency.

    >>> money(1234.5, "EUR")
    '1,234.50 EUR'
    """
    return f"{amount:,.2f} {currency}".strip()
