"""The plan: what was chosen, what else was near, and on what it rests. The file format isocost/plan/v1."""

from datetime import date, datetime
from typing import Literal

from pydantic import Field

from ..catalog import Purchase
from ..catalog.files import Document, Record
from ..profiles.records import Knobs
from ..profiles.workload import ModelFacts, Weights, Workload


class PlannedOffer(Record):
    """The node that is rented; price_usd_h for the purchase that was planned."""

    provider: str
    region: str
    zones: tuple[str, ...]
    instance_type: str
    accelerator: str
    accelerator_count: int
    vcpus: float
    memory_gib: float
    network_gbps: float | None
    price_usd_h: float
    price_date: date
    source: str


class Spread(Record):
    """A predicted quantity: its mean and the values it stays below half and nine times in ten."""

    mean: float
    p50: float
    p90: float


class CostLines(Record):
    """Parts of the mean cost, USD."""

    compute: float
    storage: float
    egress: float


class ScenarioRegret(Record):
    """What the best answer to one change of the world costs; None where there is no answer."""

    score: float
    usd: float | None
    hours: float | None


class Throughput(Record):
    """Predicted samples per second over all workers, with the central 90 % interval."""

    p50: float
    p05: float
    p95: float


class Prediction(Record):
    """What one candidate will take."""

    time_s: Spread
    cost_usd: Spread
    flexibility: float
    samples_per_s: Throughput
    cost_lines: CostLines
    scenarios: dict[str, ScenarioRegret]


class Losses(Record):
    """The three losses, normalised, and their weighted sum."""

    performance: float
    cost: float
    flexibility: float
    total: float


class DelayFacts(Record):
    """A lognormal delay."""

    median_s: float
    sigma: float


class HazardFacts(Record):
    """Spot losses per node-hour within an age band; to_h None for ever."""

    from_h: float
    to_h: float | None
    per_h: float


class Reliability(Record):
    """What the rehearsal needs to know of the candidate's world."""

    work_s: float
    work_sigma: float
    checkpoint_s: float
    checkpoint_interval_s: float
    spot_hazard: tuple[HazardFacts, ...]
    node_failures_per_h: float
    provisioning: DelayFacts
    stock_out: DelayFacts
    billing_granularity_s: float
    billing_minimum_s: float
    interruptions: float


class PlannedCandidate(Record):
    """One way to run the job: offer, purchase, nodes, batch and knobs, with its predictions."""

    offer: PlannedOffer
    purchase: Purchase
    nodes: int
    workers: int
    per_device_batch: int
    global_batch: int
    steps: int
    knobs: Knobs
    basis: Literal["measured", "fitted", "transferred"]
    predicted: Prediction
    reliability: Reliability
    losses: Losses


class PlannedJob(Record):
    """The plan of one job.

    frontier: of the admitted candidates, quickest first; an even selection where frontier_size is
    larger. runnable_here: the best candidate on this machine, None where it cannot train the job;
    runnable_here_keeps_constraints: whether it also meets the deadline and the budget.
    """

    name: str
    workload: Workload
    weights: Weights
    folder: str
    facts: ModelFacts
    facts_basis: str
    profile: str | None
    chosen: PlannedCandidate
    runnable_here: PlannedCandidate | None
    runnable_here_keeps_constraints: bool
    frontier: tuple[PlannedCandidate, ...]
    frontier_size: int
    runners_up: tuple[PlannedCandidate, ...]


class Solver(Record):
    """How the optimum was found and proven; gap relative to the objective."""

    name: str
    status: str
    gap: float
    candidates: int
    columns: int
    generate_s: float
    build_s: float
    solve_s: float


class Plan(Document):
    """The whole plan."""

    schema_id: Literal["isocost/plan/v1"] = Field(alias="schema", default="isocost/plan/v1")
    created: datetime
    version: str
    command: str
    weights: Weights
    jobs: tuple[PlannedJob, ...] = Field(min_length=1)
    solver: Solver
    oldest_price: date
    newest_price: date
