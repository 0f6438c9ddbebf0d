"""From workloads, profiles and offers to a plan."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..catalog import Catalog, Freshness, Offer, stale_words
from ..profiles.workload import Weights
from .considered import kinds
from .deciding import Infeasible, NotProven, decided
from .describe import planned_candidates
from .explain import explain
from .joint import front_of_jobs, limit_prices
from .losses import Objective
from .model import Solution
from .pipeline import waits
from .plan import Plan, PlannedCandidate, PlannedJob, Solver
from .pricing import Job, Priced, price
from .shared import Shared

__all__ = ["Infeasible", "Job", "NotProven", "Priced", "optimize", "price"]

RUNNERS_UP = 5
FRONTIER = 200  # points of the Pareto front that a plan keeps; all of them are stated and solved


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
    front: int | None = None,
    solved: Callable[[int], None] = lambda count: None,
    fresh: Freshness | None = None,
    version: str = "",
    command: str = "",
) -> Plan:
    """The plan that minimises the sum of L over jobs.

    offers: the part of the catalog that may be chosen, all of it by default; the losses are
    normalised over the whole catalog either way. weights: instead of each workload's own. shared:
    limits over all jobs together; what is proven is then the sum of L within them. explained: also why.
    front: also the front of all jobs together, from at most so many solves; solved is told how many
    there have been. fresh: how old a price may be before the plan says that it is stale.
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
    decision = decided(priced, found, shared, solver)
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
        limits=limit_prices(priced, found, shared, decision, solver)
        if explained and shared
        else (),
        front=front_of_jobs(priced, found, shared, most=front, solver=solver, solved=solved)
        if front
        else None,
        stale_prices=tuple(
            f"{one.name}: {words}"
            for one in planned
            if (words := _stale(one.chosen, now.date(), fresh))
        ),
    )


def _stale(chosen: PlannedCandidate, today: date, fresh: Freshness | None) -> str | None:
    return stale_words(chosen.purchase, chosen.offer.price_date, today, fresh)


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
