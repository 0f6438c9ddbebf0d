"""isocost profile: what a training job really does on this machine."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from . import measurements
from .output import default_command

if TYPE_CHECKING:
    from ..profiles.records import Profile, Setting, Strategy


class _MeasureByDefault(TyperGroup):
    """``isocost profile FILE`` measures; a subcommand's name wins over a file of the same name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, default_command(args, self.commands, "measure"))


app = typer.Typer(cls=_MeasureByDefault, no_args_is_help=True)


@app.callback()
def _group() -> None:
    """What a training job really does: measure it on this machine.

    `isocost profile FILE` is short for `isocost profile measure FILE`.
    """


app.command("predict")(measurements.predict)
app.command("show")(measurements.show)
app.command("import")(measurements.import_)
app.command("export")(measurements.export)


@app.command("measure")
def measure(
    workload: Annotated[Path, typer.Argument(help="Workload file (YAML or JSON).")],
    max_seconds: Annotated[float, typer.Option(min=1, help="Stop measuring after so long.")] = 90.0,
    max_usd: Annotated[
        float | None, typer.Option(min=0, help="Stop after so many dollars of this machine.")
    ] = None,
    half_width: Annotated[
        float,
        typer.Option(min=0.001, max=1, help="Stop once every interval is so tight (0.05: 5 %)."),
    ] = 0.05,
    points: Annotated[
        int | None, typer.Option(min=1, help="Settings to measure; else as many as time allows.")
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="Also measure up to so many workers.")
    ] = 2,
    device: Annotated[
        str, typer.Option(help="auto (TPU, else GPUs, else processors) or cpu.")
    ] = "auto",
    strategy: Annotated[
        str | None,
        typer.Option(help="Instead of the usual one: mirrored, multi_worker_mirrored, one_device."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder for the profile; else your data directory."),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin anew instead of going on from the last profile.")
    ] = False,
    local_price: Annotated[
        float | None, typer.Option(help="What an hour of this machine costs, USD.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the profile as JSON.")] = False,
) -> None:
    """Measure a workload's training throughput on this machine.

    Batches, XLA, precision and workers, each in fresh processes, with intervals; what the time does
    not allow is predicted. Ctrl-C keeps what is done, and the next call goes on from there.

    Example: isocost profile examples/cifar10.yaml --max-seconds 300 -o out
    """
    from ..catalog import Purchase, load, this_machine
    from ..catalog.files import InputError
    from ..profiles import measure as measuring
    from ..profiles import store
    from ..profiles.devices import Devices, named
    from ..profiles.grid import ONE_CPU, grid
    from ..profiles.records import Profile, Setting
    from ..profiles.workload import read_workload
    from ..reports.words import duration
    from .output import ended_like_ctrl_c, err, only_ours_on_stdout, print_json, progress_bar

    job = read_workload(workload)
    local = this_machine(local_price)
    counts = [1] + [k for k in (2, 4, 8, 16, 32, 64) if k <= workers]
    how = _strategy(strategy)
    if device not in ("auto", "cpu"):
        raise InputError(f"device '{device}' is unknown; expected auto or cpu")

    def settings(found: Devices) -> list[Setting]:
        here = ONE_CPU if device == "cpu" else named(found, load().accelerators)
        return grid(job, counts, here, how)

    folder = output or store.profiles_folder()
    path, known = (None, None) if fresh else _earlier(store.latest(job, [folder]))
    if known is not None and not as_json:
        processes = sum(len(one.processes) for one in known.measurements)
        err.print(f"Going on from {path}: {processes} processes are done.", soft_wrap=True)
    kept: list[Path] = [path] if path else []

    def keep(profile: Profile) -> None:
        kept[:] = kept or [folder / store.file_name(profile)]
        profile.write(kept[0])

    with only_ours_on_stdout(), ended_like_ctrl_c(), progress_bar() as bar:
        task = bar.add_task("measuring", total=max_seconds, note="")

        def show(done: measuring.Progress) -> None:
            tight = f"{duration(done.step_s)} a step, known to {done.half_width:.0%}"
            note = f"{done.setting.describe()}: {tight}"
            bar.update(task, completed=min(round(done.elapsed_s), max_seconds), note=note)

        measured = measuring.measure(
            job,
            folder=workload.resolve().parent,
            max_seconds=max_seconds,
            usd_h=local.prices_usd_h[Purchase.OWNED],
            max_usd=max_usd,
            half_width=half_width,
            settings=settings,
            points=points,
            known=known,
            keep=keep,
            progress=show,
        )
    keep(measured)
    if as_json:
        print_json(measured)
    else:
        _show(measured, kept[0])
    failed = [one.reason for one in measured.failures if one.kind == "failed"]
    if failed:
        raise InputError(
            f"{failed[0]}; {len(measured.measurements)} settings are kept in {kept[0]}"
        )


@app.command("compare")
def compare(
    workload: Annotated[Path, typer.Argument(help="Workload file (YAML or JSON).")],
    first: Annotated[str, typer.Argument(help="A setting, such as xla=off or batch=64,workers=2.")],
    second: Annotated[str, typer.Argument(help="The setting to compare with it.")],
    max_seconds: Annotated[
        float, typer.Option(min=1, help="Stop after so long, decided or not.")
    ] = 180.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Tell which of two settings trains faster on this machine.

    Their processes take turns of a quarter of a second, so that what disturbs one disturbs the other;
    fresh pairs are added until the answer is beyond doubt. Keys: batch, workers, precision (float32,
    bfloat16, float16), xla (on, off), strategy, devices.

    Example: isocost profile compare examples/cifar10.yaml xla=off xla=on
    """
    from ..profiles.compare import Interval
    from ..profiles.compare import compare as compared
    from ..profiles.words import parse_setting
    from ..profiles.workload import read_workload
    from .output import ended_like_ctrl_c, only_ours_on_stdout, out, print_json, progress_bar

    job = read_workload(workload)
    one, other = (parse_setting(text, job) for text in (first, second))
    with only_ours_on_stdout(), ended_like_ctrl_c(), progress_bar() as bar:
        task = bar.add_task("comparing", total=max_seconds, note="")

        def show(found: Interval, pairs: int, seconds: float) -> None:
            note = f"{found.ratio:.2f} times ({found.low:.2f} to {found.high:.2f}), {pairs} pairs"
            bar.update(task, completed=min(round(seconds), max_seconds), note=note)

        found = compared(
            job,
            one,
            other,
            folder=workload.resolve().parent,
            max_seconds=max_seconds,
            progress=show,
        )
    if as_json:
        print_json(found)
        return
    words = {
        "faster": f"{second} is faster than {first}",
        "slower": f"{second} is slower than {first}",
        "equal": f"{second} and {first} are equally fast",
        "undecided": f"no difference between {second} and {first} is certain",
    }[found.verdict]
    low, high = found.ci
    out.print(
        f"{words}: {found.ratio:.3f} times as many samples a second "
        f"({found.confidence:.1%} interval {low:.3f} to {high:.3f}), "
        f"{len(found.pairs)} pairs of fresh processes in {found.seconds:.0f} s.",
        markup=False,
    )
    if found.verdict == "undecided":
        out.print("More time may decide: --max-seconds.")


@app.command("all-reduce")
def all_reduce(
    workers: Annotated[
        int, typer.Option(min=2, max=64, help="Processes on this machine that exchange.")
    ] = 2,
    hosts: Annotated[
        str | None, typer.Option(help="Instead: NAME=ADDRESS,... of hosts, one worker on each.")
    ] = None,
    launch: Annotated[
        str | None,
        typer.Option(help="How to start a program on a host, {host} for its name: 'ssh {host}'."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Also write it as JSON here.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the times as JSON.")] = False,
) -> None:
    """Time TensorFlow's all-reduce on its own, over message sizes.

    Between processes here, or between hosts that have isocost at the same path.

    Example: isocost profile all-reduce --hosts a=10.0.0.1,b=10.0.0.2 --launch 'ssh {host}'
    """
    from ..catalog.files import InputError
    from ..profiles.exchange import STUCK_S, measure_exchange
    from ..reports.words import duration
    from .output import (
        ended_like_ctrl_c,
        figures,
        only_ours_on_stdout,
        out,
        print_json,
        progress_bar,
    )

    named_hosts = {f"worker {number + 1}": "127.0.0.1" for number in range(workers)}
    if hosts is not None:
        pairs = [part.partition("=") for part in hosts.split(",")]
        if not all(name and equals and address for name, equals, address in pairs):
            raise InputError(f"hosts '{hosts}': expected NAME=ADDRESS,NAME=ADDRESS")
        named_hosts = {name: address for name, _, address in pairs}
    with only_ours_on_stdout(), ended_like_ctrl_c(), progress_bar() as bar:
        task = bar.add_task("exchanging", total=STUCK_S, note="")
        found = measure_exchange(
            named_hosts,
            launch=launch,
            progress=lambda spent: bar.update(task, completed=round(spent)),
        )
    if output is not None:
        found.write(output)
    if as_json:
        print_json(found)
        return
    out.print(f"All-reduce between {', '.join(found.hosts)}:", markup=False)
    table = figures(None, "message", "time", "rate", words=0)
    for point in found.points:
        rate = point.message_bytes / point.seconds / 1e6
        size = f"{point.message_bytes / 1e3:,.0f} kB"
        table.add_row(size, duration(point.seconds), f"{rate:,.0f} MB/s")
    out.print(table)
    out.print(
        f"Latency {duration(found.latency_s)}, {found.bandwidth_bytes_s / 1e6:,.0f} MB/s on the link "
        "(2(n-1)/n of the message crosses it)."
    )


def _strategy(name: str | None) -> "Strategy | None":
    from typing import get_args

    from ..catalog.files import InputError
    from ..profiles.records import Strategy

    for known in get_args(Strategy):
        if name == known:
            return known  # type: ignore[no-any-return]
    if name is not None:
        raise InputError(f"strategy '{name}' is unknown; expected {', '.join(get_args(Strategy))}")
    return None


def _earlier(found: "tuple[Path, Profile] | None") -> "tuple[Path | None, Profile | None]":
    """The last profile, if this very machine with these very versions measured it."""
    from ..profiles.measure import this_host

    return found if found is not None and found[1].host == this_host() else (None, None)


def _limits(measured: "Profile") -> list[str]:
    """For each set of knobs under which some batch did not fit: the largest that does."""
    smallest: dict[Setting, int] = {}
    for failure in measured.failures:
        if failure.kind == "out_of_memory":
            batch = failure.setting.per_device_batch
            alike = failure.setting.but_for_batch()
            smallest[alike] = min(batch, smallest.get(alike, batch))
    found = []
    for alike, batch in smallest.items():
        fits = [
            one.setting.per_device_batch
            for one in measured.measurements
            if one.setting.but_for_batch() == alike
        ]
        largest = f"the largest tried that fits is {max(fits)}" if fits else "nor does any tried"
        failed = alike.model_copy(update={"per_device_batch": batch})
        found.append(f"Out of memory: {failed.describe()} does not fit; {largest}.")
    return found


def _order(setting: "Setting") -> tuple[bool, str, int, int]:
    knobs = setting.knobs
    return knobs.xla, knobs.precision, setting.replicas, setting.per_device_batch


def _show(measured: "Profile", path: Path) -> None:
    from ..profiles.records import Measurement, PredictedSetting
    from ..reports.words import count, duration, usd
    from .output import figures, out

    title = f"{measured.workload} on {measured.host.cpu}, {measured.host.cores} cores"
    names = ("batch", "replicas", "precision", "XLA", "step", "repeat within", "samples/s", "runs")
    table = figures(title, *names, words=0)
    every: list[Measurement | PredictedSetting] = [*measured.measurements, *measured.predicted]
    for one in sorted(every, key=lambda one: _order(one.setting)):
        low, high = one.step_time_s.repeat95
        processes = one.processes if isinstance(one, Measurement) else ()
        table.add_row(
            str(one.setting.per_device_batch),
            str(one.setting.replicas),
            one.setting.knobs.precision.removeprefix("mixed_"),
            "on" if one.setting.knobs.xla else "off",
            duration(one.step_time_s.value),
            f"{duration(low)} - {duration(high)}",
            f"{one.samples_per_s:,.0f}",
            str(len(processes)) if processes else "fitted",
        )
    out.print(table)
    out.print(
        f"Data: {measured.data}. Measuring took {duration(measured.profiling_s)} "
        f"({usd(measured.profiling_usd)}). 'repeat within': where a fresh process falls, "
        "19 times in 20; 'fitted': predicted from the effects of the others."
    )
    for words in _limits(measured):
        out.print(words, markup=False)
    for words in measured.warnings:
        out.print(f"Warning: {words}.", markup=False)
    noisy = [one for one in measured.measurements if one.noise]
    if noisy:
        causes = ", ".join(sorted({cause for one in noisy for cause in one.noise}))
        out.print(f"Disturbed: {count(len(noisy), 'setting')}, by {causes}.", markup=False)
    out.print(f"Written to {path}", soft_wrap=True)
