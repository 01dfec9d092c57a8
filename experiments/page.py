"""A comparison as one HTML page that needs nothing else."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence

from experiments import report
from experiments.compare import Comparison
from training import pictures


def page(comparison: Comparison) -> str:
    """The comparison as one HTML page that needs nothing else."""
    standing = comparison.standing
    card = standing[0].card
    shown = list(standing[0].metrics)
    board = [[report.marked(each, comparison), *(report.figure(each.metrics.get(name)) for name in shown), report.gain(each)] for each in standing]
    parts = [
        f"<h1>{html.escape(card.task)}: which model is better?</h1>",
        f"<p>{html.escape(report.heading(comparison))}</p>",
        f"<p>{html.escape(report.verdict(comparison))}</p>",
        _table(["model", *shown, f"gain in {card.primary} on baseline"], board),
        *(f"<p>{html.escape(note)}</p>" for note in report.notes(comparison)),
        *_drawn(comparison),
    ]
    return _PAGE.format(title=html.escape(f"{card.task}: comparison"), body="\n".join(parts))


def _drawn(comparison: Comparison) -> list[str]:
    figures = []
    for key, draw, title in (("lift", pictures.lift, "Lift"), ("calibration", pictures.calibration, "Calibration")):
        curves = {each.label: each.parts[0].curves[key] for each in comparison.standing if each.parts and key in each.parts[0].curves}
        if curves:
            figures.append((title, draw(curves)))
    return [
        f'<figure><img alt="{html.escape(title)}" src="data:image/png;base64,{base64.b64encode(png).decode()}"></figure>' for title, png in figures
    ]


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
