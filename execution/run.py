"""A plan as a real run on this machine, and what became of its predictions."""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from ..catalog import load
from ..catalog.files import InputError, write_whole
from ..optimizer.plan import Plan, PlannedCandidate, PlannedJob
from ..profiles.gang import cores
from ..profiles.measure import this_host
from ..profiles.records import Knobs, Profile
from ..profiles.steady import BETWEEN_PRIOR, between_spread, steady
from ..profiles.throughput import StepTimeModel, interval
from . import checkpoints
from .engines import Engine, Launch, Local
from .record import LossPoint, PredictedFigures, Run, RunFigures, StepTimePoint
from .supervisor import Outcome, RunFailed, supervise
from .telemetry import StepLine, read_steps
from .worker import RESULT, SPEC, WorkSpec

EARLY_LOSSES = 100  # kept one by one; later ones are thinned out to as many again
POINTS = 200  # of step time over the run


@dataclass(frozen=True, slots=True)
class Setup:
    """What is about to run: the planned setting, or another that the user asked for."""

    job: PlannedJob
    candidate: PlannedCandidate
    knobs: Knobs
    per_device_batch: int
    steps: int
    step_s: float
    step_sigma: float
    basis: str
    repeat_noise: float | None

    @property
    def workers(self) -> int:
        return self.knobs.workers_per_node

    @property
    def global_batch(self) -> int:
        return self.per_device_batch * self.workers

    @property
    def cores(self) -> int:
        """Processors of each worker: this machine's, shared among all."""
        return max(1, cores() // self.workers)

    def predicted(self, steps: int) -> PredictedFigures:
        """Throughput, and time and cost of so many steps from the start of the processes."""
        low, high = interval(self.step_s, self.step_sigma)
        start_s = self.candidate.reliability.provisioning.median_s
        time_s = start_s + steps * self.step_s
        return PredictedFigures(
            samples_per_s=self.global_batch / self.step_s,
            samples_per_s_p05=self.global_batch / high,
            samples_per_s_p95=self.global_batch / low,
            time_s=time_s,
            cost_usd=time_s / 3600 * self.candidate.offer.price_usd_h,
            basis=self.basis,
        )


def set_up(plan: Plan, *, job: str | None = None, workers: int | None = None) -> Setup:
    """What of the plan runs here; workers share the plan's global batch. InputError if nothing can."""
    planned = _job(plan, job)
    candidate = planned.runnable_here
    if candidate is None:
        raise InputError(
            f"the plan has no candidate for {planned.name} that can run on this machine"
        )
    profile = _profile(planned)
    noise = None if profile is None else _repeat_noise(profile)
    if workers is None or workers == candidate.workers:
        predicted = candidate.predicted.samples_per_s
        sigma = float(np.log(predicted.p95 / predicted.p05)) / (2 * 1.645)
        step_s = candidate.global_batch / predicted.p50
        return Setup(
            planned,
            candidate,
            candidate.knobs,
            candidate.per_device_batch,
            candidate.steps,
            step_s,
            sigma,
            candidate.basis,
            noise,
        )
    if candidate.global_batch % workers:
        near = [k for k in range(1, candidate.global_batch + 1) if candidate.global_batch % k == 0]
        raise InputError(
            f"a global batch of {candidate.global_batch} does not divide among {workers} workers; "
            f"try {', '.join(str(k) for k in near if k <= max(8, workers))}"
        )
    knobs = candidate.knobs.model_copy(
        update={"workers_per_node": workers, "strategy": "multi_worker_mirrored"}
    )
    batch = candidate.global_batch // workers
    model = StepTimeModel.of(planned.facts, profile, load().accelerators)
    step_s, sigma, basis = model.here(batch, knobs)
    return Setup(
        planned, candidate, knobs, batch, candidate.steps, step_s, sigma, basis.word, noise
    )


def _job(plan: Plan, name: str | None) -> PlannedJob:
    if name is None and len(plan.jobs) == 1:
        return plan.jobs[0]
    found = [job for job in plan.jobs if job.name == name]
    if not found:
        names = ", ".join(job.name for job in plan.jobs)
        given = "no job is named" if name is None else f"the plan has no job '{name}'"
        raise InputError(f"{given}; choose one of {names} with --job")
    return found[0]


def _profile(job: PlannedJob) -> Profile | None:
    if job.profile is None or not Path(job.profile).exists():
        return None
    return Profile.read(Path(job.profile))


def _repeat_noise(profile: Profile) -> float:
    """Relative spread of a fresh process against the next on the profiled machine."""
    spread = between_spread([one.processes for one in profile.measurements]).of_processes
    return spread


def open_folder(folder: Path, *, resume: bool) -> None:
    """Make folder ready for a run. What an unfinished run left there is never overwritten."""
    unfinished = (
        checkpoints.all_saved(folder / "checkpoints") and not (folder / "finished").exists()
    )
    if resume:
        if checkpoints.latest(folder / "checkpoints") is None:
            raise InputError(f"{folder} holds no usable checkpoint; start without --resume")
        return
    if unfinished:
        raise InputError(
            f"{folder} holds the checkpoints of an unfinished run; go on with --resume {folder}, "
            "or give another output"
        )
    if (folder / "finished").exists():
        _clear(folder)
    elif folder.exists() and any(folder.iterdir()) and not (folder / "spec.json").exists():
        raise InputError(
            f"{folder} holds files that are no run of ours; give another output, for its folder is "
            "named after it"
        )
    folder.mkdir(parents=True, exist_ok=True)


def _clear(folder: Path) -> None:
    """Remove what a finished run of ours left in folder, and nothing else."""
    for saved in checkpoints.all_saved(folder / "checkpoints"):
        shutil.rmtree(saved.folder)
    for name in ("finished", "steps.jsonl", "result.json", "spec.json"):
        (folder / name).unlink(missing_ok=True)


def execute(
    setup: Setup,
    folder: Path,
    *,
    plan_path: str,
    engine: Engine | None = None,
    resume: bool = False,
    max_steps: int | None = None,
    seed: int = 0,
    max_restarts: int = 3,
    progress: Callable[[StepLine], None] = lambda _: None,
    note: Callable[[str], None] = lambda _: None,
) -> Run:
    """Train as set up, in folder, and compare with the prediction.

    engine: where the workers run, by default as processes here. max_steps: stop, in good order,
    once so many steps of the training are done. A wish to stop (KeyboardInterrupt) gives a Run with
    status interrupted. note: told why the workers do not run yet. Raises RunFailed, EngineFailed
    and InputError.
    """
    engine = engine or Local()
    open_folder(folder, resume=resume)
    before = _earlier(folder)
    spec = WorkSpec(
        model=setup.job.workload.model,
        model_folder=setup.job.folder,
        knobs=setup.knobs,
        per_device_batch=setup.per_device_batch,
        global_batch=setup.global_batch,
        seed=seed,
        steps=setup.steps,
        stop_after=setup.steps if max_steps is None else max_steps,
        checkpoint_interval_s=max(1.0, setup.candidate.reliability.checkpoint_interval_s),
        cores=setup.cores,
        folder=str(folder),
        began=time.time() - before,
    )
    outcome = supervise(
        spec,
        launch_of(setup, folder),
        engine,
        max_restarts=max_restarts,
        progress=progress,
        note=note,
    )
    run = _record(setup, spec, outcome, plan_path, engine.name)
    if run.status == "finished":
        write_whole(folder / "finished", "")
    return run


def launch_of(setup: Setup, folder: Path) -> Launch:
    """The gang that an engine is to place for a run in folder."""
    offer, per_node = setup.candidate.offer, setup.knobs.workers_per_node
    return Launch(
        name=setup.job.name,
        command=("-m", "isocost.execution.worker", str(folder / SPEC), str(folder / RESULT)),
        tasks=("worker",) * setup.workers,
        folder=folder,
        cores=setup.cores,
        devices=0 if offer.accelerator == "CPU" else offer.accelerator_count // per_node,
    )


def _earlier(folder: Path) -> float:
    """Seconds that earlier sessions of this run took, up to their last committed step."""
    saved = checkpoints.latest(folder / "checkpoints")
    lines = read_steps(folder / "steps.jsonl")
    kept = [line.at_s for line in lines if saved is not None and line.step <= saved.step]
    return kept[-1] if kept else 0.0


def _record(setup: Setup, spec: WorkSpec, outcome: Outcome, plan_path: str, engine: str) -> Run:
    lines = read_steps(spec.step_log)
    if outcome.result is None and not lines:
        raise RunFailed("stopped before the first step; nothing was trained")
    saved = checkpoints.latest(spec.checkpoints)
    done = outcome.result.step if outcome.result else saved.step if saved else 0
    lines = [line for line in lines if line.step <= done]
    time_s = outcome.result.trained_s if outcome.result else lines[-1].at_s if lines else None
    step_s = steady([line.seconds for line in lines]).step_s if len(lines) > 1 else None
    return Run(
        job=setup.job.name,
        plan=plan_path,
        folder=spec.folder,
        created=datetime.now(UTC),
        engine=engine,
        status=outcome.result.status if outcome.result else "interrupted",
        workers=setup.workers,
        per_device_batch=setup.per_device_batch,
        global_batch=setup.global_batch,
        knobs=setup.knobs,
        data=outcome.result.data if outcome.result else "",
        seed=spec.seed,
        planned_steps=setup.steps,
        steps=done,
        samples=done * setup.global_batch,
        restarts=len(outcome.recoveries),
        recoveries=outcome.recoveries,
        predicted=setup.predicted(done),
        measured=RunFigures(
            samples_per_s=None if step_s is None else setup.global_batch / step_s,
            time_s=time_s,
            cost_usd=None if time_s is None else time_s / 3600 * setup.candidate.offer.price_usd_h,
        ),
        repeat_noise=setup.repeat_noise if setup.repeat_noise is not None else BETWEEN_PRIOR,
        test=outcome.result.test if outcome.result else None,
        losses=tuple(LossPoint(step=line.step, loss=line.loss) for line in _thinned(lines)),
        step_times=_stretches(lines),
        checkpoints=outcome.result.checkpoints if outcome.result else 0,
        host=this_host(),
    )


def _thinned(lines: Sequence[StepLine]) -> list[StepLine]:
    """The early steps one by one, then an even selection that ends with the last."""
    early, later = list(lines[:EARLY_LOSSES]), lines[EARLY_LOSSES:]
    if not later:
        return early
    chosen = np.unique(np.linspace(0, len(later) - 1, EARLY_LOSSES).round().astype(int))
    return early + [later[i] for i in chosen.tolist()]


def _stretches(lines: Sequence[StepLine]) -> tuple[StepTimePoint, ...]:
    # The first step traces and compiles: it would hide all others on the figure's scale.
    parts = np.array_split(np.arange(1, len(lines)), min(POINTS, max(1, len(lines) - 1)))
    return tuple(
        StepTimePoint(
            step=lines[int(part[-1])].step,
            at_s=lines[int(part[-1])].at_s,
            step_s=float(np.mean([lines[i].seconds for i in part.tolist()])),
        )
        for part in parts
        if len(part)
    )
