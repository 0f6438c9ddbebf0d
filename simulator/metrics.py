"""What a replay amounts to: the figures by which clusters and policies are judged."""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import stats

from ..catalog.files import Document, InputError, Record
from .estimates import mean_interval
from .records import Interval
from .replay import Finished, Replay
from .usage import Usage

Floats = NDArray[np.float64]

BATCHES = 20  # of consecutive jobs: wide enough to be nearly independent of each other
SAME_S = 1e-6  # completion times that are no further apart are the same


class Estimate(Record):
    """A figure over the seeds: its mean with the 95 % interval, and its 90 % quantile."""

    figure: str
    mean: float
    mean_ci95: Interval
    p90: float


class FigureChange(Record):
    """A figure in a scenario against the baseline, seed by seed. difference_ci95: over the seeds; with one
    seed by means of 20 batches of consecutive jobs for the JCT, else None.
    """

    figure: str
    baseline: float
    changed: float
    difference: float
    difference_ci95: Interval | None


class TraceScenario(Record):
    """One what-if, in the user's words. sooner, later: shares of the jobs that finish in both worlds."""

    change: str
    figures: tuple[FigureChange, ...]
    sooner: float
    later: float


class Figures(Document):
    """A replay in figures, file format isocost/replay/v1.

    jct_s: finish minus submission. wait_s: first start minus submission. makespan_s: last finish
    minus first submission. total_cost_usd: GPU-hours held, at their prices. reserved_cost_usd:
    the whole cluster for the makespan. utilization: GPU-seconds held over GPU-seconds there.
    mean_slowdown, p99_slowdown: JCT over run time alone on the fastest accelerator. jain_fairness:
    (sum of x)^2 / (n sum of x^2), x the inverse slowdowns. deadline_misses: None without deadlines.
    mean_jobs_in_system: by the clock; Little's law says arrival rate times mean JCT.

    Where machines come and go: reserved_cost_usd and utilization are of those that stood; machines_lost;
    losses: times a job lost one; lost_gpu_hours: work done again. unfinished: jobs given up, which
    count in costs and GPU-hours only. The figures are those of one seed; estimates: over several.

    jct_quantiles_s, wait_quantiles_s: at 0, 1, ..., 100 %. usage: where somebody listened.
    """

    schema_id: Literal["isocost/replay/v1"] = Field(alias="schema", default="isocost/replay/v1")
    created: datetime | None = None
    trace: str = ""
    policy: str
    jobs: int
    avg_jct_s: float
    median_jct_s: float
    p99_jct_s: float
    makespan_s: float
    total_cost_usd: float
    utilization: float
    avg_wait_s: float
    p99_wait_s: float
    reserved_cost_usd: float
    gpu_hours: float
    preemptions: int
    mean_slowdown: float
    p99_slowdown: float
    jain_fairness: float
    deadline_misses: int | None
    mean_jobs_in_system: float
    unfinished: int = 0
    machines_lost: int = 0
    losses: int = 0
    lost_gpu_hours: float = 0.0
    seed: int = 0
    estimates: tuple[Estimate, ...] = ()
    what_if: tuple[TraceScenario, ...] = ()
    jct_quantiles_s: tuple[float, ...] = ()
    wait_quantiles_s: tuple[float, ...] = ()
    usage: Usage | None = None


def figures(
    done: Replay,
    *,
    trace: str = "",
    created: datetime | None = None,
    usage: Usage | None = None,
) -> Figures:
    """The figures of a replay. Raises InputError where no job has finished."""
    jobs, cluster, every = done.jobs, done.cluster, (*done.jobs, *done.unfinished)
    if not jobs:
        raise InputError(
            f"under {done.policy} none of the {len(every)} jobs finished: the budget was spent or the "
            "machines that they need did not come; raise budget_usd, or change the cluster"
        )
    first_s = min(one.task.job.submit_s for one in jobs)
    makespan = max(one.finish_s for one in jobs) - first_s
    jct = np.array([one.jct_s for one in jobs])
    wait = np.array([one.wait_s for one in jobs])
    slow = jct / np.array([one.task.ideal_s for one in jobs])
    gpu_s = np.array([one.gpu_s for one in every]).sum(axis=0)
    prices = np.array(cluster.usd_per_gpu_s)
    bill = done.bill
    stood_gpu_s = sum(cluster.gpus) * makespan if bill is None else bill.gpu_s
    reserved = float(np.array(cluster.gpus) @ prices * makespan) if bill is None else bill.usd
    return Figures(
        created=created,
        trace=trace,
        policy=done.policy,
        jobs=len(jobs),
        avg_jct_s=float(jct.mean()),
        median_jct_s=float(np.median(jct)),
        p99_jct_s=float(np.percentile(jct, 99)),
        makespan_s=makespan,
        total_cost_usd=float(gpu_s @ prices),
        utilization=float(gpu_s.sum() / stood_gpu_s),
        avg_wait_s=float(wait.mean()),
        p99_wait_s=float(np.percentile(wait, 99)),
        reserved_cost_usd=reserved,
        gpu_hours=float(gpu_s.sum() / 3600),
        preemptions=sum(one.preemptions for one in every),
        mean_slowdown=float(slow.mean()),
        p99_slowdown=float(np.percentile(slow, 99)),
        jain_fairness=float((1 / slow).sum() ** 2 / (len(jobs) * (1 / slow**2).sum())),
        deadline_misses=_misses(jobs),
        mean_jobs_in_system=done.job_s / makespan,
        unfinished=len(done.unfinished),
        machines_lost=0 if bill is None else bill.lost,
        losses=sum(one.losses for one in every),
        lost_gpu_hours=sum(one.lost_s * one.task.job.num_gpus for one in every) / 3600,
        jct_quantiles_s=_quantiles(jct),
        wait_quantiles_s=_quantiles(wait),
        usage=usage,
    )


def _quantiles(sample: Floats) -> tuple[float, ...]:
    return tuple(np.percentile(sample, np.arange(101)).tolist())


OVER_SEEDS = (
    *("avg_jct_s", "p99_jct_s", "makespan_s", "total_cost_usd", "reserved_cost_usd"),
    *("unfinished", "losses"),
)


def estimates(replays: Sequence[Replay]) -> tuple[Estimate, ...]:
    """The figures OVER_SEEDS of two or more replays that differ in their seed only."""
    every = [figures(done) for done in replays]
    samples = {name: np.array([getattr(one, name) for one in every], float) for name in OVER_SEEDS}
    return tuple(
        Estimate(
            figure=name,
            mean=float(sample.mean()),
            mean_ci95=mean_interval(sample),
            p90=float(np.quantile(sample, 0.9)),
        )
        for name, sample in samples.items()
    )


def set_beside(words: str, baseline: Sequence[Replay], changed: Sequence[Replay]) -> TraceScenario:
    """A scenario against the baseline, replays in the order of the same seeds."""
    before, after = ([figures(done) for done in replays] for replays in (baseline, changed))
    by_job = [_paired_jct(old, new) for old, new in zip(baseline, changed, strict=True)]
    found = []
    for name in OVER_SEEDS:
        old, new = (
            np.array([getattr(one, name) for one in every], float) for every in (before, after)
        )
        change = new - old
        interval = mean_interval(change) if len(change) > 1 else None
        if interval is None and name == "avg_jct_s":
            interval = _batched_interval(by_job[0])
        found.append(
            FigureChange(
                figure=name,
                baseline=float(old.mean()),
                changed=float(new.mean()),
                difference=float(change.mean()),
                difference_ci95=interval,
            )
        )
    every = np.concatenate(by_job)
    return TraceScenario(
        change=words,
        figures=tuple(found),
        sooner=_share(every < -SAME_S),
        later=_share(every > SAME_S),
    )


def _paired_jct(before: Replay, after: Replay) -> Floats:
    """JCT after less before, of the jobs that finish in both, by submission."""
    old = {one.task.index: one.jct_s for one in before.jobs}
    new = {one.task.index: one.jct_s for one in after.jobs}
    return np.array([new[index] - old[index] for index in sorted(old.keys() & new.keys())], float)


def _batched_interval(change: Floats) -> Interval | None:
    if len(change) < 2 * BATCHES:
        return None
    return mean_interval(np.array([batch.mean() for batch in np.array_split(change, BATCHES)]))


def _share(true: NDArray[np.bool_]) -> float:
    return float(true.mean()) if len(true) else 0.0


WARM_UP = 0.1  # of the jobs, by submission, that come while the system fills
STEADY_BATCHES = 30


def steady_mean(sample: Floats, probability: float = 0.99) -> tuple[float, Interval]:
    """The mean of a long stationary series of neighbours that depend on each other, and its interval.

    The first tenth is dropped. Student's interval of the means of 30 batches of the rest, corrected
    as in Skart (Tafazzoli, Wilson, Lada, Steiger 2011) for what is left of both faults of such
    means in a busy queue: skewness B, by G(t) = (cbrt(1 + 6 b (t - b)) - 1) / (2 b) with
    b = B / (6 sqrt(k)) in place of t, and the correlation r of neighbours, by the factor
    (1 + r) / (1 - r) of their variance. The corrections only widen: 30 batches know their own
    skewness too badly to make one side narrower.
    """
    steady = sample[int(WARM_UP * len(sample)) :]
    means = np.array([batch.mean() for batch in np.array_split(steady, STEADY_BATCHES)])
    mean, k = float(steady.mean()), STEADY_BATCHES
    apart = means - means.mean()
    squares = float(apart @ apart)
    if squares == 0:
        return mean, (mean, mean)
    r = max(float(apart[1:] @ apart[:-1]) / squares, 0.0)
    deviation = math.sqrt(squares / (k - 1) / k * (1 + r) / (1 - r))
    b = float(stats.skew(means, bias=False)) / (6 * math.sqrt(k))
    t = float(stats.t.ppf((1 + probability) / 2, k - 1))

    def skewed(t: float) -> float:
        return t if abs(b) < 1e-3 else float(np.cbrt(1 + 6 * b * (t - b)) - 1) / (2 * b)

    low, high = max(t, skewed(t)), min(-t, skewed(-t))
    return mean, (mean - low * deviation, mean - high * deviation)


class Difference(Record):
    """A policy against the first one, paired job by job; negative is sooner.

    mean_ci95: over the seeds; with one seed by the means of 20 batches of consecutive jobs, for neighbours in a
    queue are not independent, and None for fewer than 40 jobs. sooner, later: shares of the jobs.
    """

    policy: str
    mean_s: float
    mean_ci95: Interval | None
    sooner: float
    later: float


class Comparison(Document):
    """Policies side by side on one trace, file format isocost/comparison/v1. policies: of the first seed."""

    schema_id: Literal["isocost/comparison/v1"] = Field(
        alias="schema", default="isocost/comparison/v1"
    )
    trace: str = ""
    seeds: int = 1
    policies: tuple[Figures, ...]
    differences: tuple[Difference, ...]


def compared(
    replays: Sequence[Replay],
    *,
    trace: str = "",
    usages: Sequence[Usage | None] = (),
    more: Sequence[Sequence[Replay]] = (),
) -> Comparison:
    """Replays of one trace; the first is the one to compare with.

    usages: of each, if at all. more: of each policy those with further seeds, the same for all.
    """
    every = [
        (done, *further) for done, further in zip(replays, more or [()] * len(replays), strict=True)
    ]
    return Comparison(
        trace=trace,
        seeds=len(every[0]),
        policies=tuple(
            figures(done, trace=trace, usage=usage)
            for done, usage in zip(replays, usages or [None] * len(replays), strict=True)
        ),
        differences=tuple(
            _difference(
                found[0].policy,
                [_paired_jct(old, new) for old, new in zip(every[0], found, strict=True)],
            )
            for found in every[1:]
        ),
    )


def _difference(policy: str, by_seed: Sequence[Floats]) -> Difference:
    every = np.concatenate(by_seed)
    means = np.array([change.mean() for change in by_seed if len(change)])
    return Difference(
        policy=policy,
        mean_s=float(means.mean()) if len(means) else 0.0,
        mean_ci95=mean_interval(means) if len(means) > 1 else _batched_interval(every),
        sooner=_share(every < -SAME_S),
        later=_share(every > SAME_S),
    )


def _misses(jobs: tuple[Finished, ...]) -> int | None:
    limits = [(one.jct_s, one.task.job.deadline_s) for one in jobs]
    if all(limit is None for _, limit in limits):
        return None
    return sum(limit is not None and jct > limit for jct, limit in limits)
