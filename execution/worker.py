"""The one worker program: ``python -m isocost.execution.worker SPEC RESULT``.

Engines only place it; TF_CONFIG says which worker it is. Takes the planned steps, saves
checkpoints with the data position (the step number: the data order depends on it alone), stops in
good order when asked to, and evaluates at the end. Under ParameterServerStrategy the chief does this
and all others serve it.
"""

import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ..catalog.files import Document, InputError, Record
from ..profiles.records import Knobs
from ..profiles.worker import StopWish, die_with_parent, guarded, rank, task_type
from . import checkpoints
from .checkpoints import Position
from .record import TestFigures
from .telemetry import Events, LifeSign, Memory, StepLine, StepLog

if TYPE_CHECKING:
    from ..profiles.training import StepResult, Trainer

SPEC, RESULT = "spec.json", "result.json"  # in the run's folder
SERVE_POLL_S = 0.1
ASKED_TO_END = "asked to end"  # a server's stage, for the supervisor to see


class Checkpointing(Record):
    """How often to save. every_s: so often, or None for Daly's interval.

    write_s: what one is expected to take until one was written here. mean_to_interruption_s: of the
    whole gang. restart_s: to be back after one; as measured, once a start was.
    """

    every_s: float | None = None
    write_s: float = Field(gt=0)
    mean_to_interruption_s: float = Field(gt=0)
    restart_s: float = Field(default=0.0, ge=0)


class WorkSpec(Document):
    """What one gang of workers is to do.

    global_batch: samples of one update. devices: of each worker, processors split where there are
    no others. replicas: model copies whose samples are counted one by one. steps: of the whole
    training. stop_after: take no step beyond this one. began: the epoch second from which at_s
    counts. started: that in which this gang was. cores: for each worker. folder: where the run keeps
    its files.
    """

    schema_id: Literal["isocost/work/v1"] = Field(alias="schema", default="isocost/work/v1")
    model: str
    model_folder: str
    knobs: Knobs
    per_device_batch: int
    global_batch: int
    devices: int = 1
    learning_rate_factor: float = 1.0
    seed: int
    steps: int
    stop_after: int
    checkpointing: Checkpointing
    cores: int
    folder: str
    began: float
    started: float

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

    @property
    def events(self) -> Path:
        return Path(self.folder) / "tensorboard"

    def life_sign(self, worker: int) -> Path:
        return Path(self.folder) / f"alive-{worker}"

    def scratch(self, worker: int) -> Path:
        """Where a worker that is not the chief puts its part of a checkpoint, for nobody."""
        return Path(self.folder) / f".peer-{worker}"

    def log(self, worker: int) -> Path:
        return Path(self.folder) / f"worker-{worker}.log"

    def position(self, step: int = 0) -> Position:
        """What a checkpoint of this training says of itself, without its samples."""
        return Position(
            step=step,
            model=self.model,
            seed=self.seed,
            global_batch=self.global_batch,
            learning_rate_factor=self.learning_rate_factor,
        )


class WorkResult(Document):
    """What the chief reports at the end; trained_s: since the run began.

    pass_size: samples of one pass, None where the data do not say. checkpoint_write_s,
    checkpoint_interval_s, restart_s: as measured, and what followed from it.
    """

    schema_id: Literal["isocost/worked/v1"] = Field(alias="schema", default="isocost/worked/v1")
    status: Literal["finished", "stopped", "interrupted"]
    data: str
    step: int
    trained_s: float
    checkpoints: int
    test: TestFigures | None
    position: Position
    pass_size: int | None
    checkpoint_write_s: float | None
    checkpoint_interval_s: float
    restart_s: float


def main() -> int:
    spec_path, result_path = Path(sys.argv[1]), Path(sys.argv[2])
    wish = StopWish()
    spec = WorkSpec.read(spec_path)
    sign = LifeSign(spec.life_sign(rank()))
    sign.give("starting")
    sign.beat()
    die_with_parent()
    scheduled = spec.knobs.strategy == "parameter_server"
    job = serve if scheduled and task_type() != "chief" else work
    return guarded(lambda: job(spec, result_path, wish, sign), result_path, Path(spec.model_folder))


def serve(spec: WorkSpec, result: Path, wish: StopWish, sign: LifeSign) -> None:
    """Be a worker or a parameter server to the chief, until ended from outside.

    A wish to stop is only told: the chief must save first.
    """
    import tensorflow as tf

    from ..profiles.training import use_threads

    use_threads(spec.cores)
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    server = tf.distribute.Server(
        resolver.cluster_spec(),
        job_name=resolver.task_type,
        task_index=resolver.task_id,
        protocol="grpc",
    )
    wish.listen()
    while server is not None:
        sign.give(ASKED_TO_END if wish else "serving")
        time.sleep(SERVE_POLL_S)


def work(spec: WorkSpec, result: Path, wish: StopWish, sign: LifeSign) -> None:
    """Train from the last good checkpoint to the end, a limit, or a wish to stop."""
    from ..profiles.training import Trainer, check_batches, use_devices, use_threads

    use_threads(spec.cores)
    if spec.knobs.strategy == "mirrored":
        use_devices(spec.devices)
    sign.give("building")
    trainer = Trainer(
        spec.model,
        spec.knobs,
        spec.per_device_batch,
        folder=Path(spec.model_folder),
        seed=spec.seed,
        learning_rate_factor=spec.learning_rate_factor,
    )
    wish.listen()
    check_batches(trainer)
    if trainer.global_batch != spec.global_batch:
        raise InputError(
            f"{trainer.replicas} devices with {trainer.global_batch // trainer.replicas} samples each "
            f"make a global batch of {trainer.global_batch}; the plan has {spec.global_batch}"
        )
    chief = rank() == 0
    keeper = _Keeper(trainer, spec)
    counted = _Counts(trainer.replicas)
    step = 0
    if (saved := checkpoints.latest(spec.checkpoints)) is not None:
        if saved.step:  # the weights of step 0 follow from the seed
            keeper.restore(saved)
        step = saved.step
        counted.restore(saved.position(), step * spec.global_batch)
    pace = _Pace(spec.checkpointing, spec.started)
    end, stopped = min(spec.steps, spec.stop_after), False
    steps, memory = trainer.steps(step), Memory()
    events = Events(spec.events) if chief else None
    sign.give("building")
    with StepLog(spec.step_log if chief else Path(os.devnull), step) as log:
        while step < end and not stopped:
            due = chief and pace.due()
            taken = steps.take(stop=bool(wish), save=due)
            step += 1
            counted.add(taken.shares)
            line = _line(step, time.time() - spec.began, taken, memory.now())
            log.append(line)
            if events is not None:
                events.add(line, last=step == end or taken.stop)
            if taken.loss != taken.loss:
                raise InputError(
                    f"the loss of {spec.model} is not a number at step {step}; lower the learning "
                    "rate or check the data"
                )
            sign.give("training", step)
            pace.stepped(taken.seconds)
            if taken.save and step < end:
                pace.saved(keeper.save(counted.position(spec, step)))
                sign.give("saving", step)
            stopped = taken.stop
    trained_s = time.time() - spec.began
    pace.saved(keeper.save(counted.position(spec, step)))
    if events is not None:
        events.flush()
    sign.give("saving", step)
    status: Literal["finished", "stopped", "interrupted"] = (
        "finished" if step >= spec.steps else "interrupted" if stopped else "stopped"
    )
    figures = None
    if status != "interrupted":
        # All evaluate, though the chief alone tells: a worker that left would be missed by TensorFlow.
        figures = trainer.evaluate(lambda: sign.give("testing", step))
    if chief:
        WorkResult(
            status=status,
            data=trainer.data.name,
            step=step,
            trained_s=trained_s,
            checkpoints=pace.written,
            test=None if figures is None else TestFigures(loss=figures[0], accuracy=figures[1]),
            position=counted.position(spec, step),
            pass_size=trainer.pass_size,
            checkpoint_write_s=pace.write_s,
            checkpoint_interval_s=pace.interval_s(),
            restart_s=pace.restart_s,
        ).write(result)
    sign.give("leaving", step)


def _line(step: int, at_s: float, taken: "StepResult", memory_bytes: float) -> StepLine:
    return StepLine(
        step=step,
        at_s=at_s,
        seconds=taken.seconds,
        loss=taken.loss,
        input_s=taken.input_s,
        communication_s=taken.communication_s,
        samples=sum(taken.shares),
        even=taken.marks[0],
        odd=taken.marks[1],
        memory_bytes=memory_bytes,
    )


class _Counts:
    """Samples that each replica trained, in the steps that count."""

    def __init__(self, replicas: int) -> None:
        self._samples, self._earlier = [0] * replicas, 0

    def restore(self, position: Position | None, trained: int) -> None:
        if position is not None and len(position.samples) == len(self._samples):
            self._samples, self._earlier = list(position.samples), position.earlier
        else:
            self._earlier = trained  # by another number of workers

    def add(self, shares: Sequence[int]) -> None:
        self._samples = [had + more for had, more in zip(self._samples, shares, strict=True)]

    def position(self, spec: WorkSpec, step: int) -> Position:
        return spec.position(step).model_copy(
            update={"samples": tuple(self._samples), "earlier": self._earlier}
        )


class _Pace:
    """When the next checkpoint is due, from what writing one and starting took here.

    A checkpoint is due so early that it is whole within one interval of the moment at which the one
    before was taken: that is the most work that can be lost.
    """

    def __init__(self, known: Checkpointing, started: float) -> None:
        self._known, self._started = known, started
        self._taken, self._step_s = time.monotonic(), 0.0
        self._writes: list[float] = []
        self.restart_s = known.restart_s
        self._stepped = False

    @property
    def written(self) -> int:
        return len(self._writes)

    @property
    def write_s(self) -> float | None:
        """Median seconds to write a checkpoint; None before the first."""
        return sorted(self._writes)[len(self._writes) // 2] if self._writes else None

    def interval_s(self) -> float:
        if self._known.every_s is not None:
            return self._known.every_s
        return checkpoints.daly_interval_s(
            self.write_s or self._known.write_s,
            self._known.mean_to_interruption_s,
            self.restart_s,
        )

    def stepped(self, seconds: float) -> None:
        if not self._stepped:
            self._stepped, self.restart_s = True, time.time() - self._started
            self._taken = time.monotonic() - seconds
            return  # the first step compiles: the others are not as long
        self._step_s = max(seconds, 0.9 * self._step_s)

    def due(self) -> bool:
        if not self._stepped:
            return False
        write_s = max(self._writes[-3:], default=self._known.write_s)
        ahead_s = write_s + 2 * self._step_s
        return time.monotonic() - self._taken + ahead_s >= self.interval_s()

    def saved(self, seconds: float) -> None:
        self._writes.append(seconds)
        self._taken = time.monotonic() - seconds


class _Keeper:
    """Saves and restores the trainer's weights and optimizer state.

    All workers write, because variables that live on several workers are gathered by all; only
    the chief's files are kept.
    """

    def __init__(self, trainer: "Trainer", spec: WorkSpec) -> None:
        import tensorflow as tf

        self._checkpoint = tf.train.Checkpoint(
            model=trainer.model, optimizer=trainer.model.optimizer
        )
        self._spec = spec

    def save(self, position: Position) -> float:
        """Write a checkpoint; seconds that it took."""
        start = time.monotonic()
        if rank() == 0:
            checkpoints.save(self._spec.checkpoints, position.step, self._write, position)
        else:
            scratch = self._spec.scratch(rank())
            scratch.mkdir(exist_ok=True)
            self._write(str(scratch / "state"))
            shutil.rmtree(scratch, ignore_errors=True)
        return time.monotonic() - start

    def _write(self, prefix: str) -> None:
        self._checkpoint.write(prefix)

    def restore(self, saved: checkpoints.Saved) -> None:
        """Raises InputError where the checkpoint is of another model."""
        try:
            self._checkpoint.read(saved.prefix).assert_existing_objects_matched()
        except (AssertionError, ValueError) as error:
            raise InputError(
                f"the checkpoint after step {saved.step} does not fit the model "
                f"{self._spec.model}: {' '.join(str(error).split())[:160]}; has the model changed?"
            ) from error


if __name__ == "__main__":
    sys.exit(main())
