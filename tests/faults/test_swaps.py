"""A hundred swaps under load, in a process of its own: no error, no mixture, no memory that stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.serving.swaps import trial
from retain.workspace import Workspace


@pytest.mark.slow
@pytest.mark.fault("C17")
@pytest.mark.parametrize("runner", ["uvicorn", "bentoml"])
def test_a_hundred_swaps_at_two_hundred_requests_a_second(served: Workspace, tmp_path: Path, runner: str, happened: Callable[[str], None]) -> None:
    found = trial(served, tmp_path, runner, swaps=100, rate=200.0, every_s=0.6)
    happened(
        f"{found['swaps']} swaps, {found['answers']} answers, {found['errors']} errors, {found['mixed']} mixed, MB before and after {found['mb']}"
    )
    assert (found["errors"], found["mixed"], found["receipts_wrong"]) == ({}, 0, 0)
    assert found["receipts_checked"] > 1000
    assert found["changes_seen"] >= 50, "swaps took place while answers were given"
    before, after, _ = found["mb"]
    assert after <= before * 1.05
