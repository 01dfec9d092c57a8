"""Which value band, lifecycle stage and segment a customer is in. Pure; the rules are declared in ``configs/segments.yaml``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from retain import config

NO_BAND = "inactive"
"""Band of a customer who is not active or has no predicted value: nothing to rank."""


class Band(BaseModel):
    """One value band, counted from the top."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    share: float = Field(gt=0, le=1)
    """Share of all active customers."""


class Stages(BaseModel):
    """When a customer is in which stage. Tried in the order won back, declining, acquired, growing; who is left is mature."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    won_back_pause_days: int = Field(default=120, ge=1)
    """Won back: bought again after at least so long a pause ..."""
    won_back_within_days: int = Field(default=60, ge=1)
    """... and the pause ended at most so many days ago."""
    declining_gaps: float = Field(default=3.0, gt=0)
    """Declining: silent for more than so many of the customer's own usual gaps ..."""
    declining_least_days: int = Field(default=28, ge=1)
    """... and for at least so many days; ..."""
    declining_silent_days: int = Field(default=90, ge=1)
    """... or silent for so many days, whatever the gaps; ..."""
    declining_trend: float = Field(default=0.5, ge=0)
    """... or spending at most this share of what was spent in the period before."""
    acquired_tenure_days: int = Field(default=90, ge=1)
    """Acquired: the first purchase is at most so many days ago."""
    growing_trend: float = Field(default=1.25, gt=0)
    """Growing: spending at least so many times what was spent in the period before."""
    period_days: int = Field(default=90, ge=1)
    """Length of the two periods that the trend compares."""
    active_days: int = Field(default=365, ge=1)
    """Active: at least one purchase in so many days."""


class Rules(BaseModel):
    """Bands and stages of a house."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bands: tuple[Band, ...] = (
        Band(name="vip", share=0.01),
        Band(name="major", share=0.04),
        Band(name="ordinary", share=0.15),
        Band(name="small", share=0.80),
    )
    stages: Stages = Stages()

    @model_validator(mode="after")
    def _whole(self) -> Rules:
        if not math.isclose(sum(band.share for band in self.bands), 1.0, abs_tol=1e-9):
            raise ValueError("the shares of the bands must sum to 1")
        if len({band.name for band in self.bands} | {NO_BAND}) != len(self.bands) + 1:
            raise ValueError(f"band names must differ from each other and from {NO_BAND!r}")
        return self


def rules() -> Rules:
    """The rules of ``configs/segments.yaml``."""
    return config.read(config.shipped("segments.yaml"), Rules)


def bands(value: NDArray[np.float64], active: NDArray[np.bool_], ids: NDArray[Any], rules: Rules) -> NDArray[np.object_]:
    """Band of each customer: the rank of predicted value over all active customers.

    A band ends at the rounded-up cumulative share, so that the smallest shop has a best customer. Equal values fall to the smaller id.
    """
    result = np.full(len(value), NO_BAND, dtype=object)
    ranked = np.flatnonzero(active & np.isfinite(value))
    ranked = ranked[np.lexsort((ids[ranked], -value[ranked]))]
    start, share = 0, 0.0
    for band in rules.bands:
        share += band.share
        end = min(math.ceil(round(share * len(ranked), 6)), len(ranked))
        result[ranked[start:end]] = band.name
        start = end
    return result


def stages(habits: pd.DataFrame, rules: Rules) -> NDArray[np.object_]:
    """Stage of each customer by recency, tenure and trend.

    Args:
        habits: one row per customer: ``recency_days`` since the last purchase, ``tenure_days`` since the first, ``usual_gap_days`` between
            purchases, ``pause_days`` (longest gap that ended within ``won_back_within_days``), ``spend`` and ``spend_before`` of the last period
            and the one before; NaN where there is none.
        rules: what the words mean here.
    """
    rule = rules.stages
    recency, tenure, gap = (habits[name].to_numpy(np.float64) for name in ("recency_days", "tenure_days", "usual_gap_days"))
    pause = habits["pause_days"].to_numpy(np.float64)
    spend, before = (np.nan_to_num(habits[name].to_numpy(np.float64)) for name in ("spend", "spend_before"))
    compared = (before > 0) & (tenure > 2 * rule.period_days)
    long_silence = (recency > rule.declining_gaps * gap) & (recency >= rule.declining_least_days)
    conditions = [
        np.isnan(recency),
        pause >= rule.won_back_pause_days,
        long_silence | (recency >= rule.declining_silent_days) | (compared & (spend <= rule.declining_trend * before)),
        tenure <= rule.acquired_tenure_days,
        compared & (spend >= rule.growing_trend * before),
    ]
    return np.select(conditions, ["potential", "won_back", "declining", "acquired", "growing"], default="mature").astype(object)


def segments(band: NDArray[np.object_], stage: NDArray[np.object_]) -> NDArray[np.object_]:
    """Segment = band x stage, as ``band/stage``."""
    return np.array([f"{one}/{other}" for one, other in zip(band, stage, strict=True)], dtype=object)
