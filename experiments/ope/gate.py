"""May the challenger be launched? Only where the lower end of what it gains over the champion lies above the margin. Pure.

Being launched by mistake is one error on one side, so the lower end is that of a one-sided interval of 95 %: a policy that is worse is launched with
a chance of less than 5 %.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from experiments.ope.overlap import Gap, missing
from experiments.ope.values import Values


class Rules(BaseModel):
    """When a policy is kept from launch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    margin: float = Field(default=0.0, ge=0)
    """Share of the champion's value that the lower end of the gain must exceed."""
    effective: float = Field(default=100.0, ge=2)
    """Customers that the weighted log must be worth: below, intervals promise more than they hold."""
    unreached: float = Field(default=0.01, ge=0, le=1)
    """Share of the challenger's decisions that the log may not reach."""


@dataclass(frozen=True)
class Verdict:
    """The decision and why."""

    is_allowed: bool
    reasons: tuple[str, ...]
    """Every reason against, or the one for."""


def decide(values: Values, found: tuple[Gap, ...] = (), rules: Rules | None = None) -> Verdict:
    """Judge by the controlled difference, less what cutting the weights may hide; the plain weighted one must not contradict it."""
    rules = rules or Rules()
    least = rules.margin * abs(values.champion.value)
    surest, snips = values.estimates["controlled"], values.estimates["snips"]
    lower = surest.least - abs(surest.clipping)
    against = []
    if not lower > least:
        above = "0" if not least else f"{least:.4g} ({rules.margin:.1%} of the champion)"
        against.append(f"the lower end of its gain per decision is {lower:.4g}, and must be above {above}")
    if snips.difference.high < 0:
        against.append(f"weighted rewards alone say that it loses ({snips.difference.low:.4g} to {snips.difference.high:.4g} per decision)")
    if values.effective < rules.effective:
        against.append(
            f"the log is worth {values.effective:.0f} customers of the challenger, {rules.effective:.0f} are needed; log longer or explore more"
        )
    if missing(found) > rules.unreached:
        against.append(f"the log does not reach {missing(found):.1%} of what it would do; let the champion explore that first")
    if against:
        return Verdict(False, tuple(against))
    return Verdict(True, (f"its gain per decision is at least {lower:.4g}, at the lower end of a one-sided 95 % interval",))
