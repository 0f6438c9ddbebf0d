"""A trace replayed on a cluster under a policy: the event core, on SimPy's clock.

A job takes three events: it arrives, the policy decides, it finishes. The clock, the policy and the
listener are handed in, and a replay draws no random number: the same trace gives the same replay,
event for event.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heappush
from typing import Any, NamedTuple, Protocol

import simpy

from .cluster import Cluster
from .fleet import Bill
from .pool import Place, Pool, crosses, pool
from .speeds import Speeds, Task

FIRST, NORMAL = 0, 1  # priorities within one instant
LAST = 2  # the policy decides after all arrivals and finishes


class Grant(NamedTuple):
    """GPUs of one accelerator (its index in the cluster)."""

    accelerator: int
    gpus: int


@dataclass(slots=True, eq=False)
class Active:
    """A job that has arrived and not finished, as the policy sees it.

    left: work when it was last looked at (since_s); left_at says what is left now. rate: checkpoints
    included. losses, lost_s: machines lost under it, and seconds of its work lost with them.
    """

    task: Task
    left: float
    grant: Grant | None = None
    rate: float = 0.0
    since_s: float = 0.0
    started_s: float = math.nan
    gpu_s: list[float] = field(default_factory=list)
    run_s: float = 0.0
    preemptions: int = 0
    token: int = 0
    place: Place = ()
    granted_s: float = 0.0
    losses: int = 0
    lost_s: float = 0.0

    def left_at(self, now_s: float) -> float:
        """Work left; while the job starts up nothing is done."""
        return self.left - self.rate * max(now_s - self.since_s, 0.0)

    def attained_gpu_s(self, now_s: float) -> float:
        """GPU-seconds held so far."""
        held = self.grant.gpus * (now_s - self.granted_s) if self.grant else 0.0
        return sum(self.gpu_s) + held


Change = tuple[Active, Grant | None]
"""What a job is to have from now on; None is nothing. A grant that it has already changes nothing."""


class Scheduler(Protocol):
    """A policy at work on one replay. wake_s: when to be asked again even if nothing happens."""

    wake_s: float

    def arrive(self, job: Active) -> None:
        """A job joins, or joins again because it has lost its GPUs."""
        ...

    def leave(self, job: Active) -> None:
        """A job has finished, or was given up; its GPUs are free already."""
        ...

    def decide(self, now_s: float, free: Pool) -> Iterable[Change]:
        """Changes, each carried out before the next is asked for (so ``free`` is up to date)."""
        ...


class Policy(Protocol):
    """A rule by which jobs share a cluster."""

    @property
    def name(self) -> str: ...

    def scheduler(self, cluster: Cluster) -> Scheduler:
        """A fresh one, with no memory of other replays."""
        ...


@dataclass(frozen=True, slots=True)
class Finished:
    """What became of one job.

    wait_s: from submission to first start. run_s: time holding GPUs. gpu_s: by accelerator.
    losses: times it lost a machine; lost_s: run time that had to be done again. A job that was given up
    has the time of that as its finish_s.
    """

    task: Task
    start_s: float
    finish_s: float
    run_s: float
    gpu_s: tuple[float, ...]
    preemptions: int
    losses: int = 0
    lost_s: float = 0.0

    @property
    def jct_s(self) -> float:
        return self.finish_s - self.task.job.submit_s

    @property
    def wait_s(self) -> float:
        return self.start_s - self.task.job.submit_s

    def cost_usd(self, cluster: Cluster) -> float:
        return sum(
            price * used for price, used in zip(cluster.usd_per_gpu_s, self.gpu_s, strict=True)
        )


class Happened(NamedTuple):
    """One event: submit, start, stop (preempted or moved), lost (with a machine), finish, end (given up)."""

    at_s: float
    kind: str
    job: Task
    grant: Grant | None


Listen = Callable[[Happened], None]
Done = Callable[[Finished], None]


@dataclass(frozen=True, slots=True)
class Replay:
    """A replay that has come to its end.

    jobs: in the order in which they finished. job_s: the integral of the number of jobs in the
    system, kept by the clock alone (Little's law compares it with the jobs' own times).
    decisions: times the policy was asked, or rounds. micro_tasks: stretches of a job in a round.
    unfinished: jobs given up (a budget that was spent, machines that never came). bill: of the machines
    that stood, where they come and go; None where all stand all the time.
    """

    cluster: Cluster
    policy: str
    jobs: tuple[Finished, ...]
    job_s: float
    decisions: int
    micro_tasks: int = 0
    unfinished: tuple[Finished, ...] = ()
    bill: Bill | None = None


class Clock(simpy.Environment):  # type: ignore[misc]  # SimPy ships no types here
    """SimPy's environment with calls at absolute times.

    A Timeout adds a delay to now, which rounds: a job that arrives as another finishes would then
    miss it by one unit in the last place.
    """

    def call_at(
        self, at_s: float, call: Callable[[Any], None], value: object, priority: int = NORMAL
    ) -> None:
        event = simpy.Event(self)
        event.callbacks = [call]
        event._ok, event._value = True, value
        heappush(self._queue, (at_s, priority, next(self._eid), event))


def replay(
    trace: Sequence[Task],
    cluster: Cluster,
    policy: Policy,
    speeds: Speeds,
    *,
    listen: Listen | None = None,
    done: Done | None = None,
) -> Replay:
    """The trace (by submission) replayed until its last job has finished.

    listen: told every event; done: every finished job, in order of time.
    Raises ValueError where the policy leaves jobs waiting for ever.
    """
    return Engine(trace, cluster, policy, speeds, listen, done).run()


class Engine:
    """State of one replay."""

    def __init__(
        self,
        trace: Sequence[Task],
        cluster: Cluster,
        policy: Policy,
        speeds: Speeds,
        listen: Listen | None,
        done: Done | None,
    ) -> None:
        self._clock = Clock()
        self._coming: Iterator[Task] = iter(trace)
        self._next: Task | None = None
        self._cluster, self._policy, self._speeds = cluster, policy, speeds
        self._scheduler = policy.scheduler(cluster)
        self._pool = pool(cluster)
        self._by_node = cluster.placement != "pooled"
        self._listen, self._done = listen, done
        self._finished: list[Finished] = []
        self._deciding = False
        self._decisions = 0
        self._wake_s = math.inf
        self._present = 0
        self._job_s, self._counted_s = 0.0, 0.0

    def run(self) -> Replay:
        self._next_arrival()
        self._clock.run()
        if self._present:
            raise ValueError(
                f"policy {self._policy.name} left {self._present} jobs waiting with nothing to come"
            )
        return Replay(
            self._cluster,
            self._policy.name,
            tuple(self._finished),
            self._job_s,
            self._decisions,
        )

    def _next_arrival(self) -> None:
        # One arrival at a time: a heap that holds them all makes every event dearer.
        self._next = task = next(self._coming, None)
        if task is not None:
            self._clock.call_at(task.job.submit_s, self._arrive, task)

    def _arrive(self, event: simpy.Event) -> None:
        task: Task = event._value
        self._count(+1)
        job = Active(task, task.work, gpu_s=[0.0] * len(self._cluster.accelerators))
        if self._listen:
            self._listen(Happened(self._clock.now, "submit", task, None))
        self._join(job)
        self._ask()
        self._next_arrival()

    def _join(self, job: Active) -> None:
        self._scheduler.arrive(job)

    def _finish(self, event: simpy.Event) -> None:
        job, token = event._value
        if job.token != token:
            return  # it was stopped or moved since
        now = self._clock.now
        self._count(-1)
        if self._listen:
            self._listen(Happened(now, "finish", job.task, job.grant))
        job.left = 0.0
        self._free(job, now)
        ended = finished(job, now)
        self._finished.append(ended)
        self._scheduler.leave(job)
        if self._done:
            self._done(ended)
        self._ask()

    def _ask(self) -> None:
        if not self._deciding:
            self._deciding = True
            self._clock.call_at(self._clock.now, self._decide, None, LAST)

    def _wake(self, event: simpy.Event) -> None:
        if event._value == self._wake_s:
            self._wake_s = math.inf
            self._ask()

    def _decide(self, event: simpy.Event) -> None:
        self._deciding = False
        self._decisions += 1
        now = self._clock.now
        for job, grant in self._scheduler.decide(now, self._pool):
            if grant == job.grant:
                continue
            if job.grant is not None:
                self._stop(job, now)
            if grant is not None:
                self._start(job, grant, now)
        wake = self._scheduler.wake_s
        if self._present and now < wake < math.inf and wake != self._wake_s:
            self._wake_s = wake
            self._clock.call_at(wake, self._wake, wake)

    def _start(self, job: Active, grant: Grant, now: float) -> None:
        task, cluster = job.task, self._cluster
        job.place = self._pool.take(grant.accelerator, grant.gpus)
        job.rate = self._rate(job, grant)
        if math.isnan(job.started_s):
            job.started_s = now
            delay = cluster.start_s
        else:
            delay = cluster.restart_s
        job.grant, job.granted_s = grant, now
        job.since_s = now + delay
        if self._listen:
            self._listen(Happened(now, "start", task, grant))
        if job.rate > 0:
            self._clock.call_at(job.since_s + job.left / job.rate, self._finish, (job, job.token))

    def _rate(self, job: Active, grant: Grant) -> float:
        """Work per second where the job stands."""
        task, crossing = job.task, self._by_node and crosses(job.place)
        if grant.gpus == task.job.num_gpus and not crossing:
            return task.rates[grant.accelerator]
        name = self._cluster.accelerators[grant.accelerator]
        return self._speeds.rate(task.job, name, grant.gpus, crossing=crossing)

    def _stop(self, job: Active, now: float) -> None:
        if self._listen:
            self._listen(Happened(now, "stop", job.task, job.grant))
        job.left = max(job.left_at(now), 0.0)
        job.preemptions += 1
        self._free(job, now)

    def _free(self, job: Active, now: float) -> None:
        grant = job.grant
        assert grant is not None
        held_s = now - job.granted_s
        job.run_s += held_s
        job.gpu_s[grant.accelerator] += grant.gpus * held_s
        self._pool.give(grant.accelerator, job.place)
        job.grant, job.rate, job.place = None, 0.0, ()
        job.token += 1

    def _count(self, change: int) -> None:
        now = self._clock.now
        self._job_s += self._present * (now - self._counted_s)
        self._counted_s = now
        self._present += change


def finished(job: Active, now_s: float) -> Finished:
    """What has become of a job that ends now."""
    gpu_s = tuple(job.gpu_s)
    counts = (job.preemptions, job.losses)
    return Finished(job.task, job.started_s, now_s, job.run_s, gpu_s, *counts, job.lost_s)
