"""What really happened: the run record, file format isocost/run/v1."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from ..catalog.files import Document, Record
from ..profiles.records import Breakdown, Host, Knobs

Status = Literal["finished", "stopped", "interrupted", "deadline", "budget", "failed"]
LearningRateRule = Literal["none", "linear", "sqrt"]


class RunFigures(Record):
    """Throughput over all workers, wall time from the start of the processes, and its cost."""

    samples_per_s: float | None
    time_s: float | None
    cost_usd: float | None


class PredictedFigures(RunFigures):
    """The same as predicted, for the steps that were really taken; 90 % intervals."""

    samples_per_s_p05: float | None
    samples_per_s_p95: float | None
    basis: str


class TestFigures(Record):
    """On data the model was not trained on; accuracy None where labels are no classes."""

    loss: float
    accuracy: float | None


class Restart(Record):
    """One recovery: when, after which step it went on, what had to be done again, and why.

    lost_s: what the steps that are done again had taken, without the compiling in the first of a start,
    which belongs to starting.
    """

    at_s: float
    from_step: int
    lost_steps: int
    reason: str
    lost_s: float = 0.0


class Checkpoints(Record):
    """What checkpoints took and how often they were written; None where none was."""

    write_s: float | None
    interval_s: float
    restart_s: float


class Samples(Record):
    """Which samples the committed steps trained, as counted by the workers.

    per_worker: by each replica. earlier: in a part of the run with another number of workers. passes:
    whole passes through the data that were checked, None where the data do not say how long one is;
    once: of those, how many trained every sample exactly once.
    """

    per_worker: tuple[int, ...]
    earlier: int = 0
    passes: int | None = None
    once: int | None = None


class LearningRate(Record):
    """How the learning rate follows the global batch: factor times what the model was compiled with."""

    rule: LearningRateRule = "none"
    factor: float = 1.0


class Limits(Record):
    """What a run may take; None without a limit. spent_s, spent_usd: all its sessions together,
    starting, testing and lost work included."""

    deadline_s: float | None
    budget_usd: float | None
    usd_per_h: float
    spent_s: float
    spent_usd: float


class Difference(Record):
    """A part of measured minus predicted time, seconds; all parts add up to the whole of it."""

    what: str
    seconds: float


class LossPoint(Record):
    """Mean training loss over the global batch at one step."""

    step: int
    loss: float


class StepTimePoint(Record):
    """Mean step time of a stretch of steps that ends at step; at_s seconds since the start."""

    step: int
    at_s: float
    step_s: float


class Run(Document):
    """One run, with its prediction beside it.

    status: finished (all steps), stopped (a step limit), interrupted (asked to end), deadline or
    budget (ended before it passed that), failed (reason says why); resume goes on. steps: of the last
    good checkpoint, where the workers could not report. workers: how many share the global batch:
    processes, or devices of one under MirroredStrategy. breakdown: medians over the steps. notes:
    what else was done to keep the run going, in sentences. differences: why the time is not the
    predicted one. repeat_noise: relative spread of the throughput of fresh processes on this machine,
    from the profile; None without one. losses: the first hundred steps, then an even selection.
    """

    schema_id: Literal["isocost/run/v1"] = Field(alias="schema", default="isocost/run/v1")
    job: str
    plan: str
    folder: str
    created: datetime
    engine: str
    status: Status
    reason: str = ""
    workers: int
    per_device_batch: int
    global_batch: int
    knobs: Knobs
    data: str
    seed: int
    planned_steps: int
    steps: int
    samples: int
    restarts: int
    recoveries: tuple[Restart, ...]
    predicted: PredictedFigures
    measured: RunFigures
    repeat_noise: float | None
    test: TestFigures | None
    losses: tuple[LossPoint, ...]
    step_times: tuple[StepTimePoint, ...]
    checkpoints: int
    host: Host
    threads: int | None = None
    reproducible: bool = False
    learning_rate: LearningRate = LearningRate()
    samples_seen: Samples | None = None
    checkpointing: Checkpoints | None = None
    breakdown: Breakdown | None = None
    memory_bytes: float | None = None
    limits: Limits | None = None
    notes: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()
