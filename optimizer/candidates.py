"""Every way to run one job, as columns: offer x purchase x nodes x batch x knobs.

Time: work W = steps(B) * T(n, m, b), stretched by interruptions (see reliability), after the
slowest node's provisioning. Cost: nodes * price * billed hours + storage + egress (DESIGN 3.3).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..catalog import Catalog, Delay, ProviderFacts, Purchase, price_column
from ..catalog.transfer import GIB
from ..profiles.records import Knobs, Profile
from ..profiles.throughput import Fleet, StepTimeModel, knob_sets
from ..profiles.workload import ModelFacts, Workload
from .reliability import (
    expected_losses,
    gang_delay,
    hazard_integral,
    lognormal_quantile,
    wall_time,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PURCHASES = tuple(Purchase)
QUADRATURE = tuple((i + 0.5) / 20 for i in range(20))  # quantiles averaged for the mean bill
ALWAYS_CONSIDERED_NODES = 8  # so that a tighter max_nodes does not move the losses' scale
CHECKPOINTS_KEPT = 3
CHECKPOINT_BYTES_PER_S = (
    130e6  # slowest write seen of tf.train.Checkpoint on a shared disk, 2026-11
)
HOURS_PER_MONTH = 730.0
FIXED_POINT_ROUNDS = 4
FORMING_ROUNDS = 2  # more overshoot: later losses' waits overlap with the first one's
LONGEST_SPAN_H = 1e5


@dataclass(frozen=True, slots=True)
class Candidates:
    """Columns of equal length; offer is a row of the catalog, knobs an index into knob_sets."""

    knob_sets: tuple[Knobs, ...]
    offer: Ints
    purchase: Ints  # index into PURCHASES
    nodes: Ints
    batch: Ints  # per device
    replicas: Ints
    knobs: Ints
    basis: NDArray[np.uint8]
    price_usd_h: Floats  # of one node
    step_s: Floats
    step_sigma: Floats
    steps: Ints
    work_s: Floats
    checkpoint_interval_s: Floats
    interruptions: Floats
    time_mean_s: Floats
    time_p50_s: Floats
    time_p90_s: Floats
    compute_usd: Floats
    storage_usd: Floats
    egress_usd: Floats
    cost_p50_usd: Floats
    cost_p90_usd: Floats
    cancel_usd: Floats  # paid and not used if the job ends half-way

    def __len__(self) -> int:
        return len(self.offer)

    @property
    def cost_mean_usd(self) -> Floats:
        return self.compute_usd + self.storage_usd + self.egress_usd

    def take(self, rows: NDArray[Any]) -> "Candidates":
        """The candidates in rows."""
        columns = {
            f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name != "knob_sets"
        }
        return replace(self, **columns)


def node_counts(most: int) -> list[int]:
    """Powers of two up to most, and most itself.

    >>> node_counts(6)
    [1, 2, 4, 6]
    """
    powers = [1 << i for i in range(most.bit_length()) if 1 << i <= most]
    return powers if powers[-1] == most else [*powers, most]


def generate(
    workload: Workload,
    facts: ModelFacts,
    catalog: Catalog,
    model: StepTimeModel,
    profile: Profile | None,
) -> Candidates:
    """All candidates of one job over the catalog; batches above max_global_batch are left out."""
    fleet = Fleet.of(catalog)
    stall = (
        profile.checkpoint_write_s if profile else facts.checkpoint_bytes / CHECKPOINT_BYTES_PER_S
    )
    knob_list: list[Knobs] = []
    parts: list[dict[str, NDArray[Any]]] = []
    for knobs, nodes, batch, rows in _settings(workload, fleet, model):
        step = model.predict(fleet, catalog.accelerators, nodes, batch, knobs)
        devices = np.where(fleet.kind[rows] == "cpu", knobs.workers_per_node, fleet.devices[rows])
        replicas = nodes * devices
        global_batch = batch * replicas
        usable = np.isfinite(step.step_s[rows]) & (global_batch <= workload.max_global_batch)
        rows, replicas = rows[usable], replicas[usable]
        if not len(rows):
            continue
        if knobs not in knob_list:
            knob_list.append(knobs)
        parts.append(
            {
                "offer": rows,
                "nodes": np.full(len(rows), nodes),
                "batch": np.full(len(rows), batch),
                "replicas": replicas,
                "knobs": np.full(len(rows), knob_list.index(knobs)),
                "basis": step.basis[rows],
                "step_s": step.step_s[rows],
                "step_sigma": step.sigma[rows],
                "steps": _steps(workload, batch * replicas),
            }
        )
    if not parts:
        raise ValueError(f"no offer can train {workload.name}")
    settings = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    columns = _purchases(catalog, settings)
    columns |= _times(catalog, facts, profile, knob_list, columns, stall)
    columns |= _costs(catalog, workload, facts, columns)
    wanted = {f.name for f in fields(Candidates)} - {"knob_sets"}
    return Candidates(tuple(knob_list), **{name: columns[name] for name in wanted})


def _settings(
    workload: Workload, fleet: Fleet, model: StepTimeModel
) -> list[tuple[Knobs, int, int, NDArray[np.intp]]]:
    """(knobs, nodes, batch, offers) to consider; this machine is one node."""
    found = [
        (knobs, 1, batch, np.flatnonzero(fleet.local))
        for knobs in model.local_knobs()
        if knobs.precision in workload.precisions
        for batch in workload.per_device_batch
    ]
    rented = ~fleet.local
    most = max(ALWAYS_CONSIDERED_NODES, workload.constraints.max_nodes)
    for nodes in node_counts(most):
        for kind in np.unique(fleet.kind[rented]).tolist():
            for several in (False, True):
                rows = np.flatnonzero(
                    rented & (fleet.kind == kind) & ((fleet.devices > 1) == several)
                )
                for knobs in knob_sets(kind, 2 if several else 1, nodes, workload.precisions):
                    found += [(knobs, nodes, batch, rows) for batch in workload.per_device_batch]
    return [setting for setting in found if len(setting[3])]


def _steps(workload: Workload, global_batch: Ints) -> Ints:
    sizes, place = np.unique(global_batch, return_inverse=True)
    return np.array([workload.steps_to_target(int(size)) for size in sizes])[place]


def _purchases(catalog: Catalog, settings: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Each setting once for every purchase at which its offer has a price."""
    parts = []
    for index, purchase in enumerate(PURCHASES):
        prices = catalog.offers[price_column(purchase)].to_numpy().astype(float)[settings["offer"]]
        sold = np.isfinite(prices)
        part = {name: column[sold] for name, column in settings.items()}
        parts.append(part | {"price_usd_h": prices[sold], "purchase": np.full(sold.sum(), index)})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def ready_delay(facts: ProviderFacts, knobs: Knobs, profile: Profile | None) -> Delay:
    """Time from the request to the first step: measured on this machine where it was profiled."""
    if facts.provider != "local" or profile is None:
        return facts.provisioning
    started = [
        sample.startup_s
        for one in profile.measurements
        if one.setting.knobs == knobs
        for sample in one.processes
    ]
    if not started:
        return facts.provisioning
    median = float(np.median(started))
    return Delay(median, facts.provisioning.sigma, "measured by the profile")


def _times(
    catalog: Catalog,
    facts: ModelFacts,
    profile: Profile | None,
    knob_list: Sequence[Knobs],
    columns: dict[str, NDArray[Any]],
    stall: float,
) -> dict[str, NDArray[Any]]:
    providers = catalog.offers["provider"].to_numpy()[columns["offer"]]
    nodes, steps = columns["nodes"], columns["steps"]
    # The mean of a lognormal lies above its median.
    work = steps * columns["step_s"] * np.exp(columns["step_sigma"] ** 2 / 2)
    spot = columns["purchase"] == PURCHASES.index(Purchase.SPOT)
    wait, wait_var, idle = np.zeros(len(work)), np.zeros(len(work)), np.zeros(len(work))
    ready, ready_var = np.zeros(len(work)), np.zeros(len(work))
    for provider in np.unique(providers).tolist():
        known, here = catalog.facts(provider), providers == provider
        for knob in np.unique(columns["knobs"][here]).tolist():
            delay, rows = (
                ready_delay(known, knob_list[knob], profile),
                here & (columns["knobs"] == knob),
            )
            for count in np.unique(nodes[rows]).tolist():
                gang = rows & (nodes == count)
                ready[gang], ready_var[gang] = gang_delay(delay, count)
            # Only the lost machine is asked for again, on spot once there is one; its peers wait.
            wait[rows], wait_var[rows] = gang_delay(delay, 1)
        missing, missing_var = gang_delay(known.stock_out, 1)
        idle[here] = missing * spot[here]
        wait[here] += idle[here]
        wait_var[here] += missing_var * spot[here]
    stalls = np.full(len(work), stall)
    # Losses depend on the wall time, which depends on the losses: a few rounds settle it.
    span, mtti = work, np.full(len(work), np.inf)
    for _ in range(FIXED_POINT_ROUNDS):
        mtti = 1 / _losses_per_s(catalog, providers, nodes, spot, span)
        wall = wall_time(work, columns["step_sigma"], mtti, wait, wait_var, stalls, nodes)
        span = wall.mean_s
    forming, forming_var = _forming_losses(catalog, providers, nodes, spot, ready, wait, wait_var)
    mean = wall.mean_s + ready + forming
    variance = wall.variance_s2 + ready_var + forming_var
    return {
        "work_s": work,
        "checkpoint_interval_s": wall.interval_s,
        "interruptions": wall.interruptions,
        "idle_s": wall.interruptions * idle,
        "time_mean_s": mean,
        "time_p50_s": lognormal_quantile(mean, variance, 0.5),
        "time_p90_s": lognormal_quantile(mean, variance, 0.9),
        "time_variance": variance,
    }


def _forming_losses(
    catalog: Catalog,
    providers: NDArray[Any],
    nodes: Ints,
    spot: NDArray[np.bool_],
    ready_s: Floats,
    wait_s: Floats,
    wait_variance_s2: Floats,
) -> tuple[Floats, Floats]:
    """Mean and variance of what machines lost while the gang still forms add to its start.

    The early ones already age, at their highest hazard, while the slowest is awaited: n H(t)
    losses within t, the slowest's delay beyond one's own; each adds a wait, in which more are lost.
    """
    added = np.zeros(len(nodes))
    chance = np.zeros(len(nodes))
    for _ in range(FORMING_ROUNDS):
        for provider in np.unique(providers).tolist():
            known = catalog.facts(provider)
            here = (providers == provider) & spot & (nodes > 1)
            alone = gang_delay(known.provisioning, 1)[0]
            exposed_h = np.maximum(ready_s[here] - alone, 0.0) / 3600 + added[here] / 3600
            lost = nodes[here] * hazard_integral(known.spot_hazard, exposed_h)
            chance[here] = -np.expm1(-lost)
            added[here] = np.minimum(lost, nodes[here]) * wait_s[here] * chance[here]
    return added, chance * (wait_variance_s2 + wait_s**2)


def _losses_per_s(
    catalog: Catalog,
    providers: NDArray[Any],
    nodes: Ints,
    spot: NDArray[np.bool_],
    span_s: Floats,
) -> Floats:
    """Interruptions per second of each gang over a wall time: failures, and spot losses if spot."""
    rate = np.empty(len(span_s))
    hours = np.clip(span_s / 3600, 1e-6, LONGEST_SPAN_H)
    for provider in np.unique(providers).tolist():
        known, here = catalog.facts(provider), providers == provider
        lost = expected_losses(known.spot_hazard, hours[here]) / hours[here]
        rate[here] = known.node_failures_per_h + lost * spot[here]
    return np.maximum(nodes * rate / 3600, 1e-15)


def _costs(
    catalog: Catalog, workload: Workload, facts: ModelFacts, columns: dict[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    providers = catalog.offers["provider"].to_numpy()[columns["offer"]]
    mean, variance = columns["time_mean_s"], columns["time_variance"]
    rate_usd_s = columns["nodes"] * columns["price_usd_h"] / 3600

    def billed(seconds: Floats) -> Floats:
        charged = np.empty_like(seconds)
        for provider in np.unique(providers).tolist():
            rows, rule = providers == provider, catalog.facts(provider).billing
            started = np.ceil(seconds[rows] / rule.granularity_s) * rule.granularity_s
            charged[rows] = np.maximum(rule.minimum_s, started)
        return charged

    def at(probability: float) -> Floats:
        return billed(lognormal_quantile(mean, variance, probability))

    compute = rate_usd_s * np.mean([at(probability) for probability in QUADRATURE], axis=0)
    # While a lost spot machine's place is empty, nobody is paid for it.
    unpaid = columns["idle_s"] * columns["price_usd_h"] / 3600
    compute = np.maximum(compute - unpaid, rate_usd_s * columns["work_s"])
    kept_gb = (workload.data.bytes + CHECKPOINTS_KEPT * facts.checkpoint_bytes) / GIB
    gb_month = catalog.storage_usd_per_gb_month().to_numpy()[columns["offer"]]
    storage = kept_gb * gb_month * mean / 3600 / HOURS_PER_MONTH
    egress = egress_usd(catalog, workload)[columns["offer"]]
    other = storage + egress
    return {
        "compute_usd": compute,
        "storage_usd": storage,
        "egress_usd": egress,
        "cost_p50_usd": rate_usd_s * at(0.5) + other,
        "cost_p90_usd": rate_usd_s * at(0.9) + other,
        "cancel_usd": rate_usd_s * (billed(mean / 2) - mean / 2),
    }


def egress_usd(catalog: Catalog, workload: Workload) -> Floats:
    """USD for moving the data once from where they lie to each offer of the catalog."""
    if workload.data.location is None or workload.data.bytes == 0:
        return np.zeros(catalog.offers.height)
    provider, region = workload.data.location.split(":", 1)
    return catalog.egress_usd(workload.data.bytes, (provider, region)).to_numpy()
