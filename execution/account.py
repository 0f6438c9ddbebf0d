"""What became of a run: its files read into one record, beside what was predicted."""

from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import median

import numpy as np

from ..profiles.marks import passes_seen_once
from ..profiles.measure import this_host
from ..profiles.records import Breakdown
from ..profiles.steady import BETWEEN_PRIOR, steady
from . import checkpoints
from .difference import differences
from .limits import Allowance, Ledger
from .record import (
    Checkpoints,
    Difference,
    LearningRate,
    Limits,
    LossPoint,
    Run,
    RunFigures,
    Samples,
    StepTimePoint,
)
from .setup import Setup
from .supervisor import Outcome
from .telemetry import StepLine, read_steps
from .worker import WorkResult, WorkSpec

EARLY_LOSSES = 100  # kept one by one; later ones are thinned out to as many again
POINTS = 200  # of step time over the run


def run_record(
    setup: Setup,
    spec: WorkSpec,
    outcome: Outcome,
    *,
    plan: str,
    engine: str,
    allowance: Allowance,
    ledger: Ledger,
) -> Run:
    """The record of a run whose workers have ended; allowance: of this session."""
    result, saved = outcome.result, checkpoints.latest(spec.checkpoints)
    done = result.step if result else saved.step if saved else 0
    position = result.position if result else saved.position() if saved else None
    lines = [line for line in read_steps(spec.step_log) if line.step <= done]
    time_s = result.trained_s if result else lines[-1].at_s if lines else None
    step_s = steady([line.seconds for line in lines]).step_s if len(lines) > 1 else None
    usd_per_h, spent_s = setup.usd_per_h, ledger.spent_s()
    return Run(
        job=setup.job.name,
        plan=plan,
        folder=spec.folder,
        created=datetime.now(UTC),
        engine=engine,
        status=(result.status if result else "interrupted")
        if outcome.ended == "done"
        else outcome.ended,
        reason=outcome.reason,
        workers=setup.workers,
        per_device_batch=setup.per_device_batch,
        global_batch=setup.global_batch,
        knobs=setup.knobs,
        data=result.data if result else "",
        seed=spec.seed,
        planned_steps=setup.steps,
        steps=done,
        samples=sum(position.samples) + position.earlier if position else 0,
        restarts=len(outcome.recoveries),
        recoveries=outcome.recoveries,
        predicted=setup.predicted(done),
        measured=RunFigures(
            samples_per_s=None if step_s is None else setup.global_batch / step_s,
            time_s=time_s,
            cost_usd=None if time_s is None else time_s / 3600 * usd_per_h,
        ),
        repeat_noise=setup.repeat_noise if setup.repeat_noise is not None else BETWEEN_PRIOR,
        test=result.test if result else None,
        losses=tuple(LossPoint(step=line.step, loss=line.loss) for line in _thinned(lines)),
        step_times=_stretches(lines),
        checkpoints=result.checkpoints if result else 0,
        host=this_host(),
        threads=spec.cores,
        reproducible=setup.reproducible,
        learning_rate=LearningRate(rule=setup.learning_rate, factor=spec.learning_rate_factor),
        samples_seen=None if position is None else samples_seen(position, lines, result),
        checkpointing=None
        if result is None
        else Checkpoints(
            write_s=result.checkpoint_write_s,
            interval_s=result.checkpoint_interval_s,
            restart_s=result.restart_s,
        ),
        breakdown=breakdown(lines),
        memory_bytes=max((line.memory_bytes for line in lines), default=None),
        limits=Limits(
            deadline_s=allowance.deadline_s,
            budget_usd=allowance.budget_usd,
            usd_per_h=usd_per_h,
            spent_s=spent_s,
            spent_usd=spent_s / 3600 * usd_per_h,
        ),
        notes=outcome.notes,
        differences=_differences(setup, outcome, lines, step_s, time_s),
    )


def _differences(
    setup: Setup,
    outcome: Outcome,
    lines: Sequence[StepLine],
    step_s: float | None,
    time_s: float | None,
) -> tuple[Difference, ...]:
    if step_s is None or time_s is None:
        return ()
    result, first = outcome.result, lines[0]
    each_s = 0.0 if result is None else result.checkpoint_write_s or 0.0
    restart_s = 0.0 if result is None else result.restart_s
    return differences(
        steps=len(lines),
        predicted_step_s=setup.step_s,
        measured_step_s=step_s,
        predicted_parts=setup.breakdown,
        measured_parts=breakdown(lines),
        predicted_start_s=setup.start_s,
        start_s=first.at_s - step_s if first.step == 1 else setup.start_s,
        lost_s=sum(one.lost_s for one in outcome.recoveries),
        restarting_s=restart_s * len(outcome.recoveries),
        saving_s=0.0 if result is None else result.checkpoints * each_s,
        time_s=time_s,
    )


def samples_seen(
    position: checkpoints.Position, lines: Sequence[StepLine], result: WorkResult | None
) -> Samples:
    """Samples by worker, and whether each whole pass trained every sample once."""
    passes = once = None
    steps = [line.step for line in lines]
    if result is not None and result.pass_size and steps == list(range(1, result.step + 1)):
        marks = [(line.step, line.even, line.odd) for line in lines]
        passes, once = passes_seen_once(marks, result.pass_size, position.global_batch)
    return Samples(per_worker=position.samples, earlier=position.earlier, passes=passes, once=once)


def breakdown(lines: Sequence[StepLine]) -> Breakdown | None:
    """Where a step's time went, medians over the later four fifths; None of fewer than two steps."""
    late = lines[max(1, len(lines) // 5) :]
    if not late:
        return None
    return Breakdown(
        input_s=median(line.input_s for line in late),
        communication_s=median(line.communication_s for line in late),
        compute_s=median(line.compute_s for line in late),
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
