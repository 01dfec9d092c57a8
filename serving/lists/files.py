"""A retention list on disk: whom to contact, who is held out, what became of everybody, a page and a manifest; and the campaign in the workspace.

The manifest is written last. The workspace keeps who was drawn into which group under the campaign's name, so that a report can be made of it,
and the prices of the list, so that calls use the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from retain.errors import ConfigError
from retain.files import atomic_folder, sha256, write_json, write_text
from retain.workspace import Workspace
from serving import export
from serving.lists import prices
from serving.lists.choosing import Entry
from serving.lists.page import page
from serving.lists.retention import Retention
from serving.lists.running import APART, ARMS, BASE, FOLDER, LIST
from serving.lists.words import manifest
from serving.pulls import Pull, assumed

COLUMNS = (
    "rank", "customer_id", "offer_id", "offer", "channel", "expected_gain", "gain_low", "gain_high", "cost", "above_price", "evidence", "risk",
    "value", "band", "stage", "cause", "cause_by", "remedy", "reason_1", "reason_2", "reason_3", "campaign", "run",
)  # fmt: skip
NUMBERS = frozenset({"expected_gain", "gain_low", "gain_high", "cost", "above_price", "risk", "value", "best_gain", "chance"})
WHY = ("customer_id", "state", "offer_id", "channel", "best_gain", "above_price", "risk", "value")
BASE_COLUMNS = ("customer_id", "is_free", "is_held_out", "chance")
APART_COLUMNS = ("customer_id", "more")
ARM_COLUMNS = ("customer_id", "is_contacted", "chance", "stratum", "offer_id", "channel", "cost", "expected_gain")
WHOLE = frozenset({"rank", "stratum", "is_contacted", "is_free", "is_held_out"})
BLOCK = 5_000
CAMPAIGN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def named(campaign: str) -> str:
    """A campaign's name, checked: it becomes a folder.

    Raises:
        ConfigError: it is not made of letters, digits, points, lines and underscores.
    """
    if not CAMPAIGN.fullmatch(campaign):
        raise ConfigError(f"campaign {campaign!r}: letters, digits, '.', '-' and '_' are expected, 64 at most", field="campaign")
    return campaign


def plain(campaign: str) -> str:
    """A campaign's name as a source spells it, as the name of a file.

    >>> plain("../Spring 1")
    '___Spring_1'
    """
    return re.sub(r"[^A-Za-z0-9-]", "_", campaign)[:64] or "_"


def held_out_path(path: Path) -> Path:
    """Where those go who must not be contacted.

    >>> held_out_path(Path("list.csv")).name
    'list.holdout.csv'
    """
    return path.with_name(f"{path.stem}.holdout{path.suffix}")


def why_path(path: Path) -> Path:
    """Where it says what became of everybody.

    >>> why_path(Path("list.csv")).name
    'list.csv.why.parquet'
    """
    return path.with_name(f"{path.name}.why.parquet")


def save(workspace: Workspace, pull: Pull, result: Retention, path: Path) -> Path:
    """Write everything; return the manifest's path."""
    export.kind_of(path)
    shop, at = pull.rows.shop, result.at
    for place, entries in ((path, result.contacted), (held_out_path(path), result.held_out)):
        export.write_table(place, COLUMNS, _rows(pull, result, entries), at, NUMBERS, WHOLE)
    export.write_table(why_path(path), WHY, _everybody(pull, result), at, NUMBERS, WHOLE)
    said = {**manifest(result, shop.currency, len(pull.rows)), "assumed": assumed(pull.rows), "synthetic": shop.synthetic}
    html = path.with_name(f"{path.name}.html")
    write_text(html, page(result, said, [(row[1], row) for row in _rows(pull, result, result.contacted[:25])]))
    prices.save(workspace, result.prices, _keep(workspace, pull, result, said), result.plan)
    files = {place.name: sha256(place) for place in (path, held_out_path(path), why_path(path), html)}
    summary = path.with_name(f"{path.name}.json")
    write_json(summary, {"files": files, **said})
    return summary


def _keep(workspace: Workspace, pull: Pull, result: Retention, said: dict[str, Any]) -> Path:
    """The campaign's folder in the workspace; another run of it gets a folder beside."""
    folder = workspace.lists / FOLDER / named(result.asked.campaign) / f"{result.at:%Y%m%dT%H%M%S}-{result.run}"
    arms = (
        (pull.rows.id(each.position), int(not each.is_held_out), each.chance, each.stratum, *_action(result, each), each.cost, each.gain)
        for each in result.entries
    )
    drawn = zip(result.groups_of.astype(int).tolist(), result.chance.tolist(), strict=True)
    base = ((pull.rows.id(place), *each, None if np.isnan(chance) else chance) for place, (each, chance) in enumerate(drawn))
    apart = ((pull.rows.id(place), own.more) for place, own in sorted(result.apart.items()))
    with atomic_folder(folder) as partial:
        for name, columns, rows in ((ARMS, ARM_COLUMNS, arms), (BASE, BASE_COLUMNS, base), (APART, APART_COLUMNS, apart)):
            export.write_table(partial / name, columns, rows, result.at, NUMBERS | {"cost", "more"}, WHOLE)
        write_json(partial / LIST, said)
    return folder


def _rows(pull: Pull, result: Retention, entries: Sequence[Entry]) -> Iterator[list[Any]]:
    """Cells of customers in their order, described block by block."""
    value, channels = pull.value(), tuple({each.channel: None for each in result.what})
    for start in range(0, len(entries), BLOCK):
        block = entries[start : start + BLOCK]
        order = np.array([each.position for each in block], dtype=np.intp)
        told = pull.described(order, value, lambda _: list(channels))
        for rank, (entry, row) in enumerate(zip(block, told, strict=True), start=start + 1):
            action = result.what[entry.action]
            texts = [reason.text for reason in row.reasons[:3]]
            yield [
                rank, row.customer_id, action.offer.offer_id, action.offer.name, action.channel, entry.gain, entry.low, entry.high, entry.cost,
                entry.above_price, entry.grade, row.risk, row.value, row.band, row.stage, row.cause.cause, row.cause.by,
                row.cause.remedy, *texts, *[""] * (3 - len(texts)), result.asked.campaign, result.run,
            ]  # fmt: skip


def _everybody(pull: Pull, result: Retention) -> Iterator[list[Any]]:
    """What became of each customer, the chosen with their action."""
    value, chosen = pull.value(), {each.position: each for each in result.entries}
    for position, state in enumerate(result.state.tolist()):
        entry = chosen.get(position)
        action = ("", "") if entry is None else _action(result, entry)
        figures = (result.best_gain[position], np.nan if entry is None else entry.above_price, pull.churn[position], value[position])
        yield [pull.rows.id(position), state, *action, *(None if np.isnan(each) else float(each) for each in figures)]


def _action(result: Retention, entry: Entry) -> tuple[str, str]:
    action = result.what[entry.action]
    return action.offer.offer_id, action.channel
