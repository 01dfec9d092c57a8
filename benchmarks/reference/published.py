"""The figures that the reference publishes, read from its own pages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

HEADS = {"auc": "AUC", "log_loss": "log loss", "mae": "MAE", "gini_norm": "norm. Gini", "ndcg@10": "NDCG@10"}
"""The evaluators' names of metrics to the pages'."""
_LISTED = {
    "popularity, recent window": "popularity",
    "personal frequency, then popularity (GP-TopFreq)": "gp_topfreq",
    "ALS defaults, bought items kept": "als_default",
    "personal frequency, recency-weighted": "recency",
    "TIFU-KNN": "tifu_knn",
    "EASE^R": "ease",
    "item-KNN (implicit: cosine, TF-IDF or BM25)": "item_knn",
    "ALS tuned": "als",
    "RP3beta": "rp3beta",
    "UP-CF@r": "up_cf",
    "linear blend": "blend_linear",
    "two-stage (candidates + LambdaRank)": "two_stage",
}
_CELL = re.compile(r"\**(-?[\d.]+)(?: \[(-?[\d.]+), (-?[\d.]+)\])?\**")


@dataclass(frozen=True)
class Published:
    """A figure, and its 95 % interval where the page gives one."""

    value: float
    low: float | None = None
    high: float | None = None

    def holds(self, figure: float, places: int = 3) -> bool:
        """Whether a figure lies within the interval; both as the page rounds them."""
        return self.low is None or self.high is None or self.low <= round(figure, places) <= self.high


def figures(references: Path, name: str) -> dict[str, dict[str, Published]]:
    """Row to metric to figure of one task (``churn:SET``) or of one split and target (``SET, target all``)."""
    is_task = ":" in name
    text = (references / ("models.md" if is_task else "recsys.md")).read_text(encoding="utf-8")
    head = re.escape(f"`{name}`" if is_task else name)
    found = re.search(rf"^###+ {head}[^\n]*\n\n((?:\|[^\n]*\n)+)", text, re.MULTILINE)
    if found is None:
        raise SystemExit(f"the pages in {references} have no table of {name}")
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in found[1].splitlines()]
    heads = lines[0]
    rows: dict[str, dict[str, Published]] = {}
    for cells in lines[2:]:
        row = cells[0] if is_task else _LISTED.get(cells[0], cells[0])
        values = {metric: _figure(cells[heads.index(title)]) for metric, title in HEADS.items() if title in heads}
        rows[row] = {metric: value for metric, value in values.items() if value is not None}
    return rows


def _figure(cell: str) -> Published | None:
    found = _CELL.match(cell)
    if found is None:
        return None
    return Published(float(found[1]), *(float(bound) if bound else None for bound in found.groups()[1:]))
