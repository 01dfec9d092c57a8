"""The dispatcher is quick, honest about what it does not know, and turns errors into one sentence and a code."""

import importlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from retain.cli import COMMANDS, main
from retain.errors import RefusedError
from retain.files import write_json
from retain.terminal import parser, run, table


def test_help_loads_no_heavy_library() -> None:
    code = "import sys\nfrom retain.cli import main\nmain(['--help'])\n"
    code += "heavy = {'feast', 'mlflow', 'bentoml', 'sklearn', 'pandas', 'duckdb', 'lightgbm', 'matplotlib'} & set(sys.modules)\n"
    code += "sys.exit(str(heavy) if heavy else 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "backtest" in done.stdout


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_exists_and_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    module, _, function = COMMANDS[name][0].partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert all(words in said for words in ("--workspace", "--json", "exit codes: 0 "))


def test_an_unknown_command_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    assert "trian" in capsys.readouterr().err


def test_a_wrong_option_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("x", lambda: lambda argv: parser("x", "words").parse_args(argv) and 0, ["--nope"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_errors_become_codes(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(_: object) -> int:
        raise RefusedError("the gate said no; try again with more data", field="model")

    assert run("promote", lambda: refuse, ["--json"]) == 5
    out, err = capsys.readouterr()
    assert '"code": "refused"' in out
    assert err == "retain promote: the gate said no; try again with more data\n"


def test_an_interrupt_is_code_130() -> None:
    def interrupt(_: object) -> int:
        raise KeyboardInterrupt

    assert run("train", lambda: interrupt, []) == 130


def test_tables_are_aligned() -> None:
    assert table([["a", "1"], ["long", "22"]], ["name", "n"]).splitlines() == ["name   n", "----  --", "a      1", "long  22"]


def test_a_polite_stop_is_an_interrupt() -> None:
    code = "import os, signal\nfrom retain.terminal import run\n"
    code += "def stop(_):\n    os.kill(os.getpid(), signal.SIGTERM)\n    signal.pause()\n"
    code += "raise SystemExit(run('train', lambda: stop, []))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 130
    assert "nothing was left half-written" in done.stderr


@pytest.mark.parametrize(("mask", "modes"), [(0o022, (0o640, 0o750)), (0o077, (0o600, 0o700))])
def test_what_a_command_writes_is_closed_to_others(tmp_path: Path, mask: int, modes: tuple[int, int]) -> None:
    def write(_: Sequence[str]) -> int:
        write_json(tmp_path / "new" / "list.json", {})
        return 0

    before = os.umask(mask)
    try:
        assert run("x", lambda: write, []) == 0
        assert os.umask(mask) == mask, "who called it has its own again"
    finally:
        os.umask(before)
    assert tuple(path.stat().st_mode & 0o777 for path in (tmp_path / "new" / "list.json", tmp_path / "new")) == modes
