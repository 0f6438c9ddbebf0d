"""Measure a workload on this machine: fresh processes, interleaved rounds, a time cap."""

import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

from ..catalog.files import InputError
from .gang import Gang, cores, last_words, local_environments, refused
from .probe import ProbeResult, ProbeSpec
from .records import Host, Knobs, Measurement, ProcessSample, Profile, Setting
from .steady import between_spread, estimate, steady
from .workload import ModelFacts, Workload

STEP_SECONDS = 2.0  # of steps in one process
PROCESS_TIMEOUT_S = 600.0  # a ResNet-50 step on two cores takes 2.5 s and its first one 43 s


@dataclass(frozen=True)
class Progress:
    """What has just been measured, for a progress bar; total grows with further rounds."""

    done: int
    total: int
    setting: Setting
    step_s: float
    elapsed_s: float


@dataclass
class _Gathered:
    """What the processes have told so far."""

    samples: dict[Setting, list[ProcessSample]] = field(default_factory=dict)
    data: str = ""
    facts: ModelFacts | None = None
    checkpoint_write_s: float = 0.0


def design(workload: Workload, workers: Sequence[int] = (1, 2)) -> list[Setting]:
    """Which settings to measure: three batches, XLA on and off, one worker and several."""
    batches = _three(sorted(set(workload.per_device_batch)), workload.max_global_batch)
    spread = sorted({batches[0], batches[len(batches) // 2], batches[-1]})
    plain = [_setting(batch, 1, xla=False) for batch in spread]
    # Several workers share a batch as often as each takes one: measure below and at the batches.
    several = [
        _setting(batch, k, xla=False)
        for k in workers
        if k > 1
        for batch in sorted({max(1, spread[0] // k), spread[1]})
    ]
    return [*plain, _setting(spread[0], 1, xla=True), *several]


def _three(batches: list[int], most: int) -> list[int]:
    """At least three batches: the given ones, else with doubles up to most, halves, more doubles."""
    low, high = batches[0], batches[-1]
    doubles = [2 * high, 4 * high]
    more = [b for b in doubles if b <= most] + [b for b in (low // 2, low // 4) if b] + doubles
    for extra in more:
        if len(batches) < 3 and extra not in batches:
            batches = [*batches, extra]
    return sorted(batches)


def _setting(batch: int, workers: int, *, xla: bool) -> Setting:
    # One worker runs under the same strategy as several: the same program, and no slower.
    knobs = Knobs(xla=xla, strategy="multi_worker_mirrored", workers_per_node=workers)
    return Setting(accelerator="CPU", per_device_batch=batch, knobs=knobs)


def measure(
    workload: Workload,
    *,
    folder: Path | None = None,
    max_seconds: float = 60.0,
    usd_h: float = 0.0,
    max_usd: float | None = None,
    settings: Sequence[Setting] | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Profile:
    """Profile workload on this machine's processors.

    Every setting is measured once; then rounds over all settings, each in fresh processes, go on
    while the next one fits into max_seconds and max_usd. Ctrl-C keeps what is done, once every
    setting that was begun is whole. Raises InputError where the workload itself is at fault.
    """
    start = time.monotonic()
    cap_s = max_seconds if not max_usd or not usd_h else min(max_seconds, max_usd / usd_h * 3600)
    chosen = list(settings or design(workload))
    gathered, done, longest = _Gathered(), 0, 0.0
    try:
        while True:
            for setting in chosen:
                spent = time.monotonic() - start
                if done >= len(chosen) and spent + longest > cap_s:
                    raise StopIteration
                began = time.monotonic()
                sample = _one(workload, setting, folder, gathered)
                longest = max(longest, time.monotonic() - began)
                gathered.samples.setdefault(setting, []).append(sample)
                done += 1
                rounds_left = max(0.0, cap_s - (time.monotonic() - start)) // max(longest, 1e-9)
                total = max(len(chosen), done + int(rounds_left))
                progress(Progress(done, total, setting, sample.step_s, time.monotonic() - start))
    except StopIteration:
        pass
    except KeyboardInterrupt:
        if not gathered.samples:
            raise
    return _profile(workload, gathered, time.monotonic() - start, usd_h)


def _one(
    workload: Workload, setting: Setting, folder: Path | None, gathered: _Gathered
) -> ProcessSample:
    load = psutil.getloadavg()[0]
    workers = setting.workers
    with tempfile.TemporaryDirectory(prefix="isocost-probe-") as name:
        room = Path(name)
        spec, result = room / "spec.json", room / "result.json"
        ProbeSpec(
            model=workload.model,
            folder=str(folder) if folder else None,
            setting=setting,
            seconds=STEP_SECONDS,
            cores=max(1, cores() // workers),
            describe=gathered.facts is None and workers == 1,
        ).write(spec)
        logs = [room / f"worker-{rank}.log" for rank in range(workers)]
        command = ["-m", "isocost.profiles.probe", str(spec), str(result)]
        began = time.monotonic()
        with Gang([command] * workers, local_environments(workers), logs) as gang:
            ended = gang.wait(PROCESS_TIMEOUT_S)
            codes = gang.codes()
        refused(result)
        if not ended:
            raise InputError(
                f"{workload.name}: {setting.describe()} gave no answer within {PROCESS_TIMEOUT_S:.0f} s"
            )
        if any(codes) or not result.exists():
            raise InputError(
                f"{workload.name}: training with {setting.describe()} failed: {last_words(logs[0])}"
            )
        probed = ProbeResult.read(result)
    gathered.data = probed.data
    if probed.facts is not None:
        gathered.facts = probed.facts
        gathered.checkpoint_write_s = probed.checkpoint_write_s or 0.0
    found = steady(probed.step_seconds)
    return ProcessSample(
        step_s=found.step_s,
        spread=found.spread,
        steps=found.steps,
        discarded_steps=found.discarded,
        startup_s=probed.startup_s,
        wall_s=time.monotonic() - began,
        cpu_s=probed.cpu_s,
        load_before=load,
    )


def _profile(workload: Workload, gathered: _Gathered, seconds: float, usd_h: float) -> Profile:
    assert gathered.facts is not None, "the first setting of a design has one worker"
    spread, df = between_spread(list(gathered.samples.values()))
    measurements = []
    for setting, samples in gathered.samples.items():
        step = estimate(samples, spread, df)
        measurements.append(
            Measurement(
                setting=setting,
                step_time_s=step,
                samples_per_s=setting.global_batch / step.value,
                processes=tuple(samples),
            )
        )
    return Profile(
        workload=workload.name,
        model=workload.model,
        data=gathered.data,
        facts=gathered.facts,
        checkpoint_write_s=gathered.checkpoint_write_s,
        measurements=tuple(measurements),
        host=this_host(),
        created=datetime.now(UTC),
        profiling_s=seconds,
        profiling_usd=seconds / 3600 * usd_h,
    )


def this_host() -> Host:
    """The machine and the versions that measure."""
    packages = ("tensorflow", "keras", "numpy")
    return Host(
        cpu=_cpu_name(),
        cores=cores(),
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        system=f"{platform.system()} {platform.machine()}",
        versions={
            "python": platform.python_version(),
            **{name: version(name) for name in packages},
        },
    )


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
