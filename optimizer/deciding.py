"""A candidate for each job: one by one, within what they share, or as a pipeline; or why there is none."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .constraints import Relaxation, relaxations
from .many import Answer
from .model import Column, Solution, choose
from .pipeline import Wait, enough, plan_pipeline
from .plan import NoPlan, Pipeline, Remedy
from .pricing import Priced
from .shared import PATIENCE_S, Shared, collide, remedies, together
from .solver import Status


class Infeasible(Exception):
    """No plan keeps every constraint; the message says which, and the smallest relaxations.

    relaxations: each is enough by itself.
    """

    exit_code = 3

    def __init__(self, message: str, remedies: Sequence[Relaxation] = ()) -> None:
        super().__init__(message)
        self.relaxations = tuple(remedies)

    def document(self) -> NoPlan:
        """The same as a document."""
        remedies = tuple(Remedy(changes=one.changes, words=one.words) for one in self.relaxations)
        return NoPlan(message=str(self), relaxations=remedies)


class NotProven(Exception):
    """Time ran out: no plan was found, and none was proven impossible."""

    exit_code = 4


@dataclass(frozen=True, slots=True)
class Decision:
    """The chosen candidate of each job, the candidates that the model stated, and its solution.

    total: the sum of the jobs' L, or L of the pipeline; bound: none is smaller. generated: when the
    columns were ready, on the clock of time.perf_counter. pipeline: its times and moves, None where no
    job waits for another.
    """

    chosen: tuple[int, ...]
    stated: tuple[NDArray[np.intp], ...]
    solution: Solution
    total: float
    bound: float
    generated: float
    pipeline: Pipeline | None = None


def decide(priced: Sequence[Priced], solver: str = "highs") -> Decision:
    """Choose a candidate for each job; raises Infeasible where one has none."""
    for one in priced:
        if not one.allowed.any():
            raise infeasible(one)
    survivors = tuple(one.efficient() for one in priced)
    stated = [
        Column(
            one.losses.total[rows],
            {f"{limit.key}_{j}": limit.use[rows] for limit in one.limits},
        )
        for j, (one, rows) in enumerate(zip(priced, survivors, strict=True))
    ]
    limits = {
        f"{limit.key}_{j}": limit.limit for j, one in enumerate(priced) for limit in one.limits
    }
    generated = time.perf_counter()
    solution = choose(stated, limits, solver)
    if solution.chosen is None:
        raise Infeasible(f"the solver found no plan ({solution.status})")
    chosen = tuple(
        tie_broken(one, rows, int(rows[k]))
        for one, rows, k in zip(priced, survivors, solution.chosen, strict=True)
    )
    total = _sum_of_l(priced, chosen)
    bound = total - solution.gap * max(total, 1e-6)
    return Decision(chosen, survivors, solution, total, bound, generated)


def decide_together(priced: Sequence[Priced], shared: Shared, solver: str = "highs") -> Decision:
    """Choose a candidate for each job within what they share; raises Infeasible where none can be."""
    for one in priced:
        if not one.allowed.any():
            raise infeasible(one)
    generated = time.perf_counter()
    found = together(priced, shared, solver)
    if found.chosen is None or found.answer is None:
        if found.status is not Status.INFEASIBLE:
            raise out_of_time(PATIENCE_S)
        changes = remedies(priced, shared)
        said = "; or with ".join(words for remedy in changes for words in remedy.words)
        possible = f"possible again with {said}" if said else "no single change is enough"
        raise Infeasible(
            f"no choice for the {len(priced)} jobs keeps every limit that they share; {possible}",
            changes,
        )
    stated = tuple(one.efficient() for one in priced)
    solution = _as_solution(found.chosen, found.answer)
    total = _sum_of_l(priced, found.chosen)
    return Decision(found.chosen, stated, solution, total, found.answer.bound, generated)


def _sum_of_l(priced: Sequence[Priced], chosen: Sequence[int]) -> float:
    return math.fsum(float(one.losses.total[k]) for one, k in zip(priced, chosen, strict=True))


def decided(
    priced: Sequence[Priced], found: Sequence[Wait], shared: Shared | None, solver: str
) -> Decision:
    """As a pipeline, within what is shared, or one by one where that takes no machine twice."""
    if found:
        return decide_pipeline(priced, found, shared or Shared(), solver)
    if shared is not None:
        return decide_together(priced, shared, solver)
    decision = decide(priced, solver)
    if collide(priced, decision.chosen):
        return decide_together(priced, Shared(), solver)
    return decision


def decide_pipeline(
    priced: Sequence[Priced], found: Sequence[Wait], shared: Shared, solver: str = "highs"
) -> Decision:
    """Choose a candidate for each job of a pipeline; raises Infeasible where none can be."""
    for one in priced:
        if not one.allowed.any():
            raise infeasible(one)
    generated = time.perf_counter()
    plan = plan_pipeline(priced, found, shared, solver)
    solved = plan.schedule
    if plan.chosen is None or plan.summary is None:
        if solved.status is not Status.INFEASIBLE:
            raise out_of_time(PATIENCE_S)
        changes = enough(priced, found, shared)
        said = "; or with ".join(words for remedy in changes for words in remedy.words)
        possible = f"possible again with {said}" if said else "no single change is enough"
        raise Infeasible(
            f"no choice for the pipeline of {len(priced)} jobs keeps every limit; {possible}",
            changes,
        )
    solution = Solution(
        chosen=plan.chosen,
        status=str(solved.status),
        gap=solved.gap,
        columns=solved.stated,
        build_s=0.0,
        solve_s=solved.seconds,
        solver=solved.solver,
    )
    stated = tuple(one.efficient() for one in priced)
    total = plan.summary.total
    bound = total - (solved.objective - solved.bound)
    return Decision(plan.chosen, stated, solution, total, bound, generated, plan.summary)


def out_of_time(seconds: float) -> NotProven:
    """What to do when time is up."""
    return NotProven(
        f"not proven: in {seconds:g} s no plan was found that keeps every limit, and it was not shown "
        "that there is none; loosen a limit (--max-share, --quota, --total-budget) or plan fewer "
        "jobs at once"
    )


def _as_solution(chosen: tuple[int, ...], answer: Answer) -> Solution:
    return Solution(
        chosen=chosen,
        status=str(answer.status),
        gap=answer.gap,
        columns=answer.stated,
        build_s=answer.relaxation_s,
        solve_s=answer.integer_s,
        solver=answer.solver,
    )


def infeasible(one: Priced) -> Infeasible:
    """Why nothing is allowed, and the smallest changes that help."""
    remedies = relaxations(
        one.job.workload, one.catalog, one.candidates, one.constraints, one.losses.total
    )
    said = "; or with ".join(" and ".join(remedy.words) for remedy in remedies)
    return Infeasible(
        f"{one.job.workload.name}: no candidate keeps every constraint; possible again with {said}",
        remedies,
    )


def tie_broken(one: Priced, rows: NDArray[np.intp], chosen: int) -> int:
    """Of the candidates with the same least L, the one with the least sum of the three losses.

    A weight of 0 leaves its loss out of L; between equals it should still count.
    """
    equal = rows[one.losses.total[rows] <= one.losses.total[chosen] + 1e-12]
    sums = one.losses.performance + one.losses.cost + one.losses.flexibility
    return int(equal[np.argmin(sums[equal])])
