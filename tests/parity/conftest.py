from __future__ import annotations
import pytest
from retain.workspace import Workspace


import os
if os.environ.get("H_DEV"):
    @pytest.fixture(scope="session")
    def served(tmp_path_factory):
        import shutil
        from pathlib import Path
        t = tmp_path_factory.mktemp("served"); shutil.copytree("/tmp/w/H/sim", t, dirs_exist_ok=True, ignore=shutil.ignore_patterns("ledger", "snapshots", "feast"))
        return Workspace.at(t)
