"""One measurement in a process of its own: ``python -m isocost.profiles.probe SPEC RESULT``.

Trains one setting for some seconds and writes what each step took. All workers of a gang run this.
"""

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Literal

from pydantic import Field

from ..catalog.files import Document
from .records import Setting
from .worker import die_with_parent, guarded, rank
from .workload import ModelFacts


class ProbeSpec(Document):
    """What one gang of probes is to do; cores: for each worker."""

    schema_id: Literal["isocost/probe/v1"] = Field(alias="schema", default="isocost/probe/v1")
    model: str
    folder: str | None
    setting: Setting
    seconds: float
    cores: int
    describe: bool


class ProbeResult(Document):
    """What the chief saw; step_seconds[0] includes tracing and compiling."""

    schema_id: Literal["isocost/probed/v1"] = Field(alias="schema", default="isocost/probed/v1")
    data: str
    startup_s: float
    step_seconds: tuple[float, ...]
    cpu_s: float
    facts: ModelFacts | None
    checkpoint_write_s: float | None


def main() -> int:
    spec_path, result_path = Path(sys.argv[1]), Path(sys.argv[2])
    die_with_parent()
    return guarded(lambda: probe(ProbeSpec.read(spec_path), result_path), result_path)


def probe(spec: ProbeSpec, result: Path) -> None:
    """Train for spec.seconds after the first step; the chief writes result."""
    import psutil

    from .training import Trainer, check_batches, use_threads

    use_threads(spec.cores)
    trainer = Trainer(
        spec.model,
        spec.setting.knobs,
        spec.setting.per_device_batch,
        folder=Path(spec.folder) if spec.folder else None,
    )
    check_batches(trainer)
    steps = trainer.steps()
    seconds = [steps.take().seconds]
    startup_s = time.time() - psutil.Process().create_time()
    end, stop = time.monotonic() + spec.seconds, False
    cpu_start = time.process_time()
    while not stop:
        taken = steps.take(stop=time.monotonic() > end)
        seconds.append(taken.seconds)
        stop = taken.stop
    cpu_s = time.process_time() - cpu_start
    facts = trainer.facts() if spec.describe else None
    write_s = _checkpoint_write_s(trainer) if spec.describe else None
    if rank() == 0:
        ProbeResult(
            data=trainer.data.name,
            startup_s=startup_s,
            step_seconds=tuple(seconds),
            cpu_s=cpu_s,
            facts=facts,
            checkpoint_write_s=write_s,
        ).write(result)


def _checkpoint_write_s(trainer: object) -> float:
    """Seconds for writing weights and optimizer state once, the second time of two."""
    import tensorflow as tf

    from .training import Trainer

    assert isinstance(trainer, Trainer)
    checkpoint = tf.train.Checkpoint(model=trainer.model, optimizer=trainer.model.optimizer)
    took = 0.0
    for name in ("first", "second"):
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            checkpoint.write(os.path.join(folder, name))
            took = time.perf_counter() - start
    return took


if __name__ == "__main__":
    sys.exit(main())
