"""From single steps to a figure that can be trusted, and how far it can be trusted."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from .records import Estimate, ProcessSample

WINDOWS = 20
NOISY = 0.10  # relative half-width above which a figure says why
DISCARDED_SHARE = 0.2  # the first steps take up to twice the steady time (measured, CIFAR CNN)
BETWEEN_PRIOR = (
    0.12  # spread of a fresh process against the next; 9 to 16 % seen on a quiet machine
)
BETWEEN_PRIOR_DF = 3  # how many processes' worth of evidence that prior counts for


@dataclass(frozen=True)
class Steady:
    """Steady step time of one process with its relative standard error."""

    step_s: float
    spread: float
    steps: int
    discarded: int


def steady(step_seconds: Sequence[float]) -> Steady:
    """The steady step time: first step and first fifth dropped, then the median of window means.

    Window means keep what happens every few steps (a full queue, garbage) in the figure; their
    median leaves out the window in which the machine did something else.
    """
    times = np.asarray(step_seconds, dtype=float)
    dropped = min(len(times) - 1, max(1, math.ceil(DISCARDED_SHARE * len(times))))
    kept = times[dropped:]
    means = np.array([part.mean() for part in np.array_split(kept, min(WINDOWS, len(kept)))])
    middle = float(np.median(means))
    # For normal windows 1.483 x their median deviation is the standard deviation, and the
    # standard error of a median is 1.253 times that of a mean.
    deviation = 1.483 * float(np.median(np.abs(means - middle)))
    error = 1.253 * deviation / math.sqrt(len(means)) if len(means) > 1 else middle
    return Steady(middle, error / middle, len(kept), dropped)


def between_spread(processes: Sequence[Sequence[ProcessSample]]) -> tuple[float, int]:
    """Relative spread between fresh processes, pooled over settings, and its degrees of freedom.

    s^2 = (v0 s0^2 + sum_i sum_j (ln x_ij - mean_i)^2) / (v0 + sum_i (k_i - 1)), with the prior
    s0 = BETWEEN_PRIOR worth v0 = BETWEEN_PRIOR_DF observations.
    """
    squares, df = BETWEEN_PRIOR_DF * BETWEEN_PRIOR**2, BETWEEN_PRIOR_DF
    for samples in processes:
        logs = np.log([sample.step_s for sample in samples])
        squares += float(((logs - logs.mean()) ** 2).sum())
        df += len(logs) - 1
    return math.sqrt(squares / df), df


def noise_causes(samples: Sequence[ProcessSample], step: Estimate, cores: int) -> tuple[str, ...]:
    """Why an interval is wider than NOISY either way, in words; nothing where it is not.

    load from outside: more than a quarter of the processors were busy before. drift: the later
    rounds are slower or faster throughout. outliers: one process far from the others.
    """
    if math.log(step.ci95[1] / step.ci95[0]) / 2 <= NOISY:
        return ()
    causes = []
    busy = float(np.median([one.load_before for one in samples]))
    # Our own processes keep one to `cores` busy; what is beyond comes from outside.
    if busy > 1.25 * cores:
        causes.append(f"load from outside ({busy:.1f} before)")
    logs = np.log([one.step_s for one in samples])
    if len(logs) >= 4 and abs(stats.spearmanr(range(len(logs)), logs).statistic) > 0.9:
        causes.append(f"drift ({math.exp(logs[-1] - logs[0]) - 1:+.0%} from first to last)")
    far = np.abs(logs - np.median(logs))
    if len(logs) >= 3 and far.max() > 3 * max(float(np.median(far)), 0.01):
        causes.append(f"outliers ({math.exp(float(far.max())) - 1:.0%} off)")
    return tuple(causes or ["fresh processes differ, or too few were measured"])


def estimate(samples: Sequence[ProcessSample], spread: float, df: int) -> Estimate:
    """Geometric mean over processes; Student intervals of it and of one more process."""
    k = len(samples)
    log_value = float(np.mean(np.log([sample.step_s for sample in samples])))
    t = float(stats.t.ppf(0.975, df))
    mean_half, repeat_half = t * spread / math.sqrt(k), t * spread * math.sqrt(1 + 1 / k)
    return Estimate(
        value=math.exp(log_value),
        ci95=(math.exp(log_value - mean_half), math.exp(log_value + mean_half)),
        repeat95=(math.exp(log_value - repeat_half), math.exp(log_value + repeat_half)),
    )
