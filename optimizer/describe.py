"""A candidate's row as the records of a plan."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..catalog import Offer, Purchase, price_day
from ..profiles.throughput import Basis, interval
from .candidates import PURCHASES, TERM_H, Candidates
from .constraints import carbon_kg
from .durations import ready_delay
from .generating import CHECKPOINT_BYTES_PER_S
from .plan import (
    CostLines,
    DelayFacts,
    HazardFacts,
    Losses,
    PlannedCandidate,
    PlannedOffer,
    Prediction,
    Reliability,
    ScenarioRegret,
    Spread,
    Throughput,
)
from .pricing import Priced


def planned_candidates(one: Priced, rows: Sequence[int]) -> list[PlannedCandidate]:
    """The candidates in rows, with every figure that a plan keeps of them."""
    found = one.candidates.take(np.array(rows, np.intp))
    scenarios = one.flexibility.scenarios(np.array(rows, np.intp))
    regrets = [
        {
            name: ScenarioRegret(
                score=regret.score[place],
                usd=_or_none(regret.usd[place]),
                hours=_or_none(regret.hours[place]),
            )
            for name, regret in scenarios.items()
        }
        for place in range(len(rows))
    ]
    carbon = carbon_kg(one.catalog, found)
    return [_planned(one, found, regrets[k], carbon, k, row) for k, row in enumerate(rows)]


def _source(offer: Offer, purchase: Purchase) -> str:
    """Where the price comes from: a reserved one may be on-demand less the usual discount."""
    if purchase in TERM_H and offer.reserved_basis == "usual_discount":
        return f"{offer.source}; less the provider's usual discount for a commitment"
    return offer.source


def _planned(
    one: Priced,
    found: Candidates,
    regrets: dict[str, ScenarioRegret],
    carbon: NDArray[np.float64],
    k: int,
    row: int,
) -> PlannedCandidate:
    offer = one.catalog.offer(int(found.offer[k]))
    knobs = found.knob_sets[int(found.knobs[k])]
    purchase = PURCHASES[int(found.purchase[k])]
    batch = int(found.batch[k] * found.replicas[k])
    low, high = interval(float(found.step_s[k]), float(found.step_sigma[k]))
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
            # Of a commitment that is used in part, an hour of use.
            price_usd_h=float(found.price_usd_h[k])
            / (found.utilisation if purchase in TERM_H and found.utilisation else 1.0),
            price_date=price_day(purchase, offer.price_date, offer.spot_date),
            source=_source(offer, purchase),
        ),
        purchase=purchase,
        nodes=int(found.nodes[k]),
        workers=int(found.nodes[k]) * knobs.workers_per_node,
        per_device_batch=int(found.batch[k]),
        global_batch=batch,
        steps=int(found.steps[k]),
        knobs=knobs,
        basis=Basis(int(found.basis[k])).word,  # type: ignore[arg-type]
        predicted=Prediction(
            time_s=Spread(
                mean=found.time_mean_s[k], p50=found.time_p50_s[k], p90=found.time_p90_s[k]
            ),
            cost_usd=Spread(
                mean=found.cost_mean_usd[k],
                p50=found.cost_p50_usd[k],
                p90=found.cost_p90_usd[k],
            ),
            flexibility=one.flexibility.total[row],
            carbon_kg=carbon[k],
            samples_per_s=Throughput(
                p50=batch / found.step_s[k], p05=batch / high, p95=batch / low
            ),
            cost_lines=CostLines(
                compute=found.compute_usd[k],
                storage=found.storage_usd[k],
                egress=found.egress_usd[k] + found.checkpoints_usd[k],
                licence=found.licence_usd[k],
                labour=found.labour_usd[k],
            ),
            scenarios=regrets,
        ),
        reliability=_reliability(one, found, k, purchase),
        losses=Losses(
            performance=one.losses.performance[row],
            cost=one.losses.cost[row],
            flexibility=one.losses.flexibility[row],
            total=one.losses.total[row],
        ),
    )


def _reliability(one: Priced, found: Candidates, k: int, purchase: Purchase) -> Reliability:
    provider = one.catalog.offers["provider"][int(found.offer[k])]
    facts = one.catalog.facts(provider)
    knobs = found.knob_sets[int(found.knobs[k])]
    ready = ready_delay(facts, knobs, one.job.profile)
    stall = (
        one.job.profile.checkpoint_write_s
        if one.job.profile
        else one.facts.checkpoint_bytes / CHECKPOINT_BYTES_PER_S
    )
    # A commitment that nobody else uses is billed in whole terms.
    term_s = 0.0 if found.utilisation else 3600 * TERM_H.get(purchase, 0.0)
    bands = facts.spot_hazard if purchase is Purchase.SPOT else ()
    return Reliability(
        work_s=float(found.steps[k] * found.step_s[k]),
        work_sigma=float(found.step_sigma[k]),
        checkpoint_s=stall,
        checkpoint_interval_s=float(found.checkpoint_interval_s[k]),
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
        billing_granularity_s=term_s or facts.billing.granularity_s,
        billing_minimum_s=term_s or facts.billing.minimum_s,
        interruptions=float(found.interruptions[k]),
    )


def _or_none(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
