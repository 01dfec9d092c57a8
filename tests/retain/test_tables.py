"""The contract itself is sound: names, kinds, keys, times."""

import pytest

from retain.errors import DataError
from retain.tables import ARROW, PROTECTED, SQL, TABLES, missing, table


def test_there_are_eight_tables_with_two_times_each() -> None:
    assert list(TABLES) == ["customers", "products", "transactions", "events", "offers", "contacts", "outcomes", "subscriptions"]
    for contract in TABLES.values():
        assert contract.by_name["occurred_at"].required
        assert contract.by_name["known_at"].kind == "timestamp"
        assert contract.by_name["source"].derived


@pytest.mark.parametrize("name", list(TABLES))
def test_columns_are_unique_known_and_explained(name: str) -> None:
    contract = TABLES[name]
    assert len(set(contract.names)) == len(contract.names)
    assert set(contract.key) | set(contract.sort) <= set(contract.names)
    for column in contract.columns:
        assert column.kind in ARROW
        assert column.kind in SQL
        assert column.meaning.endswith(".")
        assert column.name == column.name.lower()


def test_protected_columns_exist() -> None:
    assert set(TABLES["customers"].names) >= PROTECTED


def test_missing_names_required_columns() -> None:
    assert missing("transactions", ["order_id", "product_id", "occurred_at", "quantity"]) == ["amount"]
    with pytest.raises(DataError, match="nothing"):
        table("nothing")
