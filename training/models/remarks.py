"""What fitted models say of how they were learned, for the card: those inside other models too."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any


def remarks(fitted: Any) -> tuple[str, ...]:
    """Every ``remark`` of a model and of the models inside it, each once, in the order they stand."""
    if isinstance(fitted, tuple):
        found = [each for part in fitted for each in remarks(part)]
    elif is_dataclass(fitted) and type(fitted).__module__.startswith("training.models."):
        own = getattr(fitted, "remark", "")
        found = [str(own)] if own else []
        found += [each for field in fields(fitted) for each in remarks(getattr(fitted, field.name))]
    else:
        found = []
    return tuple(dict.fromkeys(found))
