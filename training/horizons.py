"""From the window that history allowed to the horizon that was asked: how predictions are lengthened, and on what assumption.

Returns slow down as a window gets longer, because some customers have left. Chances of no purchase follow a purchase process where the
features hold what it needs. Else, and for money, we let them grow as log(1 + days / b): a straight line
for a large ``b``, flat for a small one. For chances of no purchase this is the gamma-Poisson curve with the customer's own rate kept:
P0(H) = P0(h) ** (g(H) / g(h)); for money, value(H) = value(h) * g(H) / g(h). ``b`` is read off how much of the window's returns, or
of its money, had come by half of it. Seasons are not in it.
"""

from __future__ import annotations

import numpy as np

from retain import engine
from retain.errors import RefusedError
from retain.workspace import Workspace
from training.contracts import Fitted, Floats, Frame, Lasting, score
from training.frames import Asked
from training.models.stretched import FittedStretched, Kind
from training.splits import Split
from training.tasks.churn import Churn

_STRAIGHT = 0.5005
"""A share at half the window that is this close to one half is a straight line."""
_FLATTEST = 0.98
_CHANCE = 1e-6


def lengthen(workspace: Workspace, task: Asked, kind: Kind, fitted: Fitted, final: Frame, split: Split) -> Fitted:
    """``fitted`` as it is, or answering for the asked horizon where ``split`` is scaled: by itself if it can, else wrapped.

    Args:
        workspace: Where the tables lie.
        task: Whose outcome.
        kind: ``chance`` of no purchase, or ``amount`` of money.
        fitted: A model of ``split.horizon_days``.
        final: The frame it learned from.
        split: What was asked and what history allowed.
    """
    if not split.is_scaled:
        return fitted
    if isinstance(fitted, Lasting):
        return fitted.over(split.asked_days)
    is_contractual = isinstance(task, Churn) and task.is_contractual(workspace.state())
    if kind == "chance" and not is_contractual and (power := process_power(final, split.asked_days)) is not None:
        return FittedStretched(fitted, kind, power)
    half_days = split.horizon_days // 2
    with engine.of(workspace) as sql:
        half = task.outcome(task.after(sql, split.final, half_days, workspace.state(), workspace.now()))
    half = half[~np.isnan(half)]
    share = half_power(score(fitted, final), half) if kind == "chance" else half_share(final.y, half)
    return FittedStretched(fitted, kind, growth(share, half_days / split.horizon_days, split.asked_days / split.horizon_days))


def process_power(final: Frame, asked_days: int) -> float | None:
    """The power that leads the mean chance of no purchase in the frame's horizon to that in the asked one, by a purchase process.

    The process (BG/NBD) knows that some customers have left and that the slow buy late. None where the frame lacks what it reads.
    """
    from training.models.purchase_process.models import BgNbd

    try:
        process = BgNbd().fit(final)
    except RefusedError:
        return None
    rows = final.at_newest().select(process.columns).x
    here, there = (float(process.over(days).predict(rows).mean()) for days in (final.horizon_days, asked_days))
    return float(np.log(there) / np.log(here)) if 0 < there <= here < 1 else None


def half_power(chance: Floats, half: Floats) -> float:
    """The power k for which the mean of ``chance`` ** k is the share that had not returned by half the window.

    >>> round(half_power(np.array([0.25, 0.25]), np.array([1.0, 0.0])), 6)
    0.5
    """
    logs = np.log(np.clip(chance, _CHANCE, 1 - _CHANCE))
    wanted = float(np.mean(half))
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        # The mean falls as the power rises.
        low, high = (middle, high) if np.exp(middle * logs).mean() > wanted else (low, middle)
    return (low + high) / 2


def half_share(whole: Floats, half: Floats) -> float:
    """The share of the window's money that had come by half of it.

    >>> half_share(np.array([10.0, 30.0]), np.array([10.0, 14.0]))
    0.6
    """
    total = float(np.sum(whole))
    return float(np.sum(half)) / total if total > 0 else 0.5


def growth(share: float, half: float, wanted: float) -> float:
    """g(wanted) / g(1) of the curve through g(half) / g(1) = share; times are in windows.

    >>> growth(0.5, 0.5, 3.0)
    3.0
    >>> round(growth(0.63093, 0.5, 3.0), 2)
    1.77
    """
    line = share * 0.5 / half
    if line <= _STRAIGHT:
        return wanted
    target = min(share, _FLATTEST)
    low, high = -20.0, 20.0
    for _ in range(100):
        middle = (low + high) / 2
        b = np.exp(middle)
        # The share falls towards ``half`` as b grows.
        low, high = (middle, high) if np.log1p(half / b) / np.log1p(1 / b) > target else (low, middle)
    b = np.exp((low + high) / 2)
    return float(np.log1p(wanted / b) / np.log1p(1 / b))
