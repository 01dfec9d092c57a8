"""The direct method: the reward of every action as a regression says it, of customers it did not learn from.

It fills in what was not done, so it is as wrong as the regression; alone it decides nothing. A line for all actions together, and for each
action a line on what that leaves, drawn towards zero: an action that was seldom logged gets the common answer.
"""

from __future__ import annotations

import numpy as np

from experiments.ope.log import Log
from training.contracts import Floats, Integers

FOLDS = 5
SHRINKAGE = 10.0
"""Rows that the common line weighs as much as, in each action's own."""


def rewards(log: Log, seed: int = 7) -> Floats:
    """(n, k) expected reward of each action in each decision, by regressions on other customers."""
    fold = folds(log.owner, seed)
    x = _standard(log.features)
    answers = np.zeros((len(log), len(log.actions)))
    for number in range(int(fold.max()) + 1):
        others, asked = fold != number, fold == number
        answers[asked] = _fit(x[others], log.action[others], log.reward[others], len(log.actions), x[asked])
    return answers


def folds(owner: Integers, seed: int) -> Integers:
    """(n,) part of each row; all rows of one customer lie in the same."""
    count = int(owner.max()) + 1
    return np.asarray((np.random.default_rng(seed).permutation(count) % min(FOLDS, count))[owner], dtype=np.int64)


def _standard(x: Floats) -> Floats:
    """With a column of ones in front, each other column of mean 0 and spread 1; a constant one says nothing."""
    spread = x.std(axis=0)
    scaled = (x - x.mean(axis=0)) / np.where(spread > 1e-12, spread, 1.0)
    return np.hstack([np.ones((len(x), 1)), np.where(spread > 1e-12, scaled, 0.0)])


def _fit(x: Floats, action: Integers, reward: Floats, actions: int, asked: Floats) -> Floats:
    common = _ridge(x, reward, np.r_[0.0, np.full(x.shape[1] - 1, SHRINKAGE)])
    left = reward - x @ common
    result = np.tile(asked @ common, (actions, 1)).T
    for place in range(actions):
        rows = action == place
        if rows.any():
            result[:, place] += asked @ _ridge(x[rows], left[rows], np.full(x.shape[1], SHRINKAGE))
    return np.asarray(result)


def _ridge(x: Floats, y: Floats, penalty: Floats) -> Floats:
    return np.asarray(np.linalg.solve(x.T @ x + np.diag(penalty + 1e-9), x.T @ y))
