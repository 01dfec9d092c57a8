"""Charts say what the numbers say, where they say it, and nothing that a title smuggles in."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from training import markup, svg
from training.sheet import sheet

LINE = svg.Line("<b>one</b>", 2, [0.0, 0.5, 1.0], [0.1, 0.4, 0.9], has_dots=True)


def _drawn(text: str) -> ET.Element:
    return ET.fromstring(text)  # noqa: S314 - our own markup


def _ticks(text: str) -> list[str]:
    return re.findall(r'class="tick"[^>]*>([^<]*)<', text)


def test_a_chart_is_well_formed_and_escapes_names() -> None:
    chart = svg.lines([LINE], x_label="a & b", y_label="c", diagonal=True)
    root = _drawn(chart)
    assert len(root.findall(".//circle")) == 3
    assert "<b>" not in chart
    assert "&lt;b&gt;one" in chart


def test_points_rise_as_numbers_do_and_lie_on_the_diagonal_where_equal() -> None:
    chart = svg.lines([svg.Line("same", 0, [0.2, 0.8], [0.2, 0.8], has_dots=True)], x_label="x", y_label="y", diagonal=True)
    root = _drawn(chart)
    (x1, y1), (x2, y2) = [(float(dot.get("cx", "")), float(dot.get("cy", ""))) for dot in root.findall(".//circle")]
    assert x1 < x2
    assert y1 > y2, "pixels are counted from the top"
    guide = next(line for line in root.findall(".//line") if line.get("class") == "guide")
    ends = [float(guide.get(name, "")) for name in ("x1", "y1", "x2", "y2")]
    slope = (ends[3] - ends[1]) / (ends[2] - ends[0])
    assert (y2 - y1) / (x2 - x1) == pytest.approx(slope, rel=0.01)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.0, 1.0, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (0.513, 0.556, ["0.51", "0.52", "0.53", "0.54", "0.55", "0.56"]),
        (0.0, 42_000.0, ["0", "10.0k", "20.0k", "30.0k", "40.0k", "50.0k"]),
        (-3.0, 7.0, ["-4", "-2", "0", "2", "4", "6", "8"]),
    ],
)
def test_ticks_are_round_and_hold_what_is_shown(low: float, high: float, ticks: list[str]) -> None:
    chart = svg.ranges([svg.Range("one", 0, (low + high) / 2, low, high)], x_label="value")
    found = [tick for tick in _ticks(chart) if tick]
    assert [tick.replace(",", "") for tick in found] == ticks or found == [tick.replace(".0k", "k") for tick in ticks]


def test_what_is_no_number_is_left_out() -> None:
    nan = float("nan")
    assert svg.lines([svg.Line("none", 0, [nan], [nan])], x_label="x", y_label="y") == ""
    assert svg.ranges([svg.Range("none", 0, nan, nan, nan)], x_label="x") == ""
    assert svg.tenths("none", 0, [], [], y_label="y") == ""
    some = svg.lines([svg.Line("some", 0, [0.0, nan, 1.0], [1.0, 2.0, 3.0], has_dots=True)], x_label="x", y_label="y")
    assert len(_drawn(some).findall(".//circle")) == 2
    assert "nan" not in some


def test_bars_of_tenths_stand_on_zero_and_below_it() -> None:
    root = _drawn(svg.tenths("one", 0, [1.0, 2.0], [-1.0, 3.0], y_label="y"))
    below, above = root.findall(".//rect")
    assert float(below.get("y", "")) == pytest.approx(float(above.get("y", "")) + float(above.get("height", "")), abs=0.2)
    assert float(above.get("height", "")) == pytest.approx(3 * float(below.get("height", "")), rel=0.02)


def test_a_page_needs_nothing_else(card) -> None:  # type: ignore[no-untyped-def]
    page = sheet(card(title="<i>x</i>", guards=("future shuffle: held",)))
    assert "<script" not in page
    assert "<link" not in page
    assert not re.search(r'(src|href)="', page)
    assert "prefers-color-scheme: dark" in page
    assert "<i>x" not in page
    assert "future shuffle: held" in page
    assert "0.50<span" in page, "as many digits as the interval can tell"


def test_markup_is_escaped_once() -> None:
    assert markup.table(["<"], [[markup.swatch(0), "a<b"]]).count("&lt;") == 2
    assert "swatch" in markup.table(["x"], [[markup.swatch(3)]])


def test_what_lies_far_off_is_an_arrow_and_leaves_the_others_apart() -> None:
    rows = [svg.Range(name, place, value, value - 0.01, value + 0.01) for place, (name, value) in enumerate((("a", 0.83), ("b", 0.80), ("c", 0.79)))]
    near, far = svg.ranges(rows, x_label="x", level=0.79), svg.ranges([*rows, svg.Range("mean", 3, 0.0, 0.0, 0.0)], x_label="x", level=0.79)
    assert near.count("<polyline") == 0
    assert far.count("<polyline") == 1
    assert far.count("<circle") == 3
    assert ">0.0<" not in far, "the axis is that of the others"
    spread = svg.ranges([svg.Range(str(place), 0, place, place, place) for place in range(4)], x_label="x")
    assert spread.count("<circle") == 4
