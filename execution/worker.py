"""The one worker program: ``python -m isocost.execution.worker SPEC RESULT``.

Engines only place it; TF_CONFIG says which worker it is. Takes the planned steps, saves
checkpoints with the data position (the step number: the data order depends on it alone), stops in
good order when asked to, and evaluates at the end.
"""

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Literal

from pydantic import Field

from ..catalog.files import Document, InputError
from ..profiles.records import Knobs
from ..profiles.worker import StopWish, die_with_parent, guarded, rank
from . import checkpoints
from .record import TestFigures
from .telemetry import LifeSign, StepLine, StepLog

SPEC, RESULT = "spec.json", "result.json"  # in the run's folder


class WorkSpec(Document):
    """What one gang of workers is to do.

    steps: of the whole training. stop_after: take no step beyond this one. began: the epoch second
    from which at_s counts. cores: for each worker. folder: where the run keeps its files.
    """

    schema_id: Literal["isocost/work/v1"] = Field(alias="schema", default="isocost/work/v1")
    model: str
    model_folder: str
    knobs: Knobs
    per_device_batch: int
    global_batch: int
    seed: int
    steps: int
    stop_after: int
    checkpoint_interval_s: float
    cores: int
    folder: str
    began: float

    @property
    def path(self) -> Path:
        """Where this very document lies while it runs."""
        return Path(self.folder) / SPEC

    @property
    def result(self) -> Path:
        return Path(self.folder) / RESULT

    @property
    def checkpoints(self) -> Path:
        return Path(self.folder) / "checkpoints"

    @property
    def step_log(self) -> Path:
        return Path(self.folder) / "steps.jsonl"

    def life_sign(self, worker: int) -> Path:
        return Path(self.folder) / f"alive-{worker}"

    def log(self, worker: int) -> Path:
        return Path(self.folder) / f"worker-{worker}.log"


class WorkResult(Document):
    """What the chief reports at the end; trained_s: since the run began."""

    schema_id: Literal["isocost/worked/v1"] = Field(alias="schema", default="isocost/worked/v1")
    status: Literal["finished", "stopped", "interrupted"]
    data: str
    step: int
    trained_s: float
    checkpoints: int
    test: TestFigures | None


def main() -> int:
    spec_path, result_path = Path(sys.argv[1]), Path(sys.argv[2])
    die_with_parent()
    wish = StopWish()
    spec = WorkSpec.read(spec_path)
    return guarded(lambda: work(spec, result_path, wish), result_path, Path(spec.model_folder))


def work(spec: WorkSpec, result: Path, stop_wish: StopWish) -> None:
    """Train from the last good checkpoint to the end, a limit, or a wish to stop."""
    from ..profiles.training import Trainer, check_batches, use_threads

    use_threads(spec.cores)
    trainer = Trainer(
        spec.model,
        spec.knobs,
        spec.per_device_batch,
        folder=Path(spec.model_folder),
        seed=spec.seed,
    )
    stop_wish.listen()
    check_batches(trainer)
    if trainer.global_batch != spec.global_batch:
        raise InputError(
            f"{trainer.replicas} devices with {spec.per_device_batch} samples each make a global "
            f"batch of {trainer.global_batch}; the plan has {spec.global_batch}"
        )
    step, keeper = 0, _Keeper(trainer, spec.checkpoints)
    if (saved := checkpoints.latest(spec.checkpoints)) is not None:
        keeper.restore(saved)
        step = saved.step
    chief, sign = rank() == 0, LifeSign(spec.life_sign(rank()))
    end, stopped, saved_at, written = min(spec.steps, spec.stop_after), False, time.monotonic(), 0
    steps = trainer.steps(step)
    with StepLog(spec.step_log if chief else Path(os.devnull), step) as log:
        while step < end and not stopped:
            due = chief and time.monotonic() - saved_at > spec.checkpoint_interval_s
            taken = steps.take(stop=bool(stop_wish), save=due)
            step += 1
            sign.give()
            log.append(StepLine(step, time.time() - spec.began, taken.seconds, taken.loss))
            if taken.loss != taken.loss:
                raise InputError(
                    f"the loss of {spec.model} is not a number at step {step}; lower the learning "
                    "rate or check the data"
                )
            if taken.save and step < end:
                keeper.save(step)
                saved_at, written = time.monotonic(), written + 1
            stopped = taken.stop
    keeper.save(step)
    trained_s = time.time() - spec.began
    status: Literal["finished", "stopped", "interrupted"] = (
        "finished" if step >= spec.steps else "interrupted" if stopped else "stopped"
    )
    figures = None if status == "interrupted" else trainer.evaluate(sign.give)
    if chief:
        WorkResult(
            status=status,
            data=trainer.data.name,
            step=step,
            trained_s=trained_s,
            checkpoints=written + 1,
            test=None if figures is None else TestFigures(loss=figures[0], accuracy=figures[1]),
        ).write(result)


class _Keeper:
    """Saves and restores the trainer's weights and optimizer state.

    All workers write, because variables that live on several workers are gathered by all; only
    the chief's files are kept.
    """

    def __init__(self, trainer: object, root: Path) -> None:
        import tensorflow as tf

        from ..profiles.training import Trainer

        assert isinstance(trainer, Trainer)
        self._checkpoint = tf.train.Checkpoint(
            model=trainer.model, optimizer=trainer.model.optimizer
        )
        self._root = root

    def save(self, step: int) -> None:
        if rank() == 0:
            checkpoints.save(self._root, step, self._write)
            return
        folder = tempfile.mkdtemp(prefix="isocost-peer-")
        try:
            self._write(f"{folder}/state")
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _write(self, prefix: str) -> None:
        self._checkpoint.write(prefix)

    def restore(self, saved: checkpoints.Saved) -> None:
        self._checkpoint.read(saved.prefix).assert_existing_objects_matched()


if __name__ == "__main__":
    sys.exit(main())
