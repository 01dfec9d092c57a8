"""Parts of an HTML page that needs nothing else: no script, no network, light and dark by the reader's own setting. Pure."""

from __future__ import annotations

import html
from collections.abc import Sequence
from importlib.resources import files

from training.intervals import told

COLOURS = 10
"""Colours of series in ``page.css``; a page with more models uses them again."""


class Markup(str):
    """Text that is HTML already and is not escaped again."""


def page(title: str, body: Sequence[str]) -> str:
    """A whole page."""
    style = files("training").joinpath("page.css").read_text(encoding="utf-8")
    colours = "\n".join(
        f"svg .s{n} polyline, svg .s{n} line {{ stroke: var(--s{n}); }} svg .s{n} circle, svg .s{n} rect {{ fill: var(--s{n}); }} "
        f".c{n} {{ background: var(--s{n}); }}"
        for n in range(COLOURS)
    )
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{html.escape(title)}</title>'
    head += f"<style>\n{style}{colours}\n</style>"
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body><main>\n{"".join(body)}\n</main></body></html>\n'


def section(title: str, words: str, *parts: str) -> str:
    """A card with a heading and a sentence on how to read it."""
    return f'<section><h2>{escape(title)}</h2><p class="soft">{escape(words)}</p>{"".join(parts)}</section>\n'


def table(header: Sequence[str], rows: Sequence[Sequence[str | Cell]]) -> str:
    """A table; the first column to the left, the others to the right."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(_cell(cell) for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


class Cell:
    """A cell of a table with a class of its own."""

    def __init__(self, content: str, kind: str) -> None:
        self.content, self.kind = content, kind


def figure(drawn: str, words: str) -> str:
    """A chart and what it shows; nothing where there is nothing to show."""
    return f"<figure>{drawn}<figcaption>{escape(words)}</figcaption></figure>" if drawn else ""


def swatch(colour: int) -> Markup:
    """The colour of a series."""
    return Markup(f'<span class="swatch c{colour % COLOURS}"></span>')


def legend(names: Sequence[str]) -> str:
    """Which colour is whose."""
    return '<div class="legend">' + "".join(f"<span>{swatch(n)}{escape(name)}</span>" for n, name in enumerate(names)) + "</div>"


def interval(value: float, low: float, high: float, signed: bool = False, is_stacked: bool = False) -> Markup:
    """A figure and, smaller, its interval: beside it, or below it where columns are many."""
    shown, lowest, highest = told(value, low, high, is_signed=signed)
    return Markup(f'{shown}<span class="ci{" below" if is_stacked else ""}">{lowest} to {highest}</span>')


def escape(text: str) -> str:
    """Text as HTML; what is markup already stays."""
    return text if isinstance(text, Markup) else html.escape(text)


def _cell(cell: str | Cell) -> str:
    return f'<td class="{cell.kind}">{escape(cell.content)}</td>' if isinstance(cell, Cell) else f"<td>{escape(cell)}</td>"
