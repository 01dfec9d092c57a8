"""What a service says of itself: one JSON object a line, with its time, so that a machine can read it and nobody can forge a line."""

from __future__ import annotations

import json
import logging
import sys
import threading
import traceback
from datetime import UTC, datetime

_LOG = logging.getLogger("retain.serving")


class Lines(logging.Formatter):
    """A record as one line. Of an error its kind and the places are said, never its words: they may hold what somebody sent."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        said: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            said["error"] = record.exc_info[0].__name__
            said["places"] = [f"{frame.name}:{frame.lineno}" for frame in reversed(traceback.extract_tb(record.exc_info[2])[-5:])]
        return json.dumps(said)


def in_lines(name: str | None = None) -> None:
    """Let what a logger and those below it say go to standard error, a line each; by default all of them."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines())
    logger = logging.getLogger(name)
    logger.handlers = [handler]
    logger.propagate = False
    threading.excepthook = _ended


def _ended(args: threading.ExceptHookArgs) -> None:
    """A thread that ends by an error is told as everything else is, without the error's words."""
    if args.exc_type is SystemExit:
        return
    error = args.exc_value or args.exc_type()
    name = "unknown" if args.thread is None else args.thread.name
    _LOG.critical("the thread %s ended by an error", name, exc_info=(args.exc_type, error, args.exc_traceback))
