"""Which features each task uses, as ``view:column``."""

from __future__ import annotations

from collections.abc import Iterable

from features import catalog
from retain.errors import ConfigError

TASKS = ("churn", "clv", "uplift")
"""Tasks that read customers' features; recommendation reads interactions."""


def refs(task: str) -> list[str]:
    """Features of a task, in the order of its frames.

    Raises:
        ConfigError: the task has no feature service.
    """
    if task not in TASKS:
        raise ConfigError(f"task {task!r} has no feature service; those with one are {', '.join(TASKS)}", field="task")
    return [f"{view.name}:{name}" for view in catalog.customer_views() for name in view.names]


def categorical(refs: Iterable[str]) -> list[str]:
    """Those of ``refs`` whose values are words, not numbers.

    Raises:
        ConfigError: a reference names no feature.
    """
    dtypes = {f"{view.name}:{feature.name}": feature.dtype for view in catalog.views() for feature in view.columns}
    chosen = list(refs)
    for ref in chosen:
        if ref not in dtypes:
            raise ConfigError(f"{ref!r} is no feature; `retain features list` shows them", field="refs")
    return [ref for ref in chosen if dtypes[ref] == "String"]
