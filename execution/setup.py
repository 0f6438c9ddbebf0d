"""What is about to run: the planned setting, or another that the user asks for."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..catalog import load
from ..catalog.files import InputError
from ..optimizer.plan import Plan, PlannedCandidate, PlannedJob
from ..profiles.gang import cores
from ..profiles.records import Breakdown, Knobs, Precision, Profile, Strategy
from ..profiles.steady import between_spread
from ..profiles.throughput import StepTimeModel, interval
from .record import LearningRateRule, PredictedFigures

STRANGE_SIGMA = 0.3  # of step times under a strategy that was not measured: a guess, and wide


@dataclass(frozen=True, slots=True)
class Setup:
    """A setting of the plan's job for this machine, and what is predicted of it.

    workers: how many share a global batch: processes, or under MirroredStrategy devices of one.
    per_device_batch: of each, at a time. usd_per_h: of the machine. breakdown: of a step as profiled.
    """

    job: PlannedJob
    candidate: PlannedCandidate
    knobs: Knobs
    workers: int
    per_device_batch: int
    global_batch: int
    steps: int
    step_s: float
    step_sigma: float
    basis: str
    repeat_noise: float | None
    usd_per_h: float
    learning_rate: LearningRateRule = "none"
    breakdown: Breakdown | None = None
    reproducible: bool = False

    @property
    def start_s(self) -> float:
        """Predicted, from the start of the processes to the first step."""
        return self.candidate.reliability.provisioning.median_s

    @property
    def environment(self) -> dict[str, str]:
        """What the workers' TensorFlow is told before it is imported.

        oneDNN takes another algorithm, and another order of sums, for another share of the batch.
        """
        return {"TF_ENABLE_ONEDNN_OPTS": "0"} if self.reproducible else {}

    @property
    def devices(self) -> int:
        """Of each worker process."""
        return self.workers if self.knobs.strategy == "mirrored" else 1

    @property
    def tasks(self) -> tuple[str, ...]:
        """What each process is, as TF_CONFIG names it."""
        if self.knobs.strategy == "parameter_server":
            return ("chief", *("worker",) * self.workers, "ps")
        return ("worker",) * (self.workers // self.devices)

    @property
    def cores(self) -> int:
        """Processors of each worker process: as asked for, or an equal share of this machine's."""
        return self.knobs.threads or max(1, cores() // (self.workers // self.devices))

    @property
    def learning_rate_factor(self) -> float:
        """Of the learning rate at the workload's reference batch."""
        times = self.global_batch / self.job.workload.reference_batch
        return {"none": 1.0, "linear": times, "sqrt": math.sqrt(times)}[self.learning_rate]

    @property
    def mean_to_interruption_s(self) -> float:
        return mean_to_interruption_s(self.candidate)

    def predicted(self, steps: int) -> PredictedFigures:
        """Throughput, and time and cost of so many steps from the start of the processes."""
        low, high = interval(self.step_s, self.step_sigma)
        time_s = self.start_s + steps * self.step_s
        return PredictedFigures(
            samples_per_s=self.global_batch / self.step_s,
            samples_per_s_p05=self.global_batch / high,
            samples_per_s_p95=self.global_batch / low,
            time_s=time_s,
            cost_usd=time_s / 3600 * self.usd_per_h,
            basis=self.basis,
        )


def mean_to_interruption_s(candidate: PlannedCandidate) -> float:
    """Of all nodes together, by the plan's failure rate and the hazard of young spot machines."""
    known = candidate.reliability
    hazard_per_h = known.spot_hazard[0].per_h if known.spot_hazard else 0.0
    return 3600 / max(candidate.nodes * (known.node_failures_per_h + hazard_per_h), 1e-6)


def set_up(
    plan: Plan,
    *,
    job: str | None = None,
    workers: int | None = None,
    strategy: Strategy | None = None,
    per_device_batch: int | None = None,
    global_batch: int | None = None,
    accumulate: int | None = None,
    threads: int | None = None,
    precision: Precision | None = None,
    xla: bool | None = None,
    learning_rate: LearningRateRule | None = None,
    usd_per_h: float | None = None,
    reproducible: bool = False,
) -> Setup:
    """What of the plan runs here, with what is asked for in place of what was planned.

    Workers share the plan's global batch unless another batch is asked for. reproducible: sums in the
    same order however the batch is shared, on one thread. Raises InputError where
    nothing can run here, or not like that.
    """
    planned = planned_job(plan, job)
    candidate = planned.runnable_here
    if candidate is None:
        raise InputError(
            f"the plan has no candidate for {planned.name} that can run on this machine"
        )
    replicas = _check(candidate)
    strategy = strategy or _strategy(candidate, workers)
    if workers is None:
        workers = 1 if strategy == "one_device" else replicas
    if strategy == "one_device" and workers > 1:
        raise InputError(
            f"strategy one_device trains on one device, and {workers} workers are asked for; "
            "take multi_worker_mirrored, mirrored or parameter_server"
        )
    accumulate = accumulate or candidate.knobs.accumulate
    sharing = workers * accumulate
    if per_device_batch is not None:
        if global_batch not in (None, per_device_batch * sharing):
            raise InputError(
                f"--per-device-batch {per_device_batch} makes a global batch of "
                f"{per_device_batch * sharing}, not {global_batch}; give one of both"
            )
        global_batch = per_device_batch * sharing
    global_batch = global_batch or candidate.global_batch
    _check_batch(planned, global_batch, workers, accumulate, sharing)
    knobs = Knobs(
        precision=precision or candidate.knobs.precision,
        xla=candidate.knobs.xla if xla is None else xla,
        strategy=strategy,
        workers_per_node=1 if strategy == "mirrored" else workers,
        accumulate=accumulate,
        threads=threads or (1 if reproducible else candidate.knobs.threads),
    )
    profile = _profile(planned)
    batch = global_batch // sharing
    if (knobs, global_batch) == (candidate.knobs, candidate.global_batch):
        said = candidate.predicted.samples_per_s
        step_s, basis = global_batch / said.p50, str(candidate.basis)
        sigma = float(np.log(said.p95 / said.p05)) / (2 * 1.645)
    else:
        step_s, sigma, basis = _predicted(planned, profile, knobs, workers, batch)
    same = global_batch == candidate.global_batch
    return Setup(
        job=planned,
        candidate=candidate,
        knobs=knobs,
        workers=workers,
        per_device_batch=batch,
        global_batch=global_batch,
        steps=candidate.steps if same else planned.workload.steps_to_target(global_batch),
        step_s=step_s,
        step_sigma=sigma,
        basis=basis,
        repeat_noise=None if profile is None else _repeat_noise(profile),
        usd_per_h=candidate.offer.price_usd_h * candidate.nodes if usd_per_h is None else usd_per_h,
        learning_rate=learning_rate or planned.workload.learning_rate,
        breakdown=None if profile is None else _breakdown(profile, knobs, batch),
        reproducible=reproducible,
    )


def _breakdown(profile: Profile, knobs: Knobs, batch: int) -> Breakdown | None:
    """Where a step of this very setting went when it was profiled; None where it was not."""
    found = (
        one.breakdown
        for one in profile.measurements
        if (one.setting.knobs, one.setting.per_device_batch) == (knobs, batch)
    )
    return next(found, None)


def _strategy(candidate: PlannedCandidate, workers: int | None) -> Strategy:
    """As planned; another number of workers than planned are processes of their own."""
    return (
        candidate.knobs.strategy
        if workers in (None, candidate.workers)
        else "multi_worker_mirrored"
    )


def _check(candidate: PlannedCandidate) -> int:
    """Model copies that the candidate trains; InputError where its figures contradict each other."""
    alone = candidate.per_device_batch * candidate.knobs.accumulate
    if candidate.global_batch % alone or candidate.global_batch < alone * candidate.workers:
        raise InputError(
            f"the plan's global batch of {candidate.global_batch} is not made of {candidate.workers} "
            f"worker(s) with {alone} samples each; make the plan anew with isocost optimize"
        )
    return candidate.global_batch // alone


def _check_batch(
    job: PlannedJob, global_batch: int, workers: int, accumulate: int, sharing: int
) -> None:
    if global_batch > job.workload.max_global_batch:
        raise InputError(
            f"a global batch of {global_batch} is above the workload's max_global_batch of "
            f"{job.workload.max_global_batch}; take a smaller one, or raise that and plan again"
        )
    if global_batch % sharing == 0:
        return
    if global_batch % accumulate:
        raise InputError(
            f"a global batch of {global_batch} does not divide into {accumulate} parts; give another "
            "--accumulate"
        )
    each = global_batch // accumulate
    near = [k for k in range(1, each + 1) if each % k == 0 and k <= max(8, workers)]
    raise InputError(
        f"a global batch of {each} does not divide among {workers} workers; try "
        f"{', '.join(map(str, near))}"
    )


def _predicted(
    job: PlannedJob, profile: Profile | None, knobs: Knobs, workers: int, batch: int
) -> tuple[float, float, str]:
    """Seconds of one update, its sigma and basis, of a setting that was not planned.

    Accumulating takes as many steps as it has parts. Devices of one process, and workers of a
    parameter server, are taken for so many worker processes; STRANGE_SIGMA says that it is a guess.
    """
    model = StepTimeModel.of(job.facts, profile, load().accelerators)
    like = knobs.model_copy(update={"accumulate": 1, "threads": None})
    strange = knobs.strategy in ("mirrored", "parameter_server") and workers > 1
    if knobs.strategy in ("mirrored", "parameter_server", "one_device"):
        like = like.model_copy(
            update={"strategy": "multi_worker_mirrored", "workers_per_node": workers}
        )
    step_s, sigma, basis = model.here(batch, like)
    word = "transferred" if strange or knobs.threads is not None else basis.word
    return step_s * knobs.accumulate, math.hypot(sigma, STRANGE_SIGMA if strange else 0.0), word


def planned_job(plan: Plan, name: str | None) -> PlannedJob:
    """The job of that name, or the only one; InputError where there is none."""
    if name is None and len(plan.jobs) == 1:
        return plan.jobs[0]
    found = [job for job in plan.jobs if job.name == name]
    if not found:
        names = ", ".join(job.name for job in plan.jobs)
        given = "no job is named" if name is None else f"the plan has no job '{name}'"
        raise InputError(f"{given}; choose one of {names} with --job")
    if len(found) > 1:
        raise InputError(
            f"{len(found)} jobs of the plan are called '{name}'; give each workload its own name and "
            "plan again"
        )
    return found[0]


def _profile(job: PlannedJob) -> Profile | None:
    if job.profile is None or not Path(job.profile).exists():
        return None
    return Profile.read(Path(job.profile))


def _repeat_noise(profile: Profile) -> float:
    """Relative spread of a fresh process against the next on the profiled machine."""
    spread = between_spread([one.processes for one in profile.measurements]).of_processes
    return spread
