"""What a replay amounts to: the figures by which clusters and policies are judged."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import stats

from ..catalog.files import Document, Record
from .estimates import mean_interval
from .records import Interval
from .replay import Finished, Replay

Floats = NDArray[np.float64]


class Figures(Document):
    """A replay in figures, file format isocost/replay/v1.

    jct_s: finish minus submission. wait_s: first start minus submission. makespan_s: last finish
    minus first submission. total_cost_usd: GPU-hours held, at their prices. reserved_cost_usd:
    the whole cluster for the makespan. utilization: GPU-seconds held over GPU-seconds there.
    mean_slowdown, p99_slowdown: JCT over run time alone on the fastest accelerator. jain_fairness:
    (sum of x)^2 / (n sum of x^2), x the inverse slowdowns. deadline_misses: None without deadlines.
    mean_jobs_in_system: by the clock; Little's law says arrival rate times mean JCT.
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


def figures(done: Replay, *, trace: str = "", created: datetime | None = None) -> Figures:
    """The figures of a replay of at least one job."""
    jobs, cluster = done.jobs, done.cluster
    first_s = min(one.task.job.submit_s for one in jobs)
    makespan = max(one.finish_s for one in jobs) - first_s
    jct = np.array([one.jct_s for one in jobs])
    wait = np.array([one.wait_s for one in jobs])
    slow = jct / np.array([one.task.ideal_s for one in jobs])
    gpu_s = np.array([one.gpu_s for one in jobs]).sum(axis=0)
    prices = np.array(cluster.usd_per_gpu_s)
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
        utilization=float(gpu_s.sum() / (sum(cluster.gpus) * makespan)),
        avg_wait_s=float(wait.mean()),
        p99_wait_s=float(np.percentile(wait, 99)),
        reserved_cost_usd=float(np.array(cluster.gpus) @ prices * makespan),
        gpu_hours=float(gpu_s.sum() / 3600),
        preemptions=sum(one.preemptions for one in jobs),
        mean_slowdown=float(slow.mean()),
        p99_slowdown=float(np.percentile(slow, 99)),
        jain_fairness=float((1 / slow).sum() ** 2 / (len(jobs) * (1 / slow**2).sum())),
        deadline_misses=_misses(jobs),
        mean_jobs_in_system=done.job_s / makespan,
    )


WARM_UP = 0.1  # of the jobs, by submission, that come while the system fills
STEADY_BATCHES = 30


def steady_mean(sample: Floats, probability: float = 0.99) -> tuple[float, Interval]:
    """The mean of a long stationary series of neighbours that depend on each other, and its interval.

    The first tenth is dropped; Student's interval of the means of 30 batches of the rest.
    """
    steady = sample[int(WARM_UP * len(sample)) :]
    means = np.array([batch.mean() for batch in np.array_split(steady, STEADY_BATCHES)])
    mean = float(steady.mean())
    deviation = means.std(ddof=1) / STEADY_BATCHES**0.5
    half = float(stats.t.ppf((1 + probability) / 2, STEADY_BATCHES - 1) * deviation)
    return mean, (mean - half, mean + half)


BATCHES = 20  # of consecutive jobs: wide enough to be nearly independent of each other


class Difference(Record):
    """A policy against the first one, paired job by job; negative is sooner.

    mean_ci95: by the means of 20 batches of consecutive jobs, for neighbours in a queue are not
    independent; None for fewer than 40 jobs. sooner, later: shares of the jobs.
    """

    policy: str
    mean_s: float
    mean_ci95: Interval | None
    sooner: float
    later: float


class Comparison(Document):
    """Policies side by side on one trace, file format isocost/comparison/v1."""

    schema_id: Literal["isocost/comparison/v1"] = Field(
        alias="schema", default="isocost/comparison/v1"
    )
    trace: str = ""
    policies: tuple[Figures, ...]
    differences: tuple[Difference, ...]


def compared(replays: Sequence[Replay], *, trace: str = "") -> Comparison:
    """Replays of one trace; the first is the one to compare with."""
    times = [
        np.array([one.jct_s for one in sorted(done.jobs, key=lambda one: one.task.index)])
        for done in replays
    ]
    return Comparison(
        trace=trace,
        policies=tuple(figures(done, trace=trace) for done in replays),
        differences=tuple(
            _difference(done.policy, own - times[0])
            for done, own in zip(replays[1:], times[1:], strict=True)
        ),
    )


def _difference(policy: str, change: Floats) -> Difference:
    enough = len(change) >= 2 * BATCHES
    means = (
        np.array([batch.mean() for batch in np.array_split(change, BATCHES)]) if enough else None
    )
    return Difference(
        policy=policy,
        mean_s=float(change.mean()),
        mean_ci95=None if means is None else mean_interval(means),
        sooner=float((change < -1e-6).mean()),
        later=float((change > 1e-6).mean()),
    )


def _misses(jobs: tuple[Finished, ...]) -> int | None:
    limits = [(one.jct_s, one.task.job.deadline_s) for one in jobs]
    if all(limit is None for _, limit in limits):
        return None
    return sum(limit is not None and jct > limit for jct, limit in limits)
