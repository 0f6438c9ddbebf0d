"""What settings have in common: what a step costs once, and what each sample costs, by knob.

    T = o + g w,   ln o = c + A u,   ln w = d + B v

g: samples that share one node's processors (or a device's own), o: the cost of a step, w: of a sample. A:
columns for XLA, half precision and doublings of the workers; B: the same, XLA with half precision, and
(ln g/r)^2, for caches and kernels that suit some sizes better (r: a middling size).
u ~ N(0, prior^2) and v likewise; the noise of ln T is N(0, noise^2 / k) over k processes. The most
probable u and v by least squares, their covariance by Laplace's approximation there. CIFAR CNN on two
cores, 24 settings: it fits within 3 % (median), a model linear in ln T within 8 %.

It predicts the settings that were not measured, and tells which to measure next: those that narrow the
predictions of all most (V-optimal, greedily).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import least_squares

from .records import Estimate, Setting
from .steady import Spread, around

Floats = NDArray[np.float64]

# Priors, as log-standard-deviations: of o's level, then of XLA, half precision and a doubling of workers.
STEP_PRIOR = np.array([1.5, 0.7, 0.3, 0.5])
# Of w's level, the same knobs (workers on the same processors do the same work), XLA with half
# precision, the bend.
SAMPLE_PRIOR = np.array([3.0, 0.7, 0.7, 0.2, 0.6, 0.2])
PRIOR = np.concatenate([STEP_PRIOR, SAMPLE_PRIOR])
STEP_SHARE = 0.2  # of the quickest step that o is, before anything is known
DESIGN_SAMPLES = (
    0.5  # of the smallest size: what a step costs once, in samples, for choosing a design
)
MISFIT = 0.10  # of the form itself, before anything is known
MISFIT_DF = 2  # how many settings' worth of evidence that counts for
NOISE = 0.10  # of one fresh process, before anything is known


@dataclass(frozen=True, slots=True)
class _Columns:
    """One row a setting: ln g, A and B."""

    log_size: Floats
    step: Floats
    sample: Floats

    @classmethod
    def of(cls, settings: Sequence[Setting], log_reference: float) -> "_Columns":
        xla = np.array([float(one.knobs.xla) for one in settings])
        half = np.array([float(one.knobs.precision != "float32") for one in settings])
        doublings = np.log2([one.replicas for one in settings])
        ones = np.ones(len(settings))
        log_size = np.array([_log_size(one) for one in settings])
        bend = (log_size - log_reference) ** 2
        return cls(
            log_size,
            np.column_stack([ones, xla, half, doublings]),
            np.column_stack([ones, xla, half, doublings, xla * half, bend]),
        )

    def log_times(self, levels: tuple[float, float], weights: Floats) -> tuple[Floats, Floats]:
        """ln T, and the share of o in T."""
        split = self.step.shape[1]
        once = levels[0] + self.step @ weights[:split]
        each = self.log_size + levels[1] + self.sample @ weights[split:]
        total = np.logaddexp(once, each)
        return total, np.exp(once - total)

    def gradient(self, share: Floats) -> Floats:
        """Of ln T by all weights, where o has this share of T."""
        return np.hstack([share[:, None] * self.step, (1 - share)[:, None] * self.sample])


def _log_size(setting: Setting) -> float:
    """Of the samples a step that share one node's processors; of one device where each has its own."""
    sharing = setting.replicas / setting.nodes if setting.accelerator == "CPU" else 1.0
    return math.log(setting.per_device_batch * sharing)


def _middle(settings: Iterable[Setting]) -> float:
    return float(np.median([_log_size(one) for one in settings]))


def _posterior(x: Floats, noise: Floats) -> Floats:
    """Covariance of the weights after measurements of gradient x with those noises."""
    precision = np.diag(1 / PRIOR**2) + (x / noise[:, None] ** 2).T @ x
    return np.asarray(np.linalg.inv(precision))


def v_optimal(grid: Sequence[Setting], count: int, weights: Sequence[float]) -> list[Setting]:
    """Settings of the grid in the order in which measuring them narrows all predictions most.

    Greedy: the next one minimises the weighted sum over the grid of the predictive variance. The
    first is the plainest setting, the smallest batch without any knob.
    """
    columns = _Columns.of(grid, _middle(grid))
    sizes = np.exp(columns.log_size)
    once = DESIGN_SAMPLES * sizes.min()
    x = columns.gradient(once / (once + sizes))
    chosen = [min(range(len(grid)), key=lambda i: (_knobs_on(grid[i]), grid[i].per_device_batch))]
    noise = np.full(len(grid), NOISE)
    while len(chosen) < min(count, len(grid)):
        left = [i for i in range(len(grid)) if i not in chosen]

        def total(i: int) -> float:
            rows = [*chosen, i]
            covariance = _posterior(x[rows], noise[rows])
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
    middle = _middle(measured)
    columns = _Columns.of(list(measured), middle)
    y = np.log([step_s for step_s, _ in measured.values()])
    noise = spread.of_means / np.sqrt([count for _, count in measured.values()])
    levels = math.log(STEP_SHARE) + float(y.min()), float(np.mean(y - columns.log_size))

    def residuals(weights: Floats) -> Floats:
        times, _ = columns.log_times(levels, weights)
        return np.concatenate([(times - y) / noise, weights / PRIOR])

    def slopes(weights: Floats) -> Floats:
        _, share = columns.log_times(levels, weights)
        return np.vstack([columns.gradient(share) / noise[:, None], np.diag(1 / PRIOR)])

    weights = least_squares(residuals, np.zeros(len(PRIOR)), jac=slopes).x
    times, share = columns.log_times(levels, weights)
    x = columns.gradient(share)
    covariance = _posterior(x, noise)
    misfit = _misfit(x, y - times, covariance, noise)
    t = float(stats.t.ppf(0.975, spread.df))
    asked = _Columns.of(wanted, middle)
    values, shares = asked.log_times(levels, weights)
    found = []
    for value, row in zip(values, asked.gradient(shares), strict=True):
        variance = float(row @ covariance @ row) + misfit**2
        half, one_more = t * math.sqrt(variance), t * math.sqrt(variance + spread.of_processes**2)
        found.append(around(float(value), half, one_more))
    return found


def _misfit(x: Floats, residual: Floats, covariance: Floats, noise: Floats) -> float:
    """Root mean square by which leaving one out misses it, beyond what noise explains.

    By the leverages h of the linearised fit: leaving i out, its residual is e / (1 - h), and its
    expected square noise^2 / (1 - h); each counts by (1 - h)^2.
    """
    leverage = np.einsum("ij,jk,ik->i", x, covariance, x) / noise**2
    free = np.maximum(1 - leverage, 1e-6)
    # A point that nothing else speaks of tells nothing of the form.
    squares = float(np.sum(residual**2 - noise**2 * free))
    known = float(np.sum(free**2))
    return math.sqrt(max(0.0, MISFIT_DF * MISFIT**2 + squares) / (MISFIT_DF + known))
