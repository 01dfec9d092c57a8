"""The promotion ledger is the truth; pointers follow it, crashes and edits do not go unseen."""

from __future__ import annotations

import json

import pytest

from retain.errors import IntegrityError, RefusedError
from retain.workspace import Workspace
from training import promotions
from training.gate import Verdict
from training.package import champion, previous

YES = Verdict(True, ("won",), ("a warning",), ("psi",))


def _promote(workspace: Workspace, *names: str, task: str = "churn") -> None:
    for name in names:
        promotions.promote(workspace, task, name, YES, workspace.now())


@pytest.mark.fault("B22")
def test_the_pointer_follows_promotions_and_rollbacks(workspace: Workspace) -> None:
    _promote(workspace, "churn-a", "churn-b", "churn-c")
    promotions.rollback(workspace, "churn", workspace.now(), "complaints")
    at, before = champion(workspace, "churn"), previous(workspace, "churn")
    assert at is not None
    assert before is not None
    assert (at.name, before.name) == ("churn-b", "churn-a")
    promotions.rollback(workspace, "churn", workspace.now())
    with pytest.raises(RefusedError, match="no champion before"):
        promotions.rollback(workspace, "churn", workspace.now())
    ledger = promotions.entries(workspace)
    assert [entry.action for entry in ledger] == ["promote"] * 3 + ["rollback"] * 2
    assert ledger[3].reasons == ("complaints",)
    assert ledger[2].overridden == ("psi",)
    assert {entry.moment for entry in ledger} == {workspace.now()}, "the workspace's clock, not the wall's"


def test_tasks_do_not_disturb_each_other(workspace: Workspace) -> None:
    _promote(workspace, "churn-a", "churn-b")
    _promote(workspace, "clv-a", task="clv")
    with pytest.raises(RefusedError):
        promotions.rollback(workspace, "clv", workspace.now())
    assert promotions.reigns(promotions.entries(workspace), "churn") == ["churn-a", "churn-b"]


@pytest.mark.fault("B18")
def test_what_the_gate_refused_is_not_written(workspace: Workspace) -> None:
    with pytest.raises(RefusedError, match="too weak"):
        promotions.promote(workspace, "churn", "churn-a", Verdict(False, ("too weak",)), workspace.now())
    assert promotions.entries(workspace) == []
    assert champion(workspace, "churn") is None


def test_a_lost_or_lagging_pointer_is_healed_from_the_ledger(workspace: Workspace) -> None:
    _promote(workspace, "churn-a", "churn-b")
    pointer = workspace.models / "churn" / "champion.json"
    pointer.write_text(json.dumps({"model_id": "churn-a", "previous": None}))
    promotions.follow(workspace)
    assert json.loads(pointer.read_text()) == {"model_id": "churn-b", "previous": "churn-a"}
    pointer.unlink()
    promotions.follow(workspace)
    assert champion(workspace, "churn") == workspace.models / "churn" / "churn-b"


def test_a_line_cut_short_by_a_crash_was_never_promised(workspace: Workspace) -> None:
    _promote(workspace, "churn-a", "churn-b")
    text = workspace.promotions.read_text()
    for cut in range(len(text.splitlines()[0]) + 1, len(text)):
        workspace.promotions.write_text(text[:cut])
        assert [entry.model_id for entry in promotions.entries(workspace)] == ["churn-a"]
    _promote(workspace, "churn-c")
    assert [entry.model_id for entry in promotions.entries(workspace)] == ["churn-a", "churn-c"]


@pytest.mark.parametrize("change", ["edit", "remove", "swap"])
def test_a_changed_ledger_is_refused_and_the_line_is_named(workspace: Workspace, change: str) -> None:
    _promote(workspace, "churn-a", "churn-b", "churn-c")
    lines = workspace.promotions.read_text().splitlines(keepends=True)
    if change == "edit":
        lines[1] = lines[1].replace("churn-b", "churn-x")
    elif change == "remove":
        del lines[1]
    else:
        lines[1], lines[2] = lines[2], lines[1]
    workspace.promotions.write_text("".join(lines))
    with pytest.raises(IntegrityError, match="line 2"):
        promotions.entries(workspace)
