"""Rows of a few customers made again: the tables and what came in since, through the same queries, rules and champions as everybody's rows.

Only what looks at one customer alone is made again: features of the views that read a touched table, scores, signs, habits and stage, what is
owned, taken and complained of. Ranked lists keep their order; what was bought goes from the list of what is new to the end of what is repeated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from features import catalog, interactions
from features.catalog import View
from features.snapshot import snapshot
from retain.engine import Engine, quoted
from retain.errors import NotReadyError
from retain.tables import TABLES
from retain.workspace import State, Workspace, shift_days
from serving import candidates, gather
from serving.champions import SCORED, Champions
from serving.decisions.facts import HABITS
from serving.decisions.value_parts import KINDS, ValueParts, amounts
from serving.explaining import ranked
from serving.incoming import Fact, TableName
from serving.ledger import micros
from serving.rows import Rows
from serving.tabled import of_facts, together
from training import segments

MEMORY_GB = 0.5
PERSONAL = tuple(name for name in TABLES if "customer_id" in TABLES[name].names)
FACTS: tuple[TableName, ...] = ("events", "transactions")


@dataclass(frozen=True)
class Rules:
    """What the house declares that rows are made by."""

    segments: segments.Rules
    parts: ValueParts


class Refresher:
    """Makes rows of one workspace again; not for several threads at once."""

    def __init__(self, workspace: Workspace, rules: Rules) -> None:
        self._workspace = workspace
        self._rules = rules
        self._engine: Engine | None = None

    def close(self) -> None:
        """Let go of the engine."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def made(self, rows: Rows, champions: Champions, facts: Mapping[str, Sequence[Fact]], moment: datetime) -> Rows:
        """Rows of some customers as of a moment, in the order of their ids.

        Args:
            rows: the published ones; every customer of ``facts`` is among them.
            champions: what scores.
            facts: what came in, by customer; what the tables hold already counts once.
            moment: everything that happened, and came in, before it counts.

        Raises:
            NotReadyError: there are no tables here, or they are being replaced.
        """
        state, ids = self._workspace.state(), np.array(sorted(facts), dtype=object)
        positions = np.array([row.position for row in map(rows.get, ids) if row is not None], dtype=np.intp)
        engine = self._attached(state, ids, [each for found in facts.values() for each in found])
        arrays = picked(rows, positions)
        words = _Words(rows.card.vocabulary)
        _features(engine, rows, ids, {table for found in facts.values() for table in {each.table for each in found}}, moment, words, arrays)
        _facts(engine, rows, ids, moment, state, self._rules, words, arrays)
        for place, task in enumerate(SCORED):
            scorer, known = champions.scorers.get(task), np.flatnonzero(arrays["is_known"])
            arrays["scores"][:, place] = np.nan
            if scorer is not None and len(known):
                arrays["scores"][known, place] = scorer.predict(arrays["raw"][known])
        churn, known = champions.scorers.get("churn"), np.flatnonzero(arrays["is_known"])
        if churn is not None and len(known):
            ranked(churn, known, rows.card.columns, rows.card.typical, arrays)
        models = {**rows.card.models, **{task: champions.model_id(task) for task in SCORED}}
        return Rows(replace(rows.card, moment=moment, vocabulary=words.lists(), models=models), rows.shop, arrays)

    def _attached(self, state: State, ids: NDArray[np.object_], facts: Sequence[Fact]) -> Engine:
        """The engine with the tables of these customers, what came in among them."""
        missing = [name for name in TABLES if not self._workspace.table(name).is_file()]
        if missing:
            raise NotReadyError(f"the workspace has no table {missing[0]}; what came in counts in full from the next `retain publish` on")
        if self._engine is None:
            self._engine = Engine(self._workspace.temporary, threads=1, memory_gb=MEMORY_GB)
        engine, theirs = self._engine, ", ".join(map(quoted, ids))
        for name in TABLES:
            source = f"select * from read_parquet({quoted(self._workspace.table(name))})"
            if name not in PERSONAL:
                engine.execute(f"create or replace view {name} as {source}")
                continue
            # Named so that a table can be made of itself and of what came in.
            held = f"{name}_held" if name in FACTS else name
            engine.execute(f"create or replace table {held} as {source} where customer_id in ({theirs})")
        if self._workspace.state().digest != state.digest:
            raise NotReadyError("the tables are being replaced")
        for table in FACTS:
            engine.attach({f"{table}_came": of_facts(table, (each for each in facts if each.table == table), state)})
            engine.execute(f"create or replace table {table} as {together(engine, table, f'{table}_held', f'{table}_came', state.local_zone)}")
        return engine


class _Words:
    """Vocabularies of the published rows, which words that came in go behind."""

    def __init__(self, known: Mapping[str, Sequence[str]]) -> None:
        self._known = dict(known)
        self._codes: dict[str, dict[str, int]] = {}

    def code(self, name: str, words: Any) -> NDArray[np.int32]:
        codes = self._codes.setdefault(name, {word: code for code, word in enumerate(self._known.get(name, ()))})
        return np.array([-1 if pd.isna(word) else codes.setdefault(str(word), len(codes)) for word in words], dtype=np.int32)

    def lists(self) -> dict[str, tuple[str, ...]]:
        return {**{name: tuple(words) for name, words in self._known.items()}, **{name: tuple(codes) for name, codes in self._codes.items()}}


def picked(rows: Rows, positions: NDArray[np.intp]) -> dict[str, NDArray[Any]]:
    """Arrays of some customers' rows, to be changed; what is of the shop is shared."""
    found: dict[str, NDArray[Any]] = {}
    for name in rows.names:
        array = rows.array(name)
        table, dot, column = name.partition(".")
        if not dot:
            found[name] = array[positions].copy()
        elif f"{table}.start" not in rows.names:
            found[name] = array
        else:
            start = rows.array(f"{table}.start")
            sizes = start[positions + 1] - start[positions]
            whole = [np.arange(start[place], start[place + 1]) for place in positions]
            entries = np.concatenate([*whole, np.empty(0, dtype=np.int64)])
            found[name] = np.concatenate([[0], np.cumsum(sizes)]).astype(array.dtype) if column == "start" else array[entries]
    return found


def _features(
    engine: Engine,
    rows: Rows,
    ids: NDArray[np.object_],
    touched: set[TableName],
    moment: datetime,
    words: _Words,
    arrays: dict[str, NDArray[Any]],
) -> None:
    """Raw features of the views that read a touched table (all where the feature store does not know a customer yet), and how old all of them are."""
    card = rows.card
    spine = pa.table({"customer_id": pa.array(ids, pa.string()), "event_timestamp": pa.array([moment] * len(ids), pa.timestamp("us", "UTC"))})
    lives = []
    for number, view in enumerate(_views(card.views)):
        lives.append(view.ttl_days * 86_400 * 1_000_000)
        if catalog.tables(view).isdisjoint(touched) and arrays["is_known"].all():
            continue
        found = snapshot(view, spine, engine).to_pandas().set_index("customer_id").reindex(ids)
        for place, name in enumerate(card.columns):
            head, _, column = name.partition("__")
            if head == view.name and name in card.vocabulary:
                codes = words.code(name, found[column])
                arrays["raw"][:, place] = np.where(codes < 0, np.nan, codes)
            elif head == view.name:
                arrays["raw"][:, place] = found[column].to_numpy(dtype=np.float64, na_value=np.nan)
        arrays["features_at"][:, number] = micros(moment)
    age = np.where(arrays["features_at"] >= 0, micros(moment) - arrays["features_at"], np.nan) if lives else np.empty((len(ids), 0))
    known = np.asarray(~np.isnan(age).all(axis=1), dtype=np.bool_)
    arrays["is_known"] = known
    arrays["age_s"] = np.where(known, np.nanmax(np.where(np.isnan(age), -1.0, age), axis=1, initial=-1.0) / 1e6, np.nan)
    arrays["is_stale"] = np.asarray(known & ~(age <= np.array(lives)).all(axis=1), dtype=np.bool_)


def _views(names: Mapping[str, str]) -> Iterator[View]:
    for name, version in names.items():
        view = catalog.view(name)
        if view.digest() != version:
            raise NotReadyError(f"the rows were made by another version of the features {name}; run `retain publish`")
        yield view


def _facts(
    engine: Engine,
    rows: Rows,
    ids: NDArray[np.object_],
    moment: datetime,
    state: State,
    rules: Rules,
    words: _Words,
    arrays: dict[str, NDArray[Any]],
) -> None:
    """Habits, stage, what is owned, taken and complained of, and the parts of value."""
    zone = state.stored_zone
    gather.attach_current(engine, moment)
    habits = gather.habits(engine, ids, moment, zone, rules.segments)
    arrays["habits"] = habits[list(HABITS)].to_numpy(dtype=np.float64)
    arrays["is_active"] = habits["is_active"].to_numpy(dtype=np.bool_)
    arrays["stage"] = words.code("stage", segments.stages(habits, rules.segments))
    arrays["complaint"] = gather.complaints(engine, ids, moment)
    taken = gather.taken(engine, ids)
    arrays |= {"taken.start": taken.start, "taken.offer_id": words.code("offer_id", taken.columns["offer_id"])}
    counted = [kind for name in KINDS for kind in rules.parts.kinds(name)]
    counts = gather.events(engine, ids, shift_days(moment, -rules.parts.window_days, zone), counted)
    arrays["parts"] = amounts(rules.parts, counts, state.horizon_days, len(ids))
    names = np.array(rows.card.names, dtype=object)
    history = interactions.load(engine, moment, state.item, zone=zone)
    before = [set(rows.array("owned.item")[slice(*rows.array("owned.start")[[row.position, row.position + 1]])]) for row in map(rows.get, ids) if row]
    arrays |= _known_items(candidates.owning(history, ids, names, moment, zone))
    _relisted(arrays, before)


def _known_items(owned: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Without items that the lists do not know: what came to market since the rows were made."""
    start, kept = owned["owned.start"], owned["owned.item"] >= 0
    totals = np.concatenate([[0], np.cumsum(kept)])
    return {"owned.start": totals[start].astype(start.dtype), **{name: array[kept] for name, array in owned.items() if name != "owned.start"}}


def _relisted(arrays: dict[str, NDArray[Any]], before: Sequence[set[int]]) -> None:
    """What was bought since is new no longer: it leaves the list of what is new, and stands last among what is repeated."""
    start = arrays["owned.start"]
    for place, owned_before in enumerate(before):
        owned = arrays["owned.item"][start[place] : start[place + 1]].tolist()
        fresh = [item for item in owned if item not in owned_before]
        if fresh:
            new, repeated = arrays["list_new"][place], arrays["list_repeat"][place]
            arrays["list_new"][place] = _filled([item for item in new.tolist() if item >= 0 and item not in fresh], len(new))
            stay = [item for item in repeated.tolist() if item >= 0]
            arrays["list_repeat"][place] = _filled([*stay, *(item for item in fresh if item not in stay)], len(repeated))


def _filled(items: Sequence[int], length: int) -> NDArray[np.int32]:
    found = np.full(length, -1, dtype=np.int32)
    found[: len(items)] = items[:length]
    return found


def just_after(facts: Mapping[str, Sequence[Fact]], now: datetime) -> datetime:
    """The moment at which everything that has come in is known: now, or right after the last of it on a clock that stands."""
    last = max((each.received for found in facts.values() for each in found), default=now)
    return max(now, last + timedelta(microseconds=1)).astimezone(UTC)


__all__ = ["Refresher", "Rules", "just_after", "picked"]
