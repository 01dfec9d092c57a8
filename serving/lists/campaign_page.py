"""A campaign's report as sentences and as one HTML page: the lift, what it was worth, how it came about, and what harm was done. Pure."""

from __future__ import annotations

from math import isfinite

from serving.lists.campaign_report import Measure, Path, Report
from serving.lists.campaigns import BEHIND
from training import markup, svg
from training.markup import Cell

NAMES = {
    "buyers": "buyers, in points",
    "revenue": "revenue per customer",
    "margin": "margin per customer",
    "unsubscribed": "left a channel, in points",
    "complained": "complained, in points",
    "returned": "sent something back, in points",
    "over_selling": "money sent back per customer",
}
SHARES = ("buyers", "unsubscribed", "complained", "returned")


def spoken(report: Report) -> list[str]:
    """The report in sentences."""
    said = [
        f"{report.campaign}: {report.contacted:,} contacted and {report.held_out:,} held out whose {report.days} days are over, "
        f"{report.waiting:,} still waiting; groups from the {report.groups_by}"
    ]
    if not report.contacted or not report.held_out:
        return [*said, "nothing can be said yet: no window is over in one of the groups"]
    if report.is_odd_split:
        said.append("WARNING: the groups are of sizes that the draw hardly ever gives; find out who sorted them before believing anything below")
    said += [_line(name, each) for name, each in report.measures.items()]
    for name in ("revenue", "margin"):
        if name in report.incremental:
            said.append(f"incremental {name}: {_money(report.incremental[name], report.currency)}")
    if report.profit is not None:
        said.append(f"profit after costs of {report.cost:,.2f}: {_money(report.profit, report.currency)}; {verdict(report)}")
    if report.returned is not None:
        value, low, high = report.returned
        said.append(f"return per {report.currency or 'unit'} spent: {value:,.2f} [{low:,.2f}, {high:,.2f}]")
    said += [f"harm, {_line(name, each)}" for name, each in report.harms.items()]
    return [*said, *report.notes, "intervals in brackets hold however often anybody looks (95 % confidence sequences)"]


def verdict(report: Report) -> str:
    """In a few words: did it pay?"""
    if report.profit is None:
        return "no margin is known, so nobody can say whether it paid; give --margin-rate"
    if any(note.startswith(BEHIND) for note in report.notes):
        return "whether it paid cannot be said before the tables hold its windows"
    _, low, high = report.profit
    return "it paid" if low > 0 else "it cost more than it brought" if high < 0 else "whether it paid is not shown yet"


def page(report: Report) -> str:
    """The page."""
    main = report.worth
    chips = [f"as of {report.as_of[:16].replace('T', ' ')} UTC", f"{report.days} days after each contact", f"groups from the {report.groups_by}"]
    lede = f"{report.contacted:,} contacted, {report.held_out:,} held out"
    lede += f", {report.waiting:,} whose window is not over. " if report.waiting else ". "
    words = verdict(report)
    lede += words[:1].upper() + words[1:] + "."
    body = [
        f'<p class="kicker">campaign report</p><h1>{markup.escape(report.campaign)}</h1><p class="lede">{markup.escape(lede)}</p>',
        '<ul class="chips">' + "".join(f"<li>{markup.escape(chip)}</li>" for chip in chips),
        ('<li class="warn">groups do not fit their draw</li>' if report.is_odd_split else ""),
        ('<li class="warn">synthetic data</li>' if report.synthetic else "") + "</ul>",
        markup.section("Lift", _HOW, _table(report.measures, better=1), _ranges(report.measures, "effect per contacted customer")),
        markup.section("What it was worth", "Over all contacted customers whose window is over.", _worth(report)) if main else "",
        _curves(report),
        _funnel(report),
        markup.section(
            "Harm",
            "What the campaign did that nobody wants; more is worse. Money sent back is the over-selling meter.",
            _table(report.harms, better=-1),
        ),
        markup.section("On what it rests", "", *(f"<p>{markup.escape(words)}</p>" for words in (*report.notes, _RESTS))),
    ]
    return markup.page(f"Campaign {report.campaign}", body)


_HOW = (
    "Contacted against held out, per customer. The interval holds however often anybody looks; the narrow one beside it would hold for one single "
    "look that was fixed before."
)
_RESTS = (
    "Effects are means of outcomes weighed by the chance of being contacted. Intervals are asymptotic confidence sequences (Waudby-Smith, Arbour, "
    "Sinha, Kennedy and Ramdas, 2021) over customers in the order of their draw; by day, Bonferroni over all days."
)


def _line(name: str, each: Measure) -> str:
    if not each.contacted and not each.held_out:
        return f"{NAMES[name]}: none recorded"
    value, low, high = (_told(name, figure) for figure in (each.value, each.low, each.high))
    return f"{NAMES[name]}: {value} [{low}, {high}] ({_told(name, each.contacted, False)} contacted, {_told(name, each.held_out, False)} held out)"


def _told(name: str, value: float, is_signed: bool = True) -> str:
    scaled = 100 * value if name in SHARES else value
    return f"{scaled:+,.2f}" if is_signed else f"{scaled:,.2f}"


def _money(triple: tuple[float, float, float], currency: str) -> str:
    value, low, high = triple
    return f"{value:,.2f} {currency} [{low:,.2f}, {high:,.2f}]".replace("  ", " ")


def _table(measures: dict[str, Measure], better: int) -> str:
    rows: list[list[str | Cell]] = []
    for name, each in measures.items():
        if not each.contacted and not each.held_out:
            rows.append([NAMES[name], "", "", Cell("none recorded", "even"), ""])
            continue
        scale = 100 if name in SHARES else 1
        signs = [better * end > 0 for end in (each.low, each.high)]
        kind = "good" if all(signs) and isfinite(each.low) else "bad" if not any(signs) and isfinite(each.high) else "even"
        effect = markup.interval(scale * each.value, scale * each.low, scale * each.high, signed=True)
        once = f"{scale * each.once_low:+.3g} to {scale * each.once_high:+.3g}"
        rows.append([NAMES[name], _told(name, each.contacted, False), _told(name, each.held_out, False), Cell(effect, kind), once])
    return markup.table(["", "contacted", "held out", "effect, at every look", "at one look"], rows)


def _worth(report: Report) -> str:
    rows: list[list[str | Cell]] = [
        [f"incremental {name}{' (customers)' if name == 'buyers' else ''}", _whole(each)] for name, each in report.incremental.items()
    ]
    rows.append(["cost of contacts and offers taken", f"{report.cost:,.2f}"])
    if report.profit is not None:
        value, low, high = report.profit
        kind = "good" if low > 0 else "bad" if high < 0 else "even"
        rows.append(["profit", Cell(_whole((value, low, high)), kind)])
    if report.returned is not None:
        rows.append([f"return per {report.currency or 'unit'} spent", markup.interval(*report.returned, signed=True)])
    return markup.table(["", report.currency or "money"], rows)


def _funnel(report: Report) -> str:
    """How far contacts went; what was bought without them is in it too, so it is no effect."""
    if not report.funnel:
        return ""
    before, rows = report.contacted, []
    for kind, count in report.funnel.items():
        rows.append([kind, f"{count:,}", f"{count / max(report.contacted, 1):.1%}", f"{count / max(before, 1):.1%}"])
        before = count
    words = "Contacted customers with each answer. It shows where they drop out, not what the campaign changed."
    return markup.section("Funnel", words, markup.table(["", "customers", "of the contacted", "of the step before"], rows))


def _whole(triple: tuple[float, float, float]) -> markup.Markup:
    """A sum with its interval, without exponents."""
    value, low, high = triple
    return markup.Markup(f'{value:+,.0f}<span class="ci">{low:+,.0f} to {high:+,.0f}</span>')


def _ranges(measures: dict[str, Measure], words: str) -> str:
    money = {name: each for name, each in measures.items() if name not in SHARES and isfinite(each.low)}
    rows = [svg.Range(NAMES[name], place, each.value, each.low, each.high, f"{each.value:+.3g}") for place, (name, each) in enumerate(money.items())]
    return markup.figure(svg.ranges(rows, x_label=words, level=0.0, width=1040), "Money per contacted customer, at every look") if rows else ""


def _curves(report: Report) -> str:
    drawn = [
        markup.figure(_lines(name, path, "customers whose window is over"), f"{NAMES[name]}: as customers came in, with the interval at every look")
        for name, path in report.paths.items()
        if len(path.x) > 1
    ]
    drawn += [
        markup.figure(_lines(name, path, "days after the contact"), f"{NAMES[name]}: day by day after the contact, intervals for all days at once")
        for name, path in report.by_day.items()
    ]
    return markup.section("How it came about", "The dashed line is no effect.", f'<div class="grid2">{"".join(drawn)}</div>') if drawn else ""


def _lines(name: str, path: Path, x_label: str) -> str:
    scale = 100 if name in SHARES else 1
    value, low, high = ([scale * each for each in values] for values in (path.value, path.low, path.high))
    series = [svg.Line("effect", 0, path.x, value), svg.Line("lower end", 7, path.x, low), svg.Line("upper end", 7, path.x, high)]
    return svg.lines(series, x_label=x_label, y_label=NAMES[name], level=0.0)
