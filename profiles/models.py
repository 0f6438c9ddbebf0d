"""Built-in models with their data, and the user's own. Imports TensorFlow: only what trains may import this."""

import importlib
import os
import pickle
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ..catalog.files import InputError


@dataclass(frozen=True)
class ArrayData:
    """Samples held in memory; x is scaled from whole numbers 0..255 to 0..1 where it is uint8."""

    name: str
    x: NDArray[Any]
    y: NDArray[Any]
    test_x: NDArray[Any]
    test_y: NDArray[Any]


@dataclass(frozen=True)
class StreamData:
    """The user's own tf.data.Dataset of (x, y), one sample an element; test may be None."""

    name: str
    train: tf.data.Dataset
    test: tf.data.Dataset | None


Data = ArrayData | StreamData


@dataclass(frozen=True)
class Job:
    """A compiled Keras model with its data. Build it inside the strategy's scope."""

    model: keras.Model
    data: Data


def build(model: str, folder: Path | None = None) -> Job:
    """The job that ``model`` names: built in, or ``module:function`` found in folder or sys.path.

    The user's function returns (compiled Keras model, train dataset) or (model, train, test).
    Raises InputError naming the user's own module where that cannot be used.
    """
    if model in _BUILT_IN:
        return _BUILT_IN[model]()
    return _own(model, folder)


def cifar10_cnn() -> Job:
    """Conv 32 - pool - Conv 64 - pool - Conv 64 - flatten - Dense 64 - Dense 10 on real small images."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10, dtype="float32"),
        ]
    )
    _compile_classifier(model, 1e-3)
    return Job(model, _cifar10() or _digits())


def resnet50() -> Job:
    """ResNet-50 at 224 x 224, weights not loaded, on random images: for throughput, not accuracy."""
    model = keras.applications.ResNet50(weights=None, classes=1000)
    _compile_classifier(model, 1e-3, from_logits=False)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (160, 224, 224, 3), dtype=np.uint8)
    y = rng.integers(0, 1000, 160)
    return Job(model, ArrayData("synthetic", x[:128], y[:128], x[128:], y[128:]))


def transformer(tokens: int = 64, width: int = 128, heads: int = 4, depth: int = 2) -> Job:
    """A small encoder that tells the commoner half of its vocabulary from the rarer; random tokens."""
    layers = keras.layers
    entry = keras.Input((tokens,), dtype="int32")
    h = layers.Embedding(1000, width)(entry)
    for _ in range(depth):
        attended = layers.MultiHeadAttention(heads, width // heads)(h, h)
        h = layers.LayerNormalization()(h + attended)
        wide = layers.Dense(4 * width, activation="gelu")(h)
        h = layers.LayerNormalization()(h + layers.Dense(width)(wide))
    out = layers.Dense(2, dtype="float32")(layers.GlobalAveragePooling1D()(h))
    model = keras.Model(entry, out)
    _compile_classifier(model, 1e-4)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 1000, (5000, tokens), dtype=np.int32)
    y = (x < 500).mean(axis=1) > 0.5
    y = y.astype(np.int64)
    return Job(model, ArrayData("synthetic", x[:4000], y[:4000], x[4000:], y[4000:]))


_BUILT_IN: dict[str, Callable[[], Job]] = {
    "cifar10_cnn": cifar10_cnn,
    "resnet50": resnet50,
    "transformer": transformer,
}


def _compile_classifier(model: keras.Model, rate: float, *, from_logits: bool = True) -> None:
    model.compile(
        optimizer=keras.optimizers.Adam(rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits),
        metrics=["accuracy"],
    )


def _cifar10() -> ArrayData | None:
    """CIFAR-10 from the Keras cache, None where it is not on disk. Nothing is downloaded."""
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    for folder in (
        home / "datasets" / "cifar-10-batches-py",
        home / "datasets" / "cifar-10-batches-py-target" / "cifar-10-batches-py",
        home / "datasets" / "cifar-10-batches-py_extracted" / "cifar-10-batches-py",
    ):
        if (folder / "test_batch").is_file():
            batches = [_cifar10_batch(folder / f"data_batch_{i}") for i in range(1, 6)]
            test_x, test_y = _cifar10_batch(folder / "test_batch")
            return ArrayData(
                "cifar10",
                np.concatenate([x for x, _ in batches]),
                np.concatenate([y for _, y in batches]),
                test_x,
                test_y,
            )
    return None


def _cifar10_batch(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    # The format of the data set is a pickle; this file is the user's own Keras cache.
    with path.open("rb") as file:
        content = pickle.load(file, encoding="bytes")
    images = np.asarray(content[b"data"], dtype=np.uint8).reshape(-1, 3, 32, 32)
    return images.transpose(0, 2, 3, 1).copy(), np.asarray(content[b"labels"], dtype=np.int64)


def _digits() -> ArrayData:
    """scikit-learn's 1,797 scanned digits, 8 x 8 scaled to 32 x 32 x 3; a fifth kept for testing."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    pixels = (digits.images[order] * (255 / 16)).round().astype(np.uint8)
    images = pixels.repeat(4, axis=1).repeat(4, axis=2)[..., None].repeat(3, axis=3)
    labels = digits.target[order].astype(np.int64)
    train = len(labels) * 4 // 5
    return ArrayData("digits", images[:train], labels[:train], images[train:], labels[train:])


def _own(name: str, folder: Path | None) -> Job:
    module_name, function_name = name.split(":")
    if folder is not None and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except ImportError as error:
        raise InputError(
            f"model '{name}' cannot be imported: {error}; run where {module_name}.py is"
        ) from error
    except AttributeError:
        raise InputError(f"module {module_name} has no function {function_name}") from None
    made = function()
    if not (isinstance(made, tuple) and len(made) in (2, 3) and isinstance(made[0], keras.Model)):
        raise InputError(
            f"{name} returned {type(made).__name__}; expected (compiled Keras model, train "
            "tf.data.Dataset) or these two and a test dataset"
        )
    model, *datasets = made
    if getattr(model, "optimizer", None) is None:
        raise InputError(
            f"{name} returned a model that is not compiled; call model.compile(...) in it"
        )
    for dataset in datasets:
        _check_dataset(name, dataset)
    _build(model, datasets[0])
    singles = [_one_by_one(name, model, dataset) for dataset in datasets]
    return Job(model, StreamData(name, singles[0], singles[1] if len(singles) > 1 else None))


def _check_dataset(name: str, dataset: object) -> None:
    if not isinstance(dataset, tf.data.Dataset):
        raise InputError(
            f"{name} returned {type(dataset).__name__} where a tf.data.Dataset was expected"
        )
    spec = dataset.element_spec
    if not (isinstance(spec, tuple) and len(spec) == 2):
        raise InputError(f"{name}'s dataset gives {spec}; expected pairs (x, y)")


def _build(model: keras.Model, dataset: tf.data.Dataset) -> None:
    """Make the variables of a model that only the shape of its data tells: call it on two samples."""
    if model.built and model.variables:
        return
    for x, _ in dataset.take(1):
        model(tf.nest.map_structure(lambda part: part[:2], x))


def _one_by_one(name: str, model: keras.Model, dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The dataset with one sample an element, whether it came batched or not.

    A subclassed model does not say which shapes it wants; its dataset is taken for batched.
    """
    inputs = getattr(model, "inputs", None)
    # Several inputs come in tuples or dicts whose order need not be the model's: all ranks are held.
    given = [one.shape for one in tf.nest.flatten(dataset.element_spec[0])]
    if not inputs or any(shape.rank is None for shape in given):
        return dataset.unbatch()
    expected = [one.shape for one in tf.nest.flatten(inputs)]
    ranks = sorted(len(shape) for shape in expected)
    if sorted(shape.rank for shape in given) == ranks:
        return dataset.unbatch()
    if sorted(shape.rank + 1 for shape in given) == ranks:
        return dataset
    raise InputError(
        f"{name}'s dataset gives x of shape {_shapes(given)}; the model expects {_shapes(expected)}"
    )


def _shapes(shapes: Sequence[Any]) -> str:
    return " and ".join(str(shape) for shape in shapes)
