"""A retention list as one HTML page for the marketer: whom it reaches, what it costs and brings, what is short, who is left out and why. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from serving.lists import words as words
from serving.lists.retention import Retention
from training import markup, svg
from training.markup import Cell

GRADES = {"A": "randomised", "B": "logged probabilities", "C": "adjusted observation", "D": "none: propensity x value"}
ENOUGH = 400
"""Points of a curve."""


def page(result: Retention, said: dict[str, Any], first: Sequence[tuple[str, Sequence[Any]]]) -> str:
    """The page.

    Args:
        result: the list.
        said: its manifest.
        first: the first customers, as id and cells.
    """
    currency = said["currency"]
    gain, low, high = said["expected_gain"]
    grade = said["evidence"]
    chips = [f"{result.at:%Y-%m-%d %H:%M} UTC", f"run {result.run}", f"policy {result.policy}", f"evidence {grade}: {GRADES[grade]}"]
    lede = (
        f"{len(result.contacted):,} customers to contact and {len(result.held_out):,} held out, of {said['customers']:,}. Expected gain "
        f"{gain:,.0f} {currency} ({low:,.0f} to {high:,.0f}, the sums of the ends) after {said['expected_cost']:,.0f} {currency} of costs. The "
        f"choice, control group included, is at most {said['below_best']:.2%} below the best possible one within these limits."
    )
    body = [
        f'<p class="kicker">retention list</p><h1>{markup.escape(result.asked.campaign)}</h1><p class="lede">{markup.escape(lede)}</p>',
        '<ul class="chips">' + "".join(f"<li>{markup.escape(chip)}</li>" for chip in chips),
        ('<li class="warn">synthetic data</li>' if said["synthetic"] else "") + "</ul>",
        markup.section(
            "What is short",
            "What one more of it would bring; a call that comes in is weighed at the same prices.",
            *_lines(words.prices(result, currency)),
        ),
        markup.section("By offer and channel", "Money that is expected to come in beyond what comes anyway, after costs.", _by_action(result)),
        _curve(result, currency),
        markup.section("What it will be able to show", _held_out(result), *_lines(words.powers(result, currency))),
        markup.section("Who is not on it", "Counted once each, by the first reason that holds.", _left_out(result)),
        _groups(result),
        markup.section("The first customers", "In the order of the file.", _first(first)) if first else "",
        markup.section("On what it rests", "", *_lines([*words.evidence(result), *(f"assumed: {each}" for each in said["assumed"])])),
    ]
    return markup.page(f"Retention list {result.asked.campaign}", body)


def _lines(sentences: Sequence[str]) -> list[str]:
    return [f"<p>{markup.escape(each[:1].upper() + each[1:])}.</p>" for each in sentences] or ["<p>No limit was given.</p>"]


def _held_out(result: Retention) -> str:
    if not result.asked.holdout:
        reason = f"Reason given: {result.asked.without_holdout or 'none'}"
        if result.held_out:
            return f"Nobody new is held out; whom an earlier list of this name holds out stays so. {reason}"
        return f"Nobody is held out, so nothing will be shown. {reason}"
    share = f"{result.asked.holdout:.0%} of all who may be on the list are held out, drawn by hash within value band and risk"
    return f"{share}; who of them was chosen is not contacted."


def _by_action(result: Retention) -> str:
    sums: dict[int, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0, 0.0, 0.0])
    grades: dict[int, set[str]] = defaultdict(set)
    for each in result.contacted:
        grades[each.action].add(each.grade)
        for place, value in enumerate((1.0, each.cost, each.gain, each.low, each.high)):
            sums[each.action][place] += value
    rows: list[list[str | Cell]] = []
    for action, (count, cost, gain, low, high) in sorted(sums.items(), key=lambda each: -each[1][2]):
        what = result.what[action]
        name = f"{what.offer.name} by {what.channel.replace('_', ' ')}"
        rows.append(
            [
                name,
                f"{count:,.0f}",
                f"{cost:,.2f}",
                markup.interval(gain, low, high),
                f"{gain / cost:,.1f}" if cost else "",
                " ".join(sorted(grades[action])),
            ]
        )
    return markup.table(["", "customers", "cost", "expected gain", "gain per cost", "evidence"], rows)


def _curve(result: Retention, currency: str) -> str:
    """Gain by the number of customers contacted, in the order of the list."""
    if len(result.contacted) < 2:
        return ""
    total, points = 0.0, [(0.0, 0.0)]
    step = max(1, len(result.contacted) // ENOUGH)
    for count, each in enumerate(result.contacted, start=1):
        total += each.gain
        if count % step == 0 or count == len(result.contacted):
            points.append((float(count), total))
    line = svg.Line("expected gain", 0, [at for at, _ in points], [gain for _, gain in points])
    drawn = svg.lines(
        [line], x_label="customers contacted, in the order of the list", y_label=f"expected gain, {currency}".rstrip(", "), width=900, height=300
    )
    return markup.section(
        "How far to go", "Where the line flattens, the next customer brings little.", markup.figure(drawn, "Cumulative expected gain")
    )


def _left_out(result: Retention) -> str:
    counts = result.left_out
    return markup.table(["", "customers"], [[_told(name, words.why(name)), f"{count:,}"] for name, count in counts.items()])


def _groups(result: Retention) -> str:
    rows: list[list[str | Cell]] = [[_told(name, words.KINDS[name]), f"{count:,}"] for name, count in result.groups.items()]
    return markup.section("Four kinds of customers", "Among those who may be contacted.", markup.table(["", "customers"], rows))


def _told(name: str, meaning: str) -> str:
    plain = name.replace("_", " ")
    return plain if plain == meaning else f"{plain}: {meaning}"


def _first(first: Sequence[tuple[str, Sequence[Any]]]) -> str:
    rows: list[list[str | Cell]] = []
    for customer, cells in first:
        _, _, _, offer, channel, gain, low, high, cost, _, _, risk, value, band, stage, cause = cells[:16]
        figures = [markup.interval(gain, low, high), f"{cost:.2f}", f"{risk:.2f}", f"{value:,.0f}"]
        rows.append([customer, f"{offer} by {channel.replace('_', ' ')}", *figures, f"{band}, {stage}", cause.replace("_", " ")])
    return markup.table(["customer", "what", "gain", "cost", "risk", "value", "who", "likely cause"], rows)
