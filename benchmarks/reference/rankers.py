"""Recommenders that score every item for every user. Each takes what was bought and its settings; the first settings are the default."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import product
from typing import Any

import numpy as np
from scipy import sparse

from benchmarks.reference.bought import Bought, Scores, blocks
from features.interactions import Interactions
from training.models.purchases import block as part_of
from training.models.tifu import Tifu

Settings = Mapping[str, Any]
Ranker = Callable[..., Scores]
SEED = 5
WEIGHTS = ("binary", "log", "recency")


def popularity(known: Bought, window: float = 30.0) -> Scores:
    """Distinct buyers in a recent window; equals by those of all time."""
    return np.repeat(_popular(known, window)[None, :], len(known.users), axis=0).astype(np.float32)


def gp_topfreq(known: Bought) -> Scores:
    """Own baskets of an item; equals, and the rest of the list, by buyers of all time."""
    return (known.counts.toarray() + 0.5 * _popular(known, np.inf)).astype(np.float32)


def recency(known: Bought, half_life: float = 60.0, shape: str = "exponential", floor: float = 0.1, mix: float = 0.3, window: float = 30.0) -> Scores:
    """Own baskets fading with age down to a floor, and a share of recent popularity."""
    faded = np.exp2(-known.age / half_life) if shape == "exponential" else 1.0 / (1.0 + known.age / half_life)
    return (known.matrix(floor + (1 - floor) * faded).toarray() + mix * _popular(known, window)).astype(np.float32)


def tifu_knn(known: Bought, **settings: Any) -> Scores:
    """Hu and others (2020), by the product's own class: the method is the same, and its settings are searched here."""
    fitted = Tifu(members=max(len(known.users), 1), **settings).fit(_interactions(known))
    history, everyone = _interactions(known), np.arange(len(known.users))
    return np.concatenate([fitted.scores(part_of(history, everyone[rows]), "all").astype(np.float32) for rows in blocks(len(everyone))])


def ease(known: Bought, weight: str = "binary", penalty: float = 400.0) -> Scores:
    """Steck (2019), exactly: by the users' Gram matrix, which is the smaller one where the catalogue is large."""
    x = known.weighted(weight).astype(np.float64).tocsr()
    users, items = known.shape
    if items <= users:
        inverse = np.linalg.inv((x.T @ x).toarray() + penalty * np.eye(items))
        weights = -inverse / np.diag(inverse)
        np.fill_diagonal(weights, 0.0)
        return np.asarray(x @ weights, dtype=np.float32)
    # With K = (X X' + penalty)^-1 the inverse is (1 - X'KX) / penalty, and X times it is KX.
    seen = np.linalg.inv((x @ x.T).toarray() + penalty * np.eye(users)) @ x
    own = (1.0 - np.asarray(x.multiply(seen).sum(axis=0)).ravel()) / penalty
    return np.asarray(x.toarray() - seen / own, dtype=np.float32)


def item_knn(known: Bought, near: str = "cosine", neighbours: int = 20, weight: str = "count") -> Scores:
    """Nearest neighbours of items, by implicit."""
    from implicit import nearest_neighbours as found
    from implicit.utils import ParameterWarning

    kind = {"cosine": found.CosineRecommender, "tfidf": found.TFIDFRecommender, "bm25": found.BM25Recommender}[near]
    x = known.weighted(weight).tocsr()
    learner = kind(K=neighbours)
    with warnings.catch_warnings():
        # It weights the matrix itself, and warns of the form that it gave it.
        warnings.simplefilter("ignore", ParameterWarning)
        learner.fit(x, show_progress=False)
    return np.asarray((x @ learner.similarity).toarray(), dtype=np.float32)


def als(known: Bought, factors: int = 64, regularization: float = 0.01, alpha: float = 1.0, iterations: int = 15, weight: str = "count") -> Scores:
    """Alternating least squares by implicit, bought items kept; with nothing set, what a tutorial runs."""
    from implicit.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"):
        learner = AlternatingLeastSquares(
            factors=factors, regularization=regularization, alpha=alpha, iterations=iterations, random_state=SEED, use_gpu=False
        )  # fmt: skip
        learner.fit(known.weighted(weight).tocsr().astype(np.float32), show_progress=False)
    return np.asarray(learner.user_factors @ learner.item_factors.T, dtype=np.float32)


def rp3beta(known: Bought, alpha: float = 1.0, beta: float = 0.6, weight: str = "binary") -> Scores:
    """Paudel and others (2017), no neighbour left out: three steps of a walk from the user, popular ends held back."""
    x = known.weighted(weight).tocsr()
    forth = sparse.diags(1.0 / np.maximum(np.asarray(x.sum(axis=1)).ravel(), 1e-12)) @ x
    back = sparse.diags(1.0 / np.maximum(np.asarray(x.sum(axis=0)).ravel(), 1e-12)) @ x.T
    forth, back = forth.power(alpha), back.power(alpha)
    popular = np.maximum(np.bincount(known.counts.indices, minlength=known.shape[1]), 1.0)
    return np.asarray(((forth @ back) @ forth).toarray() / popular**beta, dtype=np.float32)


def up_cf(known: Bought, lately: int = 5, power: float = 5.0, lean: float = 0.5) -> Scores:
    """Faggioli and others (2020): votes from the last baskets of users alike, alikeness to a power."""
    once = known.weighted("binary")
    size = np.diff(once.indptr).astype(float)
    alike = np.asarray((once @ once.T).todense(), dtype=np.float64)
    alike /= size[:, None] ** lean * size[None, :] ** (1 - lean)
    newest = _places(known) < lately
    votes = sparse.csr_matrix((newest.astype(float), (known.user, known.item)), shape=known.shape)
    votes = sparse.diags(1.0 / np.minimum(known.baskets, lately)) @ votes
    return np.asarray(alike**power @ votes, dtype=np.float32)


RANKERS: dict[str, Ranker] = {
    "popularity": popularity, "gp_topfreq": gp_topfreq, "als_default": als, "recency": recency, "tifu_knn": tifu_knn, "ease": ease,
    "item_knn": item_knn, "als": als, "rp3beta": rp3beta, "up_cf": up_cf,
}  # fmt: skip
_DEFAULTS = ("gp_topfreq", "als_default")
BLENDED = tuple(name for name in RANKERS if name not in _DEFAULTS)
"""What the blend and the trees build on. The reference's ninth, BPR, is left out: by itself it was its worst row nearly everywhere."""
_GRIDS: dict[str, dict[str, tuple[Any, ...]]] = {
    "popularity": {"window": (30.0, 7.0, 14.0, 60.0, 90.0, 180.0, 365.0)},
    "recency": {
        "half_life": (60.0, 15.0, 30.0, 120.0, 240.0), "shape": ("exponential", "power"), "floor": (0.1, 0.0, 0.03, 0.3),
        "mix": (0.3, 0.1, 1.0), "window": (30.0, 14.0, 90.0),
    },
    "tifu_knn": {"groups": (7, 3, 15), "within": (0.9, 0.7, 1.0), "between": (0.7, 0.5, 0.9), "neighbours": (300, 100, 600), "mix": (0.7, 0.5, 0.9)},
    "ease": {"weight": WEIGHTS, "penalty": (400.0, 50.0, 150.0, 1000.0, 2500.0)},
    "item_knn": {"near": ("cosine", "tfidf", "bm25"), "neighbours": (20, 50, 100, 200, 500), "weight": ("count", *WEIGHTS)},
    "als": {
        "factors": (64, 16, 32, 128), "regularization": (0.01, 1.0, 5.0, 20.0), "alpha": (1.0, 3.0, 10.0, 30.0), "iterations": (15, 8, 25),
        "weight": ("count", *WEIGHTS),
    },
    "rp3beta": {"alpha": (1.0, 0.6, 0.8, 1.3), "beta": (0.6, 0.0, 0.2, 0.4, 0.8), "weight": WEIGHTS},
    "up_cf": {"lately": (5, 1, 10, 25), "power": (5.0, 1.0, 2.0, 10.0), "lean": (0.5, 0.25, 0.75)},
}  # fmt: skip


def drawn(name: str, most: int) -> list[Settings]:
    """The default, then others of the grid at random, each once."""
    grid = _GRIDS.get(name, {})
    every = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    order = 1 + np.random.default_rng(SEED).permutation(len(every) - 1)
    return [every[0], *(every[place] for place in order[: most - 1])]


def _popular(known: Bought, window: float) -> Any:
    """(items,) buyers, the most popular item 1; equals by those of all time."""
    always = known.buyers()
    count = known.buyers(window) + always / (1.0 + len(known.users))
    return count / max(float(count.max()), 1.0)


def _places(known: Bought) -> Any:
    """(rows,) place of each row's basket among the user's, the newest 0."""
    key = np.lexsort((known.basket, known.age, known.user))
    user, basket = known.user[key], known.basket[key]
    opens = np.concatenate([[True], (user[1:] != user[:-1]) | (basket[1:] != basket[:-1])])
    which = np.cumsum(opens) - 1
    first = np.searchsorted(user, user)
    places = np.empty(len(key), dtype=np.int64)
    places[key] = which - which[first]
    return places


def _interactions(known: Bought) -> Interactions:
    """The same purchases as the product's rankers take them."""
    moment = datetime(2000, 1, 1, tzinfo=UTC)
    at = np.datetime64(moment.replace(tzinfo=None), "us") - (known.age * 86_400_000_000).astype("timedelta64[us]")
    order = np.lexsort((known.item, at, known.user))
    return Interactions(
        moment, known.users.astype(str).astype(object), known.items.astype(str).astype(object), known.user[order].astype(np.int32),
        known.item[order].astype(np.int32), known.basket[order], at[order], known.price[order],
    )  # fmt: skip
