"""What must hold of the solver's adapter on either line of PuLP; also run by another Python.

    python tests/solver_checks.py optimizer/solver.py

The module is loaded by its path: the other Python has PuLP, HiGHS and SciPy, but not isocost.
"""

import importlib.util
import sys
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import sparse


def knapsack(solver: Any, columns: int, rows: int) -> Any:
    """Many rows over dense random weights: quick to fill, very slow to prove."""
    rng = np.random.default_rng(0)
    weights = rng.integers(1, 1000, (rows, columns)).astype(float)
    worth = weights.mean(axis=0) + rng.integers(0, 50, columns)
    return solver.Milp(
        cost=-worth,
        lower=np.zeros(columns),
        upper=np.ones(columns),
        integer=np.ones(columns, bool),
        matrix=sparse.csr_array(weights),
        row_lower=np.full(rows, -np.inf),
        row_upper=weights.sum(axis=1) / 2,
        names=tuple(f"x_{i}" for i in range(columns)),
        row_names=tuple(f"within_{i}" for i in range(rows)),
    )


def small_optimum_is_found_and_proven(solver: Any, which: str) -> None:
    problem = knapsack(solver, 12, 3)
    outcome = solver.solve(problem, solver=which)
    best = min(
        float(problem.cost @ x)
        for x in (np.array([i >> k & 1 for k in range(12)], float) for i in range(4096))
        if (problem.matrix @ x <= problem.row_upper).all()
    )
    assert outcome.status == "optimal", outcome
    assert abs(outcome.objective - best) < 1e-6, (outcome.objective, best)
    assert outcome.gap <= 1e-9, outcome.gap


def stopped_run_is_not_called_optimal(solver: Any, which: str) -> None:
    problem = knapsack(solver, 200, 30)
    outcome = solver.solve(problem, solver=which, time_limit_s=0.8)
    assert outcome.status in ("not proven", "no solution found in time"), outcome
    assert outcome.gap > 0, outcome
    if outcome.x is not None:
        assert problem.violation(outcome.x) <= 1e-6
        linear = solver.solve(replace(problem, integer=np.zeros(200, bool)), solver=which)
        assert linear.status == "optimal", linear
        assert linear.objective <= outcome.objective
    assert outcome.bound < -52_700 or outcome.bound == -np.inf, outcome  # known to lie below


def no_time_at_all_gives_no_made_up_solution(solver: Any, which: str) -> None:
    outcome = solver.solve(knapsack(solver, 300, 30), solver=which, time_limit_s=0.001)
    assert outcome.status in ("not proven", "no solution found in time"), outcome
    assert outcome.status == "not proven" or (outcome.x is None and outcome.gap == np.inf), outcome


def infeasibility_is_told_from_failure(solver: Any, which: str) -> None:
    problem = knapsack(solver, 20, 5)
    too_much = replace(problem, row_lower=problem.row_upper * 3, row_upper=np.full(5, np.inf))
    odd = replace(
        problem,
        matrix=sparse.csr_array(np.full((1, 20), 2.0)),
        row_lower=np.array([3.0]),
        row_upper=np.array([3.0]),
        row_names=("odd",),
    )
    for one in (too_much, odd):
        outcome = solver.solve(one, solver=which)
        assert outcome.status == "infeasible", outcome
        assert outcome.x is None


def both_ends_of_a_row_count(solver: Any, which: str) -> None:
    problem = solver.Milp(
        cost=np.array([1.0, 2.0]),
        lower=np.array([-np.inf, 0.0]),
        upper=np.array([np.inf, 1.0]),
        integer=np.array([False, True]),
        matrix=sparse.csr_array(np.array([[1.0, 3.0]])),
        row_lower=np.array([2.0]),
        row_upper=np.array([4.0]),
        names=("free", "yes"),
        row_names=("between",),
    )
    outcome = solver.solve(problem, solver=which)
    assert outcome.status == "optimal", outcome
    assert abs(outcome.objective - 1.0) < 1e-6, outcome  # free = -1, yes = 1


CHECKS = (
    small_optimum_is_found_and_proven,
    stopped_run_is_not_called_optimal,
    no_time_at_all_gives_no_made_up_solution,
    infeasibility_is_told_from_failure,
    both_ends_of_a_row_count,
)


if __name__ == "__main__":
    import pulp

    spec = importlib.util.spec_from_file_location("solver", sys.argv[1])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["solver"] = module
    spec.loader.exec_module(module)
    for check in CHECKS:
        for which in ("highs", "cbc"):
            check(module, which)
    print(f"PuLP {pulp.__version__}: {len(CHECKS)} checks of two solvers hold")
