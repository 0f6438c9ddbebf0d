"""Rounds on nodes: gangs that cross nodes are slower, and machines come and go (fleet.py).

The mechanism of rounds.py with a place for every gang. Who ran on the accelerator in the round before keeps
its place; then the others are placed, packed or spread. A machine that is lost takes the gangs on it with it until
the round ends; they keep what they had at their last checkpoint within the round, for the end of a
round keeps all. Shares are computed for the whole cluster, and rounds filled with what stands of it.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import simpy

from .cluster import Cluster
from .fleet import Fleet, Machine, Outside
from .gang import MOST_LOSSES, MOST_WAIT_S, progress
from .pool import ByNode, Place, crosses
from .replay import FIRST, LAST, Done, Finished, Grant, Happened, Listen, Replay
from .rounds import Bools, Floats, Ints, RoundsEngine, Rules, SharePolicy
from .speeds import Speeds, Task
from .world import expected_largest_normal


class PlacedRounds(RoundsEngine):
    """State of one replay. places: (accelerator, place) of those that ran last, by the job's place
    in the trace.
    """

    def __init__(
        self,
        trace: Sequence[Task],
        cluster: Cluster,
        policy: SharePolicy,
        rules: Rules,
        seed: int,
        listen: Listen | None,
        done: Done | None,
        speeds: Speeds,
        outside: Outside | None,
    ) -> None:
        super().__init__(trace, cluster, policy, rules, seed, listen, done)
        self._speeds = speeds
        packed = cluster.placement != "spread"
        self._nodes = ByNode(cluster, packed=packed, empty=outside is not None)
        self._fleet = None if outside is None else Fleet(self._clock, cluster, outside, self)
        groups = () if self._fleet is None else self._fleet.groups
        self._machines = {one.number: one for group in groups for one in group.machines}
        self._scaled = any(group.least is not None for group in cluster.nodes)
        self._places: dict[int, tuple[int, Place]] = {}
        self._standing: dict[
            int, tuple[int, Place]
        ] = {}  # in this round, by place among those present
        self._hit_s: dict[int, float] = {}
        self._lost: dict[
            int, tuple[int, float]
        ] = {}  # (losses, seconds of work), by place in the trace
        self._unfinished: list[Finished] = []
        self._idle, self._over, self._tried = False, False, False
        self._began = 0

    def run(self) -> Replay:
        if self._fleet is not None and self._next is not None:
            begins_s, fleet = self._next.job.submit_s, self._fleet
            self._clock.call_at(begins_s, lambda _: fleet.begin(), None, FIRST)
        found = super().run()
        if self._fleet is None:
            return found
        return replace(found, unfinished=tuple(self._unfinished), bill=self._fleet.bill)

    # What the fleet tells.

    def machine_came(self, machine: Machine) -> None:
        self._nodes.add(machine.accelerator, machine.number, machine.gpus)
        if self._idle:
            self._idle = False
            self._clock.call_at(self._clock.now, self._round, None, LAST)

    def machine_left(self, machine: Machine) -> None:
        now = self._clock.now
        on_it = [
            index
            for index, (kind, place) in self._standing.items()
            if any(node == machine.number for node, _ in place)
        ]
        for index in on_it:
            kind, place = self._standing.pop(index)
            self._nodes.give(kind, place)
            self._hit(index, now)
        self._places = {
            number: (kind, place)
            for number, (kind, place) in self._places.items()
            if all(node != machine.number for node, _ in place)
        }
        self._nodes.remove(machine.accelerator, machine.number)

    def _hit(self, index: int, now: float) -> None:
        """The gang stops; who had finished its part of the round by then loses nothing."""
        one = self._under_way
        assert one is not None
        if now < float(one.finish_s[one.job == index][0]):
            self._hit_s[index] = now

    def look_again(self) -> None:
        if self._under_way is None:
            self._scale([])

    def money_is_spent(self) -> None:
        now = self._clock.now
        for index in [*self._standing]:
            self._hit(index, now)
        self._over, self._ended_s = True, now
        self._book()
        self._stop()

    def _stop(self) -> None:
        """All machines go back; whoever is here or still to come stays unfinished."""
        assert self._fleet is not None
        now = self._clock.now
        for index, task in enumerate(self._tasks):
            self._give_up(index, task, now)
        coming = [] if self._next is None else [self._next, *self._coming]
        nothing = (0.0,) * len(self._kinds)
        self._unfinished += [Finished(one, math.nan, math.nan, 0.0, nothing, 0) for one in coming]
        self._next, self._tasks = None, []
        self._end()

    def _give_up(self, index: int, task: Task, now: float) -> None:
        if self._listen:
            self._listen(Happened(now, "end", task, None))
        self._job_s += now - task.job.submit_s
        self._unfinished.append(self._as_finished(index, now))

    # What differs from rounds without places.

    def _round(self, value: object) -> None:
        if not self._over:
            self._idle = False
            super()._round(value)

    def _end(self) -> None:
        self._over = True
        if self._fleet is not None:
            self._fleet.end()

    def _none_runs(self, now: float) -> None:
        if self._fleet is None:
            super()._none_runs(now)
            return
        if self._next is None and not self._tried:
            self._tried = True  # perhaps they have no share yet: once more, with new ones
            self._recomputed_s, self._changed = 0.0, True
            self._clock.call_at(now, self._round, None)
            return
        self._idle, self._tried = True, False
        self._scale([])
        if self._next is not None:
            self._clock.call_at(self._next.job.submit_s, self._arrives, self._next)
        if self._tasks:
            self._clock.call_at(now + MOST_WAIT_S, self._out_of_patience, self._began)

    def _arrives(self, event: simpy.Event) -> None:
        if self._idle and not self._over:
            self._round(None)

    def _out_of_patience(self, event: simpy.Event) -> None:
        """Nothing has run for so long: the machines that the jobs need do not come."""
        if self._idle and not self._over and event._value == self._began:
            self._stop()

    def _room(self, kind: int) -> int:
        return self._nodes.there[kind]

    def _planned(self, now: float) -> tuple[list[int], list[int]]:
        return super()._planned(now) if any(self._nodes.there) else ([], [])

    def _begin(self, now: float, job: Ints, kind: Ints) -> None:
        self._began += 1
        self._tried = False
        super()._begin(now, job, kind)
        if self._scaled:
            self._scale(job.tolist())

    def _stand(self, job: Ints, kind: Ints) -> tuple[Floats, Bools]:
        """The gangs take their places, those that have one first."""
        rates = self._rates[job, kind]
        pairs = list(zip(job.tolist(), kind.tolist(), strict=True))
        before = [self._places.get(self._tasks[index].index) for index, _ in pairs]
        stays = [
            was is not None and was[0] == on and int(self._ran_on[index]) == on
            for was, (index, on) in zip(before, pairs, strict=True)
        ]
        self._places = {}
        for first in (True, False):
            for at, (index, on) in enumerate(pairs):
                if stays[at] is not first:
                    continue
                was, task = before[at], self._tasks[index]
                if first and was is not None:
                    place = was[1]
                    self._nodes.keep(on, place)
                else:
                    place = self._nodes.take(on, task.job.num_gpus)
                self._places[task.index] = self._standing[index] = (on, place)
                rates[at] = self._speed(task, on, place, float(rates[at]))
        return rates, np.array(stays)

    def _speed(self, task: Task, kind: int, place: Place, rate: float) -> float:
        """Work per second, checkpoints included."""
        cluster = self._cluster
        if crosses(place) and cluster.placement != "pooled":
            name = cluster.accelerators[kind]
            rate = self._speeds.rate(task.job, name, task.job.num_gpus, crossing=True)
        sigma, kept = cluster.straggling_sigma, cluster.checkpoints
        if sigma > 0:
            slowest = max(self._machines[node].log_pace for node, _ in place)
            rate /= math.exp(slowest - sigma * expected_largest_normal(len(place)))
        if kept is not None and kept.stall_s > 0:
            rate *= kept.every_s / (kept.every_s + kept.stall_s)
        return rate

    def _book(self) -> None:
        """As the round went; what happened in it is told in order of time."""
        told: list[Happened] = []
        listen = self._listen
        self._listen = told.append if listen else None
        self._booked()
        self._listen = listen
        if listen:
            for event in sorted(told, key=lambda event: event.at_s):
                listen(event)

    def _booked(self) -> None:
        for kind, place in self._standing.values():
            self._nodes.give(kind, place)
        self._standing = {}
        one, hopeless = self._under_way, []
        for index, at_s in self._hit_s.items() if one is not None else ():
            assert one is not None
            (at,) = np.flatnonzero(one.job == index).tolist()
            self._cut(at, index, at_s)
            if self._lost.get(self._tasks[index].index, (0, 0.0))[0] >= MOST_LOSSES:
                hopeless.append(index)
        self._hit_s = {}
        given_up = [self._tasks[index].index for index in hopeless]
        super()._book()
        for number in given_up:
            index = next(i for i, task in enumerate(self._tasks) if task.index == number)
            self._give_up(index, self._tasks[index], self._clock.now)
            self._drop(np.array([index]))

    def _cut(self, at: int, index: int, at_s: float) -> None:
        """The part of the round that a gang had until it lost a machine."""
        one, task = self._under_way, self._tasks[index]
        assert one is not None
        kept = self._cluster.checkpoints
        idle_s = one.idle_s if isinstance(one.idle_s, float) else float(one.idle_s[at])
        elapsed_s = max(at_s - one.begins_s - idle_s, 0.0)
        stall_s = 0.0 if kept is None else kept.stall_s
        # The rate holds the stalls already; between checkpoints the work goes so much quicker.
        pure = float(one.rate[at]) * (1.0 if kept is None else 1 + stall_s / kept.every_s)
        work_s = float(one.steps[at]) / pure
        saved_s, lost_s = 0.0, min(elapsed_s, work_s)
        if kept is not None:
            saved_s, lost_s = progress(elapsed_s, work_s, kept.every_s, stall_s)
        one.steps[at] = saved_s * pure
        one.took[at] = at_s - one.begins_s
        one.finish_s[at] = at_s
        self._ran_on[index] = -1
        if not self._over:
            losses, lost = self._lost.get(task.index, (0, 0.0))
            self._lost[task.index] = (losses + 1, lost + lost_s)
        if self._listen:
            grant = Grant(int(one.kind[at]), task.job.num_gpus)
            self._listen(Happened(at_s, "lost", task, grant))

    def _as_finished(self, index: int, finish_s: float) -> Finished:
        losses, lost_s = self._lost.get(self._tasks[index].index, (0, 0.0))
        return replace(super()._as_finished(index, finish_s), losses=losses, lost_s=lost_s)

    def _scale(self, running: list[int]) -> None:
        """Tell the fleet for how many GPUs jobs wait: each for its fastest accelerator with room left."""
        if self._fleet is None or not self._scaled:
            return
        room = list(self._cluster.gpus)
        waiting, runs = [0] * len(room), set(running)
        for index in running:
            room[int(self._ran_on[index])] -= self._gpus[index]
        for index, task in enumerate(self._tasks):
            if index not in runs:
                gpus = self._gpus[index]
                kinds = task.fastest
                kind = next((one for one in kinds if room[one] >= gpus), kinds[0])
                room[kind] -= gpus
                waiting[kind] += gpus
        self._fleet.scale(waiting, self._nodes.free, self._whole)

    def _whole(self, machine: Machine) -> bool:
        return self._nodes.left(machine.accelerator, machine.number) == machine.gpus
