"""Where settings are tried: every probe in fresh processes, what goes wrong told in a sentence."""

import os
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ..catalog.files import InputError
from .devices import Devices
from .gang import Gang, Nursery, cores, last_words, local_environments, refused
from .probe import TRACE_SLOWS, ProbeResult, ProbeSpec
from .records import ProcessSample, Setting
from .steady import steady
from .worker import EXIT_OUT_OF_MEMORY, is_own
from .workload import Workload

STEP_SECONDS = 1.0  # of steps in one process; more, shorter processes tell more than few long ones
STUCK_S = 180.0  # without a step; the first one of ResNet-50 takes 43 s on two cores
KILLED = -9


class Bench:
    """Tries settings of one workload; use as a context. folder: where the user's own model lies.

    stuck_s: a process that takes no step for so long is ended. Each round has a new nursery.
    """

    def __init__(
        self,
        workload: Workload,
        folder: Path | None,
        *,
        step_seconds: float = STEP_SECONDS,
        stuck_s: float = STUCK_S,
    ) -> None:
        self.workload, self.folder = workload, folder
        self._step_seconds, self._stuck_s = step_seconds, stuck_s
        self._count = 0

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        room = tempfile.TemporaryDirectory(prefix="isocost-probe-", ignore_cleanup_errors=True)
        self._room = Path(self._stack.enter_context(room))
        self._round = self._stack.enter_context(ExitStack())
        self._nursery: Nursery | None = None
        return self

    def __exit__(self, *raised: object) -> None:
        self._stack.close()

    def new_round(self) -> None:
        """What follows runs in forks of another nursery."""
        self._round.close()
        self._nursery = None

    def devices(self) -> Devices:
        """What TensorFlow finds here, by its own names."""
        log, result = self._room / "devices.log", self._room / "devices.json"
        command = ["-m", "isocost.profiles.devices", str(result)]
        with Gang([command], [{}], [log], nurseries=[self._ready()]) as gang:
            gang.wait(self._stuck_s)
        if not result.exists():
            raise InputError(f"TensorFlow cannot list its devices: {last_words(log)}")
        return Devices.read(result)

    def spec(self, setting: Setting, **wishes: Any) -> ProbeSpec:
        """A probe of a setting; wishes: further fields of ProbeSpec."""
        given = {
            "model": self.workload.model,
            "folder": str(self.folder) if self.folder else None,
            "setting": setting,
            "seconds": self._step_seconds,
            "cores": max(1, cores() // setting.workers),
            "describe": False,
            "stuck_s": self._stuck_s,
        }
        return ProbeSpec(**{**given, **wishes})

    def probe(self, spec: ProbeSpec) -> ProbeResult:
        """Run one gang of probes. MemoryError where it did not fit, InputError where it failed."""
        with self.started(spec) as trial:
            trial.gang.wait(2 * TRACE_SLOWS * spec.stuck_s + 10 * spec.seconds, trial.told)
            return trial.result()

    @contextmanager
    def started(self, spec: ProbeSpec) -> Iterator["Trial"]:
        """A running gang of probes."""
        self._count += 1
        room = self._room / str(self._count)
        room.mkdir()
        spec_path, result = room / "spec.json", room / "result.json"
        spec.write(spec_path)
        workers = spec.setting.workers
        logs = [room / f"worker-{rank}.log" for rank in range(workers)]
        command = ["-m", "isocost.profiles.probe", str(spec_path), str(result)]
        environments = [{**one, **_visible(spec.setting)} for one in local_environments(workers)]
        # What a TPU's driver does at import is not known to survive a fork.
        fresh = spec.setting.knobs.strategy == "tpu"
        nurseries = [] if fresh else [self._ready()] * workers
        with Gang([command] * workers, environments, logs, nurseries=nurseries) as gang:
            yield Trial(gang, spec, result, logs, self.folder)

    @contextmanager
    def pipe(self) -> Iterator[tuple[str, int]]:
        """The path of a new named pipe, and a descriptor that keeps it open for both ways."""
        self._count += 1
        path = self._room / f"turn-{self._count}"
        os.mkfifo(path)
        descriptor = os.open(path, os.O_RDWR)
        try:
            yield str(path), descriptor
        finally:
            os.close(descriptor)

    def _ready(self) -> Nursery:
        if self._nursery is None:
            self._nursery = self._round.enter_context(Nursery(self._room / "nursery.log"))
        return self._nursery


@dataclass(frozen=True)
class Trial:
    """One gang of probes at work."""

    gang: Gang
    spec: ProbeSpec
    path: Path
    logs: Sequence[Path]
    folder: Path | None

    def told(self) -> bool:
        """Whether the result is written. Nobody need wait for TensorFlow's end, which takes longer."""
        return self.path.exists()

    def failed(self) -> bool:
        return any(self.gang.codes())

    def result(self) -> ProbeResult:
        """What the chief saw. MemoryError where it did not fit, InputError where it failed."""
        refused(self.path)
        codes = self.gang.codes()
        if self.path.exists():
            return ProbeResult.read(self.path)
        if EXIT_OUT_OF_MEMORY in codes or KILLED in codes:
            raise MemoryError
        raise InputError(self._what_happened())

    def _what_happened(self) -> str:
        """Why there is no result, with the user's own line where a log names one."""
        for log in self.logs:
            text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
            if "Timeout (" not in text:
                continue
            lines = re.findall(r'File "([^"]+)", line (\d+) in (\S+)', text)
            own = [
                line for line in lines if self.folder is not None and is_own(line[0], self.folder)
            ]
            silence = f"no step within {self.spec.stuck_s:.0f} s"
            if own:
                file, number, function = own[0]  # the newest call comes first
                return f"{silence}; it hangs in {Path(file).name} line {number} ({function})"
            return silence
        words = last_words(next((log for log in self.logs if log.exists()), self.logs[0]))
        return f"training failed: {words}"


def _visible(setting: Setting) -> dict[str, str]:
    """The GPUs that a setting may see."""
    numbers = range(setting.devices_per_node)
    shown = "-1" if setting.accelerator == "CPU" else ",".join(map(str, numbers))
    return {"CUDA_VISIBLE_DEVICES": shown}


def sample(probed: ProbeResult, turn: int, began: float) -> ProcessSample:
    """What one gang tells of its setting; began: on the monotonic clock."""
    found = steady(probed.step_seconds, probed.settled_after)
    return ProcessSample(
        round=turn,
        step_s=found.step_s,
        spread=found.spread,
        steps=found.steps,
        discarded_steps=found.discarded,
        retraced=probed.settled_after > 1,
        startup_s=probed.startup_s,
        wall_s=time.monotonic() - began,
        cpu_s=probed.cpu_s,
        outside_load=probed.outside_load,
        input_s=probed.input_s,
        communication_s=probed.communication_s,
        peak_memory_bytes=probed.peak_memory_bytes,
    )
