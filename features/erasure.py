"""Erased customers leave the snapshots and the online store; the other customers' features are those that they were."""

from __future__ import annotations

from typing import Any

from features import catalog, store
from retain.erasure import Tombstones, held, sweep_file
from retain.files import read_json, write_json
from retain.workspace import Workspace


def sweep(workspace: Workspace, buried: Tombstones, ids: list[str], before: str) -> dict[str, int]:
    """Remove erased customers; return rows removed by file and view.

    Args:
        workspace: its tables are swept already.
        buried: who was erased.
        ids: those of them whose ids are known, for the online store, which is asked by id.
        before: digest of the tables before the sweep. A view of customers says of each what that customer's rows say, so its snapshots
            of those tables are, without the erased, those of the tables now; views of products are built anew by the next build.
    """
    # The online store first: whoever is interrupted finds the ids that it is asked for in the snapshots.
    online = store.forget(workspace, ids)
    removed: dict[str, int] = {}
    for path in sorted(workspace.snapshots.glob("*/[!.]*.parquet")):
        rows = sweep_file(path, buried)
        if rows:
            removed[f"snapshots/{path.parent.name}/{path.name}"] = rows
    now = workspace.state().digest
    for view in catalog.views():
        manifest = workspace.snapshots / f"{view.name}.json"
        if view.entity == "customer" and now != before and manifest.is_file() and (said := read_json(manifest)).get("tables") == before:
            write_json(manifest, {**said, "tables": now})
    return removed | {f"online/{name}": rows for name, rows in online.items()}


def newest(workspace: Workspace, customer_id: str) -> dict[str, Any]:
    """What the newest snapshot of each view says of a customer, and in how many snapshots it stands."""
    found: dict[str, Any] = {}
    for view in catalog.views():
        files = sorted((workspace.snapshots / view.name).glob("[!.]*.parquet"))
        said = {path: rows for path in files if view.entity == "customer" and (rows := held(path, customer_id))}
        if said:
            found[view.name] = {"snapshots": len(said), "newest": said[max(said)]}
    return found
