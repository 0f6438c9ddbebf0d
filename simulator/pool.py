"""The GPUs of a cluster that are free, and on which nodes a gang stands."""

from typing import Protocol

from .cluster import Cluster

Place = tuple[tuple[int, int], ...]
"""(node, GPUs on it) of a gang; node -1 where nodes are ignored."""


class Pool(Protocol):
    """free, there: GPUs of each accelerator that are free, and that stand at all."""

    free: list[int]
    there: list[int]

    def take(self, accelerator: int, gpus: int) -> Place:
        """GPUs for a gang. The caller has made sure that so many are free."""
        ...

    def give(self, accelerator: int, place: Place) -> None:
        """They are free again."""
        ...


def crosses(place: Place) -> bool:
    return len(place) > 1


class Pooled:
    """GPUs that are all alike: only their number counts."""

    def __init__(self, cluster: Cluster) -> None:
        self.free = list(cluster.gpus)
        self.there = list(cluster.gpus)

    def take(self, accelerator: int, gpus: int) -> Place:
        self.free[accelerator] -= gpus
        return ((-1, gpus),)

    def give(self, accelerator: int, place: Place) -> None:
        self.free[accelerator] += place[0][1]


class ByNode:
    """GPUs on nodes. packed: the fullest node that holds the whole gang, else the emptiest nodes
    first, so that it crosses as few as possible. Spread: one GPU at a time on the emptiest node.

    Nodes are numbered in the order of the cluster's groups. empty: none stands yet.
    """

    def __init__(self, cluster: Cluster, *, packed: bool, empty: bool = False) -> None:
        self._packed = packed
        self.free = [0] * len(cluster.accelerators)
        self.there = [0] * len(cluster.accelerators)
        self._left: list[dict[int, int]] = [{} for _ in cluster.accelerators]
        node = 0
        for group in cluster.nodes if not empty else ():
            for _ in range(group.count):
                self.add(cluster.accelerators.index(group.accelerator), node, group.gpus_per_node)
                node += 1

    def add(self, accelerator: int, node: int, gpus: int) -> None:
        """A node comes, all free."""
        self._left[accelerator][node] = gpus
        self.free[accelerator] += gpus
        self.there[accelerator] += gpus

    def remove(self, accelerator: int, node: int) -> None:
        """A node goes; whoever stood on it has given it back before."""
        gpus = self._left[accelerator].pop(node)
        self.free[accelerator] -= gpus
        self.there[accelerator] -= gpus

    def left(self, accelerator: int, node: int) -> int:
        """Free GPUs of a node."""
        return self._left[accelerator][node]

    def take(self, accelerator: int, gpus: int) -> Place:
        place = self.fit(accelerator, gpus)
        self.keep(accelerator, place)
        return place

    def fit(self, accelerator: int, gpus: int) -> Place:
        """Where a gang would stand."""
        left = self._left[accelerator]
        return _packed(left, gpus) if self._packed else _spread(left, gpus)

    def keep(self, accelerator: int, place: Place) -> None:
        """Take this very place."""
        for node, taken in place:
            self._left[accelerator][node] -= taken
            self.free[accelerator] -= taken

    def give(self, accelerator: int, place: Place) -> None:
        for node, taken in place:
            self._left[accelerator][node] += taken
            self.free[accelerator] += taken


def _packed(left: dict[int, int], gpus: int) -> Place:
    whole = [(free, node) for node, free in left.items() if free >= gpus]
    if whole:
        return ((min(whole)[1], gpus),)
    place, missing = [], gpus
    for node, free in sorted(left.items(), key=lambda item: (-item[1], item[0])):
        taken = min(free, missing)
        place.append((node, taken))
        missing -= taken
        if missing == 0:
            break
    return tuple(place)


def _spread(left: dict[int, int], gpus: int) -> Place:
    taken = dict.fromkeys(left, 0)
    for _ in range(gpus):
        node = max(left, key=lambda one: (left[one] - taken[one], -one))
        taken[node] += 1
    return tuple((node, count) for node, count in taken.items() if count)


def pool(cluster: Cluster) -> Pool:
    """All GPUs of the cluster, free."""
    if cluster.placement == "pooled":
        return Pooled(cluster)
    return ByNode(cluster, packed=cluster.placement == "packed")
