"""Title: Text classification from token ids

Sequential API whose first layer learns its shape from the data, tf.data pipelines, top-level code,
and a second model that is looked at but never trained.
"""

import numpy as np
import tensorflow as tf
from tensorflow import keras
from tensorflow.keras import layers

BATCH = 16 * tf.distribute.MirroredStrategy().num_replicas_in_sync
VOCABULARY = 500
LENGTH = 40

rng = np.random.default_rng(1)
tokens = rng.integers(1, VOCABULARY, (640, LENGTH))
labels = (tokens < 100).sum(axis=1) > 8

dataset = tf.data.Dataset.from_tensor_slices((tokens, labels.astype("float32")[:, None]))
dataset = dataset.filter(lambda x, y: tf.reduce_any(x > 0))  # hides how many there are
train_ds = dataset.skip(128).shuffle(256).batch(BATCH).prefetch(2)
val_ds = dataset.take(128).batch(BATCH)

teacher = keras.Sequential([keras.Input((LENGTH,)), layers.Dense(1)])
teacher.compile(optimizer="sgd", loss="mse")

with tf.distribute.MirroredStrategy().scope():
    model = keras.Sequential(
        [
            layers.Embedding(VOCABULARY, 16),
            layers.Bidirectional(layers.LSTM(8)),
            layers.Dense(1, activation="sigmoid"),
        ],
        name="sentiment",
    )
    model.compile(loss="binary_crossentropy", optimizer="rmsprop", metrics=["accuracy"])

model.fit(train_ds, validation_data=val_ds, epochs=2)
loss, accuracy = model.evaluate(val_ds)
