"""The card of one model as an HTML page that needs nothing else: what MLflow shows beside its run, and anybody can open."""

from __future__ import annotations

from training import markup, svg
from training.card import Card, Measure
from training.markup import Cell, escape


def sheet(card: Card) -> str:
    """The page of a model."""
    main = card.metrics[card.primary]
    chips = [
        f"{card.horizon_days} days ahead",
        f"{card.test_rows:,} rows judged",
        f"learned from {card.training_rows:,} rows",
        f"data {card.data_digest[:12]}",
    ]
    body = [
        f'<p class="kicker">{escape(card.task)}</p><h1>{escape(card.title)}</h1>',
        f'<p class="lede">{escape(card.primary)} {main.value:.4g} [{main.low:.4g}, {main.high:.4g}], the baseline {main.baseline:.4g}.</p>',
        '<ul class="chips">' + "".join(f"<li>{escape(chip)}</li>" for chip in chips),
        ('<li class="warn">synthetic data</li>' if card.synthetic else "") + "</ul>",
        markup.section(
            "Every metric",
            "On the test window, with 95 % intervals over customers; the gain on the baseline is paired and turned so that more is better.",
            markup.table(["metric", "this model", "baseline", "gain"], [[name, *_cells(measure)] for name, measure in card.metrics.items()]),
        ),
        *_curves(card),
        markup.section("Where it came from", "Equal data, code and settings give an equal model.", markup.table(["", ""], _origin(card))),
    ]
    said = [*card.guards, *card.notes, *([card.windows.words] if card.windows.words else [])]
    if said:
        body.append(markup.section("What the guards say", "", *(f"<p>{escape(words)}</p>" for words in said)))
    if card.assumptions:
        assumed = (f"<p>{escape(f'{each.name} = {each.value} ({each.basis})')}</p>" for each in card.assumptions)
        body.append(markup.section("Assumed", "What the source does not say and was declared.", *assumed))
    return markup.page(f"{card.task}: {card.title}", body)


def _cells(measure: Measure) -> list[str | Cell]:
    kind = "good" if measure.gain_low > 0 else "bad" if measure.gain_high < 0 else "even"
    gain = markup.interval(measure.gain, measure.gain_low, measure.gain_high, signed=True)
    return [
        markup.interval(measure.value, measure.low, measure.high),
        markup.interval(measure.baseline, measure.baseline_low, measure.baseline_high),
        Cell(gain, kind) if measure.better else Cell("describes", "even"),
    ]


def _curves(card: Card) -> list[str]:
    if "qini" in card.curves:
        return [_effects(card)]
    drawn = []
    if "lift" in card.curves:
        curve = card.curves["lift"]
        gain = svg.lines([svg.Line(card.title, 0, curve.x, curve.y)], x_label="share of customers", y_label="share of the outcome", diagonal=True)
        drawn.append(markup.figure(gain, "Gain: the dashed line is chance"))
    if "calibration" in card.curves:
        curve = card.curves["calibration"]
        dots = svg.Line(card.title, 0, curve.x, curve.y, has_dots=True)
        drawn.append(markup.figure(svg.lines([dots], x_label="predicted", y_label="what came", diagonal=True), "Calibration by tenth"))
        drawn.append(
            markup.figure(svg.tenths(card.title, 0, curve.x, curve.y, y_label="mean", width=520, height=340), "Bars: what came; dots: predicted")
        )
    return [markup.section("Curves", "On the newest test window.", f'<div class="grid2">{"".join(drawn)}</div>')] if drawn else []


def _effects(card: Card) -> str:
    """What is found by treating the highest effects first, and predicted against observed effects."""
    curve, low, high = (card.curves[f"qini{end}"] for end in ("", "_low", "_high"))
    found = svg.Line(card.title, 0, (0.0, *curve.x), (0.0, *curve.y), (0.0, *low.y), (0.0, *high.y), has_band=True)
    chance = svg.Line("a random order", 7, (0.0, 1.0), (0.0, curve.y[-1]))
    tenth, least, most = (card.curves[f"calibration{end}"] for end in ("", "_low", "_high"))
    dots = svg.Line(card.title, 0, tenth.x, tenth.y, least.y, most.y, has_dots=True, has_line=False)
    drawn = [
        markup.figure(
            svg.lines([found, chance], x_label="share of customers, highest effects first", y_label="outcome gained per treated customer"),
            "Qini curve, mean over treatments, with its 95 % band; the straight line is a random order",
        ),
        markup.figure(
            svg.lines([dots], x_label="predicted effect", y_label="observed effect", diagonal=True),
            "Effects by tenth of the prediction, with 95 % intervals; the dashed line is where both are equal",
        ),
    ]
    return markup.section("Curves", "Each customer by a model of other customers.", f'<div class="grid2">{"".join(drawn)}</div>')


def _origin(card: Card) -> list[list[str | Cell]]:
    windows = {"tested on": card.windows.test, "judged after learning from": card.windows.train, "learned from in the end": card.windows.final}
    rows: dict[str, str] = {name: ", ".join(f"{moment:%Y-%m-%d}" for moment in moments) for name, moments in windows.items() if moments}
    rows |= {"model": card.model_id, "recipe": str(card.model_spec), "baseline": str(card.baseline_spec), "task": str(card.task_spec)}
    rows |= {"moment": card.moment.isoformat(), "seed": str(card.seed), "data": card.data_digest, "features": card.features_digest}
    rows |= {"code": f"retain {card.code_version} {card.commit} {card.code_digest}".strip(), **card.environment}
    return [[name, Cell(value, "wrap")] for name, value in rows.items()]
