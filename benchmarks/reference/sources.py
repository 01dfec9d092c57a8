"""The evaluators and what they read: loaded from the reference's own folder, so that rows and cuts are theirs."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

ITEMS = {"online_retail": "stock_code", "completejourney": "product_id", "cdnow_sample": "quantity"}
"""Column that says what was bought; CDNOW names no articles, so the number of discs stands for one."""


def evaluator(references: Path, name: str) -> Any:
    """``models_eval`` or ``recsys_eval`` as a module."""
    path = references / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise SystemExit(f"{path} is missing; --references names the folder that holds models_eval.py and recsys_eval.py")
    module: ModuleType = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def ledger(models_eval: Any, dataset: str, data: Path) -> pd.DataFrame:
    """The evaluator's ledger with the item of each line, orders and items as numbers."""
    lines = models_eval.LEDGERS[dataset](data / dataset)
    items = pd.read_parquet(data / dataset / "transactions.parquet", columns=[ITEMS[dataset]])[ITEMS[dataset]]
    lines["item"] = pd.factorize(items.reindex(lines.index))[0]
    lines["order_id"] = pd.factorize(lines.order_id)[0]
    return lines.reset_index(drop=True)
