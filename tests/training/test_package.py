"""A packaged model is opened only when every byte, its structure and its own golden answers hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features.interactions import Interactions
from retain import signing
from retain.errors import DataError, IntegrityError
from retain.files import MANIFEST, read_json, sha256, write_json
from retain.workspace import Workspace
from serving.champions import packages
from training import parity
from training.card import Card
from training.contracts import Frame
from training.encoding import Encoder
from training.evidence import Evidence
from training.models.popular import Popularity
from training.package import POINTER, champion, folders, load, package, previous

Made = Callable[..., Path]


def _rehash(folder: Path) -> None:
    """Make the manifest agree with what lies there, as somebody with bad intent would."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    (folder / MANIFEST).write_text(json.dumps({"files": {name: sha256(folder / name) for name in names}}))


def _edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(read_json(path) | changes))


@pytest.mark.fault("B17")
def test_equal_models_land_in_the_same_folder_with_the_same_bytes(made: Made) -> None:
    first = made()
    before = read_json(first / MANIFEST)
    second = made()
    assert second == first
    assert read_json(second / MANIFEST) == before
    assert made(c=0.5) != first


def test_a_loaded_model_scores_as_the_fitted_one_whatever_the_order_of_columns(made: Made, frame: Frame) -> None:
    opened = load(made())
    table = pd.DataFrame(frame.x, columns=list(frame.columns))
    said = opened.predict(table)
    assert opened.refs == [column.replace("__", ":", 1) for column in opened.card.columns]
    np.testing.assert_array_equal(said, opened.fitted.predict(frame.x))  # type: ignore[union-attr]
    shuffled = table[table.columns[::-1]].assign(unrelated=1.0)
    np.testing.assert_array_equal(opened.predict(shuffled), said)
    assert np.unique(said).size > 10


def test_a_missing_column_is_named(made: Made, frame: Frame) -> None:
    opened = load(made())
    with pytest.raises(DataError, match=frame.columns[1]):
        opened.predict(pd.DataFrame(frame.x[:, :1], columns=[frame.columns[0]]))


@pytest.mark.fault("B10")
def test_an_unsigned_or_wrongly_signed_champion_is_refused_and_the_one_before_kept(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    (secret, public), (other, _) = signing.pair(bytes(range(32))), signing.pair(bytes(32))
    monkeypatch.setenv("RETAIN_SIGNING_KEY", secret)
    signed = made()
    monkeypatch.setenv("RETAIN_SIGNING_KEY", other)
    forged = made(c=0.25)
    monkeypatch.delenv("RETAIN_SIGNING_KEY")
    unsigned = made(c=0.5)
    workspace, task = Workspace.at(signed.parent.parent.parent), signed.parent.name
    assert workspace.models == signed.parent.parent
    pointer = signed.parent / POINTER
    for folder in (unsigned, forged):
        write_json(pointer, {"model_id": folder.name, "previous": signed.name})
        assert packages(workspace, task)[1] is None, "without a key nothing is refused"
        with monkeypatch.context() as demanded:
            demanded.setenv("RETAIN_VERIFY_KEY", public)
            found, code = packages(workspace, task)
            assert found is not None
            assert (found.folder, code) == (signed, f"{task}_previous_model")
            with pytest.raises(IntegrityError, match="signed"):
                load(folder)


@pytest.mark.fault("B1")
def test_an_equal_model_made_again_leaves_the_one_that_may_be_answering_where_it_is(made: Made) -> None:
    folder = made()
    stood = folder.stat().st_ino
    assert made().stat().st_ino == stood
    (folder / "evidence.npz").write_bytes(b"changed")
    assert made() == folder
    assert folder.stat().st_ino != stood
    load(folder)


@pytest.mark.fault("B10")
def test_one_flipped_bit_anywhere_is_refused(made: Made) -> None:
    folder = made()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        whole = file.read_bytes()
        broken = bytearray(whole)
        broken[len(broken) // 2] ^= 1
        file.write_bytes(bytes(broken))
        with pytest.raises((IntegrityError, DataError)):
            load(folder)
        file.write_bytes(whole)
    load(folder)


@pytest.mark.fault("B13")
def test_a_truncated_or_missing_file_is_refused(made: Made) -> None:
    folder = made()
    native = next(iter((folder / "model").iterdir()))
    whole = native.read_bytes()
    native.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(IntegrityError, match=native.name):
        load(folder)
    native.unlink()
    with pytest.raises(IntegrityError, match="missing"):
        load(folder)


@pytest.mark.fault("B14")
@pytest.mark.parametrize("use", ["os:system", "training.package:load", "training.models.logistic:np", "training.models.no:Thing", "pickle:loads"])
def test_a_class_that_is_no_model_is_never_called(made: Made, use: str) -> None:
    folder = made()
    _edit(folder / "card.json", fitted=use)
    _rehash(folder)
    with pytest.raises(IntegrityError):
        load(folder)


@pytest.mark.fault("B16")
def test_a_card_of_a_newer_release_asks_for_an_upgrade(made: Made) -> None:
    folder = made()
    _edit(folder / "card.json", schema_version=99, invented="later")
    _rehash(folder)
    with pytest.raises(IntegrityError, match="upgrade"):
        load(folder)


@pytest.mark.fault("B12")
def test_weights_that_were_changed_with_their_hashes_fail_the_golden_answers(made: Made) -> None:
    folder = made()
    native = folder / "model" / "logistic.json"
    _edit(native, bias=float(read_json(native)["bias"]) + 0.5)
    _rehash(folder)
    with pytest.raises(IntegrityError, match="golden"):
        load(folder)


@pytest.mark.fault("B14")
def test_what_a_model_never_holds_is_refused_before_it_is_read(made: Made) -> None:
    folder = made()
    (folder / "model" / "extra.bin").write_bytes(b"\x80\x04")
    _rehash(folder)
    with pytest.raises(IntegrityError, match="never read"):
        load(folder)
    (folder / "model" / "extra.bin").unlink()
    (folder / "model" / "link.json").symlink_to(folder / "card.json")
    _rehash(folder)
    with pytest.raises(IntegrityError, match="link"):
        load(folder)


def test_an_unfinished_folder_does_not_exist(made: Made, workspace: Workspace) -> None:
    folder = made()
    assert folders(workspace, "churn") == [folder]
    (folder / MANIFEST).unlink()
    assert folders(workspace, "churn") == []
    with pytest.raises(IntegrityError, match="never finished"):
        load(folder)


def test_a_ranker_is_packaged_opened_and_checked(
    workspace: Workspace, history: Interactions, card: Callable[..., Card], evidence: Callable[..., Evidence]
) -> None:
    fitted = Popularity(window_days=60).fit(history)
    folder = package(fitted, card("ranker"), workspace.models, evidence=evidence(), golden=history)
    opened = load(folder)
    asked = np.arange(5, dtype=np.int64)
    np.testing.assert_array_equal(opened.ranker.rank(history, asked, 4, "new").items, fitted.rank(history, asked, 4, "new").items)
    assert parity.failures(folder) == ()
    golden = read_json(folder / "golden.json")
    assert "c000" not in (folder / "golden.json").read_text(), "no customer is named in a model"
    golden["lists"]["all"]["items"][0].reverse()
    (folder / "golden.json").write_text(json.dumps(golden))
    _rehash(folder)
    with pytest.raises(IntegrityError, match="golden"):
        load(folder)
    with pytest.raises(DataError, match="ranks"):
        opened.predict(pd.DataFrame())


def test_categories_reach_the_model_as_the_codes_it_learned(
    workspace: Workspace, card: Callable[..., Card], evidence: Callable[..., Evidence]
) -> None:
    from training.models.lightgbm import LightGBM

    raw = pd.DataFrame({"profile__region": ["north", "south", None, "north"] * 50, "purchases__orders_365d": np.arange(200.0)})
    encoder = Encoder.learn(raw, ["profile__region"])
    x = encoder.encode(raw)
    outcome = (raw["profile__region"] == "north").to_numpy(dtype=np.float64)
    customers = np.array([f"c{i}" for i in range(200)], dtype=object)
    rows = Frame(customers, np.full(200, np.datetime64("2017-12-04", "us")), tuple(raw.columns), x, outcome, 28)
    fitted = LightGBM(trees=20, min_rows_in_leaf=5, feature_share=1.0).fit(rows)
    made = card(columns=fitted.columns)
    opened = load(package(fitted, made, workspace.models, evidence=evidence(), golden=x, encoder=encoder))
    said = opened.predict(raw[raw.columns[::-1]])
    assert said[0] > 0.5 > said[1]
    unseen = opened.predict(raw.assign(profile__region="elsewhere").head(1))
    assert np.isfinite(unseen).all()


def test_pointers_lead_only_to_models_of_the_task(made: Made, workspace: Workspace) -> None:
    folder = made()
    assert champion(workspace, "churn") is None
    pointer = workspace.models / "churn" / "champion.json"
    pointer.write_text(json.dumps({"model_id": folder.name, "previous": None}))
    assert champion(workspace, "churn") == folder
    assert previous(workspace, "churn") is None
    pointer.write_text(json.dumps({"model_id": "../../elsewhere", "previous": None}))
    with pytest.raises(IntegrityError, match="no model id"):
        champion(workspace, "churn")
