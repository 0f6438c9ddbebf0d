"""The training loop that is measured and that is run: one step under any strategy.

Keras 3 ``fit`` does not work under MultiWorkerMirroredStrategy (keras issue 20585), so the loop is
our own. Imports TensorFlow: only what trains may import this.
"""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ..catalog.files import InputError
from . import models
from .records import Knobs
from .worker import factory_line, peers
from .workload import ModelFacts

SHUFFLE_BUFFER = 10_000  # samples; of the user's own datasets, ours are shuffled whole
COLLECTIVE_TIMEOUT_S = 300.0  # a peer that hangs is an error after that, not a silence


@dataclass(frozen=True)
class StepResult:
    """One step: the mean loss over the global batch, what any worker wished for, seconds."""

    loss: float
    stop: bool
    save: bool
    seconds: float


def use_threads(cores: int) -> None:
    """Let this process use that many cores; before TensorFlow's first operation."""
    tf.config.threading.set_intra_op_parallelism_threads(cores)
    tf.config.threading.set_inter_op_parallelism_threads(cores)


def use_devices(devices: int) -> None:
    """Split the processors into so many logical devices; before TensorFlow's first operation."""
    if devices > 1 and not tf.config.list_physical_devices("GPU"):
        (cpu, *_) = tf.config.list_physical_devices("CPU")
        logical = [tf.config.LogicalDeviceConfiguration() for _ in range(devices)]
        tf.config.set_logical_device_configuration(cpu, logical)


def make_strategy(knobs: Knobs, workers: int = 1) -> tf.distribute.Strategy:
    """The strategy that knobs name; several workers find each other through TF_CONFIG.

    One worker with one device needs none: TensorFlow's default runs the very same steps without the
    distributed variables, collectives and device iterators that cost 3 to 8 % of a small step
    (CIFAR CNN at batch 32, alternating in one process, 2026-11).
    """
    gpus = tf.config.list_physical_devices("GPU")
    alone = workers == 1 and len(gpus) <= 1
    if knobs.strategy == "one_device" or (knobs.strategy == "multi_worker_mirrored" and alone):
        return tf.distribute.get_strategy()
    if knobs.strategy == "multi_worker_mirrored":
        kind = tf.distribute.experimental.CommunicationImplementation
        options = tf.distribute.experimental.CommunicationOptions(
            implementation=kind.NCCL if gpus else kind.RING, timeout_seconds=COLLECTIVE_TIMEOUT_S
        )
        return tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
    if knobs.strategy == "tpu":  # never exercised on a real TPU by this project's tests
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu="local")
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    logical = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in logical])


class Trainer:
    """A model under a strategy, ready to take steps from step first_step on.

    The data order depends on seed and global batch alone: step s trains the same samples however
    many workers share it, and skipping to step s restores the data position.
    """

    def __init__(
        self,
        model: str,
        knobs: Knobs,
        per_device_batch: int,
        *,
        folder: Path | None = None,
        seed: int = 0,
        shuffle_buffer: int = SHUFFLE_BUFFER,
    ) -> None:
        keras.utils.set_random_seed(seed)
        keras.mixed_precision.set_global_policy(knobs.precision)
        self.strategy = make_strategy(knobs, peers())
        with self.strategy.scope():
            job = models.build(model, folder)
            self.model, self.data = job.model, job.data
            self.model.optimizer.build(self.model.trainable_variables)
        self.per_device_batch = per_device_batch
        self.replicas: int = self.strategy.num_replicas_in_sync
        self.global_batch = per_device_batch * self.replicas
        self._seed, self._shuffle_buffer = seed, shuffle_buffer
        self._xla = knobs.xla
        self._train_step = self._make_step()

    @property
    def traces(self) -> int:
        """How often the step was traced so far: a new one compiles again."""
        return int(self._train_step.experimental_get_tracing_count())

    def steps(self, first_step: int = 0, *, repeated: bool = False) -> "Steps":
        """The steps from first_step on, without end; repeated: all on the one first batch."""
        return Steps(self, first_step, repeated)

    def batches(self, first_step: int, repeated: bool) -> Iterator[Any]:
        def mine(context: Any) -> tf.data.Dataset:
            found = worker_batches(
                self.data,
                self.per_device_batch,
                rank=context.input_pipeline_id,
                workers=context.num_input_pipelines,
                replicas=self.replicas,
                first_step=first_step,
                seed=self._seed,
                shuffle_buffer=self._shuffle_buffer,
            )
            return found.take(1).cache().repeat() if repeated else found

        return iter(self.strategy.distribute_datasets_from_function(mine))

    def gradient_exchange(self) -> Callable[[], float] | None:
        """Times one all-reduce of the gradients on its own; None where there is one replica."""
        if self.replicas == 1:
            return None
        size = sum(
            int(np.prod(v.shape)) * tf.as_dtype(v.dtype).size
            for v in self.model.trainable_variables
        )
        return self.exchange(size)

    def exchange(self, message_bytes: float) -> Callable[[], float]:
        """Times one all-reduce of so many bytes."""
        return timed_all_reduce(self.strategy, message_bytes)

    def _make_step(self) -> Any:
        model, strategy = self.model, self.strategy

        @tf.function(jit_compile=True if self._xla else None, reduce_retracing=True)
        def gradients(x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
            with tf.GradientTape() as tape:
                predicted = model(x, training=True)
                # Keras divides by the number of replicas, so that the sum over them is the mean.
                loss = model.compute_loss(x, y, predicted, training=True)
                scaled = model.optimizer.scale_loss(loss)
            return loss, tape.gradient(scaled, model.trainable_variables)

        def replica_step(x: tf.Tensor, y: tf.Tensor, wishes: tf.Tensor) -> tf.Tensor:
            loss, grads = gradients(x, y)
            model.optimizer.apply(grads, model.trainable_variables)  # sums over the replicas
            # Wishes travel with the loss: all workers then stop, or save, after the same step.
            mine = tf.concat([[tf.cast(loss, tf.float32)], wishes], 0)
            return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, mine)

        @tf.function
        def step(iterator: Any, wishes: tf.Tensor) -> tf.Tensor:
            x, y = next(iterator)
            return strategy.run(replica_step, args=(x, y, wishes))

        return step

    def evaluate(
        self, sign_of_life: Callable[[], None] = lambda: None
    ) -> tuple[float, float | None] | None:
        """Mean loss and accuracy over the test split; accuracy only where labels are classes.

        Each worker evaluates the whole split by itself, so nothing is exchanged. None where the
        user gave no test data. sign_of_life is called after every batch.
        """
        if isinstance(self.data, models.ArrayData):
            dataset = tf.data.Dataset.from_tensor_slices((self.data.test_x, self.data.test_y))
        elif self.data.test is not None:
            dataset = self.data.test
        else:
            return None

        @tf.function(reduce_retracing=True)
        def test_step(x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            predicted = self.model(x, training=False)
            loss = self.model.compute_loss(x, y, predicted, training=False) * self.replicas
            if y.dtype.is_integer and y.shape.rank == predicted.shape.rank - 1:
                hits = tf.equal(tf.argmax(predicted, -1, tf.int64), tf.cast(y, tf.int64))
                return loss, tf.reduce_mean(tf.cast(hits, tf.float32))
            return loss, tf.constant(float("nan"))

        totals, samples = np.zeros(2), 0
        for x, y in dataset.map(lambda x, y: (_unit(x), y)).batch(256):
            values = self.strategy.run(test_step, args=(x, y))
            first = [self.strategy.experimental_local_results(value)[0] for value in values]
            count = int(tf.shape(y)[0])
            totals += count * np.array([float(value) for value in first])
            samples += count
            sign_of_life()
        loss, accuracy = totals / max(samples, 1)
        return float(loss), None if np.isnan(accuracy) else float(accuracy)

    def facts(self) -> ModelFacts:
        """Parameters, gradient bytes, and FLOPs and bytes per sample counted from the step's graph."""
        shape = (self.per_device_batch, *self.model.input_shape[1:])
        x = tf.zeros(shape, self.model.inputs[0].dtype)
        y = self._example_label()
        graph = _forward_backward_graph(self.model, x, tf.stack([y] * self.per_device_batch))
        trainable = self.model.trainable_variables
        parameters = int(sum(np.prod(v.shape) for v in trainable))
        saved = [*self.model.variables, *self.model.optimizer.variables]
        return ModelFacts(
            parameters=parameters,
            gradient_bytes=float(
                sum(np.prod(v.shape) * tf.as_dtype(v.dtype).size for v in trainable)
            ),
            flops_per_sample=_flops(graph) / self.per_device_batch,
            bytes_per_sample=_traffic_bytes(graph) / self.per_device_batch,
            checkpoint_bytes=float(
                sum(np.prod(v.shape) * tf.as_dtype(v.dtype).size for v in saved)
            ),
        )

    def _example_label(self) -> tf.Tensor:
        if isinstance(self.data, models.ArrayData):
            return tf.constant(self.data.y[0])
        return next(iter(self.data.train))[1]


def timed_all_reduce(strategy: tf.distribute.Strategy, message_bytes: float) -> Callable[[], float]:
    """Times one all-reduce of so many bytes, over all replicas of the strategy."""
    count = max(1, int(message_bytes) // 4)

    def summed() -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        total = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.ones([count]))
        return total[0]

    @tf.function
    def once() -> tf.Tensor:
        return strategy.run(summed)

    def timed() -> float:
        start = time.perf_counter()
        strategy.experimental_local_results(once())[0].numpy()
        return time.perf_counter() - start

    return timed


class Steps:
    """Steps one after the other; ``take`` runs the next."""

    def __init__(self, trainer: Trainer, first_step: int, repeated: bool) -> None:
        self._trainer = trainer
        self._batches = trainer.batches(first_step, repeated)

    def take(self, *, stop: bool = False, save: bool = False) -> StepResult:
        """Train on the next global batch. stop, save: what this worker wants after this step."""
        start = time.perf_counter()
        wishes = tf.constant([float(stop), float(save)])
        summed = self._trainer._train_step(self._batches, wishes)
        loss, stops, saves = self._trainer.strategy.experimental_local_results(summed)[0].numpy()
        return StepResult(float(loss), bool(stops), bool(saves), time.perf_counter() - start)


def worker_batches(
    data: models.Data,
    per_device_batch: int,
    *,
    rank: int,
    workers: int,
    replicas: int,
    first_step: int,
    seed: int,
    shuffle_buffer: int = SHUFFLE_BUFFER,
) -> tf.data.Dataset:
    """Per-replica batches of one worker, without end, from first_step on.

    Global batch s holds samples s*B ... (s+1)*B - 1 of an endless, reshuffled sequence; worker
    ``rank`` takes its own share of each, so every sample of a pass is trained once by one worker.
    """
    local = replicas // workers
    if isinstance(data, models.ArrayData):
        return _array_batches(data, per_device_batch, rank, local, replicas, first_step, seed)
    # Sample i goes to worker i mod workers: the union of the workers' batches is the global batch.
    shuffled = data.train.shuffle(shuffle_buffer, seed=seed, reshuffle_each_iteration=True).repeat()
    mine = shuffled.shard(workers, rank).skip(first_step * per_device_batch * local)
    return mine.batch(per_device_batch, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def _array_batches(
    data: models.ArrayData,
    batch: int,
    rank: int,
    local: int,
    replicas: int,
    first_step: int,
    seed: int,
) -> tf.data.Dataset:
    size = len(data.y)
    x, y = tf.constant(data.x), tf.constant(data.y)

    def gather(element: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # Element e of this worker is replica e mod local of step e div local.
        step, replica = element // local, rank * local + element % local
        position = (step * replicas + replica) * batch + tf.range(batch, dtype=tf.int64)
        passes, place = position // size, position % size
        seeds = tf.stack(
            [tf.fill([batch], tf.constant(seed, tf.int64)), passes, tf.zeros([batch], tf.int64)], 1
        )
        # The raw operation: its public wrapper pads per-index seeds on the wrong axis (2.21).
        index = tf.raw_ops.RandomIndexShuffle(
            index=place,
            seed=tf.cast(seeds, tf.uint32),
            max_index=tf.constant(size - 1, tf.int64),
        )
        return _unit(tf.gather(x, index)), tf.gather(y, index)

    elements = tf.data.Dataset.counter(start=first_step * local)
    options = tf.data.Options()
    options.deterministic = True
    return elements.map(gather).with_options(options).prefetch(tf.data.AUTOTUNE)


def _unit(x: tf.Tensor) -> tf.Tensor:
    return tf.cast(x, tf.float32) / 255.0 if x.dtype == tf.uint8 else x


def _forward_backward_graph(model: keras.Model, x: tf.Tensor, y: tf.Tensor) -> tf.Graph:
    @tf.function
    def once(x: tf.Tensor, y: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            loss = model.compute_loss(x, y, model(x, training=True), training=True)
        return tape.gradient(loss, model.trainable_variables)

    return once.get_concrete_function(x, y).graph


def _flops(graph: tf.Graph) -> float:
    """Floating-point operations of one run of graph, by TensorFlow's own count."""
    profiler = tf.compat.v1.profiler
    options = profiler.ProfileOptionBuilder(profiler.ProfileOptionBuilder.float_operation())
    counted = profiler.profile(graph, options=options.with_empty_output().build())
    return float(max(counted.total_float_ops, 1))


def _traffic_bytes(graph: tf.Graph) -> float:
    """Bytes to and from device memory if every float tensor is written once and read once."""
    total = 0.0
    for operation in graph.get_operations():
        for tensor in operation.outputs:
            if tensor.dtype.is_floating and tensor.shape.is_fully_defined():
                total += 2.0 * tensor.shape.num_elements() * tensor.dtype.size
    return max(total, 1.0)


def quiet() -> None:
    """Keep TensorFlow's notices out of a worker's log; before TensorFlow is imported elsewhere."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def check_batches(trainer: Trainer) -> None:
    """InputError where the user's dataset is too short to fill one batch."""
    if isinstance(trainer.data, models.StreamData):
        shortest = trainer.data.train.batch(trainer.per_device_batch, drop_remainder=True).take(1)
        if not any(True for _ in shortest):
            raise InputError(
                f"the dataset of {factory_line(trainer.data.name)} has fewer samples than one batch "
                f"of {trainer.per_device_batch}; give more data or a smaller per_device_batch"
            )
