"""Uplift: what does contacting a customer change, against leaving the customer alone?"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from retain.engine import Engine
from retain.errors import NotReadyError, RefusedError
from retain.facts import PURCHASE, VALUED
from retain.workspace import State
from training.contracts import Floats, Frame
from training.encoding import Encoder
from training.models.uplift.contacts import CONTROL, Contacts

Outcome = Literal["visit", "purchase", "spend", "margin"]
By = Literal["kind", "offer", "arm"]

_TREATMENT: dict[By, str] = {
    "kind": "coalesce(o.kind, c.arm, c.campaign_id)",
    "offer": "coalesce(c.offer_id || '/' || c.channel, c.offer_id, c.arm, c.campaign_id)",
    "arm": "coalesce(c.campaign_id || '/' || c.arm, c.arm, c.campaign_id)",
}
# Whom the service decided to contact is compared, treatment by treatment, with controls for whom the same stood first: of those alike, who is
# which was drawn. Items that stand for themselves are no offers of a kind. What stood behind the first is not learned from.
_DECIDED: dict[By, str] = {"kind": "o.kind", "offer": "coalesce(c.offer_id || '/' || c.channel, c.offer_id)", "arm": "'decided'"}
_IS_DECIDED = "(c.source = 'ledger' and c.campaign_id is null)"

_WHO = """
with kinds as (
    select offer_id, kind from offers
    qualify row_number() over (partition by offer_id order by occurred_at desc, known_at desc) = 1
),
asked as (
    select row_number() over (order by c.occurred_at, c.customer_id, c.contact_id) as place, c.customer_id, c.occurred_at as cutoff,
        case when {is_decided} then 'decided: ' || {decided} else coalesce(c.campaign_id, '') end as campaign,
        case when {is_decided} then {decided} else {treatment} end as treatment,
        {is_decided} as is_reported, coalesce(c.placement, '') as placement, coalesce(c.is_control, false) as is_control, c.probability, c.cost,
        c.occurred_at + interval {days} day as until
    from contacts as c left join kinds as o using (offer_id)
    where c.customer_id is not null and ({is_timeless} or c.occurred_at + interval {days} day <= {now})
        and (not {is_decided} or c.position = 1 and {decided} is not null and o.kind is not null)
),
compared as (
    -- Whoever turned to us is no control: only where some were held back is there something to compare with.
    select * from asked qualify not is_reported or bool_or(is_control) over (partition by campaign, placement)
)
"""
# The outcome is looked for in the same place for the treated and for controls: what is told of a contact (a click, a redeemed coupon)
# exists for the treated only and would be counted as an effect.
_FOUND = """
select a.* exclude (placement), {value} as y
from compared as a left join {table} as t
    on t.customer_id = a.customer_id and {counts} and ({is_timeless} or t.occurred_at >= a.cutoff and t.occurred_at < a.until)
group by all
order by a.place
"""
_SUM = "cast(coalesce(sum(cast(t.{column} as decimal(38, 6))), 0) as double)"
_ANY = "cast(count(t.customer_id) > 0 as double)"


class Uplift(BaseModel):
    """Per contact, controls included, whose window has closed: the outcome in the days after, in the same count for everybody.

    Without transactions, as in a test of e-mails that came as one table, purchases are the outcomes of kind ``purchased``. Windows of
    campaigns may overlap: other campaigns were drawn apart from this one, so they fall on treated and controls alike.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    outcome: Outcome = "spend"
    """``visit`` and ``purchase`` are yes or no; ``spend`` and ``margin`` are net money of all lines."""
    by: By = "kind"
    """What one treatment is: a kind of offer, an offer by its channel, or an arm of a campaign; what a source lacks is replaced by the next."""
    treatments: tuple[str, ...] = ()
    """Only these; all where empty."""
    horizon_days: int | None = Field(default=None, ge=1)
    """Days after the contact in which the outcome falls; None is the source's own."""

    name: ClassVar[Literal["uplift"]] = "uplift"
    output: ClassVar[str] = "uplift"
    primary: ClassVar[str] = "qini"

    def contacted(self, engine: Engine, state: State, now: datetime) -> pd.DataFrame:
        """One row per contact, sorted by time and customer: ``customer_id``, ``cutoff`` (when), ``campaign``, ``treatment``, ``is_reported``
        (whether it is a contact because somebody said that it was made), ``is_control``, ``probability``, ``cost``, ``y``.

        Raises:
            NotReadyError: the source has no contacts.
            RefusedError: margin is asked for and lines have none.
        """
        is_timeless = state.kind == "snapshot"
        days = self.horizon_days or state.horizon_days
        at = f"timestamptz '{now.isoformat()}'"
        table, counts, value = self._where(engine)
        parts = {"treatment": _TREATMENT[self.by], "decided": _DECIDED[self.by], "is_decided": _IS_DECIDED}
        parts |= {"days": str(days), "now": at, "is_timeless": str(is_timeless).lower()}
        found = engine.query((_WHO + _FOUND).format(**parts, table=table, counts=counts, value=value))
        if found.empty:
            raise NotReadyError(
                f"{state.source}: no contact lies {days} days back, so no effect of one is known; map the table contacts, with controls and chances"
            )
        unknown = int(found["y"].isna().sum())
        if unknown:
            raise RefusedError(
                f"uplift: {self.outcome} is unknown for {unknown} of {len(found)} contacts; choose `outcome: spend`, or declare a margin rate",
                field="outcome",
            )
        return found

    def _where(self, engine: Engine) -> tuple[str, str, str]:
        """Table, condition and value of the outcome."""
        if self.outcome == "visit":
            return "events", "t.kind = 'visit'", _ANY
        if not engine.rows("select count(*) from transactions")[0][0]:
            return "outcomes", "t.kind = 'purchased'", _ANY if self.outcome == "purchase" else _SUM.format(column="amount")
        if self.outcome == "purchase":
            return "transactions", PURCHASE, _ANY
        if self.outcome == "spend":
            return "transactions", VALUED, _SUM.format(column="amount")
        return "transactions", VALUED, f"case when count(t.customer_id) = count(t.margin) then {_SUM.format(column='margin')} end"

    def contacts(self, found: pd.DataFrame, x: Floats, columns: tuple[str, ...], encoder: Encoder, state: State) -> Contacts:
        """What learners learn from.

        Args:
            found: From ``contacted``.
            x: (rows, columns) what was known of each customer before the contact.
            columns: Names of the features.
            encoder: How categories were coded.
            state: Of the workspace.

        Raises:
            RefusedError: a treatment that was asked for was never sent.
        """
        sent = found.loc[~found["is_control"], "treatment"].astype(str)
        names = tuple(self.treatments) or tuple(sorted(sent.unique()))
        missing = [name for name in names if not (sent == name).any()]
        if missing or not names:
            known = ", ".join(sorted(sent.unique())) or "none"
            raise RefusedError(f"uplift: no contact had the treatment {(missing or ['?'])[0]!r}; those sent are {known}", field="treatments")
        place = {name: position for position, name in enumerate(names)}
        arm = np.where(found["is_control"], CONTROL, found["treatment"].astype(str).map(place).fillna(len(names)).to_numpy())
        costs = found[~found["is_control"]].groupby("treatment")["cost"].mean()
        frame = Frame(
            customer_id=found["customer_id"].to_numpy(dtype=object),
            cutoff=found["cutoff"].dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(dtype="datetime64[us]"),
            columns=columns,
            x=x,
            y=found["y"].to_numpy(dtype=np.float64),
            horizon_days=self.horizon_days or state.horizon_days,
            categorical=frozenset(encoder.categories),
        )
        return Contacts(
            frame=frame,
            arm=arm.astype(np.int64),
            campaign=np.unique(found["campaign"].astype(str), return_inverse=True)[1].astype(np.int64),
            probability=found["probability"].to_numpy(dtype=np.float64, na_value=np.nan),
            treatments=names,
            costs=tuple(float(costs.get(name, np.nan)) if np.isfinite(costs.get(name, np.nan)) else 0.0 for name in names),
            outcome=self.outcome,
            is_reported=found["is_reported"].to_numpy(dtype=bool),
            unit=state.currency or "money" if self.outcome in ("spend", "margin") else "customers",
        )
