"""A plan rehearsed: many futures of its jobs, and what they say about its finish and its cost."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime

import numpy as np
import simpy
from joblib import Parallel, delayed
from numpy.typing import NDArray

from ..catalog.files import InputError
from ..optimizer.plan import Plan, PlannedCandidate, PlannedJob
from ..profiles.workload import Constraints
from .estimates import distribution, share
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
from .world import RandomWorld

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Progress = Callable[[int], None]

BLOCK = 50  # replications between two reports of progress, and in one parcel to a process
EXAMPLE = 0.9  # quantile of the finish at which the example stands: a bad day, not the worst


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
    progress: Progress = unheard,
    plan_path: str = "",
) -> Simulation:
    """Run the plan's jobs through so many futures.

    which: the candidate that was chosen, or the best on this machine. jobs: processes; the
    result is the same whatever their number. progress: called with the replications done.
    Raises InputError for what cannot be rehearsed.
    """
    if replications < 2:
        raise InputError(f"{replications} replications say nothing of a spread; ask for 2 or more")
    if seed < 0:
        raise InputError(f"the seed is {seed}; give a whole number of 0 or more")
    if jobs < 1:
        raise InputError(f"{jobs} processes cannot rehearse anything; ask for 1 or more")
    candidates = [planned(job, which) for job in plan.jobs]
    wishes = [job.workload.constraints for job in plan.jobs]
    found = futures(candidates, replications=replications, seed=seed, jobs=jobs, progress=progress)
    finish = found.finish_s.max(axis=1)
    example = int(np.argsort(finish, kind="stable")[int(EXAMPLE * (replications - 1))])
    return Simulation(
        plan=plan_path,
        created=datetime.now(UTC),
        which=which,
        seed=seed,
        replications=replications,
        jobs=tuple(
            JobRehearsal(
                name=job.name,
                deadline_s=wish.deadline_s,
                budget_usd=wish.budget_usd,
                hopeless_after_s=GangSpec.of(candidate).hopeless_s,
                predicted_time_s=candidate.predicted.time_s,
                predicted_cost_usd=candidate.predicted.cost_usd,
                **dict(rehearsed(found.of_job(index), [wish])),
            )
            for index, (job, candidate, wish) in enumerate(
                zip(plan.jobs, candidates, wishes, strict=True)
            )
        ),
        example_replication=example,
        example=timelines(plan.jobs, candidates, seed, example),
        **dict(rehearsed(found, wishes)),
    )


def planned(job: PlannedJob, which: Which) -> PlannedCandidate:
    """The candidate of a job that is rehearsed."""
    if which == "chosen":
        return job.chosen
    if job.runnable_here is None:
        raise InputError(f"{job.name} cannot be trained on this machine; rehearse 'chosen' instead")
    return job.runnable_here


def futures(
    candidates: Sequence[PlannedCandidate],
    *,
    replications: int,
    seed: int,
    jobs: int = 1,
    progress: Progress = unheard,
) -> Futures:
    """Every replication's outcomes, in order, whichever process ran it."""
    blocks = [
        range(first, min(first + BLOCK, replications)) for first in range(0, replications, BLOCK)
    ]
    parts = []
    running: Iterator[Floats] = Parallel(n_jobs=jobs, return_as="generator")(
        delayed(_block)(candidates, seed, block) for block in blocks
    )
    for block, part in zip(blocks, running, strict=True):
        parts.append(part)
        progress(block.stop)
    finished, finish, cost, losses, lost = np.moveaxis(np.concatenate(parts), 2, 0)
    return Futures(finished.astype(bool), finish, cost, losses, lost)


def _block(candidates: Sequence[PlannedCandidate], seed: int, block: range) -> Floats:
    """Figures [replication, job, column of Futures]."""
    specs = [GangSpec.of(candidate) for candidate in candidates]
    return np.array(
        [
            [
                (one.finished, one.finish_s, one.cost_usd, one.losses, one.lost_work_s)
                for one in replicate(candidates, specs, seed, replication)
            ]
            for replication in block
        ],
        dtype=float,
    )


def replicate(
    candidates: Sequence[PlannedCandidate],
    specs: Sequence[GangSpec],
    seed: int,
    replication: int,
    tell: Callable[[simpy.Environment, int], Tell] | None = None,
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
                RandomWorld(candidate, np.random.SeedSequence(seed, spawn_key=(replication, job))),
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
) -> tuple[Timeline, ...]:
    """What happened in one replication: it is run again, with someone listening."""
    heard: list[list[TimelineEvent]] = [[] for _ in candidates]

    def listener(env: simpy.Environment, job: int) -> Tell:
        def tell(happening: Happening, node: int | None) -> None:
            heard[job].append(TimelineEvent(at_s=env.now, kind=happening, node=node))

        return tell

    specs = [GangSpec.of(candidate) for candidate in candidates]
    replicate(candidates, specs, seed, replication, listener)
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
