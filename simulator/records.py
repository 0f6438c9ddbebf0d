"""The rehearsal's result, file format isocost/simulation/v1."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from ..catalog.files import Document, Record
from ..optimizer.plan import Spread

Interval = tuple[float, float]
Which = Literal["chosen", "runnable_here"]
Happening = Literal[
    "provision",  # a machine is requested for the node's place; its bill opens
    "ready",  # it has started and waits for the others
    "work",  # the gang is whole for the first time and training begins
    "lost",  # the machine is gone; its bill closes
    "restored",  # the gang is whole again, the checkpoint is read, training goes on
    "finished",  # the target is reached
    "given_up",  # it is not, and the job has run into hopeless_after_s
]


class Distribution(Record):
    """A quantity over the replications; the intervals hold the true value 95 times in 100.

    quantiles: at 0, 1, ..., 100 %.
    """

    mean: float
    p50: float
    p90: float
    mean_ci95: Interval
    p50_ci95: Interval
    p90_ci95: Interval
    quantiles: tuple[float, ...] = Field(min_length=101, max_length=101)


class TimelineEvent(Record):
    """Something that happened to one node, or to the whole gang (node None)."""

    at_s: float
    kind: Happening
    node: int | None


class Timeline(Record):
    """What happened to one job in the example replication, in order."""

    job: str
    nodes: int
    events: tuple[TimelineEvent, ...]


class Rehearsed(Record):
    """Distributions and means per replication, of one job or of all jobs together.

    p_deadline, p_budget: share of replications that keep every deadline (budget) that was given;
    None where none was. interruptions: machines lost. lost_work_s: work done again.
    unfinished: replications that were given up; they count with the time and the cost at which
    they were, and keep no deadline and no budget.
    """

    finish_s: Distribution
    cost_usd: Distribution
    p_deadline: float | None
    p_deadline_ci95: Interval | None
    p_budget: float | None
    p_budget_ci95: Interval | None
    interruptions: float
    lost_work_s: float
    unfinished: int


class JobRehearsal(Rehearsed):
    """One job, with what the optimizer predicted for it in closed form."""

    name: str
    deadline_s: float | None
    budget_usd: float | None
    hopeless_after_s: float
    predicted_time_s: Spread
    predicted_cost_usd: Spread


class Difference(Record):
    """A figure of a scenario against the baseline, paired future by future.

    variance_ratio: variance of the paired difference over that of two independent samples.
    """

    baseline: float
    mean: float
    p90: float
    difference: float
    difference_ci95: Interval
    variance_ratio: float


class Scenario(Record):
    """One what-if: the change in the user's words, and what it does to finish and cost."""

    change: str
    finish_s: Difference
    cost_usd: Difference
    unfinished: int


class Simulation(Document, Rehearsed):
    """A rehearsal of a plan: the finish of its last job, and the cost of all.

    basis: on what the futures rest, in sentences. example: one replication event by event, the
    one whose finish is the p90.
    """

    schema_id: Literal["isocost/simulation/v1"] = Field(
        alias="schema", default="isocost/simulation/v1"
    )
    plan: str
    created: datetime
    which: Which
    seed: int
    replications: int
    basis: tuple[str, ...] = ()
    jobs: tuple[JobRehearsal, ...] = Field(min_length=1)
    example_replication: int
    example: tuple[Timeline, ...]
    what_if: tuple[Scenario, ...] = ()
