"""The PuLP model of jobs that share nothing: one candidate each, least total L, within their limits.

Jobs that share limits are in `instance` and `many`; both are solved through `solver`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from .solver import Milp, solve

Floats = NDArray[np.float64]

# The solvers' tolerances are absolute, 1e-6 and 1e-7: in these units they are below 1e-12 of L.
SCALE = 1e6


@dataclass(frozen=True, slots=True)
class Column:
    """The candidates of one job that the model states: L and the use of every limit it has."""

    loss: Floats
    use: Mapping[str, Floats]


@dataclass(frozen=True, slots=True)
class Solution:
    """The chosen column of each job, None where there is no solution, and the proof.

    gap: (objective - proven bound) / max(objective, 1e-6).
    """

    chosen: tuple[int, ...] | None
    status: str
    gap: float
    columns: int
    build_s: float
    solve_s: float
    solver: str


def choose(jobs: Sequence[Column], limits: Mapping[str, float], solver: str = "highs") -> Solution:
    """Choose one candidate for each job.

    Given       L[j,k] loss and u[r,j,k] >= 0 use of limit r by candidate k of job j, b[r]
    Choose      x[j,k] in {0, 1}
    Minimise    sum of L[j,k] x[j,k]
    Subject to  one_of_<j>:  sum over k of x[j,k] = 1
                within_<r>:  sum over j, k of u[r,j,k] x[j,k] <= b[r]

    solver: "highs" or "cbc".
    """
    loss = np.concatenate([job.loss for job in jobs])
    owner = np.repeat(np.arange(len(jobs)), [len(job.loss) for job in jobs])
    rows = [sparse.csr_array((np.ones(len(loss)), (owner, np.arange(len(loss)))))]
    for name, limit in limits.items():
        use = np.concatenate([job.use.get(name, np.zeros(len(job.loss))) for job in jobs])
        # In shares of the limit, so that the solver's absolute tolerance is relative to it.
        rows.append(sparse.csr_array((use / (limit if limit > 0 else 1.0))[None, :]))
    ones, count = np.ones(len(jobs)), len(limits)
    outcome = solve(
        Milp(
            cost=SCALE * loss,
            lower=np.zeros(len(loss)),
            upper=np.ones(len(loss)),
            integer=np.ones(len(loss), bool),
            matrix=sparse.csr_array(sparse.vstack(rows)),
            row_lower=np.concatenate([ones, np.full(count, -np.inf)]),
            row_upper=np.concatenate([ones, [1.0 if b > 0 else 0.0 for b in limits.values()]]),
            names=tuple(f"x_{j}_{k}" for j, job in enumerate(jobs) for k in range(len(job.loss))),
            row_names=(
                *(f"one_of_{j}" for j in range(len(jobs))),
                *(f"within_{name}" for name in limits),
            ),
        ),
        solver=solver,
    )
    starts = np.cumsum([0, *(len(job.loss) for job in jobs)])
    chosen = None
    if outcome.x is not None:
        chosen = tuple(int(np.argmax(outcome.x[a:b])) for a, b in pairwise(starts.tolist()))
    return Solution(
        chosen=chosen,
        status=str(outcome.status),
        gap=max(0.0, outcome.objective - outcome.bound) / max(abs(outcome.objective), SCALE * 1e-6),
        columns=len(loss),
        build_s=outcome.build_s,
        solve_s=outcome.solve_s,
        solver=outcome.solver,
    )
