"""What is trained, until when, on which data and under which wishes."""

import math
import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from ..catalog.files import Document, InputError, Record, Seconds, did_you_mean

BUILT_IN = ("cifar10_cnn", "resnet50", "transformer")
MOST_SAMPLES = 1e18  # so that steps are whole numbers of 64 bits
OWN_MODEL = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")

Positive = Annotated[float, Field(gt=0, le=1e30)]
Share = Annotated[float, Field(ge=0, le=1)]


class Weights(Record):
    """alpha, beta and gamma of L; scaled so that they sum to one."""

    alpha: float = Field(default=1 / 3, ge=0, le=1e12)
    beta: float = Field(default=1 / 3, ge=0, le=1e12)
    gamma: float = Field(default=1 / 3, ge=0, le=1e12)

    @model_validator(mode="after")
    def _not_all_zero(self) -> Self:
        if self.alpha + self.beta + self.gamma <= 0:
            raise ValueError("alpha, beta and gamma are all 0; at least one must be above 0")
        return self

    def normalised(self) -> "Weights":
        total = self.alpha + self.beta + self.gamma
        return Weights(alpha=self.alpha / total, beta=self.beta / total, gamma=self.gamma / total)


def _placed(location: str | None) -> str | None:
    if location is not None and not re.fullmatch(r"[^:\s]+:[^:\s]+", location):
        raise ValueError(
            f"location '{location}' is not provider:region; write for example 'aws:us-east-1'"
        )
    return location


Location = Annotated[str | None, AfterValidator(_placed)]


class DataSource(Record):
    """Where the training data lie; location as provider:region, None for nowhere in particular."""

    location: Location = None
    bytes: float = Field(default=0, ge=0, le=1e21)


class Quota(Record):
    """At most so many nodes, devices or vCPUs of what the other fields describe, all by default.

    instance_types: a pattern such as "p4d.*"; purchase: only machines bought that way.
    """

    provider: str | None = None
    region: str | None = None
    accelerator: str | None = None
    instance_types: str | None = None
    purchase: Literal["on_demand", "spot", "reserved_1y", "reserved_3y"] | None = None
    unit: Literal["nodes", "devices", "vcpus"] = "nodes"
    most: float = Field(ge=0)

    def words(self) -> str:
        """What is limited, in words."""
        bought = self.purchase.replace("_", " ") if self.purchase else ""
        kind = self.instance_types or self.accelerator or ""
        place = ":".join(part for part in (self.provider, self.region) if part)
        said = " ".join(part for part in (bought, kind, self.unit) if part)
        return f"{said} at {place}" if place else said


class Constraints(Record):
    """What a plan must keep; an empty list means all.

    residency: where data and checkpoints may lie, as countries ("DE"), groups of them ("EU") or
    provider:region. reserved_utilisation: the share of a commitment of one or three years that this
    job and other work use; 0: this job alone pays the whole term.
    """

    deadline_s: Seconds | None = Field(default=None, gt=0)
    deadline_probability: float = Field(default=0.9, gt=0, lt=1)
    budget_usd: float | None = Field(default=None, ge=0)
    hourly_usd: float | None = Field(default=None, ge=0)
    carbon_kg: float | None = Field(default=None, ge=0)
    quotas: tuple[Quota, ...] = Field(default=(), max_length=40)
    providers: tuple[str, ...] = ()
    forbidden_providers: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    forbidden_regions: tuple[str, ...] = ()
    residency: tuple[str, ...] = ()
    certifications: tuple[str, ...] = ()
    tenancy: Literal["shared", "dedicated"] | None = None
    accelerators: tuple[str, ...] = ()
    spot: bool = True
    reserved: bool = True
    reserved_utilisation: float = Field(default=0, ge=0, le=1)
    max_nodes: int = Field(default=8, ge=1, le=1024)


class Flexibilities(Record):
    """What may change half-way, how much each change counts, and what an hour is worth.

    The weights are scaled to sum to one. hour_usd: None for what a plan itself pays an hour.
    """

    grow: float = Field(default=0.25, ge=0, le=1e6)
    lose_zone: float = Field(default=0.25, ge=0, le=1e6)
    leave: float = Field(default=0.20, ge=0, le=1e6)
    cancel: float = Field(default=0.15, ge=0, le=1e6)
    price: float = Field(default=0.15, ge=0, le=1e6)
    hour_usd: float | None = Field(default=None, ge=0, le=1e9)

    @model_validator(mode="after")
    def _not_all_zero(self) -> Self:
        if not any(self._each().values()):
            raise ValueError("every scenario's weight is 0; at least one must be above 0")
        return self

    def _each(self) -> dict[str, float]:
        names = ("grow", "lose_zone", "leave", "cancel", "price")
        return {name: getattr(self, name) for name in names}

    def weights(self) -> dict[str, float]:
        """The weight of each scenario; they sum to one."""
        total = sum(self._each().values())
        return {name: weight / total for name, weight in self._each().items()}


class ExtraCosts(Record):
    """What a job costs beside what providers ask: licences by worker, people by hour and incident."""

    licence_usd_per_worker_h: float = Field(default=0, ge=0, le=1e6)
    labour_usd_per_h: float = Field(default=0, ge=0, le=1e6)
    labour_usd_per_interruption: float = Field(default=0, ge=0, le=1e6)


class ModelFacts(Record):
    """What one training step of the model needs, whatever it runs on.

    parameters: trainable values. gradient_bytes: moved by one all-reduce. flops_per_sample and
    bytes_per_sample: forward, backward and update of one sample, operations and device-memory
    traffic. checkpoint_bytes: weights and optimizer state on disk.
    """

    parameters: int = Field(gt=0, le=10**18)
    gradient_bytes: Positive
    flops_per_sample: Positive
    bytes_per_sample: Positive
    checkpoint_bytes: Positive


def _listed(value: object) -> object:
    return (value,) if isinstance(value, int) and not isinstance(value, bool) else value


class Predecessor(Record):
    """A job that must end first, by its name; bytes of it are moved to where this one trains.

    gbps: Gbit/s at which they move between places. 5 is what AWS lets one machine of under 32 vCPUs
    send to another region or the internet (EC2 user guide, network bandwidth, read November 2026).
    """

    job: str = Field(min_length=1, max_length=200)
    bytes: float = Field(default=0, ge=0, le=1e21)
    gbps: Positive = 5.0


class Workload(Document):
    """One training job.

    epochs is what the job needs at reference_batch samples per step over all workers; a larger
    global batch B needs (1 + B / critical_batch) / (1 + reference_batch / critical_batch) times
    the samples (DESIGN 3.2) and is refused above max_global_batch. learning_rate: how it follows
    the global batch: not at all, as B / reference_batch, or as the square root of that.
    checkpoint_location: where checkpoints are kept, provider:region; None where the job trains.
    """

    schema_id: Literal["isocost/workload/v1"] = Field(alias="schema")
    name: str = Field(min_length=1, max_length=200)
    model: str
    samples_per_epoch: int = Field(gt=0, le=10**15)
    epochs: float = Field(gt=0, le=1e9)
    reference_batch: int = Field(default=32, gt=0, le=10**9)
    per_device_batch: Annotated[
        tuple[int, ...], BeforeValidator(_listed, json_schema_input_type=int | tuple[int, ...])
    ] = (32,)
    max_global_batch: int = Field(default=1024, gt=0, le=10**9)
    precisions: tuple[Literal["float32", "mixed_bfloat16", "mixed_float16"], ...] = ("float32",)
    critical_batch: Positive | None = None
    learning_rate: Literal["none", "linear", "sqrt"] = "none"
    data: DataSource = DataSource()
    checkpoint_location: Location = None
    constraints: Constraints = Constraints()
    extra_costs: ExtraCosts = ExtraCosts()
    flexibility: Flexibilities = Flexibilities()
    weights: Weights = Weights()
    facts: ModelFacts | None = None
    after: tuple[Predecessor, ...] = Field(default=(), max_length=100)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.model not in BUILT_IN and not OWN_MODEL.fullmatch(self.model):
            hint = did_you_mean(self.model, BUILT_IN)
            raise ValueError(f"model '{self.model}' is neither built in nor module:function{hint}")
        if not self.per_device_batch or min(self.per_device_batch) < 1:
            raise ValueError(
                f"per_device_batch {list(self.per_device_batch)} must be whole numbers above 0"
            )
        if min(self.per_device_batch) > self.max_global_batch:
            raise ValueError(
                f"max_global_batch {self.max_global_batch} is below the smallest per_device_batch "
                f"{min(self.per_device_batch)}"
            )
        samples = self.samples_to_target(self.max_global_batch)
        if samples > MOST_SAMPLES:
            raise ValueError(
                f"the job would need {samples:.3g} samples (samples_per_epoch, epochs, critical_batch), "
                f"more than {MOST_SAMPLES:.0e}"
            )
        return self

    def samples_to_target(self, global_batch: float) -> float:
        """E(B) = S (1 + B / B_crit) / (1 + B0 / B_crit), S the samples needed at B0.

        Equal to Pollux's efficiency law with phi = B_crit (DESIGN 3.2). Without a critical batch
        every batch up to max_global_batch is taken to be equally efficient.
        """
        at_reference = self.samples_per_epoch * self.epochs
        if self.critical_batch is None:
            return at_reference
        return (
            at_reference
            * (1 + global_batch / self.critical_batch)
            / (1 + self.reference_batch / self.critical_batch)
        )

    def steps_to_target(self, global_batch: int) -> int:
        return math.ceil(self.samples_to_target(global_batch) / global_batch)

    def wishing(self, **wishes: object) -> "Workload":
        """The same job with other constraints; what is None stays. Raises InputError for no such value."""
        given = {key: value for key, value in wishes.items() if value is not None}
        if not given:
            return self
        content = self.model_dump(by_alias=True)
        content["constraints"] |= given
        return Workload.parse(content, self.name)


def read_workload(path: Path) -> Workload:
    """The workload at path; InputError in a sentence where it is none."""
    if path.suffix.lower() not in {".yaml", ".yml", ".json"}:
        raise InputError(f"{path} is no workload file; expected .yaml, .yml or .json")
    return Workload.read(path)
