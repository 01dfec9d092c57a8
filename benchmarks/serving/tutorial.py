"""What the tutorials of the libraries add up to, without artificial slowness: the service that ours is measured against.

BentoML's typed endpoint, Feast's online features read per request (SQLite), LightGBM's scikit-learn wrapper, ``implicit``'s ``recommend``.
``build`` makes its feature store; the models are learned when the service starts, so that nothing of it has to be kept in a pickle.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bentoml
import numpy as np
import pandas as pd

FOLDER = Path(os.environ.get("TUTORIAL_FOLDER", "."))
VIEWS = {
    "purchases": ("recency_days", "orders", "spend", "mean_basket", "orders_90d", "spend_90d", "tenure_days"),
    "visits": ("visits", "visits_30d", "views", "carts", "complaints"),
    "campaigns": ("contacts", "contacts_30d", "accepted"),
}
COLUMNS = [column for columns in VIEWS.values() for column in columns]


def build(workspace: Path, folder: Path) -> None:
    """Features of every customer by one query per view, a Feast repository over them, applied and materialised."""
    import duckdb
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
    from feast.types import Float64
    from feast.value_type import ValueType

    folder.mkdir(parents=True, exist_ok=True)
    sql = duckdb.connect()
    for name in ("transactions", "events", "contacts", "outcomes", "products"):
        sql.execute(f"create view {name} as select * from read_parquet('{workspace / 'tables' / name}.parquet')")
    (end,) = sql.execute("select max(occurred_at) from transactions").fetchone()  # type: ignore[misc]
    day = "date_diff('day', occurred_at, timestamptz '" + end.isoformat() + "')"
    queries = {
        "purchases": f"""
            select customer_id, min({day}) as recency_days, count(distinct order_id) as orders, sum(amount) as spend,
                sum(amount) / count(distinct order_id) as mean_basket, count(distinct order_id) filter ({day} < 90) as orders_90d,
                coalesce(sum(amount) filter ({day} < 90), 0) as spend_90d, max({day}) as tenure_days
            from transactions where kind = 'sale' and customer_id is not null group by all""",
        "visits": f"""
            select customer_id, count(*) filter (kind = 'visit') as visits, count(*) filter (kind = 'visit' and {day} < 30) as visits_30d,
                count(*) filter (kind = 'view') as views, count(*) filter (kind = 'cart') as carts,
                count(*) filter (kind = 'complaint') as complaints
            from events group by all""",
        "campaigns": f"""
            with taken as (select distinct contact_id, 1 as is_taken from outcomes where kind = 'accepted')
            select customer_id, count(*) as contacts, count(*) filter ({day} < 30) as contacts_30d, count(is_taken) as accepted
            from contacts left join taken using (contact_id) group by all""",
    }
    entity = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)
    views, moment = [], end - timedelta(days=1)
    for name, query in queries.items():
        frame = sql.execute(query).df()
        frame[list(VIEWS[name])] = frame[list(VIEWS[name])].astype(float)
        frame["event_timestamp"] = pd.Timestamp(moment)
        frame.to_parquet(folder / f"{name}.parquet")
        source = FileSource(path=str(folder / f"{name}.parquet"), timestamp_field="event_timestamp")
        schema = [Field(name=column, dtype=Float64) for column in VIEWS[name]]
        views.append(FeatureView(name=name, entities=[entity], ttl=timedelta(days=3650), schema=schema, source=source))
    for query, name in (
        ("select customer_id, product_id, count(*) as n from transactions where kind = 'sale' and customer_id is not null group by all", "pairs"),
        ("select product_id, any_value(price * margin_rate) as margin from products group by all", "margins"),
    ):
        sql.execute(query).df().to_parquet(folder / f"{name}.parquet")
    store = FeatureStore(config=_config(folder, RepoConfig))
    store.apply([entity, *views])
    store.materialize(moment - timedelta(days=2), datetime.now(UTC))


def _config(folder: Path, kind: Any) -> Any:
    return kind(
        project="tutorial",
        registry=str(folder / "registry.db"),
        provider="local",
        online_store={"type": "sqlite", "path": str(folder / "online.db")},
        entity_key_serialization_version=3,
    )


@bentoml.service(name="tutorial", workers=1, logging={"access": {"enabled": False}})
class Tutorial:
    """The next best offers of a customer."""

    def __init__(self) -> None:
        from feast import FeatureStore, RepoConfig
        from implicit.als import AlternatingLeastSquares
        from lightgbm import LGBMClassifier, LGBMRegressor
        from scipy.sparse import csr_matrix

        self.store = FeatureStore(config=_config(FOLDER, RepoConfig))
        frame = pd.read_parquet(FOLDER / "purchases.parquet")
        for name in ("visits", "campaigns"):
            frame = frame.merge(pd.read_parquet(FOLDER / f"{name}.parquet").drop(columns="event_timestamp"), on="customer_id", how="left")
        rows = frame.fillna(0.0)
        self.churn = LGBMClassifier(n_estimators=200, verbose=-1).fit(rows[COLUMNS], rows["orders_90d"] == 0)
        self.value = LGBMRegressor(n_estimators=200, verbose=-1).fit(rows[COLUMNS], rows["spend_90d"])
        pairs = pd.read_parquet(FOLDER / "pairs.parquet")
        users, items = pairs["customer_id"].astype("category"), pairs["product_id"].astype("category")
        self.users = {name: place for place, name in enumerate(users.cat.categories)}
        self.items = np.array(items.cat.categories)
        self.bought = csr_matrix((pairs["n"].astype(np.float32), (users.cat.codes, items.cat.codes)))
        self.als = AlternatingLeastSquares(factors=32, iterations=5, random_state=7, num_threads=1)
        self.als.fit(self.bought, show_progress=False)
        margins = pd.read_parquet(FOLDER / "margins.parquet").set_index("product_id")["margin"]
        self.margins = margins.reindex(self.items).fillna(0.0).to_numpy()

    @bentoml.api  # type: ignore[untyped-decorator]
    def next_best_offer(self, customer_id: str, k: int = 3) -> dict[str, Any]:
        """Risk, value, and the best items by score and margin."""
        names = [f"{view}:{column}" for view, columns in VIEWS.items() for column in columns]
        found = self.store.get_online_features(features=names, entity_rows=[{"customer_id": customer_id}]).to_df()
        x = found[COLUMNS].astype(float)
        churn = float(self.churn.predict_proba(x)[0, 1])
        value = float(self.value.predict(x)[0])
        user = self.users.get(customer_id, -1)
        ids, scores = self.als.recommend(user, self.bought[user], N=20)
        priority = scores * self.margins[ids]
        best = np.argsort(-priority)[:k]
        offers = [{"item": str(self.items[ids[place]]), "score": float(scores[place]), "priority": float(priority[place])} for place in best]
        return {"customer_id": customer_id, "churn": churn, "value": value, "offers": offers}
