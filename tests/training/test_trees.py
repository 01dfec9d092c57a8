"""Texts whose hash is right and whose trees are not are refused before LightGBM reads them."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retain.errors import IntegrityError
from training.contracts import Frame
from training.models.lightgbm import FittedLightGBM, LightGBM
from training.models.rates import Rates
from training.models.trees import check

COLUMNS = ("a__x", "a__y", "a__z")


@cache
def text() -> str:
    random = np.random.default_rng(0)
    x = random.normal(size=(400, 3))
    x[random.random((400, 3)) < 0.1] = np.nan
    y = (np.nan_to_num(x[:, 0]) + random.normal(0, 0.5, 400) > 0).astype(float)
    ids = np.array([f"c{k:03d}" for k in range(400)], dtype=object)
    frame = Frame(ids, np.full(400, np.datetime64("2025-01-01", "us")), COLUMNS, x, y, 28)
    return LightGBM(trees=4, num_leaves=5, min_rows_in_leaf=5, feature_share=1.0).fit(frame).text


def edited(name: str, value: str, tree: int = 1) -> str:
    """The text with one list of one tree replaced, its sizes set right as a careful forger would."""
    head, _, body = text().partition("\n\n")
    blocks = re.split(r"(?=Tree=\d+\n)", body.removesuffix("end of trees\n"))[1:]
    blocks[tree] = re.sub(rf"^{name}=.*$", f"{name}={value}", blocks[tree], flags=re.MULTILINE)
    head = re.sub(r"^tree_sizes=.*$", "tree_sizes=" + " ".join(str(len(block)) for block in blocks), head, flags=re.MULTILINE)
    return head + "\n\n" + "".join(blocks) + "end of trees\n"


def test_what_we_write_is_sound() -> None:
    check(text(), COLUMNS)
    assert edited("shrinkage", "0.03") == text()


def test_it_says_nothing_of_threads_or_paths() -> None:
    assert "num_threads" not in text()
    assert text().endswith("end of trees\n")


@pytest.mark.fault("B12")
@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("left_child", "1 2 3 1000000", "form a tree"),
        ("left_child", "0 0 0 0", "form a tree"),
        ("right_child", "-2 -3 -4 -9", "form a tree"),
        ("split_feature", "0 1 2 3", "outside 0 to 2"),
        ("split_feature", "0 1 2 -1", "outside 0 to 2"),
        ("split_feature", "0 1 2", "3 values, 4"),
        ("split_feature", "0 1 2 1.5", "whole numbers"),
        ("split_feature", "0 1 2 99999999999999999999", "whole numbers"),
        ("threshold", "nan 0 0 0", "a threshold is no number"),
        ("threshold", "0 0 0", "3 values, 4"),
        ("threshold", "0 0 0 x", "no number"),
        ("split_gain", "1_0 0 0 0", "no number"),  # Python reads ten; LightGBM ends the process
        ("threshold", "0 0 0 infinity", "no number"),
        ("left_child", "1e0 -1 3 2", "whole numbers"),  # Python reads 1, LightGBM stops at the letter
        ("internal_count", "9 9 9 99999999999", "whole numbers"),
        ("leaf_value", "0 0 0 0 nan", "not finite"),
        ("leaf_value", "0 0 0 0 inf", "not finite"),
        ("leaf_value", "0 0 0 0", "4 values, 5"),
        ("num_leaves", "1000000000", "no count"),
        ("num_leaves", "999999999", "leaves"),
        ("num_leaves", "-1", "no count"),
        ("num_leaves", "4", "values"),
        ("num_cat", "1", "categorical"),
        ("is_linear", "1", "linear"),
        ("decision_type", "1 2 2 2", "unknown kind"),
        ("shrinkage", "nan", "not finite"),
    ],
)
def test_a_tree_that_is_none_is_refused(name: str, value: str, words: str) -> None:
    with pytest.raises(IntegrityError, match=words):
        check(edited(name, value), COLUMNS)


@pytest.mark.fault("B12")
def test_a_cycle_is_refused() -> None:
    def children(left: str, right: str) -> str:
        both = edited("left_child", left)
        return both.replace(re.findall(r"^right_child=.*$", both, re.MULTILINE)[1], f"right_child={right}")

    # 2 and 3 are each other's parent; every node is still somebody's child exactly once, the root aside.
    forged = children("1 -1 3 2", "-2 -3 -4 -5")
    sizes = [len(block) for block in re.split(r"(?=Tree=\d+\n)", forged.partition("\n\n")[2].removesuffix("end of trees\n"))[1:]]
    forged = re.sub(r"^tree_sizes=.*$", "tree_sizes=" + " ".join(map(str, sizes)), forged, flags=re.MULTILINE)
    with pytest.raises(IntegrityError, match="own ancestor"):
        check(forged, COLUMNS)


@pytest.mark.fault("B12")
@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (r"^version=v4$", "version=v9", "version"),
        (r"^num_class=1$", "num_class=1000000000", "classes"),
        (r"^max_feature_idx=2$", "max_feature_idx=2000000000", "features"),
        (r"^feature_names=.*$", "feature_names=a__y a__x a__z", "features"),
        (r"^objective=.*$", "objective=custom", "objective"),
        (r"^tree_sizes=.*$", "tree_sizes=1", "size"),
        (r"^tree_sizes=.*$", "tree_sizes=-5 10", "size"),
        (r"^tree_sizes=.*$", "tree_sizes=", "number"),
        (r"^tree_sizes=.*$", "tree_sizes=" + " ".join(["9"] * 6000), "6000 trees"),
        (r"^tree$", "forest", "header"),
        (r"^version=v4$", "version=v4\nversion=v4", "twice"),
        (r"^Tree=2$", "Tree=7", "begin"),
        (r"end of trees\n", "end of trees\nparameters:\n", "cut short"),
        (r"^Tree=1$", "Tree=1\r", "never writes"),
    ],
)
def test_a_head_that_is_none_is_refused(old: str, new: str, words: str) -> None:
    forged = re.sub(old, new, text(), count=1, flags=re.MULTILINE)
    assert forged != text()
    with pytest.raises(IntegrityError, match=words):
        check(forged, COLUMNS)


@pytest.mark.fault("B13")
@settings(max_examples=60, deadline=None)
@given(st.floats(0, 0.999))
def test_a_text_cut_anywhere_is_refused(share: float) -> None:
    with pytest.raises(IntegrityError):
        FittedLightGBM.from_text(COLUMNS, Rates((), "", 28.0), text()[: int(len(text()) * share)])


@pytest.mark.fault("B12")
@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.characters(min_codepoint=32, max_codepoint=126))
def test_one_changed_character_is_refused_or_harmless(place: int, character: str) -> None:
    at = place % len(text())
    changed = text()[:at] + character + text()[at + 1 :]
    try:
        fitted = FittedLightGBM.from_text(COLUMNS, Rates((), "", 28.0), changed)
    except IntegrityError:
        return
    assert np.isfinite(fitted.predict(np.zeros((2, 3)))).all()
