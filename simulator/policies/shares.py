"""Shares that need no optimisation: an equal split of the cluster, and first in first out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..cluster import Cluster
from ..rounds import Floats, Jobs, Share


@dataclass(frozen=True, slots=True)
class Isolated:
    """Every job has an equal part of every accelerator to itself: see isolated."""

    name: str
    fills: bool = True
    shuffles: bool = True

    def share(self, cluster: Cluster) -> Share:
        # Row sums are taken by name, as in Gavel: jobs that tie are told apart by the last bit.
        names = cluster.accelerators
        by_name = sorted(range(len(names)), key=names.__getitem__)
        return lambda jobs: isolated(jobs, by_name)


def isolated(jobs: Jobs, by_name: Sequence[int]) -> Floats:
    """X[j, t] = (GPUs[t] / m) / gpus[j] of m jobs, a row scaled down to 1 where its sum is above."""
    even = jobs.there / len(jobs) / jobs.gpus[:, None]
    return np.asarray(even / np.maximum(even[:, by_name].sum(axis=1, keepdims=True), 1.0))


@dataclass(frozen=True, slots=True)
class Fifo:
    """By submission, each job on the fastest accelerator with room; the first that fits none ends it."""

    name: str
    fills: bool = False
    shuffles: bool = False

    def share(self, cluster: Cluster) -> "Fifo":
        return self

    def __call__(self, jobs: Jobs) -> Floats:
        shares = np.zeros_like(jobs.rates)
        room = jobs.there.tolist()
        for index, task in enumerate(jobs.tasks):
            gpus = task.job.num_gpus
            kind = next((kind for kind in task.fastest if room[kind] >= gpus), None)
            if kind is None:
                if any(free >= gpus for free in room):
                    continue  # there is room, on accelerators that cannot run it
                break
            shares[index, kind] = 1.0
            room[kind] -= gpus
        return shares
