"""How the candidates of one job are made: hardware by setting first, then offers and prices.

What takes long to compute depends on the hardware and the provider alone, and a catalog sells few
hundred kinds of hardware at thousands of places and prices: times are computed once a `Settings`
row, and a candidate is a setting, an offer and a price.
"""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..catalog import Catalog, price_column
from ..profiles.records import Knobs, Profile
from ..profiles.throughput import Fleet, StepTimeModel, knob_sets
from ..profiles.workload import ModelFacts, Workload
from .candidates import PURCHASES, SPOT, TERM_H, Candidates, Floats, Ints, Settings, charged_h
from .durations import billed, durations
from .moving import egress_of_offers, moved_usd, place_of, storage_usd_h

ALWAYS_CONSIDERED_NODES = 8  # so that a tighter max_nodes does not move the losses' scale
CHECKPOINT_BYTES_PER_S = (
    130e6  # slowest write seen of tf.train.Checkpoint on a shared disk, 2026-11
)
SHAPE = (
    "provider",
    "accelerator",
    "accelerator_count",
    "vcpus",
    "memory_gib",
    "network_gbps",
    "nodes_owned",
)


class NoCandidate(ValueError):
    """Nothing in the catalog can train the workload; the message is the sentence to show."""


def node_counts(most: int) -> list[int]:
    """All counts up to 8, then two to every doubling, and most itself.

    >>> node_counts(6), node_counts(20)[8:]
    ([1, 2, 3, 4, 5, 6], [12, 16, 20])
    """
    few = list(range(1, min(most, 8) + 1))
    more = sorted({n for i in range(3, most.bit_length()) for n in (3 << i >> 1, 2 << i)})
    counts = [*few, *(n for n in more if 8 < n <= most)]
    return counts if counts[-1] == most else [*counts, most]


def generate(
    workload: Workload,
    facts: ModelFacts,
    catalog: Catalog,
    model: StepTimeModel,
    profile: Profile | None,
) -> Candidates:
    """All candidates of one job over the catalog; batches above max_global_batch are left out.

    Raises NoCandidate where no offer can train the workload.
    """
    offers = catalog.offers
    shapes = offers.select(SHAPE).with_row_index("offer")
    first = shapes.group_by(SHAPE, maintain_order=True).agg(first=pl.col("offer").first())
    shape = (
        shapes.join(
            first.with_row_index("shape"),
            on=SHAPE,
            how="left",
            nulls_equal=True,
            maintain_order="left",
        )["shape"]
        .to_numpy()
        .astype(np.int64)
    )
    fleet = Fleet.of(replace(catalog, offers=offers[first["first"].to_numpy()]))
    names = tuple(first["provider"].unique().sort().to_list())
    provider = np.searchsorted(np.array(names), first["provider"].to_numpy().astype(str))
    prices = [
        offers[price_column(p)].to_numpy().astype(float)
        if price_column(p) in offers.columns
        else np.full(offers.height, np.nan)
        for p in PURCHASES
    ]
    spot = np.isfinite(prices[SPOT])
    firm = np.isfinite([column for i, column in enumerate(prices) if i != SPOT]).any(axis=0)
    sold = [np.bincount(shape[rows], minlength=len(first)) > 0 for rows in (firm, spot)]
    # Of machines one owns there are only so many.
    there_are = first["nodes_owned"].cast(pl.Float64).fill_null(float("inf")).to_numpy()
    knob_list, table = _settings(workload, catalog, fleet, there_are, model, sold)
    table["provider"] = provider[table["shape"]]
    here = profile.checkpoint_write_s if profile else None
    stall = here or facts.checkpoint_bytes / CHECKPOINT_BYTES_PER_S
    table |= durations(catalog, names, profile, knob_list, table, stall)
    table |= billed(catalog, names, workload, table)
    settings = Settings(**{f.name: table[f.name] for f in fields(Settings)})
    empty = np.zeros(0)
    frame = Candidates(
        knob_sets=tuple(knob_list),
        providers=names,
        settings=settings,
        setting=empty.astype(np.int32),
        offer=empty.astype(np.int32),
        purchase=empty.astype(np.int8),
        price_usd_h=empty,
        compute_usd=empty,
        egress_usd=empty,
        checkpoints_usd=empty,
        cost_mean_usd=empty,
        storage_usd_h=storage_usd_h(catalog, workload, facts),
        commitment_h=np.array([TERM_H.get(p, 0.0) for p in PURCHASES]),
        utilisation=workload.constraints.reserved_utilisation,
    )
    found = _filled(frame, table["shape"], shape, prices)
    found = replace(
        found,
        egress_usd=egress_of_offers(catalog, workload)[found.offer],
        checkpoints_usd=_moved_checkpoints(catalog, workload, facts, found),
    )
    cost = found.compute_usd + found.growing_usd + found.egress_usd
    return replace(found, cost_mean_usd=cost)


def _settings(
    workload: Workload,
    catalog: Catalog,
    fleet: Fleet,
    there_are: Floats,
    model: StepTimeModel,
    sold: Sequence[NDArray[np.bool_]],
) -> tuple[list[Knobs], dict[str, NDArray[Any]]]:
    """The settings that can run and whose price is known, by spot and shape: their own columns."""
    knob_list: list[Knobs] = []
    parts: list[dict[str, NDArray[Any]]] = []
    for knobs, nodes, batch, rows in _considered(workload, fleet, model):
        some = Fleet(**{f.name: getattr(fleet, f.name)[rows] for f in fields(Fleet)})
        step = model.predict(some, catalog.accelerators, nodes, batch, knobs)
        devices = np.where(some.kind == "cpu", knobs.workers_per_node, some.devices)
        replicas = nodes * devices
        usable = np.isfinite(step.step_s) & (batch * replicas <= workload.max_global_batch)
        usable &= nodes <= there_are[rows]
        if not usable.any():
            continue
        if knobs not in knob_list:
            knob_list.append(knobs)
        count = int(usable.sum())
        parts.append(
            {
                "shape": rows[usable],
                "nodes": np.full(count, nodes),
                "batch": np.full(count, batch),
                "replicas": replicas[usable],
                "knobs": np.full(count, knob_list.index(knobs)),
                "basis": step.basis[usable],
                "step_s": step.step_s[usable],
                "step_sigma": step.sigma[usable],
            }
        )
    if not parts:
        raise NoCandidate(
            f"no offer can train {workload.name}: no per-device batch of "
            f"{list(workload.per_device_batch)} fits into a device's memory, below max_global_batch "
            f"{workload.max_global_batch}, in {' or '.join(workload.precisions)}; try smaller batches "
            "or further precisions"
        )
    every = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    firm, spot = (np.flatnonzero(at[every["shape"]]) for at in sold)
    both = np.concatenate([firm, spot])
    table = {name: column[both] for name, column in every.items()}
    table["spot"] = np.arange(len(both)) >= len(firm)
    order = np.lexsort((table["shape"], table["spot"]))
    table = {name: column[order] for name, column in table.items()}
    table["steps"] = _steps(workload, table["batch"] * table["replicas"])
    return knob_list, table


def _considered(
    workload: Workload, fleet: Fleet, model: StepTimeModel
) -> list[tuple[Knobs, int, int, NDArray[np.intp]]]:
    """(knobs, nodes, batch, shapes) to consider; this machine is one node."""
    batches = sorted(set(workload.per_device_batch))
    found = [
        (knobs, 1, batch, np.flatnonzero(fleet.local))
        for knobs in model.local_knobs()
        if knobs.precision in workload.precisions
        for batch in batches
    ]
    rented = ~fleet.local
    most = max(ALWAYS_CONSIDERED_NODES, workload.constraints.max_nodes)
    groups = [
        (
            kind,
            several,
            np.flatnonzero(rented & (fleet.kind == kind) & ((fleet.devices > 1) == several)),
        )
        for kind in np.unique(fleet.kind[rented]).tolist()
        for several in (False, True)
    ]
    for nodes in node_counts(most):
        for kind, several, rows in groups:
            for knobs in knob_sets(kind, 2 if several else 1, nodes, workload.precisions):
                found += [(knobs, nodes, batch, rows) for batch in batches]
    return [
        setting
        for setting in found
        if len(setting[3]) and setting[1] * setting[2] <= workload.max_global_batch
    ]


def _steps(workload: Workload, global_batch: Ints) -> Ints:
    sizes, place = np.unique(global_batch, return_inverse=True)
    return np.array([workload.steps_to_target(int(size)) for size in sizes])[place]


def _filled(
    frame: Candidates,
    shape_of_setting: Ints,
    shape_of_offer: Ints,
    prices: Sequence[Floats],
) -> Candidates:
    """Each offer with each setting of its hardware, for every purchase at which it has a price.

    prices: of every offer, one array a purchase. Settings are sorted by spot, then shape.
    """
    settings = frame.settings
    shapes = int(shape_of_offer.max()) + 1
    counts = np.bincount(settings.spot * shapes + shape_of_setting, minlength=2 * shapes)
    starts = np.cumsum(counts) - counts
    offers, settings_of, purchases = [], [], []
    for index, column in enumerate(prices):
        rows = np.flatnonzero(np.isfinite(column))
        block = (index == SPOT) * shapes + shape_of_offer[rows]
        many = counts[block]
        ends = np.cumsum(many)
        within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - many, many)
        offers.append(np.repeat(rows, many).astype(np.int32))
        settings_of.append((np.repeat(starts[block], many) + within).astype(np.int32))
        purchases.append(np.full(len(within), index, np.int8))
    offer, setting = np.concatenate(offers), np.concatenate(settings_of)
    found = replace(
        frame,
        setting=setting,
        offer=offer,
        purchase=np.concatenate(purchases),
        price_usd_h=np.concatenate([prices[i][part] for i, part in enumerate(offers)]),
    )
    return replace(found, compute_usd=found.price_usd_h * charged_h(found, settings.paid_h))


def _moved_checkpoints(
    catalog: Catalog, workload: Workload, facts: ModelFacts, found: Candidates
) -> Floats:
    """USD for each candidate's checkpoints to where they are kept, and back after interruptions."""
    if workload.checkpoint_location is None:
        return np.zeros(len(found))
    settings = found.settings
    saved = np.maximum(settings.work_s / settings.checkpoint_interval_s, 1.0)
    to, back = saved * facts.checkpoint_bytes, settings.interruptions * facts.checkpoint_bytes
    return moved_usd(
        catalog,
        place_of(workload.checkpoint_location),
        found.offer,
        to[found.setting],
        back[found.setting],
    )
