"""Many jobs: column generation with a proven bound.

The model of `instance` over all columns is never handed to a solver. The relaxation (`relaxation`) gives a
bound, and says of each column by how much d every choice with it is above that bound. What is sought
is below something, so that columns with greater d are out, exactly, and a solver that is told so
rules out the rest soon:

1. Look for a choice among few columns, the nearest, not much above the bound; higher each time there is
   none. It is hardly ever far from the best of all, and found before a larger program is even stated.
2. Over all columns that could be in a choice better than it by the gap: there is none, a proof; or there
   is, and once more.

The integer programs are stated in PuLP.
"""

import math
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .instance import Instance, chosen_by, stated
from .relaxation import Relaxation, relax
from .solver import Outcome, Status, relative_gap, solve

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

ROUNDING = 1e-8  # of sums of L; the relaxation's bound keeps 1e-9 of it to be on the safe side
NEAR = 3.0  # gaps: a choice this near the bound is likely followed by one within the gap of it
STATED = 2  # columns a job, at most, for such a choice
WHOLE = 1000  # columns are stated at once
FEW_NODES, RISE, MORE = 10, 0.25, 0.1  # after a look that took few: so much higher, more columns,
MANY_NODES = 500  # else a gap higher, or half a gap where it took many
FIRST_NODES, MOST_NODES = 2000, 1500  # after which a look is cut off, and half way tried to the end
FARTHEST = 3.0  # logarithm of how surely no column of a good choice is farther than those looked at
# Cutoffs do what heuristics are for, and twice as fast; dives of a look need no further cuts.
PLAIN = {
    "mip_heuristic_effort": 0.0,
    "mip_heuristic_run_feasibility_jump": False,
    "mip_heuristic_run_rens": False,
    "mip_heuristic_run_rins": False,
    "mip_heuristic_run_root_reduced_cost": False,
    "mip_pscost_minreliable": 4,
}
LOOK = {**PLAIN, "mip_allow_cut_separation_at_nodes": False}


@dataclass(frozen=True, slots=True)
class Answer:
    """The chosen column of each job (indices into the instance), None where there is none.

    bound: no choice has a smaller objective. generated: columns that the relaxation saw. stated:
    columns of the last integer program. survivors: that exact fixing could not rule out. nodes: of all
    searches.
    """

    status: Status
    chosen: Ints | None
    objective: float
    bound: float
    solver: str
    generated: int = 0
    survivors: int = 0
    stated: int = 0
    nodes: int = 0
    rounds: int = 0
    relaxation_s: float = 0.0
    integer_s: float = 0.0

    @property
    def gap(self) -> float:
        return math.inf if self.chosen is None else relative_gap(self.objective, self.bound)


def choose_many(
    instance: Instance,
    *,
    gap: float = 1e-4,
    solver: str = "highs",
    time_limit_s: float | None = None,
) -> Answer:
    """One column for each job within every limit, with the least sum of L; proven to the gap.

    Raises nothing for an infeasible instance: the status says so, and it is a proof.
    """
    start = time.perf_counter()
    relaxed = relax(instance)
    solved = time.perf_counter()
    if relaxed is None:
        found = Answer(Status.INFEASIBLE, None, math.inf, -math.inf, _name(solver))
        return replace(found, relaxation_s=solved - start)
    left = None if time_limit_s is None else max(0.1, time_limit_s - (solved - start))
    search = _Search(instance, relaxed, gap, solver, left)
    return replace(search.run(), relaxation_s=solved - start)


def _name(solver: str) -> str:
    return {"highs": "HiGHS", "cbc": "CBC"}[solver] + " through PuLP, column generation"


class _Search:
    """From the relaxation to a choice and its proof; what is known so far."""

    def __init__(
        self,
        instance: Instance,
        relaxed: Relaxation,
        gap: float,
        solver: str,
        time_limit_s: float | None,
    ) -> None:
        self.instance, self.relaxed = instance, relaxed
        self.gap, self.solver = gap, solver
        self.start = time.perf_counter()
        self.time_limit_s = time_limit_s
        self.best: Ints | None = None
        self.lower, self.upper = relaxed.bound, math.inf
        self.nodes = self.stated = 0

    @property
    def _margin(self) -> float:
        return self.gap * abs(self.upper)

    @property
    def proven(self) -> bool:
        return self.best is not None and self.upper - self.lower <= self._margin + ROUNDING

    @property
    def out_of_time(self) -> bool:
        return self.time_limit_s is not None and self._left() <= 0

    def _left(self) -> float:
        assert self.time_limit_s is not None
        return self.time_limit_s - (time.perf_counter() - self.start)

    def run(self) -> Answer:
        ended = len(self.instance) > WHOLE and self.look()
        while not (ended or self.proven or self.out_of_time):
            ended = self.prove()
        if self.best is not None:
            return self._answer(Status.OPTIMAL if self.proven else Status.NOT_PROVEN)
        return self._answer(Status.INFEASIBLE if ended else Status.NO_ANSWER)

    def _answer(self, status: Status) -> Answer:
        relaxed = self.relaxed
        below = math.inf if self.best is None else self.upper - self._margin
        return Answer(
            status,
            self.best,
            self.upper,
            min(max(self.lower, relaxed.bound), self.upper),
            _name(self.solver),
            generated=len(relaxed.columns),
            survivors=int((relaxed.distance <= below - relaxed.bound).sum()),
            stated=self.stated,
            nodes=self.nodes,
            rounds=relaxed.rounds,
            integer_s=time.perf_counter() - self.start,
        )

    def look(self) -> bool:
        """A good choice among the nearest columns; whether instead it was proven that there is none at all.

        Its height above the bound is found from below, since every gap higher takes several times as long;
        where one takes too long, from both sides.
        """
        relaxed, jobs = self.relaxed, self.instance.jobs
        unit = self.gap * abs(relaxed.bound)
        none, height = 0.0, max(NEAR * unit, ROUNDING)
        rows = self._nearest(min(len(self._within(height)), STATED * jobs))
        options: dict[str, Any] = {"mip_max_nodes": FIRST_NODES}
        while True:
            aim = max(self.lower, relaxed.bound + none) + unit
            solved = self._solve(rows, relaxed.bound + height, aim, options)
            known = self.upper - relaxed.bound
            ended = solved.status in (Status.OPTIMAL, Status.INFEASIBLE)
            near = max(none + unit, NEAR * unit)
            if self.proven or self.out_of_time or known <= (max(near, height) if ended else near):
                return False
            options = LOOK
            if ended:
                none = height
                height = min(self._higher(height, solved.nodes), (none + known) / 2)
                if solved.nodes <= MANY_NODES:
                    options = {**LOOK, "mip_max_nodes": MOST_NODES}
            else:
                height = (none + min(height, known)) / 2
            within = self._within(height)
            if len(within) == len(self.instance):
                return self.prove()
            rows = self._looked_at(height, len(within) - jobs)

    def _higher(self, height: float, nodes: int) -> float:
        """The height of the look that follows one without a choice."""
        unit = self.gap * abs(self.relaxed.bound)
        if nodes > FEW_NODES:
            return height + max(unit, RISE * height / 2) / (2 if nodes > MANY_NODES else 1)
        distance = self.relaxed.distance
        # The place of the first column that is not within, or of a later one.
        more = int((distance <= height).sum() * (1 + MORE))
        farther = float(np.partition(distance, more)[more]) if more < len(distance) else math.inf
        return max(height * (1 + RISE), min(farther, float(distance.max())))

    def _looked_at(self, height: float, further: int) -> Ints:
        """The columns of the likeliest choices of a height h, within which E lie beside the best of each job.

        With columns evenly spread, m of them add up to at most h in (E^m / m!^2) ways or so, most for
        m = sqrt(E). The farthest of m that share h at random lies at h/m (ln m + c) in all but exp(-c).
        """
        count = max(1.0, math.sqrt(max(further, 0)))
        return self._within(height / count * (math.log(count) + FARTHEST))

    def prove(self) -> bool:
        """No choice is better than the best by more than the gap, or here it is; whether that was the end."""
        relaxed = self.relaxed
        below = self.upper if self.best is None else self.upper - (1 - 1e-6) * self._margin
        rows = self._within(below - relaxed.bound)
        outside = np.ones(len(self.instance), bool)
        outside[rows] = False
        reach = float(relaxed.distance[outside].min(initial=math.inf))
        aim = self.lower + self.gap * abs(self.lower)
        options = PLAIN if below - relaxed.bound > NEAR * self._margin else {}
        solved = self._solve(rows, below, aim, options)
        # HiGHS may call a choice above the cutoff optimal: below it there is none, more was not asked.
        bound = math.inf if solved.status is Status.INFEASIBLE else solved.bound
        bound = min(bound, below) if self.solver == "highs" else bound
        self.lower = max(self.lower, min(bound, relaxed.bound + reach - 1e-9, self.upper))
        return solved.status is Status.INFEASIBLE and len(rows) == len(self.instance)

    def _within(self, height: float) -> Ints:
        """The columns that a choice so far above the bound can have; a little more for rounding."""
        near = self.relaxed.distance <= height + 1e-9 * max(1.0, abs(self.relaxed.bound))
        near[self.relaxed.columns[self.relaxed.x > 1e-9]] = True
        return np.flatnonzero(near)

    def _nearest(self, count: int) -> Ints:
        """About so many columns with the least distance, and the relaxation's own."""
        if count >= len(self.instance):
            return np.arange(len(self.instance))
        return self._within(float(np.partition(self.relaxed.distance, count)[count]))

    def _solve(self, rows: Ints, below: float, aim: float, options: dict[str, Any]) -> Outcome:
        """The integer program over the columns in rows. HiGHS seeks only choices that are better than
        below, and ends at one no worse than the aim."""
        program = stated(self.relaxed.instance, rows)
        left = None if self.time_limit_s is None else max(0.1, self._left())
        if self.solver == "cbc":
            solved = solve(program, solver=self.solver, gap=self.gap, time_limit_s=left)
        else:
            if math.isfinite(below):
                options = {**options, "objective_bound": below + ROUNDING}
            options = {**options, "objective_target": aim}
            solved = solve(program, gap=self.gap, time_limit_s=left, **options)
        self.nodes, self.stated = self.nodes + solved.nodes, len(rows)
        if solved.x is not None:
            found = chosen_by(self.instance, solved.x, rows)
            if self.instance.kept(found) and self.instance.objective(found) < self.upper:
                self.best, self.upper = found, self.instance.objective(found)
        return solved
