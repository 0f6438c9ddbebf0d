"""One measurement in a process of its own: ``python -m isocost.profiles.probe SPEC RESULT``.

Trains one setting for some seconds and writes what each step took. All workers of a gang run this.
"""

import os
import resource
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from ..catalog.files import Document, InputError
from .nursery import IMPORT_S
from .records import Setting
from .worker import die_with_parent, end_if_stuck, factory_line, guarded, is_own, peers, rank
from .workload import ModelFacts

if TYPE_CHECKING:
    from .training import Trainer

PART_TIMES = 15  # of each part of a step on its own; of long steps fewer
LEAST_STEPS = 5  # however long they take
ENOUGH_STEPS = 25  # taken where they fit into three times the seconds asked for
LEAK_STEPS = 40
LEAK_SECONDS = 2.0  # of steps, to tell a leak from buffers that fill
LEAK_BYTES = 50e3  # a step; less is TensorFlow's own and nobody's trouble
STRAIGHT = 0.95  # correlation with time of memory that leaks
SHUFFLE_BUFFER = 256  # samples: filling a larger one takes time and changes no steady step
TRACE_SLOWS = 4.0  # times that following every allocation makes a step longer
LOOK_S = 0.1  # at resident memory
TURN_S = 0.25  # of steps, before the other gang has its turn
TURN_STEPS = 8  # at least


class ProbeSpec(Document):
    """What one gang of probes is to do; cores: for each worker.

    describe: also count what the model needs, and watch for leaks. stuck_s: without a step for so
    long the probe ends. parts: time the parts of a step on their own. all_reduce_bytes: messages to
    time on their own. trace: look for a leak's line. turns: the named pipes of this gang and of the
    one it alternates with.
    """

    schema_id: Literal["isocost/probe/v1"] = Field(alias="schema", default="isocost/probe/v1")
    model: str
    folder: str | None
    setting: Setting
    seconds: float
    cores: int
    describe: bool
    stuck_s: float
    parts: bool = True
    all_reduce_bytes: tuple[float, ...] = ()
    trace: bool = False
    turns: tuple[str, str] | None = None


class ProbeResult(Document):
    """What the chief saw; step_seconds[0] includes tracing and compiling.

    settled_after: the steps up to the last that was traced anew. leaks: resident bytes that every
    step adds. input_s, communication_s: None where not asked for.
    """

    schema_id: Literal["isocost/probed/v1"] = Field(alias="schema", default="isocost/probed/v1")
    data: str
    startup_s: float
    step_seconds: tuple[float, ...]
    settled_after: int
    cpu_s: float
    outside_load: float
    input_s: float | None
    communication_s: float | None
    all_reduce_s: tuple[float, ...]
    peak_memory_bytes: float
    leaks: float | None
    leak_line: str | None
    facts: ModelFacts | None
    checkpoint_write_s: float | None


def main() -> int:
    spec_path, result_path = Path(sys.argv[1]), Path(sys.argv[2])
    die_with_parent()
    spec = ProbeSpec.read(spec_path)
    folder = Path(spec.folder) if spec.folder else None
    return guarded(lambda: probe(spec, result_path), result_path, folder)


def probe(spec: ProbeSpec, result: Path) -> None:
    """Train for spec.seconds after the first step; the chief writes result."""
    import psutil

    stuck_s = spec.stuck_s * (TRACE_SLOWS if spec.trace else 1.0)
    end_if_stuck(stuck_s)
    from .training import Trainer, check_batches, use_devices, use_threads

    use_threads(spec.cores)
    if spec.setting.knobs.strategy == "mirrored":
        use_devices(spec.setting.devices_per_node)
    if spec.trace:
        tracemalloc.start(5)
    trainer = Trainer(
        spec.model,
        spec.setting.knobs,
        spec.setting.per_device_batch,
        folder=Path(spec.folder) if spec.folder else None,
        shuffle_buffer=SHUFFLE_BUFFER,
    )
    check_batches(trainer)
    me = psutil.Process()
    steps = trainer.steps()
    seconds = [steps.take().seconds]
    startup_s = time.time() - me.create_time() + float(os.environ.get(IMPORT_S) or 0.0)
    traces, settled_after = trainer.traces, 1
    start, stop, looked = time.monotonic(), False, 0.0
    resident, busy_start, cpu_start = [float(me.memory_info().rss)], _busy_s(), time.process_time()
    before = tracemalloc.take_snapshot() if spec.trace else None
    wanted_s = max(spec.seconds, LEAK_SECONDS) if spec.describe or spec.trace else spec.seconds
    turns = _Turns(*spec.turns) if spec.turns and rank() == 0 else None
    while not stop:
        if turns is not None:
            start += turns.take()
        spent = time.monotonic() - start
        enough = len(seconds) > (ENOUGH_STEPS if spent < 3 * wanted_s else LEAST_STEPS)
        taken = steps.take(stop=spent > wanted_s and enough)
        if taken.loss != taken.loss:
            raise InputError(
                f"the loss is not a number at step {len(seconds) + 1}; look at the model and data of "
                f"{factory_line(spec.model)}"
            )
        seconds.append(taken.seconds)
        stop = taken.stop
        if trainer.traces > traces:
            traces, settled_after = trainer.traces, len(seconds)
        if time.monotonic() - looked > LOOK_S:
            looked = time.monotonic()
            resident.append(float(me.memory_info().rss))
            end_if_stuck(stuck_s)
    if turns is not None:
        turns.leave()
    wall_s, cpu_s = time.monotonic() - start, time.process_time() - cpu_start
    # The peers work as much as the chief does.
    outside_load = max(0.0, _busy_s() - busy_start - cpu_s * peers()) / wall_s
    leak = _leak(resident, len(seconds))
    line = None
    if before is not None:
        line = _grown_line(before, tracemalloc.take_snapshot(), len(seconds), spec)
    input_s = communication_s = None
    if spec.parts:
        kept = statistics.median_high(seconds[settled_after:] or seconds[-1:])
        input_s = max(0.0, kept - _ready_step_s(trainer, spec.seconds))
        exchange = trainer.gradient_exchange()
        communication_s = 0.0 if exchange is None else _median_s(exchange)
    all_reduce_s = tuple(_median_s(trainer.exchange(size)) for size in spec.all_reduce_bytes)
    peak = float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * 1024
    facts = trainer.facts() if spec.describe else None
    write_s = _checkpoint_write_s(trainer) if spec.describe else None
    if rank() == 0:
        ProbeResult(
            data=trainer.data.name,
            startup_s=startup_s,
            step_seconds=tuple(seconds),
            settled_after=settled_after,
            cpu_s=cpu_s,
            outside_load=outside_load,
            input_s=input_s,
            communication_s=communication_s,
            all_reduce_s=all_reduce_s,
            peak_memory_bytes=peak,
            leaks=leak,
            leak_line=line,
            facts=facts,
            checkpoint_write_s=write_s,
        ).write(result)


def _busy_s() -> float:
    """Processor seconds this machine has spent on anything, or lost to other guests of its host."""
    import psutil

    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    # Linux counts guests' time twice: in user and in guest.
    doubly = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
    return float(sum(times) - idle - doubly)


def _ready_step_s(trainer: "Trainer", seconds: float) -> float:
    """Median seconds of a step whose batch lies there already: of PART_TIMES, the first left out, or
    of as many as take so long, LEAST_STEPS at least. All workers end after the same one."""
    steps = trainer.steps(repeated=True)
    steps.take()
    found: list[float] = []
    start, stop = time.monotonic(), False
    while not stop:
        enough = LEAST_STEPS if time.monotonic() - start > seconds else PART_TIMES
        taken = steps.take(stop=len(found) + 1 >= enough)
        found.append(taken.seconds)
        stop = taken.stop
    return statistics.median_high(found)


def _median_s(once: Callable[[], float]) -> float:
    """Median seconds of a thing done PART_TIMES, its first time left out.

    A fixed number, not a span of time: all workers must take part in every exchange.
    """
    once()
    return statistics.median_high(once() for _ in range(PART_TIMES))


class _Turns:
    """Two gangs that alternate: whoever has the token steps, the other sleeps.

    The chiefs hold it; their peers wait for them in the all-reduce.
    """

    def __init__(self, mine: str, other: str) -> None:
        # Open for both ways: opening waits for nobody, and writing to one who left is no error.
        self._mine, self._other = os.open(mine, os.O_RDWR), os.open(other, os.O_RDWR)
        self._since, self._steps = 0.0, 0

    def take(self) -> float:
        """Before every step: after a turn pass the token on and wait for it; seconds waited."""
        before = time.monotonic()
        if self._steps and (self._steps < TURN_STEPS or before - self._since < TURN_S):
            self._steps += 1
            return 0.0
        if self._steps:
            os.write(self._other, b"x")
        os.read(self._mine, 1)
        self._since, self._steps = time.monotonic(), 1
        return self._since - before

    def leave(self) -> None:
        """Give the other gang all the turns that are left."""
        os.write(self._other, b"x" * 4096)


def _leak(resident: list[float], steps: int) -> float | None:
    """Bytes that every step keeps, None where memory does not grow steadily.

    Only the later two thirds count, if they hold enough steps and rise along a line: memory also
    grows while buffers fill and kernels compile.
    """
    late = np.array(resident[len(resident) // 3 :])
    if len(late) < 4 or steps < LEAK_STEPS or np.ptp(late) == 0:
        return None
    looks = np.arange(len(late), dtype=float)
    if np.corrcoef(looks, late)[0, 1] < STRAIGHT:
        return None
    growth = float(np.polyfit(looks, late, 1)[0]) * len(resident) / steps
    return growth if growth > LEAK_BYTES else None


def _grown_line(before: object, after: object, steps: int, spec: ProbeSpec) -> str | None:
    """The user's own line that keeps more with every step, by two snapshots.

    Most bytes first; a line that keeps an object a step counts too, for tensors hold their memory
    where Python does not see it.
    """
    assert isinstance(before, tracemalloc.Snapshot)
    assert isinstance(after, tracemalloc.Snapshot)
    if spec.folder is None:
        return None
    for grown in after.compare_to(before, "traceback"):
        own = [frame for frame in grown.traceback if is_own(frame.filename, Path(spec.folder))]
        if own and grown.size_diff > 0 and grown.count_diff > steps / 2:
            return f"{Path(own[-1].filename).name} line {own[-1].lineno}"
    return None


def _checkpoint_write_s(trainer: "Trainer") -> float:
    """Seconds for writing weights and optimizer state once, the second time of two."""
    import tensorflow as tf

    checkpoint = tf.train.Checkpoint(model=trainer.model, optimizer=trainer.model.optimizer)
    took = 0.0
    for name in ("first", "second"):
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            checkpoint.write(str(Path(folder) / name))
            took = time.perf_counter() - start
    return took


if __name__ == "__main__":
    sys.exit(main())
