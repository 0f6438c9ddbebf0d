"""Expected wall time of a checkpointed gang that is interrupted, in closed form.

Exact for exponential losses, where DESIGN 3.2's ideal / ETTR holds for rare ones only:

    E[T] = M (1 + R / (n M))^n e^(C/M) (e^((tau + C) / M) - 1) W / tau
    tau* = sqrt(2 C M) (Young), at most W

W ideal seconds of work, tau work between checkpoints, C stall of one checkpoint and of reading it
back, n nodes, M mean time to interruption of the gang, R wait for one lost machine's replacement:
a machine that is not there cannot be lost, and waits overlap, hence the power and not Daly's
e^(R/M). All functions take and give arrays.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from ..catalog import Delay, HazardBand

Floats = NDArray[np.float64]
LONGEST_EXPONENT = 50.0  # beyond e^50 a plan is hopeless in any unit
SHORTEST_INTERVAL_S = 1e-3  # a checkpoint that costs nothing is still not taken all the time
RENEWAL_GRID_H = np.linspace(0.0, 100.0, 2001)


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
    stall, work = np.asarray(checkpoint_s, float), np.asarray(work_s, float)
    tau = np.maximum(np.sqrt(2 * stall * np.asarray(mtti_s, float)), stall)
    return np.asarray(np.clip(tau, SHORTEST_INTERVAL_S, np.maximum(work, SHORTEST_INTERVAL_S)))


def wall_time(
    work_s: ArrayLike,
    work_sigma: ArrayLike,
    mtti_s: ArrayLike,
    wait_s: ArrayLike,
    wait_variance_s2: ArrayLike,
    checkpoint_s: ArrayLike,
    nodes: ArrayLike = 1,
) -> WallTime:
    """E[T] as above, and its variance: the work's own and that of a Poisson number of losses.

    work_sigma: log-standard-deviation of the work. Var = (sigma E[T])^2 + N E[(R + lost)^2],
    N = E[T] / M losses of R + tau/2 on average, lost uniform within the interval.
    """
    work, mtti = np.asarray(work_s, float), np.asarray(mtti_s, float)
    wait, stall = np.asarray(wait_s, float), np.asarray(checkpoint_s, float)
    count = np.asarray(nodes, float)
    tau = young_interval(stall, mtti, work)
    stretch = count * np.log1p(wait / (count * mtti)) + stall / mtti
    segment = np.minimum((tau + stall) / mtti, LONGEST_EXPONENT)
    mean = mtti * np.exp(np.minimum(stretch, LONGEST_EXPONENT)) * np.expm1(segment) * work / tau
    losses = mean / mtti
    lost_square = (wait + stall + tau / 2) ** 2 + tau**2 / 12 + np.asarray(wait_variance_s2, float)
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


@lru_cache(maxsize=256)
def _renewals(bands: tuple[HazardBand, ...]) -> Floats:
    """m on RENEWAL_GRID_H: m(t) = F(t) + integral over s < t of m(t - s) dF(s), F = 1 - e^-H."""
    lost = -np.expm1(-hazard_integral(bands, RENEWAL_GRID_H))
    steps = np.diff(lost)
    found = np.zeros_like(lost)
    for i in range(1, len(found)):
        # The trapezium rule, solved for m[i], which stands on both sides.
        later = (found[i::-1][:i] + found[i - 1 :: -1]) / 2
        found[i] = (lost[i] + steps[:i] @ later) / (1 - steps[0] / 2)
    return found


def expected_losses(bands: tuple[HazardBand, ...], hours: ArrayLike) -> Floats:
    """Machines lost in one node's place in so many hours, each replacement as young as the first.

    The renewal function; beyond the grid it goes on at its last slope.

    >>> float(expected_losses((HazardBand(0, float("inf"), 0.1),), 10.0).round(2))
    1.0
    """
    time, grid = np.asarray(hours, float), RENEWAL_GRID_H
    if not bands:
        return np.zeros_like(time)
    counted = _renewals(bands)
    slope = (counted[-1] - counted[-201]) / (grid[-1] - grid[-201])
    inside = np.interp(time, grid, counted)
    # Within the grid's first step hardly a replacement is lost: the integral itself will do.
    young = np.where(time < grid[1], hazard_integral(bands, time), inside)
    return np.asarray(young + slope * np.maximum(time - grid[-1], 0.0))


def lognormal_quantile(mean: Floats, variance: Floats, probability: float) -> Floats:
    """Quantile of the lognormal with that mean and variance.

    >>> float(lognormal_quantile(np.array(10.0), np.array(0.0), 0.9))
    10.0
    """
    square = np.log1p(variance / mean**2)
    z = float(stats.norm.ppf(probability))
    return np.asarray(mean * np.exp(z * np.sqrt(square) - square / 2))
