"""What really happened: the run record, file format isocost/run/v1."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from ..catalog.files import Document, Record
from ..profiles.records import Host, Knobs


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
    """One recovery: when, after which step it went on, and why."""

    at_s: float
    from_step: int
    lost_steps: int
    reason: str


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

    status: finished (all steps), stopped (a step limit), interrupted (asked to end; resume goes
    on). repeat_noise: relative spread of the throughput of fresh processes on this machine, from
    the profile; None without one. losses: the first hundred steps, then an even selection.
    """

    schema_id: Literal["isocost/run/v1"] = Field(alias="schema", default="isocost/run/v1")
    job: str
    plan: str
    folder: str
    created: datetime
    engine: str
    status: Literal["finished", "stopped", "interrupted"]
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
