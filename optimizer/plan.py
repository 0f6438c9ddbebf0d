"""The plan: what was chosen, what else was near, and on what it rests. The file format isocost/plan/v1."""

from datetime import date, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ..catalog import Purchase
from ..catalog.files import Document, Record
from ..profiles.records import Knobs
from ..profiles.workload import ModelFacts, Weights, Workload

# A plan may come from an editor as well as from us.
Figure = Annotated[float, Field(ge=0, le=1e18)]
Positive = Annotated[float, Field(gt=0, le=1e18)]
Count = Annotated[int, Field(ge=1, le=10**9)]


class PlannedOffer(Record):
    """The node that is rented; price_usd_h and price_date for the purchase that was planned.

    Of a commitment that other work shares, price_usd_h is of an hour of use.
    """

    provider: str
    region: str
    zones: tuple[str, ...]
    instance_type: str
    accelerator: str
    accelerator_count: Count
    vcpus: Positive
    memory_gib: Positive
    network_gbps: Figure | None
    price_usd_h: Figure
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
    licence: float = 0.0
    labour: float = 0.0


class ScenarioRegret(Record):
    """One change of the world half-way: the score against hindsight, and what the best answer adds
    to the undisturbed plan (negative: saves), None where there is no answer."""

    score: float
    usd: float | None
    hours: float | None


class Throughput(Record):
    """Predicted samples per second over all workers, with the central 90 % interval."""

    p50: Positive
    p05: Positive
    p95: Positive

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.p05 <= self.p50 <= self.p95:
            raise ValueError(
                f"p05, p50 and p95 of a throughput rise; these are {self.p05:g}, {self.p50:g} and "
                f"{self.p95:g}"
            )
        return self


class Prediction(Record):
    """What one candidate will take; carbon_kg of CO2 equivalent at full load."""

    time_s: Spread
    cost_usd: Spread
    flexibility: float
    carbon_kg: float | None = None
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

    median_s: Figure
    sigma: Annotated[float, Field(ge=0, le=100)]


class HazardFacts(Record):
    """Spot losses per node-hour within an age band; to_h None for ever."""

    from_h: Figure
    to_h: Figure | None
    per_h: Figure


class Reliability(Record):
    """What the rehearsal needs to know of the candidate's world."""

    work_s: Figure
    work_sigma: Annotated[float, Field(ge=0, le=100)]
    checkpoint_s: Figure
    checkpoint_interval_s: Figure
    spot_hazard: tuple[HazardFacts, ...]
    node_failures_per_h: Figure
    provisioning: DelayFacts
    stock_out: DelayFacts
    billing_granularity_s: Figure
    billing_minimum_s: Figure
    interruptions: Figure


class PlannedCandidate(Record):
    """One way to run the job: offer, purchase, nodes, batch and knobs, with its predictions."""

    offer: PlannedOffer
    purchase: Purchase
    nodes: Count
    workers: Count
    per_device_batch: Count
    global_batch: Count
    steps: Annotated[int, Field(ge=1, le=10**18)]
    knobs: Knobs
    basis: Literal["measured", "fitted", "transferred"]
    predicted: Prediction
    reliability: Reliability
    losses: Losses


class Polygon(Record):
    """Where in the (alpha, beta, gamma) simplex one candidate wins: corners in order, share of its area."""

    candidate: PlannedCandidate
    corners: tuple[tuple[float, float, float], ...]
    share: float


class ConstraintPrice(Record):
    """What one constraint costs: the plan without it against the plan with it.

    used, limit: None for a rule without a number. hours, usd: mean time and cost that the
    constraint adds (negative: saves); loss: what it adds to L; 0 where it does not bind.
    """

    key: str
    words: str
    used: float | None
    limit: float | None
    binds: bool
    loss: float
    hours: float
    p90_hours: float
    usd: float
    instead: PlannedCandidate | None


class Measuring(Record):
    """The worth of profiling the workload on one kind of hardware before choosing.

    loss, usd, hours: expected saving in L, dollars and mean time (negative: it costs more, for the
    sake of L). chance: that the choice changes. usd_to_measure: of hours_to_measure on the offer.
    """

    accelerator: str
    offer: PlannedOffer
    loss: float
    usd: float
    hours: float
    chance: float
    usd_to_measure: float
    hours_to_measure: float


class LimitPrice(Record):
    """What a limit that jobs share costs: the plan of all without it against the plan with it.

    used: by the plan; of a share the largest provider's. hours, p90_hours, usd: sums over the jobs
    and, of usd, moves, that the limit adds (negative: saves); loss: what it adds to the sum of L, or
    to L of a pipeline. 0 where it does not bind, which is where the plan without it is no better.
    """

    key: str
    words: str
    used: float
    limit: float
    binds: bool
    loss: float
    hours: float
    p90_hours: float
    usd: float


class FrontChoice(Record):
    """What one job of a plan on the front would take."""

    job: str
    provider: str
    region: str
    instance_type: str
    purchase: Purchase
    nodes: int
    per_device_batch: int


class FrontPoint(Record):
    """One plan of all jobs. performance, cost, flexibility: the means of the jobs' normalised losses,
    of a pipeline its own. weights: at which it was found, proven to the gap.

    time_s: the sum of the jobs' p90 times, of a pipeline its makespan. cost_usd: mean, all jobs and
    moves.
    """

    weights: Weights
    performance: float
    cost: float
    flexibility: float
    time_s: float
    cost_usd: float
    gap: float
    choices: tuple[FrontChoice, ...]


class Front(Record):
    """Plans of all jobs together of which none beats another, quickest first.

    within: whatever the weights, of at least least_weight each, one of them is so near to the least
    L (mean over the jobs). solves: how many weights were tried.
    """

    points: tuple[FrontPoint, ...]
    within: float
    least_weight: float
    solves: int


class Swing(Record):
    """The choice where one figure is factor times what was taken for it.

    stays_*: the chosen candidate's p90 time and mean cost then, and whether it keeps every
    constraint. instead: what is then better, None where nothing is (or nothing is allowed);
    time_s, cost_usd: of what is then chosen.
    """

    factor: float
    stays_time_s: float
    stays_cost_usd: float
    stays_allowed: bool
    time_s: float
    cost_usd: float
    instead: PlannedCandidate | None


class Sensitivity(Record):
    """One figure lower and higher. wins_from, wins_to: the factors between which the chosen plan
    stays the best; None where no change was found, or none was sought."""

    key: Literal["price", "throughput", "interruptions", "deadline"]
    low: Swing
    high: Swing
    wins_from: float | None
    wins_to: float | None


class ScalingPoint(Record):
    """Throughput on so many devices (workers, where they share one) at the quickest batch."""

    devices: int
    nodes: int
    per_device_batch: int
    samples_per_s: Throughput
    basis: Literal["measured", "fitted", "transferred"]


class ScalingCurve(Record):
    """How throughput grows with devices of one offer."""

    offer: PlannedOffer
    points: tuple[ScalingPoint, ...]


class Considered(Record):
    """One provider's instance type, bought one way, at its best; breaks: what it does not keep."""

    provider: str
    region: str
    instance_type: str
    accelerator: str
    accelerator_count: int
    purchase: Purchase
    nodes: int
    per_device_batch: int
    price_usd_h: float
    time_p50_s: float
    time_p90_s: float
    cost_usd: float
    flexibility: float
    loss: float
    basis: Literal["measured", "fitted", "transferred"]
    breaks: tuple[str, ...]


class Explanation(Record):
    """Why this plan: prices of constraints, alternatives, who wins at which weights, what to measure,
    how wrong a figure may be, how throughput scales, and what else was looked at.

    together: all constraints at once, None where no two bind. considered: the best of them, of
    considered_size.
    """

    constraints: tuple[ConstraintPrice, ...]
    together: ConstraintPrice | None
    alternatives: tuple[PlannedCandidate, ...]
    weight_map: tuple[Polygon, ...]
    measuring: tuple[Measuring, ...]
    notes: tuple[str, ...]
    sensitivity: tuple[Sensitivity, ...] = ()
    scaling: tuple[ScalingCurve, ...] = ()
    considered: tuple[Considered, ...] = ()
    considered_size: int = 0


class PlannedJob(Record):
    """The plan of one job.

    frontier: of the admitted candidates, quickest first; an even selection where frontier_size is
    larger. runnable_here: the best candidate on this machine, None where it cannot train the job;
    runnable_here_keeps_constraints: whether it also keeps every constraint. explanation: on request.
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
    explanation: Explanation | None = None


class Move(Record):
    """Data that go from one job to the next; places as provider:region; usd and seconds 0 within one."""

    from_job: str
    to_job: str
    bytes: float
    source: str
    target: str
    usd: float
    seconds: float


class Pipeline(Record):
    """Jobs that wait for others. start_s: of each job, in the order of the plan, where all before
    take the time that they stay below nine times in ten; makespan_s: until the last has ended then.

    cost_usd: mean, of all jobs and moves. total: L of the whole pipeline.
    """

    start_s: tuple[float, ...]
    makespan_s: float
    cost_usd: float
    moved_usd: float
    total: float
    moves: tuple[Move, ...]


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


class Remedy(Record):
    """A change of constraints that makes a plan possible again, and the same in words.

    changes: new values by key of the workload's constraints; of what several jobs share, by the
    name of the limit.
    """

    changes: dict[str, Any]
    words: tuple[str, ...]


class NoPlan(Document):
    """Why there is no plan, and what would make one possible; what --json prints then."""

    schema_id: Literal["isocost/no-plan/v1"] = Field(alias="schema", default="isocost/no-plan/v1")
    message: str
    relaxations: tuple[Remedy, ...]  # each is enough by itself


class Plan(Document):
    """The whole plan."""

    schema_id: Literal["isocost/plan/v1"] = Field(alias="schema", default="isocost/plan/v1")
    created: datetime
    version: str
    command: str
    weights: Weights
    objective: Literal["weighted", "chebyshev"] = "weighted"
    jobs: tuple[PlannedJob, ...] = Field(min_length=1)
    solver: Solver
    oldest_price: date
    newest_price: date
    stale_prices: tuple[str, ...] = ()  # of the chosen offers, in words
    pipeline: Pipeline | None = None  # None where no job waits for another
    limits: tuple[LimitPrice, ...] = ()  # on request: of what the jobs share
    front: Front | None = None  # on request
