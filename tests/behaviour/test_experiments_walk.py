"""The data scientist's walk in docs/experiments.md: each of its commands runs, in its order, with the exit code that it names."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from retain.cli import COMMANDS, main
from retain.workspace import Workspace
from training import promotions

# What MLflow and its libraries say of each other's deprecations is theirs to mend.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
PAGE = Path(__file__).resolve().parents[2] / "docs" / "experiments.md"
LINES = [line for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL) for line in block.splitlines()]


def test_the_walk_goes_from_train_to_promote() -> None:
    asked = [shlex.split(line, comments=True)[1] for line in LINES]
    assert asked[0] == "train"
    assert {"compare", "tune", "reproduce", "drift", "promote"} <= set(asked)
    assert set(asked) <= set(COMMANDS)


def test_every_command_of_the_walk_ends_as_it_says(
    filled: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(filled.root, tmp_path / "var")
    monkeypatch.chdir(tmp_path)
    said = ""
    for line in LINES:
        expected = int(found[1]) if (found := re.search(r"#\s*(\d)", line)) else 0
        _, *arguments = shlex.split(line, comments=True)
        assert main([*arguments, "--workspace", "var"]) == expected, f"{line}: {said[-2000:]} {capsys.readouterr()}"
        said += capsys.readouterr().out
    for words in ("no difference shown", "byte by byte", "nothing has moved", "gain over the settings that stood", "what it took"):
        assert words in said, words
    assert (tmp_path / "compare.html").read_text().startswith("<!doctype html>")
    actions = [entry.action for entry in promotions.entries(Workspace.at(tmp_path / "var"))]
    assert actions[-2:] == ["promote", "rollback"]
