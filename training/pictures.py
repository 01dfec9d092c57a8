"""Calibration and lift as pictures, drawn from the numbers on a card."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from training.card import Card, Curve

INK, LINE, FAINT = "#1f2933", "#0b6e99", "#9aa5b1"


def pictures(card: Card) -> dict[str, bytes]:
    """File name to PNG, for the curves that the card has."""
    drawn: dict[str, bytes] = {}
    if "calibration" in card.curves:
        drawn["calibration.png"] = calibration({card.title: card.curves["calibration"]})
    if "lift" in card.curves:
        drawn["lift.png"] = lift({card.title: card.curves["lift"]})
    drawn["metrics.png"] = intervals(card)
    return drawn


def intervals(card: Card) -> bytes:
    """Every metric with its interval, beside the baseline's, each on the scale of its own baseline."""
    names = [name for name, measure in card.metrics.items() if measure.better and measure.baseline]
    figure, axes = _axes(f"{card.title} beside its baseline, 95 % intervals", "share of the baseline's figure", "")
    axes.axvline(1.0, color=FAINT, linewidth=1, linestyle="--")
    for place, name in enumerate(reversed(names)):
        measure = card.metrics[name]
        low, value, high = (number / measure.baseline for number in (measure.low, measure.value, measure.high))
        base = [measure.baseline_low / measure.baseline, measure.baseline_high / measure.baseline]
        axes.plot(base, [place - 0.15] * 2, color=FAINT, linewidth=4, solid_capstyle="butt")
        axes.plot([low, high], [place + 0.15] * 2, color=LINE, linewidth=1.5)
        axes.plot([value], [place + 0.15], color=LINE, marker="o", markersize=4)
    axes.set_yticks(range(len(names)), labels=names[::-1])
    return _png(figure, axes, {})


def calibration(curves: Mapping[str, Curve]) -> bytes:
    """Predicted against observed, one line per model, with the diagonal that a calibrated model follows."""
    figure, axes = _axes("Calibration on the test window", "predicted", "observed")
    top = max((max(*curve.x, *curve.y) for curve in curves.values() if curve.x), default=1.0) or 1.0
    axes.plot([0, top], [0, top], color=FAINT, linewidth=1, linestyle="--")
    for name, curve in curves.items():
        axes.plot(curve.x, curve.y, marker="o", markersize=4, linewidth=1.5, label=name, **_colour(curves))
    return _png(figure, axes, curves)


def lift(curves: Mapping[str, Curve]) -> bytes:
    """Share of the outcome found among the highest-ranked customers, with the diagonal that chance follows."""
    figure, axes = _axes("Lift on the test window", "share of customers, highest scores first", "share of the outcome found")
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle="--")
    for name, curve in curves.items():
        axes.plot(curve.x, curve.y, linewidth=1.5, label=name, **_colour(curves))
    return _png(figure, axes, curves)


def _axes(title: str, x: str, y: str) -> tuple[Any, Any]:
    # The object API: no global state, no display, nothing to close.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 4.0), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=10, color=INK)
    axes.set_xlabel(x, fontsize=9, color=INK)
    axes.set_ylabel(y, fontsize=9, color=INK)
    axes.tick_params(labelsize=8, colors=INK)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _colour(curves: Mapping[str, Curve]) -> dict[str, str]:
    return {"color": LINE} if len(curves) == 1 else {}


def _png(figure: Any, axes: Any, curves: Mapping[str, Curve]) -> bytes:
    if curves:
        axes.legend(fontsize=8, frameon=False)
    buffer = io.BytesIO()
    # Without a Software entry equal numbers give equal bytes.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
