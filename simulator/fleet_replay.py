"""A trace replayed event by event on machines that come and go (fleet.py).

The same engine as replay.py, where a job may besides lose a machine: it goes back to its last checkpoint and
joins the queue again. With everything off the events are those of replay.py, one for one.
"""

import math
from collections import Counter
from collections.abc import Sequence

import simpy

from .cluster import Cluster
from .fleet import Fleet, Machine, Outside
from .gang import MOST_LOSSES, MOST_WAIT_S, progress, stretched_s
from .pool import ByNode
from .replay import (
    FIRST,
    Active,
    Done,
    Engine,
    Finished,
    Grant,
    Happened,
    Listen,
    Policy,
    Replay,
    finished,
)
from .speeds import Speeds, Task
from .world import expected_largest_normal


class FleetEngine(Engine):
    """State of one replay. A gang's pace is exp(max of its machines' log_pace - what a gang of so many
    expects): the trace's speeds hold the slowest machine of an average gang already, as in the rehearsal.
    """

    def __init__(
        self,
        trace: Sequence[Task],
        cluster: Cluster,
        policy: Policy,
        speeds: Speeds,
        outside: Outside,
        listen: Listen | None,
        done: Done | None,
    ) -> None:
        super().__init__(trace, cluster, policy, speeds, listen, done)
        self._begins_s = trace[0].job.submit_s if trace else 0.0
        self._nodes = ByNode(cluster, packed=cluster.placement != "spread", empty=True)
        self._pool = self._nodes
        self._fleet = Fleet(self._clock, cluster, outside, self)
        self._machines = {one.number: one for group in self._fleet.groups for one in group.machines}
        self._on: dict[int, dict[int, Active]] = {}  # jobs by the node's number
        self._jobs: dict[int, Active] = {}
        self._waiting: Counter[tuple[tuple[int, ...], int]] = Counter()  # by accelerators and GPUs
        self._unfinished: list[Finished] = []
        self._scaled = any(group.least is not None for group in cluster.nodes)
        self._over = False
        self._running, self._starts = 0, 0

    def run(self) -> Replay:
        self._clock.call_at(self._begins_s, lambda _: self._fleet.begin(), None, FIRST)
        self._next_arrival()
        self._clock.run()
        return Replay(
            self._cluster,
            self._policy.name,
            tuple(self._finished),
            self._job_s,
            self._decisions,
            unfinished=tuple(self._unfinished),
            bill=self._fleet.bill,
        )

    # What the fleet tells.

    def machine_came(self, machine: Machine) -> None:
        self._on[machine.number] = {}
        self._nodes.add(machine.accelerator, machine.number, machine.gpus)
        self._ask()

    def machine_left(self, machine: Machine) -> None:
        now = self._clock.now
        for job in [*self._on[machine.number].values()]:
            self._lose(job, now)
        del self._on[machine.number]
        self._nodes.remove(machine.accelerator, machine.number)
        self._ask()

    def look_again(self) -> None:
        self._ask()

    def money_is_spent(self) -> None:
        self._end()

    def _end(self) -> None:
        """All machines go back; whoever is here or still to come stays unfinished."""
        coming = [] if self._next is None else [self._next, *self._coming]
        self._next = None
        for job in [*self._jobs.values()]:
            self._give_up(job, self._clock.now)
        nothing = (0.0,) * len(self._cluster.accelerators)
        self._unfinished += [Finished(one, math.nan, math.nan, 0.0, nothing, 0) for one in coming]
        self._over = True
        self._fleet.end()

    # What differs from the plain engine.

    def _arrive(self, event: simpy.Event) -> None:
        if not self._over:
            super()._arrive(event)

    def _join(self, job: Active) -> None:
        self._jobs[job.task.index] = job
        self._waiting[_shape(job)] += 1
        super()._join(job)

    def _finish(self, event: simpy.Event) -> None:
        job, token = event._value
        if job.token == token:
            super()._finish(event)
            self._gone(job)
            self._end_if_done()

    def _gone(self, job: Active) -> None:
        del self._jobs[job.task.index]
        self._waiting[_shape(job)] -= 1

    def _end_if_done(self) -> None:
        if not self._jobs and self._next is None and not self._over:
            self._end()

    def _decide(self, event: simpy.Event) -> None:
        if self._over:
            return
        super()._decide(event)
        if self._scaled:
            self._scale()
        if self._jobs and not self._running:
            patience_s = self._clock.now + MOST_WAIT_S
            self._clock.call_at(patience_s, self._out_of_patience, self._starts)

    def _out_of_patience(self, event: simpy.Event) -> None:
        """Nothing has run for so long: the machines that the jobs need do not come."""
        if event._value == self._starts and not self._running and not self._over:
            self._end()

    def _start(self, job: Active, grant: Grant, now: float) -> None:
        self._running, self._starts = self._running + 1, self._starts + 1
        super()._start(job, grant, now)
        self._waiting[_shape(job)] -= 1
        for node, _ in job.place:
            self._on[node][job.task.index] = job

    def _rate(self, job: Active, grant: Grant) -> float:
        rate = self._speed(job, grant)
        kept = self._cluster.checkpoints
        if kept is not None and kept.stall_s > 0 and rate > 0:
            return job.left / stretched_s(job.left / rate, kept.every_s, kept.stall_s)
        return rate

    def _speed(self, job: Active, grant: Grant) -> float:
        """Work per second between checkpoints."""
        sigma = self._cluster.straggling_sigma
        rate = super()._rate(job, grant)
        if sigma == 0:
            return rate
        slowest = max(self._machines[node].log_pace for node, _ in job.place)
        return rate / math.exp(slowest - sigma * expected_largest_normal(len(job.place)))

    def _free(self, job: Active, now: float) -> None:
        self._running -= 1
        self._waiting[_shape(job)] += 1
        for node, _ in job.place:
            del self._on[node][job.task.index]
        super()._free(job, now)

    def _lose(self, job: Active, now: float) -> None:
        """Back to the last checkpoint, and into the queue."""
        assert job.grant is not None
        kept = self._cluster.checkpoints
        elapsed_s = max(now - job.since_s, 0.0)
        speed = self._speed(job, job.grant)
        work_s = job.left / speed if speed > 0 else 0.0
        saved_s, lost_s = 0.0, min(elapsed_s, work_s)
        if kept is not None:
            saved_s, lost_s = progress(elapsed_s, work_s, kept.every_s, kept.stall_s)
        if self._listen:
            self._listen(Happened(now, "lost", job.task, job.grant))
        job.left -= saved_s * speed
        job.losses += 1
        job.lost_s += lost_s
        self._free(job, now)
        if job.losses >= MOST_LOSSES:
            self._scheduler.leave(job)
            self._give_up(job, now)
            self._end_if_done()
        else:
            self._scheduler.arrive(job)

    def _give_up(self, job: Active, now: float) -> None:
        if self._listen:
            self._listen(Happened(now, "end", job.task, job.grant))
        if job.grant is not None:
            job.left = max(job.left_at(now), 0.0)
            self._free(job, now)
        self._count(-1)
        self._gone(job)
        self._unfinished.append(finished(job, now))

    def _scale(self) -> None:
        """Tell the fleet for how many GPUs jobs wait: each for its fastest accelerator with room left."""
        held = zip(self._nodes.there, self._nodes.free, strict=True)
        room = [
            most - (there - free)
            for most, (there, free) in zip(self._cluster.gpus, held, strict=True)
        ]
        waiting = [0] * len(room)
        for (kinds, gpus), count in self._waiting.items():
            for kind in kinds:
                fit = min(count, room[kind] // gpus)
                room[kind] -= fit * gpus
                waiting[kind] += fit * gpus
                count -= fit
            waiting[kinds[0]] += count * gpus
        self._fleet.scale(waiting, self._nodes.free, self._whole)

    def _whole(self, machine: Machine) -> bool:
        return self._nodes.left(machine.accelerator, machine.number) == machine.gpus


def _shape(job: Active) -> tuple[tuple[int, ...], int]:
    return job.task.fastest, job.task.job.num_gpus
