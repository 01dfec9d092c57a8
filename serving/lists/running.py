"""Campaigns that run: who is held out of which offers. One definition, read by lists and by calls.

Who is in which group is drawn when the first list of a campaign is made, and kept beside it for everybody who may be on it. While the campaign runs,
which is until its effects are counted, another list of its name leaves everybody in their group, and whoever is held out is proposed none of its
offers: by no call, whoever turned to whom, and by no other list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from retain.errors import IntegrityError, RetainError
from retain.files import MANIFEST, read_json, verify_folder
from retain.workspace import Workspace

FOLDER = "campaigns"
LIST, ARMS, BASE, APART = "list.json", "arms.parquet", "base.parquet", "apart.parquet"
"""What a list leaves in its campaign's folder: what is said of it; who was chosen; everybody, by whether they might have been and their group;
exceptions."""


@dataclass(frozen=True)
class Run:
    """One list of a campaign."""

    folder: Path
    campaign: str
    began: datetime
    until: datetime
    """The effects of its contacts are counted until then."""
    offers: frozenset[str]
    held: frozenset[str]
    """Customers who are held out."""

    def runs(self, at: datetime) -> bool:
        """Whether it does at a moment."""
        return self.began <= at < self.until

    def arms(self) -> dict[str, tuple[bool, float]]:
        """By customer who was drawn: whether held out, and the chance of not being so."""
        names, chances, held = _base(self.folder, ("customer_id", "chance", "is_held_out"))
        drawn = zip(names, chances, held, strict=True)
        return {str(customer): (bool(is_held), float(chance)) for customer, chance, is_held in drawn if chance is not None}


@dataclass(frozen=True)
class Campaigns:
    """Those of a workspace that had not ended when it was read."""

    all: tuple[Run, ...] = ()
    """The earliest list first."""
    broken: tuple[str, ...] = ()
    """Those of which nobody knows who is held out, because their files were changed."""

    def held_out(self, customer_id: str, at: datetime, but: str | None = None) -> Mapping[str, str]:
        """By offer: the campaign that holds a customer out of it at a moment. ``but`` is a campaign that is not asked."""
        found: dict[str, str] = {}
        for run in self.all:
            if run.campaign != but and run.runs(at) and customer_id in run.held:
                found.update((offer, run.campaign) for offer in run.offers if offer not in found)
        return found

    def drawn(self, campaign: str, at: datetime) -> dict[str, tuple[bool, float]]:
        """Who stands in a group of a campaign already, as the first list drew them: whether held out, and the chance of not being so.

        Raises:
            IntegrityError: files of the campaign were changed.
        """
        if campaign in self.broken:
            raise IntegrityError(
                f"files of campaign {campaign} were changed, so nobody knows whom it holds out: "
                f"restore lists/{FOLDER}/{campaign} from a backup, or choose another name"
            )
        found: dict[str, tuple[bool, float]] = {}
        for run in self.all:
            if run.campaign == campaign and run.runs(at):
                found = {**run.arms(), **found}
        return found


def load(workspace: Workspace, at: datetime) -> Campaigns:
    """The campaigns of a workspace that run at a moment."""
    runs: list[Run] = []
    broken: set[str] = set()
    for folder in sorted(manifest.parent for manifest in (workspace.lists / FOLDER).glob(f"*/*/{MANIFEST}")):
        if folder.name.startswith("."):
            continue
        try:
            run = _run(folder)
        except RetainError:
            broken.add(folder.parent.name)
            continue
        if run is not None and at < run.until:
            runs.append(run)
    return Campaigns(tuple(sorted(runs, key=lambda run: (run.began, run.folder.name))), tuple(sorted(broken)))


def _run(folder: Path) -> Run | None:
    """A list of a campaign, verified; None of a release that did not write down who was held out."""
    verify_folder(folder)
    said = read_json(folder / LIST)
    if "runs_until" not in said:
        return None
    began, until = (datetime.fromisoformat(said[name]) for name in ("as_of", "runs_until"))
    (held,) = _base(folder, ("customer_id",), [("is_held_out", "=", 1)])
    return Run(folder, str(said["campaign"]), began, until, frozenset(said["offers"]), frozenset(map(str, held)))


def _base(folder: Path, columns: Sequence[str], filters: list[tuple[str, str, int]] | None = None) -> list[list[Any]]:
    import pyarrow.parquet as pq

    table = pq.read_table(folder / BASE, columns=list(columns), filters=filters)
    return [column.to_pylist() for column in table.columns]
