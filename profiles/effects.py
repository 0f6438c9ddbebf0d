"""What settings have in common: effects of batch, XLA, precision and workers on the step time.

A Bayesian linear model of ln(step time): one free level for the whole, one for ln(size) and its bend,
one for each knob, and shrunken interactions. It predicts the settings that were not measured, and
tells which to measure next: those that narrow the predictions of all most (V-optimal, greedily).

    y = X w + e,   w ~ N(0, diag(prior^2)),   e ~ N(0, noise^2 / k)
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from .records import Estimate, Setting
from .steady import Spread, around

Floats = NDArray[np.float64]

FREE = 3.0  # prior of a level: a factor of twenty either way
EFFECT = 0.7  # of a knob: XLA changes a step by up to a factor of two to three
SHARED = 0.3  # of a further worker or device on the same processors, beyond its samples' work
BEND = 0.3  # of the curve over ln(size) away from a straight line
TOGETHER = (
    0.6  # of XLA and half precision: who compiles casts differently; 1.7 seen, CIFAR CNN, 2026-11
)
INTERACTION = 0.15  # of a knob with ln(size)
SLIGHT = 0.1  # of any knob with the number of workers
NOISE = 0.10  # of one fresh process, before anything is known


def _features(setting: Setting, reference: float) -> tuple[Floats, Floats]:
    """A row of X and the prior of each column.

    Size is what one node's processors or devices work on together: workers, and logical devices, that
    share processors take as much time for their samples as one would for all of them. GPUs share
    nothing but their bus.
    """
    shared = setting.accelerator == "CPU"
    sharing = setting.replicas / setting.nodes if shared else 1.0
    size = math.log(setting.per_device_batch * sharing / reference)
    on = [
        float(setting.knobs.xla),
        float(setting.knobs.precision != "float32"),
        math.log2(setting.replicas),
    ]
    pairs = [on[0] * on[1], on[0] * on[2], on[1] * on[2]]
    row = [1.0, size, size**2, *on, *(one * size for one in on), *pairs]
    of_knobs = [EFFECT, EFFECT, SHARED if shared else EFFECT]
    of_pairs = [INTERACTION, INTERACTION, SLIGHT, TOGETHER, SLIGHT, SLIGHT]
    return np.array(row), np.array([FREE, FREE / 2, BEND, *of_knobs, *of_pairs])


def _matrix(settings: Sequence[Setting], reference: float) -> tuple[Floats, Floats]:
    rows = [_features(setting, reference) for setting in settings]
    return np.array([row for row, _ in rows]), rows[0][1]


def _posterior(x: Floats, prior: Floats, noise: Floats) -> Floats:
    """Covariance of w after measurements x with those noises."""
    precision = np.diag(1 / prior**2) + (x / noise[:, None] ** 2).T @ x
    return np.asarray(np.linalg.inv(precision))


def v_optimal(grid: Sequence[Setting], count: int, weights: Sequence[float]) -> list[Setting]:
    """Settings of the grid in the order in which measuring them narrows all predictions most.

    Greedy: the next one minimises the weighted sum over the grid of the predictive variance. The
    first is the plainest setting, the smallest batch without any knob.
    """
    reference = float(np.median([setting.per_device_batch for setting in grid]))
    x, prior = _matrix(grid, reference)
    chosen = [min(range(len(grid)), key=lambda i: (_knobs_on(grid[i]), grid[i].per_device_batch))]
    noise = np.full(len(grid), NOISE)
    while len(chosen) < min(count, len(grid)):
        left = [i for i in range(len(grid)) if i not in chosen]

        def total(i: int) -> float:
            rows = [*chosen, i]
            covariance = _posterior(x[rows], prior, noise[rows])
            return float(np.einsum("i,ij,jk,ik->", np.asarray(weights), x, covariance, x))

        chosen.append(min(left, key=total))
    return [grid[i] for i in chosen]


def _knobs_on(setting: Setting) -> int:
    return (
        int(setting.knobs.xla) + int(setting.knobs.precision != "float32") + (setting.workers > 1)
    )


def predict(
    measured: Mapping[Setting, tuple[float, int]],
    wanted: Sequence[Setting],
    spread: Spread,
) -> list[Estimate]:
    """Step times of settings that were not measured.

    measured: geometric mean in seconds and number of processes of each setting. spread:
    between fresh processes. ci95 is of the mean, repeat95 of one more process.
    """
    reference = float(np.median([setting.per_device_batch for setting in measured]))
    x, prior = _matrix(list(measured), reference)
    y = np.log([step_s for step_s, _ in measured.values()])
    # What the model itself misses stays in the figure: it is measured by leaving one out below.
    noise = spread.of_means / np.sqrt([count for _, count in measured.values()])
    # The level's prior is centred on the data, the rest on no effect.
    centre = float(y.mean())
    covariance = _posterior(x, prior, noise)
    weights = covariance @ (x.T @ ((y - centre) / noise**2))
    misfit = _misfit(x, y - centre, prior, noise)
    t = float(stats.t.ppf(0.975, spread.df))
    found = []
    for row in _matrix(wanted, reference)[0]:
        value = centre + float(row @ weights)
        variance = float(row @ covariance @ row) + misfit**2
        half, one_more = t * math.sqrt(variance), t * math.sqrt(variance + spread.of_processes**2)
        found.append(around(value, half, one_more))
    return found


def _misfit(x: Floats, y: Floats, prior: Floats, noise: Floats) -> float:
    """Root mean square by which leaving one out misses it, beyond what noise explains."""
    excess = []
    for i in range(len(y)):
        rest = np.arange(len(y)) != i
        covariance = _posterior(x[rest], prior, noise[rest])
        weights = covariance @ (x[rest].T @ (y[rest] / noise[rest] ** 2))
        expected = float(x[i] @ covariance @ x[i]) + noise[i] ** 2
        excess.append(float(y[i] - x[i] @ weights) ** 2 - expected)
    return math.sqrt(max(0.0, float(np.mean(excess)))) if len(y) > 2 else INTERACTION
