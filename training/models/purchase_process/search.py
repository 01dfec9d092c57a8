"""Where a likelihood of a few positive parameters is highest: L-BFGS on their logarithms, from several starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from training.contracts import Floats

LEAST, MOST = -9.0, 9.0
"""Bounds of a parameter's logarithm, about 1e-4 and 1e4: where customers hardly differ the likelihood is flat and rises for ever."""

_OPTIONS = {"ftol": 1e-13, "gtol": 1e-7, "maxiter": 500}

Likelihood = Callable[[Floats], tuple[float, Floats]]
"""Parameters -> log-likelihood and its derivatives."""


def maximise(likelihood: Likelihood, starts: Sequence[Sequence[float]], scale: float) -> tuple[Floats, float]:
    """Parameters of the highest likelihood found, and that likelihood.

    Args:
        likelihood: of positive parameters.
        starts: where to begin, each a set of positive parameters.
        scale: number of customers, so that one tolerance suits all sizes.
    """
    from scipy.optimize import minimize
    from threadpoolctl import threadpool_limits

    def loss(logs: Floats) -> tuple[float, Floats]:
        values = np.exp(logs)
        height, slope = likelihood(values)
        return -height / scale, -slope * values / scale

    best, lowest = np.clip(np.log(np.asarray(starts[0], dtype=np.float64)), LEAST, MOST), np.inf
    for start in starts:
        begin = np.clip(np.log(np.asarray(start, dtype=np.float64)), LEAST, MOST)
        # One thread adds up in one order.
        with threadpool_limits(1, "blas"):
            found = minimize(loss, begin, jac=True, method="L-BFGS-B", bounds=[(LEAST, MOST)] * len(begin), options=_OPTIONS)
        # A later start has to gain something: on a flat top the first one stays, whatever the last bits say.
        if np.isfinite(found.fun) and found.fun < lowest - 1e-9:
            best, lowest = found.x, float(found.fun)
    return np.exp(best), -lowest * scale
