"""Every error that is raised on purpose, and the exit code each gives a command.

RetainError            something went wrong that we foresaw            exit 1
├── ConfigError        a file, option or argument says what cannot be  exit 2
├── DataError          input data break the contract of the tables     exit 3
├── NotReadyError      another command has to run first                exit 4
├── RefusedError       a guard said no; nothing was changed            exit 5
├── LockedError        somebody else is at work in this workspace      exit 6
└── IntegrityError     a file is not what its manifest says            exit 7

A message names the place, the value and the remedy, and it is one clear sentence. An interrupted command exits with 130.
"""

from __future__ import annotations

from typing import ClassVar


class RetainError(Exception):
    """The root of the tree; catch it to catch all that we raise on purpose."""

    exit_code: ClassVar[int] = 1
    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, field: str | None = None, row: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        """The column, option or request field that is meant, where there is one."""
        self.row = row
        """Zero-based row of the input, where there is one."""


class ConfigError(RetainError):
    """A file, option or argument says what cannot be."""

    exit_code = 2
    code = "config"


class DataError(RetainError):
    """Input data break the contract of the tables."""

    exit_code = 3
    code = "data"


class NotReadyError(RetainError):
    """Another command has to run first; the message names it."""

    exit_code = 4
    code = "not_ready"


class RefusedError(RetainError):
    """A guard said no; nothing was changed."""

    exit_code = 5
    code = "refused"


class LockedError(RetainError):
    """Somebody else is at work in this workspace."""

    exit_code = 6
    code = "locked"


class IntegrityError(RetainError):
    """A file is not what its manifest says."""

    exit_code = 7
    code = "integrity"
