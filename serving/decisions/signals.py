"""What can be said of a customer who may leave: one table of signs, each with its family, its figures and its test.

A sentence may be said only of a customer whose figures, rounded as they are written, pass its test: that spending fell is never said
unless it fell. None claims a cause or an effect, and none presses. "Typical" is the median of all customers whose features are known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from serving.decisions.figures import Figure, Floats, Known, feature, pace, typical

Bools = NDArray[np.bool_]
Test = Callable[[Known], Bools]
_RECENCY, _GAP = "purchases__days_since_order_365d", "gaps__mean_gap_days_365d"
_ORDERS, _AMOUNT = "purchases__orders_365d", "purchases__amount_365d"
_RUNNING = "contracts__contracts_running"
_SURPRISE = "voice__surprise_mean_365d"
_OPENED = "contacts__opened_90d"
_MOST = 8.0
"""Ratios above count as this: a figure near zero is no infinite sign."""


@dataclass(frozen=True)
class Signal:
    """One sign of leaving; its sentence stands in ``sentences.SIGNS`` under its code."""

    code: str
    family: str
    figures: Mapping[str, Figure]
    """The numbers of the sentence, by the name they have in it."""
    less: tuple[str, str] | None = None
    """The first of these figures must be the smaller one."""
    where: Test | None = None
    """What must hold besides."""
    weight: float = 0.0
    """How strong a sign it is where no model says so; times the ratio of the compared figures. Zero: no sign by itself."""

    states: tuple[str, ...] = ()
    """Patterns of the features that it speaks for, because they measure the same; empty: those of its figures."""

    @cached_property
    def needs(self) -> tuple[str, ...]:
        """Features behind the figures."""
        return tuple(dict.fromkeys(name for figure in self.figures.values() for name in figure.needs))

    def speaks_for(self, column: str) -> bool:
        """Whether what a feature adds to the risk counts for it."""
        return any(fnmatchcase(column, pattern) for pattern in self.states or self.needs)

    def holds(self, known: Known) -> Bools:
        """(customers,) of whom it is true."""
        shown = {name: figure.shown(known) for name, figure in self.figures.items()}
        true = np.ones(known.count, dtype=bool)
        for values in shown.values():
            true &= np.isfinite(values)
        if self.less is not None:
            true &= shown[self.less[0]] < shown[self.less[1]]
        return true if self.where is None else true & self.where(known)

    def strength(self, known: Known) -> Floats:
        """(customers,) weight times how many times the larger figure is of the smaller one."""
        if self.less is None or self.weight == 0:
            return np.full(known.count, self.weight)
        low, high = (self.figures[name].shown(known) for name in self.less)
        return np.asarray(self.weight * high / np.maximum(low, np.maximum(high / _MOST, 1e-9)))


def _at_least(name: str, least: float) -> Test:
    return lambda known: np.asarray(np.nan_to_num(known.value(name), nan=-np.inf) >= least)


def _exactly(name: str, value: float) -> Test:
    return lambda known: np.asarray(known.value(name) == value)


def _down(code: str, family: str, unit: str, recent: str, weight: float = 0.0, states: tuple[str, ...] = ()) -> Signal:
    """Less in a recent window than the pace of the time before it; what the catalogue calls ``<window>_over_prior``."""
    figures = {"recent": feature(unit, recent), "before": pace(unit, recent, f"{recent}_over_prior")}
    return Signal(code, family, figures, ("recent", "before"), _at_least(recent, 0.0), weight, states)


def _below(code: str, family: str, unit: str, name: str, decimals: int = 0, states: tuple[str, ...] = ()) -> Signal:
    """Less than the typical customer."""
    figures = {"own": feature(unit, name, decimals), "typical": typical(unit, name, decimals)}
    return Signal(code, family, figures, ("own", "typical"), _at_least(name, 0.0), states=states)


def _above(code: str, family: str, unit: str, name: str, weight: float = 0.0, states: tuple[str, ...] = ()) -> Signal:
    """More than the typical customer."""
    return Signal(code, family, {"own": feature(unit, name), "typical": typical(unit, name)}, ("typical", "own"), weight=weight, states=states)


def _windows(what: str, *days: int) -> tuple[str, ...]:
    """Orders or money of some windows, their change against the time before, and their fading sums."""
    return tuple(pattern for n in days for pattern in (f"purchases__{what}_{n}d*", f"purchases__fading_{what}_{n}d"))


def _recent(code: str, family: str, unit: str, quarter: str, year: str, states: tuple[str, ...] = ()) -> Signal:
    """Less in the last 90 days than over the whole year."""
    return Signal(code, family, {"recent": feature(unit, quarter), "year": feature(unit, year)}, ("recent", "year"), states=states)


def _happened(code: str, family: str, unit: str, name: str, since: str | None = None, weight: float = 0.0) -> Signal:
    """Something that happened at all, and how long ago."""
    figures = {"own": feature(unit, name)} | ({} if since is None else {"days": feature("day", since)})
    return Signal(code, family, figures, None, _at_least(name, 1.0), weight)


SIGNALS: tuple[Signal, ...] = (
    Signal(
        "PAUSE",
        "recency",
        {"recency": feature("day", _RECENCY), "gap": feature("day", _GAP)},
        ("gap", "recency"),
        _at_least(_GAP, 0.5),
        0.85,
        (_RECENCY, "gaps__recency_over_*", "gaps__overdue_days"),
    ),
    Signal("ONE_ORDER", "recency", {"recency": feature("day", _RECENCY)}, None, _exactly(_ORDERS, 1.0), 1.6),
    Signal("YEAR_SILENT", "recency", {"orders": feature("order", _ORDERS)}, None, _exactly(_ORDERS, 0.0), 3.0, (_RECENCY,)),
    _above("SILENT", "recency", "day", _RECENCY, 0.5, (_RECENCY, "days__days_since_*")),
    _above("LONG_GAPS", "rhythm", "day", _GAP, states=("gaps__mean_gap_*", "gaps__longest_gap_*")),
    _down("ORDERS_DOWN", "frequency", "order", "purchases__orders_90d", 0.9, _windows("orders", 60, 90, 180, 45)),
    _down("ORDERS_DOWN_MONTH", "frequency", "order", "purchases__orders_30d", states=_windows("orders", 7, 14, 30)),
    _below("FEW_ORDERS", "frequency", "order", _ORDERS, states=(*_windows("orders", 365, 120), "days__order_days_*")),
    _down("SPEND_DOWN", "spend", "money", "purchases__amount_90d", 1.0, _windows("amount", 60, 90, 180, 45)),
    _down("SPEND_DOWN_MONTH", "spend", "money", "purchases__amount_30d", states=_windows("amount", 7, 14, 30)),
    _below("LOW_SPEND", "spend", "money", _AMOUNT, states=(*_windows("amount", 365, 120), "purchases__margin_*", "days__*amount_*")),
    _recent(
        "BASKET_DOWN",
        "baskets",
        "money",
        "baskets__amount_per_order_90d",
        "baskets__amount_per_order_365d",
        ("baskets__amount_per_order_90d*",),
    ),
    _below("SMALL_BASKETS", "baskets", "money", "baskets__amount_per_order_365d"),
    _below("FEW_LINES", "baskets", "line", "baskets__lines_per_order_365d", 1, ("baskets__lines_*", "baskets__units_*")),
    _recent("DISCOUNTS_DOWN", "discounts", "share", "baskets__discount_share_90d", "baskets__discount_share_365d"),
    _above("DISCOUNTS_HIGH", "discounts", "share", "baskets__discount_share_365d"),
    Signal(
        "RETURNS", "returns", {"own": feature("share", "baskets__return_share_365d")}, None, _at_least("baskets__return_share_365d", 0.1), weight=1.3
    ),
    _below("FEW_PRODUCTS_QUARTER", "breadth", "product", "breadth__products_90d", states=("breadth__*_30d", "breadth__*_90d")),
    _below("FEW_PRODUCTS", "breadth", "product", "breadth__products_365d"),
    _below("FEW_CATEGORIES", "breadth", "category", "breadth__categories_365d"),
    _below("NEW_CUSTOMER", "tenure", "day", "purchases__days_since_first_order_365d", states=("purchases__days_since_first_*", "days__observed_*")),
    _below("NEW_CONTRACT", "tenure", "day", "contracts__contract_days_1825"),
    Signal(
        "CONTRACT_ENDS",
        "terms",
        {"own": feature("day", "contracts__days_to_agreed_end")},
        where=lambda known: np.asarray((known.value("contracts__days_to_agreed_end") >= 0) & (known.value("contracts__days_to_agreed_end") <= 90)),
        weight=1.5,
    ),
    Signal(
        "NO_RENEWAL", "terms", {"own": feature("contract", _RUNNING)}, where=_exactly("contracts__renews_itself", 0.0), states=("contracts__renews*",)
    ),
    _above("HIGH_PRICE", "terms", "money", "contracts__contract_price"),
    _happened("COMPLAINTS", "complaints", "complaint", "voice__complaints_365d", "voice__days_since_complaint_365d", 1.4),
    _happened("SUPPORT_CALLS", "service", "call", "voice__support_calls_365d", "voice__days_since_support_call_365d"),
    _below("LOW_RATINGS", "opinion", "score", "voice__rating_mean_365d", 1),
    _below("LOW_SURVEYS", "opinion", "score", "voice__survey_score_mean_365d", 1),
    Signal(
        "DISAPPOINTED",
        "opinion",
        {"own": Figure("point", (_SURPRISE,), lambda known: -known.value(_SURPRISE), 1)},
        where=lambda known: np.asarray(known.value(_SURPRISE) <= -0.1),
    ),
    _below("FEW_POINTS", "loyalty", "point", "voice__points_earned_365d"),
    _above("LAST_VISIT", "visits", "day", "activity__days_since_visit_365d"),
    _down("VISITS_DOWN", "visits", "visit", "activity__visits_30d", states=("activity__visits_7d", "activity__visits_30d*")),
    _below("FEW_VISITS", "visits", "visit", "activity__visits_90d"),
    _above("LAST_CONTACT", "contacts", "day", "contacts__days_since_contact_365d"),
    _above("MANY_CONTACTS", "contacts", "contact", "contacts__contacts_30d"),
    _below("FEW_CONTACTS", "contacts", "contact", "contacts__contacts_365d"),
    _above("LAST_ANSWER", "answers", "day", "contacts__days_since_response_365d"),
    Signal(
        "FEW_OPENED",
        "answers",
        {"own": feature("contact", _OPENED), "typical": typical("contact", _OPENED)},
        ("own", "typical"),
        states=(_OPENED, "contacts__opened_30d", "contacts__open_rate_365d"),
    ),
    _happened("UNSUBSCRIBED", "answers", "time", "contacts__unsubscribed_365d"),
    _happened("REJECTED", "answers", "offer", "contacts__rejected_365d"),
    _happened("CONTACT_COMPLAINTS", "answers", "complaint", "contacts__complained_365d"),
)
"""Every sign, those of a family together."""

BY_CODE: Mapping[str, Signal] = {signal.code: signal for signal in SIGNALS}
NEEDS: tuple[str, ...] = tuple(dict.fromkeys((_ORDERS, *(name for signal in SIGNALS for name in signal.needs))))
"""Every feature that a sign looks at, as ``view__column``."""
