"""The catalogue: pairs are whole, words are complete, nothing protected is read, every class has a feature that varies."""

from __future__ import annotations

from collections import defaultdict

import pytest
import sqlglot
from sqlglot import exp

from features import catalog, services, snapshot
from features.catalog import INTERMEDIATE, KINDS
from features.query import KNOWN
from retain.engine import Engine, of
from retain.errors import ConfigError
from retain.facts import PURCHASE
from retain.tables import PROTECTED, TABLES

INTERMEDIATES = sorted(path.stem for path in INTERMEDIATE.glob("*.sql"))
PRODUCTS = tuple(view for view in catalog.views() if view.entity == "product")
QUERIES = {view.name: view.sql for view in catalog.views()} | {name: catalog.intermediate(name) for name in INTERMEDIATES}


def tables_of(sql: str) -> set[str]:
    tree = sqlglot.parse_one(sql, dialect="duckdb")
    return {table.name for table in tree.find_all(exp.Table)} - {cte.alias for cte in tree.find_all(exp.CTE)}


def test_all_four_classes_and_both_entities_are_there():
    assert {view.kind for view in catalog.customer_views()} == set(KINDS)
    assert {view.kind for view in PRODUCTS} == {"transaction", "descriptive"}
    assert set(catalog.views()) == {*catalog.customer_views(), *PRODUCTS}


def test_feature_names_are_unique_within_an_entity():
    for views in (catalog.customer_views(), PRODUCTS):
        names = [name for view in views for name in view.names]
        assert len(names) == len(set(names))


@pytest.mark.parametrize("view", catalog.views(), ids=lambda view: view.name)
def test_a_view_declares_what_it_reads(view):
    assert tables_of(view.sql) - {"spine"} == set(view.reads)
    assert set(view.reads) <= set(INTERMEDIATES)


@pytest.mark.parametrize("name", INTERMEDIATES)
def test_an_intermediate_table_reads_contract_tables_and_those_built_before_it(name):
    order = catalog.needs((name,))
    assert order[-1] == name
    assert tables_of(QUERIES[name]) <= set(TABLES) | set(order[:-1])


@pytest.mark.parametrize("name", QUERIES)
def test_no_protected_column_is_read(name):
    tree = sqlglot.parse_one(QUERIES[name], dialect="duckdb")
    assert not {column.name for column in tree.find_all(exp.Column)} & PROTECTED
    assert not {column.alias for column in tree.find_all(exp.Alias)} & PROTECTED


def test_no_intermediate_table_hands_on_a_protected_column(shop):
    with of(shop) as engine:
        for name in INTERMEDIATES:
            below = catalog.needs((name,))[:-1]
            before = ", ".join(f"{other} as ({QUERIES[other]})" for other in below)
            columns = engine.arrow(f"{'with ' + before if before else ''} select * from ({QUERIES[name]}) as made limit 0").column_names
            assert not set(columns) & PROTECTED


def test_a_purchase_is_what_the_ground_says_it_is():
    assert PURCHASE in QUERIES["orders"]
    assert PURCHASE in QUERIES["purchase_days"]


def test_every_feature_varies_somewhere(filled):
    constant = set()
    varying = defaultdict(set)
    moment = snapshot.cadence(filled)[-1]
    with Engine() as engine:
        for view in catalog.views():
            engine.attach({"said": snapshot.path(filled, view.name, moment)})
            for feature in view.columns:
                values = engine.rows(f"select count(distinct {feature.name}), count(*) - count({feature.name}) from said")[0]
                name = f"{view.name}:{feature.name}"
                if values[0] + (values[1] > 0) > 1:
                    varying[view.kind].add(name)
                else:
                    constant.add(name)
    assert not constant
    assert set(varying) == set(KINDS)


def test_services_name_every_customer_feature_and_know_words_from_numbers():
    for task in services.TASKS:
        assert services.refs(task) == [f"{view.name}:{name}" for view in catalog.customer_views() for name in view.names]
    assert services.categorical(["purchases:orders_7d", "profile:region"]) == ["profile:region"]
    with pytest.raises(ConfigError, match="nonsense"):
        services.refs("nonsense")
    with pytest.raises(ConfigError, match="profile:nothing"):
        services.categorical(["profile:nothing"])


def test_an_unknown_view_or_table_is_named():
    with pytest.raises(ConfigError, match="'sales' is no feature view"):
        catalog.view("sales")
    with pytest.raises(ConfigError, match=r"nothing\.sql"):
        catalog.intermediate("nothing")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("entity: customer\nttl_days: 8\nclass: transaction\ncolumns: {x: {dtype: Int64, description: d, unit: u}}", "description"),
        ("description: d\nentity: shop\nttl_days: 8\nclass: transaction\ncolumns: {x: {dtype: Int64, description: d, unit: u}}", "entity"),
        ("description: d\nentity: customer\nttl_days: 8\nclass: transaction\ncolumns: {x: {dtype: Int32, description: d, unit: u}}", "dtype"),
        (
            "description: d\nentity: customer\nttl_days: 8\nclass: transaction\ncolumns: {a__b: {dtype: Int64, description: d, unit: u}}",
            "cannot name",
        ),
        (
            "description: d\nentity: customer\nttl_days: 8\nclass: transaction\ncolumns: {created_at: {dtype: Int64, description: d, unit: u}}",
            "cannot name",
        ),
    ],
)
def test_words_that_cannot_be_are_refused(tmp_path, words, complaint):
    (tmp_path / "made.sql").write_text("select 1")
    (tmp_path / "made.yaml").write_text(words)
    with pytest.raises(ConfigError, match=complaint):
        catalog.views(tmp_path)


def test_half_a_pair_is_refused(tmp_path):
    (tmp_path / "made.sql").write_text("select 1")
    with pytest.raises(ConfigError, match="one of them is missing"):
        catalog.views(tmp_path)


def test_the_digest_follows_what_decides_the_values(tmp_path):
    words = "description: d\nentity: customer\nttl_days: 8\nclass: transaction\ncolumns: {x: {dtype: Int64, description: d, unit: u}}"
    for folder, sql in (("one", "select 1"), ("two", "select 2")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "made.sql").write_text(sql)
        (tmp_path / folder / "made.yaml").write_text(words)
    one, two = catalog.views(tmp_path / "one")[0], catalog.views(tmp_path / "two")[0]
    assert one.digest() != two.digest()
    assert len({view.digest() for view in catalog.views()}) == len(catalog.views())
    assert set(KNOWN.values()) <= set(INTERMEDIATES)
