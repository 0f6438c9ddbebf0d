"""isocost's own policy: whenever a job comes or ends, the loss L of the waiting jobs is minimised anew."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pulp

from ..cluster import Cluster
from ..pool import Pool
from ..replay import Active, Change, Grant

MOST_WAITING = 60  # of the waiting jobs, by response ratio, stand in the model


@dataclass(frozen=True, slots=True)
class LeastLoss:
    """Place waiting jobs on free accelerators by L = alpha P + beta C; what runs is left alone.

    P and C are a job's run time and cost on an accelerator between its best (0) and its worst (1) in
    this cluster.
    """

    name: str
    alpha: float = 0.5
    beta: float = 0.5

    def scheduler(self, cluster: Cluster) -> "Placing":
        return Placing(self, cluster)


class Placing:
    """The waiting jobs, and the model that places them."""

    wake_s = math.inf

    def __init__(self, policy: LeastLoss, cluster: Cluster) -> None:
        self._policy, self._cluster = policy, cluster
        self._waiting: dict[int, Active] = {}

    def arrive(self, job: Active) -> None:
        self._waiting[job.task.index] = job

    def leave(self, job: Active) -> None:
        pass

    def decide(self, now_s: float, free: Pool) -> Iterable[Change]:
        ratios = {
            index: 1 + (now_s - job.task.job.submit_s) / job.task.ideal_s
            for index, job in self._waiting.items()
            if any(free.free[kind] >= job.task.job.num_gpus for kind in job.task.fastest)
        }
        first = sorted(ratios, key=lambda index: (-ratios[index], index))[:MOST_WAITING]
        if not first:
            return []
        jobs = [self._waiting[index] for index in first]
        placed = place(
            [[ratios[job.task.index] * (2 - loss) for loss in self._losses(job)] for job in jobs],
            [job.task.job.num_gpus for job in jobs],
            list(free.free),
        )
        changes: list[Change] = []
        for job, kind in zip(jobs, placed, strict=True):
            if kind is not None:
                del self._waiting[job.task.index]
                changes.append((job, Grant(kind, job.task.job.num_gpus)))
        return changes

    def _losses(self, job: Active) -> list[float]:
        """L on each accelerator; 2, which is worth nothing, where the job cannot run."""
        task, usable = job.task, job.task.fastest
        run_s = {kind: task.work / task.rates[kind] for kind in usable}
        usd = {kind: run_s[kind] * self._cluster.usd_per_gpu_s[kind] for kind in usable}
        losses = [2.0] * len(task.rates)
        for kind in usable:
            time, cost = _between(run_s, kind), _between(usd, kind)
            losses[kind] = self._policy.alpha * time + self._policy.beta * cost
        return losses


def _between(values: dict[int, float], kind: int) -> float:
    best, worst = min(values.values()), max(values.values())
    return (values[kind] - best) / (worst - best) if worst > best else 0.0


def place(
    worth: Sequence[Sequence[float]], gpus: Sequence[int], free: Sequence[int]
) -> list[int | None]:
    """The accelerator of each job, or None.

    Given       worth[j][t] = (2 - L) (1 + wait / run time alone), gpus[j], free[t]
    Choose      y[j, t] in {0, 1}
    Maximise    sum of worth[j][t] y[j, t]
    Subject to  once[j]:  sum over t of y[j, t] <= 1
                room[t]:  sum over j of gpus[j] y[j, t] <= free[t]

    >>> place([[2.0, 1.0], [2.0, 1.5]], [1, 1], [1, 1])
    [0, 1]
    """
    model = pulp.LpProblem("place", pulp.LpMaximize)
    y = {
        (j, t): model.add_variable(f"y_{j}_{t}", cat="Binary")
        for j, row in enumerate(worth)
        for t, value in enumerate(row)
        if value > 0 and gpus[j] <= free[t]
    }
    model += pulp.LpAffineExpression([(y[j, t], worth[j][t]) for j, t in y])
    for j in range(len(worth)):
        model += pulp.lpSum(y[k] for k in y if k[0] == j) <= 1, f"once_{j}"
    for t in range(len(free)):
        used = pulp.LpAffineExpression([(y[k], gpus[k[0]]) for k in y if k[1] == t])
        model += used <= free[t], f"room_{t}"
    model.solve(pulp.HiGHS(msg=False))
    chosen = {j: t for (j, t), variable in y.items() if (variable.value() or 0) > 0.5}
    return [chosen.get(j) for j in range(len(worth))]
