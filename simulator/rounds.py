"""A trace replayed in rounds: a policy says which share of its time each job should spend on each
accelerator, and rounds of a few minutes are filled so that the shares come true.

The mechanism is Gavel's (Narayanan et al., OSDI 2020), so that results compare number by number:

- At the start of a round every chosen job is given min(floor(rate round_s), left) steps. The round
  ends when the last of them is done with its own; GPUs of the others idle till then.
- Shares X[job, accelerator] are computed anew at the start of a round, only if a job came or left
  since, and at least recompute_s have passed. Until then new jobs have no share and do not run.
- Per accelerator, a job's priority is X / f with f its part of the time given on that accelerator since
  the shares were computed. Jobs are chosen by falling (priority, deficit, X) while they fit. For f a
  round lasts from the end of the round before, so an idle gap counts as given; money and
  utilization count what was used.

Beyond Gavel, a job that did not run in the round before on that accelerator spends the cluster's
start_s or restart_s of its round without work; 0, as by default, is Gavel. A policy may also plan the rounds
themselves instead of shares (Planner). Where gangs stand on nodes, or machines come and go, placed_rounds.py
adds that.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .cluster import Cluster
from .replay import Clock, Done, Finished, Grant, Happened, Listen, Replay
from .speeds import Task

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

ROUND_S, RECOMPUTE_S = 360.0, 1920.0  # Gavel's
SHUFFLE_STREAM = 5  # Gavel draws the order of accelerators from Random(seed + 5)


@dataclass(frozen=True, slots=True)
class Rules:
    """round_s: length of a round. recompute_s: least time between two computations of shares."""

    round_s: float = ROUND_S
    recompute_s: float = RECOMPUTE_S


@dataclass(frozen=True, slots=True, eq=False)
class Jobs:
    """The jobs in the system, in order of arrival, as a sharing policy sees them.

    rates: [job, accelerator] work per second of the whole gang, 0 where it cannot run. left: work.
    gpus: of the gang. age_s: since submission. deadline_s: time left, inf without a deadline.
    there: GPUs of each accelerator. usd_per_gpu_h: their price.
    """

    tasks: Sequence[Task]
    rates: Floats
    left: Floats
    gpus: Floats
    weight: Floats
    age_s: Floats
    deadline_s: Floats
    there: Floats
    usd_per_gpu_h: Floats

    def __len__(self) -> int:
        return len(self.tasks)


class Share(Protocol):
    """Computes the shares of one replay; may remember what it saw before."""

    def __call__(self, jobs: Jobs) -> Floats:
        """X[job, accelerator], the share of its time; each row sums to 1 at most."""
        ...


@runtime_checkable
class Planner(Protocol):
    """Says who runs in the next round, instead of shares."""

    def plan(self, jobs: Jobs, now_s: float, round_s: float) -> Sequence[tuple[int, int]]:
        """(job, accelerator) of those that run; never more GPUs than there are."""
        ...


@runtime_checkable
class SharePolicy(Protocol):
    """A rule for rounds.

    fills: GPUs left over go to jobs without a share there. shuffles: the accelerators are filled
    in random order (policies that know no speeds), else in the cluster's.
    """

    @property
    def name(self) -> str: ...
    @property
    def fills(self) -> bool: ...
    @property
    def shuffles(self) -> bool: ...

    def share(self, cluster: Cluster) -> "Share | Planner":
        """A fresh one, with no memory of other replays."""
        ...


def replay_rounds(
    trace: Sequence[Task],
    cluster: Cluster,
    policy: SharePolicy,
    *,
    rules: Rules | None = None,
    seed: int = 0,
    listen: Listen | None = None,
    done: Done | None = None,
) -> Replay:
    """The trace (by submission) replayed in rounds until its last job has finished.

    seed: of the order of accelerators, where the policy shuffles it; nothing else is drawn.
    """
    return RoundsEngine(trace, cluster, policy, rules or Rules(), seed, listen, done).run()


@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """A round under way. Arrays over those that run: jobs by their place among those present.

    steps: of work. took, finish_s: when each is done with its own. since_s: end of the round before.
    """

    begins_s: float
    since_s: float
    job: Ints
    kind: Ints
    rate: Floats
    idle_s: Floats | float
    steps: Floats
    took: Floats
    finish_s: Floats


class RoundsEngine:
    """State of one replay. Arrays [job] and [job, accelerator] hold the jobs present, by arrival."""

    def __init__(
        self,
        trace: Sequence[Task],
        cluster: Cluster,
        policy: SharePolicy,
        rules: Rules,
        seed: int,
        listen: Listen | None,
        done: Done | None,
    ) -> None:
        self._clock = Clock()
        self._coming: Iterator[Task] = iter(trace)
        self._next = next(self._coming, None)
        self._cluster, self._policy, self._rules = cluster, policy, rules
        share = policy.share(cluster)
        self._planner = share if isinstance(share, Planner) else None
        self._share = None if isinstance(share, Planner) else share
        self._order = Random(seed + SHUFFLE_STREAM)
        self._listen, self._done = listen, done
        kinds = len(cluster.accelerators)
        self._kinds = range(kinds)
        self._there = np.array(cluster.gpus, float)
        self._price = np.array(cluster.usd_per_gpu_s) * 3600
        self._tasks: list[Task] = []
        self._gpus: list[int] = []
        self._width = np.zeros(0)  # the same as an array
        self._some_new = False  # whether somebody has not started yet
        self._keys: tuple[Floats, Floats] | None = None  # of the order, while they hold
        self._rates = np.zeros((0, kinds))
        self._can: list[list[bool]] = []
        self._left = np.zeros(0)
        self._shares = np.zeros((0, kinds))
        self._given_s = np.zeros((0, kinds))
        self._deficit = np.zeros((0, kinds))
        self._gpu_s = np.zeros((0, kinds))
        self._run_s = np.zeros(0)
        self._started_s = np.zeros(0)
        self._preempted = np.zeros(0, int)
        self._ran_on = np.zeros(0, int)  # accelerator in the last round, -1 for none
        self._shared = 0  # the first so many jobs have a share
        self._given_all_s = np.zeros(kinds)
        self._recomputed_s = 0.0
        self._ended_s = 0.0
        self._changed = False
        self._under_way: Round | None = None
        self._finished: list[Finished] = []
        self._job_s = 0.0
        self._rounds = 0
        self.micro_tasks = 0

    def run(self) -> Replay:
        if self._next is not None:
            self._clock.call_at(self._next.job.submit_s, self._round, None)
        self._clock.run()
        return Replay(
            self._cluster,
            self._policy.name,
            tuple(self._finished),
            self._job_s,
            self._rounds,
            self.micro_tasks,
        )

    def _round(self, _: object) -> None:
        """The round before is booked; then the next begins, from its arrivals on."""
        now = self._clock.now
        self._book()
        self._arrive(now)
        if not self._tasks and self._next is None:
            self._end()
            return
        self._maybe_recompute(now)
        chosen, kinds = self._choose() if self._planner is None else self._planned(now)
        if self._listen:
            self._tell_changes(now, chosen, kinds)
        if not chosen:
            self._none_runs(now)
            return
        self._rounds += 1
        self.micro_tasks += len(chosen)
        self._begin(now, np.array(chosen), np.array(kinds))
        self._clock.call_at(self._ended_s, self._round, None)

    def _none_runs(self, now: float) -> None:
        if self._next is not None:
            self._clock.call_at(self._next.job.submit_s, self._round, None)
        else:  # only jobs without a share are left, and nothing else will happen
            self._recomputed_s, self._changed = 0.0, True
            self._clock.call_at(now, self._round, None)

    def _end(self) -> None:
        """All jobs have finished."""

    def _stand(self, job: Ints, kind: Ints) -> tuple[Floats, Bools]:
        """Work per second of those that run, and whether they stay where they were."""
        return self._rates[job, kind], self._ran_on[job] == kind

    def _begin(self, now: float, job: Ints, kind: Ints) -> None:
        rate, stays = self._stand(job, kind)
        cluster = self._cluster
        idle_s: Floats | float = 0.0
        work_s: Floats | float = self._rules.round_s
        if cluster.start_s or cluster.restart_s:
            # Who comes back, or elsewhere, reads its state before its first step; who stays goes on.
            moved = np.where(stays, 0.0, cluster.restart_s)
            idle_s = np.where(np.isnan(self._started_s[job]), cluster.start_s, moved)
            work_s = np.maximum(work_s - idle_s, 0.0)
        # A step longer than a round makes the round longer: a job must get on.
        steps = np.minimum(np.maximum(np.floor(rate * work_s), 1.0), self._left[job])
        took = steps / rate + idle_s
        finish = took + now
        self._under_way = Round(now, self._ended_s, job, kind, rate, idle_s, steps, took, finish)
        self._ended_s = float(finish.max())
        if self._some_new:
            self._started_s[job[np.isnan(self._started_s[job])]] = now
            self._some_new = bool(np.isnan(self._started_s).any())
        ran = np.full(len(self._tasks), -1)
        ran[job] = kind
        self._preempted += (self._ran_on >= 0) & (ran != self._ran_on)
        self._ran_on = ran

    def _book(self) -> None:
        """What the round under way has done."""
        one, self._under_way = self._under_way, None
        if one is None:
            return
        job, kind = one.job, one.kind
        at = job * len(self._kinds) + kind  # of arrays [job, accelerator], laid out flat
        self._left[job] = left = self._left[job] - one.steps
        booked = one.finish_s - one.since_s
        self._given_s.ravel()[at] += booked
        self._given_all_s += np.bincount(kind, booked, len(self._kinds))
        self._gpu_s.ravel()[at] += one.took * self._width[job]
        self._run_s[job] += one.took
        if left.min() <= 0:
            ended = left <= 0
            self._leave(job[ended], one.finish_s[ended])

    def _arrive(self, now: float) -> None:
        coming = []
        while self._next is not None and self._next.job.submit_s <= now:
            coming.append(self._next)
            if self._listen:
                self._listen(Happened(self._next.job.submit_s, "submit", self._next, None))
            self._next = next(self._coming, None)
        if not coming:
            return
        self._changed = True
        n, k = len(coming), len(self._kinds)
        self._tasks += coming
        self._gpus += [task.job.num_gpus for task in coming]
        self._width = np.array(self._gpus, float)
        self._some_new, self._keys = True, None
        self._can += [[rate > 0 for rate in task.rates] for task in coming]
        more = np.array([task.rates for task in coming])
        self._rates = np.concatenate([self._rates, more])
        self._left = np.concatenate([self._left, [task.work for task in coming]])
        self._shares = np.concatenate([self._shares, np.zeros((n, k))])
        half = np.full((n, k), self._rules.round_s / 2)
        self._given_s = np.concatenate([self._given_s, half])
        self._deficit = np.concatenate([self._deficit, np.zeros((n, k))])
        self._gpu_s = np.concatenate([self._gpu_s, np.zeros((n, k))])
        self._run_s = np.concatenate([self._run_s, np.zeros(n)])
        self._started_s = np.concatenate([self._started_s, np.full(n, math.nan)])
        self._preempted = np.concatenate([self._preempted, np.zeros(n, int)])
        self._ran_on = np.concatenate([self._ran_on, np.full(n, -1)])

    def _leave(self, ended: NDArray[np.intp], finish_s: Floats) -> None:
        self._changed = True
        order = np.lexsort((ended, finish_s))
        for index, finish in zip(ended[order].tolist(), finish_s[order].tolist(), strict=True):
            task = self._tasks[index]
            one = self._as_finished(index, finish)
            self._job_s += finish - task.job.submit_s
            if self._listen:
                kind = int(self._ran_on[index])
                self._listen(Happened(finish, "finish", task, Grant(kind, task.job.num_gpus)))
            self._finished.append(one)
            if self._done:
                self._done(one)
        self._drop(ended)

    def _as_finished(self, index: int, finish_s: float) -> Finished:
        return Finished(
            self._tasks[index],
            float(self._started_s[index]),
            finish_s,
            float(self._run_s[index]),
            tuple(self._gpu_s[index].tolist()),
            int(self._preempted[index]),
        )

    def _drop(self, gone: NDArray[np.intp]) -> None:
        """These jobs are here no more."""
        keep = np.ones(len(self._tasks), bool)
        keep[gone] = False
        self._shared -= int((~keep[: self._shared]).sum())
        stay = np.flatnonzero(keep).tolist()
        self._tasks = [self._tasks[index] for index in stay]
        self._gpus = [self._gpus[index] for index in stay]
        self._width, self._keys = self._width[keep], None
        self._can = [self._can[index] for index in stay]
        self._rates, self._left = self._rates[keep], self._left[keep]
        self._shares, self._given_s = self._shares[keep], self._given_s[keep]
        self._deficit, self._gpu_s = self._deficit[keep], self._gpu_s[keep]
        self._run_s, self._started_s = self._run_s[keep], self._started_s[keep]
        self._preempted, self._ran_on = self._preempted[keep], self._ran_on[keep]

    def _maybe_recompute(self, now: float) -> None:
        if self._share is None:
            return
        since = now - self._recomputed_s
        if not self._changed or (since < self._rules.recompute_s and self._recomputed_s != 0):
            return
        half = self._rules.round_s / 2
        self._deficit += self._shares * since - (self._given_s - half)
        self._given_s = np.full_like(self._given_s, half)
        self._given_all_s = np.full(len(self._kinds), half * len(self._tasks))
        self._recomputed_s, self._changed, self._keys = now, False, None
        if self._tasks:
            found = np.asarray(self._share(self._jobs(now, self._there)))
            self._shares = np.where(self._rates > 0, found, 0.0)
        self._shared = len(self._tasks)

    def _jobs(self, now: float, there: Floats) -> Jobs:
        jobs = [task.job for task in self._tasks]
        age = now - np.array([job.submit_s for job in jobs])
        limits = [math.inf if job.deadline_s is None else job.deadline_s for job in jobs]
        return Jobs(
            tasks=self._tasks,
            rates=self._rates,
            left=self._left,
            gpus=self._width,
            weight=np.array([job.priority for job in jobs]),
            age_s=age,
            deadline_s=np.array(limits) - age,
            there=there,
            usd_per_gpu_h=self._price,
        )

    def _planned(self, now: float) -> tuple[list[int], list[int]]:
        """(jobs, accelerators) of the round, as the planner says."""
        if self._planner is None or not self._tasks:
            return [], []
        there = np.array([self._room(kind) for kind in self._kinds], float)
        found = self._planner.plan(self._jobs(now, there), now, self._rules.round_s)
        return [job for job, _ in found], [kind for _, kind in found]

    def _room(self, kind: int) -> int:
        """GPUs of an accelerator at the beginning of a round."""
        return self._cluster.gpus[kind]

    def _choose(self) -> tuple[list[int], list[int]]:
        """(jobs, accelerators) of the round. A job that has no share yet may be met and then holds
        its room without running, as in Gavel, unless the cluster lets newcomers run.
        """
        if self._keys is None:
            self._keys = (-self._shares, -self._deficit)
        # Nobody has been given anything where nobody was there at the last computation.
        every = self._given_all_s
        if not every.all():
            every = np.where(every > 0, every, 1.0)
        falling = self._keys[0] / (self._given_s / every)  # minus the priority
        taken = [False] * len(self._tasks)
        gpus, can, fills = self._gpus, self._can, self._policy.fills
        shared = len(self._tasks) if self._cluster.newcomers_run else self._shared
        chosen: list[int] = []
        kinds: list[int] = []
        order = list(self._kinds)
        if self._policy.shuffles:
            self._order.shuffle(order)
        ranked = np.lexsort((*self._keys, falling), axis=0).T.tolist()
        first = [] if fills else (falling < 0).sum(axis=0).tolist()
        for kind in order:
            room = self._room(kind)
            for index in ranked[kind] if fills else ranked[kind][: first[kind]]:
                if taken[index] or gpus[index] > room or not can[index][kind]:
                    continue
                taken[index] = True
                room -= gpus[index]
                if index < shared:
                    chosen.append(index)
                    kinds.append(kind)
                if room == 0:
                    break
        return chosen, kinds

    def _tell_changes(self, now: float, chosen: list[int], kinds: list[int]) -> None:
        assert self._listen is not None
        will = np.full(len(self._tasks), -1)
        if chosen:
            will[chosen] = kinds
        moved = np.flatnonzero(will != self._ran_on).tolist()
        for kind_of_event, on in (("stop", self._ran_on), ("start", will)):
            for index in moved:
                if on[index] >= 0:
                    task = self._tasks[index]
                    grant = Grant(int(on[index]), task.job.num_gpus)
                    self._listen(Happened(now, kind_of_event, task, grant))
