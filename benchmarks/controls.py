"""What the shop's wishes for a list cost: NDCG of the lists with and without variety, a cap per category and margin, paired by customer.

    python -m benchmarks.controls WORKSPACE [--model staged] [--horizon 28] [--purpose new]

The workspace holds an ingested source whose products have categories, its clock at the end of the window that judges.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from features import interactions
from retain import engine
from retain.config import build
from retain.workspace import Workspace
from serving.candidates import Maker, Past, Terms
from training.contracts import PURPOSES, Floats, Integers, Purpose, Ranking
from training.controls import Controls, price
from training.experiment import plan
from training.models.purchases import before
from training.tasks.recommend import Recommend, Targets

WISHES = {
    "variety 0.02": Controls(variety=0.02),
    "variety 0.1": Controls(variety=0.1),
    "at most 3 of a category": Controls(most_of_category=3),
    "at most 1 of a category": Controls(most_of_category=1),
    "margin 0.2": Controls(margin=0.2),
    "margin 1": Controls(margin=1.0),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--model", default="staged", help="a name in configs/tasks/recommend.yaml")
    parser.add_argument("--horizon", type=int, default=28)
    parser.add_argument("--purpose", choices=PURPOSES, default="new")
    asked = parser.parse_args()
    workspace, task = Workspace.at(asked.workspace), Recommend()
    with engine.of(workspace) as sql:
        history = interactions.load(sql, workspace.now(), "product")
        kinds = dict(sql.rows("select product_id, arg_max(category, occurred_at) from products group by product_id"))
    past = task.history(before(history, asked.horizon))
    targets = task.targets(past, history)
    customers = targets.eligible(asked.purpose)
    names = [kinds.get(item) for item in past.items]
    place = {name: number for number, name in enumerate(sorted({name for name in names if name}))}
    category = np.array([place.get(name, -1) for name in names], dtype=np.int64)
    # Few sources record a margin: here dearer items are taken to earn more, in proportion to the square root of their price.
    count = np.bincount(past.item, minlength=len(past.items))
    paid = np.bincount(past.item, np.nan_to_num(past.price), len(past.items)) / np.maximum(count, 1)
    margin = np.sqrt(np.maximum(paid, 0.01) / np.median(np.maximum(paid, 0.01)))
    model = task.ready(build(plan("recommend").models[asked.model], asked.model), asked.horizon)
    fitted = model.fit(past)
    # As the service makes lists: what is weighed is how often what stands at a rank is bought, counted one horizon before.
    maker = Maker(fitted, past.items, Terms(Controls(variety=1.0), category, margin), asked.purpose)
    own, then = maker.own(past, customers), Past.of(maker, past, before(past, asked.horizon))
    share = then.share_by_rank(then.own)
    base = _ndcg(task, own[:, : task.k], customers, targets, asked.purpose)
    print(json.dumps({"wish": "none", "customers": len(base), "ndcg@10": round(float(base.mean()), 4)}))
    for name, wish in WISHES.items():
        lists = Maker(fitted, past.items, Terms(wish, category, margin), asked.purpose).wished(own, share, task.k)
        value = _ndcg(task, lists, customers, targets, asked.purpose)
        cost = price(base, value)
        figures = [round(each, 4) for each in (cost.value, cost.low, cost.high)]
        print(json.dumps({"wish": name, "ndcg@10": round(float(value.mean()), 4), "price": figures}))


def _ndcg(task: Recommend, lists: NDArray[np.int32], customers: Integers, targets: Targets, purpose: Purpose) -> Floats:
    ranking = Ranking(lists, np.full(lists.shape, np.nan))
    return task.evaluate(ranking, customers, targets, purpose).values[f"ndcg@{task.k}"]


if __name__ == "__main__":
    main()
