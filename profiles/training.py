"""The training loop that is measured and that is run: one step under any strategy.

Keras 3 ``fit`` does not work under MultiWorkerMirroredStrategy (keras issue 20585), so the loop is
our own. Imports TensorFlow: only what trains may import this.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ..catalog.files import InputError
from . import models
from .batches import SHUFFLE_BUFFER, in_batches, pass_size, unit, worker_batches
from .records import Knobs
from .worker import factory_line, peers
from .workload import ModelFacts

COLLECTIVE_TIMEOUT_S = 300.0  # a peer that hangs is an error after that, not a silence
LOSS, STOP, SAVE, EVEN, ODD, SHARES = range(6)  # places in what a step adds up over the replicas


@dataclass(frozen=True)
class StepResult:
    """One step: the mean loss over the global batch, what any worker wished for, seconds.

    input_s: until the batch was there. communication_s: from the last gradient computed until the
    last was summed, waiting for slower workers included. shares: samples that each replica trained.
    marks: digests of them, see ``marks``.
    """

    loss: float
    stop: bool
    save: bool
    seconds: float
    input_s: float = 0.0
    communication_s: float = 0.0
    shares: tuple[int, ...] = ()
    marks: tuple[float, float] = (0.0, 0.0)


def use_threads(cores: int) -> None:
    """Let this process use that many cores; before TensorFlow's first operation."""
    tf.config.threading.set_intra_op_parallelism_threads(cores)
    tf.config.threading.set_inter_op_parallelism_threads(cores)


def use_devices(devices: int) -> None:
    """Use so many GPUs, or split the processors into so many; before TensorFlow's first operation.

    Raises InputError where there are GPUs, but too few.
    """
    if gpus := tf.config.list_physical_devices("GPU"):
        if len(gpus) < devices:
            raise InputError(f"{devices} devices were asked for; this machine has {len(gpus)} GPUs")
        tf.config.set_visible_devices(gpus[:devices], "GPU")
    elif devices > 1:
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
    if knobs.strategy == "parameter_server":
        resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
        return tf.distribute.ParameterServerStrategy(resolver)
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
    many workers share it, and skipping to step s restores the data position. learning_rate_factor:
    of what the model was compiled with.
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
        learning_rate_factor: float = 1.0,
    ) -> None:
        keras.utils.set_random_seed(seed)
        keras.mixed_precision.set_global_policy(knobs.precision)
        self.strategy = make_strategy(knobs, peers())
        with self.strategy.scope():
            job = models.build(model, folder)
            self.model, self.data = job.model, job.data
            self.model.optimizer.build(self.model.trainable_variables)
            if learning_rate_factor != 1.0:
                scale_learning_rate(self.model.optimizer, learning_rate_factor)
        self.per_device_batch = per_device_batch
        served = knobs.strategy == "parameter_server"
        self.replicas: int = peers() if served else self.strategy.num_replicas_in_sync
        self.accumulate = knobs.accumulate
        self.global_batch = per_device_batch * self.replicas * self.accumulate
        self._seed, self._shuffle_buffer = seed, shuffle_buffer
        self._knobs = knobs
        self._coordinator: Any = None
        if served:
            self._coordinator = tf.distribute.coordinator.ClusterCoordinator(self.strategy)
        self._train_step, self._update = self._make_step()

    @property
    def traces(self) -> int:
        """How often the step was traced so far: a new one compiles again."""
        return int(self._train_step.experimental_get_tracing_count())

    @property
    def pass_size(self) -> int | None:
        """Samples of one pass through the data; None where that is not known."""
        return pass_size(self.data)

    def steps(self, first_step: int = 0, *, repeated: bool = False) -> "Steps":
        """The steps from first_step on, without end; repeated: all on the one first batch."""
        kind = Steps if self._coordinator is None else ServedSteps
        return kind(self, first_step, repeated)

    def batches(self, first_step: int, repeated: bool) -> Iterator[Any]:
        def mine(rank: int, workers: int, replicas: int) -> tf.data.Dataset:
            found = worker_batches(
                self.data,
                self.global_batch // replicas,
                rank=rank,
                workers=workers,
                replicas=replicas,
                first_step=first_step,
                seed=self._seed,
                shuffle_buffer=self._shuffle_buffer,
            )
            return found.take(1).cache().repeat() if repeated else found

        if self._coordinator is not None:
            return iter(mine(0, 1, 1))
        return iter(
            self.strategy.distribute_datasets_from_function(
                lambda context: mine(
                    context.input_pipeline_id, context.num_input_pipelines, self.replicas
                )
            )
        )

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

    def _make_step(self) -> tuple[Any, Any]:
        """A step of all replicas; or of one worker its part, and the update that follows for all."""
        model, strategy, replicas, accumulate = (
            self.model,
            self.strategy,
            self.replicas,
            self.accumulate,
        )
        _sum_ourselves(model.optimizer)
        timed = self._knobs.strategy != "tpu"  # whose compiler knows no clock

        @tf.function(jit_compile=True if self._knobs.xla else None, reduce_retracing=True)
        def gradients(x: Any, y: Any) -> tuple[tf.Tensor, list[tf.Tensor]]:
            with tf.GradientTape() as tape:
                predicted = model(x, training=True)
                # Keras divides by the number of replicas, so that the sum over them is the mean.
                loss = model.compute_loss(x, y, predicted, training=True)
                scaled = model.optimizer.scale_loss(loss)
            return loss, tape.gradient(scaled, model.trainable_variables)

        def accumulated(x: Any, y: Any) -> tuple[tf.Tensor, list[tf.Tensor]]:
            """Mean loss and gradients over equal parts of the batch, one after the other."""
            if accumulate == 1:
                whole: tuple[tf.Tensor, list[tf.Tensor]] = gradients(x, y)
                return whole

            def add(part: tf.Tensor, loss: tf.Tensor, sums: Sequence[tf.Tensor]) -> Any:
                def of(whole: tf.Tensor) -> tf.Tensor:
                    size = whole.shape[0] // accumulate
                    return whole[part * size : (part + 1) * size]

                one, found = gradients(*tf.nest.map_structure(of, (x, y)))
                added = [
                    s if g is None else s + tf.cast(tf.convert_to_tensor(g), s.dtype) / accumulate
                    for s, g in zip(sums, found, strict=True)
                ]
                return part + 1, loss + tf.cast(one, loss.dtype) / accumulate, added

            zeros = [tf.zeros(v.shape, v.dtype) for v in model.trainable_variables]
            _, loss, sums = tf.while_loop(
                lambda part, loss, sums: part < accumulate, add, (0, tf.constant(0.0), zeros)
            )
            return loss, list(sums)

        def summed(found: Sequence[Any]) -> list[Any]:
            """Gradients added over the replicas, before the optimizer clips or checks them."""
            if replicas == 1:
                return list(found)
            there = [g for g in found if g is not None]
            reduced = iter(
                tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, there)
            )
            return [None if g is None else next(reduced) for g in found]

        def clock(*after: Any) -> tf.Tensor:
            """Seconds, read once everything in after is there."""
            if not timed:
                return tf.constant(0.0, tf.float64)
            with tf.control_dependencies(
                [one.values if isinstance(one, tf.IndexedSlices) else one for one in after]
            ):
                return tf.timestamp()

        def replica_step(
            x: Any, y: Any, marks: tf.Tensor, wishes: tf.Tensor, begun: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor]:
            there = clock(*tf.nest.flatten((x, y)))
            loss, found = accumulated(x, y)
            computed = clock(*(g for g in found if g is not None))
            total = summed(found)
            exchanged = clock(*(g for g in total if g is not None))
            model.optimizer.apply(total, model.trainable_variables)
            # Wishes travel with the loss: all workers then stop, or save, after the same step.
            context = tf.distribute.get_replica_context()
            share = marks[0] * tf.one_hot(
                tf.cast(context.replica_id_in_sync_group, tf.int32), replicas, dtype=tf.float64
            )
            mine = tf.concat([[tf.cast(loss, tf.float64)], wishes, marks[1:], share], 0)
            if replicas > 1:
                mine = context.all_reduce(tf.distribute.ReduceOp.SUM, mine)
            return mine, tf.stack([there - begun, exchanged - computed])

        @tf.function
        def part(x: Any, y: Any) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
            """Of one worker's share: loss, seconds and gradients, all for summing over the workers."""

            def computed(x: Any, y: Any) -> Any:
                begun = clock(*tf.nest.flatten((x, y)))
                loss, found = accumulated(x, y)
                dense = [
                    tf.zeros(v.shape, v.dtype) if g is None else tf.convert_to_tensor(g) / replicas
                    for g, v in zip(found, model.trainable_variables, strict=True)
                ]
                return tf.cast(loss, tf.float64) / replicas, clock(*dense) - begun, dense

            mine: tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]] = strategy.run(computed, args=(x, y))
            return mine

        @tf.function
        def update(total: list[tf.Tensor]) -> None:
            strategy.run(lambda: model.optimizer.apply(total, model.trainable_variables))

        if self._coordinator is not None:
            return part, update

        @tf.function
        def step(iterator: Any, wishes: tf.Tensor) -> Any:
            begun = clock()
            with tf.control_dependencies([begun]):
                batch = next(iterator)
            x, y, marks = batch
            return strategy.run(replica_step, args=(x, y, marks, wishes, begun))

        return step, None

    def evaluate(
        self, sign_of_life: Callable[[], None] = lambda: None
    ) -> tuple[float, float | None] | None:
        """Mean loss and accuracy over the test split; accuracy only where labels are classes.

        Each worker evaluates the whole split by itself, so nothing is exchanged. None where the
        user gave no test data. sign_of_life is called after every batch.
        """
        if isinstance(self.data, models.ArrayData):
            dataset = tf.data.Dataset.from_tensor_slices((self.data.test_x, self.data.test_y))
            dataset = dataset.map(lambda x, y: (unit(x), y))
        elif self.data.test is not None:
            dataset = self.data.test
        else:
            return None

        in_sync = self.strategy.num_replicas_in_sync

        @tf.function(reduce_retracing=True)
        def test_step(x: Any, y: Any) -> tuple[tf.Tensor, tf.Tensor]:
            predicted = self.model(x, training=False)
            loss = self.model.compute_loss(x, y, predicted, training=False) * in_sync
            if _are_classes(y, predicted):
                hits = tf.equal(tf.argmax(predicted, -1, tf.int64), tf.cast(y, tf.int64))
                return loss, tf.reduce_mean(tf.cast(hits, tf.float32))
            return loss, tf.constant(float("nan"))

        totals, samples = np.zeros(2), 0
        for x, y in in_batches(dataset, 256, drop_remainder=False):
            values = self.strategy.run(test_step, args=(x, y)) if in_sync > 1 else test_step(x, y)
            first = [self.strategy.experimental_local_results(value)[0] for value in values]
            count = int(tf.shape(tf.nest.flatten(y)[0])[0])
            totals += count * np.array([float(value) for value in first])
            samples += count
            sign_of_life()
        loss, accuracy = totals / max(samples, 1)
        return float(loss), None if np.isnan(accuracy) else float(accuracy)

    def facts(self) -> ModelFacts:
        """Parameters, gradient bytes, and FLOPs and bytes per sample counted from the step's graph."""
        graph = _forward_backward_graph(self.model, *self._example_batch())
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

    def _example_batch(self) -> tuple[Any, Any]:
        """One sample, over and over."""
        if isinstance(self.data, models.ArrayData):
            one = unit(tf.constant(self.data.x[0])), tf.constant(self.data.y[0])
        else:
            one = next(iter(self.data.train))
        x, y = tf.nest.map_structure(lambda t: tf.stack([t] * self.per_device_batch), one)
        return x, y


def scale_learning_rate(optimizer: Any, factor: float) -> None:
    """Multiply an optimizer's learning rate, a number, a schedule or a function, by factor."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    rate = inner._learning_rate
    if isinstance(rate, keras.Variable):
        inner.learning_rate = float(rate.numpy()) * factor
    elif isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        inner._learning_rate = _Scaled(rate, factor)
    else:
        inner._learning_rate = lambda: rate() * factor


class _Scaled(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """A schedule times a factor."""

    def __init__(self, schedule: Any, factor: float) -> None:
        self._schedule, self._factor = schedule, factor

    def __call__(self, step: Any) -> Any:
        return self._schedule(step) * self._factor

    def get_config(self) -> dict[str, Any]:
        return {"schedule": self._schedule, "factor": self._factor}


def _sum_ourselves(optimizer: Any) -> None:
    """Keep the optimizer from adding up gradients: the step has done it.

    Keras clips, and looks for overflow, before it adds up. Each replica then clips its own part, and
    k workers train otherwise than one. The hook is Keras's own, but private (3.15).
    """
    for one in (optimizer, getattr(optimizer, "inner_optimizer", None)):
        if one is not None:
            assert hasattr(one, "_all_reduce_sum_gradients"), "this Keras adds up elsewhere"
            one._all_reduce_sum_gradients = list


def _are_classes(y: Any, predicted: Any) -> bool:
    """Whether labels y are numbers of classes that predicted scores."""
    if not (tf.is_tensor(y) and tf.is_tensor(predicted)):
        return False
    return bool(y.dtype.is_integer and y.shape.rank == predicted.shape.rank - 1)


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
        wishes = tf.constant([float(stop), float(save)], tf.float64)
        found = self._trainer._train_step(self._batches, wishes)
        summed, times = (
            self._trainer.strategy.experimental_local_results(one)[0].numpy() for one in found
        )
        return StepResult(
            loss=float(summed[LOSS]),
            stop=bool(summed[STOP]),
            save=bool(summed[SAVE]),
            seconds=time.perf_counter() - start,
            input_s=max(0.0, float(times[0])),
            communication_s=max(0.0, float(times[1])),
            shares=tuple(round(float(share)) for share in summed[SHARES:]),
            marks=(float(summed[EVEN]), float(summed[ODD])),
        )


class ServedSteps(Steps):
    """Steps whose parts a coordinator hands out, one to each worker; servers hold the weights.

    The workers' gradients are added up before one update of all weights, so that a step is that of
    one worker with the whole batch. The coordinator reads the data.
    """

    def take(self, *, stop: bool = False, save: bool = False) -> StepResult:
        """As of any other steps. communication_s: all but the longest computing of a worker."""
        start = time.perf_counter()
        x, y, marks = next(self._batches)
        there = time.perf_counter()
        trainer, coordinator = self._trainer, self._trainer._coordinator
        share = trainer.global_batch // trainer.replicas
        remote = [
            coordinator.schedule(
                trainer._train_step,
                args=tf.nest.map_structure(lambda t: t[k * share : (k + 1) * share], (x, y)),  # noqa: B023
            )
            for k in range(trainer.replicas)
        ]
        losses, seconds, gradients = zip(*(one.fetch() for one in remote), strict=True)
        total = [tf.constant(sum(each)) for each in zip(*gradients, strict=True)]
        coordinator.schedule(trainer._update, args=(total,))
        coordinator.join()
        end = time.perf_counter()
        return StepResult(
            loss=float(sum(losses)),
            stop=stop,
            save=save,
            seconds=end - start,
            input_s=there - start,
            communication_s=max(0.0, end - there - float(max(seconds))),
            shares=(share,) * trainer.replicas,
            marks=(float(marks[1]), float(marks[2])),
        )


def _forward_backward_graph(model: keras.Model, x: Any, y: Any) -> tf.Graph:
    @tf.function
    def once(x: Any, y: Any) -> Any:
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
        shortest = in_batches(trainer.data.train, trainer.per_device_batch).take(1)
        if not any(True for _ in shortest):
            raise InputError(
                f"the dataset of {factory_line(trainer.data.name)} has fewer samples than one batch "
                f"of {trainer.per_device_batch}; give more data or a smaller per_device_batch"
            )
