"""A shop a month after training: calm where nothing happened, and a table that stopped is named as the source, since when, with its features."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

from experiments.drift import MOVED, drift
from features import catalog, snapshot, store
from retain.cli import main
from retain.errors import NotReadyError
from retain.workspace import Workspace
from serving.metrics import Metrics
from training.contracts import Frame
from training.drift import chance, psi
from training.pipeline import train
from training.reference import FILE, Reference, of_rows

# What MLflow and its libraries say of each other's deprecations is theirs to mend.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
MONTH = timedelta(days=28)


def _build(workspace: Workspace, moments: list[datetime]) -> None:
    views = catalog.customer_views()
    snapshot.build(workspace, moments, views)
    store.apply(workspace, views)


@pytest.fixture(scope="module")
def later(shop: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A shop whose champions were trained a month ago."""
    root = tmp_path_factory.mktemp("later")
    shutil.copytree(shop.root, root, dirs_exist_ok=True)
    workspace = Workspace.at(root)
    state = workspace.state()
    assert state.as_of is not None
    then = state.as_of - MONTH
    cutoffs = [then - k * MONTH for k in (4, 3, 2, 1)]
    workspace.write_state(state.model_copy(update={"as_of": then}))
    _build(workspace, [*cutoffs, then])
    plan = {
        "task": {"use": "training.tasks.churn:Churn"},
        "models": {"rfm": {"use": "training.models.rules:RfmLogistic"}, "logistic": {"use": "training.models.logistic:Logistic", "c": 0.01}},
        "baseline": "logistic",
        "simple": ["logistic"],
        "cutoffs": [cutoff.isoformat() for cutoff in cutoffs],
    }
    (root / "plan.yaml").write_text(yaml.safe_dump(plan))
    train(str(root / "plan.yaml"), workspace, models=["logistic"])
    train("recommend", workspace, models=["personal"])
    workspace.write_state(state)
    _build(workspace, [then + timedelta(days=7 * k) for k in range(1, 5)])
    return workspace


def _without_events(workspace: Workspace, since: datetime) -> None:
    path = workspace.table("events")
    table = pq.read_table(path)
    pq.write_table(table.filter(pc.less(table["occurred_at"], pa.scalar(since, table["occurred_at"].type))), path)


def test_a_month_in_which_nothing_happened_is_calm(later: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    for task in ("churn", "recommend"):
        found = drift(later, task)
        steady = [each for each in found.moved if each.kind != "outcomes" and not each.what.startswith("contacts")]
        assert not steady, "campaigns come in waves; nothing else has moved"
        assert {each.kind for each in found.findings} == {"data", "inputs", "scores", "outcomes", "calibration"}
        assert found.unknown == (), "the first window after the training has closed"
    assert main(["drift", "churn", "--workspace", str(later.root)]) in (0, MOVED)
    assert "inputs" in capsys.readouterr().out


def test_a_table_that_stopped_is_the_likely_source(later: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(later.root, tmp_path / "copy")
    copy = Workspace.at(tmp_path / "copy")
    now = copy.now()
    begin = now - timedelta(days=14)
    _without_events(copy, begin)
    for k in (0, 1):
        for view in catalog.customer_views():
            snapshot.path(copy, view.name, now - timedelta(days=7 * k)).unlink()
    _build(copy, [now, now - timedelta(days=7)])

    assert main(["drift", "churn", "--json", "--workspace", str(copy.root)]) == MOVED
    said = json.loads(capsys.readouterr().out)
    moved = [each for each in said["findings"] if each["is_moved"]]
    inputs = [each for each in moved if each["kind"] == "inputs"]
    assert "events" in [each["what"] for each in moved if each["kind"] == "data"]
    active = [each for each in inputs if each["what"].partition("__")[0] in ("activity", "voice")]
    assert active
    assert {each["what"].partition("__")[0] for each in inputs} <= {"activity", "voice", "contacts"}, inputs
    first = min(each["since"] for each in active if each["since"])
    assert datetime.fromisoformat(first) in (now - timedelta(days=7), now)
    source = next(part for part in said["source"].split("; ") if part.startswith("events"))
    assert f"{len(active)} of the {len(inputs)} inputs that moved read it" in source
    assert source.endswith(f"since the snapshot of {first[:10]}")

    kept = json.loads((copy.drift / "churn.json").read_text())
    assert kept == said
    page = Metrics(drift=copy.drift).page()[0].decode()
    assert f'retain_drift_moved{{kind="inputs",task="churn"}} {len(inputs)}.0' in page
    assert 'retain_drift_looked_at{task="churn"}' in page
    (copy.drift / "churn.json").write_text("{broken")
    assert 'kind="inputs",task="churn"' not in Metrics(drift=copy.drift).page()[0].decode(), "a broken file gives no figure, and no error"


def test_customers_who_buy_otherwise_are_seen_in_inputs_and_lists(later: Workspace, tmp_path: Path) -> None:
    shutil.copytree(later.root, tmp_path / "copy")
    copy = Workspace.at(tmp_path / "copy")
    begin = copy.now() - timedelta(days=27)
    path = copy.table("transactions")
    table = pq.read_table(path)
    is_late = pc.greater_equal(table["occurred_at"], pa.scalar(begin, table["occurred_at"].type))
    one = table["product_id"].filter(pc.and_(is_late, pc.is_valid(table["product_id"])))[0]
    at = table.column_names.index("product_id")
    pq.write_table(table.set_column(at, "product_id", pc.if_else(is_late, one, table["product_id"])), path)
    found = drift(copy, "recommend")
    moved = {(each.kind, each.what) for each in found.moved}
    item = "category" if ("inputs", "category") in moved else "product"
    assert ("inputs", item) in moved, "everybody bought the same"
    assert ("inputs", "items_per_order_28d") in moved, "one item an order is left"
    assert ("outcomes", "buyers") not in moved, "as many came"
    since = next(each.since for each in found.moved if each.what == item)
    assert since is not None
    assert begin <= since <= copy.now()
    assert found.source.startswith("what customers buy")


def test_what_cannot_be_compared_is_said(later: Workspace, trained: Workspace, tmp_path: Path) -> None:
    found = drift(trained, "churn")
    assert [each for each in found.findings if each.kind == "outcomes"] == []
    assert "outcomes and calibration can be said from" in found.unknown[0]
    assert found.source == "", "the day of the training itself"
    with pytest.raises(NotReadyError, match="retain train uplift"):
        drift(later, "uplift")
    with pytest.raises(NotReadyError, match="train it again"):
        Reference.load(tmp_path)


def test_the_reference_gives_the_index_of_the_rows_themselves(frame: Frame, tmp_path: Path) -> None:
    kept = of_rows(frame)
    kept.save(tmp_path)
    again = Reference.load(tmp_path)
    rng = np.random.default_rng(2)
    x = np.column_stack([frame.x[:, 0] * 1.5, np.where(rng.random(len(frame)) < 0.5, np.nan, frame.x[:, 1])])
    other = Frame(frame.customer_id, frame.cutoff, frame.columns, x, frame.y, 28)
    for place, name in enumerate(frame.columns):
        assert again.drift(other)[name] == pytest.approx(psi(frame.x[:, place], x[:, place]))
        assert again.drift(frame)[name] == pytest.approx(0.0)
    assert b"c001" not in (tmp_path / FILE).read_bytes()


def test_chance_alone_seldom_passes_the_limit() -> None:
    rng = np.random.default_rng(5)
    found = [psi(rng.normal(size=300), rng.normal(size=300)) for _ in range(300)]
    assert np.mean(np.array(found) > chance(10, 300, 300)) < 0.02
    assert np.mean(found) > 0.02, "and yet it is far from zero"
