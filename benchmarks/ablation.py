"""What each candidate source and each stage of the recommender adds, on a window of its own, with 95 % intervals over customers.

    python -m benchmarks.ablation WORKSPACE [--item product] [--horizon 90]

The workspace holds an ingested source, its clock at the end of the window that judges. Weights and trees are learned on the window before
that one; nothing is learned from the window that judges. Slow: minutes of processor time.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from features import interactions
from features.interactions import Interactions
from retain import engine
from retain.workspace import Workspace
from training.contracts import PURPOSES, Floats, Purpose
from training.controls import price
from training.models.blend import Blend
from training.models.item_facts import NAMES as ITEM
from training.models.ordering import Lessons
from training.models.pair_facts import CUSTOMER, OWN
from training.models.purchases import before, catalogue
from training.models.staged import Staged, columns
from training.models.weighing import Weighing
from training.tasks.recommend import Recommend


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--item", choices=("product", "category"), default="product")
    parser.add_argument("--horizon", type=int, default=28)
    asked = parser.parse_args()
    workspace = Workspace.at(asked.workspace)
    with engine.of(workspace) as sql:
        history = interactions.load(sql, workspace.now(), asked.item)
    for row in ablation(history, asked.horizon):
        print(json.dumps(row), flush=True)


def ablation(history: Interactions, horizon_days: int) -> list[dict[str, object]]:
    """One row per purpose and what was left out: NDCG without it, and the paired difference from having it."""
    task, model = Recommend(), Staged(horizon_days=horizon_days)
    first = model.first.model_copy(update={"horizon_days": horizon_days})
    past = task.history(before(history, horizon_days))
    taught = model.taught(catalogue(past, first.min_customers), first)
    drawn = first.weighing.drawn(past, history)
    if not taught or drawn is None:
        raise SystemExit("too few customers bought in the windows to learn from and to judge on")
    judged = model.lessons(first.learned(past), past, *drawn)
    families = _families(first)
    table: list[dict[str, object]] = []
    for purpose in PURPOSES:
        table += _purpose(purpose, taught[0][purpose], judged[purpose], families, first.weighing, model)
    return table


def _families(first: Blend) -> dict[str, list[int]]:
    """Source to its places among the candidates."""
    found: dict[str, list[int]] = {}
    for place, candidate in enumerate(first.candidates):
        name = type(candidate).__name__.lower()
        found.setdefault(getattr(candidate, "nearness", name), []).append(place)
    return found


def _purpose(
    purpose: Purpose, learned: Lessons, judged: Lessons, families: Mapping[str, list[int]], weighing: Weighing, model: Staged
) -> list[dict[str, object]]:
    count = len(model.first.candidates)
    everything = list(range(count))

    def weights(places: list[int]) -> Floats:
        found = weighing.search(learned.x[:, places], learned.hit, learned.row, learned.size)
        full = np.zeros(count)
        full[places] = 1.0 / len(places) if found is None else found
        return full

    def row(what: str, value: Floats, against: Floats | None = None) -> dict[str, object]:
        out: dict[str, object] = {"purpose": purpose, "what": what, "customers": len(value), "ndcg@10": round(float(value.mean()), 4)}
        if against is not None:
            paid = price(against, value)
            out["difference"] = [round(each, 4) for each in (paid.value, paid.low, paid.high)]
        return out

    whole = weights(everything)
    blend = judged.ndcg(judged.x[:, :count] @ whole)
    table = [row("blend of all sources", blend)]
    for name, places in families.items():
        table.append(row(f"{name} alone", judged.ndcg(judged.x[:, :count] @ weights(places)), blend))
        rest = [place for place in everything if place not in places]
        table.append(row(f"blend without {name}", judged.ndcg(judged.x[:, :count] @ weights(rest)), blend))
    names = columns(count)
    teach, test = (each.with_column(each.x[:, :count] @ whole) for each in (learned, judged))
    groups = {"": (), "own history": OWN, "customer facts": CUSTOMER, "item facts": ITEM, "candidates' scores and ranks": names[1 : 1 + 2 * count]}
    trees = blend
    for name, left_out in groups.items():
        places = [place for place, column in enumerate(names) if column not in left_out]
        kept = tuple(names[place] for place in places)
        fitted = model.ordering.fit(_narrowed(teach.useful(), places), kept)
        value = test.ndcg(fitted.predict(np.ascontiguousarray(test.x[:, places])))
        table.append(row(f"trees without {name}" if name else "trees over the blend", value, trees))
        trees = trees if name else value
    return table


def _narrowed(lessons: Lessons, places: list[int]) -> Lessons:
    return Lessons(np.ascontiguousarray(lessons.x[:, places]), lessons.hit, lessons.row, lessons.size, lessons.names)


if __name__ == "__main__":
    main()
