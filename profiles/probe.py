"""One measurement in a process of its own: ``python -m isocost.profiles.probe SPEC RESULT``.

Trains one setting for some seconds and writes what each step took. All workers of a gang run this.
"""

import itertools
import resource
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ..catalog.files import Document, InputError
from .records import Setting
from .worker import die_with_parent, end_if_stuck, factory_line, guarded, is_own, rank
from .workload import ModelFacts

if TYPE_CHECKING:
    from .training import Trainer

PART_TIMES = 15  # of each part of a step on its own
LEAST_STEPS = 5
LEAK_STEPS = 100
LEAK_SHARE = 0.5  # of this machine's memory that the whole training would fill
KEEP_ALIVE_S = 1.0


class ProbeSpec(Document):
    """What one gang of probes is to do; cores: for each worker.

    stuck_s: without a step for so long the probe ends. steps_to_target: of the whole training, to
    tell a leak. all_reduce_bytes: messages to time on their own. trace: look for a leak's line.
    """

    schema_id: Literal["isocost/probe/v1"] = Field(alias="schema", default="isocost/probe/v1")
    model: str
    folder: str | None
    setting: Setting
    seconds: float
    cores: int
    describe: bool
    stuck_s: float
    steps_to_target: int
    all_reduce_bytes: tuple[float, ...] = ()
    trace: bool = False


class ProbeResult(Document):
    """What the chief saw; step_seconds[0] includes tracing and compiling.

    leaks: resident bytes that a step adds, where the training would fill the memory.
    """

    schema_id: Literal["isocost/probed/v1"] = Field(alias="schema", default="isocost/probed/v1")
    data: str
    startup_s: float
    step_seconds: tuple[float, ...]
    cpu_s: float
    input_s: float
    communication_s: float
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

    end_if_stuck(spec.stuck_s)
    from .training import Trainer, check_batches, use_threads

    use_threads(spec.cores)
    if spec.trace:
        tracemalloc.start(5)
    trainer = Trainer(
        spec.model,
        spec.setting.knobs,
        spec.setting.per_device_batch,
        folder=Path(spec.folder) if spec.folder else None,
    )
    check_batches(trainer)
    me = psutil.Process()
    steps = trainer.steps()
    seconds = [steps.take().seconds]
    startup_s = time.time() - me.create_time()
    end, stop, alive = time.monotonic() + spec.seconds, False, 0.0
    cpu_start, resident = time.process_time(), [float(me.memory_info().rss)]
    before = tracemalloc.take_snapshot() if spec.trace else None
    while not stop:
        over = time.monotonic() > end and len(seconds) > LEAST_STEPS
        taken = steps.take(stop=over)
        if taken.loss != taken.loss:
            raise InputError(
                f"the loss is not a number at step {len(seconds) + 1}; look at the model and data of "
                f"{factory_line(spec.model)}"
            )
        seconds.append(taken.seconds)
        stop = taken.stop
        if time.monotonic() - alive > KEEP_ALIVE_S / 4:
            alive = time.monotonic()
            resident.append(float(me.memory_info().rss))
            end_if_stuck(spec.stuck_s)
    cpu_s = time.process_time() - cpu_start
    leak = _leak(resident, len(seconds), spec.steps_to_target, psutil.virtual_memory().total)
    line = None
    if before is not None:
        line = _grown_line(before, tracemalloc.take_snapshot(), spec)
    ready = trainer.steps(repeated=True)
    on_ready = _median_s(lambda: ready.take().seconds)
    exchange = trainer.gradient_exchange()
    communication_s = 0.0 if exchange is None else _median_s(exchange)
    all_reduce_s = tuple(_median_s(trainer.exchange(size)) for size in spec.all_reduce_bytes)
    peak = float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * 1024
    facts = trainer.facts() if spec.describe else None
    write_s = _checkpoint_write_s(trainer) if spec.describe else None
    if rank() == 0:
        kept = sorted(seconds[1:])
        ProbeResult(
            data=trainer.data.name,
            startup_s=startup_s,
            step_seconds=tuple(seconds),
            cpu_s=cpu_s,
            input_s=max(0.0, kept[len(kept) // 2] - on_ready),
            communication_s=communication_s,
            all_reduce_s=all_reduce_s,
            peak_memory_bytes=peak,
            leaks=leak,
            leak_line=line,
            facts=facts,
            checkpoint_write_s=write_s,
        ).write(result)


def _median_s(once: Callable[[], float]) -> float:
    """Median seconds of a thing done PART_TIMES, its first time left out.

    A fixed number, not a span of time: all workers must take part in every exchange.
    """
    once()
    return sorted(once() for _ in range(PART_TIMES))[PART_TIMES // 2]


def _leak(
    resident: list[float], steps: int, steps_to_target: int, total_bytes: float
) -> float | None:
    """Bytes a step that never come back, where the training would fill the memory with them.

    Only the later two thirds count, and only if they hold enough steps: memory also grows while
    buffers fill and kernels compile.
    """
    late = resident[len(resident) // 3 :]
    if len(late) < 4 or steps < LEAK_STEPS or any(b < a for a, b in itertools.pairwise(late)):
        return None
    growth = (late[-1] - late[0]) / max(1.0, steps * len(late) / len(resident))
    return growth if growth * steps_to_target > LEAK_SHARE * total_bytes else None


def _grown_line(before: object, after: object, spec: ProbeSpec) -> str | None:
    """The user's own line whose allocations grew most between two snapshots."""
    assert isinstance(before, tracemalloc.Snapshot)
    assert isinstance(after, tracemalloc.Snapshot)
    if spec.folder is None:
        return None
    for grown in after.compare_to(before, "traceback"):
        own = [frame for frame in grown.traceback if is_own(frame.filename, Path(spec.folder))]
        if own and grown.size_diff > 0:
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
