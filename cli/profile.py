"""isocost profile: what a training job really does on this machine."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup


class _MeasureByDefault(TyperGroup):
    """``isocost profile FILE`` measures; a subcommand's name wins over a file of the same name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["measure", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=_MeasureByDefault, no_args_is_help=True)


@app.callback()
def _group() -> None:
    """What a training job really does: measure it on this machine.

    `isocost profile FILE` is short for `isocost profile measure FILE`.
    """


@app.command("measure")
def measure(
    workload: Annotated[Path, typer.Argument(help="Workload file (YAML or JSON).")],
    max_seconds: Annotated[
        float,
        typer.Option(min=1, help="Stop measuring after so long; each setting is measured once."),
    ] = 60.0,
    max_usd: Annotated[
        float | None,
        typer.Option(min=0, help="Stop measuring after so many dollars of this machine."),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="Also measure up to so many workers.")
    ] = 2,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder for the profile; else your data directory."),
    ] = None,
    local_price: Annotated[
        float | None, typer.Option(help="What an hour of this machine costs, USD.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the profile as JSON.")] = False,
) -> None:
    """Measure a workload's training throughput on this machine.

    Step times of fresh processes over batches, XLA on and off, one worker and several, with
    confidence intervals. Example: isocost profile examples/cifar10.yaml --max-seconds 90 -o out
    """
    from ..catalog import Purchase, this_machine
    from ..profiles import measure as measuring
    from ..profiles import store
    from ..profiles.workload import read_workload
    from ..reports.words import duration
    from .output import ended_like_ctrl_c, only_ours_on_stdout, print_json, progress_bar

    job = read_workload(workload)
    local = this_machine(local_price)
    counts = [1] + [count for count in (2, 4, 8, 16, 32, 64) if count <= workers]
    settings = measuring.design(job, counts)
    with only_ours_on_stdout(), ended_like_ctrl_c(), progress_bar() as bar:
        task = bar.add_task("measuring", total=len(settings), note=settings[0].describe())

        def show(done: measuring.Progress) -> None:
            note = f"{done.setting.describe()}: {duration(done.step_s)} a step"
            bar.update(task, completed=done.done, total=done.total, note=note)

        measured = measuring.measure(
            job,
            folder=workload.resolve().parent,
            max_seconds=max_seconds,
            usd_h=local.prices_usd_h[Purchase.OWNED],
            max_usd=max_usd,
            settings=settings,
            progress=show,
        )
        bar.update(task, completed=bar.tasks[0].total, note="")
    path = (output or store.profiles_folder()) / store.file_name(measured)
    measured.write(path)
    if as_json:
        print_json(measured)
    else:
        _show(measured, path)


def _show(measured: object, path: Path) -> None:
    from ..profiles.records import Profile
    from ..reports.words import duration, usd
    from .output import figures, out

    assert isinstance(measured, Profile)
    title = f"{measured.workload} on {measured.host.cpu}, {measured.host.cores} cores"
    names = ("batch", "workers", "XLA", "step", "repeat within", "samples/s", "runs")
    table = figures(title, *names, words=0)
    for one in measured.measurements:
        low, high = one.step_time_s.repeat95
        table.add_row(
            str(one.setting.per_device_batch),
            str(one.setting.workers),
            "on" if one.setting.knobs.xla else "off",
            duration(one.step_time_s.value),
            f"{duration(low)} - {duration(high)}",
            f"{one.samples_per_s:,.0f}",
            str(len(one.processes)),
        )
    out.print(table)
    out.print(
        f"Data: {measured.data}. Measuring took {duration(measured.profiling_s)} "
        f"({usd(measured.profiling_usd)}). 'repeat within': where a fresh process falls, "
        "19 times in 20."
    )
    out.print(f"Written to {path}", soft_wrap=True)
