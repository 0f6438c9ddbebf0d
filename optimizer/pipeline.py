"""Workloads that wait for each other (`after:`) as a pipeline: its scale of L, and what moving costs.

L of a pipeline is that of a job, on the scale of all jobs together: with T the makespan, the longest
path of the jobs' p90 times and of moving data between them (on the safe side: all are late at once),

    L = alpha (T - T0) / (T1 - T0)  +  beta (C - sum C0) / sum (C1 - C0)  +  gamma mean F

C is the mean cost of all jobs and moves; C0 and C1 are each job's ideal and nadir; T0 and T1 the
longest path where every job takes its ideal time or its nadir. Of one job it is the job's own L.

A move is priced by the tiers of its own volume in a month. Two moves out of one place would reach the
cheaper tiers together, and share the first gigabytes that some providers give away: but for those,
what is stated is not below the bill.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..catalog import Catalog
from ..catalog.files import InputError, did_you_mean
from ..profiles.workload import Predecessor, Workload
from .constraints import Relaxation
from .dag import Edge, Pipeline, Schedule
from .plan import Move
from .plan import Pipeline as PlannedPipeline
from .pricing import Priced
from .schedule import schedule
from .shared import GAP, PATIENCE_S, QUOTA, Shared, as_instance

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Place = tuple[str, str]

PROBABILITY = 0.9  # of the times that are added along a path


@dataclass(frozen=True, slots=True)
class Wait:
    """Job `job` (its number) waits for job `before`."""

    before: int
    job: int
    moved: Predecessor


@dataclass(frozen=True, slots=True)
class Found:
    """A pipeline's plan: the row of each job's candidates, and the summary; None where there is none."""

    chosen: tuple[int, ...] | None
    summary: PlannedPipeline | None
    schedule: Schedule


def waits(workloads: Sequence[Workload]) -> tuple[Wait, ...]:
    """Who waits for whom; raises InputError for names that are unknown, ambiguous or in a circle."""
    names = [one.name for one in workloads]
    found = []
    for j, one in enumerate(workloads):
        for moved in one.after:
            if moved.job == one.name:
                raise InputError(f"{one.name}: after names the job itself; it would never start")
            if names.count(moved.job) > 1:
                raise InputError(
                    f"{one.name}: after names '{moved.job}', as several of the workloads are called; "
                    "give each its own name"
                )
            if moved.job not in names:
                raise InputError(
                    f"{one.name}: after names '{moved.job}', which is none of the workloads given"
                    f"{did_you_mean(moved.job, names)}; give its file too"
                )
            if moved.job in [other.job for other in one.after if other is not moved]:
                raise InputError(f"{one.name}: after names '{moved.job}' twice; add their bytes")
            found.append(Wait(names.index(moved.job), j, moved))
    if circle := _circle(len(names), found):
        said = " waits for ".join(names[j] for j in circle)
        raise InputError(f"{said}: none of them could ever start; take one 'after' away")
    return tuple(found)


def _circle(jobs: int, found: Sequence[Wait]) -> tuple[int, ...]:
    """Jobs in a circle, the first once more at the end; each waits for the next. () without one."""
    left = set(range(jobs))
    while free := {j for j in left if not any(w.job == j and w.before in left for w in found)}:
        left -= free
    if not left:
        return ()
    path = [min(left)]
    while path[-1] not in path[:-1]:
        path.append(next(w.before for w in found if w.job == path[-1] and w.before in left))
    return tuple(path[path.index(path[-1]) :])


def longest(jobs: int, found: Sequence[Wait], seconds: Sequence[float]) -> float:
    """The longest path of the jobs' seconds."""
    end = list(seconds)
    for _ in range(jobs):
        for wait in found:
            end[wait.job] = max(end[wait.job], end[wait.before] + seconds[wait.job])
    return max(end)


@dataclass(frozen=True, slots=True)
class Scale:
    """T0 and T1 - T0 in seconds, the sums of C0 and of C1 - C0 in USD."""

    least_s: float
    range_s: float
    least_usd: float
    range_usd: float


def scale(priced: Sequence[Priced], found: Sequence[Wait]) -> Scale:
    """The scale of L of the pipeline."""
    ideal = [float(one.candidates.time_p90_s.min()) for one in priced]
    nadir = [low + one.losses.ranges[0] for low, one in zip(ideal, priced, strict=True)]
    least = longest(len(priced), found, ideal)
    return Scale(
        least_s=least,
        range_s=longest(len(priced), found, nadir) - least,
        least_usd=math.fsum(float(one.candidates.cost_mean_usd.min()) for one in priced),
        range_usd=math.fsum(one.losses.ranges[1] for one in priced),
    )


def as_pipeline(
    priced: Sequence[Priced], found: Sequence[Wait], shared: Shared
) -> tuple[Pipeline, list[Ints], list[Place], float]:
    """The model; which candidates its columns are; its places; and what L has beside its objective.

    Raises InputError where jobs weigh differently, or want a deadline surer than a path's times are.
    """
    weights = priced[0].weights.normalised()
    for one in priced:
        wishes, name = one.job.workload.constraints, one.job.workload.name
        if one.weights.normalised() != weights:
            raise InputError(
                f"{name} and {priced[0].job.workload.name} are of one pipeline but have different "
                "weights; give --alpha, --beta and --gamma"
            )
        if one.losses.objective != "weighted":
            raise InputError("a pipeline is planned with --objective weighted only")
        if wishes.deadline_s is not None and wishes.deadline_probability > PROBABILITY:
            raise InputError(
                f"{name}: deadline_probability is {wishes.deadline_probability:g}; the times of a "
                f"pipeline are added as those kept {PROBABILITY:.0%} of the time: give at most that"
            )
    instance, rows = as_instance(priced, shared)
    table = priced[0].catalog.offers.select("provider", "region")
    places: list[Place] = list(table.unique(maintain_order=True).iter_rows())
    number = {place: p for p, place in enumerate(places)}
    of_offer = np.array([number[place] for place in table.iter_rows()], np.intp)

    def column(of: Sequence[Floats]) -> Floats:
        return np.concatenate([values[kept] for values, kept in zip(of, rows, strict=True)])

    jobs = len(priced)
    of_all = scale(priced, found)
    per_second, per_usd = weights.alpha / of_all.range_s, weights.beta / of_all.range_usd
    usd = column(
        [one.candidates.cost_mean_usd - one.candidates.cost_mean_usd.min() for one in priced]
    )
    flexibility = column([one.losses.flexibility for one in priced])
    edges = tuple(_edge(wait, places, priced[0].catalog, per_usd) for wait in found)
    latest = [one.job.workload.constraints.deadline_s for one in priced]
    pipeline = Pipeline(
        instance=replace(instance, loss=per_usd * usd + weights.gamma * flexibility / jobs),
        time_s=column([one.candidates.time_p90_s for one in priced]),
        place=np.concatenate(
            [of_offer[one.candidates.offer[kept]] for one, kept in zip(priced, rows, strict=True)]
        ),
        places=len(places),
        edges=edges,
        per_second=per_second,
        waiting=np.zeros(jobs),
        latest_s=np.array([math.inf if one is None else one for one in latest]),
    )
    return pipeline, rows, places, -per_second * of_all.least_s


def _edge(wait: Wait, places: Sequence[Place], catalog: Catalog, per_usd: float) -> Edge:
    """Dollars by pair of places and tier; seconds at the stated speed, none within a place."""
    moved = wait.moved
    usd = np.array([[catalog.transfer.usd(moved.bytes, p, q) for q in places] for p in places])
    seconds = np.full(usd.shape, moved.bytes * 8 / (moved.gbps * 1e9))
    np.fill_diagonal(seconds, 0.0)
    return Edge(wait.before, wait.job, per_usd * usd, usd, seconds)


def _scheduled(pipeline: Pipeline, gap: float, solver: str, limit_s: float) -> Schedule:
    """The schedule, without the columns that alone exceed a sum.

    Solvers keep a limit to about 1e-6 of the largest amount in it: one absurdly dear candidate would
    make a cent of a budget invisible.
    """
    instance = pipeline.instance
    kept = np.ones(len(instance), bool)
    for limit in instance.limits:
        if not limit.shares:
            most = np.where(limit.codes >= 0, limit.at_most[limit.codes], math.inf)
            kept &= limit.amount <= most * (1 + 1e-9)
    kept |= ~np.isin(
        instance.job, instance.job[kept]
    )  # a job keeps some: the model says infeasible
    rows = np.flatnonzero(kept)
    narrow = replace(
        pipeline,
        instance=instance.take(rows),
        time_s=pipeline.time_s[rows],
        place=pipeline.place[rows],
    )
    found = schedule(narrow, gap=gap, solver=solver, time_limit_s=limit_s)
    return found if found.chosen is None else replace(found, chosen=rows[found.chosen])


def plan_pipeline(
    priced: Sequence[Priced], found: Sequence[Wait], shared: Shared, solver: str = "highs"
) -> Found:
    """The least L of the pipeline within what is shared; every job needs an allowed candidate."""
    pipeline, rows, places, beside = as_pipeline(priced, found, shared)
    solved = _scheduled(pipeline, GAP, solver, PATIENCE_S)
    if solved.chosen is None:
        return Found(None, None, solved)
    own = (solved.chosen - pipeline.instance.start[:-1]).tolist()
    chosen = tuple(int(kept[k]) for kept, k in zip(rows, own, strict=True))
    moves = []
    for wait, edge in zip(found, pipeline.edges, strict=True):
        p, q = (int(pipeline.place[solved.chosen[j]]) for j in (wait.before, wait.job))
        moves.append(
            Move(
                from_job=priced[wait.before].job.workload.name,
                to_job=priced[wait.job].job.workload.name,
                bytes=wait.moved.bytes,
                source=":".join(places[p]),
                target=":".join(places[q]),
                usd=float(edge.usd[p, q]),
                seconds=float(edge.seconds[p, q]),
            )
        )
    spent = math.fsum(
        float(one.candidates.cost_mean_usd[k]) for one, k in zip(priced, chosen, strict=True)
    )
    summary = PlannedPipeline(
        start_s=tuple(solved.start_s.tolist()),
        makespan_s=solved.makespan_s,
        cost_usd=spent + solved.moved_usd,
        moved_usd=solved.moved_usd,
        total=solved.objective + beside,
        moves=tuple(moves),
    )
    return Found(chosen, summary, solved)


def enough(
    priced: Sequence[Priced], found: Sequence[Wait], shared: Shared
) -> tuple[Relaxation, ...]:
    """What would make an impossible pipeline possible, each by itself: the least of each sum and
    deadline while the others hold, rounded up and tried by solving again."""
    pipeline, *_ = as_pipeline(priced, found, shared)
    nothing = np.zeros(len(pipeline.instance))
    free = tuple(replace(edge, price=np.zeros_like(edge.price)) for edge in pipeline.edges)
    said = []

    def tried(changed: Pipeline) -> Schedule:
        return _scheduled(changed, GAP, "highs", PATIENCE_S / 6)

    for limit in pipeline.instance.limits:
        if limit.name not in ("budget", "hourly") and not limit.name.startswith(QUOTA):
            continue
        others = tuple(one for one in pipeline.instance.limits if one is not limit)
        spends = limit.name == "budget"
        least = tried(
            replace(
                pipeline,
                instance=replace(
                    pipeline.instance,
                    loss=np.where(limit.codes >= 0, limit.amount, 0.0),
                    limits=others,
                ),
                edges=tuple(replace(e, price=e.usd) for e in free) if spends else free,
                per_second=0.0,
            )
        )
        if least.chosen is None:
            continue
        up = math.ceil(round(least.objective * 100, 6)) / 100
        again = replace(limit, at_most=np.full(len(limit.at_most), up))
        instance = replace(pipeline.instance, limits=(*others, again))
        if tried(replace(pipeline, instance=instance)).chosen is not None:
            kind = {"budget": "a total budget of {:.2f} USD", "hourly": "{:.2f} USD an hour in all"}
            words = kind.get(limit.name, f"a {limit.name} of {{:g}} nodes").format(up)
            said.append(Relaxation({limit.name: up}, (words,)))
    for j in np.flatnonzero(np.isfinite(pipeline.latest_s)).tolist():
        latest = pipeline.latest_s.copy()
        latest[j] = math.inf
        waiting = np.zeros(len(latest))
        waiting[j] = 1.0
        loss = np.where(pipeline.instance.job == j, pipeline.time_s, nothing)
        first = replace(
            pipeline,
            instance=replace(pipeline.instance, loss=loss),
            edges=free,
            per_second=0.0,
            waiting=waiting,
            latest_s=latest,
        )
        least = tried(first)
        if least.chosen is None:
            continue
        latest[j] = math.ceil(least.objective)
        if tried(replace(pipeline, latest_s=latest)).chosen is not None:
            name, value = priced[j].job.workload.name, float(latest[j])
            words = f"a deadline of {value:.0f} s for {name}"
            said.append(Relaxation({f"deadline_s of {name}": value}, (words,)))
    return tuple(said)
