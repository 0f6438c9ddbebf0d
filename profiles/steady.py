"""From single steps to a figure that can be trusted, and how far it can be trusted."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from .records import Estimate, ProcessSample

WINDOWS = 20
TRIMMED = 0.1  # of the windows, at either end
NOISY = 0.10  # relative half-width above which a figure says why
DISCARDED_SHARE = 0.2  # the first steps take up to twice the steady time (measured, CIFAR CNN)
WARM = 0.05  # by how much a window's mean may lie above the rest's before it counts as warming up
OUTSIDE_SHARE = 0.1  # of the processors busy with other work, before it counts as a cause of noise
MOST_DISCARDED = 0.5
BETWEEN_PRIOR = (
    0.12  # spread of a fresh process against the next; 9 to 16 % seen on a quiet machine
)
BETWEEN_PRIOR_DF = 3  # how many processes' worth of evidence that prior counts for
OUTLYING = 0.2  # of the processes, at either end, left out of a setting's figure
OWN_PRIOR_DF = 6  # how many that of all settings together counts for in one setting's own spread


@dataclass(frozen=True)
class Steady:
    """Steady step time of one process with its relative standard error."""

    step_s: float
    spread: float
    steps: int
    discarded: int


def steady(step_seconds: Sequence[float], settled_after: int = 1) -> Steady:
    """The steady step time: warm-up dropped, then the trimmed mean of window means.

    Dropped are the first step, which compiles, all up to the last that was traced anew
    (settled_after), the first fifth, and after it windows that still run slower than the rest.
    Window means keep what happens every few steps (a full queue, garbage) in the figure; trimming
    leaves out the windows in which the machine did something else. The median would leave out more:
    step times are skewed, and training takes their mean (2 to 3 % more, CIFAR CNN, 2026-11).
    """
    times = np.asarray(step_seconds, dtype=float)
    dropped = max(settled_after, math.ceil(DISCARDED_SHARE * len(times)))
    dropped = min(len(times) - 1, max(1, dropped))
    parts = np.array_split(times[dropped:], min(WINDOWS, len(times) - dropped))
    means = np.array([part.mean() for part in parts])
    warming = 0
    while (
        warming < MOST_DISCARDED * len(means) - 1
        and means[warming] > (1 + WARM) * np.median(means[warming + 1 :])
        and means[warming] > 1.0001 * means[warming + 1]  # it still falls
    ):
        dropped += len(parts[warming])
        warming += 1
    means = means[warming:]
    middle = float(stats.trim_mean(means, TRIMMED))
    # The standard error of a trimmed mean, by the winsorised deviation (Tukey and McLaughlin 1963).
    winsorised = stats.mstats.winsorize(means, limits=(TRIMMED, TRIMMED))
    error = (
        float(np.std(winsorised, ddof=1)) / ((1 - 2 * TRIMMED) * math.sqrt(len(means)))
        if len(means) > 1
        else middle
    )
    return Steady(middle, error / middle, len(times) - dropped, dropped)


@dataclass(frozen=True)
class Spread:
    """Relative spread between fresh processes, pooled over settings.

    of_means: such that a trimmed mean over k processes has the standard error of_means / sqrt(k).
    of_processes: of one process, outliers included. df: degrees of freedom.
    """

    of_means: float
    of_processes: float
    df: int


@dataclass(frozen=True)
class _Core:
    """One setting's processes: trimmed mean of ln x, and sums of squares with their freedom.

    core_squares / core_df: k times the squared standard error of the trimmed mean (Yuen 1974), the
    variance of ln x where nothing is trimmed.
    """

    middle: float
    core_squares: float
    core_df: int
    squares: float
    df: int


def _core(samples: Sequence[ProcessSample]) -> _Core:
    logs = np.sort(np.log([sample.step_s for sample in samples]))
    k = len(logs)
    cut = int(OUTLYING * k)
    kept = k - 2 * cut
    winsorised = np.clip(logs, logs[cut], logs[k - 1 - cut])
    inner = float(((winsorised - winsorised.mean()) ** 2).sum()) * k / kept
    whole = float(((logs - logs.mean()) ** 2).sum())
    return _Core(float(logs[cut : k - cut].mean()), inner, kept - 1, whole, k - 1)


def between_spread(processes: Sequence[Sequence[ProcessSample]]) -> Spread:
    """Spread between fresh processes, pooled over settings.

    s^2 = (v0 s0^2 + sum_i squares_i) / (v0 + sum_i df_i), with the prior s0 = BETWEEN_PRIOR worth
    v0 = BETWEEN_PRIOR_DF observations.
    """
    cores = [_core(samples) for samples in processes]
    prior = BETWEEN_PRIOR_DF * BETWEEN_PRIOR**2
    core_df = BETWEEN_PRIOR_DF + sum(one.core_df for one in cores)
    df = BETWEEN_PRIOR_DF + sum(one.df for one in cores)
    return Spread(
        math.sqrt((prior + sum(one.core_squares for one in cores)) / core_df),
        math.sqrt((prior + sum(one.squares for one in cores)) / df),
        core_df,
    )


def noise_causes(samples: Sequence[ProcessSample], step: Estimate, cores: int) -> tuple[str, ...]:
    """Why an interval is wider than NOISY either way, in words; nothing where it is not.

    load from outside: others kept more than OUTSIDE_SHARE of the processors busy. drift: the later
    rounds are slower or faster throughout. outliers: one process far from the others. retraced: the
    step was compiled again and again.
    """
    if math.log(step.ci95[1] / step.ci95[0]) / 2 <= NOISY:
        return ()
    causes = []
    busy = float(np.median([one.outside_load for one in samples]))
    if busy > OUTSIDE_SHARE * cores:
        causes.append(f"load from outside ({busy:.1f} of {cores} processors)")
    logs = np.log([one.step_s for one in samples])
    if len(logs) >= 4 and abs(stats.spearmanr(range(len(logs)), logs).statistic) > 0.9:
        causes.append(f"drift ({math.exp(logs[-1] - logs[0]) - 1:+.0%} from first to last)")
    far = np.abs(logs - np.median(logs))
    if len(logs) >= 3 and far.max() > 3 * max(float(np.median(far)), 0.01):
        causes.append(f"outliers ({math.exp(float(far.max())) - 1:.0%} off)")
    if any(one.retraced for one in samples):
        causes.append("retraced (the step compiles anew: shapes or types of the data change)")
    return tuple(causes or ["fresh processes differ, or too few were measured"])


def estimate(samples: Sequence[ProcessSample], spread: Spread) -> Estimate:
    """Trimmed geometric mean over processes; Student intervals of it and of one more process.

    Of five processes and more a fifth is left out at either end, for machines have bad moments.
    spread: of the profile as a whole. A setting's own spread s is shrunk towards it,
    s^2 = (v spread^2 + squares) / (v + df) with v = min(spread.df, OWN_PRIOR_DF), so that a setting
    that is noisier than the others says so and does not widen theirs.
    """
    k, own = len(samples), _core(samples)
    weight = min(spread.df, OWN_PRIOR_DF)
    of_mean = (weight * spread.of_means**2 + own.core_squares) / (weight + own.core_df) / k
    of_process = (weight * spread.of_processes**2 + own.squares) / (weight + own.df)
    t = float(stats.t.ppf(0.975, weight + own.core_df))
    return around(own.middle, t * math.sqrt(of_mean), t * math.sqrt(of_mean + of_process))


def around(log_value: float, half: float, repeat_half: float) -> Estimate:
    """The estimate with these half-widths of its logarithm."""
    return Estimate(
        value=math.exp(log_value),
        ci95=(math.exp(log_value - half), math.exp(log_value + half)),
        repeat95=(math.exp(log_value - repeat_half), math.exp(log_value + repeat_half)),
    )
