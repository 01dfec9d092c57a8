"""Rows of a few customers made again: the tables and what came in since, through the same queries, rules and champions as everybody's rows.

Only what looks at one customer alone is made again: features of the views that read a touched table, scores, signs, habits and stage, what is
owned, taken and complained of. Ranked lists keep their order; what was bought goes from the list of what is new to the end of what is repeated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from features import catalog, interactions, query
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
SHARED = ("product_versions",)
"""Intermediate tables of no customer, made once for the same tables."""


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
        self._digest = ""
        """Of the tables that the engine looks at."""

    def close(self) -> None:
        """Let go of the engine."""
        if self._engine is not None:
            self._engine.close()
            self._engine, self._digest = None, ""

    def warm(self, rows: Rows, champions: Champions, moment: datetime) -> None:
        """Make one customer's row as if nothing had come in, so that what takes seconds the first time is done before somebody waits for it.

        Raises:
            NotReadyError: there are no tables here, or they are being replaced.
        """
        known = np.flatnonzero(rows.array("is_known"))
        if len(known):
            self.made(rows, champions, {rows.id(int(known[0])): ()}, moment)

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
        arrays, words = picked(rows, positions), _Words(rows.card.vocabulary)
        # Who is new to the feature store has no features at all yet: every view is asked.
        newcomers = ~arrays["is_known"]
        touched = {
            table: np.array(
                [not is_known or any(each.table == table for each in facts[name]) for name, is_known in zip(ids, arrays["is_known"], strict=True)]
            )
            for table in FACTS
        }
        came = [each for found in facts.values() for each in found]
        engine = self._attached(state, {table: ids[where] for table, where in touched.items()}, ids[newcomers], came)
        _features(engine, rows, ids, touched, newcomers, moment, words, arrays)
        gather.attach_current(engine, moment)
        if touched["events"].any():
            _told(engine, ids, touched["events"], moment, state, self._rules, arrays)
        if touched["transactions"].any():
            arrays |= _bought(engine, rows, ids, touched["transactions"], moment, state, self._rules, words, arrays)
        for place, task in enumerate(SCORED):
            scorer, known = champions.scorers.get(task), np.flatnonzero(arrays["is_known"])
            arrays["scores"][:, place] = np.nan
            if scorer is not None and len(known):
                arrays["scores"][known, place] = scorer.predict(arrays["raw"][known])
        churn, known = champions.scorers.get("churn"), np.flatnonzero(arrays["is_known"])
        if churn is None:
            # What is written of the signs was so before: without a model that ranks them anew nothing is said.
            arrays["sign"][known] = -1
        elif len(known):
            ranked(churn, known, rows.card.columns, rows.card.typical, arrays)
        models = {**rows.card.models, **{task: champions.model_id(task) for task in SCORED}}
        return Rows(replace(rows.card, moment=moment, vocabulary=words.lists(), models=models), rows.shop, arrays)

    def _attached(
        self, state: State, touched: Mapping[TableName, NDArray[np.object_]], newcomers: NDArray[np.object_], facts: Sequence[Fact]
    ) -> Engine:
        """The engine: a touched table holds the rows of the customers who touched it, what came in among them; other tables those of newcomers."""
        missing = [name for name in TABLES if not self._workspace.table(name).is_file()]
        if missing:
            raise NotReadyError(f"the workspace has no table {missing[0]}; what came in counts in full from the next `retain publish` on")
        if self._digest != state.digest:
            # Tables are replaced as a whole, and what looked at the old ones goes with them.
            self.close()
        if self._engine is None:
            self._engine = Engine(self._workspace.temporary, threads=1, memory_gb=MEMORY_GB)
            self._engine.attach({f"all_{name}": self._workspace.table(name) for name in TABLES})
            for name in TABLES:
                self._engine.execute(f"create table {name} as select * from all_{name} {'limit 0' if name in PERSONAL else ''}")
            for name in SHARED:
                self._engine.execute(f"create table {name} as {catalog.intermediate(name)}")
            self._digest = state.digest
        engine = self._engine
        wanted: dict[str, Sequence[str]] = {name: list(newcomers) for name in PERSONAL if name not in FACTS}
        # Which offers were taken is read beside the lines.
        wanted["outcomes"] = list(touched["transactions"])
        wanted |= {f"{name}_held": list(ids) for name, ids in touched.items()}
        for name, theirs in wanted.items():
            if theirs:
                source = f"all_{name.removesuffix('_held')}"
                engine.execute(f"create or replace table {name} as select * from {source} where customer_id in ({', '.join(map(quoted, theirs))})")
        if self._workspace.state().digest != state.digest:
            raise NotReadyError("the tables are being replaced")
        for table in FACTS:
            if len(touched[table]):
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
    touched: Mapping[TableName, NDArray[np.bool_]],
    newcomers: NDArray[np.bool_],
    moment: datetime,
    words: _Words,
    arrays: dict[str, NDArray[Any]],
) -> None:
    """Raw features of the views that read a table which their customer touched, and how old all of them are."""
    card, places = rows.card, {name: number for number, name in enumerate(rows.card.views)}
    views = list(_views(card.views))
    whose = {view: np.logical_or.reduce([newcomers, *(touched[table] for table in FACTS if table in catalog.tables(view))]) for view in views}
    chosen = [view for view in views if whose[view].any()]
    reads = Counter(name for view in chosen for name in catalog.needs(view.reads))
    # What several views read is computed once; those who others read come first.
    several = [name for name in catalog.needs(tuple(reads)) if reads[name] > 1 and name not in SHARED]
    for name in several:
        before = query.parts([each for each in catalog.needs((name,)) if each != name], [*several, *SHARED])
        engine.execute(f"create or replace table {name} as {query.preceded(before, catalog.intermediate(name))}")
    for view in chosen:
        mine = whose[view]
        theirs = ids[mine]
        spine = pa.table(
            {"customer_id": pa.array(theirs, pa.string()), "event_timestamp": pa.array([moment] * len(theirs), pa.timestamp("us", "UTC"))}
        )
        found = snapshot(view, spine, engine, [*several, *SHARED]).to_pandas().set_index("customer_id").reindex(theirs)
        for place, name in enumerate(card.columns):
            head, _, column = name.partition("__")
            if head == view.name and name in card.vocabulary:
                codes = words.code(name, found[column])
                arrays["raw"][mine, place] = np.where(codes < 0, np.nan, codes)
            elif head == view.name:
                arrays["raw"][mine, place] = found[column].to_numpy(dtype=np.float64, na_value=np.nan)
        arrays["features_at"][mine, places[view.name]] = micros(moment)
    lives = np.array([view.ttl_days * 86_400 * 1_000_000 for view in views])
    age = np.where(arrays["features_at"] >= 0, micros(moment) - arrays["features_at"], np.nan) if len(lives) else np.empty((len(ids), 0))
    known = np.asarray(~np.isnan(age).all(axis=1), dtype=np.bool_)
    arrays["is_known"] = known
    arrays["age_s"] = np.where(known, np.nanmax(np.where(np.isnan(age), -1.0, age), axis=1, initial=-1.0) / 1e6, np.nan)
    arrays["is_stale"] = np.asarray(known & ~(age <= lives).all(axis=1), dtype=np.bool_)


def _views(names: Mapping[str, str]) -> Iterator[View]:
    for name, version in names.items():
        view = catalog.view(name)
        if view.digest() != version:
            raise NotReadyError(f"the rows were made by another version of the features {name}; run `retain publish`")
        yield view


def _told(
    engine: Engine, ids: NDArray[np.object_], whose: NDArray[np.bool_], moment: datetime, state: State, rules: Rules, arrays: dict[str, NDArray[Any]]
) -> None:
    """What events say: an open complaint, and the parts of value."""
    theirs, parts = ids[whose], rules.parts
    arrays["complaint"][whose] = gather.complaints(engine, theirs, moment)
    counted = [kind for name in KINDS for kind in parts.kinds(name)]
    counts = gather.events(engine, theirs, shift_days(moment, -parts.window_days, state.stored_zone), counted)
    arrays["parts"][whose] = amounts(parts, counts, state.horizon_days, len(theirs))


def _bought(
    engine: Engine,
    rows: Rows,
    ids: NDArray[np.object_],
    whose: NDArray[np.bool_],
    moment: datetime,
    state: State,
    rules: Rules,
    words: _Words,
    arrays: dict[str, NDArray[Any]],
) -> dict[str, NDArray[Any]]:
    """What lines say: habits and stage into ``arrays``; return what is owned and taken, of everybody, with lists to match."""
    zone, theirs = state.stored_zone, ids[whose]
    habits = gather.habits(engine, theirs, moment, zone, rules.segments)
    arrays["habits"][whose] = habits[list(HABITS)].to_numpy(dtype=np.float64)
    arrays["is_active"][whose] = habits["is_active"].to_numpy(dtype=np.bool_)
    arrays["stage"][whose] = words.code("stage", segments.stages(habits, rules.segments))
    taken = gather.taken(engine, theirs)
    names = np.array(rows.card.names, dtype=object)
    history = interactions.load(engine, moment, state.item, zone=zone, ready=SHARED)
    owned = _known_items(candidates.owning(history, theirs, names, moment, zone))
    made: dict[str, NDArray[Any]] = {"taken.start": taken.start, "taken.offer_id": words.code("offer_id", taken.columns["offer_id"])}
    before = {name: arrays[name] for name in ("owned.start", "owned.item")}
    result = {**_replaced("owned", arrays, owned, whose), **_replaced("taken", arrays, made, whose)}
    _relisted(arrays, before, result)
    return result


def _replaced(table: str, arrays: Mapping[str, NDArray[Any]], made: Mapping[str, NDArray[Any]], whose: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    """A ragged table in which some customers' entries are those that were made."""
    names = [name.partition(".")[2] for name in arrays if name.startswith(f"{table}.") and not name.endswith(".start")]
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in names}
    sizes, number = [], 0
    for place, is_made in enumerate(whose.tolist()):
        source, at = (made, number) if is_made else (arrays, place)
        number += is_made
        start, end = source[f"{table}.start"][at : at + 2].tolist()
        sizes.append(end - start)
        for name in names:
            parts[name].append(source[f"{table}.{name}"][start:end])
    start = np.concatenate([[0], np.cumsum(sizes)]).astype(arrays[f"{table}.start"].dtype)
    return {f"{table}.start": start, **{f"{table}.{name}": np.concatenate(each) for name, each in parts.items()}}


def _known_items(owned: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Without items that the lists do not know: what came to market since the rows were made."""
    start, kept = owned["owned.start"], owned["owned.item"] >= 0
    totals = np.concatenate([[0], np.cumsum(kept)])
    return {"owned.start": totals[start].astype(start.dtype), **{name: array[kept] for name, array in owned.items() if name != "owned.start"}}


def _relisted(arrays: dict[str, NDArray[Any]], before: Mapping[str, NDArray[Any]], owned: Mapping[str, NDArray[Any]]) -> None:
    """What was bought since is new no longer: it leaves the list of what is new, and stands last among what is repeated."""
    for place in range(len(arrays["ids"])):
        had, has = (each["owned.item"][slice(*each["owned.start"][place : place + 2].tolist())].tolist() for each in (before, owned))
        fresh = [item for item in has if item not in had]
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
