"""The prices of money, seats and stock on disk: written whole by the last list, read by whoever decides a call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import msgspec

from retain.errors import DataError, IntegrityError
from retain.files import MANIFEST, verify_folder, write_json
from retain.workspace import Workspace
from serving.decisions.pacing import Plan
from serving.decisions.policy import Policy
from serving.decisions.prices import NOBODY, Own, Prices
from serving.ledger import Ledger
from serving.lists.running import APART, ARMS
from serving.lists.spending import Spending, opened

FILE = "prices.json"


class _Kept(msgspec.Struct):
    """What the file holds."""

    prices: Prices
    folder: str
    """Of the list, below the lists of the workspace."""
    plan: Plan | None = None
    """What the list means calls to use, where its limits are spent by calls."""


@dataclass(frozen=True)
class Tariff:
    """The prices of a list, and what it says of customers beyond them."""

    prices: Prices
    own: Mapping[str, Own] = field(default_factory=dict)
    """By customer: of those who are to be contacted, and of those who are left out though the prices alone would not."""
    spending: Spending | None = None
    """What calls have used, where the limits are spent by calls."""

    def to(self, customer_id: str, at: datetime, rows: str) -> Prices | None:
        """What one customer is weighed at; None where the time of the prices is over.

        Where limits are spent by calls, prices follow what was used. Whoever has a place on the list keeps the list's; whoever the list left out is
        weighed at no less than the list's, as long as nothing new is known.

        Args:
            customer_id: who.
            at: the moment.
            rows: version of the rows of now.
        """
        if not self.prices.hold_at(at):
            return None
        own = self.own.get(customer_id, NOBODY)
        if self.spending is None:
            return self.prices.to(own)
        if own.place is not None:
            return self.spending.within(self.prices, at).to(own)
        is_decided = rows == self.prices.rows and self.spending.knows(customer_id)
        return self.spending.prices(self.prices, at, is_decided=is_decided).to(own if is_decided else NOBODY)

    def heed(self, ledger: Ledger, policy: Policy) -> None:
        """Take in what calls used since this was asked last."""
        if self.spending is not None:
            self.spending.heed(ledger, policy)


def save(workspace: Workspace, prices: Prices, folder: Path, plan: Plan | None = None) -> None:
    """Replace the prices of a workspace by those of the list that lies in a folder."""
    kept = msgspec.to_builtins(_Kept(prices, str(folder.relative_to(workspace.lists)), plan))
    write_json(workspace.lists / FILE, kept)


def load(workspace: Workspace, at: datetime) -> Tariff | None:
    """The prices that hold at a moment; None where no list has made any, or their time is over.

    Raises:
        DataError: the file, or the list that it names, is broken.
    """
    path = workspace.lists / FILE
    if not path.is_file():
        return None
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=_Kept)
    except msgspec.DecodeError as error:
        raise DataError(f"{FILE} of the workspace {workspace.root} is broken ({error}); make a list with `retain list retention` again") from error
    if not kept.prices.hold_at(at):
        return None
    folder = workspace.lists / kept.folder
    return Tariff(kept.prices, _own(folder), None if kept.plan is None else opened(folder, kept.prices, kept.plan))


def _own(folder: Path) -> dict[str, Own]:
    import pyarrow.parquet as pq

    if not (folder / MANIFEST).is_file():
        # Erased, or removed by hand: prices go on without it.
        return {}
    try:
        verify_folder(folder)
    except IntegrityError as error:
        raise DataError(f"the list behind {FILE} is broken ({error}); make another with `retain list retention --campaign NAME`") from error
    apart = pq.read_table(folder / APART).to_pylist()
    arms = pq.read_table(folder / ARMS, columns=["customer_id", "is_contacted", "offer_id", "channel"]).to_pylist()
    return {
        **{str(row["customer_id"]): Own(more=float(row["more"])) for row in apart},
        **{str(row["customer_id"]): Own((str(row["offer_id"]), str(row["channel"]))) for row in arms if row["is_contacted"]},
    }
