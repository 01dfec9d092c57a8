"""What a look at drift finds: one thing that was looked at, how far it has moved, and since when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np

from training.card import Card
from training.evidence import Evidence

Kind = Literal["data", "inputs", "scores", "outcomes", "calibration"]
KINDS: tuple[Kind, ...] = ("data", "inputs", "scores", "outcomes", "calibration")
LOOKED_BACK = 12
"""Snapshots that are looked at, at most, to say since when."""
WORSE = 0.05
"""A metric counts as moved when its change is clear of zero and at least this share of what stands on the card."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    kind: Kind
    what: str
    value: float
    """The stability index, the ratio of rows, or the change of the figure."""
    limit: float
    """What it takes to count as moved."""
    is_moved: bool
    words: str
    since: datetime | None = None
    """The first snapshot from which on it has moved, where that is known."""


def run_since(back: Sequence[datetime], past: Mapping[datetime, float], limit: float) -> datetime | None:
    """The first moment of the longest run of moments up to today on which something stood above its limit."""
    run = [moment for moment in back if all(past[later] > limit for later in back if later >= moment)]
    return min(run, default=None)


def since_words(since: datetime | None) -> str:
    """The same as the end of a sentence."""
    return f" since {since:%Y-%m-%d}" if since else ""


def figures(card: Card, fresh: Evidence, then: Evidence, cutoff: datetime, asked: Mapping[str, Kind] | None = None) -> list[Finding]:
    """The outcome, the primary metric and the calibration after the training, against the card."""
    usual: dict[str, Kind] = {"mean_actual": "outcomes", card.primary: "outcomes", "ece": "calibration", "bias": "calibration"}
    found = []
    for name, kind in (usual if asked is None else asked).items():
        if name not in fresh.values or name not in card.metrics:
            continue
        count = min(len(fresh.samples[name]), len(then.samples[name]))
        drawn = fresh.samples[name][:count] - then.samples[name][:count]
        low, high = np.nanquantile(drawn, [0.025, 0.975])
        before, after = then.values[name], fresh.values[name]
        limit = WORSE * max(abs(before), 0.01)
        is_clear = bool(low > 0 or high < 0) and abs(after - before) > limit
        is_worse = {"higher": after < before, "lower": after > before, "zero": abs(after) > abs(before), "": True}[card.metrics[name].better]
        words = f"{name} from {cutoff:%Y-%m-%d}: {after:.4g}, {before:.4g} on the card; change {after - before:+.3g} [{low:+.3g}, {high:+.3g}]"
        found.append(Finding(kind, name, abs(after - before), limit, is_clear and is_worse, words))
    return found
