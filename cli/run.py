"""isocost run: the plan as a real distributed run."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import typer

from . import EXIT_INTERRUPTED
from . import run_options as asked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..execution.record import Run

EXIT_FAILED = 4
LONGEST_S = 10 * 365 * 86_400.0


def run(
    plan: asked.PlanFile,
    engine: asked.Engine = "local",
    workers: asked.Workers = None,
    dry_run: asked.DryRun = False,
    strategy: asked.Strategy = None,
    per_device_batch: asked.PerDeviceBatch = None,
    global_batch: asked.GlobalBatch = None,
    accumulate: asked.Accumulate = None,
    learning_rate: asked.LearningRate = None,
    precision: asked.Precision = None,
    xla: asked.Xla = None,
    threads: asked.Threads = None,
    reproducible: asked.Reproducible = False,
    max_steps: asked.MaxSteps = None,
    resume: asked.Resume = None,
    job: asked.Job = None,
    seed: asked.Seed = None,
    deadline: asked.Deadline = None,
    budget: asked.Budget = None,
    no_limits: asked.NoLimits = False,
    local_price: asked.LocalPrice = None,
    max_restarts: asked.MaxRestarts = 3,
    checkpoint_every: asked.CheckpointEvery = None,
    startup_timeout: asked.StartupTimeout = "10m",
    hang_timeout: asked.HangTimeout = "20s",
    grace: asked.Grace = "30s",
    image: asked.Image = None,
    name: asked.Name = None,
    namespace: asked.Namespace = None,
    context: asked.Context = None,
    claim: asked.Claim = None,
    data_claim: asked.DataClaim = None,
    code_path: asked.CodePath = None,
    workspace: asked.Workspace = None,
    detach: asked.Detach = False,
    output: asked.Output = None,
    report: asked.Report = None,
    calibrate: asked.Calibrate = False,
    as_json: asked.AsJson = False,
) -> None:
    """Train the plan's candidate for this machine, and compare with the prediction.

    Workers are real processes. One that dies, hangs or loses its link costs all a restart from the last
    checkpoint. Ctrl-C, SIGTERM and SIGHUP save a checkpoint; --resume goes on from it. Exit codes: 0
    done, 4 failed or ended by its deadline or budget, 130 interrupted.
    Examples: isocost run plan.json --workers 2 -o run.json;
    isocost run plan.json --strategy mirrored --workers 4 --global-batch 128;
    isocost run plan.json --deadline 20m --budget 0.50;
    isocost run plan.json --calibrate;
    isocost run plan.json --engine slurm --dry-run;
    isocost run plan.json --engine kubernetes --image NAME@sha256:... --dry-run
    """
    from ..catalog.files import InputError, write_whole
    from ..execution import calibration
    from ..execution.engines import ELSEWHERE
    from ..execution.engines import engine as engine_named
    from ..execution.manifests.ordering import Wishes
    from ..execution.record import LearningRateRule
    from ..execution.run import execute, launch_of
    from ..execution.setup import planned_job, set_up
    from ..execution.supervisor import Patience
    from ..execution.telemetry import StepLine
    from ..optimizer.plan import Plan
    from ..profiles.records import Precision, Strategy
    from ..reports import render  # here, for a deadline leaves no time for it at the end
    from .elsewhere import elsewhere
    from .output import (
        ended_like_ctrl_c,
        err,
        only_ours_on_stdout,
        out,
        print_json,
        progress_bar,
        started_at,
    )

    every_s = None if checkpoint_every is None else _seconds("--checkpoint-every", checkpoint_every)
    if engine in ELSEWHERE:
        here = {
            "--workers": workers,
            "--strategy": strategy,
            "--per-device-batch": per_device_batch,
            "--global-batch": global_batch,
            "--accumulate": accumulate,
            "--learning-rate": learning_rate,
            "--precision": precision,
            "--xla": xla,
            "--threads": threads,
            "--resume": resume,
            "--deadline": deadline,
            "--budget": budget,
            "--local-price": local_price,
            "--output": output,
            "--report": report,
        }
        if given := [option for option, value in here.items() if value is not None]:
            raise InputError(
                f"{', '.join(given)}: not for --engine {engine}, which takes the plan as it is and "
                "keeps the run there; plan anew instead"
            )
        elsewhere(
            planned_job(Plan.read(plan), job),
            engine,
            Wishes(
                image=image,
                name=name,
                namespace=namespace,
                claim=claim,
                data_claim=data_claim,
                code_path=code_path,
                seed=seed or 0,
                max_steps=max_steps,
                checkpoint_every_s=every_s,
            ),
            workspace=workspace,
            context=context,
            dry_run=dry_run,
            detach=detach,
            as_json=as_json,
        )
        return
    startup_s = _seconds("--startup-timeout", startup_timeout)
    patience = Patience(
        arrive_s=startup_s / 10,
        startup_s=startup_s,
        hang_s=_seconds("--hang-timeout", hang_timeout),
        grace_s=_seconds("--grace", grace),
    )
    where = engine_named(engine)
    planned = Plan.read(plan)
    if output is None:
        output = Path("run.json") if resume is None else resume.with_suffix(".json")
    folder = resume if resume is not None else output.with_suffix("")
    if folder == output:
        raise InputError(f"{output} has no ending; name the run file for example {output}.json")
    if resume is not None and not resume.is_dir():
        raise InputError(f"{resume} is no folder of a run; give the folder beside its run file")
    ready = set_up(
        planned,
        job=job,
        workers=workers,
        strategy=_one_of("--strategy", strategy, Strategy),
        per_device_batch=per_device_batch,
        global_batch=global_batch,
        accumulate=accumulate,
        threads=threads,
        precision=_one_of("--precision", precision, Precision),
        xla=xla,
        learning_rate=_one_of("--learning-rate", learning_rate, LearningRateRule),
        usd_per_h=local_price,
        reproducible=reproducible,
    )
    if dry_run:
        typer.echo(where.describe(launch_of(ready, folder.resolve())))
        return
    if (lacking := where.available()) is not None:
        raise InputError(lacking)
    known = calibration.check(ready) if calibrate else None
    chosen = ready.job.chosen.offer
    if chosen.provider != "local" and not as_json:
        err.print(
            f"The plan's best offer is {chosen.instance_type} at {chosen.provider}; "
            "running the best candidate for this machine.",
            soft_wrap=True,
            markup=False,
        )
    total = ready.steps if max_steps is None else min(max_steps, ready.steps)
    with only_ours_on_stdout(), ended_like_ctrl_c(), progress_bar() as bar:
        task = bar.add_task(f"training, {ready.workers} worker(s)", total=total, note="starting")

        def show(line: StepLine) -> None:
            bar.update(task, completed=line.step, note=f"loss {line.loss:.4f}")

        def tell(why: str) -> None:
            bar.update(task, note=why)
            if not err.is_terminal:
                err.print(why, soft_wrap=True, markup=False)

        done = execute(
            ready,
            folder.resolve(),
            plan_path=str(plan),
            engine=where,
            resume=resume is not None,
            max_steps=max_steps,
            seed=seed,
            max_restarts=max_restarts,
            patience=patience,
            checkpoint_every_s=every_s,
            deadline_s=None if deadline is None else _seconds("--deadline", deadline),
            budget_usd=budget,
            unlimited=no_limits,
            began=started_at(),
            progress=show,
            note=tell,
        )
        bar.update(task, completed=done.steps)
    done.write(output)
    if report is not None:
        write_whole(report, render([planned, done]))
    taken = None
    if known is not None and done.status != "failed":
        taken = calibration.calibrate(known, ready, done)
    if as_json:
        print_json(done)
    else:
        _show(done, output, plan)
        if taken is not None:
            before = "nothing" if taken.before_s is None else f"{taken.before_s * 1e3:.2f} ms"
            out.print(
                f"Taken into {taken.path}: {taken.after_s * 1e3:.2f} ms a step there now, {before} "
                "before. Plan again to use it.",
                soft_wrap=True,
                markup=False,
            )
    if done.status == "interrupted":
        raise typer.Exit(EXIT_INTERRUPTED)
    if done.status in ("deadline", "budget", "failed"):
        err.print(_unfinished(done), soft_wrap=True, markup=False)
        raise typer.Exit(EXIT_FAILED)


def _unfinished(done: "Run") -> str:
    """Why a run ended too early, how far it came, and what it took."""
    assert done.limits is not None
    spent = f"{done.limits.spent_s:.1f} s and ${done.limits.spent_usd:.4f} are spent."
    if done.status == "failed":
        last = f"the last good checkpoint is after step {done.steps}"
        return f"isocost: {done.reason}\nThe run failed; {last}. {spent}"
    return f"Stopped by its {done.status} after {done.steps} of {done.planned_steps} steps: {spent}"


def _seconds(option: str, text: str) -> float:
    """The seconds that an option's text means; InputError where it means none above 0."""
    from ..catalog.files import InputError, seconds

    try:
        found = float(str(seconds(text)))
    except ValueError as error:
        raise InputError(f"{option}: {error}") from None
    if not 0 < found <= LONGEST_S:
        raise InputError(f"{option} is {text}; give a time above 0 and below 10 years")
    return found


def _one_of(option: str, word: str | None, kind: Any) -> Any:
    """The word, if it is one that kind (a Literal) knows; InputError where it is not."""
    from ..catalog.files import InputError, did_you_mean

    if word is None or word in get_args(kind):
        return word
    raise InputError(f"{option} knows no '{word}'{did_you_mean(word, get_args(kind))}")


def _show(done: "Run", output: Path, plan: Path) -> None:
    from ..reports.words import duration, rate, usd
    from .output import figures, out

    data = f", data: {done.data}" if done.data else ""
    title = f"{done.workers} worker(s), global batch {done.global_batch}{data}"
    table = figures(title, "", "predicted", "measured", "difference")
    for name, form, wanted, got in (
        ("throughput", rate, done.predicted.samples_per_s, done.measured.samples_per_s),
        ("time", duration, done.predicted.time_s, done.measured.time_s),
        ("cost", usd, done.predicted.cost_usd, done.measured.cost_usd),
    ):
        known = wanted is not None and got is not None
        table.add_row(
            name,
            "-" if wanted is None else form(wanted),
            "-" if got is None else form(got),
            f"{got / wanted - 1:+.1%}" if known and wanted and got is not None else "-",
        )
    out.print(table)
    if done.repeat_noise is not None:
        out.print(
            f"Fresh processes on this machine differ by {done.repeat_noise:.0%} from one to the "
            "next (one standard deviation, from the profile)."
        )
    if done.test is not None:
        accuracy = "" if done.test.accuracy is None else f", accuracy {done.test.accuracy:.4f}"
        out.print(f"Test: loss {done.test.loss:.4f}{accuracy}")
    for words in (*_account(done), *done.notes):
        out.print(words, soft_wrap=True, markup=False)
    out.print(
        f"{done.steps} of {done.planned_steps} steps, {done.restarts} restarts, {done.status}."
    )
    out.print(f"Written to {output}", soft_wrap=True, markup=False)
    if done.status != "finished":
        out.print(
            f"Go on with: isocost run {plan} --resume {done.folder}", soft_wrap=True, markup=False
        )


def _account(done: "Run") -> "Iterator[str]":
    """Where a step's time went, who trained how much, and what was lost, in sentences."""
    from ..reports.words import duration

    if (parts := done.breakdown) is not None:
        yield (
            f"A step: {duration(parts.input_s)} waiting for input, {duration(parts.compute_s)} "
            f"computing, {duration(parts.communication_s)} exchanging gradients."
        )
    if done.differences:
        each = ", ".join(f"{one.what} {one.seconds:+.1f} s" for one in done.differences)
        yield f"Beyond the predicted time: {each}."
    if (seen := done.samples_seen) is not None and seen.per_worker:
        each = ", ".join(f"{count:,}" for count in seen.per_worker)
        checked = ""
        if seen.passes:
            checked = f"; {seen.once} of {seen.passes} whole passes saw every sample exactly once"
        yield f"Samples by worker: {each}{checked}."
    for one in done.recoveries:
        yield (
            f"After {duration(one.at_s)}: {one.reason}; went on after step {one.from_step}, "
            f"{one.lost_steps} steps were done again."
        )
