"""A model class of its own, with two named inputs and a loss over their product."""

import keras
from keras import ops


@keras.saving.register_keras_serializable()
class Recommender(keras.Model):
    def __init__(self, users, items, width=8):
        super().__init__()
        self.user = keras.layers.Embedding(users, width, embeddings_regularizer="l2")
        self.item = keras.layers.Embedding(items, width)
        self.bias = keras.layers.Dense(1)

    def call(self, inputs, training=False):
        user = self.user(inputs["user"])
        item = self.item(inputs["item"])
        return ops.sum(user * item, axis=-1, keepdims=True) + self.bias(inputs["age"])
