"""isocost run: the plan as a real distributed run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..execution.record import Run


def run(
    plan: Annotated[Path, typer.Argument(help="Plan file of isocost optimize.")],
    engine: Annotated[
        str,
        typer.Option(
            help="Where the workers run: local, ray, slurm, or module:factory of your own."
        ),
    ] = "local",
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=64, help="Share the plan's global batch among so many workers."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be submitted, and submit nothing.")
    ] = False,
    max_steps: Annotated[
        int | None, typer.Option(min=1, help="Stop in good order after so many steps.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with the unfinished run in this folder.")
    ] = None,
    job: Annotated[str | None, typer.Option(help="Which job of a plan with several.")] = None,
    seed: Annotated[int, typer.Option(help="Of the weights and the data order.")] = 0,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Run file; its folder keeps checkpoints beside it."),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Also write a page about the run.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the run as JSON.")] = False,
) -> None:
    """Train the plan's candidate for this machine, and compare with the prediction.

    Workers are real processes under MultiWorkerMirroredStrategy. Ctrl-C saves a checkpoint;
    --resume goes on from it. Examples: isocost run plan.json --workers 2 -o run.json;
    isocost run plan.json --engine slurm --dry-run
    """
    from ..catalog.files import InputError, write_whole
    from ..execution.engines import engine as engine_named
    from ..execution.run import execute, launch_of, set_up
    from ..execution.telemetry import StepLine
    from ..optimizer.plan import Plan
    from .output import ended_like_ctrl_c, err, only_ours_on_stdout, print_json, progress_bar

    where = engine_named(engine)
    planned = Plan.read(plan)
    if output is None:
        output = Path("run.json") if resume is None else resume.with_suffix(".json")
    folder = resume if resume is not None else output.with_suffix("")
    if folder == output:
        raise InputError(f"{output} has no ending; name the run file for example {output}.json")
    if resume is not None and not resume.is_dir():
        raise InputError(f"{resume} is no folder of a run; give the folder beside its run file")
    ready = set_up(planned, job=job, workers=workers)
    if dry_run:
        typer.echo(where.describe(launch_of(ready, folder.resolve())))
        return
    if (lacking := where.available()) is not None:
        raise InputError(lacking)
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
            progress=show,
            note=tell,
        )
        bar.update(task, completed=done.steps)
    done.write(output)
    if report is not None:
        from ..reports import render

        write_whole(report, render([planned, done]))
    if as_json:
        print_json(done)
    else:
        _show(done, output, plan)
    if done.status == "interrupted":
        raise typer.Exit(130)


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
    out.print(
        f"{done.steps} of {done.planned_steps} steps, {done.restarts} restarts, {done.status}."
    )
    out.print(f"Written to {output}", soft_wrap=True, markup=False)
    if done.status != "finished":
        out.print(
            f"Go on with: isocost run {plan} --resume {done.folder}", soft_wrap=True, markup=False
        )
