"""From workloads, profiles and offers to a plan."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..catalog import Catalog, Offer, Purchase
from ..catalog.files import InputError, did_you_mean
from ..profiles.public import built_in_facts
from ..profiles.records import Profile
from ..profiles.throughput import Basis, StepTimeModel, interval
from ..profiles.workload import ModelFacts, Weights, Workload
from . import candidates as columns
from .candidates import PURCHASES, Candidates
from .flexibility import Flexibility, score
from .losses import LossColumns, losses
from .model import Column, Solution, choose
from .pareto import front
from .plan import (
    CostLines,
    DelayFacts,
    HazardFacts,
    Losses,
    Plan,
    PlannedCandidate,
    PlannedJob,
    PlannedOffer,
    Prediction,
    Reliability,
    ScenarioRegret,
    Solver,
    Spread,
    Throughput,
)
from .reliability import lognormal_quantile

RUNNERS_UP = 5
FRONTIER = 200  # points of the Pareto front that a plan keeps; all of them are stated and solved


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be planned: a workload, where its files are, and its profile if there is one.

    profiled_here: this machine measured it; otherwise its figures are transferred here as well.
    """

    workload: Workload
    folder: Path
    profile: Profile | None = None
    profile_path: Path | None = None
    profiled_here: bool = True


@dataclass(frozen=True, slots=True)
class Priced:
    """All candidates of one job with their scores; allowed: what the job's own wishes admit."""

    job: Job
    facts: ModelFacts
    catalog: Catalog
    weights: Weights
    candidates: Candidates
    flexibility: Flexibility
    losses: LossColumns
    here: NDArray[np.bool_]
    permitted: NDArray[np.bool_]  # providers, regions, accelerators, spot, the offers asked for
    in_time: NDArray[np.bool_]
    affordable: NDArray[np.bool_]

    @property
    def allowed(self) -> NDArray[np.bool_]:
        return self.permitted & self.in_time & self.affordable


class Infeasible(Exception):
    """No plan keeps every constraint; the message says which, and the smallest relaxations."""

    exit_code = 3


def optimize(
    jobs: Sequence[Job],
    catalog: Catalog,
    local: Offer,
    *,
    weights: Weights | None = None,
    offers: Catalog | None = None,
    version: str = "",
    command: str = "",
) -> Plan:
    """The plan that minimises the sum of L over jobs.

    offers: the part of the catalog that may be chosen, all of it by default; the losses are
    normalised over the whole catalog either way. weights: instead of each workload's own.
    Raises InputError for what cannot be planned and Infeasible where constraints conflict.
    """
    start = time.perf_counter()
    whole = catalog.with_offer(local)
    chosen_from = (
        None if offers is None else offers.with_offer(local) if _has(offers, local) else offers
    )
    priced = [price(job, whole, weights or job.workload.weights, chosen_from) for job in jobs]
    for one in priced:
        if not one.allowed.any():
            raise Infeasible(_relaxations(one))
    survivors = [_stated(one) for one in priced]
    stated = [
        Column(one.losses.total[rows], {"budget": one.candidates.cost_mean_usd[rows]})
        for one, rows in zip(priced, survivors, strict=True)
    ]
    generated = time.perf_counter()
    # Each job's own budget is a filter; only jobs with a common one would share a resource here.
    solution = choose(stated, {})
    if solution.chosen is None:
        raise Infeasible(
            f"no combination of candidates keeps every shared limit ({solution.status})"
        )
    planned = [
        _planned_job(one, rows, _tie_broken(one, rows, int(rows[k])))
        for one, rows, k in zip(priced, survivors, solution.chosen, strict=True)
    ]
    dates = whole.offers.filter(pl.col("provider") != "local")["price_date"]
    dates = dates if len(dates) else whole.offers["price_date"]
    return Plan(
        created=datetime.now(UTC),
        version=version,
        command=command,
        weights=(weights or jobs[0].workload.weights).normalised(),
        jobs=tuple(planned),
        solver=_solver(solution, sum(len(one.candidates) for one in priced), generated - start),
        oldest_price=dates.min(),  # type: ignore[arg-type]
        newest_price=dates.max(),  # type: ignore[arg-type]
    )


def _has(catalog: Catalog, local: Offer) -> bool:
    return bool((catalog.offers["provider"] == local.provider).any())


def price(job: Job, catalog: Catalog, weights: Weights, offers: Catalog | None = None) -> Priced:
    """All candidates of one job with times, costs, flexibility and losses."""
    facts = model_facts(job)
    _check_names(job.workload, catalog)
    _check_location(job.workload, catalog)
    model = StepTimeModel.of(
        facts, job.profile, catalog.accelerators, profiled_here=job.profiled_here
    )
    found = columns.generate(
        job.workload, facts, catalog, model, job.profile if job.profiled_here else None
    )
    table = catalog.offers[found.offer]
    wishes = job.workload.constraints
    permitted = found.nodes <= wishes.max_nodes
    for name, wanted in (
        ("provider", wishes.providers),
        ("region", wishes.regions),
        ("accelerator", wishes.accelerators),
    ):
        if wanted:
            permitted &= table[name].is_in(list(wanted)).to_numpy()
    if not wishes.spot:
        permitted &= found.purchase != PURCHASES.index(Purchase.SPOT)
    if offers is not None:
        key = ["provider", "region", "instance_type"]
        permitted &= (
            table.select(key)
            .join(
                offers.offers.select(key).with_columns(listed=True),
                on=key,
                how="left",
                maintain_order="left",
            )["listed"]
            .fill_null(False)
            .to_numpy()
        )
    # P and C are on the scale of all candidates; F counts only answers that the wishes permit.
    unrestricted = score(found, catalog)
    flexible = unrestricted if permitted.all() else score(found, catalog, permitted)
    scored = losses(
        found.time_p90_s, found.cost_mean_usd, flexible.total, weights, unrestricted.total
    )
    return Priced(
        job=job,
        facts=facts,
        catalog=catalog,
        weights=weights,
        candidates=found,
        flexibility=flexible,
        losses=scored,
        here=(table["provider"] == "local").to_numpy(),
        permitted=permitted,
        in_time=_in_time(job.workload, found),
        affordable=np.ones(len(found), bool)
        if wishes.budget_usd is None
        else found.cost_mean_usd <= wishes.budget_usd,
    )


def model_facts(job: Job) -> ModelFacts:
    """What a step needs: from the profile, the workload file, or the table of built-in models."""
    if job.profile is not None:
        return job.profile.facts
    known = job.workload.facts or built_in_facts().get(job.workload.model)
    if known is None:
        raise InputError(
            f"{job.workload.name} has no profile, and what one step of {job.workload.model} needs is "
            "not known; run 'isocost profile' on the workload first, or give its facts in the file"
        )
    return known


def _check_names(workload: Workload, catalog: Catalog) -> None:
    wishes = workload.constraints
    for word, wanted, known in (
        ("provider", wishes.providers, catalog.offers["provider"].unique().to_list()),
        ("region", wishes.regions, catalog.offers["region"].unique().to_list()),
        ("accelerator", wishes.accelerators, catalog.offers["accelerator"].unique().to_list()),
    ):
        for name in wanted:
            if name not in known:
                raise InputError(
                    f"{workload.name}: no offer has the {word} '{name}'{did_you_mean(name, known)}"
                )


def _check_location(workload: Workload, catalog: Catalog) -> None:
    """Data at a misspelt place would be priced as far away."""
    if workload.data.location is None:
        return
    places = catalog.offers.select("provider", "region").unique()
    known = [f"{provider}:{region}" for provider, region in places.iter_rows()]
    if workload.data.location not in known:
        raise InputError(
            f"{workload.name}: no offer is at the data's location "
            f"'{workload.data.location}'{did_you_mean(workload.data.location, known)}"
        )


def _in_time(workload: Workload, found: Candidates) -> NDArray[np.bool_]:
    deadline, probability = (
        workload.constraints.deadline_s,
        workload.constraints.deadline_probability,
    )
    if deadline is None:
        return np.ones(len(found), bool)
    return time_quantile(found, probability) <= deadline


def time_quantile(found: Candidates, probability: float) -> NDArray[np.float64]:
    """Wall time that a candidate stays below with that probability."""
    # p50 and mean of the lognormal give back its variance: mean / p50 = exp(s^2 / 2).
    square = 2 * np.log(np.maximum(found.time_mean_s / found.time_p50_s, 1.0))
    return lognormal_quantile(
        found.time_mean_s, np.expm1(square) * found.time_mean_s**2, probability
    )


def _tie_broken(one: Priced, rows: NDArray[np.intp], chosen: int) -> int:
    """Of the candidates with the same least L, the one with the least sum of the three losses.

    A weight of 0 leaves its loss out of L; between equals it should still count.
    """
    equal = rows[one.losses.total[rows] <= one.losses.total[chosen] + 1e-12]
    sums = one.losses.performance + one.losses.cost + one.losses.flexibility
    return int(equal[np.argmin(sums[equal])])


def _stated(one: Priced) -> NDArray[np.intp]:
    """The candidates that the model states: the allowed ones that no allowed one dominates.

    Lossless: L and the cost never fall with time, cost or flexibility, so that a dominated
    candidate can always be exchanged for the one that dominates it.
    """
    rows = np.flatnonzero(one.allowed)
    return rows[front(_points(one)[rows])]


def _points(one: Priced) -> NDArray[np.float64]:
    found = one.candidates
    return np.column_stack([found.time_p90_s, found.cost_mean_usd, one.flexibility.total])


def _relaxations(one: Priced) -> str:
    """Why nothing is allowed, and the smallest change of each constraint that helps."""
    wishes, found = one.job.workload.constraints, one.candidates
    name = one.job.workload.name
    if not one.permitted.any():
        return f"{name}: no offer is left by the providers, regions, accelerators, purchases and offers asked for"
    remedies = []
    timely = one.permitted & one.in_time
    cheap = one.permitted & one.affordable
    if wishes.deadline_s is not None and cheap.any():
        least = float(time_quantile(found, wishes.deadline_probability)[cheap].min())
        remedies.append(f"a deadline of {math.ceil(least)} s instead of {wishes.deadline_s:g} s")
    if wishes.budget_usd is not None and timely.any():
        dollars = float(found.cost_mean_usd[timely].min())
        remedies.append(
            f"a budget of {_up_to_cents(dollars)} USD instead of {wishes.budget_usd:g} USD"
        )
    if not remedies:
        least = float(time_quantile(found, wishes.deadline_probability)[one.permitted].min())
        dollars = float(found.cost_mean_usd[one.permitted].min())
        return (
            f"{name}: neither the deadline nor the budget can be kept: the quickest candidate takes "
            f"{math.ceil(least)} s, the cheapest costs {_up_to_cents(dollars)} USD"
        )
    return f"{name}: no candidate keeps every constraint; possible again with {' or with '.join(remedies)}"


def _up_to_cents(dollars: float) -> str:
    """Dollars rounded up so that the figure still suffices."""
    digits = max(2, 2 - math.floor(math.log10(dollars))) if dollars > 0 else 2
    return f"{math.ceil(dollars * 10**digits) / 10**digits:.{digits}f}"


def _evenly(rows: NDArray[np.intp], chosen: int) -> NDArray[np.intp]:
    """At most FRONTIER of the rows, evenly spread, with both ends and the chosen one."""
    if len(rows) <= FRONTIER:
        return rows
    picked = np.linspace(0, len(rows) - 1, FRONTIER).round().astype(np.intp)
    kept: NDArray[np.intp] = rows[np.union1d(picked, np.flatnonzero(rows == chosen))]
    return kept


def _planned_job(one: Priced, stated: NDArray[np.intp], chosen: int) -> PlannedJob:
    here = _best(one, one.here & one.allowed)
    keeps = here is not None
    if here is None:
        here = _best(one, one.here)
    by_time = stated[np.argsort(one.candidates.time_p90_s[stated], kind="stable")]
    profile = one.job.profile
    return PlannedJob(
        name=one.job.workload.name,
        workload=one.job.workload,
        weights=one.weights.normalised(),
        folder=str(one.job.folder),
        facts=one.facts,
        facts_basis="profiled"
        if profile
        else "stated"
        if one.job.workload.facts
        else "built-in table",
        profile=str(one.job.profile_path) if one.job.profile_path else None,
        chosen=_planned(one, chosen),
        runnable_here=None if here is None else _planned(one, here),
        runnable_here_keeps_constraints=keeps,
        frontier=tuple(_planned(one, int(row)) for row in _evenly(by_time, chosen)),
        frontier_size=len(stated),
        runners_up=tuple(_planned(one, row) for row in _runners_up(one, chosen)),
    )


def _best(one: Priced, among: NDArray[np.bool_]) -> int | None:
    rows = np.flatnonzero(among)
    return int(rows[np.argmin(one.losses.total[rows])]) if len(rows) else None


def _runners_up(one: Priced, chosen: int) -> list[int]:
    """The next best candidates, each on another instance type or purchase than those before."""
    found, table = one.candidates, one.catalog.offers
    names = table["provider"].to_list(), table["instance_type"].to_list()

    def key(row: int) -> tuple[str, str, int]:
        offer = int(found.offer[row])
        return names[0][offer], names[1][offer], int(found.purchase[row])

    seen, next_best = {key(chosen)}, []
    rows = np.flatnonzero(one.allowed)
    for row in rows[np.argsort(one.losses.total[rows], kind="stable")].tolist():
        if key(row) not in seen:
            seen.add(key(row))
            next_best.append(row)
        if len(next_best) == RUNNERS_UP:
            break
    return next_best


def _planned(one: Priced, row: int) -> PlannedCandidate:
    found = one.candidates
    offer = one.catalog.offer(int(found.offer[row]))
    knobs = found.knob_sets[int(found.knobs[row])]
    purchase = PURCHASES[int(found.purchase[row])]
    batch = int(found.batch[row] * found.replicas[row])
    low, high = interval(float(found.step_s[row]), float(found.step_sigma[row]))
    flexible = one.flexibility
    return PlannedCandidate(
        offer=PlannedOffer(
            provider=offer.provider,
            region=offer.region,
            zones=offer.zones,
            instance_type=offer.instance_type,
            accelerator=offer.accelerator,
            accelerator_count=offer.accelerator_count,
            vcpus=offer.vcpus,
            memory_gib=offer.memory_gib,
            network_gbps=offer.network_gbps,
            price_usd_h=float(found.price_usd_h[row]),
            price_date=offer.price_date,
            source=offer.source,
        ),
        purchase=purchase,
        nodes=int(found.nodes[row]),
        workers=int(found.nodes[row]) * knobs.workers_per_node,
        per_device_batch=int(found.batch[row]),
        global_batch=batch,
        steps=int(found.steps[row]),
        knobs=knobs,
        basis=Basis(int(found.basis[row])).word,  # type: ignore[arg-type]
        predicted=Prediction(
            time_s=Spread(
                mean=found.time_mean_s[row], p50=found.time_p50_s[row], p90=found.time_p90_s[row]
            ),
            cost_usd=Spread(
                mean=found.cost_mean_usd[row],
                p50=found.cost_p50_usd[row],
                p90=found.cost_p90_usd[row],
            ),
            flexibility=flexible.total[row],
            samples_per_s=Throughput(
                p50=batch / found.step_s[row], p05=batch / high, p95=batch / low
            ),
            cost_lines=CostLines(
                compute=found.compute_usd[row],
                storage=found.storage_usd[row],
                egress=found.egress_usd[row],
            ),
            scenarios={
                name: ScenarioRegret(
                    score=flexible.scores[name][row],
                    usd=_or_none(flexible.usd[name][row]),
                    hours=_or_none(flexible.hours[name][row]),
                )
                for name in flexible.scores
            },
        ),
        reliability=_reliability(one, row, purchase),
        losses=Losses(
            performance=one.losses.performance[row],
            cost=one.losses.cost[row],
            flexibility=one.losses.flexibility[row],
            total=one.losses.total[row],
        ),
    )


def _reliability(one: Priced, row: int, purchase: Purchase) -> Reliability:
    found = one.candidates
    provider = one.catalog.offers["provider"][int(found.offer[row])]
    facts = one.catalog.facts(provider)
    knobs = found.knob_sets[int(found.knobs[row])]
    ready = columns.ready_delay(facts, knobs, one.job.profile)
    stall = (
        one.job.profile.checkpoint_write_s
        if one.job.profile
        else one.facts.checkpoint_bytes / columns.CHECKPOINT_BYTES_PER_S
    )
    bands = facts.spot_hazard if purchase is Purchase.SPOT else ()
    return Reliability(
        work_s=float(found.steps[row] * found.step_s[row]),
        work_sigma=float(found.step_sigma[row]),
        checkpoint_s=stall,
        checkpoint_interval_s=float(found.checkpoint_interval_s[row]),
        spot_hazard=tuple(
            HazardFacts(
                from_h=band.from_h,
                to_h=band.to_h if math.isfinite(band.to_h) else None,
                per_h=band.per_h,
            )
            for band in bands
        ),
        node_failures_per_h=facts.node_failures_per_h,
        provisioning=DelayFacts(median_s=ready.median_s, sigma=ready.sigma),
        stock_out=DelayFacts(median_s=facts.stock_out.median_s, sigma=facts.stock_out.sigma),
        billing_granularity_s=facts.billing.granularity_s,
        billing_minimum_s=facts.billing.minimum_s,
        interruptions=float(found.interruptions[row]),
    )


def _or_none(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _solver(solution: Solution, candidates: int, generate_s: float) -> Solver:
    return Solver(
        name=solution.solver,
        status=solution.status,
        gap=solution.gap,
        candidates=candidates,
        columns=solution.columns,
        generate_s=generate_s,
        build_s=solution.build_s,
        solve_s=solution.solve_s,
    )
