"""What a model's card says: where it came from, what it was judged at, what it takes for granted."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from retain.errors import IntegrityError
from retain.workspace import Assumption

SCHEMA_VERSION = 1
"""Raised when a card can no longer be read by what stood before."""


class Measure(BaseModel):
    """One metric on the test window with its 95 % interval, beside the baseline's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    low: float
    high: float
    baseline: float
    baseline_low: float
    baseline_high: float
    gain: float
    """Paired difference from the baseline, turned so that more is better."""
    gain_low: float
    gain_high: float
    better: Literal["higher", "lower", "zero", ""] = ""
    """Which value is better; empty where the metric only describes, such as a mean."""


class Curve(BaseModel):
    """Points of a picture: numbers, so that whoever shows it draws it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    x: tuple[float, ...]
    y: tuple[float, ...]
    weight: tuple[float, ...] = ()
    """Rows behind each point."""


class Windows(BaseModel):
    """The cutoffs a model learned and was judged at."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: tuple[AwareDatetime, ...] = ()
    valid: tuple[AwareDatetime, ...] = ()
    test: tuple[AwareDatetime, ...] = ()
    final: tuple[AwareDatetime, ...] = ()
    """Every closed window: what the packaged model learned from after it had been judged."""
    words: str = ""
    """Said where history was too short for windows of the asked horizon."""
    season: str = ""
    """Said where no window had the season of the window to come."""


class Card(BaseModel):
    """What stands on a model's card."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    model_id: str = ""
    """Task and a hash of the card and the native files; equal runs give equal ids. Filled by ``training.package.package``."""
    task: str
    title: str
    kind: Literal["scorer", "ranker"]
    fitted: str
    """``module:Class`` of what was learned; only modules below ``training.models`` are ever opened."""
    task_spec: dict[str, Any]
    model_spec: dict[str, Any]
    baseline_spec: dict[str, Any]
    is_simple: bool
    """Whether it may become the first champion."""
    columns: tuple[str, ...] = ()
    """Features in the order that the model learned, as ``view__column``; empty for a ranker."""
    horizon_days: int
    item: Literal["product", "category", ""] = ""
    """What a ranker ranks."""
    windows: Windows
    training_rows: int
    test_rows: int
    primary: str
    """The metric that the gate compares."""
    metrics: dict[str, Measure]
    curves: dict[str, Curve] = {}
    """``calibration`` (predicted, observed) and ``lift`` (share of customers, share of the outcome found), where they make sense."""
    moment: AwareDatetime
    """The time in the workspace when it was trained."""
    seed: int
    tests: int = 1
    """Test windows that were asked for."""
    cutoffs: tuple[datetime, ...] = ()
    """Moments that the experiment named; empty for the cadence."""
    data_digest: str
    features_digest: str
    code_version: str
    commit: str = ""
    """Commit of a checkout; empty when installed."""
    code_digest: str = ""
    """Hash of the text that made it: ``training.provenance.code``."""
    environment: dict[str, str] = {}
    """Python, machine and libraries."""
    assumptions: tuple[Assumption, ...] = ()
    synthetic: bool = False
    guards: tuple[str, ...] = ()
    """What the guards looked at and found sound, in plain words."""
    notes: tuple[str, ...] = ()
    """Warnings of the guards, in plain words."""


def migrate(values: Any, place: str) -> dict[str, Any]:
    """The values of a card as this release reads them.

    Raises:
        IntegrityError: no card, or of a newer release.
    """
    if not isinstance(values, dict) or not isinstance(values.get("schema_version"), int):
        raise IntegrityError(f"{place}: card.json names no schema_version; train the model again")
    if values["schema_version"] > SCHEMA_VERSION:
        raise IntegrityError(
            f"{place}: its card has schema version {values['schema_version']}, this release of retain reads up to {SCHEMA_VERSION}; upgrade retain"
        )
    return values
