"""What came of the arena: a table per world for people, figures for programs, and a page with the curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.arena.standing import OURS, Played
from retain.terminal import table
from training import markup, svg
from training.intervals import Interval

HEADER = ("policy", "money per customer", "95 %", "contacts", "unsubscribed", "left", "fatigue", "returned")


def words(found: Sequence[Played], name: str = OURS) -> str:
    """For people; losses are printed like gains."""
    parts = []
    for one in found:
        parts += [f"{one.title}: {one.words}", table(_rows(one), HEADER), *([_verdict(one, name)] if name in one.gained else []), ""]
    if found and name in found[0].gained and len(found[0].gained) > 1:
        parts.append(_summary(found, name))
    parts.append("money is above that of no contact at all, on the same customers; of several simple policies the best one is chosen after the fact")
    return "\n".join(parts)


def values(found: Sequence[Played], name: str = OURS) -> dict[str, Any]:
    """For programs."""
    return {"worlds": [_world(one, name) for one in found]}


def page(found: Sequence[Played]) -> str:
    """One HTML page with a chart per world."""
    body = ["<h1>The arena</h1>", '<p class="lede">Cumulative money per customer above that of no contact, with 95 % intervals over seeds.</p>']
    body += [
        markup.section(
            one.title, one.words, markup.legend(list(one.gained)), markup.figure(chart(one), _caption(one)), markup.table(list(HEADER), _rows(one))
        )
        for one in found
    ]
    return markup.page("The arena", body)


def chart(one: Played) -> str:
    """Cumulative money by month as SVG."""
    series = []
    for number, name in enumerate(one.gained):
        value, low, high = (part.tolist() for part in one.curve(name))
        has_range = len(one.seeds) > 1
        series.append(svg.Line(name, number, list(range(1, len(value) + 1)), value, low if has_range else (), high if has_range else ()))
    return svg.lines(series[::-1], x_label="month", y_label="money per customer above no contact", level=0.0, width=900, height=340)


def _caption(one: Played) -> str:
    return f"{one.customers:,} customers, {len(one.seeds)} seed{'' if len(one.seeds) == 1 else 's'}"


def _rows(one: Played) -> list[list[str]]:
    rows = []
    for name in sorted(one.gained, key=lambda name: -one.total(name).value):
        total = one.total(name)
        rates = [one.mean(name, what) for what in ("contacts", "refused", "left", "fatigue", "returned")]
        told = [f"{rates[0]:.2f}", f"{rates[1]:.2%}", f"{rates[2]:.2%}", f"{rates[3]:.2f}", f"{rates[4]:.2%}"]
        rows.append([name, f"{total.value:+.2f}", _ends(total), *told])
    return rows


def _verdict(one: Played, name: str) -> str:
    if len(one.gained) < 2:
        return ""
    best = one.best_simple(name)
    gap = one.against(name, best)
    said = "better than" if gap.low > 0 else "worse than" if gap.high < 0 else "not told from"
    return f"{name} is {said} {best}, the best of the others: {gap.value:+.2f} ({_ends(gap)})"


def _summary(found: Sequence[Played], name: str) -> str:
    gaps = [one.against(name, one.best_simple(name)) for one in found]
    better, worse = sum(gap.low > 0 for gap in gaps), sum(gap.high < 0 for gap in gaps)
    return f"{name} against the best of the others, by world: better in {better}, worse in {worse}, not told apart in {len(gaps) - better - worse}"


def _world(one: Played, name: str) -> dict[str, Any]:
    result: dict[str, Any] = {"title": one.title, "customers": one.customers, "seeds": list(one.seeds), "policies": {}}
    for each in one.gained:
        rates = {what: one.mean(each, what) for what in ("contacts", "refused", "left", "fatigue", "returned")}
        result["policies"][each] = {"money": _interval(one.total(each)), "cumulative": one.curve(each)[0].tolist(), **rates}
    if name in one.gained and len(one.gained) > 1:
        best = one.best_simple(name)
        result["against_best"] = {"policy": name, "other": best, **_interval(one.against(name, best))}
    return result


def _interval(of: Interval) -> dict[str, float | None]:
    known = of.high < float("inf")
    return {"value": of.value, "low": of.low if known else None, "high": of.high if known else None}


def _ends(of: Interval) -> str:
    return f"{of.low:+.2f} to {of.high:+.2f}" if of.high < float("inf") else "one seed"
