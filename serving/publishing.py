"""What the serving rows are made of and how they are published: online features, facts, scores and lists of one moment."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features import profiles
from features.interactions import Interactions
from retain.engine import Engine, of
from retain.files import atomic_folder, read_json, remove_partials, sync_folder, write_json
from retain.signing import signature
from retain.terminal import progress
from retain.workspace import State, Workspace, shift_days
from serving import candidates, effects, explaining, fixed, gather, likely, new_items, newcomers, records
from serving.champions import BROKEN, SCORED, on_rows, packages
from serving.circumstances import circumstances
from serving.decisions.causes import causes
from serving.decisions.facts import HABITS, WORDS, Estimate, Shop
from serving.decisions.signals import NEEDS, SIGNALS
from serving.decisions.value_parts import KINDS, amounts, priced, value_parts
from serving.feedback import fed
from serving.rows import POINTER, SCHEMA_VERSION, Rows, RowsCard
from serving.terms import terms
from training import segments
from training.contracts import PURPOSES, Floats
from training.controls import Controls, controls
from training.package import Package

BLOCK = 20_000
"""Customers whose features are held at once."""


@dataclass
class Content:
    """Everything that is written."""

    card: RowsCard
    shop: Shop
    arrays: dict[str, NDArray[Any]]


@dataclass
class _Words:
    """Vocabularies that grow while columns of words become positions."""

    known: dict[str, dict[str, int]] = field(default_factory=dict)

    def code(self, name: str, words: Any) -> NDArray[np.int32]:
        vocabulary = self.known.setdefault(name, {})
        return np.array([-1 if pd.isna(word) else vocabulary.setdefault(str(word), len(vocabulary)) for word in words], dtype=np.int32)

    def lists(self) -> dict[str, tuple[str, ...]]:
        return {name: tuple(vocabulary) for name, vocabulary in self.known.items()}


def publish(workspace: Workspace) -> Rows:
    """Make the rows that the service reads, of the workspace's clock, and point to them; return them opened.

    Raises:
        NotReadyError: the feature store was not filled at this moment.
    """
    with workspace.lock("retain publish"):
        remove_partials(workspace.rows)
        return write(workspace, content(workspace))


def write(workspace: Workspace, made: Content, *, keep_previous: bool = True) -> Rows:
    """Write rows under a version of their own and point to them; return them opened. Hold the workspace's lock."""
    identity = msgspec.json.encode([made.card.data_digest, made.card.models, made.card.columns, len(made.arrays["ids"]), made.shop, made.card.wishes])
    version = f"{made.card.moment:%Y%m%dT%H%M%S}-{hashlib.sha256(identity).hexdigest()[:8]}"
    card = replace(made.card, version=version)
    with atomic_folder(workspace.rows / version, signature) as folder:
        for name, array in fixed.stored(made.arrays).items():
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
        (folder / "card.json").write_bytes(msgspec.json.encode(card))
        (folder / "shop.json").write_bytes(msgspec.json.encode(made.shop))
    rows = Rows.open(workspace.rows / version)
    point(workspace, version, keep_previous=keep_previous)
    return rows


def content(workspace: Workspace) -> Content:
    """Gather, score and rank everybody who is known now."""
    state, now = workspace.state(), workspace.now()
    rules, wishes = segments.rules(), controls()
    # What cannot be read at all may be read a moment later: no reason to replace good rows by others.
    models = {task: packages(workspace, task, passed=BROKEN) for task in (*SCORED, "uplift", "recommend")}
    words = _Words()
    with of(workspace) as engine:
        gather.attach_current(engine, now)
        ids = gather.customers(engine)
        arrays: dict[str, NDArray[Any]] = {"ids": np.array([each.encode() for each in ids], dtype="S") if len(ids) else np.zeros(0, dtype="S1")}
        habits = _facts(engine, ids, now, state, rules, words, arrays)
        found = circumstances(engine, ids, now, state.stored_zone)
        parts = value_parts()
        counts = gather.events(engine, ids, shift_days(now, -parts.window_days, state.stored_zone), [k for name in KINDS for k in parts.kinds(name)])
        columns, views = _features(workspace, ids, {task: models[task][0] for task in (*SCORED, "uplift")}, now, words, arrays)
        shop = _shop(engine, now, state)
        names, shares, segmented = _lists(engine, ids, models["recommend"][0], now, state, shop, wishes, arrays)
    _scores(ids, habits, {task: models[task][0] for task in SCORED}, columns, rules, words, arrays)
    typical, reasons = explaining.signs(models["churn"][0], columns, words.lists(), arrays)
    treatments = effects.effects(models["uplift"][0], columns, words.lists(), arrays)
    arrays["parts"] = amounts(parts, counts, state.horizon_days, len(ids))
    table = causes()
    arrays |= likely.assigned(table, found, arrays["habits"][:, HABITS.index("returned_share")], lambda name: _raw(arrays, columns, name))
    words.known["cause_rule"] = {rule.name: number for number, rule in enumerate(table.rules)}
    words.known["sign"] = {signal.code: number for number, signal in enumerate(SIGNALS)}
    used = {task: None if package is None else package.card.model_id for task, (package, _) in models.items()}
    # Effects are more than a house may know: their absence is said by the grade of evidence.
    degraded = tuple(code for _, code in models.values() if code not in (None, "uplift_no_model"))
    card = RowsCard(
        SCHEMA_VERSION,
        "",
        now,
        state.source,
        state.title,
        state.digest,
        columns,
        words.lists(),
        names,
        used,
        shares,
        rules.stages.period_days,
        degraded,
        typical,
        {signal.code: tuple(signal.figures) for signal in SIGNALS},
        reasons,
        priced(parts, counts, arrays["is_active"].astype(np.float64)),
        views,
        fed(workspace, state.digest),
        treatments,
        wishes.model_dump(),
        segmented,
    )
    return Content(card, shop, arrays)


def _facts(
    engine: Engine, ids: NDArray[np.object_], now: datetime, state: State, rules: segments.Rules, words: _Words, arrays: dict[str, NDArray[Any]]
) -> pd.DataFrame:
    """Consent, flags, limits and habits into ``arrays``; return the habits."""
    consent = gather.assumption(state, "consent")
    described = gather.descriptions(engine, ids, None if consent is None else str(consent))
    for name in ("consents", *WORDS):
        arrays[name] = words.code(name, described[name])
    arrays["flags"] = described[list(gather.FLAGS)].to_numpy(dtype=np.bool_)
    arrays["birth_year"] = described["birth_year"].astype("Float64").fillna(0).to_numpy(dtype=np.int32)
    arrays["credit_limit"] = described["credit_limit"].to_numpy(dtype=np.float64, na_value=np.nan)
    arrays["unsubscribed"] = words.code("unsubscribed", gather.unsubscribed(engine, ids))
    arrays["complaint"] = gather.complaints(engine, ids, now)
    contacts, taken = gather.contacts(engine, ids, now, state.stored_zone), gather.taken(engine, ids)
    arrays |= {"contacts.start": contacts.start, "contacts.micros": contacts.columns["micros"].astype(np.int64), "taken.start": taken.start}
    arrays["contacts.channel"] = words.code("channel", contacts.columns["channel"])
    arrays["contacts.offer_id"] = words.code("offer_id", contacts.columns["offer_id"])
    arrays["taken.offer_id"] = words.code("offer_id", taken.columns["offer_id"])
    habits = gather.habits(engine, ids, now, state.stored_zone, rules)
    arrays["habits"] = habits[list(HABITS)].to_numpy(dtype=np.float64)
    arrays["is_active"] = habits["is_active"].to_numpy(dtype=np.bool_)
    return habits


def _features(
    workspace: Workspace,
    ids: NDArray[np.object_],
    models: Mapping[str, Package | None],
    now: datetime,
    words: _Words,
    arrays: dict[str, NDArray[Any]],
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Raw features of the champions into ``arrays``, in blocks; return their columns and the views behind them, each with its version.

    Words become positions in a vocabulary.
    """
    refs = list(dict.fromkeys(ref for package in models.values() if package is not None for ref in package.refs))
    if refs:
        # What reasons are made of, whatever the champion looks at.
        refs = list(dict.fromkeys([*refs, *(name.replace("__", ":", 1) for name in NEEDS)]))
    text = {name for package in models.values() if package is not None and package.encoder is not None for name in package.encoder.categories}
    columns = tuple(ref.replace(":", "__", 1) for ref in refs)
    raw = np.full((len(ids), len(columns)), np.nan)
    names = tuple(sorted({ref.partition(":")[0] for ref in refs}))
    since = np.full((len(ids), len(names)), -1, dtype=np.int64)
    is_known, is_stale, age = np.zeros(len(ids), dtype=bool), np.zeros(len(ids), dtype=bool), np.full(len(ids), np.nan)
    if refs:
        from features import store

        starts = range(0, len(ids), BLOCK)
        for start in progress(starts, len(starts), "rows"):
            block = slice(start, start + BLOCK)
            online = store.online(workspace, refs, [str(each) for each in ids[block]], now)
            is_known[block], is_stale[block], age[block] = online.known, online.stale, online.age_s
            since[block] = np.stack([online.at[name] for name in names], axis=1)
            for place, name in enumerate(columns):
                values = online.values[name]
                if name in text:
                    codes = words.code(name, values)
                    raw[block, place] = np.where(codes < 0, np.nan, codes)
                else:
                    raw[block, place] = values.to_numpy(dtype=np.float64, na_value=np.nan)
    arrays |= {"raw": raw, "is_known": is_known, "is_stale": is_stale, "age_s": age, "features_at": since}
    return columns, {name: str(read_json(workspace.snapshots / f"{name}.json")["view"]) for name in names}


def _raw(arrays: Mapping[str, NDArray[Any]], columns: tuple[str, ...], name: str) -> Floats:
    """A raw feature of everybody; NaN where the rows do not hold it."""
    raw = arrays["raw"]
    return raw[:, columns.index(name)] if name in columns else np.full(len(raw), np.nan)


def _scores(
    ids: NDArray[np.object_],
    habits: pd.DataFrame,
    models: Mapping[str, Package | None],
    columns: tuple[str, ...],
    rules: segments.Rules,
    words: _Words,
    arrays: dict[str, NDArray[Any]],
) -> None:
    """Churn and value of whoever has features, bands and stages of everybody, into ``arrays``."""
    scores = np.full((len(ids), len(SCORED)), np.nan)
    known = np.flatnonzero(arrays["is_known"])
    for place, task in enumerate(SCORED):
        package = models[task]
        if package is not None:
            scorer = on_rows(package, columns, words.lists())
            for start in range(0, len(known), BLOCK):
                chosen = known[start : start + BLOCK]
                scores[chosen, place] = scorer.predict(arrays["raw"][chosen])
    arrays["scores"] = scores
    arrays["band"] = words.code("band", segments.bands(scores[:, SCORED.index("clv")], arrays["is_active"], ids, rules))
    arrays["stage"] = words.code("stage", segments.stages(habits, rules))


def _shop(engine: Engine, now: datetime, state: State) -> Shop:
    """Offers that are or can still become valid, items, and what contact costs."""
    rate, basis = gather.margin_rate(engine, now, state)
    items = [records.item(row, state.not_offered) for row in gather.items(engine, state.item, now, state).to_dict("records")]
    popular = [item.item_id for item in sorted(items, key=lambda item: (-item.share, item.item_id)) if item.share > 0]
    return Shop(
        moment=now,
        items={item.item_id: item for item in items},
        popular=tuple(popular[: candidates.LENGTH]),
        offers=tuple(records.offer(row) for row in gather.offers(engine, state.item, now).to_dict("records")),
        horizon_days=state.horizon_days,
        item_kind=state.item,
        currency=state.currency,
        local_zone=state.local_zone,
        contact_cost=gather.contact_cost(engine, state),
        accepted=gather.accepted(engine),
        margin_rate=rate,
        margin_basis=basis,
        assumed=tuple(f"{each.name} = {each.value}: {each.basis}" for each in state.assumed),
        synthetic=state.synthetic,
    )


def _lists(
    engine: Engine,
    ids: NDArray[np.object_],
    model: Package | None,
    now: datetime,
    state: State,
    shop: Shop,
    wishes: Controls,
    arrays: dict[str, NDArray[Any]],
) -> tuple[tuple[str, ...], dict[str, list[list[Estimate]]], newcomers.Segments]:
    """Ranked lists, what everybody owns and what segments buy into ``arrays``; return the item names, the shares by rank, and the segments."""
    from features import interactions

    item = state.item if model is None or not model.card.item else model.card.item
    history = interactions.load(engine, now, item, zone=state.stored_zone)
    new = None if model is None or item != "product" or wishes.new_items_every is None else new_items.new_items(engine, history)
    listed = np.array([], dtype=object) if model is None else model.ranker.items
    names = np.array(sorted({*history.items, *listed, *(() if new is None else new.items)}), dtype=object)
    arrays |= candidates.owning(history, ids, names, now, state.stored_zone)
    segmented = _segments(engine, ids, history, now, state, item == state.item, arrays)
    if model is None or item != state.item:
        empty = np.full((len(ids), candidates.LENGTH), -1, dtype=np.int32)
        arrays |= {f"list_{purpose}": empty for purpose in PURPOSES}
        return tuple(names), {purpose: _estimates(np.zeros((2, candidates.LENGTH, 3))) for purpose in PURPOSES}, segmented
    past = interactions.load(engine, shift_days(now, -state.horizon_days, state.stored_zone), item, zone=state.stored_zone)
    known = terms(engine, wishes, item, names, shop.items)
    then = None if new is None else new_items.new_items(engine, past)
    lists = candidates.ranked(model.ranker, history, past, ids, names, known, new, then)
    arrays |= {f"list_{purpose}": lists[purpose].items for purpose in PURPOSES}
    return tuple(names), {purpose: _estimates(lists[purpose].shares) for purpose in PURPOSES}, segmented


def _segments(
    engine: Engine,
    ids: NDArray[np.object_],
    history: Interactions,
    now: datetime,
    state: State,
    is_ranked: bool,
    arrays: dict[str, NDArray[Any]],
) -> newcomers.Segments:
    """What segments buy, and the segments of each customer (one column each, -1 where it is none), into ``arrays``."""
    known = profiles.load(engine, now)
    segmented, table = newcomers.tabled(known.of(history.customers) if is_ranked else {}, history, state.horizon_days)
    arrays["segments.share"] = table
    arrays["segment"] = newcomers.coded(segmented, known.of(ids), len(ids))
    return segmented


def _estimates(shares: Floats) -> list[list[Estimate]]:
    return [[Estimate(*triple) for triple in which] for which in shares.tolist()]


def point(workspace: Workspace, version: str, *, keep_previous: bool = True) -> None:
    """Swap the pointer, keep the version before (or not), remove older ones."""
    pointer = workspace.rows / POINTER
    before = read_json(pointer) if pointer.is_file() else {}
    previous = before.get("previous") if before.get("version") == version else before.get("version")
    previous = previous if keep_previous else None
    write_json(pointer, {"version": version, "previous": previous})
    for folder in workspace.rows.iterdir():
        if folder.is_dir() and folder.name not in (version, previous):
            shutil.rmtree(folder)
    sync_folder(workspace.rows)
