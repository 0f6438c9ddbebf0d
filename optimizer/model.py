"""The PuLP model: one candidate for each job, least total L, within what all jobs share."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pulp
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# HiGHS's tolerances are absolute, 1e-6 and 1e-7: in these units they are below 1e-12 of L.
SCALE = 1e6

# Only a proven optimum is called one: a time limit leaves at most a solution.
STATUS = {
    pulp.LpSolutionOptimal: "optimal",
    pulp.LpSolutionInfeasible: "infeasible",
    pulp.LpSolutionIntegerFeasible: "not proven",
}


@dataclass(frozen=True, slots=True)
class Column:
    """The candidates of one job that the model states: L and the use of every shared resource."""

    loss: Floats
    use: Mapping[str, Floats]


@dataclass(frozen=True, slots=True)
class Solution:
    """The chosen column of each job, None where the model is infeasible, and the proof."""

    chosen: tuple[int, ...] | None
    status: str
    gap: float
    columns: int
    build_s: float
    solve_s: float
    solver: str


def choose(
    jobs: Sequence[Column], limits: Mapping[str, float], solver: str = "highs"
) -> Solution:
    """Choose one candidate for each job.

    Given       L[j,k] loss and u[r,j,k] use of resource r by candidate k of job j, limit[r]
    Choose      x[j,k] in {0, 1}
    Minimise    sum of L[j,k] x[j,k]
    Subject to  one_of_<j>:  sum over k of x[j,k] = 1
                within_<r>:  sum over j, k of u[r,j,k] x[j,k] <= limit[r]
    """
    start = time.perf_counter()
    model = pulp.LpProblem("isocost", pulp.LpMinimize)
    x = [
        [model.add_variable(f"x_{j}_{k}", cat="Binary") for k in range(len(job.loss))]
        for j, job in enumerate(jobs)
    ]
    model.setObjective(
        pulp.LpAffineExpression(
            [
                (variable, SCALE * float(loss))
                for row, job in zip(x, jobs, strict=True)
                for variable, loss in zip(row, job.loss, strict=True)
            ]
        )
    )
    for j, row in enumerate(x):
        one = pulp.LpAffineExpression([(variable, 1) for variable in row])
        model.addConstraint(one == 1, f"one_of_{j}")
    for resource, limit in limits.items():
        used = pulp.LpAffineExpression(
            [
                (variable, float(use) / max(abs(limit), 1e-12))
                for row, job in zip(x, jobs, strict=True)
                if resource in job.use
                for variable, use in zip(row, job.use[resource], strict=True)
            ]
        )
        # In shares of the limit, so that the solver's absolute tolerance is relative to it.
        model.addConstraint(used <= (1.0 if limit > 0 else 0.0), f"within_{resource}")
    built = time.perf_counter()
    model.solve(pulp.HiGHS(msg=False, gapRel=0.0, gapAbs=0.0, threads=1))
    solved = time.perf_counter()
    # `status` says 'Optimal' even at a time limit (PuLP 3.3 with HiGHS); `sol_status` does not.
    optimal = model.sol_status == pulp.LpSolutionOptimal
    chosen = (
        tuple(int(np.argmax([variable.value() or 0.0 for variable in row])) for row in x)
        if optimal
        else None
    )
    return Solution(
        chosen=chosen,
        status=STATUS.get(model.sol_status, "not solved"),
        gap=_gap(model, jobs, chosen),
        columns=sum(len(row) for row in x),
        build_s=built - start,
        solve_s=solved - built,
        solver="HiGHS through PuLP",
    )


def _gap(model: pulp.LpProblem, jobs: Sequence[Column], chosen: tuple[int, ...] | None) -> float:
    """|objective - HiGHS's proven bound| / max(|objective|, SCALE * 1e-6)."""
    if chosen is None:
        return float("inf")
    objective = SCALE * sum(float(job.loss[k]) for job, k in zip(jobs, chosen, strict=True))
    bound = float(model.solverModel.getInfo().mip_dual_bound)
    return abs(objective - bound) / max(abs(objective), SCALE * 1e-6)
