"""Jobs that depend on each other, and jobs that share owned machines over time: what a choice amounts to.

`dag_model` states the exact model of a `Pipeline`, `dag_columns` drops columns that cannot matter,
`schedule` solves it.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .instance import Instance
from .solver import Status, relative_gap

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


class Cycle(ValueError):
    """Jobs wait for each other; `jobs` names them in order, the first once more at the end."""

    def __init__(self, jobs: tuple[int, ...]) -> None:
        super().__init__("jobs wait for each other")
        self.jobs = jobs


@dataclass(frozen=True)
class Edge:
    """Job `after` starts when `before` has ended and its data are there. price, usd, seconds: P x P."""

    before: int
    after: int
    price: Floats
    usd: Floats
    seconds: Floats


@dataclass(frozen=True)
class Pool:
    """count machines of one's own. nodes: N, what a column takes of them while it runs."""

    name: str
    nodes: Floats
    count: float


@dataclass(frozen=True)
class Pipeline:
    """time_s, place: N. waiting: J. latest_s: J, inf without. places: P, their number."""

    instance: Instance
    time_s: Floats
    place: Ints
    places: int
    edges: tuple[Edge, ...]
    per_second: float
    waiting: Floats
    latest_s: Floats
    pools: tuple[Pool, ...] = ()

    def order(self) -> list[int]:
        """The jobs, each behind those that it waits for. Raises Cycle."""
        after = [[edge.before for edge in self.edges if edge.after == j] for j in self.jobs]
        found: list[int] = []
        path: list[int] = []

        def visit(job: int) -> None:
            if job in path:
                raise Cycle((*path[path.index(job) :], job))
            if job not in found:
                path.append(job)
                for before in after[job]:
                    visit(before)
                found.append(path.pop())

        for job in self.jobs:
            visit(job)
        return found

    @property
    def jobs(self) -> range:
        return range(self.instance.jobs)


@dataclass(frozen=True, slots=True)
class Schedule:
    """chosen: a column of each job, None without an answer; start_s: J; moved_usd along all edges."""

    status: Status
    chosen: Ints | None
    start_s: Floats
    makespan_s: float
    moved_usd: float
    objective: float
    bound: float
    stated: int
    seconds: float
    solver: str
    nodes: int

    @property
    def gap(self) -> float:
        return math.inf if self.chosen is None else relative_gap(self.objective, self.bound)


def timed(
    pipeline: Pipeline, chosen: Ints, handed: tuple[tuple[int, int], ...] = ()
) -> tuple[Floats, float]:
    """Earliest starts (J) and the objective, where one job also waits for another as in `handed`."""
    t, place = pipeline.time_s[chosen], pipeline.place[chosen]
    lag = {(i, j): 0.0 for i, j in handed}
    price = 0.0
    for edge in pipeline.edges:
        p, q = place[edge.before], place[edge.after]
        key = (edge.before, edge.after)
        lag[key] = max(lag.get(key, 0.0), float(edge.seconds[p, q]))
        price += float(edge.price[p, q])
    start = np.zeros(pipeline.instance.jobs)
    for _ in pipeline.jobs:  # longest paths, as many rounds as a path has jobs at most
        before = start.copy()
        for (i, j), moving in lag.items():
            start[j] = max(start[j], start[i] + t[i] + moving)
        if np.array_equal(before, start):
            break
    end = start + t
    total = pipeline.instance.objective(chosen) + price
    total += pipeline.per_second * float(end.max()) + float(pipeline.waiting @ start)
    return start, total


def keeps(pipeline: Pipeline, chosen: Ints) -> bool:
    """Whether the choice keeps every limit and deadline, what is moved counted in the budget."""
    place = pipeline.place[chosen]
    moved = sum(float(e.usd[place[e.before], place[e.after]]) for e in pipeline.edges)
    for limit in pipeline.instance.limits:
        spent = limit.name == "budget" and limit.used(chosen)[0] + moved > limit.at_most[0]
        if spent or not limit.kept(chosen):
            return False
    end = timed(pipeline, chosen)[0] + pipeline.time_s[chosen]
    return bool((end <= pipeline.latest_s).all())
