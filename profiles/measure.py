"""Measure a workload on this machine: fresh processes, interleaved rounds, until it is tight enough.

The settings form a grid: three batches, XLA on and off, two precisions, one worker and several. As
many of it as the time allows are measured at least twice, those first that tell most of the whole
grid; the rest is predicted from their effects. What was measured before is not measured again.
"""

import math
import platform
import random
import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import psutil

from ..catalog.files import InputError
from . import effects
from .gang import Gang, cores, last_words, local_environments, refused
from .probe import ProbeResult, ProbeSpec
from .records import (
    AllReduce,
    Breakdown,
    Failure,
    Host,
    Knobs,
    Measurement,
    PredictedSetting,
    ProcessSample,
    Profile,
    Setting,
)
from .steady import between_spread, estimate, noise_causes, steady
from .worker import EXIT_OUT_OF_MEMORY, is_own
from .workload import ModelFacts, Workload

STEP_SECONDS = 2.0  # of steps in one process
VISIT_S = 6.5  # one process with its import and compiling; a first guess, then measured
ROUNDS = 2  # at least, of every setting
FEWEST = 7  # settings, however short the time
PROMISING = 3  # of the quickest settings are measured, whatever they tell of the others
STUCK_S = 180.0  # without a step; the first one of ResNet-50 takes 43 s on two cores
ALL_REDUCE_BYTES = (4e3, 64e3, 1e6, 16e6)


@dataclass(frozen=True)
class Progress:
    """What has just been measured, for a progress bar; half_width: relative, of its interval."""

    done: int
    total: int
    setting: Setting
    step_s: float
    half_width: float
    elapsed_s: float


@dataclass
class _Gathered:
    """What the processes have told so far."""

    samples: dict[Setting, list[ProcessSample]] = field(default_factory=dict)
    failures: dict[Setting, Failure] = field(default_factory=dict)
    all_reduce: list[AllReduce] = field(default_factory=list)
    data: str = ""
    facts: ModelFacts | None = None
    checkpoint_write_s: float = 0.0
    seconds_before: float = 0.0

    @classmethod
    def of(cls, known: Profile | None) -> "_Gathered":
        if known is None:
            return cls()
        return cls(
            {one.setting: list(one.processes) for one in known.measurements},
            {one.setting: one for one in known.failures},
            list(known.all_reduce),
            known.data,
            known.facts,
            known.checkpoint_write_s,
            known.profiling_s,
        )


def grid(workload: Workload, workers: Sequence[int] = (1, 2)) -> list[Setting]:
    """Every setting worth knowing: batches x XLA x precision x workers on this machine."""
    batches = _three(sorted(set(workload.per_device_batch)), workload.max_global_batch)
    precisions = sorted({"float32", "mixed_bfloat16", *workload.precisions})
    return [
        Setting(
            accelerator="CPU",
            per_device_batch=batch,
            # One worker runs under the same strategy as several: the same program, and no slower.
            knobs=Knobs(
                xla=xla,
                precision=precision,
                strategy="multi_worker_mirrored",
                workers_per_node=count,
            ),
        )
        for batch in batches
        for xla in (False, True)
        for precision in precisions
        for count in workers
    ]


def design(workload: Workload, settings: Sequence[Setting], count: int) -> list[Setting]:
    """The count settings that tell most of all; what the workload may train with weighs more."""
    weights = [
        3.0 if setting.knobs.precision in workload.precisions else 1.0 for setting in settings
    ]
    return effects.v_optimal(settings, count, weights)


def _three(batches: list[int], most: int) -> list[int]:
    """At least three batches: the given ones, else with doubles up to most, halves, more doubles."""
    low, high = batches[0], batches[-1]
    doubles = [2 * high, 4 * high]
    more = [b for b in doubles if b <= most] + [b for b in (low // 2, low // 4) if b] + doubles
    for extra in more:
        if len(batches) < 3 and extra not in batches:
            batches = [*batches, extra]
    return sorted(batches)


def measure(
    workload: Workload,
    *,
    folder: Path | None = None,
    max_seconds: float = 90.0,
    usd_h: float = 0.0,
    max_usd: float | None = None,
    half_width: float = 0.05,
    settings: Sequence[Setting] | None = None,
    points: int | None = None,
    known: Profile | None = None,
    step_seconds: float = STEP_SECONDS,
    stuck_s: float = STUCK_S,
    keep: Callable[[Profile], None] = lambda _: None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Profile:
    """Profile workload on this machine's processors.

    Stops when every interval's relative half-width is at most half_width, or at max_seconds, or at
    max_usd, whichever comes first. settings: instead of the grid. points: how many of them, instead
    of as many as the time allows. known: an earlier profile to go on from. keep: called with the
    profile so far after every process. Ctrl-C ends with what is done. Raises InputError where the
    workload is at fault, after keep has been given all that could be measured.
    """
    start, gathered = time.monotonic(), _Gathered.of(known)
    cap_s = (
        max_seconds if max_usd is None or not usd_h else min(max_seconds, max_usd / usd_h * 3600)
    )
    every = list(settings or grid(workload))
    affordable = max(FEWEST, int(cap_s / (ROUNDS * VISIT_S)))
    chosen = design(workload, every, min(len(every), points or affordable))
    visits = [sample.wall_s for samples in gathered.samples.values() for sample in samples]

    def spent() -> float:
        return time.monotonic() - start

    def so_far() -> Profile:
        return _profile(workload, gathered, every, spent(), usd_h)

    try:
        for turn in range(1 + max((len(s) for s in gathered.samples.values()), default=0), 10_000):
            if turn > 1:
                chosen += _promising(workload, gathered, every, chosen)
            due = [setting for setting in chosen if _is_due(setting, gathered, turn, half_width)]
            if not due:
                if turn > ROUNDS:
                    break
                continue
            # Another order in every round, so that a drift of the machine favours no setting.
            if turn > 1:
                random.Random(turn).shuffle(due)
            for setting in due:
                usual = float(np.median(visits)) if visits else VISIT_S
                first = setting not in gathered.samples and turn == 1
                if spent() + usual > cap_s and not (first and _seen(gathered, chosen) < FEWEST):
                    return so_far()
                if setting in gathered.failures or _too_large(setting, gathered):
                    continue
                sample = _visit(workload, setting, folder, gathered, turn, step_seconds, stuck_s)
                if sample is None:
                    _refuse_if_hopeless(gathered)
                    continue
                visits.append(sample.wall_s)
                gathered.samples.setdefault(setting, []).append(sample)
                if gathered.facts is None:
                    continue
                profile = so_far()
                keep(profile)
                progress(_progress(profile, setting, sample, gathered, chosen, spent()))
    except KeyboardInterrupt:
        if not gathered.samples or gathered.facts is None:
            raise
    return so_far()


def _promising(
    workload: Workload,
    gathered: _Gathered,
    every: Sequence[Setting],
    chosen: Sequence[Setting],
) -> list[Setting]:
    """The quickest settings the workload may train with, as far as known, that are not yet chosen.

    A plan will most likely want one of these: it should rest on a measurement.
    """
    if gathered.facts is None:
        return []
    so_far = _profile(workload, gathered, every, 0.0, 0.0)
    known: list[Measurement | PredictedSetting] = [*so_far.measurements, *so_far.predicted]
    usable = [one for one in known if one.setting.knobs.precision in workload.precisions]
    usable.sort(key=lambda one: -one.samples_per_s)
    return [one.setting for one in usable[:PROMISING] if one.setting not in chosen]


def _seen(gathered: _Gathered, chosen: Sequence[Setting]) -> int:
    return sum(s in gathered.samples or s in gathered.failures for s in chosen)


def _is_due(setting: Setting, gathered: _Gathered, turn: int, half_width: float) -> bool:
    """Whether a setting still wants a process in this round."""
    samples = gathered.samples.get(setting, [])
    if setting in gathered.failures:
        return False
    if len(samples) < ROUNDS:
        return len(samples) < turn
    spread, df = between_spread(list(gathered.samples.values()))
    return _half_width(estimate(samples, spread, df).ci95) > half_width


def _half_width(ci95: tuple[float, float]) -> float:
    return math.log(ci95[1] / ci95[0]) / 2


def _progress(
    profile: Profile,
    setting: Setting,
    sample: ProcessSample,
    gathered: _Gathered,
    chosen: Sequence[Setting],
    elapsed_s: float,
) -> Progress:
    one = next(m for m in profile.measurements if m.setting == setting)
    done = sum(len(samples) for samples in gathered.samples.values())
    least = sum(max(ROUNDS, len(gathered.samples.get(s, []))) for s in chosen)
    return Progress(
        done, max(done, least), setting, sample.step_s, _half_width(one.step_time_s.ci95), elapsed_s
    )


def _too_large(setting: Setting, gathered: _Gathered) -> bool:
    """Whether a smaller batch with the same knobs already did not fit."""
    return any(
        failed.kind == "out_of_memory"
        and failed.setting.knobs == setting.knobs
        and failed.setting.per_device_batch <= setting.per_device_batch
        for failed in gathered.failures.values()
    )


def _refuse_if_hopeless(gathered: _Gathered) -> None:
    """A workload that fails twice and never works is at fault itself."""
    failed = [one for one in gathered.failures.values() if one.kind == "failed"]
    if not gathered.samples and len(failed) >= 1:
        raise InputError(failed[0].reason)


def _visit(
    workload: Workload,
    setting: Setting,
    folder: Path | None,
    gathered: _Gathered,
    turn: int,
    step_seconds: float,
    stuck_s: float,
) -> ProcessSample | None:
    """One fresh gang; None where it failed, with the reason among the failures."""
    load, began = psutil.getloadavg()[0], time.monotonic()
    workers = setting.workers
    spec = ProbeSpec(
        model=workload.model,
        folder=str(folder) if folder else None,
        setting=setting,
        seconds=step_seconds,
        cores=max(1, cores() // workers),
        describe=gathered.facts is None,
        stuck_s=stuck_s,
        steps_to_target=workload.steps_to_target(setting.global_batch),
        all_reduce_bytes=()
        if workers == 1 or any(one.workers == workers for one in gathered.all_reduce)
        else ALL_REDUCE_BYTES,
    )
    try:
        probed = _probe(spec, workers, folder)
        if probed.leaks is not None:
            where = _probe(spec.model_copy(update={"trace": True}), workers, folder).leak_line
            raise InputError(
                f"{where or workload.model} keeps {probed.leaks / 1e6:.2g} MB of memory with every "
                "step: the training would fill this machine's memory"
            )
    except MemoryError:
        words = f"{setting.describe()} does not fit into this machine's memory"
        gathered.failures[setting] = Failure(setting=setting, kind="out_of_memory", reason=words)
        return None
    except InputError as error:
        words = f"{workload.name}: {setting.describe()}: {error}"
        gathered.failures[setting] = Failure(setting=setting, kind="failed", reason=words)
        return None
    gathered.data = probed.data
    if probed.facts is not None:
        gathered.facts = probed.facts
        gathered.checkpoint_write_s = probed.checkpoint_write_s or 0.0
    for size, seconds in zip(spec.all_reduce_bytes, probed.all_reduce_s, strict=True):
        gathered.all_reduce.append(AllReduce(workers=workers, message_bytes=size, seconds=seconds))
    found = steady(probed.step_seconds)
    return ProcessSample(
        round=turn,
        step_s=found.step_s,
        spread=found.spread,
        steps=found.steps,
        discarded_steps=found.discarded,
        startup_s=probed.startup_s,
        wall_s=time.monotonic() - began,
        cpu_s=probed.cpu_s,
        load_before=load,
        input_s=probed.input_s,
        communication_s=probed.communication_s,
        peak_memory_bytes=probed.peak_memory_bytes,
    )


def _probe(spec: ProbeSpec, workers: int, folder: Path | None) -> ProbeResult:
    """Run one gang of probes. MemoryError where it did not fit, InputError where it failed."""
    with tempfile.TemporaryDirectory(prefix="isocost-probe-") as name:
        room = Path(name)
        spec_path, result = room / "spec.json", room / "result.json"
        spec.write(spec_path)
        logs = [room / f"worker-{rank}.log" for rank in range(workers)]
        command = ["-m", "isocost.profiles.probe", str(spec_path), str(result)]
        with Gang([command] * workers, local_environments(workers), logs) as gang:
            ended = gang.wait(2 * spec.stuck_s + 10 * spec.seconds)
            codes = gang.codes()
        refused(result)
        if EXIT_OUT_OF_MEMORY in codes or -9 in codes:
            raise MemoryError
        if not ended or any(codes) or not result.exists():
            raise InputError(_what_happened(logs, folder, spec.stuck_s))
        return ProbeResult.read(result)


def _what_happened(logs: Sequence[Path], folder: Path | None, stuck_s: float) -> str:
    """Why a gang ended without a result, with the user's own line where its log names one."""
    for log in logs:
        text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        if "Timeout (" not in text:
            continue
        lines = re.findall(r'File "([^"]+)", line (\d+) in (\S+)', text)
        own = [line for line in lines if folder is not None and is_own(line[0], folder)]
        if own:
            file, number, function = own[0]  # the newest call comes first
            where = f"{Path(file).name} line {number} ({function})"
            return f"no step within {stuck_s:.0f} s; it hangs in {where}"
        return f"no step within {stuck_s:.0f} s"
    return f"training failed: {last_words(next((log for log in logs if log.exists()), logs[0]))}"


def _profile(
    workload: Workload, gathered: _Gathered, every: Sequence[Setting], seconds: float, usd_h: float
) -> Profile:
    if gathered.facts is None:
        reasons = [one.reason for one in gathered.failures.values()]
        raise InputError(reasons[0] if reasons else f"{workload.name}: nothing could be measured")
    spread, df = between_spread(list(gathered.samples.values()))
    measurements = tuple(
        _measurement(setting, samples, spread, df) for setting, samples in gathered.samples.items()
    )
    total_s = gathered.seconds_before + seconds
    return Profile(
        workload=workload.name,
        model=workload.model,
        data=gathered.data,
        facts=gathered.facts,
        checkpoint_write_s=gathered.checkpoint_write_s,
        measurements=measurements,
        predicted=_predicted(measurements, gathered.failures, every, spread, df),
        failures=tuple(gathered.failures.values()),
        all_reduce=tuple(gathered.all_reduce),
        host=this_host(),
        created=datetime.now(UTC),
        profiling_s=total_s,
        profiling_usd=total_s / 3600 * usd_h,
    )


def _measurement(
    setting: Setting, samples: Sequence[ProcessSample], spread: float, df: int
) -> Measurement:
    step = estimate(samples, spread, df)
    inputs = [one.input_s for one in samples if one.input_s is not None]
    exchanges = [one.communication_s for one in samples if one.communication_s is not None]
    breakdown = None
    if inputs and exchanges:
        input_s = min(float(np.median(inputs)), step.value)
        communication_s = min(float(np.median(exchanges)), step.value - input_s)
        breakdown = Breakdown(
            input_s=input_s,
            communication_s=communication_s,
            compute_s=step.value - input_s - communication_s,
        )
    return Measurement(
        setting=setting,
        step_time_s=step,
        samples_per_s=setting.global_batch / step.value,
        processes=tuple(samples),
        breakdown=breakdown,
        peak_memory_bytes=max(one.peak_memory_bytes for one in samples),
        noise=noise_causes(samples, step, cores()),
    )


def _predicted(
    measurements: Sequence[Measurement],
    failures: Mapping[Setting, Failure],
    every: Sequence[Setting],
    spread: float,
    df: int,
) -> tuple[PredictedSetting, ...]:
    measured = {one.setting: (one.step_time_s.value, len(one.processes)) for one in measurements}
    wanted = [setting for setting in every if setting not in measured and setting not in failures]
    if not wanted or len(measured) < 3:
        return ()
    return tuple(
        PredictedSetting(
            setting=setting, step_time_s=step, samples_per_s=setting.global_batch / step.value
        )
        for setting, step in zip(wanted, effects.predict(measured, wanted, spread, df), strict=True)
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
