"""What is known of the customers of a snapshot source: descriptions and contracts as they stood once. There is no moment to look back from.

Sources with times never come here; their features have a moment and go through the feature store.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from features import catalog
from retain.engine import Engine, identifier
from retain.tables import TABLES, is_protected

_TENURE = "tenure_days_365"
_LATEST = "qualify row_number() over (partition by {key} order by occurred_at desc, known_at desc) = 1"
_BONDS = tuple(name for name in TABLES["subscriptions"].names if name.startswith("switching_"))
_TERMS = ("plan", "price", "period_days", "is_renewed_automatically", "notice_days", "exit_fee", *_BONDS)
"""Terms of a contract that were agreed when it ran. Its end, and the cause of it, are outcomes and never features."""


def standing(engine: Engine, descriptive: Sequence[str]) -> pd.DataFrame:
    """One row per described customer: ``customer_id`` and what is known, as ``table__column``; text, numbers and null.

    Who holds several contracts is told by the dearest; ``contracts`` is their number.

    Args:
        engine: Has the contract tables attached.
        descriptive: Further columns of ``customers`` that the source declares; protected ones are left out like all others.
    """
    profile = [name for view in catalog.customer_views() if view.name == "profile" for name in view.names if name != _TENURE]
    described = [name for name in dict.fromkeys([*profile, *descriptive]) if not is_protected(name)]
    who = ", ".join(f"c.{identifier(name)} as {identifier(f'customers__{name}')}" for name in described)
    terms = ", ".join(f"s.{identifier(name)} as {identifier(f'subscriptions__{name}')}" for name in _TERMS)
    return engine.query(
        f"""
        with people as (select * from customers {_LATEST.format(key="customer_id")}),
        versions as (select * from subscriptions {_LATEST.format(key="subscription_id")}),
        held as (
            select *, count(*) over (partition by customer_id) as contracts from versions
            qualify row_number() over (partition by customer_id order by price desc nulls last, started_at, subscription_id) = 1
        )
        select c.customer_id, {who}, {terms}, s.contracts as subscriptions__contracts,
            date_diff('day', cast(s.started_at as date), cast(s.occurred_at as date)) as subscriptions__tenure_days
        from people as c left join held as s using (customer_id)
        order by c.customer_id
        """
    )
