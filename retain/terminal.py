"""How commands speak: to people by default, to programs with --json; progress on stderr; one sentence for what went wrong."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from retain.errors import ConfigError, RetainError
from retain.settings import Settings
from retain.workspace import Workspace

Item = TypeVar("Item")
CLOSED = 0o027
"""What a command writes holds customers: its group may read it, others may not."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; `{self.prog} --help` explains the options")


def parser(command: str, description: str) -> argparse.ArgumentParser:
    """A parser for one command, with --workspace and --json, that raises ConfigError instead of exiting."""
    result = _Parser(prog=f"retain {command}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--workspace", type=Path, default=None, metavar="DIR", help="where run-time state lies (default: var, or RETAIN_WORKSPACE)")
    result.add_argument("--json", action="store_true", help="one JSON object on standard output instead of words")
    return result


def workspace(arguments: argparse.Namespace) -> Workspace:
    """The workspace that the options or the environment name."""
    chosen: Path | None = arguments.workspace
    return Workspace.at(chosen if chosen is not None else Settings.read().workspace)


def say(text: str = "") -> None:
    """A line for people on standard output."""
    sys.stdout.write(text + "\n")


def say_json(value: Any) -> None:
    """One JSON object on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, allow_nan=False, default=str) + "\n")


def note(text: str) -> None:
    """A line about the work itself, on standard error."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def progress(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """Pass ``items`` through and show how many of ``total`` are done and the time left, on a terminal only."""
    live = sys.stderr.isatty()
    start = last = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if live and (now - last > 0.2 or done == 0):
            left = (now - start) / done * (total - done) if done else 0.0
            sys.stderr.write(f"\r{what}: {done}/{total}" + (f", about {left:.0f} s left" if done else "") + "\x1b[K")
            sys.stderr.flush()
            last = now
        yield item
    if live:
        sys.stderr.write(f"\r{what}: {total}/{total} in {time.monotonic() - start:.1f} s\x1b[K\n")
        sys.stderr.flush()


def table(rows: Sequence[Sequence[str]], header: Sequence[str], left: Container[int] = (0,)) -> str:
    """Columns aligned for a terminal: those of words (``left``; the first) to the left, the others to the right."""
    everything = [list(header), *[list(row) for row in rows]]
    widths = [max(len(row[i]) for row in everything) for i in range(len(header))]
    lines = [
        "  ".join(cell.ljust(w) if i in left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))).rstrip()
        for row in everything
    ]
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])


def _hung_up(_number: int, _frame: object) -> None:
    """The terminal is gone: a polite stop like any other, whoever takes those by now."""
    signal.raise_signal(signal.SIGTERM)


def run(name: str, load: Callable[[], Callable[[Sequence[str]], int]], arguments: Sequence[str]) -> int:
    """Load and run one command; turn what it raises into one sentence and an exit code."""
    wants_json = "--json" in arguments
    if threading.current_thread() is threading.main_thread():
        # A polite stop is an interrupt: whatever is half-done is undone on the way out. The service puts its own handler in this place.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
            # Whoever asked for that to be ignored (nohup) is heard.
            signal.signal(signal.SIGHUP, _hung_up)
    mask = os.umask(CLOSED)
    # Whoever closes more than we do keeps it closed.
    os.umask(mask | CLOSED)
    try:
        return load()(arguments)
    except RetainError as error:
        if wants_json:
            say_json({"error": {"code": error.code, "message": error.message, "field": error.field, "row": error.row}})
        note(f"retain {name}: {error.message}")
        return error.exit_code
    except KeyboardInterrupt:
        note(f"retain {name}: interrupted; nothing was left half-written")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        note(f"retain {name}: {error.strerror or error} ({error.filename or 'no file named'}); what stood before is unchanged")
        return 1
    except Exception:
        note(f"retain {name}: an error that we did not foresee; please report it with the lines below")
        traceback.print_exc()
        return 1
    finally:
        os.umask(mask)
