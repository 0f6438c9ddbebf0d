"""A plan rehearsed: many futures of its jobs, and what they say about its finish and its cost."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import simpy
from joblib import Parallel, delayed, parallel_config
from numpy.typing import NDArray

from ..catalog.files import InputError
from ..optimizer.plan import Plan, PlannedCandidate, PlannedJob
from ..profiles.workload import Constraints
from .estimates import distribution, mean_interval, quantile_interval, share
from .gang import Gang, GangSpec, Outcome, Tell, silent
from .records import (
    Happening,
    Interval,
    JobRehearsal,
    Rehearsed,
    Simulation,
    Timeline,
    TimelineEvent,
    Which,
)
from .world import OBSERVED, Conditions, RandomWorld

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Progress = Callable[[int], None]

Backend = Literal["processes", "ray"]

BLOCK = 50  # replications between two reports of progress, and in one parcel to a process
FIRST_LOOK = 500  # replications before the first question whether that is enough
GROWTH = 1.5  # replications from one such question to the next
EXAMPLE = 0.9  # quantile of the finish at which the example stands: a bad day, not the worst


TO_THE_LETTER = Conditions()
ASSUMED = Conditions(spreads=OBSERVED)


def unheard(done: int) -> None:
    """Report progress to nobody."""


@dataclass(frozen=True, slots=True)
class Futures:
    """Outcomes of many replications; arrays [replication, job]."""

    finished: Bools
    finish_s: Floats
    cost_usd: Floats
    losses: Floats
    lost_work_s: Floats

    def __add__(self, other: "Futures") -> "Futures":
        """These replications, then those."""
        return Futures(
            *(
                np.concatenate([getattr(self, column.name), getattr(other, column.name)])
                for column in fields(self)
            )
        )

    def of_job(self, job: int) -> "Futures":
        """The same replications with one job only."""
        return Futures(*(getattr(self, column.name)[:, [job]] for column in fields(self)))


def rehearse(
    plan: Plan,
    *,
    replications: int = 1000,
    seed: int = 0,
    which: Which = "chosen",
    jobs: int = 1,
    backend: Backend = "processes",
    precision: float | None = None,
    conditions: Conditions = ASSUMED,
    progress: Progress = unheard,
    plan_path: str = "",
) -> Simulation:
    """Run the plan's jobs through so many futures.

    which: the candidate that was chosen, or the best on this machine. jobs: processes; the
    result is the same whatever their number, and whether they are joblib's or Ray's. precision:
    stop before `replications` once the 95 % intervals of mean and p90 finish and of mean cost are
    within this share of their values. progress: called with the replications done.
    Raises InputError for what cannot be rehearsed.
    """
    candidates = [planned(job, which) for job in plan.jobs]
    found = run_futures(
        candidates,
        replications=replications,
        seed=seed,
        jobs=jobs,
        backend=backend,
        precision=precision,
        conditions=conditions,
        progress=progress,
    )
    return simulation(
        plan, candidates, found, seed=seed, which=which, conditions=conditions, plan_path=plan_path
    )


def simulation(
    plan: Plan,
    candidates: Sequence[PlannedCandidate],
    found: Futures,
    *,
    seed: int,
    which: Which,
    conditions: Conditions,
    plan_path: str = "",
) -> Simulation:
    """What the futures of a plan's candidates say, as the record that is written."""
    wishes = [job.workload.constraints for job in plan.jobs]
    replications = len(found.finish_s)
    finish = found.finish_s.max(axis=1)
    example = int(np.argsort(finish, kind="stable")[int(EXAMPLE * (replications - 1))])
    return Simulation(
        plan=plan_path,
        created=datetime.now(UTC),
        which=which,
        seed=seed,
        replications=replications,
        basis=basis(candidates, conditions),
        jobs=tuple(
            JobRehearsal(
                name=job.name,
                deadline_s=wish.deadline_s,
                budget_usd=wish.budget_usd,
                hopeless_after_s=GangSpec.of(candidate, conditions.limited(number)).hopeless_s,
                predicted_time_s=candidate.predicted.time_s,
                predicted_cost_usd=candidate.predicted.cost_usd,
                **dict(rehearsed(found.of_job(number), [wish])),
            )
            for number, (job, candidate, wish) in enumerate(
                zip(plan.jobs, candidates, wishes, strict=True)
            )
        ),
        example_replication=example,
        example=timelines(plan.jobs, candidates, seed, example, conditions),
        **dict(rehearsed(found, wishes)),
    )


def basis(candidates: Sequence[PlannedCandidate], conditions: Conditions) -> tuple[str, ...]:
    """On what the futures rest, in sentences."""
    spreads, told = conditions.spreads, []
    spot = [one for one in candidates if one.purchase == "spot"]
    if spot and conditions.market is not None:
        markets = {
            conditions.market.of_zones(one.offer.region, one.offer.zones).describe() for one in spot
        }
        told += sorted(markets)
        seen = min(trace.nodes for trace in conditions.market.traces)
        if any(one.nodes > seen for one in spot):
            told.append(f"gangs larger than the {seen} nodes observed get their share of the count")
    elif conditions.market is not None:
        told.append("no job stands on the spot market, so that the spot trace plays no part")
    elif spot:
        bulk = (
            f"; {spreads.bulk_share:.0%} of the losses in shocks that take {spreads.bulk_hit:.0%} "
            "of the machines, which come back together"
            if spreads.bulk_share > 0
            else ", machine by machine"
        )
        told.append(f"spot losses by age from the catalog's hazards{bulk}")
    if any(one.reliability.node_failures_per_h > 0 for one in candidates):
        told.append(
            "node failures at the catalog's rate, the fleet's own within a factor of "
            f"{math.exp(1.645 * spreads.failure_rate_sigma):.1f} (90 %)"
        )
    if spreads.work_sigma > 0:
        told.append(f"samples to the target vary by {spreads.work_sigma:.1%} with the seed")
    if spreads.slowness_sigma > 0:
        told.append(
            f"each machine is its own {spreads.slowness_sigma:.0%} slower or quicker for life"
        )
    return tuple(told)


def planned(job: PlannedJob, which: Which) -> PlannedCandidate:
    """The candidate of a job that is rehearsed."""
    if which == "chosen":
        return job.chosen
    if job.runnable_here is None:
        raise InputError(f"{job.name} cannot be trained on this machine; rehearse 'chosen' instead")
    return job.runnable_here


def run_futures(
    candidates: Sequence[PlannedCandidate],
    *,
    replications: int,
    seed: int,
    jobs: int = 1,
    backend: Backend = "processes",
    precision: float | None = None,
    conditions: Conditions = ASSUMED,
    progress: Progress = unheard,
) -> Futures:
    """At most `replications` outcomes; fewer once they are as tight as `precision` asks."""
    if replications < 2:
        raise InputError(f"{replications} replications say nothing of a spread; ask for 2 or more")
    if seed < 0:
        raise InputError(f"the seed is {seed}; give a whole number of 0 or more")
    if jobs < 1:
        raise InputError(f"{jobs} processes cannot rehearse anything; ask for 1 or more")
    if precision is not None and not 0 < precision < 1:
        raise InputError(f"a precision of {precision:g} is no share; ask for example for 0.01")
    found: Futures | None = None
    looks = _looks(replications) if precision is not None else [replications]
    with _workers(jobs, backend) as parallel:
        done = 0
        for until in looks:
            part = futures(
                candidates,
                replications=until,
                first=done,
                seed=seed,
                parallel=parallel,
                conditions=conditions,
                progress=progress,
            )
            found, done = (part if found is None else found + part), until
            if precision is not None and looseness(found) <= precision:
                break
    assert found is not None
    return found


def _looks(most: int) -> list[int]:
    """After how many replications to ask whether they are enough; the same for any workers."""
    found, at = [], FIRST_LOOK
    while at < most:
        found.append(at)
        at = math.ceil(at * GROWTH / BLOCK) * BLOCK
    return [*found, most]


def looseness(found: Futures) -> float:
    """The largest half-width of an interval over its value: mean and p90 finish, mean cost."""
    finish, cost = np.sort(found.finish_s.max(axis=1)), found.cost_usd.sum(axis=1)
    values = [
        (float(finish.mean()), mean_interval(finish)),
        (float(np.quantile(finish, 0.9)), quantile_interval(finish, 0.9)),
        (float(cost.mean()), mean_interval(cost)),
    ]
    return max((high - low) / 2 / value if value > 0 else 0.0 for value, (low, high) in values)


@contextmanager
def _workers(jobs: int, backend: Backend) -> Iterator[Parallel]:
    if backend == "ray":
        try:
            from ray.util.joblib import register_ray
        except ImportError:
            raise InputError(
                "Ray is not installed; run 'pip install \"ray[default]\"' or use processes"
            ) from None
        register_ray()
        with parallel_config(backend="ray", n_jobs=jobs), Parallel() as parallel:
            yield parallel
    else:
        with Parallel(n_jobs=jobs, return_as="generator") as parallel:
            yield parallel


def futures(
    candidates: Sequence[PlannedCandidate],
    *,
    replications: int,
    seed: int,
    first: int = 0,
    parallel: Parallel | None = None,
    conditions: Conditions = TO_THE_LETTER,
    progress: Progress = unheard,
) -> Futures:
    """The outcomes of replications first, first + 1, ... in order, whichever process ran them."""
    blocks = [
        range(start, min(start + BLOCK, replications))
        for start in range(first, replications, BLOCK)
    ]
    running: Iterable[Floats] = (parallel or Parallel(n_jobs=1, return_as="generator"))(
        delayed(_block)(candidates, seed, block, conditions) for block in blocks
    )
    parts = []
    for block, part in zip(blocks, running, strict=True):
        parts.append(part)
        progress(block.stop)
    finished, finish, cost, losses, lost = np.moveaxis(np.concatenate(parts), 2, 0)
    return Futures(finished.astype(bool), finish, cost, losses, lost)


def _block(
    candidates: Sequence[PlannedCandidate], seed: int, block: range, conditions: Conditions
) -> Floats:
    """Figures [replication, job, column of Futures]."""
    specs = specifications(candidates, conditions)
    return np.array(
        [
            [
                (one.finished, one.finish_s, one.cost_usd, one.losses, one.lost_work_s)
                for one in replicate(candidates, specs, seed, replication, conditions=conditions)
            ]
            for replication in block
        ],
        dtype=float,
    )


def specifications(
    candidates: Sequence[PlannedCandidate], conditions: Conditions
) -> list[GangSpec]:
    """The gang of each candidate."""
    return [
        GangSpec.of(candidate, conditions.limited(job)) for job, candidate in enumerate(candidates)
    ]


def replicate(
    candidates: Sequence[PlannedCandidate],
    specs: Sequence[GangSpec],
    seed: int,
    replication: int,
    tell: Callable[[simpy.Environment, int], Tell] | None = None,
    conditions: Conditions = TO_THE_LETTER,
) -> list[Outcome]:
    """One future of all jobs, which begin together at time 0.

    Job j's chance comes from (seed, replication, j) alone. tell: who listens to each job.
    """
    env = simpy.Environment()
    running = [
        env.process(
            Gang(
                env,
                spec,
                RandomWorld(
                    candidate,
                    np.random.SeedSequence(seed, spawn_key=(replication, job)),
                    conditions,
                    job,
                ),
                silent if tell is None else tell(env, job),
            ).run()
        )
        for job, (candidate, spec) in enumerate(zip(candidates, specs, strict=True))
    ]
    env.run(until=env.all_of(running))
    return [process.value for process in running]


def timelines(
    jobs: Sequence[PlannedJob],
    candidates: Sequence[PlannedCandidate],
    seed: int,
    replication: int,
    conditions: Conditions = TO_THE_LETTER,
) -> tuple[Timeline, ...]:
    """What happened in one replication: it is run again, with someone listening."""
    heard: list[list[TimelineEvent]] = [[] for _ in candidates]

    def listener(env: simpy.Environment, job: int) -> Tell:
        def tell(happening: Happening, node: int | None) -> None:
            heard[job].append(TimelineEvent(at_s=env.now, kind=happening, node=node))

        return tell

    specs = specifications(candidates, conditions)
    replicate(candidates, specs, seed, replication, listener, conditions)
    return tuple(
        Timeline(job=job.name, nodes=candidate.nodes, events=tuple(events))
        for job, candidate, events in zip(jobs, candidates, heard, strict=True)
    )


def rehearsed(found: Futures, wishes: Sequence[Constraints]) -> Rehearsed:
    """The figures of some jobs together: the last one's finish, the sum of the rest.

    All jobs begin at time 0. wishes: those of each job.
    """
    deadlines = [wish.deadline_s for wish in wishes]
    budgets = [wish.budget_usd for wish in wishes]
    p_deadline, deadline_ci = _chance(deadlines, found.finish_s, found.finished)
    p_budget, budget_ci = _chance(budgets, found.cost_usd, found.finished)
    return Rehearsed(
        finish_s=distribution(found.finish_s.max(axis=1)),
        cost_usd=distribution(found.cost_usd.sum(axis=1)),
        p_deadline=p_deadline,
        p_deadline_ci95=deadline_ci,
        p_budget=p_budget,
        p_budget_ci95=budget_ci,
        interruptions=float(found.losses.sum(axis=1).mean()),
        lost_work_s=float(found.lost_work_s.sum(axis=1).mean()),
        unfinished=int((~found.finished.all(axis=1)).sum()),
    )


def _chance(
    limits: Sequence[float | None], values: Floats, finished: Bools
) -> tuple[float | None, Interval | None]:
    """The share of replications in which every job that has a limit finishes within it."""
    limited = [limit is not None for limit in limits]
    if not any(limited):
        return None, None
    most = np.array([limit for limit in limits if limit is not None])
    kept = (values[:, limited] <= most) & finished[:, limited]
    return share(np.logical_and.reduce(kept, axis=1))
