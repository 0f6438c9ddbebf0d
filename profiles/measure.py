"""Measure a workload on this machine: fresh processes, interleaved rounds, until it is tight enough.

As many settings of the grid as the time allows are measured at least twice, those first that tell
most of the whole; the rest is predicted from their effects. What was measured before is not
measured again.
"""

import math
import platform
import random
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
from .bench import STEP_SECONDS, STUCK_S, Bench, sample
from .devices import Devices
from .gang import cores
from .grid import design, grid
from .probe import CERTAIN_LEAK_SHARE, ProbeResult, ProbeSpec
from .records import (
    AllReduce,
    Breakdown,
    Failure,
    Host,
    Measurement,
    PredictedSetting,
    ProcessSample,
    Profile,
    Setting,
)
from .steady import between_spread, estimate, noise_causes
from .workload import ModelFacts, Workload

VISIT_S = 4.0  # one process with its building and compiling; a first guess, then measured
ROUNDS = 2  # at least, of every setting
FEWEST = 7  # settings, where only the time is short
PARTS_ROUNDS = 2  # in which the parts of a step are timed on their own
PROMISING = 3  # of the quickest settings are measured, whatever they tell of the others
SHORTEST_STUCK_S = 30.0
MARGIN_S = 2.0  # of the time, for Python's start and the writing of what was found
ALL_REDUCE_BYTES = (4e3, 64e3, 1e6, 16e6)
FIT_TRIES = 4  # batches tried between the largest that fits and the smallest that does not


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


def measure(
    workload: Workload,
    *,
    folder: Path | None = None,
    max_seconds: float = 90.0,
    usd_h: float = 0.0,
    max_usd: float | None = None,
    half_width: float = 0.05,
    settings: Sequence[Setting] | Callable[[Devices], Sequence[Setting]] | None = None,
    points: int | None = None,
    known: Profile | None = None,
    step_seconds: float = STEP_SECONDS,
    stuck_s: float | None = None,
    keep: Callable[[Profile], None] = lambda _: None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Profile:
    """Profile workload on this machine.

    Stops when every interval's relative half-width is at most half_width, or at max_seconds, or at
    max_usd, whichever comes first; one setting is measured in any case. settings: instead of the
    processors' grid, perhaps depending on the devices that TensorFlow finds. points: how many of them, instead of as many as the time allows. known: an earlier profile
    to go on from. stuck_s: without a step for so long a process is ended; by default as long as
    there is time, up to STUCK_S. keep: called with the profile so far after every process. Ctrl-C
    ends with what is done. Raises InputError where the workload is at fault, after keep has been
    given all that could be measured.
    """
    start, gathered = time.monotonic(), _Gathered.of(known)
    cap_s = (
        max_seconds if max_usd is None or not usd_h else min(max_seconds, max_usd / usd_h * 3600)
    )
    if stuck_s is None:
        stuck_s = min(STUCK_S, max(SHORTEST_STUCK_S, cap_s))
    every: list[Setting] = []
    visits = [one.wall_s for samples in gathered.samples.values() for one in samples]
    fit_tries = 0

    def spent() -> float:
        return time.monotonic() - start

    def so_far() -> Profile:
        return _profile(workload, gathered, every, spent(), usd_h)

    first_turn = 1 + max((len(s) for s in gathered.samples.values()), default=0)
    try:
        with Bench(workload, folder, step_seconds=step_seconds, stuck_s=stuck_s) as bench:
            if settings is None:
                every = grid(workload)
            else:
                every = list(settings(bench.devices()) if callable(settings) else settings)
            affordable = max(FEWEST, int(cap_s / (ROUNDS * VISIT_S)))
            chosen = design(workload, every, min(len(every), points or affordable))
            for turn in range(first_turn, 10_000):
                if turn > 1:
                    chosen += _promising(workload, gathered, every, chosen)
                due = [one for one in chosen if _is_due(one, gathered, turn, half_width)]
                if not due:
                    if turn > ROUNDS:
                        break
                    continue
                # Another order in every round, so that a drift of the machine favours no setting.
                if turn > 1:
                    random.Random(turn).shuffle(due)
                bench.new_round()
                while due:
                    setting = due.pop(0)
                    long = float(np.quantile(visits, 0.9)) if visits else 0.0
                    if spent() + long + MARGIN_S > cap_s and gathered.samples:
                        return so_far()
                    if setting in gathered.failures or _too_large(setting, gathered):
                        continue
                    one = _visit(bench, setting, gathered, turn)
                    if one is None:
                        _refuse_if_hopeless(gathered)
                    else:
                        gathered.samples.setdefault(setting, []).append(one)
                    between = _between(setting, gathered)
                    if between is not None and fit_tries < FIT_TRIES and points is None:
                        fit_tries += 1
                        due.insert(0, between)
                        chosen.append(between)
                    if one is None:
                        continue
                    visits.append(one.wall_s)
                    if gathered.facts is None:
                        continue
                    profile = so_far()
                    keep(profile)
                    progress(_progress(profile, setting, one, gathered, chosen, spent()))
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
        and failed.setting.devices_per_node == setting.devices_per_node
        and failed.setting.per_device_batch <= setting.per_device_batch
        for failed in gathered.failures.values()
    )


def _refuse_if_hopeless(gathered: _Gathered) -> None:
    """A workload that fails twice and never works is at fault itself."""
    failed = [one for one in gathered.failures.values() if one.kind == "failed"]
    if not gathered.samples and len(failed) >= 1:
        raise InputError(failed[0].reason)


def _between(setting: Setting, gathered: _Gathered) -> Setting | None:
    """Half-way from the largest batch that fits to the smallest that does not; None if near enough."""

    def alike(other: Setting) -> bool:
        return other.model_copy(update={"per_device_batch": setting.per_device_batch}) == setting

    low = max((one.per_device_batch for one in gathered.samples if alike(one)), default=0)
    too_large = [
        one.setting.per_device_batch
        for one in gathered.failures.values()
        if one.kind == "out_of_memory" and alike(one.setting)
    ]
    middle = (low + min(too_large, default=0)) // 2
    if middle < 1.1 * low or middle == 0:
        return None
    return setting.model_copy(update={"per_device_batch": middle})


def _visit(bench: Bench, setting: Setting, gathered: _Gathered, turn: int) -> ProcessSample | None:
    """One fresh gang; None where it failed, with the reason among the failures."""
    began, workers = time.monotonic(), setting.workers
    known = any(one.workers == workers for one in gathered.all_reduce)
    spec = bench.spec(
        setting,
        describe=gathered.facts is None,
        parts=turn <= PARTS_ROUNDS,
        all_reduce_bytes=() if workers == 1 or known else ALL_REDUCE_BYTES,
    )
    try:
        probed = bench.probe(spec)
        if probed.leaks is not None:
            _refuse_leak(bench, spec, probed)
    except MemoryError:
        words = f"{setting.describe()} does not fit into the memory of this machine's devices"
        gathered.failures[setting] = Failure(setting=setting, kind="out_of_memory", reason=words)
        return None
    except InputError as error:
        words = f"{bench.workload.name}: {setting.describe()}: {error}"
        gathered.failures[setting] = Failure(setting=setting, kind="failed", reason=words)
        return None
    gathered.data = probed.data
    if probed.facts is not None:
        gathered.facts = probed.facts
        gathered.checkpoint_write_s = probed.checkpoint_write_s or 0.0
    for size, seconds in zip(spec.all_reduce_bytes, probed.all_reduce_s, strict=True):
        gathered.all_reduce.append(AllReduce(workers=workers, message_bytes=size, seconds=seconds))
    return sample(probed, turn, began)


def _refuse_leak(bench: Bench, spec: ProbeSpec, probed: ProbeResult) -> None:
    """InputError where memory leaks: a line of the user's own keeps it, or there is far too much."""
    assert probed.leaks is not None
    where = bench.probe(spec.model_copy(update={"trace": True, "all_reduce_bytes": ()})).leak_line
    share = probed.leaks * spec.steps_to_target / psutil.virtual_memory().total
    if where is None and share < CERTAIN_LEAK_SHARE:
        return
    raise InputError(
        f"{where or spec.model} keeps {probed.leaks / 1e6:.2g} MB of memory with every step: the "
        f"training would fill {min(share, 1):.0%} of this machine's memory with it"
    )


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
