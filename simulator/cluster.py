"""The cluster of a replayed trace, file format isocost/cluster/v1."""

import os
import re
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator

from ..catalog.files import Document, InputError, Record, Seconds, sentence
from .risks import IDLE_S, Checkpoints, Failures, Purchase, SpotMarketFacts, Wait
from .spot import SpotMarket, read_market

Placement = Literal["pooled", "packed", "spread"]

SHORT = re.compile(r"([\w.+-]+)=(\d+)(?:x(\d+))?(?:@(\d+(?:\.\d+)?))?")
WORDS = "gpu=400, v100=24@0.74,k80=24@0.135 (USD per GPU-hour) or t4=16x4 (nodes of 4)"


class Nodes(Record):
    """Some equal nodes. usd_per_gpu_h: what an hour of one GPU costs.

    least: nodes that are always kept; up to count are requested while jobs wait. Without it all
    stand all the time. purchase: spot nodes may be taken away (SpotMarketFacts).
    """

    accelerator: str = Field(default="gpu", min_length=1)
    count: int = Field(default=1, ge=1, le=1_000_000)
    gpus_per_node: int = Field(ge=1, le=1_000_000)
    usd_per_gpu_h: float = Field(default=0.0, ge=0)
    provider: str = "owned"
    zone: str = "a"
    purchase: Purchase = "owned"
    least: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _least_is_within(self) -> Self:
        if self.least is not None and self.least > self.count:
            raise ValueError(f"least is {self.least}, above the count of {self.count} nodes")
        return self

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

    provisioning: from the request of a machine until it is ready; the first ones stand from the
    beginning. failures, spot: how machines are lost. straggling_sigma: log-sd of one machine's pace, kept
    as long as it is; a gang goes at the pace of its slowest. idle_s: after so long without
    work a machine beyond its group's `least` is given back. budget_usd: when the machines that stand have cost
    so much, all are given back and what is not finished stays so.
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
    provisioning: Wait = Wait()
    failures: Failures | None = None
    spot: SpotMarketFacts | None = None
    checkpoints: Checkpoints | None = None
    straggling_sigma: float = Field(default=0.0, ge=0, le=2)
    idle_s: Seconds = Field(default=IDLE_S, ge=0)
    budget_usd: float | None = Field(default=None, gt=0)

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

    @model_validator(mode="after")
    def _spot_nodes_have_a_market(self) -> Self:
        has = any(group.purchase == "spot" for group in self.nodes)
        if has and self.spot is None:
            raise ValueError(
                "nodes are bought as spot, but the key 'spot' does not say how they are lost; add it, as "
                "'spot: {losses_per_node_h: 0.05}', or 'spot: {trace: availability.csv}'"
            )
        if self.spot is not None and not has:
            raise ValueError("'spot' is given, but no nodes have 'purchase: spot'; add it to some")
        if self.budget_usd is not None and not any(group.usd_per_gpu_h for group in self.nodes):
            raise ValueError("budget_usd is given, but no nodes have a price (usd_per_gpu_h)")
        return self

    @property
    def varies(self) -> bool:
        """Whether machines come, go, differ or end with a budget: then fleet_replay.py runs the replay."""
        chance = self.failures is not None and self.failures.per_node_h > 0
        scaled = any(group.least is not None for group in self.nodes)
        return (
            chance
            or scaled
            or self.spot is not None
            or self.straggling_sigma > 0
            or self.checkpoints is not None
            or self.budget_usd is not None
        )

    @property
    def random(self) -> bool:
        """Whether two seeds may differ."""
        spot = self.spot is not None and (self.spot.trace or self.spot.losses_per_node_h)
        failing = self.failures is not None and self.failures.per_node_h > 0
        delays = self.provisioning.sigma > 0 and self.varies
        return bool(spot or failing or self.straggling_sigma or delays)

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
    if not text.strip():
        raise InputError(f"the cluster is empty; give a cluster file, or words: {WORDS}")
    if os.path.exists(text):  # unlike Path.exists, also where words are longer than a path may be
        return Cluster.read(Path(text))
    if "=" in text and not text.endswith((".yaml", ".yml", ".json")):
        nodes = [found for part in text.split(",") if (found := _nodes(part)) is not None]
        if not nodes:
            raise InputError(f"--cluster {text} has no GPU at all; give one of them 1 or more")
        return Cluster.parse({"nodes": nodes}, f"--cluster {text}")
    if text.isdigit():
        raise InputError(
            f"the cluster is given as '{text}'; write 'gpu={text}' for {text} equal GPUs, "
            "or the name of a cluster file"
        )
    raise InputError(f"there is no cluster file '{text}'; check the path, or give words: {WORDS}")


def _nodes(part: str) -> Nodes | None:
    """One part of a cluster in words; without x, nodes of one GPU. None where it asks for 0."""
    found = SHORT.fullmatch(part.strip())
    if found is None:
        raise InputError(
            f"--cluster has '{part}', which is not understood; write for example {WORDS}"
        )
    name, first, per_node, price = found.groups()
    if int(first) * int(per_node or 1) == 0:
        return None
    try:
        return Nodes(
            accelerator=name,
            count=int(first),
            gpus_per_node=int(per_node or 1),
            usd_per_gpu_h=float(price or 0),
        )
    except ValidationError as error:
        raise InputError(f"--cluster has '{part}': {sentence(error, Nodes)}") from None


def read_spot_market(cluster: Cluster, folder: Path) -> SpotMarket | None:
    """The spot trace that the cluster names, if any; folder: of the cluster file. Raises InputError."""
    if cluster.spot is None or cluster.spot.trace is None:
        return None
    return read_market(folder / cluster.spot.trace, block_s=cluster.spot.block_s)
