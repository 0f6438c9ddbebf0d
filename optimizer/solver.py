"""A mixed-integer program, stated in PuLP and solved by HiGHS or CBC, with an honest status.

PuLP's two lines differ, and each says 'Optimal' where it should not: 3.3 does at HiGHS's time
limit, and takes values of the relaxation for a solution when CBC stops without one. So the status
here is read from the solver itself (HiGHS's model status, CBC's log), every solution is checked
against the model, and optimal is only what the solver finished within the gap that was asked for.
A CBC that was stopped may print its incumbent's value as its bound, so what it says then is not
believed: the bound is that of the linear relaxation, by HiGHS.
"""

import math
import re
import tempfile
import time
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import highspy
import numpy as np
import pulp
from numpy.typing import NDArray
from scipy import sparse

Floats = NDArray[np.float64]

INTEGRAL = 1e-6  # HiGHS's own default; what is further from a whole number is no solution
TOLERANCE = 1e-6  # of a row, relative to its size
TIGHT = 1e-9  # HiGHS's feasibility tolerances here, so that no budget is exceeded by rounding
BULK = not pulp.__version__.startswith("3.")  # PuLP 4 hands the model over at once by itself


class Status(StrEnum):
    """How a solve ended. Only OPTIMAL and INFEASIBLE are proofs."""

    OPTIMAL = "optimal"
    NOT_PROVEN = "not proven"
    INFEASIBLE = "infeasible"
    NO_ANSWER = "no solution found in time"


@dataclass(frozen=True, slots=True)
class Milp:
    """Minimise cost x subject to row_lower <= A x <= row_upper, lower <= x <= upper.

    cost, lower, upper, integer: n columns. matrix A: m x n. names, row_names: theirs, unique.
    """

    cost: Floats
    lower: Floats
    upper: Floats
    integer: NDArray[np.bool_]
    matrix: sparse.csr_array
    row_lower: Floats
    row_upper: Floats
    names: tuple[str, ...]
    row_names: tuple[str, ...]

    def violation(self, x: Floats) -> float:
        """The largest violation of any bound, row (relative to its size) or integrality."""
        with np.errstate(invalid="ignore"):
            activity = self.matrix @ x
            size = 1.0 + abs(self.matrix) @ abs(x)
            rows = np.maximum(self.row_lower - activity, activity - self.row_upper) / size
            bounds = np.maximum(self.lower - x, x - self.upper)
        whole = np.abs(x - np.round(x))[self.integer]
        return max(float(part.max(initial=0.0)) for part in (rows, bounds, whole))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a solve gave: x None without a solution; bound no solution lies below.

    reduced: the reduced costs of a continuous model, by HiGHS; zeros otherwise. nodes: of the search.
    gap: (objective - bound) / max(|objective|, 1e-9), infinite without a solution.
    """

    status: Status
    x: Floats | None
    reduced: Floats
    objective: float
    bound: float
    build_s: float
    solve_s: float
    solver: str
    nodes: int = 0

    @property
    def gap(self) -> float:
        return math.inf if self.x is None else relative_gap(self.objective, self.bound)


def state(milp: Milp) -> tuple[pulp.LpProblem, list[Any]]:
    """The PuLP model of milp, and its variables in order.

    Expressions are built from pairs at once: three times as fast as adding terms.
    """
    model = pulp.LpProblem("isocost", pulp.LpMinimize)
    finite = [
        (None if low == -math.inf else low, None if high == math.inf else high)
        for low, high in zip(milp.lower.tolist(), milp.upper.tolist(), strict=True)
    ]
    variables = [
        model.add_variable(name, low, high, pulp.LpInteger if whole else pulp.LpContinuous)
        for name, (low, high), whole in zip(milp.names, finite, milp.integer.tolist(), strict=True)
    ]
    model.setObjective(_expression(variables, range(len(variables)), milp.cost.tolist()))
    starts, indices = milp.matrix.indptr.tolist(), milp.matrix.indices.tolist()
    values = milp.matrix.data.tolist()
    for row, name in enumerate(milp.row_names):
        span = slice(starts[row], starts[row + 1])
        low, high = float(milp.row_lower[row]), float(milp.row_upper[row])
        if low == high:
            sides = [(name, "=", low)]
        else:
            sides = [(name, "<", high)] if high < math.inf else []
            # A row with two ends is two rows in PuLP.
            sides += [(f"{name}_least" if sides else name, ">", low)] if low > -math.inf else []
        for label, sense, side in sides:
            left = _expression(variables, indices[span], values[span])
            compared = (
                left == side if sense == "=" else left <= side if sense == "<" else left >= side
            )
            model.addConstraint(compared, label)
    return model, variables


def _expression(variables: list[Any], indices: Any, values: list[float]) -> Any:
    pairs = [(variables[i], value) for i, value in zip(indices, values, strict=True) if value]
    if hasattr(pulp.LpAffineExpression, "from_list"):
        return pulp.LpAffineExpression.from_list(pairs)
    return pulp.LpAffineExpression(pairs)


def relative_gap(objective: float, bound: float) -> float:
    """(objective - bound) / max(|objective|, 1e-9), at least 0."""
    return max(0.0, objective - bound) / max(abs(objective), 1e-9)


def solve(
    milp: Milp,
    *,
    solver: str = "highs",
    gap: float = 0.0,
    time_limit_s: float | None = None,
    **options: Any,
) -> Outcome:
    """Solve milp through PuLP; solver 'highs' or 'cbc'; gap relative, at which it may stop.

    options: HiGHS's own, by name. Raises ValueError for another solver's name and pulp's
    PulpSolverError where CBC is not installed (with PuLP 4: pip install 'pulp[cbc]').
    """
    if solver not in {"highs", "cbc"}:
        raise ValueError(f"solver '{solver}' is neither 'highs' nor 'cbc'")
    start = time.perf_counter()
    model, variables = state(milp)
    built = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        model.solve(
            _highs(gap, time_limit_s, options)
            if solver == "highs"
            else _cbc(gap, time_limit_s, log)
        )
        solved = time.perf_counter()
        if solver == "highs":
            finished, infeasible, bound, nodes = _highs_says(model)
        else:
            finished, infeasible, bound, nodes = _cbc_says(log)
            if not finished and not infeasible:
                bound = _linear_bound(milp, time_limit_s)
    x = np.array([_number(variable.varValue) for variable in variables])
    # A variable that no expression names is not handed over, and may take any value.
    x = np.where(np.isnan(x), np.clip(0.0, milp.lower, milp.upper), x)
    has_one = not infeasible and bool(np.isfinite(x).all()) and milp.violation(x) <= TOLERANCE
    objective = float(milp.cost @ x) if has_one else math.inf
    if infeasible:
        status = Status.INFEASIBLE
    elif not has_one:
        status = Status.NO_ANSWER
    else:
        status = Status.OPTIMAL if finished else Status.NOT_PROVEN
    if has_one and finished and not math.isfinite(bound):
        bound = objective - gap * abs(objective)  # all that a finished solve without one says
    return Outcome(
        status=status,
        x=x if has_one else None,
        reduced=_reduced(milp, variables, solver),
        objective=objective,
        bound=min(bound, objective),
        build_s=built - start,
        solve_s=solved - built,
        solver="HiGHS through PuLP" if solver == "highs" else "CBC through PuLP",
        nodes=nodes,
    )


def _reduced(milp: Milp, variables: list[Any], solver: str) -> Floats:
    if milp.integer.any() or solver != "highs":
        return np.zeros(len(variables))
    return np.asarray(np.nan_to_num([_number(variable.dj) for variable in variables]))


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _highs(gap: float, time_limit_s: float | None, options: dict[str, Any]) -> Any:
    tight = {"mip_feasibility_tolerance": TIGHT, "primal_feasibility_tolerance": TIGHT}
    return _AtOnce(
        msg=False,
        gapRel=gap,
        gapAbs=0.0,
        threads=1,
        timeLimit=time_limit_s,
        **{"output_flag": False, **tight, **options},
    )


def _highs_says(model: Any) -> tuple[bool, bool, float, int]:
    """Whether HiGHS finished, whether it proved infeasibility, its proven bound, and its nodes."""
    highs = model.solverModel
    said = highs.getModelStatus()
    kinds = highspy.HighsModelStatus
    # Our models are bounded below, so 'unbounded or infeasible' is infeasible.
    infeasible = said in (kinds.kInfeasible, kinds.kUnboundedOrInfeasible)
    finished = said == kinds.kOptimal
    info = highs.getInfo()
    is_mip = highs.getLp().integrality_ and any(
        kind != highspy.HighsVarType.kContinuous for kind in highs.getLp().integrality_
    )
    if is_mip:
        return finished, infeasible, float(info.mip_dual_bound), int(info.mip_node_count)
    bound = float(info.objective_function_value) if finished else -math.inf
    return finished, infeasible, bound, 0


class _AtOnce(pulp.HiGHS):  # type: ignore[misc]
    """PuLP's HiGHS, with the model handed over by two calls instead of one a column and a row."""

    def buildSolverModel(self, lp: Any) -> None:
        if BULK:
            super().buildSolverModel(lp)
        else:
            self._hand_over(lp)

    def findSolutionValues(self, lp: Any) -> Any:
        try:
            return super().findSolutionValues(lp)
        except KeyError:  # a status that PuLP does not know, such as that of too many nodes
            return pulp.LpStatusNotSolved, pulp.LpSolutionNoSolutionFound

    def _hand_over(self, lp: Any) -> None:
        inf, variables = highspy.kHighsInf, lp.variables()
        for index, variable in enumerate(variables):
            variable.index = index
        low = np.array([-inf if v.lowBound is None else v.lowBound for v in variables])
        high = np.array([inf if v.upBound is None else v.upBound for v in variables])
        cost = np.array([lp.objective.get(v, 0.0) for v in variables], float)
        none = np.zeros(0, np.int32)
        count = len(variables)
        lp.solverModel.addCols(count, cost, low, high, 0, none, none, np.zeros(0))
        whole = np.array([v.index for v in variables if v.cat == pulp.LpInteger], np.int32)
        if self.mip and len(whole):
            kinds = np.full(len(whole), highspy.HighsVarType.kInteger)
            lp.solverModel.changeColsIntegrality(len(whole), whole, kinds)
        lp.solverModel.changeObjectiveOffset(lp.objective.constant)
        rows = list(lp._constraints.values())
        starts: list[int] = []
        indices: list[int] = []
        values: list[float] = []
        for index, row in enumerate(rows):
            row.index = index
            starts.append(len(indices))
            indices += [variable.index for variable in row]
            values += row.values()
        lp.solverModel.addRows(
            len(rows),
            np.array([-inf if row.getLb() is None else row.getLb() for row in rows], float),
            np.array([inf if row.getUb() is None else row.getUb() for row in rows], float),
            len(indices),
            np.array(starts, np.int32),
            np.array(indices, np.int32),
            np.array(values, float),
        )


def _cbc(gap: float, time_limit_s: float | None, log: Path) -> Any:
    bundled = getattr(getattr(pulp, "PULP_CBC_CMD", None), "pulp_cbc_path", None)
    path = {"path": bundled} if bundled and not BULK else {}
    return pulp.COIN_CMD(
        msg=False,
        gapRel=gap,
        gapAbs=0.0,
        threads=1,
        timeLimit=time_limit_s,
        logPath=str(log),
        **path,
    )


def _cbc_says(log: Path) -> tuple[bool, bool, float, int]:
    """Whether CBC finished, whether it proved infeasibility, what it proved if it finished, its nodes."""
    text = log.read_text(encoding="utf-8", errors="replace")
    result = re.search(r"^Result - (.*)$", text, re.MULTILINE)
    said = result[1] if result else ""
    infeasible = "infeasible" in said.lower() or (
        not result
        and bool(
            re.search(
                r"^(Problem is infeasible|Pre-?solve.*infeasible)",
                text,
                re.MULTILINE | re.IGNORECASE,
            )
        )
    )
    # Continuous models and those that its presolve settles end without a 'Result' line.
    finished = said.startswith("Optimal") or (
        not result
        and bool(re.search(r"^(Optimal objective|Optimal - objective)", text, re.MULTILINE))
    )
    final = re.findall(r"^Lower bound:\s+(\S+)", text, re.MULTILINE) if finished else []
    bound = float(final[-1]) if final else -math.inf
    nodes = re.search(r"^Enumerated nodes:\s+(\d+)", text, re.MULTILINE)
    known = bound if abs(bound) < 1e30 else -math.inf
    return finished, infeasible, known, int(nodes[1]) if nodes else 0


def _linear_bound(milp: Milp, time_limit_s: float | None) -> float:
    """The value of the linear relaxation; -inf where that is not found in time either."""
    linear = replace(milp, integer=np.zeros(len(milp.cost), bool))
    outcome = solve(linear, time_limit_s=time_limit_s)
    return outcome.objective if outcome.status is Status.OPTIMAL else -math.inf
