"""The cluster of a replayed trace, file format isocost/cluster/v1, and its free GPUs."""

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol, Self

from pydantic import Field, model_validator

from ..catalog.files import Document, InputError, Record, Seconds

Placement = Literal["pooled", "packed", "spread"]

_ONE = r"[\w.+-]+=\d+(x\d+)?(@\d+(\.\d+)?)?"
SHORT = re.compile(f"{_ONE}(,{_ONE})*")


class Nodes(Record):
    """Some equal nodes. usd_per_gpu_h: what an hour of one GPU costs."""

    accelerator: str = Field(default="gpu", min_length=1)
    count: int = Field(default=1, ge=1, le=1_000_000)
    gpus_per_node: int = Field(ge=1, le=1_000_000)
    usd_per_gpu_h: float = Field(default=0.0, ge=0)
    provider: str = "owned"
    zone: str = "a"

    @property
    def gpus(self) -> int:
        return self.count * self.gpus_per_node


class Cluster(Document):
    """What there is to run jobs on, and what starting and moving them costs.

    placement: pooled ignores nodes (every gang runs at full speed); packed fills as few nodes as
    possible, spread as many. crossing_slowdown: by how much a step takes longer once the gang
    crosses nodes, where the throughput table has no figure for it. start_s: from a grant of GPUs
    to the first step; restart_s: the same after a preemption or a move, the checkpoint
    that was written and is read included. round_s,
    recompute_s: for policies that work in rounds, their length and the least time between two
    computations of shares, where the cluster has its own; newcomers_run: whether jobs that came since
    the last computation run on GPUs that are left over (in Gavel's simulator they hold them idle).
    """

    schema_id: Literal["isocost/cluster/v1"] = Field(alias="schema", default="isocost/cluster/v1")
    nodes: tuple[Nodes, ...] = Field(min_length=1)
    placement: Placement = "pooled"
    crossing_slowdown: float = Field(default=1.0, ge=1)
    start_s: Seconds = Field(default=0.0, ge=0)
    restart_s: Seconds = Field(default=0.0, ge=0)
    round_s: Seconds | None = Field(default=None, gt=0)
    recompute_s: Seconds | None = Field(default=None, ge=0)
    newcomers_run: bool = False

    @model_validator(mode="after")
    def _one_price_an_accelerator(self) -> Self:
        for group in self.nodes:
            first = next(one for one in self.nodes if one.accelerator == group.accelerator)
            if first.usd_per_gpu_h != group.usd_per_gpu_h:
                raise ValueError(
                    f"accelerator '{group.accelerator}' has two prices ({first.usd_per_gpu_h:g} and "
                    f"{group.usd_per_gpu_h:g} USD/h); give each price its own name, as "
                    f"'{group.accelerator}-spot'"
                )
        return self

    @cached_property
    def accelerators(self) -> tuple[str, ...]:
        """Names in the order of the file; everywhere else an accelerator is its index here."""
        return tuple(dict.fromkeys(group.accelerator for group in self.nodes))

    @cached_property
    def gpus(self) -> tuple[int, ...]:
        """GPUs of each accelerator."""
        return tuple(
            sum(group.gpus for group in self.nodes if group.accelerator == name)
            for name in self.accelerators
        )

    @cached_property
    def usd_per_gpu_s(self) -> tuple[float, ...]:
        """Price of each accelerator."""
        prices = {group.accelerator: group.usd_per_gpu_h / 3600 for group in self.nodes}
        return tuple(prices[name] for name in self.accelerators)


def read_cluster(given: str | Path) -> Cluster:
    """A cluster from a file, or from words such as ``v100=24,k80=8@0.135`` (GPUs @ USD per GPU-hour),
    or ``t4=16x4`` (nodes x GPUs of each).

    >>> read_cluster("v100=24,k80=8@0.135").gpus
    (24, 8)
    """
    text = str(given)
    if SHORT.fullmatch(text) and not Path(text).exists():
        nodes = []
        for part in text.split(","):
            name, _, figures = part.partition("=")
            size, _, price = figures.partition("@")
            count, _, gpus = size.rpartition("x")
            if not int(gpus) or count == "0":
                continue
            nodes.append(
                {
                    "accelerator": name,
                    "count": int(count or 1),
                    "gpus_per_node": int(gpus),
                    "usd_per_gpu_h": float(price or 0),
                }
            )
        return Cluster.parse({"nodes": nodes}, f"--cluster {text}")
    if text.isdigit():
        raise InputError(
            f"the cluster is given as '{text}'; write 'gpu={text}' for {text} equal GPUs, "
            "or the name of a cluster file"
        )
    return Cluster.read(Path(text))


class Pool(Protocol):
    """Free GPUs. free: of each accelerator; take gives a handle that says where, for give."""

    free: list[int]

    def take(self, accelerator: int, gpus: int) -> "Place":
        """GPUs for a gang. The caller has made sure that so many are free."""
        ...

    def give(self, accelerator: int, place: "Place") -> None:
        """They are free again."""
        ...


Place = tuple[tuple[int, int], ...]
"""(node, GPUs on it) of a gang; node -1 where nodes are ignored."""


def crosses(place: Place) -> bool:
    return len(place) > 1


class Pooled:
    """GPUs that are all alike: only their number counts."""

    def __init__(self, cluster: Cluster) -> None:
        self.free = list(cluster.gpus)

    def take(self, accelerator: int, gpus: int) -> Place:
        self.free[accelerator] -= gpus
        return ((-1, gpus),)

    def give(self, accelerator: int, place: Place) -> None:
        self.free[accelerator] += place[0][1]


class ByNode:
    """GPUs on nodes. packed: the fullest node that holds the whole gang, else the emptiest nodes
    first, so that it crosses as few as possible. Spread: one GPU at a time on the emptiest node.
    """

    def __init__(self, cluster: Cluster, *, packed: bool) -> None:
        self._packed = packed
        self.free = list(cluster.gpus)
        self._left: list[dict[int, int]] = [{} for _ in cluster.accelerators]
        node = 0
        for group in cluster.nodes:
            left = self._left[cluster.accelerators.index(group.accelerator)]
            for _ in range(group.count):
                left[node] = group.gpus_per_node
                node += 1

    def take(self, accelerator: int, gpus: int) -> Place:
        left = self._left[accelerator]
        self.free[accelerator] -= gpus
        place = _packed(left, gpus) if self._packed else _spread(left, gpus)
        for node, taken in place:
            left[node] -= taken
        return place

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


def held(free: Sequence[int], cluster: Cluster) -> int:
    """GPUs that are not free."""
    return sum(cluster.gpus) - sum(free)
