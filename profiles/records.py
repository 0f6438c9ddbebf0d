"""What was measured: settings, measurements and the profile they form."""

from datetime import datetime
from typing import Literal, Self

from pydantic import Field, model_validator

from ..catalog.files import Document, Record
from .workload import ModelFacts

Precision = Literal["float32", "mixed_bfloat16", "mixed_float16"]
Strategy = Literal["one_device", "mirrored", "multi_worker_mirrored", "parameter_server", "tpu"]


class Knobs(Record):
    """What can be turned without renting something else.

    workers_per_node: worker processes that share one node's processors or devices. accumulate: as many
    batches are taken, one after the other, for one update. threads: of each worker process; None
    for an equal share of the processors.
    """

    precision: Precision = "float32"
    xla: bool = False
    strategy: Strategy = "one_device"
    workers_per_node: int = Field(default=1, ge=1, le=1024)
    accumulate: int = Field(default=1, ge=1, le=4096)
    threads: int | None = Field(default=None, ge=1, le=1024)


class Setting(Record):
    """One way to run a workload: devices, workers, batch and knobs."""

    accelerator: str
    devices_per_node: int = Field(default=1, ge=1)
    nodes: int = Field(default=1, ge=1)
    per_device_batch: int = Field(ge=1)
    knobs: Knobs = Knobs()

    @property
    def workers(self) -> int:
        return self.nodes * self.knobs.workers_per_node

    @property
    def replicas(self) -> int:
        """Model copies that train in step: one a device, or one a worker where workers share it."""
        return self.nodes * max(self.devices_per_node, self.knobs.workers_per_node)

    @property
    def global_batch(self) -> int:
        return self.per_device_batch * self.replicas

    def but_for_batch(self) -> "Setting":
        """The same with one sample a device: equal for settings that differ in batch alone."""
        return self.model_copy(update={"per_device_batch": 1})

    def describe(self) -> str:
        """The setting in a few words, for a table or a sentence."""
        shared = self.devices_per_node > 1
        count, name = (self.replicas, "device") if shared else (self.workers, "worker")
        workers = f"{count} {name}{'s' if count > 1 else ''}"
        short = {"float32": "", "mixed_bfloat16": ", bfloat16", "mixed_float16": ", float16"}
        xla = ", XLA" if self.knobs.xla else ""
        return f"batch {self.per_device_batch}, {workers}{short[self.knobs.precision]}{xla}"


class ProcessSample(Record):
    """What one fresh gang of processes did; times of its chief.

    step_s: steady step time. spread: relative standard error of step_s within the process.
    retraced: whether the step was traced again after it first was. startup_s: from the start of
    the process to the end of its first step, which compiles. outside_load: processors that
    others, other guests of the host included, kept busy meanwhile. cpu_s: None where not counted.
    """

    round: int = Field(default=0, ge=0)
    step_s: float = Field(gt=0)
    spread: float = Field(ge=0)
    steps: int = Field(ge=1)
    discarded_steps: int = Field(ge=0)
    retraced: bool = False
    startup_s: float = Field(ge=0)
    wall_s: float = Field(gt=0)
    cpu_s: float | None = None
    outside_load: float = Field(default=0, ge=0)
    input_s: float | None = None
    communication_s: float | None = None
    peak_memory_bytes: float = 0


class Estimate(Record):
    """A value with its 95 % confidence interval and the 95 % interval of one repeat of it."""

    value: float = Field(gt=0)
    ci95: tuple[float, float]
    repeat95: tuple[float, float]

    @model_validator(mode="after")
    def _within_its_intervals(self) -> Self:
        for name, (low, high) in (("ci95", self.ci95), ("repeat95", self.repeat95)):
            if not 0 < low <= self.value <= high:
                raise ValueError(
                    f"the value {self.value} is not within its {name} of {low} to {high}"
                )
        return self


class Breakdown(Record):
    """Where a step's time goes, seconds, medians over processes.

    input_s: by how much the step is shorter on a batch that is already there. communication_s: of
    an all-reduce of the gradients on its own. compute_s: the rest of the step.
    """

    input_s: float
    communication_s: float
    compute_s: float


class Measurement(Record):
    """One setting's step time over several fresh processes.

    noise: why the interval is wider than it should be, empty where it is not.
    """

    setting: Setting
    step_time_s: Estimate
    samples_per_s: float = Field(gt=0)
    processes: tuple[ProcessSample, ...] = Field(min_length=1)
    breakdown: Breakdown | None = None
    peak_memory_bytes: float = 0
    noise: tuple[str, ...] = ()


class PredictedSetting(Record):
    """A setting that was not measured, from the effects of those that were."""

    setting: Setting
    step_time_s: Estimate
    samples_per_s: float
    basis: Literal["fitted"] = "fitted"


class Failure(Record):
    """A setting that cannot be measured, and why."""

    setting: Setting
    kind: Literal["out_of_memory", "failed"]
    reason: str


class AllReduce(Record):
    """One all-reduce on its own between workers on this machine."""

    workers: int
    message_bytes: float
    seconds: float


class Host(Record):
    """The machine that measured."""

    cpu: str
    cores: int = Field(gt=0)
    memory_gib: float
    system: str
    versions: dict[str, str]


class Profile(Document):
    """One workload's measurements on one machine, and what measuring them took.

    warnings: what the workload's author would want to know, though it trains.
    """

    schema_id: Literal["isocost/profile/v1"] = Field(alias="schema", default="isocost/profile/v1")
    workload: str
    model: str
    data: str
    facts: ModelFacts
    checkpoint_write_s: float = Field(ge=0)
    measurements: tuple[Measurement, ...] = Field(min_length=1)
    predicted: tuple[PredictedSetting, ...] = ()
    failures: tuple[Failure, ...] = ()
    all_reduce: tuple[AllReduce, ...] = ()
    warnings: tuple[str, ...] = ()
    host: Host
    created: datetime
    profiling_s: float = Field(ge=0)
    profiling_usd: float = Field(ge=0)
