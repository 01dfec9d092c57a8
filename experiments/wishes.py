"""What the shop's wishes for its lists cost: NDCG of the lists as the service makes them, less that of the ranker's own, paired by customer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retain import engine
from retain.config import build
from retain.workspace import Workspace
from serving.candidates import Maker, Past, Terms
from serving.new_items import new_items
from serving.terms import terms_at
from training.card import Card
from training.contracts import PURPOSES, Floats, Integers, Purpose, Ranking
from training.controls import Controls, price, with_places
from training.intervals import Interval
from training.models.purchases import before
from training.ranking_trial import RankingTrial

ALL = "all wishes"


@dataclass(frozen=True)
class Wished:
    """One wish, or all of them together, on the lists of one purpose."""

    wish: str
    purpose: Purpose
    customers: int
    ndcg: float
    """Of the lists under the wish."""
    change: Interval
    """Against the ranker's own lists."""


def prices(workspace: Workspace, trial: Any, card: Card, wishes: Controls) -> tuple[Wished, ...]:
    """What each wish costs on the newest test window, and all together; the recipe of the card is fitted before it.

    A place kept for a new item counts as a miss, because items that nobody bought before are no targets; where nothing is new no place is kept.
    """
    if not isinstance(trial, RankingTrial) or (wishes.is_neutral and wishes.new_items_every is None):
        return ()
    state = workspace.state()
    with engine.of(workspace) as sql:
        if wishes.new_items_every is not None and (trial.item != "product" or new_items(sql, trial.before) is None):
            wishes = wishes.model_copy(update={"new_items_every": None})
        terms = terms_at(sql, wishes, trial.item, trial.before.items, trial.windows.test[0], state)
    if wishes.is_neutral and wishes.new_items_every is None:
        return ()
    fitted = trial.task.ready(build(card.model_spec, card.model_id), trial.horizon_days).fit(trial.before)
    past = before(trial.before, trial.horizon_days)
    return tuple(each for purpose in PURPOSES for each in _of(trial, fitted, past, terms, purpose))


def single(wishes: Controls) -> dict[str, Controls]:
    """Each wish alone, by what it says; and all of them where there are several."""
    said = wishes.model_dump(exclude_defaults=True)
    found = {f"{name} {value:g}": Controls.model_validate({name: value}) for name, value in said.items()}
    return {**found, ALL: wishes} if len(found) > 1 else found


def _of(trial: RankingTrial, fitted: Any, past: Any, terms: Terms, purpose: Purpose) -> Iterator[Wished]:
    customers, k = trial.targets.eligible(purpose), trial.task.k
    if not len(customers):
        return
    # Wide enough for every wish, whichever of them are looked at alone.
    maker = Maker(fitted, trial.before.items, terms, purpose)
    own = maker.own(trial.before, customers)
    then = Past.of(maker, trial.before, past)
    share = then.share_by_rank(then.own)
    base = _ndcg(trial, own[:, :k], customers, purpose)
    for name, wish in single(terms.wishes).items():
        lists = Maker(fitted, maker.names, Terms(wish, terms.category, terms.margin), purpose).wished(own, share, k)
        if wish.new_items_every is not None and purpose == "new":
            given = np.arange(k // wish.new_items_every, dtype=np.int32) + len(maker.names)
            lists = with_places(lists, np.repeat(given[None, :], len(lists), axis=0), wish.new_items_every)
            lists = np.where(lists >= len(maker.names), -1, lists).astype(np.int32)
        elif wish.is_neutral:
            continue
        value = _ndcg(trial, lists, customers, purpose)
        name += " (no margin is known)" if wish.margin and terms.margin is None else ""
        yield Wished(name, purpose, len(value), float(value.mean()), price(base, value))


def _ndcg(trial: RankingTrial, lists: NDArray[np.int32], customers: Integers, purpose: Purpose) -> Floats:
    ranking = Ranking(lists, np.full(lists.shape, np.nan))
    return trial.task.evaluate(ranking, customers, trial.targets, purpose).values[f"ndcg@{trial.task.k}"]
