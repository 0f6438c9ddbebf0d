"""Elastic goodput, the policy of Pollux (Qiao et al., OSDI 2021): GPUs and batches by what they are worth.

Every minute the power mean of the jobs' speedups is maximised over all allocations,

    M_p(u) = (mean of u_j^p)^(1/p),  u_j = r_j goodput_j(GPUs given) / goodput_j(fair share)

where goodput is the best over all batches of reference steps per second, r_j < 1 for a job that would
have to move (below), and p = -1 by default. A sum of one term a job under one limit on the sum of GPUs is
solved exactly by dynamic programming; the counts are then packed on the nodes, where a gang may not share a
node's remainder with another one that crosses nodes, and improved job by job. Between looks
each job keeps re-choosing its batch.

As published: the penalty r, the limit of twice the most GPUs had so far, speedup r per GPU of a job that has
not run yet, noise as last observed. Departures: step times are the measured ones (Pollux fits a
model to those it has seen), gangs stand on as few nodes as hold them, and dynamic programming in place of
a genetic search of 100 generations.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...catalog.files import InputError
from ..adaptive import Nodes, State
from ..applications import Application, Floats, split

FAIRNESS = -1.0  # p of the power mean
LEAST = 1e-3  # added to every speedup, so that p < 0 can be
BATCHES = 50  # looked at, in geometric steps
BETTER = 1e-12


@dataclass(frozen=True, slots=True)
class Choices:
    """Batches of an application on 1, 2, ... GPUs: arrays of shape (GPUs, BATCHES).

    local: batch of one pass; extra: further passes before gradients are exchanged; batch: the global
    one; step_s: seconds, infinite where nothing is measured.
    """

    local: Floats
    extra: Floats
    batch: Floats
    step_s: Floats

    @classmethod
    def of(cls, app: Application, gpus: int, per_node: int) -> "Choices":
        rows = [_choices(app, count, per_node) for count in range(1, gpus + 1)]
        return cls(*(np.array(column, dtype=float) for column in zip(*rows, strict=True)))

    def goodputs(self, noise: tuple[float, float], smallest_batch: int) -> Floats:
        """Reference steps per second with the best batch, shape as the choices.

        noise: squared norm and variance of the gradient.
        """
        square, variance = noise
        gain = (variance + square) / (variance * smallest_batch / self.batch + square)
        return gain / self.step_s


def _choices(app: Application, gpus: int, per_node: int) -> list[list[float]]:
    least = max(app.smallest_batch, app.least_local * gpus)
    found: list[list[float]] = [[], [], [], []]
    for batch in np.geomspace(least, max(app.largest_batch, least), BATCHES):
        passes = 1 if gpus == 1 and batch > app.smallest_batch + 1e-8 else 0
        local, extra = split(app, float(batch), gpus, passes)
        seconds = math.inf
        if app.least_local <= local <= app.most_local:
            try:
                step, sync = app.step_s(together(gpus, per_node), local)
                seconds = step + (step - sync) * extra
            except InputError:
                pass  # nobody measured near there: not a choice
        for column, value in zip(
            found, (local, extra, gpus * local * (extra + 1), seconds), strict=True
        ):
            column.append(max(value, 1) if column is found[2] else value)
    return found


def together(gpus: int, per_node: int) -> tuple[int, ...]:
    """GPUs on each of the fewest nodes."""
    full, rest = divmod(gpus, per_node)
    return (per_node,) * full + ((rest,) if rest else ())


@dataclass(slots=True)
class Pollux:
    """The policy for one replay on so many equal nodes. fairness: p; 1 is the plain mean, 0 the geometric."""

    nodes: int
    per_node: int
    restart_s: float
    fairness: float = FAIRNESS
    _choices: dict[Application, Choices] = field(default_factory=dict)

    def __call__(self, now_s: float, jobs: Sequence[State], gpus: int) -> Mapping[State, Nodes]:
        """The nodes of every job; those that keep theirs do not restart."""
        if not jobs:
            return {}
        fair = math.ceil(gpus / len(jobs))
        wanted = [self._wanted(one, now_s, fair) for one in jobs]
        counts = most_worth([one.scores for one in wanted], gpus)
        loose = [Packing(self.nodes, self.per_node) for _ in range(3)]
        # The counts with everybody in place who can stay; the same with all pieces of nodes put
        # together anew; and as it is now, with newcomers in the gaps.
        loose[0].fill(wanted, counts, lambda one, count: len(one.job.nodes) == count)
        loose[1].fill(
            wanted, counts, lambda one, count: len(one.job.nodes) == count >= self.per_node
        )
        loose[2].fill(wanted, [len(one.job.nodes) for one in wanted], lambda one, count: True)
        for packing in loose:
            packing.improve(wanted)
        best = max(loose, key=lambda packing: packing.worth(wanted))
        return {one.job: best.places[one.job] for one in wanted}

    def tune(self, job: State) -> tuple[int, int]:
        """(local batch, extra passes) of the best goodput where the job stands."""
        app, gpus = job.job.application, len(job.nodes)
        if job.noise is None:
            batch = max(app.smallest_batch, app.least_local * gpus)
            passes = 1 if gpus == 1 and batch > app.smallest_batch else 0
            return split(app, batch, gpus, passes)
        choices = self._of(app)
        best = int(np.argmax(choices.goodputs(job.noise, app.smallest_batch)[gpus - 1]))
        return int(choices.local[gpus - 1, best]), int(choices.extra[gpus - 1, best])

    def goodputs(self, job: State) -> Floats:
        """Of 0, 1, ... GPUs, at most as many as it can use; more never lower it: the rest would idle."""
        app = job.job.application
        if job.noise is None:
            return np.arange(self._most(app) + 1.0)
        best = self._of(app).goodputs(job.noise, app.smallest_batch).max(axis=1)
        return np.maximum.accumulate(np.concatenate([[0.0], best]))

    def _most(self, app: Application) -> int:
        most = min(self.nodes * self.per_node, app.largest_batch // app.least_local)
        return max(1, most if app.most_gpus is None else min(most, app.most_gpus))

    def _of(self, app: Application) -> Choices:
        if app not in self._choices:
            self._choices[app] = Choices.of(app, self._most(app), self.per_node)
        return self._choices[app]

    def _wanted(self, job: State, now_s: float, fair: int) -> "Wanted":
        goodputs = self.goodputs(job)
        base = goodputs[min(fair, len(goodputs) - 1)] if job.noise else float(fair)
        explored = goodputs[: max(2 * job.most_had, 1) + 1]
        # A job's share of a node's GPUs counts as one: speedups are per node's worth of GPUs.
        speedups = explored / base / self.per_node if base else np.zeros(len(explored))
        age = now_s - job.job.submit_s
        paid = max(job.moves - 1, 0) * self.restart_s
        moving = max(age - paid, 0.0) / (age + self.restart_s) if age + self.restart_s else 1.0
        return Wanted(job, self._value(speedups), self._value(speedups * moving))

    def _value(self, speedups: Floats) -> Floats:
        if self.fairness == 0:
            return np.log(np.maximum(speedups, LEAST))
        powers = (speedups + LEAST) ** self.fairness
        return powers if self.fairness > 0 else -powers


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """What 0, 1, ... GPUs are worth to a job where it stands and where it would have to move to."""

    job: State
    staying: Floats
    moving: Floats

    @property
    def scores(self) -> Floats:
        """By GPUs, the job staying if that is what it has."""
        scores = self.moving.copy()
        if len(self.job.nodes) < len(scores):
            scores[len(self.job.nodes)] = self.staying[len(self.job.nodes)]
        return scores

    def worth(self, nodes: Nodes) -> float:
        kept = nodes == self.job.nodes
        return float((self.staying if kept else self.moving)[min(len(nodes), len(self.moving) - 1)])


def most_worth(scores: Sequence[Floats], gpus: int) -> list[int]:
    """The GPUs of each job by which the sum of scores is greatest: exact, by dynamic programming.

    scores: for each job, what 0, 1, ... GPUs are worth to it. Of equals the fewest GPUs.
    """
    best, taken = np.zeros(gpus + 1), []
    for score in scores:
        count = np.arange(min(len(score), gpus + 1))
        before = np.arange(gpus + 1)[:, None] - count[None, :]
        total = np.where(before >= 0, best[before], -np.inf) + score[count]
        taken.append(total.argmax(axis=1))
        best = total.max(axis=1)
    left = int(best.argmax())
    counts = []
    for choice in reversed(taken):
        counts.append(int(choice[left]))
        left -= counts[-1]
    return counts[::-1]


class Packing:
    """Gangs on nodes: each on the fewest, at most one that crosses nodes on any."""

    def __init__(self, nodes: int, per_node: int) -> None:
        self.per_node = per_node
        self.free = [per_node] * nodes
        self.crossed = [0] * nodes
        self.places: dict[State, Nodes] = {}

    def put(self, job: State, nodes: Nodes) -> None:
        """Give a job other nodes than it has here."""
        for sign, old in ((1, self.places.get(job, ())), (-1, nodes)):
            crossing = len(set(old)) > 1
            for node in old:
                self.free[node] += sign
            for node in set(old) if crossing else ():
                self.crossed[node] -= sign
        self.places[job] = nodes

    def fit(self, gpus: int) -> Nodes | None:
        """The fewest nodes that hold so many GPUs, the fullest that will do; None where there are none."""
        full, rest = divmod(gpus, self.per_node)
        empty = [node for node, free in enumerate(self.free) if free == self.per_node]
        if len(empty) < full:
            return None
        chosen = empty[:full]
        if rest:
            fits = [
                node
                for node, free in enumerate(self.free)
                if free >= rest and node not in chosen and not (full and self.crossed[node])
            ]
            if not fits:
                return None
            chosen.append(min(fits, key=self.free.__getitem__))
        sizes = together(gpus, self.per_node)
        return tuple(node for node, size in zip(chosen, sizes, strict=True) for _ in range(size))

    def fill(
        self, wanted: Sequence[Wanted], counts: Sequence[int], stays: Callable[[Wanted, int], bool]
    ) -> None:
        """Place the counts, or as much of each as there is room for, largest first."""
        moving = []
        for one, count in zip(wanted, counts, strict=True):
            if count and stays(one, count):
                self.put(one.job, one.job.nodes)
            else:
                self.places[one.job] = ()
                moving.append((count, one))
        for count, one in sorted(moving, key=lambda pair: -pair[0]):
            for gpus in range(count, 0, -1):
                nodes = self.fit(gpus)
                if nodes is not None:
                    self.put(one.job, nodes)
                    break

    def improve(self, wanted: Sequence[Wanted]) -> None:
        """While GPUs are idle, the one change of one job that is worth most."""
        while any(self.free):
            idle = sum(self.free)
            best, chosen = BETTER, None
            for one in wanted:
                old = self.places[one.job]
                now = one.worth(old)
                most = min(len(one.moving) - 1, len(old) + idle)
                if (
                    max(
                        one.moving[most], one.staying[min(len(one.job.nodes), len(one.staying) - 1)]
                    )
                    <= now + best
                ):
                    continue
                self.put(one.job, ())
                for gpus in range(most, 0, -1):
                    if one.moving[gpus] <= now + best:
                        break  # fewer are worth less
                    nodes = self.fit(gpus)
                    if nodes is not None:
                        best, chosen = one.worth(nodes) - now, (one.job, nodes)
                        break
                self.put(one.job, old)
            if chosen is None:
                return
            self.put(*chosen)

    def worth(self, wanted: Sequence[Wanted]) -> float:
        return sum(one.worth(self.places[one.job]) for one in wanted)
