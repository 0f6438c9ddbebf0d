"""From workloads, profiles and offers to a plan."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..catalog import Catalog, Freshness, Offer, stale_words
from ..profiles.workload import Weights
from .considered import kinds
from .constraints import Relaxation, relaxations
from .describe import planned_candidates
from .explain import explain
from .losses import Objective
from .many import Answer
from .model import Column, Solution, choose
from .pipeline import Wait, enough, plan_pipeline, waits
from .plan import NoPlan, Pipeline, Plan, PlannedCandidate, PlannedJob, Remedy, Solver
from .pricing import Job, Priced, price
from .shared import PATIENCE_S, Shared, collide, remedies, together
from .solver import Status

__all__ = ["Infeasible", "Job", "NotProven", "Priced", "optimize", "price"]

RUNNERS_UP = 5
FRONTIER = 200  # points of the Pareto front that a plan keeps; all of them are stated and solved


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


def optimize(
    jobs: Sequence[Job],
    catalog: Catalog,
    local: Offer,
    *,
    weights: Weights | None = None,
    offers: Catalog | None = None,
    objective: Objective = "weighted",
    solver: str = "highs",
    explained: bool = False,
    shared: Shared | None = None,
    fresh: Freshness | None = None,
    version: str = "",
    command: str = "",
) -> Plan:
    """The plan that minimises the sum of L over jobs.

    offers: the part of the catalog that may be chosen, all of it by default; the losses are
    normalised over the whole catalog either way. weights: instead of each workload's own. shared:
    limits over all jobs together; what is proven is then the sum of L within them. fresh: how old a price may be before the plan says that it is stale.
    Workloads that name others in `after` are planned as a pipeline.

    Raises InputError for what cannot be planned, Infeasible where constraints conflict, NotProven where
    time is up without a plan.
    """
    start = time.perf_counter()
    found = waits([job.workload for job in jobs])
    whole = catalog.with_offer(local)
    if offers is not None and (offers.offers["provider"] == local.provider).any():
        offers = offers.with_offer(local)
    priced = [price(job, whole, weights or job.workload.weights, offers, objective) for job in jobs]
    decision = _decided(priced, found, shared, solver)
    generated = decision.generated - start
    solution = decision.solution
    planned = [
        _planned_job(one, rows, chosen, explained)
        for one, rows, chosen in zip(priced, decision.stated, decision.chosen, strict=True)
    ]
    dates = whole.offers.filter(pl.col("provider") != "local")["price_date"]
    dates = dates if len(dates) else whole.offers["price_date"]
    now = datetime.now(UTC)
    return Plan(
        created=now,
        version=version,
        command=command,
        weights=(weights or jobs[0].workload.weights).normalised(),
        objective=objective,
        jobs=tuple(planned),
        solver=_solver(solution, sum(len(one.candidates) for one in priced), generated),
        oldest_price=dates.min(),  # type: ignore[arg-type]
        newest_price=dates.max(),  # type: ignore[arg-type]
        pipeline=decision.pipeline,
        stale_prices=tuple(
            f"{one.name}: {words}"
            for one in planned
            if (words := _stale(one.chosen, now.date(), fresh))
        ),
    )


@dataclass(frozen=True, slots=True)
class Decision:
    """The chosen candidate of each job, the candidates that the model stated, and its solution.

    generated: when the columns were ready, on the clock of time.perf_counter. pipeline: its times and
    moves, None where no job waits for another.
    """

    chosen: tuple[int, ...]
    stated: tuple[NDArray[np.intp], ...]
    solution: Solution
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
    return Decision(chosen, survivors, solution, generated)


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
    return Decision(found.chosen, stated, _as_solution(found.chosen, found.answer), generated)


def _decided(
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
    if plan.chosen is None:
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
    return Decision(plan.chosen, stated, solution, generated, plan.summary)


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


def _stale(chosen: PlannedCandidate, today: date, fresh: Freshness | None) -> str | None:
    return stale_words(chosen.purchase, chosen.offer.price_date, today, fresh)


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


def _evenly(rows: NDArray[np.intp], chosen: int) -> NDArray[np.intp]:
    """At most FRONTIER of the rows, evenly spread, with both ends and the chosen one."""
    if len(rows) <= FRONTIER:
        return rows
    picked = np.linspace(0, len(rows) - 1, FRONTIER).round().astype(np.intp)
    kept: NDArray[np.intp] = rows[np.union1d(picked, np.flatnonzero(rows == chosen))]
    return kept


def _planned_job(one: Priced, stated: NDArray[np.intp], chosen: int, explained: bool) -> PlannedJob:
    here = _best(one, one.here & one.allowed)
    keeps = here is not None
    if here is None:
        here = _best(one, one.here)
    by_time = stated[np.argsort(one.candidates.time_p90_s[stated], kind="stable")]
    shown = _evenly(by_time, chosen).tolist()
    others = runners_up(one, chosen)
    rows = [chosen, *([] if here is None else [here]), *shown, *others]
    # A row that is shown twice is described once.
    each = dict(
        zip(unique := list(dict.fromkeys(rows)), planned_candidates(one, unique), strict=True)
    )
    profile = one.job.profile
    return PlannedJob(
        name=one.job.workload.name,
        workload=one.job.workload,
        weights=one.weights.normalised(),
        folder=str(one.job.folder),
        facts=one.facts,
        facts_basis="profiled"
        if profile
        else "stated"
        if one.job.workload.facts
        else "built-in table",
        profile=str(one.job.profile_path) if one.job.profile_path else None,
        chosen=each[chosen],
        runnable_here=None if here is None else each[here],
        runnable_here_keeps_constraints=keeps,
        frontier=tuple(each[row] for row in shown),
        frontier_size=len(stated),
        runners_up=tuple(each[row] for row in others),
        explanation=explain(one, stated, chosen, others) if explained else None,
    )


def _best(one: Priced, among: NDArray[np.bool_]) -> int | None:
    rows = np.flatnonzero(among)
    return int(rows[np.argmin(one.losses.total[rows])]) if len(rows) else None


def runners_up(one: Priced, chosen: int, most: int = RUNNERS_UP) -> list[int]:
    """The next best candidates, each on another instance type or purchase than those before."""
    kind = kinds(one)
    rows = np.flatnonzero(one.allowed & (kind != kind[chosen]))
    picked: list[int] = []
    while len(rows) and len(picked) < most:
        best = int(rows[np.argmin(one.losses.total[rows])])
        picked.append(best)
        rows = rows[kind[rows] != kind[best]]
    return picked


def _solver(solution: Solution, candidates: int, generate_s: float) -> Solver:
    return Solver(
        name=solution.solver,
        status=solution.status,
        gap=solution.gap,
        candidates=candidates,
        columns=solution.columns,
        generate_s=generate_s,
        build_s=solution.build_s,
        solve_s=solution.solve_s,
    )
