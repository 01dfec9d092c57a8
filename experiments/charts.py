"""The charts of a comparison's page: intervals, windows, curves, tenths, and the three questions of lists."""

from __future__ import annotations

from collections.abc import Iterator

from experiments.compare import Comparison, Standing
from training import markup, svg
from training.card import Curve
from training.contracts import PURPOSES
from training.intervals import told
from training.markup import COLOURS

SHOWN = 8
"""Models in one chart; more lines could not be told apart."""


def ranges(comparison: Comparison) -> str:
    """The primary metric of each model with its interval."""
    primary = comparison.standing[0].card.primary
    rows = [
        svg.Range(each.label, number % COLOURS, measure.value, measure.low, measure.high, told(measure.value, measure.low, measure.high)[0])
        for number, each in enumerate(comparison.standing)
        for measure in [each.metrics[primary]]
    ]
    return svg.ranges(rows, x_label=f"{primary} (dashed: the baseline)", level=comparison.standing[0].metrics[primary].baseline, width=1080)


def windows(comparison: Comparison) -> tuple[str, str]:
    """The primary metric of each model on each test window, and the words below; who lies far off is named there and not drawn."""
    shown = comparison.standing[:SHOWN]
    primary = shown[0].card.primary
    found = [[part.evidence.interval(primary) for part in each.parts[::-1]] for each in shown]
    spans = [
        svg.Range(each.label, number, own[-1].value, min(one.low for one in own), max(one.high for one in own))
        for number, (each, own) in enumerate(zip(shown, found, strict=True))
    ]
    near = {row.colour for row in svg.near(spans, None)}
    series = []
    for number, (each, own) in enumerate(zip(shown, found, strict=True)):
        apart = (number - (len(shown) - 1) / 2) * 0.06
        along = [place + apart for place in range(len(own))]
        if number in near:
            values, low, high = [one.value for one in own], [one.low for one in own], [one.high for one in own]
            series.append(svg.Line(each.label, number, along, values, low, high, has_dots=True))
    names = [f"from {part.windows.test[0]:%Y-%m-%d}" for part in shown[0].parts[::-1]]
    off = [row.label for row in spans if row.colour not in near]
    words = f"{primary} on each test window, the newest at the right" + (f"; {' and '.join(off)} far off the others, not drawn" if off else "")
    return svg.lines(series, x_label="test window", y_label=primary, x_names=names, width=1080, height=360), words


def curves(comparison: Comparison) -> Iterator[str]:
    """Gain, lift, calibration, coverage and tenths of scores; of lists the three questions."""
    shown = [each for each in comparison.standing[:SHOWN] if each.parts and each.parts[0].curves]
    if not shown:
        yield from purposes(comparison)
        return
    drawn: list[tuple[int, Standing, dict[str, Curve]]] = [(number, each, each.parts[0].curves) for number, each in enumerate(shown)]
    legend = markup.legend([each.label for each in shown])

    def lines(name: str, is_dotted: bool = False, is_lift: bool = False) -> list[svg.Line]:
        found = []
        for number, each, known in drawn:
            if name in known:
                x, y = list(known[name].x), list(known[name].y)
                if is_lift:
                    x, y = x[1:], [up / along for along, up in zip(x[1:], y[1:], strict=True)]
                found.append(svg.Line(each.label, number, x, y, has_dots=is_dotted))
        return found

    gain = svg.lines(lines("lift"), x_label="share of customers, highest scores first", y_label="share of the outcome found", diagonal=True)
    lift = svg.lines(
        lines("lift", is_lift=True),
        x_label="share of customers, highest scores first",
        y_label="times as much as by chance",
        level=1.0,
        from_zero=True,
    )
    set_right = svg.lines(lines("calibration", is_dotted=True), x_label="predicted, mean of a tenth", y_label="what came", diagonal=True)
    covered = svg.lines(lines("coverage", is_dotted=True), x_label="promised", y_label="covered", diagonal=True)
    yield markup.section(
        "Gain, lift and calibration",
        "On the newest test window. Gain and lift: how much of the outcome is found by asking the highest scores first. Calibration: on the dashed "
        "line, scores can be read as they stand.",
        legend,
        f'<div class="grid2">{markup.figure(gain, "Gain: the dashed line is chance")}{markup.figure(lift, "Lift: the dashed line is chance")}'
        f"{markup.figure(set_right, 'Calibration: each dot is a tenth of the customers')}"
        f"{markup.figure(covered, 'Coverage of intervals: on the dashed line they hold what they promise')}</div>",
    )
    tenths = [
        markup.figure(svg.tenths(each.label, number, known["calibration"].x, known["calibration"].y, y_label="mean"), each.label)
        for number, each, known in drawn
        if "calibration" in known
    ]
    yield markup.section(
        "Tenth by tenth",
        "Customers sorted by prediction into ten groups, the highest at the right: bars are what came, dots what was predicted.",
        f'<div class="grid3">{"".join(tenths)}</div>',
    )


def purposes(comparison: Comparison) -> Iterator[str]:
    """For lists: the three questions beside each other."""
    primary = comparison.standing[0].card.primary
    if not any(name.startswith(f"{primary}_") for name in comparison.standing[0].metrics):
        return
    figures = []
    for purpose in PURPOSES:
        name = primary if purpose == "all" else f"{primary}_{purpose}"
        rows = [
            svg.Range(each.label, number % COLOURS, each.metrics[name].value, each.metrics[name].low, each.metrics[name].high)
            for number, each in enumerate(comparison.standing[:SHOWN])
            if name in each.metrics
        ]
        words = {"all": "Anything", "new": "What the customer never bought before", "repeat": "What the customer bought before"}[purpose]
        figures.append(markup.figure(svg.ranges(rows, x_label=name, width=380, gap=26) if rows else "", words))
    if any(figures):
        yield markup.section(
            "Three questions", "A model that is good at repeats may be poor at discovery.", f'<div class="grid3">{"".join(figures)}</div>'
        )
