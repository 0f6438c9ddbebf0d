"""Title: Collaborative filtering

A subclassed model fed by a keras.utils.PyDataset, in a package that imports its own parts.
"""

import math
from pathlib import Path

import keras
import numpy as np

from .model import Recommender


class Ratings(keras.utils.PyDataset):
    def __init__(self, count, batch_size, **kwargs):
        super().__init__(**kwargs)
        rng = np.random.default_rng(2)
        self.users = rng.integers(0, 50, count)
        self.items = rng.integers(0, 200, count)
        self.ages = rng.random((count, 1))
        self.ratings = rng.random(count)
        self.batch_size = batch_size

    def __len__(self):
        return math.ceil(len(self.users) / self.batch_size)

    def __getitem__(self, index):
        part = slice(index * self.batch_size, (index + 1) * self.batch_size)
        features = {"user": self.users[part], "item": self.items[part], "age": self.ages[part]}
        return features, self.ratings[part, None]


if __name__ == "__main__":
    assert Path("model.py").exists(), "run in the script's own folder"
    model = Recommender(users=50, items=200)
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss=keras.losses.MeanSquaredError())
    model.fit(Ratings(800, 32), epochs=4, verbose=0)
