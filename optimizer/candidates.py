"""Every way to run one job, as columns: offer x purchase x nodes x batch x knobs.

Time: work W = steps(B) * T(n, m, b), stretched by interruptions (see reliability), after the
slowest node's provisioning. Cost: nodes * price * billed hours + storage + egress + licence +
labour (DESIGN 3.3). A commitment of one or three years is paid for its whole term, or, where the
workload says which share u of it other work would use as well, by the hour at price / u.

What takes long to compute depends on the hardware and the provider alone, and a catalog sells few
hundred kinds of hardware at thousands of places and prices: times are computed once a `Settings`
row, and a candidate is a setting, an offer and a price.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..catalog import Catalog, Delay, ProviderFacts, Purchase, price_column
from ..profiles.records import Knobs, Profile
from ..profiles.throughput import Fleet, StepTimeModel, knob_sets
from ..profiles.workload import ModelFacts, Workload
from .moving import egress_of_offers, moved_usd, place_of, storage_usd_h
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
SPOT = PURCHASES.index(Purchase.SPOT)
TERM_H = {Purchase.RESERVED_1Y: 8760.0, Purchase.RESERVED_3Y: 3 * 8760.0}
QUADRATURE = tuple((i + 0.5) / 20 for i in range(20))  # quantiles averaged for the mean bill
ALWAYS_CONSIDERED_NODES = 8  # so that a tighter max_nodes does not move the losses' scale
CHECKPOINT_BYTES_PER_S = (
    130e6  # slowest write seen of tf.train.Checkpoint on a shared disk, 2026-11
)
FIXED_POINT_ROUNDS = 4
FORMING_ROUNDS = 2  # more overshoot: later losses' waits overlap with the first one's
LONGEST_SPAN_H = 1e5
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


@dataclass(frozen=True, slots=True)
class Settings:
    """Hardware of one kind at one provider x spot or not x nodes x batch x knobs, as columns.

    ready_s: until all nodes run. paid_h: node-hours that the mean bill counts. other_usd:
    licence and labour together, which no price of an offer touches.
    """

    provider: NDArray[np.int64]  # index into Candidates.providers
    spot: NDArray[np.bool_]
    nodes: Ints
    batch: Ints  # per device
    replicas: Ints
    knobs: Ints
    basis: NDArray[np.uint8]
    step_s: Floats
    step_sigma: Floats
    steps: Ints
    work_s: Floats
    ready_s: Floats
    checkpoint_interval_s: Floats
    interruptions: Floats
    time_mean_s: Floats
    time_variance: Floats
    time_p50_s: Floats
    time_p90_s: Floats
    paid_h: Floats
    paid_p50_h: Floats
    paid_p90_h: Floats
    paid_if_cancelled_h: Floats  # at half of the mean time
    licence_usd: Floats
    labour_usd: Floats

    def __len__(self) -> int:
        return len(self.nodes)

    @property
    def other_usd(self) -> Floats:
        return self.licence_usd + self.labour_usd


@dataclass(frozen=True, slots=True)
class Candidates:
    """Columns of equal length; offer is a row of the catalog, knobs an index into knob_sets.

    setting is a row of settings; what depends on it alone is looked up there, column by column, by
    the properties. storage_usd_h: of data and checkpoints, in each row of the catalog. commitment_h: of each purchase, the hours a node is paid whatever is used, 0 for
    none; utilisation: the share of them that this job and others use, 0 where only this job does.
    """

    knob_sets: tuple[Knobs, ...]
    providers: tuple[str, ...]
    settings: Settings
    setting: NDArray[np.int32]
    offer: NDArray[np.int32]
    purchase: NDArray[np.int8]  # index into PURCHASES
    price_usd_h: Floats  # of one node
    compute_usd: Floats
    egress_usd: Floats  # of the data, once
    checkpoints_usd: Floats  # moved to where they are kept and back
    cost_mean_usd: Floats
    storage_usd_h: Floats
    commitment_h: Floats
    utilisation: float

    def __len__(self) -> int:
        return len(self.offer)

    @property
    def nodes(self) -> Ints:
        return self.settings.nodes[self.setting]

    @property
    def batch(self) -> Ints:
        return self.settings.batch[self.setting]

    @property
    def replicas(self) -> Ints:
        return self.settings.replicas[self.setting]

    @property
    def knobs(self) -> Ints:
        return self.settings.knobs[self.setting]

    @property
    def basis(self) -> NDArray[np.uint8]:
        return self.settings.basis[self.setting]

    @property
    def step_s(self) -> Floats:
        return self.settings.step_s[self.setting]

    @property
    def step_sigma(self) -> Floats:
        return self.settings.step_sigma[self.setting]

    @property
    def steps(self) -> Ints:
        return self.settings.steps[self.setting]

    @property
    def work_s(self) -> Floats:
        return self.settings.work_s[self.setting]

    @property
    def interruptions(self) -> Floats:
        return self.settings.interruptions[self.setting]

    @property
    def checkpoint_interval_s(self) -> Floats:
        return self.settings.checkpoint_interval_s[self.setting]

    @property
    def time_mean_s(self) -> Floats:
        return self.settings.time_mean_s[self.setting]

    @property
    def time_p50_s(self) -> Floats:
        return self.settings.time_p50_s[self.setting]

    @property
    def time_p90_s(self) -> Floats:
        return self.settings.time_p90_s[self.setting]

    def time_quantile_s(self, probability: float) -> Floats:
        """Wall time that a candidate stays below with that probability."""
        one = self.settings
        return lognormal_quantile(one.time_mean_s, one.time_variance, probability)[self.setting]

    @property
    def storage_usd(self) -> Floats:
        return self.storage_usd_h[self.offer] * (self.time_mean_s / 3600)

    @property
    def licence_usd(self) -> Floats:
        return self.settings.licence_usd[self.setting]

    @property
    def labour_usd(self) -> Floats:
        return self.settings.labour_usd[self.setting]

    @property
    def growing_usd(self) -> Floats:
        """What grows with the work beside the machines' bill."""
        return self.settings.other_usd[self.setting] + self.storage_usd + self.checkpoints_usd

    @property
    def rate_usd_h(self) -> Floats:
        """What an hour of all nodes costs."""
        return self.nodes * self.price_usd_h

    @property
    def cost_p50_usd(self) -> Floats:
        return self._cost(self.settings.paid_p50_h)

    @property
    def cost_p90_usd(self) -> Floats:
        return self._cost(self.settings.paid_p90_h)

    @property
    def cancelled_usd(self) -> Floats:
        """What has been paid if the job ends half-way."""
        return self._cost(self.settings.paid_if_cancelled_h, 0.5)

    def _cost(self, paid_h: Floats, share: float = 1.0) -> Floats:
        """USD where each setting's paid_h are charged, and a share of what grows with the work."""
        charged = _charged(self, paid_h) * self.price_usd_h
        return charged + share * self.growing_usd + self.egress_usd

    def take(self, rows: NDArray[Any]) -> "Candidates":
        """The candidates in rows, over the same settings."""
        whole = {
            "knob_sets",
            "providers",
            "settings",
            "storage_usd_h",
            "commitment_h",
            "utilisation",
        }
        return replace(
            self,
            **{f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name not in whole},
        )


def _charged(candidates: Candidates, paid_h: Floats) -> Floats:
    """Node-hours charged where paid_h of each setting are used: those; of a commitment its whole
    terms, or, where a share u of it is used, those / u."""
    term_h = candidates.commitment_h[candidates.purchase]
    charged = paid_h[candidates.setting]
    rows = np.flatnonzero(term_h)
    if candidates.utilisation > 0:
        charged[rows] /= candidates.utilisation
    else:
        whole = term_h[rows] * candidates.settings.nodes[candidates.setting[rows]]
        charged[rows] = np.maximum(np.ceil(charged[rows] / whole), 1.0) * whole
    return charged


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
    table |= _times(catalog, names, profile, knob_list, table, stall)
    table |= _bills(catalog, names, workload, table)
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
    return replace(found, compute_usd=found.price_usd_h * _charged(found, settings.paid_h))


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
    names: Sequence[str],
    profile: Profile | None,
    knob_list: Sequence[Knobs],
    columns: dict[str, NDArray[Any]],
    stall: float,
) -> dict[str, NDArray[Any]]:
    providers, nodes, spot = columns["provider"], columns["nodes"], columns["spot"]
    # The mean of a lognormal lies above its median.
    work = columns["steps"] * columns["step_s"] * np.exp(columns["step_sigma"] ** 2 / 2)
    wait, wait_var, idle = np.zeros(len(work)), np.zeros(len(work)), np.zeros(len(work))
    ready, ready_var = np.zeros(len(work)), np.zeros(len(work))
    for index, name in enumerate(names):
        known, here = catalog.facts(name), providers == index
        for knob in np.unique(columns["knobs"][here]).tolist():
            delay = ready_delay(known, knob_list[knob], profile)
            rows = here & (columns["knobs"] == knob)
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
        mtti = 1 / _losses_per_s(catalog, names, providers, nodes, spot, span)
        wall = wall_time(work, columns["step_sigma"], mtti, wait, wait_var, stalls, nodes)
        span = wall.mean_s
    forming, forming_var = _forming_losses(
        catalog, names, providers, nodes, spot, ready, wait, wait_var
    )
    mean = wall.mean_s + ready + forming
    variance = wall.variance_s2 + ready_var + forming_var
    return {
        "work_s": work,
        "ready_s": ready,
        "checkpoint_interval_s": wall.interval_s,
        "interruptions": wall.interruptions,
        "idle_s": wall.interruptions * idle,
        "time_mean_s": mean,
        "time_variance": variance,
        "time_p50_s": lognormal_quantile(mean, variance, 0.5),
        "time_p90_s": lognormal_quantile(mean, variance, 0.9),
    }


def _forming_losses(
    catalog: Catalog,
    names: Sequence[str],
    providers: Ints,
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
        for index, name in enumerate(names):
            known = catalog.facts(name)
            here = (providers == index) & spot & (nodes > 1)
            alone = gang_delay(known.provisioning, 1)[0]
            exposed_h = np.maximum(ready_s[here] - alone, 0.0) / 3600 + added[here] / 3600
            lost = nodes[here] * hazard_integral(known.spot_hazard, exposed_h)
            chance[here] = -np.expm1(-lost)
            added[here] = np.minimum(lost, nodes[here]) * wait_s[here] * chance[here]
    return added, chance * (wait_variance_s2 + wait_s**2)


def _losses_per_s(
    catalog: Catalog,
    names: Sequence[str],
    providers: Ints,
    nodes: Ints,
    spot: NDArray[np.bool_],
    span_s: Floats,
) -> Floats:
    """Interruptions per second of each gang over a wall time: failures, and spot losses if spot."""
    rate = np.empty(len(span_s))
    hours = np.clip(span_s / 3600, 1e-6, LONGEST_SPAN_H)
    for index, name in enumerate(names):
        known, here = catalog.facts(name), providers == index
        rate[here] = known.node_failures_per_h
        lost = here & spot
        rate[lost] += expected_losses(known.spot_hazard, hours[lost]) / hours[lost]
    return np.maximum(nodes * rate / 3600, 1e-15)


def _bills(
    catalog: Catalog,
    names: Sequence[str],
    workload: Workload,
    columns: dict[str, NDArray[Any]],
) -> dict[str, NDArray[Any]]:
    """Hours that are paid, and what no price of an offer touches."""
    mean, variance, nodes = columns["time_mean_s"], columns["time_variance"], columns["nodes"]
    rules = [catalog.facts(name).billing for name in names]
    grain = np.array([rule.granularity_s for rule in rules])[columns["provider"]]
    least = np.array([rule.minimum_s for rule in rules])[columns["provider"]]

    def billed_h(seconds: Floats) -> Floats:
        hours: Floats = nodes * np.maximum(least, np.ceil(seconds / grain) * grain) / 3600
        return hours

    def at(probability: float) -> Floats:
        return billed_h(lognormal_quantile(mean, variance, probability))

    paid = np.mean([at(probability) for probability in QUADRATURE], axis=0)
    # While a lost spot machine's place is empty, nobody is paid for it.
    paid = np.maximum(paid - columns["idle_s"] / 3600, nodes * columns["work_s"] / 3600)
    hours = mean / 3600
    extra = workload.extra_costs
    return {
        "paid_h": paid,
        "paid_p50_h": at(0.5),
        "paid_p90_h": at(0.9),
        "paid_if_cancelled_h": billed_h(mean / 2),
        "licence_usd": extra.licence_usd_per_worker_h * columns["replicas"] * hours,
        "labour_usd": extra.labour_usd_per_h * hours
        + extra.labour_usd_per_interruption * columns["interruptions"],
    }
