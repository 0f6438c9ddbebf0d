"""Measure a workload on this machine: fresh processes, interleaved rounds, until it is tight enough.

As many settings of the grid as the time allows are measured at least twice, those first that tell
most of the whole; the rest is predicted from their effects. What was measured before is not
measured again.
"""

import itertools
import math
import platform
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
import psutil

from ..catalog.files import InputError
from .bench import STEP_SECONDS, STUCK_S, Bench, sample
from .devices import Devices
from .figures import figures
from .gang import cores
from .grid import design, grid
from .probe import ProbeSpec
from .records import (
    AllReduce,
    Failure,
    Host,
    Measurement,
    PredictedSetting,
    ProcessSample,
    Profile,
    Setting,
)
from .steady import between_spread, estimate
from .workload import Workload

VISIT_S = 4.0  # one process with its building and compiling; a first guess, then measured
ROUNDS = 2  # at least, of every setting
FEWEST = 7  # settings, where only the time is short
PARTS_ROUNDS = 2  # in which the parts of a step are timed on their own
PROMISING = 3  # of the quickest settings are measured, whatever they tell of the others
SHORTEST_STUCK_S = 30.0
MARGIN_S = 2.0  # of the time, for Python's start and the writing of what was found
LEAK_SHARE = 0.1  # of this machine's memory that a leak would fill before it counts as fatal
CERTAIN_LEAK_SHARE = 0.5  # where no line of the user's own shows the growth
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
    processors' grid, perhaps depending on the devices that TensorFlow finds. points: how many of
    them, instead of as many as the time allows. known: an earlier profile to go on from. stuck_s:
    without a step for so long a process is ended; by default as long as there is time, up to
    STUCK_S. keep: called with the profile so far after every process. Ctrl-C ends with what is done.
    Raises InputError where the workload is at fault, after keep has been given all that could be
    measured.
    """
    cap_s = (
        max_seconds if max_usd is None or not usd_h else min(max_seconds, max_usd / usd_h * 3600)
    )
    if stuck_s is None:
        stuck_s = min(STUCK_S, max(SHORTEST_STUCK_S, cap_s))
    session = _Session(workload, known, usd_h, keep, progress)
    try:
        with Bench(workload, folder, step_seconds=step_seconds, stuck_s=stuck_s) as bench:
            if callable(settings):
                settings = settings(bench.devices())
            session.every = list(settings or grid(workload))
            affordable = max(FEWEST, int(cap_s / (ROUNDS * VISIT_S)))
            count = min(len(session.every), points or affordable)
            session.chosen = design(workload, session.every, count)
            session.run(bench, cap_s, half_width, any_batch=points is None)
    except KeyboardInterrupt:
        if not session.samples or session.facts is None:
            raise
    return session.profile()


class _Session:
    """What the processes have told so far, and which settings are still to be asked."""

    def __init__(
        self,
        workload: Workload,
        known: Profile | None,
        usd_h: float,
        keep: Callable[[Profile], None],
        progress: Callable[[Progress], None],
    ) -> None:
        self.workload, self._usd_h = workload, usd_h
        self._keep, self._progress = keep, progress
        self._start = time.monotonic()
        self.every: list[Setting] = []
        self.chosen: list[Setting] = []
        self.samples = (
            {one.setting: list(one.processes) for one in known.measurements} if known else {}
        )
        self.failures = {one.setting: one for one in known.failures} if known else {}
        self.all_reduce = list(known.all_reduce) if known else []
        self.warnings = list(known.warnings) if known else []
        self.data = known.data if known else ""
        self.facts = known.facts if known else None
        self.checkpoint_write_s = known.checkpoint_write_s if known else 0.0
        self._seconds_before = known.profiling_s if known else 0.0
        self._fit_tries = 0

    def run(self, bench: Bench, cap_s: float, half_width: float, *, any_batch: bool) -> None:
        """Round after round, until all is tight enough or the time is up.

        any_batch: also look for the largest batch that fits, outside the chosen settings.
        """
        first_turn = 1 + max((len(samples) for samples in self.samples.values()), default=0)
        for turn in itertools.count(first_turn):
            if turn > 1:
                self.chosen += self._promising()
            due = [one for one in self.chosen if self._is_due(one, turn, half_width)]
            if not due and turn > ROUNDS:
                return
            # Another order in every round, so that a drift of the machine favours no setting.
            if turn > 1:
                random.Random(turn).shuffle(due)
            bench.new_round()
            while due:
                setting = due.pop(0)
                if self.samples and self._spent_s() + self._long_visit_s() + MARGIN_S > cap_s:
                    return
                if setting in self.failures or self._is_too_large(setting):
                    continue
                self._visit(bench, setting, turn)
                between = self._between(setting) if any_batch else None
                if between is not None and self._fit_tries < FIT_TRIES:
                    self._fit_tries += 1
                    due.insert(0, between)
                    self.chosen.append(between)

    def profile(self) -> Profile:
        """Everything so far. Raises InputError where nothing could be measured."""
        if self.facts is None:
            reasons = [one.reason for one in self.failures.values()]
            raise InputError(
                reasons[0] if reasons else f"{self.workload.name}: nothing could be measured"
            )
        measurements, predicted = figures(self.samples, self.every, self.failures, cores())
        total_s = self._seconds_before + self._spent_s()
        return Profile(
            workload=self.workload.name,
            model=self.workload.model,
            data=self.data,
            facts=self.facts,
            checkpoint_write_s=self.checkpoint_write_s,
            measurements=measurements,
            predicted=predicted,
            failures=tuple(self.failures.values()),
            all_reduce=tuple(self.all_reduce),
            warnings=tuple(self.warnings),
            host=this_host(),
            created=datetime.now(UTC),
            profiling_s=total_s,
            profiling_usd=total_s / 3600 * self._usd_h,
        )

    def _spent_s(self) -> float:
        return time.monotonic() - self._start

    def _long_visit_s(self) -> float:
        """What a longer process of those so far took."""
        walls = [one.wall_s for samples in self.samples.values() for one in samples]
        return float(np.quantile(walls, 0.9))

    def _is_due(self, setting: Setting, turn: int, half_width: float) -> bool:
        """Whether a setting still wants a process in this round."""
        samples = self.samples.get(setting, [])
        if setting in self.failures:
            return False
        if len(samples) < ROUNDS:
            return len(samples) < turn
        spread = between_spread(list(self.samples.values()))
        return _half_width(estimate(samples, spread).ci95) > half_width

    def _promising(self) -> list[Setting]:
        """The quickest settings the workload may train with, as far as known, not yet chosen.

        A plan will most likely want one of these: it should rest on a measurement.
        """
        if self.facts is None:
            return []
        so_far = self.profile()
        known: list[Measurement | PredictedSetting] = [*so_far.measurements, *so_far.predicted]
        usable = [one for one in known if one.setting.knobs.precision in self.workload.precisions]
        usable.sort(key=lambda one: -one.samples_per_s)
        return [one.setting for one in usable[:PROMISING] if one.setting not in self.chosen]

    def _is_too_large(self, setting: Setting) -> bool:
        """Whether a smaller batch that is otherwise alike already did not fit."""
        return any(batch <= setting.per_device_batch for batch in self._too_large(setting))

    def _too_large(self, setting: Setting) -> list[int]:
        """The batches of otherwise like settings that did not fit."""
        return [
            one.setting.per_device_batch
            for one in self.failures.values()
            if one.kind == "out_of_memory"
            and one.setting.but_for_batch() == setting.but_for_batch()
        ]

    def _between(self, setting: Setting) -> Setting | None:
        """Half-way from the largest batch that fits to the smallest that does not; None if near."""
        fits = [
            one.per_device_batch
            for one in self.samples
            if one.but_for_batch() == setting.but_for_batch()
        ]
        low = max(fits, default=0)
        middle = (low + min(self._too_large(setting), default=0)) // 2
        if middle < 1.1 * low or middle == 0:
            return None
        return setting.model_copy(update={"per_device_batch": middle})

    def _visit(self, bench: Bench, setting: Setting, turn: int) -> None:
        """One fresh gang; its sample or its failure is kept. Raises InputError if all is hopeless."""
        began, workers = time.monotonic(), setting.workers
        exchanged = workers == 1 or any(one.workers == workers for one in self.all_reduce)
        spec = bench.spec(
            setting,
            describe=self.facts is None,
            parts=turn <= PARTS_ROUNDS,
            all_reduce_bytes=() if exchanged else ALL_REDUCE_BYTES,
        )
        try:
            probed = bench.probe(spec)
            if probed.leaks is not None:
                self._consider_leak(bench, spec, probed.leaks)
        except MemoryError:
            self._fail(
                setting, "out_of_memory", "does not fit into the memory of this machine's devices"
            )
            return
        except InputError as error:
            self._fail(setting, "failed", str(error))
            if not self.samples:
                # What fails and never worked is at fault itself.
                raise InputError(self.failures[setting].reason) from None
            return
        self.data = probed.data
        if probed.facts is not None:
            self.facts = probed.facts
            self.checkpoint_write_s = probed.checkpoint_write_s or 0.0
        for size, seconds in zip(spec.all_reduce_bytes, probed.all_reduce_s, strict=True):
            self.all_reduce.append(AllReduce(workers=workers, message_bytes=size, seconds=seconds))
        one = sample(probed, turn, began)
        self.samples.setdefault(setting, []).append(one)
        if self.facts is not None:
            profile = self.profile()
            self._keep(profile)
            self._progress(self._progressed(profile, setting, one))

    def _fail(self, setting: Setting, kind: Literal["out_of_memory", "failed"], words: str) -> None:
        joint = " " if kind == "out_of_memory" else ": "
        reason = f"{self.workload.name}: {setting.describe()}{joint}{words}"
        self.failures[setting] = Failure(setting=setting, kind=kind, reason=reason)

    def _consider_leak(self, bench: Bench, spec: ProbeSpec, growth: float) -> None:
        """Warn of memory that every step keeps; InputError where the training would fill the machine."""
        traced = bench.probe(spec.model_copy(update={"trace": True, "all_reduce_bytes": ()}))
        steps = self.workload.steps_to_target(spec.setting.global_batch)
        share = growth * steps / psutil.virtual_memory().total
        words = (
            f"{traced.leak_line or spec.model} keeps {growth / 1e6:.2g} MB of memory with every step: "
            f"{min(growth * steps / 2**30, 1e6):,.1f} GiB over {steps:,} steps of training"
        )
        if share > (LEAK_SHARE if traced.leak_line else CERTAIN_LEAK_SHARE):
            raise InputError(f"{words}, {share:.0%} of what this machine has")
        if traced.leak_line:
            self.warnings.append(f"{self.workload.name}: {words}")

    def _progressed(self, profile: Profile, setting: Setting, one: ProcessSample) -> Progress:
        found = next(m for m in profile.measurements if m.setting == setting)
        done = sum(len(samples) for samples in self.samples.values())
        least = sum(max(ROUNDS, len(self.samples.get(s, []))) for s in self.chosen)
        width = _half_width(found.step_time_s.ci95)
        return Progress(done, max(done, least), setting, one.step_s, width, self._spent_s())


def _half_width(ci95: tuple[float, float]) -> float:
    return math.log(ci95[1] / ci95[0]) / 2


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
