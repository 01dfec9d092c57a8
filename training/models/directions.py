"""Which way a column points, declared before any data are seen: the longer away, the likelier gone; the more bought, the more to come.

Only what holds for any shop stands here. Whether trees are held to it is decided by earlier windows, see ``training.models.shapes``.
"""

from __future__ import annotations

AWAY = (
    "purchases__days_since_order_365d",
    "activity__days_since_visit_365d",
    "days__days_since_second_newest_day_365d",
    "days__days_since_third_newest_day_365d",
    "days__days_since_fifth_newest_day_365d",
    "days__mean_age_over_oldest_365d",
    "gaps__recency_over_mean_gap",
    "gaps__recency_over_longest_gap",
    "gaps__overdue_days",
)
"""Time without a purchase or a visit: with more of it, leaving is likelier and less money comes."""
ACTIVE = (
    *(f"purchases__{what}_{days}d" for what in ("orders", "amount") for days in (30, 60, 90, 180, 365)),
    *(f"purchases__fading_{what}_{days}d" for what in ("orders", "amount") for days in (45, 120)),
    "days__order_days_365d",
    "days__repeat_amount_365d",
    "activity__visits_30d",
    "activity__visits_90d",
    *(f"breadth__{what}_{days}d" for what in ("products", "categories") for days in (30, 90, 365)),
)
"""Purchases and visits: with more of them, leaving is less likely and more money comes."""
WORTH = (
    "baskets__amount_per_order_365d",
    "baskets__amount_per_order_90d",
    "days__newest_day_amount_365d",
    "days__largest_day_amount_365d",
    "days__median_day_amount_365d",
)
"""Money of one purchase: with more of it more money comes; of leaving it says nothing for certain."""


def declared(is_chance: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Columns with which the answer rises, and columns with which it falls: the chance of no purchase, or an amount of money."""
    return (AWAY, ACTIVE) if is_chance else ((*ACTIVE, *WORTH), AWAY)
