"""A comparison as one HTML page: the verdict first, then the board, pair by pair, window by window, slice by slice, and what it took."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from experiments import charts, report
from experiments.compare import Comparison, Pair, Standing
from experiments.slicing import Sliced, sliced
from experiments.wishes import Wished
from training import markup
from training.card import Measure
from training.markup import Cell, Markup, escape

BETTER = {"higher": "higher is better", "lower": "lower is better", "zero": "nearer to zero is better", "": ""}


def page(comparison: Comparison) -> str:
    """The comparison as one HTML page that needs nothing else."""
    return markup.page(f"{comparison.task}: which model is better?", [*_head(comparison), *_body(comparison), _foot(comparison)])


def _head(comparison: Comparison) -> Iterator[str]:
    first = comparison.standing[0]
    card = first.card
    measure = first.metrics[card.primary]
    others = len(comparison.standing) - 1
    yield f'<p class="kicker">retain compare · {escape(comparison.task)}</p><h1>{escape(_headline(comparison))}</h1>'
    yield (
        f'<p class="lede">{escape(first.label)} reaches {escape(card.primary)} {report.figure(measure)}, '
        f"{report.gain(first) if report.gain(first) != 'baseline' else 'and is the baseline itself'}"
        f"{' over the baseline' if report.gain(first) != 'baseline' else ''}. {escape(report.verdict(comparison))}.</p>"
    )
    rows = max((part.evidence.customers for part in first.parts), default=card.test_rows)
    chips = [
        f"{comparison.windows} test window{'s' if comparison.windows > 1 else ''}, {card.horizon_days} days each",
        f"{rows:,} customers judged{' on each' if comparison.windows > 1 else ''}",
        f"{others + 1} recipes",
        "95 % intervals, customers drawn with all their rows",
        f"data {card.data_digest[:12]}",
    ]
    warn = ["synthetic data"] if card.synthetic else []
    yield '<ul class="chips">' + "".join(f"<li>{escape(chip)}</li>" for chip in chips)
    yield "".join(f'<li class="warn">{escape(chip)}</li>' for chip in warn) + "</ul>"


def _headline(comparison: Comparison) -> str:
    first, *rest = comparison.standing
    ties = [pair.worse for pair in comparison.pairs if pair.better == first.label and pair.verdict != "better"]
    if not rest:
        return f"{first.label} stands alone"
    if not ties:
        return f"{first.label} is better than {'the other' if len(rest) == 1 else f'all {len(rest)} others'}"
    return f"{first.label} leads, but no difference is shown from {report.listed(ties)}"


def _body(comparison: Comparison) -> Iterator[str]:
    standing = comparison.standing
    card = standing[0].card
    yield markup.section(
        "Leaderboard",
        f"By {card.primary}, {BETTER[standing[0].metrics[card.primary].better]}; a mean over the test windows with its interval, and the paired gain "
        "on the baseline, turned so that more is better.",
        _board(comparison),
        markup.figure(charts.ranges(comparison), f"{card.primary} with 95 % intervals. Overlap says nothing about a pair: pairs are compared below."),
    )
    if comparison.pairs:
        yield markup.section(
            "Pair by pair",
            "The row's model minus the column's, on the same customers and the same draws; p by Holm over all pairs. Green: better, shown. "
            "Grey: no difference shown.",
            _matrix(comparison),
            _pair_table(comparison.pairs),
        )
    if comparison.windows > 1:
        yield markup.section(
            "Window by window",
            "Each recipe is fitted anew before each test window, on windows that had closed by then. A lead that changes hands is no lead.",
            markup.legend([each.label for each in standing[: charts.SHOWN]]),
            markup.figure(*charts.windows(comparison)),
        )
    yield from charts.curves(comparison)
    apart = sliced(comparison)
    if apart:
        yield markup.section(
            "Slice by slice",
            f"{card.primary} among customers of one kind, as known at the cutoff. Red: the first of the board is shown to be behind here.",
            *_slices(comparison, apart),
        )
    if comparison.wishes:
        yield markup.section(
            "What the shop's wishes cost",
            "Variety, caps, margin and places for new items, as configs/controls.yaml asks for them: the change of the lists on the newest test "
            "window, on the same customers. Red: it costs, shown.",
            markup.table(report.WISHES, [_wish(each) for each in comparison.wishes]),
        )
    yield markup.section(
        "What it took",
        "Processor time of learning before the newest test window, customers scored per processor second, the size of the model on disk, and what "
        "it learned from.",
        markup.table(report.COSTS, [[_named(n, each, comparison), *report.cost(each)[1:]] for n, each in enumerate(standing)]),
    )
    more = list(standing[0].metrics)
    yield markup.section(
        "Every metric",
        "With 95 % intervals; the last row is the baseline.",
        markup.table(["model", *more], [*_metrics(comparison, more), _baseline(standing[0], more)]),
    )


def _board(comparison: Comparison) -> str:
    primary = comparison.standing[0].card.primary
    shown = [name for name, measure in comparison.standing[0].metrics.items() if name != primary and measure.better][:3]
    rows: list[list[str | Cell]] = []
    for number, each in enumerate(comparison.standing):
        gain = each.metrics[primary]
        kind = "good" if gain.gain_low > 0 else "bad" if gain.gain_high < 0 else "even"
        is_baseline = each.card.model_spec == each.card.baseline_spec
        rows.append(
            [
                _named(number, each, comparison),
                _value(each.metrics.get(primary)),
                Cell("baseline", "even") if is_baseline else Cell(markup.interval(gain.gain, gain.gain_low, gain.gain_high, signed=True), kind),
                *(_value(each.metrics.get(name)) for name in shown),
            ]
        )
    return markup.table(["model", primary, "gain on the baseline", *shown], rows)


def _named(number: int, each: Standing, comparison: Comparison) -> Markup:
    badge = '<span class="badge">champion</span>' if comparison.champion in each.models else ""
    return Markup(f"{markup.swatch(number)}{escape(each.label)}{badge}")


def _value(measure: Measure | None) -> Markup:
    return Markup("–") if measure is None else markup.interval(measure.value, measure.low, measure.high)


def _matrix(comparison: Comparison) -> str:
    found = {(pair.better, pair.worse): pair for pair in comparison.pairs}
    labels = [each.label for each in comparison.standing if any(each.label in pair for pair in found)]
    rows: list[list[str | Cell]] = []
    for row, label in enumerate(labels[:-1]):
        cells: list[str | Cell] = [label]
        for column, other in enumerate(labels[1:], start=1):
            pair = found.get((label, other))
            if column <= row or pair is None:
                cells.append(Cell("", "none"))
                continue
            words = markup.interval(pair.difference.value, pair.difference.low, pair.difference.high, signed=True, is_stacked=True)
            cells.append(Cell(words, "good" if pair.verdict == "better" else "even"))
        rows.append(cells)
    return markup.table(["", *labels[1:]], rows)


def _pair_table(pairs: Sequence[Pair]) -> str:
    rows: list[list[str | Cell]] = [
        [
            pair.better,
            pair.worse,
            markup.interval(pair.difference.value, pair.difference.low, pair.difference.high, signed=True),
            report.probability(pair.p),
            report.probability(pair.p_corrected),
            Cell(pair.verdict, "good" if pair.verdict == "better" else "even"),
        ]
        for pair in pairs
    ]
    table = markup.table(["higher on the board", "lower", "difference", "p", "corrected p", "verdict"], rows)
    return f"<details><summary>All {len(pairs)} pairs with p</summary>{table}</details>"


def _wish(each: Wished) -> list[str | Cell]:
    change = each.change
    kind = "bad" if change.high < 0 else "good" if change.low > 0 else "even"
    words = markup.interval(change.value, change.low, change.high, signed=True)
    return [each.wish, each.purpose, f"{each.customers:,}", f"{each.ndcg:.3f}", Cell(words, kind)]


def _slices(comparison: Comparison, apart: Sequence[Sliced]) -> Iterator[str]:
    """What a house always asks for, and where something is wrong; the rest below a fold."""
    open_ones = [each for each in apart if each.behind or each.name.partition(":")[0] in report.OWN]
    folded = [each for each in apart if each not in open_ones]
    if open_ones:
        yield _slice_table(comparison, open_ones)
    if folded:
        yield f"<details><summary>{len(folded)} slices of what the source says of customers</summary>{_slice_table(comparison, folded)}</details>"


def _slice_table(comparison: Comparison, apart: Sequence[Sliced]) -> str:
    shown = [each.label for each in comparison.standing][: charts.SHOWN - 2]
    rows: list[list[str | Cell]] = []
    for each in apart:
        row: list[str | Cell] = [each.name, f"{each.customers:,}"]
        for label in shown:
            found = each.figures.get(label)
            words = Markup("–") if found is None else markup.interval(found.value, found.low, found.high, is_stacked=True)
            row.append(Cell(words, "bad") if each.behind and label == shown[0] else words)
        rows.append(row)
    return markup.table(["slice", "customers", *shown], rows)


def _metrics(comparison: Comparison, names: Sequence[str]) -> list[list[str | Cell]]:
    return [
        [_named(number, each, comparison), *(_value(each.metrics.get(name)) for name in names)] for number, each in enumerate(comparison.standing)
    ]


def _baseline(first: Standing, names: Sequence[str]) -> list[str | Cell]:
    found = [first.metrics[name] for name in names]
    return ["baseline", *(markup.interval(one.baseline, one.baseline_low, one.baseline_high) for one in found)]


def _foot(comparison: Comparison) -> str:
    card = comparison.standing[0].card
    notes = "".join(f"<p>{escape(note.replace('* champion', ''))}</p>" for note in report.notes(comparison) if note != "* champion")
    assumed = "".join(f"<p>assumed: {escape(f'{each.name} = {each.value} ({each.basis})')}</p>" for each in card.assumptions)
    made = (
        f"data <code>{escape(card.data_digest[:16])}</code>, features <code>{escape(card.features_digest)}</code>, retain {escape(card.code_version)}"
    )
    return f"<footer>{notes}{assumed}<p>{made}</p></footer>"
