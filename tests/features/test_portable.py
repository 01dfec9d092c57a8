"""The SQL that engines share: all of ours is, and what engines read differently is refused."""

from __future__ import annotations

import pytest

from features import catalog
from features.portable import unportable
from retain.errors import ConfigError

FILES = sorted(catalog.FOLDER.rglob("*.sql"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_our_queries_are_portable(path):
    assert unportable(path.read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize(
    "sql",
    [
        "select ln(x) as y from t",
        "select dayofweek(x) as y from t",
        "select epoch(x) as y from t",
        "select quantile_cont(x, 0.5) as y from t",
        "select list(x order by z) as y from t",
        "select stddev(x) as y from t",
        "select first(x) as y from t",
        "select our_own(x) as y from t",
        "select date_diff('day', a, b) as y from t",
        "select date_diff('hour', cast(a as date), cast(b as date)) as y from t",
        "select a - interval 7 day as y from t",
        "select a / b as y from t",
        "select a / (b - 1) as y from t",
        "select a / 0 as y from t",
        "select a // 2 as y from t",
        "select cast(a as hugeint) as y from t",
        "select * exclude (a) from t",
        "select a from t group by all",
        "select a from t join u using (a)",
        "select a from t asof join u on t.a >= u.a",
        "select distinct a from t",
        "select a from t qualify row_number() over (order by a) = 1",
        "select a from t limit 5",
    ],
)
def test_what_engines_read_differently_is_refused(sql):
    assert unportable(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "select a / nullif(b, 0) as y from t",
        "select a / (count(*) + 20.0e0) as y from t group by a",
        "select date_diff('day', cast(a as date), cast(b as date)) as y from t",
        "select count(distinct a) filter (where b > 1) as y from t",
        "select sum(a) over (partition by b order by c rows between unbounded preceding and 1 preceding) as y from t",
    ],
)
def test_what_engines_share_is_allowed(sql):
    assert unportable(sql) == set()


@pytest.mark.parametrize("sql", ["select from where", "select 1; select 2"])
def test_what_is_no_query_is_said(sql):
    with pytest.raises(ConfigError, match="features/sql"):
        unportable(sql)
