"""The adapter says what the solver found: on the PuLP that is installed, and on the other line."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pulp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from isocost.optimizer import solver
from isocost.optimizer.solver import Milp, Status, solve, state

from .conftest import ROOT
from .solver_checks import CHECKS

OTHER_LINE = ["pulp[cbc]>=4", "highspy!=1.16.0", "numpy", "scipy"]


@pytest.mark.parametrize("which", ["highs", "cbc"])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_on_the_installed_pulp(check: Callable[[Any, str], None], which: str) -> None:
    check(solver, which)


@pytest.mark.long
def test_on_the_other_line_of_pulp(tmp_path: Path) -> None:
    """PuLP 4 asks for Python 3.12: a venv of its own where there is one."""
    if not pulp.__version__.startswith("3."):
        pytest.skip("this is PuLP 4 already; the 3.3 line is tested on Python 3.11")
    python = _newer_python()
    if python is None:
        pytest.skip("no Python of 3.12 or later here, which PuLP 4 needs")
    subprocess.run([python, "-m", "venv", tmp_path / "venv"], check=True)
    own = tmp_path / "venv" / "bin" / "python"
    got = subprocess.run(
        [own, "-m", "pip", "install", "--quiet", *OTHER_LINE],
        capture_output=True,
        text=True,
        check=False,
    )
    if got.returncode:
        pytest.skip(f"PuLP 4 cannot be installed here: {got.stderr.strip().splitlines()[-1]}")
    done = subprocess.run(
        [own, "-W", "error", ROOT / "tests" / "solver_checks.py", ROOT / "optimizer" / "solver.py"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("PuLP 4."), done.stdout


def _newer_python() -> str | None:
    """A Python of 3.12 to 3.14: on the path, or one that pyenv keeps."""
    kept = sorted((Path.home() / ".pyenv" / "versions").glob("3.1[2-4]*/bin/python"))
    named = [shutil.which(f"python3.{minor}") for minor in (12, 13, 14)]
    for one in [*named, *map(str, kept)]:
        if one is None:
            continue
        says = subprocess.run(
            [one, "-c", "import sys; print(sys.version_info >= (3, 12))"],
            capture_output=True,
            text=True,
            check=False,
        )
        if says.stdout.strip() == "True":
            return one
    return None


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 6).flatmap(
        lambda n: st.tuples(
            st.lists(st.integers(-9, 9), min_size=n, max_size=n),
            st.lists(
                st.tuples(
                    st.lists(st.integers(-5, 5), min_size=n, max_size=n), st.integers(-6, 12)
                ),
                min_size=1,
                max_size=4,
            ),
        )
    )
)
def test_handing_the_model_over_at_once_changes_no_answer(
    given: tuple[list[int], list[tuple[list[int], int]]],
) -> None:
    """Against PuLP's own HiGHS, which takes one row after the other."""
    cost, rows = given
    n = len(cost)
    problem = Milp(
        cost=np.array(cost, float),
        lower=np.zeros(n),
        upper=np.full(n, 3.0),
        integer=np.ones(n, bool),
        matrix=sparse.csr_array(np.array([row for row, _ in rows], float)),
        row_lower=np.full(len(rows), -np.inf),
        row_upper=np.array([right for _, right in rows], float),
        names=tuple(f"x_{i}" for i in range(n)),
        row_names=tuple(f"row_{i}" for i in range(len(rows))),
    )
    ours = solve(problem)
    model, _ = state(problem)
    model.solve(pulp.HiGHS(msg=False))
    if ours.status is Status.INFEASIBLE:
        assert model.status == pulp.LpStatusInfeasible
        return
    assert ours.status is Status.OPTIMAL
    assert pulp.value(model.objective) == pytest.approx(ours.objective, abs=1e-6)


def test_another_solver_is_refused_by_name() -> None:
    problem = Milp(
        np.ones(1), np.zeros(1), np.ones(1), np.ones(1, bool), sparse.csr_array((0, 1)),
        np.zeros(0), np.zeros(0), ("x",), (),
    )  # fmt: skip
    with pytest.raises(ValueError, match="'scip' is neither 'highs' nor 'cbc'"):
        solve(problem, solver="scip")
