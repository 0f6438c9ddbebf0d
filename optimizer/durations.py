"""How long each setting takes, what interrupts it, and which hours its provider bills.

Time: work W = steps(B) * T(n, m, b), stretched by interruptions (see reliability), after the
slowest node's provisioning. DESIGN 3.3.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..catalog import Catalog, Delay, ProviderFacts
from ..profiles.records import Knobs, Profile
from ..profiles.workload import Workload
from .candidates import Floats, Ints
from .reliability import (
    expected_losses,
    gang_delay,
    hazard_integral,
    lognormal_quantile,
    wall_time,
)

QUADRATURE = tuple((i + 0.5) / 20 for i in range(20))  # quantiles averaged for the mean bill
FIXED_POINT_ROUNDS = 4
FORMING_ROUNDS = 2  # more overshoot: later losses' waits overlap with the first one's
LONGEST_SPAN_H = 1e5


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


def durations(
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


def billed(
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
