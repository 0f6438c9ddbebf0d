"""isocost run: the plan as a real distributed run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..execution.record import Run

SETTING, LIMITS, SURVIVING = "Another setting than planned", "Limits", "Surviving"
CLUSTER = "On a cluster or cloud"
EXIT_FAILED, EXIT_INTERRUPTED = 4, 130
LONGEST_S = 10 * 365 * 86_400.0


def run(
    plan: Annotated[Path, typer.Argument(help="Plan file of isocost optimize.")],
    engine: Annotated[
        str,
        typer.Option(
            help="Where the workers run: local, ray, slurm, kubernetes, jobset, trainjob, ack, "
            "pai-dlc, skypilot, or module:factory of your own."
        ),
    ] = "local",
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=64, help="Share the plan's global batch among so many workers."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be submitted, and submit nothing.")
    ] = False,
    strategy: Annotated[
        str | None,
        typer.Option(
            help="one_device, mirrored (devices of one process; processors are split), "
            "multi_worker_mirrored (processes) or parameter_server.",
            rich_help_panel=SETTING,
        ),
    ] = None,
    per_device_batch: Annotated[
        int | None,
        typer.Option(min=1, help="Samples of each worker at a time.", rich_help_panel=SETTING),
    ] = None,
    global_batch: Annotated[
        int | None,
        typer.Option(min=1, help="Samples of all workers for one update.", rich_help_panel=SETTING),
    ] = None,
    accumulate: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=4096,
            help="Take a batch in so many parts, one after the other, for one update.",
            rich_help_panel=SETTING,
        ),
    ] = None,
    learning_rate: Annotated[
        str | None,
        typer.Option(
            help="How it follows the global batch: none, linear or sqrt of global batch / "
            "reference_batch.",
            rich_help_panel=SETTING,
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="float32, mixed_bfloat16 or mixed_float16.", rich_help_panel=SETTING),
    ] = None,
    xla: Annotated[
        bool | None,
        typer.Option("--xla/--no-xla", help="Compile the step.", rich_help_panel=SETTING),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, max=1024, help="Processors of each worker process.", rich_help_panel=SETTING
        ),
    ] = None,
    reproducible: Annotated[
        bool,
        typer.Option(
            "--reproducible",
            help="Sum in the same order however a batch is shared: one thread a worker, and "
            "TensorFlow without oneDNN (the example is some 45 % slower).",
            rich_help_panel=SETTING,
        ),
    ] = False,
    max_steps: Annotated[
        int | None, typer.Option(min=1, help="Stop in good order after so many steps.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with the unfinished run in this folder.")
    ] = None,
    job: Annotated[str | None, typer.Option(help="Which job of a plan with several.")] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, max=2**31 - 1, help="Of the weights and the data order; 0, or as before."
        ),
    ] = None,
    deadline: Annotated[
        str | None,
        typer.Option(
            help="Save and stop before so long is over, such as 20s; by default what the workload's "
            "deadline leaves.",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1e12,
            help="Save and stop before so many USD are spent; by default what the workload's leaves.",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    no_limits: Annotated[
        bool,
        typer.Option(
            "--no-limits",
            help="Go on beyond the workload's deadline and budget.",
            rich_help_panel=LIMITS,
        ),
    ] = False,
    local_price: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1e6,
            help="USD for an hour of this machine; by default as planned.",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    max_restarts: Annotated[
        int,
        typer.Option(
            min=0,
            help="How often in a row to start the workers again without getting further.",
            rich_help_panel=SURVIVING,
        ),
    ] = 3,
    checkpoint_every: Annotated[
        str | None,
        typer.Option(
            help="Such as 30s; by default Daly's interval, from what writing one takes here.",
            rich_help_panel=SURVIVING,
        ),
    ] = None,
    startup_timeout: Annotated[
        str,
        typer.Option(
            help="From the start of the workers to their first step; a tenth of it to their first "
            "sign of life. Once they took steps, a restart has five times what the start took.",
            rich_help_panel=SURVIVING,
        ),
    ] = "10m",
    hang_timeout: Annotated[
        str,
        typer.Option(
            help="Without a sign of life from a worker; longer where its own steps are slow: ten "
            "times its longest silence so far, or three times its first step.",
            rich_help_panel=SURVIVING,
        ),
    ] = "20s",
    grace: Annotated[
        str,
        typer.Option(
            help="From the wish to stop to a checkpoint and the end, then SIGKILL; longer where a "
            "step is slow: five times the longest silence.",
            rich_help_panel=SURVIVING,
        ),
    ] = "30s",
    image: Annotated[
        str | None,
        typer.Option(
            envvar="ISOCOST_IMAGE",
            help="Container image that holds isocost, NAME@sha256:...",
            rich_help_panel=CLUSTER,
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the run there; the job's.", rich_help_panel=CLUSTER)
    ] = None,
    namespace: Annotated[
        str | None, typer.Option(help="Of Kubernetes; the context's.", rich_help_panel=CLUSTER)
    ] = None,
    context: Annotated[
        str | None, typer.Option(help="Of the kubeconfig; the current.", rich_help_panel=CLUSTER)
    ] = None,
    claim: Annotated[
        str | None,
        typer.Option(
            help="Where checkpoints are kept: volume claim, data set of PAI, or bucket.",
            rich_help_panel=CLUSTER,
        ),
    ] = None,
    data_claim: Annotated[
        str | None,
        typer.Option(help="The same for data, at /isocost/data.", rich_help_panel=CLUSTER),
    ] = None,
    code_path: Annotated[
        str | None,
        typer.Option(
            help="Folder of the image that holds the model's Python files; else they are sent.",
            rich_help_panel=CLUSTER,
        ),
    ] = None,
    workspace: Annotated[
        str | None, typer.Option(help="Of PAI, its id.", rich_help_panel=CLUSTER)
    ] = None,
    detach: Annotated[
        bool,
        typer.Option("--detach", help="Submit, and do not wait.", rich_help_panel=CLUSTER),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Run file; its folder keeps checkpoints beside it."),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Also write a page about the run.")] = None,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate",
            help="Take what was measured into the profile: the next plan uses it.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the run as JSON.")] = False,
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
                checkpoint_every_s=None
                if checkpoint_every is None
                else _seconds("--checkpoint-every", checkpoint_every),
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
            checkpoint_every_s=None
            if checkpoint_every is None
            else _seconds("--checkpoint-every", checkpoint_every),
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
        from ..reports import render

        write_whole(report, render([planned, done]))
    taken = None if known is None else calibration.calibrate(known, ready, done)
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
    if done.status in ("deadline", "budget"):
        assert done.limits is not None
        err.print(
            f"Stopped by its {done.status} after {done.steps} of {done.planned_steps} steps: "
            f"{done.limits.spent_s:.1f} s and ${done.limits.spent_usd:.4f} are spent.",
            soft_wrap=True,
            markup=False,
        )
        raise typer.Exit(EXIT_FAILED)


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

    title = f"{done.workers} worker(s), global batch {done.global_batch}, data: {done.data}"
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
    if done.status != "finished" and done.steps:
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
