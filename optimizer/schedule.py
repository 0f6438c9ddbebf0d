"""The least objective of a pipeline, proven: columns that matter, reduced costs, then the model in PuLP."""

import math
import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .dag import Pipeline, Schedule, keeps, timed
from .dag_columns import worth_stating
from .dag_model import stated
from .instance import chosen_by
from .solver import Milp, Status, solve

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


def schedule(
    pipeline: Pipeline,
    *,
    gap: float = 0.0,
    solver: str = "highs",
    time_limit_s: float | None = None,
) -> Schedule:
    """The exact optimum of the model of `dag_model`. Raises Cycle where jobs wait for each other."""
    begun = time.perf_counter()
    pipeline.order()
    rows = worth_stating(pipeline)
    model, orders = stated(pipeline, rows)
    if solver == "highs" and not pipeline.pools and not pipeline.waiting.any():
        rows, model, orders = _fixed(pipeline, rows, model, orders)
    solved = solve(model, solver=solver, gap=gap, time_limit_s=time_limit_s)
    status = solved.status
    chosen: Ints | None = None
    handed: tuple[tuple[int, int], ...] = ()
    if solved.x is not None:
        chosen = chosen_by(pipeline.instance, solved.x, rows)
        handed = tuple(pair for pair, place in orders.items() if solved.x[place] > 0.5)
    if chosen is None:
        start, objective, makespan, moved = np.zeros(0), math.inf, math.inf, 0.0
    else:
        start, objective = timed(pipeline, chosen, handed)
        makespan = float((start + pipeline.time_s[chosen]).max())
        place = pipeline.place[chosen]
        moved = sum(float(e.usd[place[e.before], place[e.after]]) for e in pipeline.edges)
    return Schedule(
        status=status,
        chosen=chosen,
        start_s=start,
        makespan_s=makespan,
        moved_usd=moved,
        objective=objective,
        bound=min(solved.bound, objective),
        stated=len(rows),
        seconds=time.perf_counter() - begun,
        solver=solved.solver,
        nodes=solved.nodes,
    )


def _fixed(
    pipeline: Pipeline, rows: Ints, model: Milp, orders: dict[tuple[int, int], int]
) -> tuple[Ints, Milp, dict[tuple[int, int], int]]:
    """The model without what the relaxation rules out: exact.

    A variable at 0 whose reduced cost d lies above the distance from the relaxation's value to a known
    plan's is 0 in every better plan. The known plan: what the relaxation leans to, improved job by job.
    """
    relaxed = solve(replace(model, integer=np.zeros(len(model.cost), bool)))
    if relaxed.status is not Status.OPTIMAL or relaxed.x is None:
        return rows, model, orders
    job, x = pipeline.instance.job[rows], relaxed.x[: len(rows)]
    leaning = np.array([rows[job == j][np.argmax(x[job == j])] for j in pipeline.jobs])
    known = improved(pipeline, rows, leaning)
    if not keeps(pipeline, known):
        return rows, model, orders
    reach = timed(pipeline, known)[1] - relaxed.objective + 1e-9
    out = (relaxed.reduced > reach) & (model.lower == 0)
    left = np.union1d(rows[~out[: len(rows)]], known)
    again, orders = stated(pipeline, left)
    # Pairs of places that are out stay variables, held at 0, for HiGHS's presolve to drop.
    gone = {name for name, no in zip(model.names, out.tolist(), strict=True) if no}
    held = np.array([name in gone and name[0] == "y" for name in again.names])
    return left, replace(again, upper=np.where(held, 0.0, again.upper)), orders


def improved(pipeline: Pipeline, rows: Ints, chosen: Ints) -> Ints:
    """The choice with one job after the other at its best given the others, until nothing changes.

    With job j out, head[p] is when its data are at place p, tail[p] what follows from there; then
    the makespan with column k is max(that without j, head + t[k] + tail).
    """
    best, value = chosen.copy(), timed(pipeline, chosen)[1]
    order, job = pipeline.order(), pipeline.instance.job[rows]
    own = [rows[job == j] for j in pipeline.jobs]
    feasible = keeps(pipeline, best)
    while True:
        before = value
        for j in pipeline.jobs:
            trial = best.copy()
            for k in own[j][np.argsort(_with_each(pipeline, order, best, j, own[j]))[:5]]:
                trial[j] = k
                reached = timed(pipeline, trial)[1]
                kept = keeps(pipeline, trial)
                if (kept and not feasible) or (kept >= feasible and reached < value - 1e-12):
                    best, value, feasible = trial.copy(), reached, kept
        if value >= before - 1e-12:
            return best


def _with_each(
    pipeline: Pipeline, order: list[int], chosen: Ints, job: int, columns: Ints
) -> Floats:
    """The objective's part that depends on job's column, for each of columns."""
    place, t = pipeline.place[chosen], pipeline.time_s[chosen].copy()
    end, tail = np.zeros(len(chosen)), np.zeros(len(chosen))
    head, rest, price = (np.zeros(pipeline.places) for _ in range(3))
    for j in order:
        for edge in pipeline.edges:
            if edge.after == j and edge.before != job:
                arrives = end[edge.before] + edge.seconds[place[edge.before]]
                if j == job:
                    np.maximum(head, arrives, out=head)
                    price += edge.price[place[edge.before]]
                else:
                    end[j] = max(end[j], float(arrives[place[j]]))
        end[j] += t[j]
    for j in reversed(order):
        for edge in pipeline.edges:
            if edge.before == j and edge.after != job:
                follows = edge.seconds[:, place[edge.after]] + t[edge.after] + tail[edge.after]
                if j == job:
                    np.maximum(rest, follows, out=rest)
                    price += edge.price[:, place[edge.after]]
                else:
                    tail[j] = max(tail[j], float(follows[place[j]]))
    at = pipeline.place[columns]
    others = max((float(end[j]) for j in pipeline.jobs if j != job), default=0.0)
    span = np.maximum(others, head[at] + pipeline.time_s[columns] + rest[at])
    return np.asarray(pipeline.instance.loss[columns] + price[at] + pipeline.per_second * span)
