"""Expected wall time of a checkpointed gang that is interrupted, in closed form.

Exact expectation for exponential interruptions (Daly 2006), which DESIGN 3.2's
ideal / ETTR approximates for rare ones and which does not break down for frequent ones:

    E[T] = M e^(R/M) (e^((tau + C)/M) - 1) W / tau,      tau* = sqrt(2 C M) (Young), at most W

W ideal seconds of work, tau work between checkpoints, C stall of one checkpoint, R restart,
M mean time to interruption of the whole gang. All functions take and give arrays.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from ..catalog import Delay, HazardBand

Floats = NDArray[np.float64]
LONGEST_EXPONENT = 50.0  # beyond e^50 a plan is hopeless in any unit


@dataclass(frozen=True, slots=True)
class WallTime:
    """Time from the start of work to the target, without the first provisioning."""

    mean_s: Floats
    variance_s2: Floats
    interruptions: Floats
    interval_s: Floats


def young_interval(checkpoint_s: ArrayLike, mtti_s: ArrayLike, work_s: ArrayLike) -> Floats:
    """tau* = sqrt(2 C M), at most the whole work and at least one checkpoint's stall.

    >>> float(young_interval(2.0, 10_000.0, 1e6))
    200.0
    """
    checkpoint, work = np.asarray(checkpoint_s, float), np.asarray(work_s, float)
    tau = np.sqrt(2 * checkpoint * np.asarray(mtti_s, float))
    return np.asarray(np.minimum(np.maximum(tau, checkpoint), np.maximum(work, 1e-9)))


def wall_time(
    work_s: ArrayLike,
    work_sigma: ArrayLike,
    mtti_s: ArrayLike,
    restart_s: ArrayLike,
    restart_variance_s2: ArrayLike,
    checkpoint_s: ArrayLike,
) -> WallTime:
    """E[T] as above, and its variance: the work's own and that of a Poisson number of losses.

    work_sigma: log-standard-deviation of the work. Var = (sigma E[T])^2 + N E[(R + lost)^2],
    N = E[T] / M losses of R + tau/2 on average, lost uniform within the interval.
    """
    work, mtti = np.asarray(work_s, float), np.asarray(mtti_s, float)
    restart, stall = np.asarray(restart_s, float), np.asarray(checkpoint_s, float)
    tau = young_interval(stall, mtti, work)
    stretch = np.minimum(restart / mtti, LONGEST_EXPONENT)
    segment = np.minimum((tau + stall) / mtti, LONGEST_EXPONENT)
    mean = mtti * np.exp(stretch) * np.expm1(segment) * work / tau
    losses = mean / mtti
    lost_square = (restart + tau / 2) ** 2 + tau**2 / 12 + np.asarray(restart_variance_s2, float)
    sigma = np.asarray(work_sigma, float)
    variance = np.expm1(np.minimum(sigma**2, LONGEST_EXPONENT)) * mean**2 + losses * lost_square
    return WallTime(np.asarray(mean), np.asarray(variance), np.asarray(losses), tau)


@lru_cache(maxsize=4096)
def gang_delay(delay: Delay, nodes: int) -> tuple[float, float]:
    """Mean and variance of the slowest of so many independent lognormal delays.

    By the midpoint rule over the quantiles of the maximum: if U is uniform, U^(1/n) is the
    largest of n uniforms.
    """
    middle = (np.arange(2000) + 0.5) / 2000
    slowest = delay.median_s * np.exp(delay.sigma * stats.norm.ppf(middle ** (1 / nodes)))
    return float(slowest.mean()), float(slowest.var())


def hazard_integral(bands: tuple[HazardBand, ...], age_h: ArrayLike) -> Floats:
    """Expected losses of one node up to an age: the integral of its hazard from 0."""
    age = np.asarray(age_h, float)
    total = np.zeros_like(age)
    for band in bands:
        total = total + band.per_h * np.clip(age - band.from_h, 0, band.to_h - band.from_h)
    return total


def lognormal_quantile(mean: Floats, variance: Floats, probability: float) -> Floats:
    """Quantile of the lognormal with that mean and variance.

    >>> float(lognormal_quantile(np.array(10.0), np.array(0.0), 0.9))
    10.0
    """
    square = np.log1p(variance / mean**2)
    z = float(stats.norm.ppf(probability))
    return np.asarray(mean * np.exp(z * np.sqrt(square) - square / 2))
