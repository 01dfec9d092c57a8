"""The prices of money and seats on disk: written whole by the last list, read by whoever decides a call."""

from __future__ import annotations

from datetime import datetime

import msgspec

from retain.errors import DataError
from retain.files import write_json
from retain.workspace import Workspace
from serving.decisions.budget import Prices

FILE = "prices.json"


def save(workspace: Workspace, prices: Prices) -> None:
    """Replace the prices of a workspace."""
    write_json(workspace.lists / FILE, msgspec.to_builtins(prices))


def load(workspace: Workspace, at: datetime) -> Prices | None:
    """The prices that hold at a moment; None where no list has made any, or their time is over.

    Raises:
        DataError: the file is broken.
    """
    path = workspace.lists / FILE
    if not path.is_file():
        return None
    try:
        prices = msgspec.json.decode(path.read_bytes(), type=Prices)
    except msgspec.DecodeError as error:
        raise DataError(f"{FILE} of the workspace {workspace.root} is broken ({error}); make a list with `retain list retention` again") from error
    return prices if prices.hold_at(at) else None
