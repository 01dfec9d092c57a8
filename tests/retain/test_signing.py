"""Signatures of models and rows: what is unsigned is reported, and refused once a key is set."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from retain import signing
from retain.cli import main
from retain.errors import ConfigError, IntegrityError
from retain.files import MANIFEST, atomic_folder, read_json, verify_folder, write_json, write_text
from retain.settings import Settings
from retain.workspace import State, Workspace

SECRET, PUBLIC = signing.pair(bytes(range(32)))
OTHER, OTHER_PUBLIC = signing.pair(bytes(32))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with atomic_folder(tmp_path / "model", signing.signature) as partial:
        write_text(partial / "card.json", "{}")
    return tmp_path / "model"


@pytest.fixture
def signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RETAIN_SIGNING_KEY", SECRET)
    with atomic_folder(tmp_path / "signed", signing.signature) as partial:
        write_text(partial / "card.json", "{}")
    monkeypatch.delenv("RETAIN_SIGNING_KEY")
    return tmp_path / "signed"


def test_without_a_key_unsigned_is_reported_and_nothing_refused(folder: Path, signed: Path) -> None:
    assert signing.checked(folder) == "unsigned"
    assert signing.checked(signed) == "unchecked"
    assert not signing.is_demanded()
    assert "signature" not in read_json(folder / MANIFEST)


def test_with_a_key_only_what_it_signed_is_opened(folder: Path, signed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETAIN_VERIFY_KEY", PUBLIC)
    assert signing.checked(signed) == "signed"
    assert signing.counted([folder, signed]) == {"refused": 1, "signed": 1}
    with pytest.raises(IntegrityError, match="unsigned"):
        signing.checked(folder)
    monkeypatch.setenv("RETAIN_VERIFY_KEY", OTHER_PUBLIC)
    with pytest.raises(IntegrityError, match="not signed by the key"):
        signing.checked(signed)
    monkeypatch.delenv("RETAIN_VERIFY_KEY")
    monkeypatch.setenv("RETAIN_SIGNING_KEY", SECRET)
    assert signing.checked(signed) == "signed", "who signs can check"


def test_a_forger_with_right_hashes_is_refused(signed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETAIN_VERIFY_KEY", PUBLIC)
    mark = read_json(signed / MANIFEST)["signature"]
    with atomic_folder(signed) as partial:
        write_text(partial / "card.json", '{"evil": true}')
    manifest = read_json(signed / MANIFEST)
    for forged in (mark, "", "zz", None, 7, mark[:-2], [mark]):
        write_json(signed / MANIFEST, {**manifest, "signature": forged})
        verify_folder(signed)
        with pytest.raises(IntegrityError):
            signing.checked(signed)


@pytest.mark.parametrize("wrong", ["x", "00" * 31, "0g" * 32])
def test_a_key_that_is_none_is_said(folder: Path, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETAIN_VERIFY_KEY", wrong)
    with pytest.raises(ConfigError, match="retain keys pair"):
        signing.checked(folder)
    monkeypatch.setenv("RETAIN_SIGNING_KEY", wrong)
    with pytest.raises(ConfigError, match="RETAIN_SIGNING_KEY"):
        signing.signature({})


def test_status_says_what_is_signed(folder: Path, signed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = Workspace.at(folder.parent / "w")
    workspace.write_state(State(source="x"))
    for made in (folder, signed):
        shutil.copytree(made, workspace.rows / made.name)
        shutil.copytree(made, workspace.models / "churn" / made.name)
    assert main(["status", "--workspace", str(workspace.root)]) == 0
    assert "1 unchecked, 1 unsigned (no key is set)" in capsys.readouterr().out
    monkeypatch.setenv("RETAIN_VERIFY_KEY", PUBLIC)
    assert main(["status", "--json", "--workspace", str(workspace.root)]) == 0
    counts = {"refused": 1, "signed": 1}
    assert json.loads(capsys.readouterr().out)["signatures"] == {"models": counts, "rows": counts}


def test_the_secret_stands_in_no_text() -> None:
    settings = Settings.read({"RETAIN_SIGNING_KEY": SECRET})
    assert SECRET not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
