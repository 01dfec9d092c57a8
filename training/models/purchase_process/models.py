"""BG/NBD and Pareto/NBD as models of the house: they learn from the histories at the newest cutoff alone, and from no outcome."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from math import fsum
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from retain.errors import IntegrityError, RefusedError
from retain.files import write_json
from training.contracts import Floats, Frame
from training.models import margins, stored
from training.models.purchase_process import history as parts
from training.models.purchase_process.bgnbd import BgNbdProcess
from training.models.purchase_process.history import History
from training.models.purchase_process.outlook import Outlook, none_within, outlook, purchases_within
from training.models.purchase_process.pareto import ParetoNbdProcess
from training.models.purchase_process.spend import GammaGamma

WEEK_DAYS = 7.0
"""Parameters are in weeks, as in the literature."""
YEAR_DAYS = 365
NET, PER_ORDER, ORDERS = "purchases__amount_365d", "baskets__amount_per_order_365d", "purchases__orders_365d"
"""Money with returns subtracted, and the two whose product is money without."""
PROCESSES: dict[str, type[BgNbdProcess] | type[ParetoNbdProcess]] = {"bgnbd": BgNbdProcess, "paretonbd": ParetoNbdProcess}

Kind = Literal["chance", "amount"]


@dataclass(frozen=True)
class FittedProcess:
    """A process, what a purchase is worth, and the question."""

    columns: tuple[str, ...]
    process: BgNbdProcess | ParetoNbdProcess
    spend: GammaGamma
    kind: Kind
    horizon_days: int
    net_share: float
    """Money that is left after returns, or the margin of it, as a share of what was sold."""

    def predict(self, x: Floats) -> Floats:
        """Chance of no purchase within the horizon, or net money to expect in it."""
        seen, mean = self._read(x)
        horizon = self.horizon_days / WEEK_DAYS
        if self.kind == "chance":
            return none_within(self.process, seen, horizon)
        return np.asarray(purchases_within(self.process, seen, horizon) * self.spend.expected(seen.repeats, mean) * self.net_share)

    def outlook(self, x: Floats, horizon_days: int | None = None, most_days: int = YEAR_DAYS) -> Outlook:
        """Chance, purchases (days with one), net money and days until the next, of one history and therefore coherent."""
        seen, mean = self._read(x)
        days = self.horizon_days if horizon_days is None else horizon_days
        found = outlook(self.process, self.spend, seen, mean, days / WEEK_DAYS, most_days / WEEK_DAYS)
        return replace(found, money=found.money * self.net_share, next=found.next * WEEK_DAYS)

    def over(self, horizon_days: int) -> FittedProcess:
        """The same process asked about another horizon: it needs no assumption beyond its own."""
        return replace(self, horizon_days=horizon_days)

    def save(self, folder: Path) -> None:
        """Write ``process.json``."""
        name = next(name for name, kind in PROCESSES.items() if isinstance(self.process, kind))
        write_json(
            folder / "process.json",
            {
                "columns": list(self.columns), "process": name, "parameters": asdict(self.process), "spend": asdict(self.spend), "kind": self.kind,
                "horizon_days": self.horizon_days, "net_share": self.net_share,
            },
        )  # fmt: skip

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read ``process.json``."""
        found = stored.values(folder / "process.json")
        process, kind = PROCESSES.get(str(found.get("process"))), found.get("kind")
        values, spend = found.get("parameters"), found.get("spend")
        if process is None or kind not in ("chance", "amount") or not isinstance(values, dict) or not isinstance(spend, dict):
            raise IntegrityError(f"process.json: {found.get('process')!r}, kind {kind!r}, is no purchase process of ours; train the model again")
        return cls(
            columns=stored.names(found, "columns"),
            process=process(**{name: stored.number(values, name, least=1e-9) for name in process.__dataclass_fields__}),
            spend=GammaGamma(stored.number(spend, "p", least=1e-9), stored.number(spend, "q", least=1), stored.number(spend, "v", least=0)),
            kind=kind,
            horizon_days=int(stored.number(found, "horizon_days", least=1)),
            net_share=stored.number(found, "net_share", least=0, most=1),
        )

    def _read(self, x: Floats) -> tuple[History, Floats]:
        return _histories(self.columns, stored.checked(x, self.columns))


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind = "chance"
    """``chance`` of no purchase in the horizon, for churn; ``amount`` of net money in it, or of its margin, for value."""
    most_customers: int = Field(default=100_000, ge=1)
    """Parameters are learned from at most about so many customers; all get answers."""

    process: ClassVar[type[BgNbdProcess] | type[ParetoNbdProcess]]

    def fit(self, frame: Frame) -> FittedProcess:
        """The most likely parameters of the histories at the newest cutoff.

        Raises:
            RefusedError: the frame has none of the columns that count purchase days, or margin is asked for and none is known.
        """
        asked = parts.COLUMNS if self.kind == "amount" else parts.COLUMNS[:3]
        columns = tuple(name for name in asked if name in frame.columns)
        if not columns:
            raise RefusedError(f"purchase process: the frame has no column {asked[0]}; build the features of the view `days`")
        rows = frame.take((frame.cutoff == frame.cutoff.max()).nonzero()[0]) if len(frame) else frame
        x = rows.select(columns).x
        # Who has bought nothing in the year is asked about, and teaches nothing: the process begins with a purchase.
        x = x[x[:, 0] > 0 if columns[0] == parts.ORDER_DAYS else np.isfinite(x[:, 0])]
        seen, mean = _histories(columns, x)
        process = self.process.fit(seen, self.most_customers)
        if self.kind == "chance":
            return FittedProcess(columns, process, GammaGamma(1.0, 2.0, 0.0), self.kind, frame.horizon_days, 1.0)
        spend = GammaGamma.fit(seen.repeats, mean, self.most_customers)
        # Purchases are seen in money; what stays of them is that after returns and, where margin is asked for, the margin of it.
        return FittedProcess(columns, process, spend, self.kind, frame.horizon_days, min(_net_share(rows) * margins.share(frame), 1.0))


class BgNbd(_Model):
    """BG/NBD, with Gamma-Gamma where money is asked for."""

    process: ClassVar[type[BgNbdProcess] | type[ParetoNbdProcess]] = BgNbdProcess


class ParetoNbd(_Model):
    """Pareto/NBD, with Gamma-Gamma where money is asked for."""

    process: ClassVar[type[BgNbdProcess] | type[ParetoNbdProcess]] = ParetoNbdProcess


def _histories(columns: tuple[str, ...], x: Floats) -> tuple[History, Floats]:
    """Histories in weeks and the mean money of repeats. A column that the frame dropped never varied: everybody bought once, or began alike."""
    values, unknown = dict(zip(columns, x.T, strict=True)), np.full(len(x), np.nan)
    days = values.get(parts.ORDER_DAYS, np.where(np.isfinite(x[:, 0]), 1.0, np.nan))
    seen = History.of_days(days, values.get(parts.SPAN, unknown), values.get(parts.OBSERVED, unknown))
    repeat_amount = np.nan_to_num(values.get(parts.REPEAT_AMOUNT, unknown), nan=0.0)
    mean = np.where(seen.repeats > 0, repeat_amount / np.maximum(seen.repeats, 1.0), 0.0)
    return seen.over(WEEK_DAYS), mean


def _net_share(rows: Frame) -> float:
    """Money of the year that returns left, as a share of what was sold; all of it where the frame does not say."""
    if not {NET, PER_ORDER, ORDERS} <= set(rows.columns):
        return 1.0
    net, per_order, orders = rows.select((NET, PER_ORDER, ORDERS)).x.T
    sold, left = fsum(np.nan_to_num(per_order * orders)), fsum(np.nan_to_num(net))
    return float(np.clip(left / sold, 0.0, 1.0)) if sold > 0 else 1.0
