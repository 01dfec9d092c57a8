"""Several processes that answer on one address: who dies is replaced, who dies at once again and again ends the service.

The socket belongs to the parent, so callers who come while a process is replaced wait in the kernel's line and are refused nothing. The
parent does nothing else: it holds no customer, no thread and no lock that a child could inherit halfway.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

_LOG = logging.getLogger("retain.serving")
QUICK_S = 5.0
"""Who ends sooner after it began did not come to work."""
MOST_QUICK = 5
"""So many such ends in a row, and it is no accident."""
GRACE_S = 30.0
"""Who was told to stop and did not is killed then."""
LOOK_S = 0.05


@dataclass
class _Worker:
    pid: int
    began: float


def bound(host: str, port: int) -> socket.socket:
    """A socket on the address, which children inherit.

    Raises:
        OSError: the address is taken, or is none of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((host, port))
    made.set_inheritable(True)
    return made


def _untold(_: int) -> None:
    """Nobody keeps anything of a process."""


def supervise(work: Callable[[], None], count: int, ended: Callable[[int], None] = _untold) -> int:
    """Keep ``count`` processes at ``work`` until told to stop; return the exit code. Call it from the main thread, before any other begins.

    Args:
        work: what a process does until it gets SIGTERM.
        count: how many.
        ended: told the id of a process that ended.
    """
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    gone, alive = os.pipe()
    workers = [_began(work, gone, alive) for _ in range(count)]
    quick = 0
    while not told.is_set():
        gone_now = _ended(workers)
        for worker, why in gone_now:
            workers.remove(worker)
            ended(worker.pid)
            is_quick = time.monotonic() - worker.began < QUICK_S
            quick = quick + 1 if is_quick else 0
            _LOG.warning("a worker ended (%s); %s", why, "another begins" if quick < MOST_QUICK else "none stays, so the service ends")
        if quick >= MOST_QUICK:
            break
        for _ in gone_now:
            told.wait(0.2 * 2**quick if quick else 0)
            if not told.is_set():
                workers.append(_began(work, gone, alive))
        told.wait(LOOK_S)
    _stop(workers)
    os.close(alive)
    os.close(gone)
    return 0 if told.is_set() else 1


def _began(work: Callable[[], None], gone: int, alive: int) -> _Worker:
    pid = os.fork()
    if pid:
        return _Worker(pid, time.monotonic())
    code = 1
    try:
        os.close(alive)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.default_int_handler)
        threading.Thread(target=_follow, args=(gone,), name="parent", daemon=True).start()
        work()
        code = 0
    except KeyboardInterrupt:
        code = 0
    except BaseException:
        _LOG.exception("a worker cannot go on")
    finally:
        os._exit(code)


def _follow(gone: int) -> None:
    """Whoever has no parent any more stops: nobody would replace or end it."""
    os.read(gone, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def _ended(workers: list[_Worker]) -> list[tuple[_Worker, str]]:
    found = []
    for worker in workers:
        pid, status = os.waitpid(worker.pid, os.WNOHANG)
        if pid:
            code = os.waitstatus_to_exitcode(status)
            found.append((worker, f"signal {-code}" if code < 0 else f"exit code {code}"))
    return found


def _stop(workers: list[_Worker]) -> None:
    end = time.monotonic() + GRACE_S
    left = list(workers)
    for worker in left:
        os.kill(worker.pid, signal.SIGTERM)
    while left and time.monotonic() < end:
        for worker, _ in _ended(left):
            left.remove(worker)
        time.sleep(LOOK_S)
    for worker in left:
        os.kill(worker.pid, signal.SIGKILL)
        os.waitpid(worker.pid, 0)
