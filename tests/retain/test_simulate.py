"""The simulated shop: equal seeds give equal shops, its tables keep the contract, and its truth is true."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import retain.simulate as simulation
from retain.engine import Engine
from retain.errors import ConfigError
from retain.files import verify_folder
from retain.simulate import AS_OF, simulate
from retain.simulate.draws import Draws
from retain.tables import ARROW, TABLES
from retain.workspace import Workspace

CUSTOMERS = 2500
KINDS_OF_EVENTS = {
    "visit", "app_open", "search", "view", "cart", "wishlist", "rating", "complaint", "complaint_resolved",
    "support_call", "referral", "points_earned", "points_spent", "survey",
}  # fmt: skip


def _shop(folder: Path, customers: int, seed: int = 7, per_category: int = 25, **more: float) -> Workspace:
    workspace = Workspace.at(folder)
    simulate(workspace, customers=customers, seed=seed, days=int(more.pop("days", 200)), per_category=per_category, progress=False, **more)
    return workspace


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Enough customers for shares to settle."""
    return _shop(tmp_path_factory.mktemp("large"), CUSTOMERS, days=400, lines_per_customer=20.0)


@pytest.fixture(scope="module")
def engine(large: Workspace) -> Iterator[Engine]:
    with Engine(large.temporary) as result:
        result.attach(
            {name: large.table(name) for name in TABLES}
            | {f"true_{name}": large.root / "truth" / f"{name}.parquet" for name in ("customers", "responses", "tastes")}
        )
        yield result


def test_a_wider_range_is_sold_and_nobody_buys_what_is_not_in_it(tmp_path: Path) -> None:
    wide = _shop(tmp_path, 60, per_category=400)
    products = set(pq.read_table(wide.table("products"), columns=["product_id"])["product_id"].to_pylist())
    bought = set(pq.read_table(wide.table("transactions"), columns=["product_id"])["product_id"].to_pylist())
    assert len(products) == 24 * 400 + 2
    assert bought <= products
    assert max(bought - {"DELIVERY", "GOODWILL"}) > "P00600"
    with pytest.raises(ConfigError, match="per_category: 4 is not between 5 and 4000"):
        _shop(tmp_path, 60, per_category=4)


def test_equal_seeds_give_equal_bytes_and_another_seed_another_shop(tmp_path: Path) -> None:
    one, same, other = (_shop(tmp_path / name, 60, seed) for name, seed in (("one", 3), ("same", 3), ("other", 4)))
    for name in TABLES:
        assert one.table(name).read_bytes() == same.table(name).read_bytes(), name
    assert one.state() == same.state()
    assert one.state().digest != other.state().digest


def test_a_customer_does_not_depend_on_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = _shop(tmp_path / "few", 50)
    monkeypatch.setattr(simulation, "BLOCK", 40)
    many = _shop(tmp_path / "many", 130)
    for path in [few.table(name) for name in TABLES] + [few.root / "truth" / f"{name}.parquet" for name in ("customers", "responses", "tastes")]:
        mine, all_of_them = pq.read_table(path), pq.read_table(many.root / path.relative_to(few.root))
        if "customer_id" in mine.column_names:
            all_of_them = all_of_them.filter(pc.less(all_of_them["customer_id"], "C00000050"))
        assert mine.equals(all_of_them), path.name


@pytest.mark.parametrize("name", TABLES)
def test_tables_keep_the_contract(large: Workspace, engine: Engine, name: str) -> None:
    table, rows = TABLES[name], pq.read_table(large.table(name))
    assert [(field.name, field.type) for field in rows.schema] == [(column.name, _arrow(column.kind)) for column in table.columns]
    assert len(rows) == large.state().tables[name] > 0
    for column in table.columns:
        if column.required:
            assert rows[column.name].null_count == 0, column.name
        if column.choices:
            assert set(rows[column.name].drop_null().unique().to_pylist()) <= set(column.choices), column.name
    for column in rows.column_names:
        if pa.types.is_floating(rows.schema.field(column).type):
            assert pc.all(pc.is_finite(rows[column].drop_null())).as_py() in (True, None), column
    key = ", ".join(table.key)
    assert engine.rows(f"select count(*) from {name}")[0][0] == engine.rows(f"select count(*) from (select distinct {key} from {name})")[0][0]
    sort = [rows[column].to_pylist() for column in table.sort]
    placed = list(zip(*sort, strict=True))
    assert placed == sorted(placed)


@pytest.mark.parametrize("name", TABLES)
def test_nothing_is_known_before_it_happens_or_after_the_clock(engine: Engine, name: str) -> None:
    early, latest = engine.rows(f"select count(*) filter (where known_at is null or known_at < occurred_at), max(known_at) from {name}")[0]
    assert early == 0
    assert latest < AS_OF


def test_some_facts_are_known_late(engine: Engine) -> None:
    for name in ("transactions", "events", "contacts", "outcomes"):
        share = float(engine.rows(f"select avg(case when known_at > occurred_at then 1.0 else 0.0 end) from {name}")[0][0])
        assert 0.003 < share < 0.06, name


def test_every_customer_of_a_fact_is_on_file_and_every_product_and_offer_exists(engine: Engine) -> None:
    for name in ("transactions", "events", "contacts", "outcomes", "subscriptions"):
        assert not engine.rows(f"select customer_id from {name} where customer_id not in (select customer_id from customers) limit 1"), name
    for name in ("transactions", "events"):
        assert not engine.rows(f"select product_id from {name} where product_id not in (select product_id from products) limit 1"), name
    for name in ("transactions", "contacts", "outcomes"):
        assert not engine.rows(f"select offer_id from {name} where offer_id not in (select offer_id from offers) limit 1"), name


def test_lines_have_the_signs_of_their_kind(engine: Engine) -> None:
    found = {
        row[0]: row[1:]
        for row in engine.rows("select kind, min(amount), max(amount), min(quantity), max(quantity), min(discount) from transactions group by kind")
    }
    assert set(found) == {"sale", "return", "gift", "fee", "adjustment"}
    assert found["sale"][0] > 0 and found["sale"][2] >= 1 and found["sale"][4] >= 0  # noqa: PT018
    assert found["return"][1] < 0 and found["return"][3] < 0  # noqa: PT018
    assert found["gift"][:2] == (0.0, 0.0)
    assert found["adjustment"][1] < 0


def test_returns_belong_to_an_earlier_sale_of_the_same_customer(engine: Engine) -> None:
    orphans = engine.rows(
        """
        select count(*) from transactions as r left join transactions as s
            on s.order_id = r.returned_order_id and s.line_id = r.line_id and s.customer_id = r.customer_id
            and s.kind = 'sale' and s.occurred_at < r.occurred_at and s.amount = -r.amount and s.product_id = r.product_id
        where r.kind = 'return' and s.order_id is null and r.occurred_at > timestamptz '2025-11-01'
        """
    )[0][0]
    late = engine.rows("select count(*) from transactions where kind = 'return' and occurred_at > timestamptz '2025-11-01'")[0][0]
    # A sale that became known after the clock leaves its return alone, as it does in life.
    assert late > 50
    assert orphans <= 0.02 * late


def test_every_kind_of_event_channel_and_answer_occurs(engine: Engine) -> None:
    assert {row[0] for row in engine.rows("select distinct kind from events")} == KINDS_OF_EVENTS
    assert {row[0] for row in engine.rows("select distinct channel from contacts")} == {"email", "sms", "push", "mail", "call_center"}
    assert {row[0] for row in engine.rows("select distinct channel from transactions")} == {"store", "web", "in_app", "call_center"}
    assert {"opened", "clicked", "accepted", "purchased", "rejected", "unsubscribed", "shown"} <= {
        row[0] for row in engine.rows("select distinct kind from outcomes")
    }
    answers = engine.rows(
        "select count(score), count(expected_score), count(perceived_score), min(score), max(score) from events where kind = 'survey'"
    )[0]
    assert min(answers[:3]) > 0
    assert answers[3] < 5 < 8 < answers[4]


def test_derived_columns_are_made(engine: Engine) -> None:
    assert len(engine.rows("select distinct local_hour from transactions")) > 10
    assert sorted(row[0] for row in engine.rows("select distinct local_weekday from transactions")) == list(range(1, 8))
    first = engine.rows(
        """
        select count(*) filter (where order_number is null), count(*) filter (where order_number = 1 and order_gap_days is not null)
        from transactions where kind = 'sale'
        """
    )
    assert first[0] == (0, 0)
    assert engine.rows("select count(*) from products where is_sellable and category is null") == [(0,)]


def test_consents_differ_and_campaigns_keep_to_them(engine: Engine) -> None:
    counts = engine.rows(
        """
        select count(*) filter (where len(consents) = 0), count(distinct consents), count(*) filter (where do_not_contact),
            count(*) filter (where refuses_profiling)
        from customers
        """
    )[0]
    assert min(counts) > 20
    against = engine.rows(
        """
        select count(*) from contacts as c asof join customers as v on v.customer_id = c.customer_id and v.occurred_at <= c.occurred_at
        where v.do_not_contact or not list_has_any(v.consents, [c.channel || ':marketing', '*:*'])
        """
    )[0][0]
    assert against == 0


def test_arms_are_drawn_with_the_probability_that_is_logged(engine: Engine) -> None:
    for block, share, drawn, rows in engine.rows(
        """
        select market_block, avg(case when is_control then 1 - probability else probability end),
            avg(case when is_control then 0.0 else 1.0 end), count(*)
        from contacts group by all
        """
    ):
        assert abs(float(share) - float(drawn)) < 4 * 0.5 / np.sqrt(rows), block
    assert engine.rows("select max(cost) from contacts where is_control") == [(0.0,)]


def test_the_truth_is_true(engine: Engine) -> None:
    rows, expected, observed, spend, spent = engine.rows(
        """
        select count(*), avg(no_purchase_probability), avg(case when has_purchase_after then 0.0 else 1.0 end), avg(expected_spend), avg(spend_after)
        from true_customers
        """
    )[0]
    assert abs(expected - float(observed)) < 3 * 0.5 / np.sqrt(rows)
    assert spent == pytest.approx(spend, rel=0.15)
    for low in np.arange(0, 1, 0.25):
        said, seen, count = engine.rows(
            f"""
            select avg(no_purchase_probability), avg(case when has_purchase_after then 0.0 else 1.0 end), count(*)
            from true_customers where no_purchase_probability between {low} and {low + 0.25}
            """
        )[0]
        assert abs(said - float(seen)) < 4 * 0.5 / np.sqrt(count)


def test_the_gone_are_silent_and_complaints_go_before(engine: Engine) -> None:
    silent = dict(
        engine.rows(
            """
            select c.state, avg(case when t.customer_id is null then 1.0 else 0.0 end) from true_customers as c
            left join (select distinct customer_id from transactions where kind = 'sale' and occurred_at >= timestamptz '2025-12-04') as t
                using (customer_id) group by all
            """
        )
    )
    assert silent["gone"] > silent["fading"] > silent["active"]
    complained = dict(
        engine.rows(
            """
            select c.state, avg(case when e.customer_id is null then 0.0 else 1.0 end) from true_customers as c
            left join (select distinct customer_id from events where kind = 'complaint' and occurred_at >= timestamptz '2025-10-01') as e
                using (customer_id) group by all
            """
        )
    )
    assert complained["fading"] > 2 * complained["active"]


def test_responses_cover_every_kind_and_some_offers_do_harm(engine: Engine) -> None:
    found = engine.rows(
        """
        select kind, count(*), min(accept_probability), max(accept_probability), min(purchase_uplift), max(purchase_uplift)
        from true_responses group by kind
        """
    )
    assert {row[0] for row in found} == {"discount", "coupon", "bundle", "product", "service", "repair", "loyalty", "information"}
    for _, rows, least, most, worst, best in found:
        assert rows == CUSTOMERS
        assert 0 <= least <= most <= 1
        assert worst < 0 < best


def test_taste_shows_in_what_is_bought(engine: Engine) -> None:
    shares = engine.query("select * from true_tastes order by customer_id").set_index("customer_id")
    bought = engine.query(
        """
        select t.customer_id, p.category, cast(count(*) as double) as lines
        from transactions as t join products as p using (product_id) where t.kind = 'sale' and p.is_sellable group by all
        """
    )
    own = np.array([shares.at[customer, category] for customer, category in zip(bought.customer_id, bought.category, strict=True)])
    usual = shares.mean()[bought.category].to_numpy()
    assert np.average(own / usual, weights=bought.lines) > 1.5


def test_the_workspace_says_that_it_is_synthetic(large: Workspace) -> None:
    state = large.state()
    assert state.synthetic
    assert "synthetic" in state.title
    assert (state.source, state.currency, state.item, state.horizon_days) == ("simulated", "EUR", "category", 28)
    assert large.now() == datetime(2026, 1, 1, tzinfo=UTC)
    assert not state.assumed
    verify_folder(large.tables)
    verify_folder(large.root / "truth")


def test_lines_per_customer_is_about_what_was_asked_for(large: Workspace) -> None:
    assert large.state().tables["transactions"] / CUSTOMERS == pytest.approx(20.0, rel=0.15)


@pytest.mark.parametrize(
    ("field", "value"), [("customers", 0), ("days", 10), ("lines_per_customer", 0.0), ("as_of", datetime(2026, 1, 1, 5, tzinfo=UTC))]
)
def test_numbers_that_cannot_be_are_refused_by_name(tmp_path: Path, field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=field):
        simulate(Workspace.at(tmp_path), **{"customers": 10, "seed": 1, "progress": False, field: value})  # type: ignore[arg-type]
    assert not (tmp_path / "tables").exists()


def test_an_interrupted_run_leaves_the_old_shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = _shop(tmp_path, 20)
    before = workspace.state()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(simulation, "_block", interrupt)
    with pytest.raises(KeyboardInterrupt):
        simulate(workspace, customers=30, seed=1, progress=False)
    assert workspace.state() == before
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".partial")) == []
    verify_folder(workspace.tables)


def test_draws_depend_on_their_coordinates_only() -> None:
    rows = Draws.seeded(5, np.arange(1000))
    assert np.array_equal(rows.named("a").at(3).uniform()[100:200], Draws.seeded(5, np.arange(100, 200)).named("a").at(3).uniform())
    assert np.array_equal(rows.at(np.arange(4)[:, None]).keys[2], rows.at(2).keys)
    numbers = Draws.seeded(1, np.arange(100_000)).named("x")
    assert abs(numbers.uniform().mean() - 0.5) < 0.005
    assert abs(numbers.normal().std() - 1) < 0.01
    assert abs(np.corrcoef(numbers.uniform(), numbers.at(1).uniform())[0, 1]) < 0.015
    assert abs(np.corrcoef(numbers.uniform()[:-1], numbers.uniform()[1:])[0, 1]) < 0.015


def _arrow(kind: str) -> pa.DataType:
    return {
        "strings": pa.list_(pa.string()),
        "timestamp": pa.timestamp("us", tz="UTC"),
        "string": pa.string(),
        "float": pa.float64(),
        "int": pa.int64(),
        "bool": pa.bool_(),
    }[kind]


def test_the_types_above_are_those_of_the_contract() -> None:
    assert {kind: str(_arrow(kind)).replace("<item: string>", "<string>") for kind in ARROW} == ARROW
