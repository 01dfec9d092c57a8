"""What a whole run leaves behind: nothing that can run code, and no customer in models, in MLflow or in logs."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest

from retain.workspace import Workspace

CUSTOMER = re.compile(rb"C\d{8}")
KINDS = {".json", ".txt", ".npy", ".npz", ".parquet", ".csv", ".html", ".md", ".yaml", ".svg", ".png", ".db", ".jsonl", ".log", ".index", ""}
"""Text, tables, arrays read without pickle, SQLite, the ledger's log. Nothing that is loaded by running it."""
PICKLE = re.compile(rb"\x80[\x02-\x05](?:\x95|c|\}|\]|\()")


def artefacts(workspace: Workspace) -> list[Path]:
    return [path for folder in (workspace.models, workspace.rows, workspace.mlruns) for path in sorted(folder.rglob("*")) if path.is_file()]


@pytest.mark.fault("B14")
def test_no_artefact_can_run_code(served: Workspace) -> None:
    found = artefacts(served)
    assert len(found) > 20
    assert {path.suffix for path in found} <= KINDS
    for path in found:
        assert not PICKLE.match(path.read_bytes()[:16]), path.name
        if path.suffix in (".npy", ".npz"):
            loaded = np.load(path, allow_pickle=False)
            arrays = loaded.values() if path.suffix == ".npz" else [loaded]
            assert all(array.dtype != object for array in arrays), path.name


def test_no_customer_is_named_outside_of_the_places_that_an_erasure_sweeps(served: Workspace) -> None:
    theirs = {"tables", "truth", "snapshots", "feast", "rows", "quarantine", "ledger", "lists"}
    others = [path for path in sorted(served.root.rglob("*")) if path.is_file() and path.relative_to(served.root).parts[0] not in theirs]
    assert {"models", "mlruns"} <= {path.relative_to(served.root).parts[0] for path in others}
    for path in others:
        assert not CUSTOMER.search(path.read_bytes()), path.relative_to(served.root)


@pytest.mark.fault("C35", "E12")
def test_no_customer_is_named_in_logs_whatever_happens(
    call: Callable[..., httpx.Response], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    who = "C00000001\x1b[31m"
    asked = {"customer_id": "C00000001", "placement": "inbound_end"}
    call("POST", "/v1/decisions", asked)
    call("POST", "/v1/decisions", {**asked, "customer_id": who})
    call("POST", "/v1/scores", {"customer_ids": ["C00000001", "C00000002"]})
    call("GET", "/v1/decisions/C00000001")
    call("GET", "/v1/C00000001")
    call("POST", "/v1/decisions", asked, {"host": "C00000001", "authorization": "Bearer retain_C00000001"})

    def breaks(*_: object, **__: object) -> None:
        raise RuntimeError("C00000001")

    monkeypatch.setattr("serving.answers.Answers.score", breaks)
    assert call("POST", "/v1/scores", {"customer_ids": ["C00000001"]}).status_code == 500
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith(("httpx", "httpcore", "asyncio"))]
    assert any("unforeseen RuntimeError" in message for message in ours)
    assert not CUSTOMER.search("\n".join(ours).encode())
