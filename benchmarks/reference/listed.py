"""The rows of recommendation: settings searched on the horizon before the cut, then lists by what was bought before the cut."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.reference import bought
from benchmarks.reference.bought import TARGETS, Bought, Scores, Target, Wanted
from benchmarks.reference.pairs import Pairs, pairs
from benchmarks.reference.rankers import BLENDED, RANKERS, SEED, Settings, drawn

DRAWS = 40
MOST_USERS = 2500
SIZES = ({"num_leaves": 7, "n_estimators": 150}, {"num_leaves": 15, "n_estimators": 250}, {"num_leaves": 31, "n_estimators": 400})
"""Trees tried on a part of the users."""
ASIDE = 0.3
Row = tuple[str, Target, pd.DataFrame]


def rows(recsys_eval: Any, definition: Mapping[str, Any], events: pd.DataFrame, trials: int) -> Iterator[Row]:
    """Row, target and list.

    Args:
        recsys_eval: the evaluator.
        definition: of the split.
        events: all of them; what is learned from is cut here.
        trials: settings tried for each ranker, the default among them.
    """
    cut, horizon = pd.Timestamp(definition["cut"]), pd.Timedelta(days=definition["horizon_days"])
    earlier, outcome, _ = recsys_eval.make_split(definition, events[events.time < cut], validation=True)
    past = Bought.of(earlier, cut - horizon)
    now = Bought.of(recsys_eval.make_split(definition, events)[0], cut)
    wanted = {target: Wanted.of(outcome, past, target) for target in TARGETS}
    chosen = {name: best(name, past, wanted, trials) for name in RANKERS}
    for target in TARGETS:
        before: dict[str, Scores] = {}
        after: dict[str, Scores] = {}
        for name, ranker in RANKERS.items():
            said = ranker(now, **chosen[name][target])
            yield name, target, bought.frame(bought.lists(said, now, target), now)
            if name in BLENDED:
                before[name], after[name] = ranker(past, **chosen[name][target]), said
        earlier_pairs, pairs_now = pairs(before, past, target).of(wanted[target].rows), pairs(after, now, target)
        del before, after, said
        weights = blend(earlier_pairs, wanted[target], len(past.users))
        yield "blend_linear", target, bought.frame(pairs_now.lists(pairs_now.shares @ weights, len(now.users)), now)
        ordered = trees(earlier_pairs, wanted[target], weights, len(past.users)).predict(pairs_now.with_blend(weights))
        yield "two_stage", target, bought.frame(pairs_now.lists(ordered, len(now.users)), now)


def best(name: str, past: Bought, wanted: Mapping[Target, Wanted], trials: int) -> dict[Target, Settings]:
    """For each target the settings of the highest NDCG@10 on the window before the cut."""
    found: dict[Target, tuple[float, Settings]] = {}
    for settings in drawn(name, trials):
        said = RANKERS[name](past, **settings)
        for target, each in wanted.items():
            worth = float(each.ndcg(bought.lists(said, past, target, 10)).mean())
            if target not in found or worth > found[target][0]:
                found[target] = worth, settings
    for target, (worth, settings) in found.items():
        print(f"{name}, {target}: {worth:.4f} before the cut with {dict(settings) or 'nothing to set'}", flush=True)
    return {target: settings for target, (_, settings) in found.items()}


def blend(earlier: Pairs, wanted: Wanted, users: int) -> NDArray[np.float64]:
    """The best of some weights drawn at random, the equal ones among them."""
    count = earlier.shares.shape[1]
    tried = [np.full(count, 1 / count), *np.random.default_rng(SEED).dirichlet(np.full(count, 0.5), DRAWS - 1)]
    worth = [wanted.ndcg(earlier.lists(earlier.shares @ weights, users, 10)).mean() for weights in tried]
    return np.asarray(tried[int(np.argmax(worth))])


def trees(earlier: Pairs, wanted: Wanted, weights: NDArray[np.float64], users: int) -> Any:
    """LambdaRank on the window before the cut, of the size that is best for users put aside; then learned on all of them."""
    rng = np.random.default_rng(SEED)
    people = np.sort(rng.permutation(wanted.rows)[:MOST_USERS])
    aside = np.sort(rng.permutation(people)[: int(ASIDE * len(people))])
    hit = pd.Series(earlier.hits(wanted)).groupby(earlier.user).sum()
    able = hit.index.to_numpy()[hit.to_numpy() > 0]
    taught = earlier.of(np.intersect1d(np.setdiff1d(people, aside), able))
    judged, asked = earlier.of(aside), Wanted(aside, wanted.pairs)
    worth = []
    for size in SIZES:
        learned = _learned(taught, wanted, weights, size)
        worth.append(float(asked.ndcg(judged.lists(learned.predict(judged.with_blend(weights)), users, 10)).mean()))
    print(f"trees of sizes tried: {', '.join(f'{each:.4f}' for each in worth)}", flush=True)
    return _learned(earlier.of(np.intersect1d(people, able)), wanted, weights, SIZES[int(np.argmax(worth))])


def _learned(taught: Pairs, wanted: Wanted, weights: NDArray[np.float64], size: Mapping[str, int]) -> Any:
    from lightgbm import LGBMRanker

    ranker = LGBMRanker(
        objective="lambdarank", learning_rate=0.05, min_child_samples=50, subsample=0.8, subsample_freq=1, colsample_bytree=0.6, reg_lambda=10.0,
        lambdarank_truncation_level=20, random_state=SEED, deterministic=True, force_row_wise=True, n_jobs=1, verbosity=-1, **size,
    )  # fmt: skip
    return ranker.fit(taught.with_blend(weights), taught.hits(wanted), group=np.unique(taught.user, return_counts=True)[1])
