"""Title: Image classification with a small residual network

Functional API, arguments of its own, NumPy arrays, a part kept for validation.
"""

import argparse

import keras
import numpy as np
from keras import layers


def make_data(count):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, count)
    images = rng.random((count, 28, 28, 1), dtype="float32") * 0.5
    for image, label in zip(images, labels, strict=True):
        image[7 * label : 7 * label + 7] += 0.5
    return images, labels


def make_model(width):
    inputs = keras.Input(shape=(28, 28, 1))
    x = layers.Conv2D(width, 3, activation="relu", padding="same")(inputs)
    x = layers.MaxPooling2D()(x)
    previous = x
    x = layers.BatchNormalization()(x)
    x = layers.Conv2D(width, 3, activation="relu", padding="same")(x)
    x = layers.add([x, previous])
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.5)(x)
    outputs = layers.Dense(4, activation="softmax")(x)
    return keras.Model(inputs, outputs, name="small_residual")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--width", type=int, required=True)
    args = parser.parse_args()

    images, labels = make_data(1000)
    model = make_model(args.width)
    model.summary()
    model.compile(
        loss="sparse_categorical_crossentropy",
        optimizer=keras.optimizers.Adam(learning_rate=1e-3),
        metrics=["accuracy"],
    )
    history = model.fit(
        images,
        labels,
        batch_size=args.batch_size,
        epochs=args.epochs,
        validation_split=0.1,
        callbacks=[keras.callbacks.EarlyStopping(patience=2)],
    )
    print(history.history["accuracy"][-1])
    raise SystemExit("this line is never reached while isocost looks")


if __name__ == "__main__":
    main()
