"""Which group a customer is in: fixed by a hash of the id, so that it is the same for every call, channel and list. Pure.

The no-contact control group counts what all contacts together are worth; the random group is shown lawful proposals by chance, which is what
other policies are judged by. Both are declared in ``configs/decisions.yaml``. A group grows and shrinks at its edge when its share is
changed: nobody else moves.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Arm = Literal["policy", "random", "control"]


class Groups(BaseModel):
    """The groups of a house; there are none until they are declared."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    salt: str = ""
    """Another salt draws other groups: change it only when a new experiment begins."""
    control: float = Field(default=0.0, ge=0, le=0.5)
    """Share of customers whom we contact with no proposal; who turns to us is answered by the rules of business alone."""
    random: float = Field(default=0.0, ge=0, le=0.5)
    """Share of customers who are shown lawful proposals by chance."""

    @model_validator(mode="after")
    def _salted(self) -> Groups:
        if self.control + self.random > 0 and not self.salt:
            raise ValueError("groups need a salt, any word of your own: without one anybody could tell who is in which group")
        return self


def arm(customer_id: str, groups: Groups) -> Arm:
    """The group of a customer."""
    if not groups.control and not groups.random:
        return "policy"
    place = position(customer_id, groups.salt)
    if place < groups.control:
        return "control"
    return "random" if place >= 1.0 - groups.random else "policy"


def instead(customer_id: str, groups: Groups) -> Arm:
    """The group in which a customer of the control group would be, were there no such group: drawn with the shares that the others have."""
    return "random" if position(customer_id, f"{groups.salt}\ninstead") >= 1.0 - groups.random / (1.0 - groups.control) else "policy"


@lru_cache(maxsize=65_536)
def position(customer_id: str, salt: str) -> float:
    """Where a customer stands between 0 and 1; evenly spread over customers."""
    digest = hashlib.sha256(f"groups\n{salt}\n{customer_id}".encode("utf-8", "surrogatepass")).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / (1 << 53)


__all__ = ["Arm", "Groups", "arm", "instead", "position"]
