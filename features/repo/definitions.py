"""What `feast apply` registers when it is typed in this folder: the definitions of the default workspace of this checkout."""

from __future__ import annotations

from pathlib import Path

from features import store
from retain.settings import Settings
from retain.workspace import Workspace

_WORKSPACE = Workspace.at(Path(__file__).resolve().parents[2] / Settings.read().workspace)

# Feast collects the objects that stand at the top of a module, one name each.
globals().update({f"{type(each).__name__.lower()}_{each.name}": each for each in store.definitions(_WORKSPACE)})
