"""What a sample says about the distribution it came from, with 95 % intervals."""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from .records import Distribution, Interval

Floats = NDArray[np.float64]
TAIL = 0.025


def distribution(sample: Floats) -> Distribution:
    """Mean and quantiles of at least two values."""
    ordered = np.sort(sample)
    quantiles: list[float] = np.quantile(ordered, np.linspace(0, 1, 101)).tolist()
    return Distribution(
        mean=float(ordered.mean()),
        p50=quantiles[50],
        p90=quantiles[90],
        mean_ci95=mean_interval(ordered),
        p50_ci95=quantile_interval(ordered, 0.5),
        p90_ci95=quantile_interval(ordered, 0.9),
        quantiles=tuple(quantiles),
    )


def mean_interval(sample: Floats) -> Interval:
    """mean +- t s / sqrt(n), t Student's quantile with n - 1 degrees of freedom."""
    n = len(sample)
    mean = float(sample.mean())
    half = float(stats.t.ppf(1 - TAIL, n - 1) * sample.std(ddof=1) / n**0.5)
    return mean - half, mean + half


def quantile_interval(ordered: Floats, probability: float) -> Interval:
    """[x_(l), x_(u)], free of any assumption on the distribution.

    The number of values below the true quantile is binomial(n, p): l its 2.5 % quantile and u one
    above its 97.5 % quantile. With few values (n < 37 for p90) the sample's end stands in for u,
    and the interval claims too much.
    """
    n = len(ordered)
    low, high = (int(stats.binom.ppf(tail, n, probability)) for tail in (TAIL, 1 - TAIL))
    return float(ordered[max(low, 1) - 1]), float(ordered[min(high + 1, n) - 1])


def share(kept: NDArray[np.bool_]) -> tuple[float, Interval]:
    """The share that is true, with the exact interval of Clopper and Pearson."""
    test = stats.binomtest(int(np.sum(kept)), len(kept))
    interval = test.proportion_ci(method="exact")
    return float(np.mean(kept)), (float(interval.low), float(interval.high))
