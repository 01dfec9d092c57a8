"""Whether what was served is what training would have seen: the features of logged decisions, computed again from the tables.

Nothing of the served rows is used: each decision's features come from its receipt, the others from the tables at the moment at which a
training frame would have read them. Two values are equal when all their bits are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features import catalog
from features.snapshot import snapshot
from retain.engine import Engine, identifier, of, quoted
from retain.tables import TABLES
from retain.workspace import Workspace
from serving.discrepancies import Block, Cause, Moments, Search, differs
from serving.grounds import Grounds, opener
from serving.ledger import Ledger, micros
from training.contracts import Floats

DAY = 86_400_000_000


@dataclass(frozen=True)
class Audit:
    """What an audit found."""

    decisions: int
    without_features: int
    """Of those: nothing was read for them, because nothing was known or nothing personal may choose."""
    without_receipt: int
    """Of those: a release that kept too little decided them."""
    values: int
    """Feature values that were compared."""
    equal: int
    equal_decisions: int
    causes: tuple[Cause, ...]
    """Causes of the differences, the most frequent first."""

    @property
    def share(self) -> float:
        """Share of the values that are equal bit for bit; one where there was nothing to compare."""
        return self.equal / self.values if self.values else 1.0


@dataclass(frozen=True)
class Logged:
    """What decisions on the same grounds read; equal readings stand once."""

    grounds: Grounds
    customers: NDArray[np.object_]
    served: Floats
    """(readings, columns)"""
    at: Moments
    """(readings, views) event times in microseconds; -1 where a view had nothing."""
    times: NDArray[np.int64]
    """(readings,) how many decisions read so."""


class _Read(msgspec.Struct):
    """As much of a basis as an audit needs."""

    features: bytes
    features_at: bytes


def audit(workspace: Workspace, ledger: Ledger) -> Audit:
    """Compare the features of all logged decisions with those that the tables give.

    Raises:
        NotReadyError: nothing was ingested.
        IntegrityError: what decisions rested on is missing or was changed.
    """
    groups, counted, empty, bare = _logged(ledger)
    state = workspace.state()
    values = equal = equal_decisions = 0
    causes: list[Cause] = []
    with of(workspace) as engine, of(workspace) as careless:
        forget_known(careless, workspace)
        for one in groups:
            offline = Offline(engine, careless, one.grounds)
            blocks = list(_blocks(workspace, one))
            truths = [offline.values(block.view, one.customers, block.expected) for block in blocks]
            odd = np.concatenate([differs(block.served, truth) for block, truth in zip(blocks, truths, strict=True)], axis=1)
            values += int(one.times.sum()) * odd.shape[1]
            equal += int(one.times @ (~odd).sum(axis=1))
            equal_decisions += int(one.times[~odd.any(axis=1)].sum())
            if odd.any():
                search = Search(one.customers, one.times, offline, causes)
                search.explain(blocks, truths, (state.stored_zone, state.local_zone), is_other_data=one.grounds.data_digest != state.digest)
    return Audit(counted, empty, bare, values, equal, equal_decisions, _merged(causes))


def _merged(causes: Sequence[Cause]) -> tuple[Cause, ...]:
    """Equal causes of several groups as one, the most frequent first."""
    found: dict[tuple[str, str, str], Cause] = {}
    for one in causes:
        key = (one.name, one.view, one.detail)
        before = found.get(key)
        found[key] = one if before is None else replace(one, decisions=one.decisions + before.decisions, values=one.values + before.values)
    return tuple(sorted(found.values(), key=lambda one: (-one.values, one.name, one.view, one.detail)))


class Offline:
    """Features from the tables, coded as the served rows code them."""

    def __init__(self, engine: Engine, careless: Engine, grounds: Grounds) -> None:
        self._engines = {True: engine, False: careless}
        self._codes = {name: {word: float(code) for code, word in enumerate(words)} for name, words in grounds.vocabulary.items()}
        self._columns = {view: [name for name in grounds.columns if name.partition("__")[0] == view] for view in grounds.views}

    def values(self, view: str, customers: NDArray[np.object_], at: Moments, *, known: bool = True) -> Floats:
        """(readings, columns of the view) at the moments; NaN where the moment is -1. ``known=False``: as if all had been known at once."""
        columns = self._columns[view]
        result = np.full((len(customers), len(columns)), np.nan)
        there = np.flatnonzero(at >= 0)
        if not len(there):
            return result
        moments = pd.Series(at[there].view("datetime64[us]")).dt.tz_localize("UTC")
        asked = pd.DataFrame({"customer_id": customers[there], "event_timestamp": moments})
        answer = snapshot(catalog.view(view), asked.drop_duplicates(), self._engines[known]).to_pandas()
        place = pd.MultiIndex.from_frame(answer[["customer_id", "event_timestamp"]]).get_indexer(pd.MultiIndex.from_frame(asked))
        for number, name in enumerate(columns):
            values = answer[name.partition("__")[2]]
            coded = values.map(self._codes[name]) if name in self._codes else values
            # A word that the served rows do not know is a difference, not a null.
            plain = coded.where(coded.notna() | values.isna(), -1.0) if name in self._codes else coded
            result[there, number] = plain.to_numpy(dtype=np.float64, na_value=np.nan)[place]
        return result


def _logged(ledger: Ledger) -> tuple[list[Logged], int, int, int]:
    opened = opener(ledger.folder)
    decode = msgspec.msgpack.Decoder(_Read).decode
    found: dict[str, dict[tuple[str, bytes, bytes], int]] = {}
    counted = empty = bare = 0
    for entry in ledger.decisions():
        counted += 1
        if not entry.basis:
            bare += 1
            continue
        read = decode(entry.basis)
        if not read.features or not read.features_at:
            empty += 1
            continue
        readings = found.setdefault(entry.grounds, {})
        key = (entry.customer_id, read.features, read.features_at)
        readings[key] = readings.get(key, 0) + 1
    return [_stacked(opened(digest).grounds, readings) for digest, readings in found.items()], counted, empty, bare


def _stacked(grounds: Grounds, readings: dict[tuple[str, bytes, bytes], int]) -> Logged:
    customers, features, at = zip(*readings, strict=True)
    return Logged(
        grounds,
        np.array(customers, dtype=object),
        np.frombuffer(b"".join(features), dtype=np.float64).reshape(len(customers), -1),
        np.frombuffer(b"".join(at), dtype=np.int64).reshape(len(customers), -1),
        np.array(list(readings.values()), dtype=np.int64),
    )


def _blocks(workspace: Workspace, one: Logged) -> Iterator[Block]:
    """What was served of each view, and when training would have read it: the newest snapshot before the rows were made."""
    known = {view.name: view for view in catalog.customer_views()}
    for number, (view, version) in enumerate(one.grounds.views.items()):
        places = [place for place, name in enumerate(one.grounds.columns) if name.partition("__")[0] == view]
        at = one.at[:, number]
        expected = np.where(at >= 0, np.maximum(at, _newest(workspace, view, one.grounds.moment)), -1)
        now = known.get(view)
        if now is not None:
            # Training reads nothing where the newest snapshot is older than its time to live.
            expected = np.where(micros(one.grounds.moment) - expected > now.ttl_days * DAY, -1, expected)
        yield Block(
            view=view,
            names=tuple(one.grounds.columns[place] for place in places),
            served=np.ascontiguousarray(one.served[:, places]),
            at=at,
            expected=expected,
            version=version,
            version_now=None if now is None else now.digest(),
        )


def _newest(workspace: Workspace, view: str, moment: datetime) -> int:
    """Event time of the newest snapshot of a view at a moment, in microseconds; -1 where none is kept."""
    names = [path.stem for path in (workspace.snapshots / view).glob("[0-9]*.parquet")]
    times = [datetime.strptime(name, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) for name in names]
    return max((micros(at) for at in times if at <= moment), default=-1)


def forget_known(engine: Engine, workspace: Workspace) -> None:
    """Let every row have been known when it happened."""
    for name in TABLES:
        rows = f"select * replace (occurred_at as known_at) from read_parquet({quoted(workspace.table(name))})"
        engine.execute(f"create or replace view {identifier(name)} as {rows}")
