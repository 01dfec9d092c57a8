"""The ablation of the blends: variants differ where they should, and contradictions are counted."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from training.contracts import Frame, score
from training.models.ensemble import Ensemble, Parts
from training.models.purchase_process.models import BgNbd
from training.tasks.churn import Churn

ROOT = Path(__file__).resolve().parents[2]
RULES = ({"use": "training.models.rules:RecencyRule"}, {"use": "training.models.rules:RfmLogistic"})


def _module(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


members = _module("benchmark_of_members", ROOT / "benchmarks" / "members.py")
sample = _module("model_contract_for_members", ROOT / "tests" / "contracts" / "model_contract.py").sample


@pytest.fixture(scope="module")
def frame() -> Frame:
    return sample()


def test_each_variant_is_the_recipe_with_one_thing_changed(frame: Frame) -> None:
    ensemble = Ensemble(members=RULES)
    parts = ensemble.parts(frame)
    assert isinstance(parts, Parts)
    variants = members.of_chance(ensemble, parts, frame)
    assert np.array_equal(score(variants[members.WHOLE], frame), score(ensemble.fit(frame), frame))
    assert np.array_equal(score(variants["without RecencyRule"], frame), score(variants["RfmLogistic alone"], frame))
    bare = variants["weights alone: no map, no level"]
    assert (bare.map.method, bare.map.level) == ("none", 0.0)
    assert variants["equal weights"].inner.weights == (0.5, 0.5)
    assert set(variants) == {
        members.WHOLE, "weights alone: no map, no level", "no level", "equal weights",
        "RecencyRule alone", "without RecencyRule", "RfmLogistic alone", "without RfmLogistic",
    }  # fmt: skip
    said = {name: score(fitted, frame) for name, fitted in variants.items()}
    lines = members.table(Churn(), [members.Seen(frame, said, (), None)])
    assert len(lines) == 2 + len(variants)
    assert lines[0].count("|") == lines[-1].count("|") == 8
    assert "+0 [+0, +0]" not in lines[2]


def test_contradictions_are_counted_and_there_are_none(frame: Frame) -> None:
    test = frame.at_newest()
    test = replace(test, columns=(*frame.columns, members.USUAL), x=np.column_stack([test.x, np.full(len(test), 20.0)]))
    none = np.linspace(0, 1, len(test))
    risk = members.Seen(test, {members.WHOLE: none}, (), BgNbd(kind="amount").fit(frame))
    value = members.Seen(test.take(np.arange(len(test))[::-1]), {members.WHOLE: np.linspace(0, 90, len(test))}, (), None)
    found = members.contradictions([risk], [value], 30)
    assert found.pop("customers") == len(test)
    assert not any(count for law, count in found.items() if not law.startswith("apart"))
    assert any(count for law, count in found.items() if law.startswith("apart"))
