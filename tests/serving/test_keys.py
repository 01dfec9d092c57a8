"""API keys: shown once, kept as hashes, two of a name at a time, noticed by a running service within a second."""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from retain.cli import main
from retain.errors import ConfigError, IntegrityError, RefusedError
from retain.workspace import Workspace
from serving.keys import Key, Keyring, Scope, add, load, minted, revoke

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def made(seed: int, name: str = "crm", scopes: tuple[Scope, ...] = ("crm",), days: int = 30) -> tuple[Key, str]:
    return minted(hashlib.sha512(bytes([seed])).digest()[:38], name, scopes, NOW, days=days, per_minute=60)


class Clock:
    """A moment and a tick that tests move."""

    def __init__(self) -> None:
        self.now = NOW
        self.tick = 0.0


@pytest.fixture
def ring(tmp_path: Path) -> Callable[[], tuple[Keyring, Clock]]:
    def build() -> tuple[Keyring, Clock]:
        clock = Clock()
        return Keyring(tmp_path / "keys.json", lambda: clock.now, lambda: clock.tick), clock

    return build


def test_a_key_has_256_bits_and_only_its_hash_is_kept(tmp_path: Path) -> None:
    key, text = made(1)
    add(tmp_path / "keys.json", key, NOW)
    kept = (tmp_path / "keys.json").read_text()
    _, _, secret = text.split("_", 2)
    assert len(secret) == 43
    assert secret not in kept
    assert hashlib.sha256(secret.encode()).hexdigest() in kept
    assert stat.S_IMODE((tmp_path / "keys.json").stat().st_mode) == 0o600


@pytest.mark.fault("E1", "E6")
def test_a_key_opens_until_it_expires_or_is_revoked(tmp_path: Path, ring: Callable[[], tuple[Keyring, Clock]]) -> None:
    (first, text), (second, other) = made(1), made(2)
    for key in (first, second):
        add(tmp_path / "keys.json", key, NOW)
    keyring, clock = ring()
    assert keyring.find(text.encode()) == first
    assert keyring.find(other.encode()) == second, "two of a name hold at a time"
    revoke(tmp_path / "keys.json", second.key_id, NOW)
    assert keyring.find(other.encode()) == second, "looked at once a second"
    clock.tick = 1.0
    keyring.refresh()
    assert keyring.find(other.encode()) is None
    clock.now = NOW + 30 * DAY
    assert keyring.find(text.encode()) is None


@pytest.mark.fault("E1")
def test_what_is_not_the_key_opens_nothing(tmp_path: Path, ring: Callable[[], tuple[Keyring, Clock]]) -> None:
    (key, text), (_, other) = made(1), made(2)
    add(tmp_path / "keys.json", key, NOW)
    keyring, _ = ring()
    assert keyring.find(text.encode()) is not None
    swapped = "_".join(["retain", key.key_id, other.split("_", 2)[2]])
    for wrong in ("", "retain", other, swapped, text[:-1], text + "A", text.upper(), f" {text}", text.replace("retain_", "")):
        assert keyring.find(wrong.encode()) is None, wrong
    assert keyring.find(b"\xff" * 60) is None


@pytest.mark.parametrize("name", ["", "CRM", "crm prod", "-crm", "c" * 65, "crm\n"])
def test_a_name_that_cannot_be_is_told_with_what_can(name: str) -> None:
    with pytest.raises(ConfigError, match="for example crm-prod") as told:
        made(1, name=name)
    assert told.value.field == "name"


def test_a_third_key_of_a_name_is_refused_until_one_is_closed(tmp_path: Path) -> None:
    path, keys = tmp_path / "keys.json", [made(seed)[0] for seed in range(3)]
    add(path, keys[0], NOW)
    add(path, keys[1], NOW)
    with pytest.raises(RefusedError, match=keys[0].key_id):
        add(path, keys[2], NOW)
    revoke(path, keys[0].key_id, NOW)
    add(path, keys[2], NOW)
    assert [key.revoked_at for key in load(path)] == [NOW, None, None]
    with pytest.raises(ConfigError, match="retain keys list"):
        revoke(path, "nobody", NOW)


def test_once_closed_it_stays_closed_and_a_broken_file_lets_nobody_in(tmp_path: Path, ring: Callable[[], tuple[Keyring, Clock]]) -> None:
    path, (key, text) = tmp_path / "keys.json", made(1)
    keyring, clock = ring()
    assert not keyring.is_closed
    add(path, key, NOW)
    clock.tick = 1.0
    keyring.refresh()
    assert keyring.is_closed, "the first key closes a running service"
    whole = path.read_text()
    for number, broken in enumerate(("", "{", '{"keys": [{}]}', '{"keys": [1]}', whole.replace('"crm"]', '"root"]')), start=2):
        path.write_text(broken)
        clock.tick = float(number)
        keyring.refresh()
        assert keyring.broken is not None
        assert keyring.find(text.encode()) is None
    path.unlink()
    clock.tick = 10.0
    keyring.refresh()
    assert keyring.is_closed
    assert keyring.find(text.encode()) is None


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    add(path, made(1)[0], NOW)
    path.chmod(0o640)
    with pytest.raises(RefusedError, match="chmod 600"):
        load(path)
    path.chmod(0o600)
    path.write_text(json.dumps({"keys": [json.loads(made(1)[0].model_dump_json())] * 2}))
    with pytest.raises(IntegrityError, match="twice"):
        load(path)


def test_the_commands_make_list_and_revoke(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--workspace", str(tmp_path)]
    assert main(["keys", "create", "crm-prod", "--scope", "crm", "--scope", "marketer", *where]) == 0
    text = capsys.readouterr().out.strip()
    key = Keyring(Workspace.at(tmp_path).keys).find(text.encode())
    assert key is not None
    assert key.scopes == ("crm", "marketer")
    assert main(["keys", "list", "--json", *where]) == 0
    listed = capsys.readouterr().out
    assert [each["state"] for each in json.loads(listed)["keys"]] == ["holds"]
    assert text.split("_", 2)[2] not in listed
    assert main(["keys", "revoke", key.key_id, *where]) == 0
    assert main(["keys", "list", *where]) == 0
    assert "revoked" in capsys.readouterr().out


@pytest.mark.parametrize(
    "wrong", [["create", "x"], ["create", "--scope", "crm"], ["create", "X Y", "--scope", "crm"], ["list", "x"], ["revoke", "x"], ["revoke"]]
)
def test_wrong_options_of_keys_are_told(tmp_path: Path, wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", *wrong, "--workspace", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("retain keys: ")
    assert not (tmp_path / "keys.json").exists()
