"""Which samples each step trains, whatever number of workers shares it.

Global batch s holds samples s*B ... (s+1)*B - 1 of an endless sequence that runs through the data
again and again, each time in another order. Worker ``rank`` takes its own share of each batch: the
sharding is ours and TensorFlow's auto-sharding is off, so every sample of a pass is trained once, by
one worker. The order depends on seed and global batch alone; skipping to step s restores the data
position.

A batch is (x, y, marks): marks count its samples and add up the digests of their numbers, for those
of even and of odd passes; see ``marks``.
"""

import tensorflow as tf

from . import models
from .marks import FACTORS, SHIFTS

SHUFFLE_BUFFER = 10_000  # samples; of the user's own datasets, ours are shuffled whole


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
    """Per-replica batches (x, y, marks) of one worker, without end, from first_step on."""
    local = replicas // workers
    if isinstance(data, models.ArrayData):
        found = _array_batches(data, per_device_batch, rank, local, replicas, first_step, seed)
    else:
        found = _stream_batches(
            data, per_device_batch, rank, workers, first_step * local, seed, shuffle_buffer
        )
    options = tf.data.Options()
    options.deterministic = True
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return found.with_options(options).prefetch(tf.data.AUTOTUNE)


def pass_size(data: models.Data) -> int | None:
    """Samples of one pass; None where the user's dataset does not know."""
    if isinstance(data, models.ArrayData):
        return len(data.y)
    known = int(data.train.cardinality())
    return known if known > 0 else None


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

    def gather(element: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
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
        marks = tf.reduce_sum(_marks(index, passes), axis=0)
        return unit(tf.gather(x, index)), tf.gather(y, index), marks

    return tf.data.Dataset.counter(start=first_step * local).map(gather)


def _stream_batches(
    data: models.StreamData,
    batch: int,
    rank: int,
    workers: int,
    first_batch: int,
    seed: int,
    shuffle_buffer: int,
) -> tf.data.Dataset:
    # Without a known size there is no telling where a pass ends: all counts as the first.
    length = pass_size(data) or 2**62
    shuffled = (
        data.train.enumerate()
        .shuffle(shuffle_buffer, seed=seed, reshuffle_each_iteration=True)
        .repeat()
        .enumerate()
    )
    # Sample i goes to worker i mod workers: the union of the workers' batches is the global batch.
    mine = shuffled.shard(workers, rank).skip(first_batch * batch)
    marked = mine.map(lambda place, one: (*one[1], _marks(one[0], place // length)))
    return in_batches(marked, batch).map(lambda x, y, marks: (x, y, tf.reduce_sum(marks, axis=0)))


def in_batches(
    singles: tf.data.Dataset, size: int, *, drop_remainder: bool = True
) -> tf.data.Dataset:
    """Samples in batches; those of different lengths padded, as in the user's own batches."""
    shapes = [one.shape for one in tf.nest.flatten(singles.element_spec)]
    if any(shape.rank and not shape.is_fully_defined() for shape in shapes):
        return singles.padded_batch(size, drop_remainder=drop_remainder)
    return singles.batch(size, drop_remainder=drop_remainder)


def _marks(index: tf.Tensor, passes: tf.Tensor) -> tf.Tensor:
    """Marks of single samples: shape (..., 3), from their numbers and passes."""
    value, odd = tf.cast(_digest(index), tf.float64), tf.cast(passes % 2, tf.float64)
    return tf.stack([tf.ones_like(value), value * (1 - odd), value * odd], axis=-1)


def _digest(index: tf.Tensor) -> tf.Tensor:
    mixed = tf.cast(index + 1, tf.uint32)
    for shift, factor in zip(SHIFTS, FACTORS, strict=True):
        right = tf.bitwise.right_shift(mixed, tf.constant(shift, tf.uint32))
        mixed = tf.bitwise.bitwise_xor(mixed, right) * tf.constant(factor, tf.uint32)
    return mixed


def unit(x: tf.Tensor) -> tf.Tensor:
    """Bytes as 0..1; everything else as it is."""
    return tf.cast(x, tf.float32) / 255.0 if x.dtype == tf.uint8 else x
