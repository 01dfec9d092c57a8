"""The prices of money, seats and stock on disk: written whole by the last list, read by whoever decides a call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from retain.errors import DataError
from retain.files import MANIFEST, verify_folder, write_json
from retain.workspace import Workspace
from serving.decisions.prices import NOBODY, Own, Prices
from serving.lists.running import APART, ARMS

FILE = "prices.json"


class _Kept(msgspec.Struct):
    """What the file holds."""

    prices: Prices
    folder: str
    """Of the list, below the lists of the workspace."""


@dataclass(frozen=True)
class Tariff:
    """The prices of a list, and what it says of customers beyond them."""

    prices: Prices
    own: Mapping[str, Own] = field(default_factory=dict)
    """By customer: of those who are to be contacted, and of those who are left out though the prices alone would not."""

    def to(self, customer_id: str, at: datetime) -> Prices | None:
        """What one customer is weighed at; None where the time of the prices is over."""
        return self.prices.to(self.own.get(customer_id, NOBODY)) if self.prices.hold_at(at) else None


def save(workspace: Workspace, prices: Prices, folder: Path) -> None:
    """Replace the prices of a workspace by those of the list that lies in a folder."""
    kept: dict[str, Any] = {"prices": msgspec.to_builtins(prices), "folder": str(folder.relative_to(workspace.lists))}
    write_json(workspace.lists / FILE, kept)


def load(workspace: Workspace, at: datetime) -> Tariff | None:
    """The prices that hold at a moment; None where no list has made any, or their time is over.

    Raises:
        DataError: the file is broken.
    """
    path = workspace.lists / FILE
    if not path.is_file():
        return None
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=_Kept)
    except msgspec.DecodeError as error:
        raise DataError(f"{FILE} of the workspace {workspace.root} is broken ({error}); make a list with `retain list retention` again") from error
    return Tariff(kept.prices, _own(workspace.lists / kept.folder)) if kept.prices.hold_at(at) else None


def _own(folder: Path) -> dict[str, Own]:
    import pyarrow.parquet as pq

    if not (folder / MANIFEST).is_file():
        # Erased, or removed by hand: prices go on without it.
        return {}
    verify_folder(folder)
    apart = pq.read_table(folder / APART).to_pylist()
    arms = pq.read_table(folder / ARMS, columns=["customer_id", "is_contacted", "offer_id", "channel"]).to_pylist()
    return {
        **{str(row["customer_id"]): Own(more=float(row["more"])) for row in apart},
        **{str(row["customer_id"]): Own((str(row["offer_id"]), str(row["channel"]))) for row in arms if row["is_contacted"]},
    }
