"""AlloX (Le et al., EuroSys 2020): jobs to accelerators by the least sum of completion times."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from ..cluster import Cluster
from ..rounds import Floats, Jobs

ALPHA = 0.2  # as in Gavel's and Shockwave's comparisons


@dataclass(frozen=True, slots=True)
class AlloX:
    """Running jobs keep their GPU; of those that wait, the oldest are assigned to the free ones.

    alpha: the share of the waiting jobs, by arrival, among which the assignment chooses; at least as
    many as GPUs are free. The smaller, the fairer.
    """

    name: str = "allox"
    alpha: float = ALPHA
    fills: bool = True
    shuffles: bool = False

    def share(self, cluster: Cluster) -> "_Assigned":
        return _Assigned(self.alpha)


@dataclass(slots=True)
class _Assigned:
    """kept: the shares that jobs were given, by the job's place in the trace."""

    alpha: float
    kept: Mapping[int, Floats] = field(default_factory=dict)

    def __call__(self, jobs: Jobs) -> Floats:
        """X = 1 / gpus on the accelerator that a job is assigned to.

        Given       p[j, w] run time left of job j on free GPU w
        Choose      one (w, i) for each j, i = 1 the last on w, 2 the last but one, ...
        Minimise    sum of i p[j, w]: each of the i jobs from j on waits for j

        The first job on each GPU is given it. AlloX knows jobs of one GPU only; a gang of g gets
        the g-th part of the time, as in Shockwave's comparison.
        """
        index = [task.index for task in jobs.tasks]
        shares = np.array([self.kept.get(one, np.zeros(len(jobs.there))) for one in index])
        whole = shares.sum(axis=1) >= 1.0
        free = np.maximum(jobs.there - shares[whole].sum(axis=0), 0).astype(int)
        gpus = np.repeat(np.arange(len(free)), free)
        waiting = np.flatnonzero(~whole)
        waiting = waiting[: max(int(self.alpha * len(waiting)), len(gpus))]
        if len(waiting) and len(gpus):
            for job, kind in _first(jobs, waiting, gpus):
                shares[job] = 0.0
                shares[job, kind] = 1.0 / jobs.gpus[job]
        self.kept = dict(zip(index, shares, strict=True))
        return shares


def _first(
    jobs: Jobs,
    waiting: "np.ndarray[tuple[int], np.dtype[np.intp]]",
    gpus: "np.ndarray[tuple[int], np.dtype[np.intp]]",
) -> list[tuple[int, int]]:
    """(job, accelerator) of the first job on each free GPU in the best assignment."""
    rate = jobs.rates[np.ix_(waiting, gpus)]
    left_s = jobs.left[waiting, None] / np.maximum(rate, 1e-10)
    places = np.arange(1, len(waiting) + 1)
    cost = (places[None, :, None] * left_s[:, None, :]).reshape(len(waiting), -1)
    rows, columns = linear_sum_assignment(cost)
    first: dict[int, tuple[int, int]] = {}
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        place, gpu = divmod(column, len(gpus))
        first[gpu] = max(first.get(gpu, (-1, -1)), (place, row))
    return [(int(waiting[row]), int(gpus[gpu])) for gpu, (_, row) in first.items()]
