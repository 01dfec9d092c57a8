"""What a search and a reproduction came to, for people and for programs."""

from __future__ import annotations

from typing import Any

from experiments.report import figure, interval
from experiments.reproduce import Reproduction
from experiments.tune import Tuned
from retain.terminal import table


def words(found: Tuned) -> str:
    """A search for a terminal."""
    search = found.search
    lines = [
        f"{search.task}: {search.title}, {len(search.tried)} trials ({found.new} new), search {search.study}",
        f"{found.primary} on the windows of the search: {found.standing:.5g} as it stood, {found.best:.5g} at best",
        "",
    ]
    if found.settings:
        rows = [[path, f"{value:.4g}" if isinstance(value, float) else str(value)] for path, value in found.settings.items()]
        lines += [table(rows, ["setting", "found"]), ""]
    lines += [
        f"{found.primary} on the test window: {figure(found.value)}",
        f"gain over the settings that stood, paired: {found.gain.value:+.4g} [{found.gain.low:+.4g}, {found.gain.high:+.4g}]: {found.verdict}",
        *(f"{path} stands outside the range that was searched" for path in found.out_of_range),
        f"next: retain train {found.file}",
    ]
    return "\n".join(lines)


def values(found: Tuned) -> dict[str, Any]:
    """A search for programs."""
    return {
        "task": found.search.task,
        "model": found.search.title,
        "study": found.search.study,
        "trials": len(found.search.tried),
        "new_trials": found.new,
        "primary": found.primary,
        "on_earlier_windows": {"standing": found.standing, "best": found.best},
        "settings": found.settings,
        "on_test_window": {"value": interval(found.value), "gain": interval(found.gain)},
        "verdict": found.verdict,
        "file": str(found.file),
        "out_of_range": list(found.out_of_range),
    }


def remade(found: Reproduction) -> str:
    """A reproduction for a terminal."""
    card = found.card
    lines = [f"{card.title} ({card.model_id}), trained {card.moment:%Y-%m-%d %H:%M} UTC on data {card.data_digest[:12]}", ""]
    if found.inputs:
        lines += [table([[each.what, each.then[:40], each.now[:40]] for each in found.inputs], ["differs", "on the card", "now"]), ""]
    if not found.again:
        return "\n".join([*lines, "not made again: of other data or features another model comes out; ingest and build what the card names"])
    rows = [[name, then[:16], now[:16], "same" if then == now else "other"] for name, (then, now) in found.files.items()]
    lines += [table(rows, ["file", "sha256 then", "now", ""]), ""]
    lines += [f"{each.what}: {each.then} then, {each.now} now" for each in found.fields]
    if found.is_same:
        return "\n".join([*lines, "reproduced: the model is the same, byte by byte"])
    named = ", ".join(each.what for each in found.inputs)
    return "\n".join([*lines, f"not reproduced: {', '.join(found.changed) or 'the card'} differs" + (f"; so do {named}" if named else "")])


def remade_values(found: Reproduction) -> dict[str, Any]:
    """A reproduction for programs."""
    return {
        "model_id": found.card.model_id,
        "again": found.again or None,
        "is_same": found.is_same,
        "inputs_differ": [vars(each) for each in found.inputs],
        "files": {name: {"then": then, "now": now} for name, (then, now) in found.files.items()},
        "card_differs": [vars(each) for each in found.fields],
    }
