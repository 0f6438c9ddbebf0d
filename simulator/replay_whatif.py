"""What if: a trace replayed in a changed world, set beside the world as it is.

Both meet the same luck, seed by seed (fleet.py keeps a place for every draw), so that the difference is the
change's doing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..catalog.files import InputError
from .changes import Figure, WhatIf, in_zone, parsed
from .cluster import Cluster, Nodes
from .trace import Job


@dataclass(frozen=True, slots=True)
class Setting:
    """What a scenario can change. outages: (zone, from, to) in seconds after the first submission."""

    cluster: Cluster
    jobs: Sequence[Job]
    outages: tuple[tuple[str, float, float], ...] = ()


Change = Callable[[Figure, Setting], Setting]


def parse(texts: Sequence[str]) -> list[WhatIf]:
    """Scenarios for a trace. Raises InputError."""
    return parsed(texts, FIGURES)


def changed(what: WhatIf, setting: Setting) -> Setting:
    """The setting in that scenario. Raises InputError for what it does not have or cannot be."""
    for figure in what.figures:
        setting = FIGURES[figure.name](figure, setting)
    zones = [group.zone for group in setting.cluster.nodes]
    outages = [
        (place, begins_s, ends_s)
        for zone, begins_s, ends_s in what.outages
        for place in dict.fromkeys(
            place
            for place, fails in zip(zones, in_zone(zone, zones, "node stands"), strict=True)
            if fails
        )
    ]
    return replace(setting, outages=(*setting.outages, *outages))


def _with(cluster: Cluster, **changes: Any) -> Cluster:
    """Made anew, for a copy would keep figures that were computed once."""
    return Cluster.parse(cluster.model_dump() | changes, "--what-if")


def _of_each_group(new: Callable[[Figure, Nodes], dict[str, Any]]) -> Change:
    def change(figure: Figure, setting: Setting) -> Setting:
        groups = [group.model_dump() | new(figure, group) for group in setting.cluster.nodes]
        return replace(setting, cluster=_with(setting.cluster, nodes=groups))

    return change


def _price(figure: Figure, group: Nodes) -> dict[str, Any]:
    return {"usd_per_gpu_h": figure.of(group.usd_per_gpu_h)}


def _nodes(figure: Figure, group: Nodes) -> dict[str, Any]:
    count = figure.count(group.count, f"{group.accelerator} in {group.zone}")
    return {"count": count, "least": None if group.least is None else min(group.least, count)}


def _rate(key: str, field: str, lacking: str) -> Change:
    """A rate within one of the cluster's records."""

    def change(figure: Figure, setting: Setting) -> Setting:
        found = getattr(setting.cluster, key)
        if found is None:
            raise InputError(
                f"--what-if '{figure.name}{figure.operator}{figure.by:g}': the cluster has no '{key}'; "
                f"{lacking}"
            )
        if getattr(found, "trace", None) is not None:
            raise InputError(
                f"--what-if '{figure.name}{figure.operator}{figure.by:g}': spot nodes come and go by the "
                "trace here, which has no rates; leave 'trace' out, or try another change"
            )
        old = getattr(found, field)
        new = (
            old.model_dump() | {"median_s": figure.of(old.median_s)}
            if hasattr(old, "median_s")
            else figure.of(old)
        )
        return replace(
            setting, cluster=_with(setting.cluster, **{key: found.model_dump() | {field: new}})
        )

    return change


def _provisioning(figure: Figure, setting: Setting) -> Setting:
    old = setting.cluster.provisioning
    new = old.model_dump() | {"median_s": figure.of(old.median_s)}
    return replace(setting, cluster=_with(setting.cluster, provisioning=new))


def _work(figure: Figure, setting: Setting) -> Setting:
    jobs = [
        replace(
            job,
            duration_s=figure.of(job.duration_s, 1e-9),
            total_steps=None if job.total_steps is None else figure.of(job.total_steps, 1e-9),
        )
        for job in setting.jobs
    ]
    return replace(setting, jobs=jobs)


def _budget(figure: Figure, setting: Setting) -> Setting:
    old = setting.cluster.budget_usd
    if old is None and figure.operator != "=":
        raise InputError("--what-if 'budget': the cluster has no budget_usd; write budget=100")
    return replace(setting, cluster=_with(setting.cluster, budget_usd=figure.of(old or 0.0, 1e-9)))


NO_FAILURES = "add it, as 'failures: {per_node_h: 0.0003, repair: {median_s: 4h}}'"
NO_SPOT = "give some nodes 'purchase: spot', and 'spot: {losses_per_node_h: 0.05}'"
FIGURES: dict[str, Change] = {
    "price": _of_each_group(_price),
    "nodes": _of_each_group(_nodes),
    "failures": _rate("failures", "per_node_h", NO_FAILURES),
    "repair": _rate("failures", "repair", NO_FAILURES),
    "spot_hazard": _rate("spot", "losses_per_node_h", NO_SPOT),
    "stock_out": _rate("spot", "stock_out", NO_SPOT),
    "provisioning": _provisioning,
    "work": _work,
    "budget": _budget,
}
