"""Where run-time state lies, and what time it is.

One folder holds everything that a run writes. Its clock is live, or fixed by its source; commands, service, staleness, validity
and limits ask ``Workspace.now()`` and nothing else, so a demo on data of another year behaves like a live shop of that year.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

from pydantic import AwareDatetime, BaseModel, ConfigDict

from retain.errors import DataError, LockedError, NotReadyError, RefusedError
from retain.files import read_json, remove_partials, write_json

DEFAULT = Path("var")
STATE = "workspace.json"
PULLS_HEAD = "pulls.head.json"
"""How the log of pulls ends, beside it."""


class Assumption(BaseModel):
    """A constant that a source declares because its data do not hold it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """What is assumed: consent, margin_rate, contact_cost."""
    value: str | float | dict[str, float]
    basis: str
    """Why this value; shown wherever the assumption carries a figure."""


class State(BaseModel):
    """What a workspace knows about its source. Written by ``ingest`` and ``simulate``, last of all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    kind: Literal["history", "snapshot"] = "history"
    """``snapshot``: customers as they stood once, without time; nothing can be learned by windows."""
    churn: Literal["purchases", "subscriptions"] = "purchases"
    """What leaving means unless a task says otherwise: no purchase, or the end of a contract."""
    title: str = ""
    origin: str = ""
    licence: str = ""
    cost_per_record: float = 0.0
    synthetic: bool = False
    """True for simulated data; shown wherever the data are."""
    as_of: AwareDatetime | None = None
    """The fixed clock in UTC; None is a live clock."""
    stored_zone: str = "UTC"
    """The zone of the source's own naive timestamps: dates given to commands are read in it, calendar days are counted in it."""
    local_zone: str = "UTC"
    """The zone in which customers live; local hour and weekday are taken in it."""
    currency: str = ""
    assumed: tuple[Assumption, ...] = ()
    id_types: dict[str, str] = {}
    """Arrow type of each id in the source's own files (customer_id -> int32), to give ids back in their own type."""
    descriptive: tuple[str, ...] = ()
    """Further descriptive columns of ``customers`` that this source declared."""
    horizon_days: int = 28
    """Days that the source's business looks ahead: the horizon of churn, value and recommendation unless a task says otherwise."""
    item: Literal["product", "category"] = "product"
    """What recommendation ranks for this source unless a task says otherwise."""
    not_offered: tuple[str, ...] = ()
    """Items that are sold and learned from, and that no decision proposes."""
    tables: dict[str, int] = {}
    """Rows of each contract table."""
    digest: str = ""
    """Hash of the ingested tables: the data version that runs and models name."""

    def clock(self) -> Callable[[], datetime]:
        """What tells the time on these data, in UTC: live, or standing where the source ends."""
        if self.as_of is None:
            return computer_time
        fixed = self.as_of.astimezone(UTC)
        return lambda: fixed


@dataclass(frozen=True)
class Workspace:
    """A folder of run-time state. Opening one touches nothing."""

    root: Path
    mlruns: Path

    @classmethod
    def at(cls, root: Path | None = None) -> Workspace:
        """The workspace at ``root``; the default one owns the top-level ``mlruns/``, any other holds its own."""
        folder = DEFAULT if root is None else root
        return cls(folder, Path("mlruns") if folder == DEFAULT else folder / "mlruns")

    @property
    def tables(self) -> Path:
        """One Parquet file per contract table, sorted by customer and time."""
        return self.root / "tables"

    @property
    def truth(self) -> Path:
        """What a simulated shop's customers will really do; absent for real data."""
        return self.root / "truth"

    @property
    def quarantine(self) -> Path:
        """Rows that could not be used, one Parquet file per table, and the report."""
        return self.root / "quarantine"

    @property
    def snapshots(self) -> Path:
        """``snapshots/<view>/<moment>.parquet``."""
        return self.root / "snapshots"

    @property
    def feast(self) -> Path:
        """Feast's registry and SQLite online store."""
        return self.root / "feast"

    @property
    def models(self) -> Path:
        """``models/<task>/<model id>/`` and the champion pointers."""
        return self.root / "models"

    @property
    def judgements(self) -> Path:
        """What recipes were judged at, kept so that nothing is fitted twice; removed without loss."""
        return self.root / "judgements"

    @property
    def tuning(self) -> Path:
        """Searches for settings, which go on where they stopped, and what they found."""
        return self.root / "tuning"

    @property
    def drift(self) -> Path:
        """``drift/<task>.json``: what has changed since the champion was trained, as last looked at."""
        return self.root / "drift"

    @property
    def promotions(self) -> Path:
        """The append-only promotion ledger; the truth about which model was champion when."""
        return self.root / "promotions.jsonl"

    @property
    def rows(self) -> Path:
        """Serving rows: one checked, precomputed row per customer."""
        return self.root / "rows"

    @property
    def ledger(self) -> Path:
        """Decisions and outcomes of the service, durable."""
        return self.root / "ledger"

    @property
    def keys(self) -> Path:
        """Hashes of the API keys, readable by their owner only."""
        return self.root / "keys.json"

    @property
    def pulls(self) -> Path:
        """Who pulled which list when, line after line, each chained to the one before."""
        return self.root / "pulls.jsonl"

    @property
    def lists(self) -> Path:
        """Lists and reports made for people."""
        return self.root / "lists"

    @property
    def temporary(self) -> Path:
        """Where SQL spills."""
        return self.root / "temporary"

    def tidy(self) -> None:
        """Remove what an interrupted command left in the root, under the lock; a service beside writes its keys and who pulled what without it."""
        remove_partials(self.root, {self.keys.name: self.keys, PULLS_HEAD: self.pulls})

    def table(self, name: str) -> Path:
        """The Parquet file of a contract table; it may not exist."""
        return self.tables / f"{name}.parquet"

    @property
    def is_filled(self) -> bool:
        """Whether a source has been ingested here."""
        return (self.root / STATE).is_file()

    def state(self) -> State:
        """What is known about the source.

        Raises:
            NotReadyError: nothing has been ingested here.
            DataError: the state file is broken.
        """
        if not self.is_filled:
            raise NotReadyError(f"the workspace {self.root} is empty; run `retain ingest SOURCE` or `retain simulate` first")
        try:
            return State.model_validate(read_json(self.root / STATE))
        except ValueError as error:
            raise DataError(f"{STATE} of the workspace {self.root} is broken ({error}); ingest again") from error

    def history(self) -> State:
        """What is known about a source whose rows have times.

        Raises:
            RefusedError: it is a snapshot; there is nothing before and after a moment.
        """
        state = self.state()
        if state.kind == "snapshot":
            raise RefusedError(
                f"{state.source} is a snapshot: its rows have no times, so there are no windows to learn from; use `retain crossfit {state.source}`"
            )
        return state

    def write_state(self, state: State) -> None:
        """Replace what is known about the source."""
        write_json(self.root / STATE, state.model_dump(mode="json"))

    def now(self) -> datetime:
        """The time in this workspace, in UTC: live, or fixed by the source."""
        return self.state().clock()() if self.is_filled else computer_time()

    @contextmanager
    def lock(self, purpose: str) -> Iterator[None]:
        """Hold the workspace for writing; the kernel lets go when the process ends, however it ends.

        Raises:
            LockedError: another process holds it; the message says since when and for what.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT, 0o640)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = os.pread(handle, 200, 0).decode(errors="replace").strip() or "another process"
                raise LockedError(f"the workspace {self.root} is locked by {holder}; wait for it to end, or choose another --workspace") from error
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"`{purpose}` (process {os.getpid()})".encode(), 0)
            yield
        finally:
            os.close(handle)


def computer_time() -> datetime:
    """What the computer's clock shows, in UTC: the live clock of a workspace, and the border of the future for what is read into one."""
    return datetime.now(UTC)


def moment(text: str, zone: str) -> datetime:
    """A date or time written without a zone, read on the clock of ``zone``, in UTC.

    Raises:
        DataError: not a date, or it names a zone of its own that differs.
    """
    try:
        value = datetime.fromisoformat(text)
    except ValueError as error:
        raise DataError(f"{text!r} is not a date like 2017-10-01 or 2017-10-01T12:00") from error
    if value.tzinfo is None:
        value = value.replace(tzinfo=ZoneInfo(zone))
    return value.astimezone(UTC)


def shift_days(start: datetime, days: int, zone: str) -> datetime:
    """``start`` moved by calendar days on the clock of ``zone`` (a day with a clock change has 23 or 25 hours), in UTC."""
    local = start.astimezone(ZoneInfo(zone)).replace(tzinfo=None) + timedelta(days=days)
    return local.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def naive(value: datetime, zone: str) -> datetime:
    """``value`` as the naive clock of ``zone`` shows it."""
    return value.astimezone(ZoneInfo(zone)).replace(tzinfo=None)


__all__ = ["DEFAULT", "STATE", "Assumption", "State", "Workspace", "computer_time", "moment", "naive", "shift_days"]
