"""Which family each feature belongs to: the word a marketer would use. One table; the first pattern that fits decides."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache

FAMILIES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("recency", ("purchases__days_since_order_*", "gaps__recency_over_*", "gaps__overdue_*", "days__days_since_*")),
    ("tenure", ("purchases__days_since_first_order_*", "profile__tenure_*", "days__observed_*", "contracts__contract_days_*")),
    ("rhythm", ("gaps__*", "days__span_*", "days__mean_age_*")),
    ("frequency", ("purchases__*orders_*", "days__order_days_*")),
    ("spend", ("purchases__*", "days__*")),
    ("returns", ("baskets__return*",)),
    ("discounts", ("baskets__discount_*",)),
    ("baskets", ("baskets__*_per_order_*",)),
    ("habits", ("baskets__*",)),
    ("breadth", ("breadth__*",)),
    ("complaints", ("voice__*complaint*",)),
    ("service", ("voice__*support_call*",)),
    ("opinion", ("voice__*rating*", "voice__*survey*", "voice__surprise_*")),
    ("loyalty", ("voice__*",)),
    ("visits", ("activity__*",)),
    ("answers", tuple(f"contacts__*{word}*" for word in ("response", "open", "click", "accept", "reject", "unsubscribed", "complained"))),
    ("contacts", ("contacts__*",)),
    ("terms", ("contracts__*",)),
    ("profile", ("profile__*",)),
)
"""Family -> patterns of ``view__column``, tried from the top."""

SILENT: Mapping[str, str] = {
    "habits": "at what hour and where somebody shops says nothing that a marketer could act on",
    "profile": "who somebody is, is no reason to give: only what somebody did",
}
"""Families that are never put into a sentence, and why."""


@cache
def family(column: str) -> str:
    """The family of a feature.

    Raises:
        KeyError: no pattern fits; a new view of features needs a line in ``FAMILIES``.

    >>> family("purchases__orders_90d"), family("gaps__overdue_days")
    ('frequency', 'recency')
    """
    for name, patterns in FAMILIES:
        if any(fnmatchcase(column, pattern) for pattern in patterns):
            return name
    raise KeyError(f"{column}: no family of features fits; give its view a line in serving/decisions/families.py")
