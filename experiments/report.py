"""Comparisons and backtests for a terminal, for programs, and as one HTML page."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.compare import Comparison, labels
from retain.terminal import table
from training import pictures
from training.candidates import Contender
from training.card import Card, Measure

METRICS = 4
"""Metrics of a leaderboard on a terminal; the page and JSON show all."""


def words(comparison: Comparison) -> str:
    """The comparison for a terminal."""
    standing, names = comparison.standing, labels(comparison.standing)
    card = standing[0].card
    shown = list(card.metrics)[:METRICS]
    rows = [[_marked(each, names, comparison), *(_figure(each.card.metrics.get(name)) for name in shown), _gain(each)] for each in standing]
    lines = [heading(card), "", table(rows, ["model", *shown, f"gain in {card.primary} on baseline"]), ""]
    if comparison.pairs:
        lines += [f"paired differences in {card.primary}, turned so that more is better; p corrected by Holm", ""]
        lines += [table(_pair_rows(comparison), ["better", "worse", "difference", "p", "corrected p", "verdict"]), ""]
    lines += notes(comparison)
    return "\n".join(lines)


def heading(card: Card) -> str:
    """What was judged, when and on whom."""
    since = ", ".join(f"{moment:%Y-%m-%d}" for moment in card.windows.test)
    synthetic = ", synthetic data" if card.synthetic else ""
    return f"{card.task}: judged on {card.test_rows} rows from {since}, {card.horizon_days} days ahead, 95 % intervals{synthetic}"


def notes(comparison: Comparison) -> list[str]:
    """What must be said beside the figures."""
    said: list[str] = []
    if comparison.champion is None:
        said.append("there is no champion")
    elif comparison.champion in {contender.id for contender in comparison.standing}:
        said.append("* champion")
    else:
        said.append(f"the champion {comparison.champion} was judged on another window; `retain train {comparison.task}` judges its recipe anew")
    if comparison.others:
        left = ", ".join(card.model_id for card in comparison.others)
        said.append(f"{len(comparison.others)} further models were judged on other windows and are left out: {left}")
    words = comparison.standing[0].card.windows.words
    return [*said, words] if words else said


def values(comparison: Comparison) -> dict[str, Any]:
    """The comparison for programs."""
    return {
        "task": comparison.task,
        "champion": comparison.champion,
        "primary": comparison.standing[0].card.primary,
        "models": [
            {
                "model_id": each.id,
                "title": each.card.title,
                "is_champion": each.id == comparison.champion,
                "metrics": {name: measure.model_dump() for name, measure in each.card.metrics.items()},
            }
            for each in comparison.standing
        ],
        "pairs": [
            {
                "better": pair.better,
                "worse": pair.worse,
                "difference": pair.difference.value,
                "low": pair.difference.low,
                "high": pair.difference.high,
                "p": pair.p,
                "p_corrected": pair.p_corrected,
                "verdict": pair.verdict,
            }
            for pair in comparison.pairs
        ],
        "judged_on_other_windows": [card.model_id for card in comparison.others],
        "synthetic": comparison.standing[0].card.synthetic,
        "notes": notes(comparison),
    }


def page(comparison: Comparison) -> str:
    """The comparison as one HTML page that needs nothing else."""
    standing, names = comparison.standing, labels(comparison.standing)
    card = standing[0].card
    shown = list(card.metrics)
    board = [[_marked(each, names, comparison), *(_figure(each.card.metrics.get(name)) for name in shown), _gain(each)] for each in standing]
    parts = [
        f"<h1>{html.escape(card.task)}: which model is better?</h1>",
        f"<p>{html.escape(heading(card))}</p>",
        _table(["model", *shown, f"gain in {card.primary} on baseline"], board),
        f"<h2>Paired differences in {html.escape(card.primary)}</h2><p>Turned so that more is better; p corrected by Holm.</p>",
        _table(["better", "worse", "difference", "p", "corrected p", "verdict"], _pair_rows(comparison)),
        *(f"<p>{html.escape(note)}</p>" for note in notes(comparison)),
        *_drawn(standing, names),
    ]
    if card.assumptions:
        parts.append("<h2>Assumed</h2>")
        parts += [f"<p>{html.escape(f'{each.name}: {each.value} ({each.basis})')}</p>" for each in card.assumptions]
    return _PAGE.format(title=html.escape(f"{card.task}: comparison"), body="\n".join(parts))


def _drawn(standing: Sequence[Contender], names: Mapping[str, str]) -> list[str]:
    figures = []
    for key, draw, title in (("lift", pictures.lift, "Lift"), ("calibration", pictures.calibration, "Calibration")):
        curves = {names[each.id]: each.card.curves[key] for each in standing if key in each.card.curves}
        if curves:
            figures.append((title, draw(curves)))
    figures += [(names[each.id], pictures.intervals(each.card)) for each in standing]
    return [
        f'<figure><img alt="{html.escape(title)}" src="data:image/png;base64,{base64.b64encode(png).decode()}"></figure>' for title, png in figures
    ]


def _pair_rows(comparison: Comparison) -> list[list[str]]:
    return [
        [
            pair.better,
            pair.worse,
            f"{pair.difference.value:+.4g} [{pair.difference.low:+.4g}, {pair.difference.high:+.4g}]",
            f"{pair.p:.3f}",
            f"{pair.p_corrected:.3f}",
            pair.verdict,
        ]
        for pair in comparison.pairs
    ]


def _marked(contender: Contender, names: Mapping[str, str], comparison: Comparison) -> str:
    return names[contender.id] + (" *" if contender.id == comparison.champion else "")


def _figure(measure: Measure | None) -> str:
    return "-" if measure is None else f"{measure.value:.4g} [{measure.low:.4g}, {measure.high:.4g}]"


def _gain(contender: Contender) -> str:
    card = contender.card
    if card.model_spec == card.baseline_spec:
        return "baseline"
    measure = card.metrics[card.primary]
    return f"{measure.gain:+.3g} [{measure.gain_low:+.3g}, {measure.gain_high:+.3g}]"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 14px/1.5 system-ui, sans-serif; color: #1f2933; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }}
table {{ border-collapse: collapse; display: block; overflow-x: auto; }}
th, td {{ padding: .3rem .8rem; border-bottom: 1px solid #d9e0e6; text-align: right; white-space: nowrap; }}
th:first-child, td:first-child {{ text-align: left; }}
figure {{ display: inline-block; margin: 1rem 1rem 0 0; }}
</style></head>
<body>
{body}
</body></html>
"""
