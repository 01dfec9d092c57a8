"""A comparison for a terminal and for programs; ``experiments.page`` shows it in a browser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.compare import Comparison, Standing
from experiments.slicing import Sliced, sliced
from retain.terminal import table
from training.card import Measure
from training.intervals import Interval, told

METRICS = 4
"""Metrics of a leaderboard on a terminal; the page and JSON show all."""
OWN = ("purpose", "band", "stage", "tenure", "orders")
"""Dimensions of slices that a terminal always shows."""
SLICED = 4
"""Models beside each other slice by slice on a terminal."""


def words(comparison: Comparison) -> str:
    """The comparison for a terminal."""
    standing = comparison.standing
    card = standing[0].card
    shown = list(standing[0].metrics)[:METRICS]
    board = [[marked(each, comparison), *(figure(each.metrics.get(name)) for name in shown), gain(each)] for each in standing]
    lines = [heading(comparison), "", table(board, ["model", *shown, f"gain in {card.primary} on baseline"]), ""]
    lines += [verdict(comparison), ""]
    if comparison.pairs:
        lines += [f"paired differences in {card.primary}, turned so that more is better; p corrected by Holm over {len(comparison.pairs)} pairs", ""]
        lines += [table(_pair_rows(comparison), ["better", "worse", "difference", "p", "corrected p", "verdict"]), ""]
    if comparison.windows > 1:
        lines += [f"{card.primary} on each test window", "", table(*_window_rows(comparison)), ""]
    everywhere = sliced(comparison)
    apart = [each for each in everywhere if each.behind or each.name.partition(":")[0] in OWN]
    if apart:
        more = len(everywhere) - len(apart)
        lines += [f"{card.primary} by slice; ! the first of the board is shown to be behind here", "", table(*_slice_rows(comparison, apart)), ""]
        lines += [f"{more} further slices, where it is not: --html and --json show them", ""] if more else []
    if comparison.wishes:
        lines += [f"what the shop's wishes for its lists (configs/controls.yaml) cost in {card.primary}, newest window", ""]
        lines += [table(wish_rows(comparison), list(WISHES)), ""]
    lines += ["what it took", "", table([cost(each) for each in standing], COSTS), ""]
    return "\n".join([*lines, *notes(comparison)])


def heading(comparison: Comparison) -> str:
    """What was judged, when and on whom."""
    first = comparison.standing[0]
    tests = first.parts[0].windows.test if len(first.parts) == 1 else sorted(moment for part in first.parts for moment in part.windows.test)
    since = ", ".join(f"{moment:%Y-%m-%d}" for moment in (tests or first.card.windows.test))
    synthetic = ", synthetic data" if first.card.synthetic else ""
    each = "judged on the window" if comparison.windows == 1 else f"fitted before and judged on each of {comparison.windows} windows"
    return f"{comparison.task}: {each} from {since}, {first.card.horizon_days} days ahead, 95 % intervals over customers{synthetic}"


def verdict(comparison: Comparison) -> str:
    """What the numbers allow to be said of the first of the board, in one sentence."""
    first = comparison.standing[0].label
    ties = [pair.worse for pair in comparison.pairs if pair.better == first and pair.verdict != "better"]
    beaten = [pair.worse for pair in comparison.pairs if pair.better == first and pair.verdict == "better"]
    if not comparison.pairs:
        return f"{first} stands alone"
    parts = [f"better than {listed(beaten)}"] if beaten else []
    parts += [f"no difference shown from {listed(ties)}"] if ties else []
    return f"{first}: {'; '.join(parts)}"


def notes(comparison: Comparison) -> list[str]:
    """What must be said beside the figures."""
    said: list[str] = []
    on_board = {model for each in comparison.standing for model in each.models}
    if comparison.champion is None:
        said.append("there is no champion")
    elif comparison.champion in on_board:
        said.append("* champion")
    else:
        said.append(f"the champion {comparison.champion} does not stand here: {comparison.others.get(comparison.champion, 'it was not asked for')}")
    left = {model: why for model, why in comparison.others.items() if model != comparison.champion}
    said += [f"left out: {model}, {why}" for model, why in left.items()]
    words = comparison.standing[0].card.windows.words
    return [*said, words] if words else said


def values(comparison: Comparison) -> dict[str, Any]:
    """The comparison for programs."""
    return {
        "task": comparison.task,
        "champion": comparison.champion,
        "primary": comparison.standing[0].card.primary,
        "windows": [_window(part.windows.test, part.windows.train) for part in comparison.standing[0].parts],
        "verdict": verdict(comparison),
        "models": [
            {
                "model_id": each.card.model_id,
                "title": each.label,
                "is_champion": comparison.champion in each.models,
                "model": each.card.model_spec,
                "models": list(each.models),
                "metrics": {name: measure.model_dump() for name, measure in each.metrics.items()},
                "per_window": [
                    {name: interval(part.evidence.interval(name)) for name in each.metrics if name in part.evidence.values} for part in each.parts
                ],
                "cost": None if not each.parts or each.parts[0].cost is None else each.parts[0].cost.model_dump(),
                "size_bytes": each.size_bytes,
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
        "slices": [
            {
                "slice": each.name,
                "customers": each.customers,
                "figures": {label: interval(found) for label, found in each.figures.items()},
                "first_is_behind": list(each.behind),
            }
            for each in sliced(comparison)
        ],
        "wishes": [
            {"wish": each.wish, "purpose": each.purpose, "customers": each.customers, "ndcg": each.ndcg, "change": interval(each.change)}
            for each in comparison.wishes
        ],
        "left_out": comparison.others,
        "synthetic": comparison.standing[0].card.synthetic,
        "notes": notes(comparison),
    }


WISHES = ("wish", "purpose", "customers", "under it", "change")


def wish_rows(comparison: Comparison) -> list[list[str]]:
    """One wish for one purpose a row."""
    return [[each.wish, each.purpose, f"{each.customers:,}", f"{each.ndcg:.4f}", signed(each.change)] for each in comparison.wishes]


def signed(change: Interval) -> str:
    """A difference with its interval."""
    return bracketed(change.value, change.low, change.high, is_signed=True)


COSTS = ("model", "fit, CPU s", "customers per CPU s", "on disk", "learned from", "features")


def cost(each: Standing) -> list[str]:
    """What a recipe took, for the newest test window."""
    took = each.parts[0].cost if each.parts else None
    known = (f"{took.fit_cpu_s:.2f}", f"{took.rows_per_s:,.0f}") if took else ("-", "-")
    data = (f"{took.training_rows:,} rows", f"{took.features or '-'}") if took else (f"{each.card.training_rows:,} rows", "-")
    return [each.label, *known, f"{each.size_bytes / 1024:,.0f} KB", *data]


def marked(each: Standing, comparison: Comparison) -> str:
    """The label, with a star behind the champion's."""
    return each.label + (" *" if comparison.champion in each.models else "")


def figure(measure: Measure | Interval | None) -> str:
    """A value with its interval."""
    return "-" if measure is None else bracketed(measure.value, measure.low, measure.high)


def bracketed(value: float, low: float, high: float, *, is_signed: bool = False) -> str:
    """A figure and its interval, with as many decimals as the interval can tell."""
    shown, lowest, highest = told(value, low, high, is_signed=is_signed)
    return f"{shown} [{lowest}, {highest}]"


def gain(each: Standing) -> str:
    """How far a model is ahead of its baseline."""
    if each.card.model_spec == each.card.baseline_spec:
        return "baseline"
    measure = each.metrics[each.card.primary]
    return bracketed(measure.gain, measure.gain_low, measure.gain_high, is_signed=True)


def interval(found: Interval) -> dict[str, float | None]:
    """An interval as JSON knows it: what is not a number is null."""
    return {name: value if value == value else None for name, value in (("value", found.value), ("low", found.low), ("high", found.high))}


def _pair_rows(comparison: Comparison) -> list[list[str]]:
    return [
        [
            pair.better,
            pair.worse,
            signed(pair.difference),
            probability(pair.p),
            probability(pair.p_corrected),
            pair.verdict,
        ]
        for pair in comparison.pairs
    ]


def probability(p: float) -> str:
    """A p without false zeros."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _window_rows(comparison: Comparison) -> tuple[list[list[str]], list[str]]:
    primary = comparison.standing[0].card.primary
    header = ["model", *(f"from {part.windows.test[0]:%Y-%m-%d}" for part in comparison.standing[0].parts)]
    return [[each.label, *(figure(part.evidence.interval(primary)) for part in each.parts)] for each in comparison.standing], header


def _slice_rows(comparison: Comparison, apart: Sequence[Sliced]) -> tuple[list[list[str]], list[str]]:
    shown = [each.label for each in comparison.standing][:SLICED]
    rows = [
        [each.name + (" !" if each.behind else ""), f"{each.customers:,}", *(figure(each.figures.get(label)) for label in shown)] for each in apart
    ]
    return rows, ["slice", "customers", *shown]


def _window(test: Sequence[Any], train: Sequence[Any]) -> dict[str, list[str]]:
    return {"test": [moment.isoformat() for moment in test], "train": [moment.isoformat() for moment in train]}


def listed(names: Sequence[str]) -> str:
    """Names as a sentence lists them."""
    return ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else names[0]
