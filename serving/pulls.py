"""A list as it is pulled: whom consent and the rules let stand on it, in which order, and what is said of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from retain.tables import CAUSES
from serving import likely, schemas
from serving.ahead import ahead
from serving.decisions import lists
from serving.decisions.causes import Causes
from serving.decisions.control import Groups, arm
from serving.decisions.eligibility import may_contact
from serving.decisions.facts import Customer, Language, Reason
from serving.decisions.figures import Floats
from serving.decisions.reasons import of_risk
from serving.decisions.value_parts import total
from serving.fresh import Fresh
from serving.rows import Rows


@dataclass(frozen=True)
class Said:
    """What an answer says of itself besides what it answers."""

    models: schemas.Models
    source: schemas.Rung
    degraded: tuple[str, ...]
    freshness: schemas.Freshness


@dataclass(frozen=True)
class Pull:
    """What a list is made of."""

    rows: Rows
    fresh: Fresh
    causes: Causes
    at: datetime
    churn: Floats
    """(customers,) chance of no purchase within the horizon; NaN where none is predicted."""
    clv: Floats
    """(customers,) money within it."""
    language: Language
    groups: Groups = field(default_factory=Groups)
    """Who is in the no-contact group stands on no list."""

    def churners(self, top: int, channels: Sequence[str], said: Said) -> schemas.ChurnList:
        """Customers by expected loss, at most ``top``, who may be contacted on one of the channels to be kept."""
        rows, value = self.rows, self.value()
        reach = self.reach(channels)
        picked = lists.churn(rows.array("ids"), self.churn, value, self.barred(reach), top)
        ranked, apart = (self.described(order, value, reach.__getitem__) for order in (picked.order, picked.apart))
        return schemas.ChurnList(
            rows=ranked,
            left_out=picked.left_out,
            customers=len(rows),
            horizon_days=rows.shop.horizon_days,
            currency=rows.shop.currency,
            as_of=self.at,
            assumed=assumed(rows),
            synthetic=rows.shop.synthetic,
            models=said.models,
            source=said.source,
            degraded=list(said.degraded),
            freshness=said.freshness,
            reasons_by=rows.card.reasons,
            involuntary=apart,
            causes=dict(Counter(row.cause.cause for row in (*ranked, *apart)).most_common()),
            value_parts=parts(rows),
            recorded_causes=likely.recorded_shares(rows, rows.array("is_active")),
        )

    def value(self) -> Floats:
        """(customers,) what each is worth within the horizon, with the parts that are on."""
        return total(self.clv, self.rows.array("parts"))

    def reach(self, channels: Sequence[str]) -> list[list[str]]:
        """Of each customer the channels on which it may be contacted to be kept."""
        return [self._reach(position, channels) for position in range(len(self.rows))]

    def barred(self, reach: Sequence[list[str]]) -> dict[str, NDArray[np.bool_]]:
        """Who must not be on a list, by a name of ``lists.LEFT_OUT``."""
        flags = self.rows.array("flags")
        return {
            "no_contact_group": np.array([arm(self.rows.id(place), self.groups) == "control" for place in range(len(self.rows))], dtype=bool),
            "inactive": ~self.rows.array("is_active"),
            "minor": flags[:, 2],
            "refuses_profiling": flags[:, 1],
            "do_not_contact": flags[:, 0] | self.rows.buried,
            "no_consent": np.array([not each for each in reach], dtype=bool),
            "involuntary": self.rows.array("cause") == CAUSES.index("involuntary"),
        }

    def described(self, order: NDArray[np.intp], value: Floats, reach: Callable[[int], list[str]]) -> list[schemas.ChurnRow]:
        """What is said of some customers, in their order; their channels come from ``reach``."""
        found = []
        outlooks = ahead(self.rows, order, self.churn[order], self.clv[order])
        for rank, (position, (orders, next_at)) in enumerate(zip(order.tolist(), outlooks, strict=True), start=1):
            row = self.rows.row(position)
            stored = row.stored
            customer = self.fresh.on(row.customer(self.at, stored, explain=True), self.at)
            found.append(
                schemas.ChurnRow(
                    rank=rank,
                    customer_id=customer.customer_id,
                    risk=float(self.churn[position]),
                    value=float(value[position]),
                    expected_loss=float(self.churn[position] * max(value[position], 0.0)),
                    band=stored.band,
                    stage=stored.stage,
                    channels=reach(position),
                    reasons=why(self.rows, customer, self.language),
                    cause=likely.cause(self.rows, position, self.causes, self.language),
                    value_parts=row.value_parts(float(self.clv[position])),
                    expected_orders=orders,
                    next_purchase_at=next_at,
                )
            )
        return found

    def _reach(self, position: int, channels: Sequence[str]) -> list[str]:
        """Channels on which a customer may be contacted to be kept."""
        words = self.rows.card.vocabulary
        consents = frozenset(words["consents"][self.rows.array("consents")[position]].split(",")) - {""}
        left = frozenset(words["unsubscribed"][self.rows.array("unsubscribed")[position]].split(",")) - {""}
        customer = self.fresh.on(Customer(self.rows.id(position), consents=consents, unsubscribed=left))
        return [each for each in channels if may_contact(customer, each, "retention") or may_contact(customer, each, "marketing")]


def why(rows: Rows, customer: Customer, language: Language) -> list[Reason]:
    """Why a customer may leave."""
    return of_risk(customer, rows.card.moment, rows.shop.currency, language)


def parts(rows: Rows) -> dict[str, schemas.PartOut]:
    """Parts of value besides purchases, with their coverage."""
    return {name: schemas.PartOut(each.counted, each.per_event, each.basis, each.coverage) for name, each in rows.card.parts.items()}


def assumed(rows: Rows) -> list[str]:
    """What the source assumes, and the prices of the parts that are counted."""
    return [*rows.shop.assumed, *(f"{name} = {each.per_event}: {each.basis}" for name, each in rows.card.parts.items() if each.counted)]
