"""What if: the plan in a changed world, future by future against the plan as it is.

Baseline and change meet the same luck (common random numbers), so that the difference of each
future is the change's doing and its mean has a narrow interval.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from ..catalog.files import InputError
from ..optimizer.plan import DelayFacts, PlannedCandidate, PlannedJob
from .changes import Figure, WhatIf, in_zone, parsed
from .estimates import mean_interval
from .records import Difference, Scenario
from .rehearsal import Backend, Floats, Futures, Progress, run_futures, unheard
from .world import Conditions

ASSUMED_NETWORK_GBPS = 10.0  # where the provider does not say

Change = Callable[[Figure, PlannedJob, PlannedCandidate], PlannedCandidate]


def parse(texts: Sequence[str]) -> list[WhatIf]:
    """Scenarios for a plan. Raises InputError."""
    return parsed(texts, FIGURES)


def _price(figure: Figure, job: PlannedJob, one: PlannedCandidate) -> PlannedCandidate:
    price = figure.of(one.offer.price_usd_h)
    return one.model_copy(update={"offer": one.offer.model_copy(update={"price_usd_h": price})})


def _reliability(name: str) -> Change:
    def change(figure: Figure, job: PlannedJob, one: PlannedCandidate) -> PlannedCandidate:
        known = one.reliability
        value = getattr(known, name)
        new: object
        if isinstance(value, DelayFacts):
            new = DelayFacts(median_s=figure.of(value.median_s), sigma=value.sigma)
        elif isinstance(value, tuple):
            new = tuple(band.model_copy(update={"per_h": figure.of(band.per_h)}) for band in value)
        else:
            new = figure.of(value)
        return one.model_copy(update={"reliability": known.model_copy(update={name: new})})

    return change


def _nodes(figure: Figure, job: PlannedJob, one: PlannedCandidate) -> PlannedCandidate:
    return scaled(job, one, figure.count(one.nodes, job.name))


def scaled(job: PlannedJob, one: PlannedCandidate, nodes: int) -> PlannedCandidate:
    """The candidate on another number of nodes, from the plan's own figures alone.

    Per-device batch b stays as long as the global batch keeps max_global_batch B; else b shrinks.

        T(n') = (T(n) - c(n)) b'/b + c(n'),  c(n) = 2 (n - 1)/n S/w,  work' = steps' T(n')

    S bytes of gradients through a ring over the network's w bytes/s (DESIGN 3.1's prior), T(n) the
    planned step. Checkpoints are taken as often as Young says for n' machines' losses.
    """
    if nodes == one.nodes:
        return one
    per_node = one.global_batch / one.per_device_batch / one.nodes  # devices
    most = job.workload.max_global_batch
    batch = min(one.per_device_batch, int(most / (per_node * nodes)))
    if batch < 1:
        raise InputError(
            f"--what-if: {nodes} nodes of {job.name} need a global batch of "
            f"{math.ceil(per_node * nodes)}, above its max_global_batch {most}; ask for fewer"
        )
    whole = round(batch * per_node * nodes)
    wide = (one.offer.network_gbps or ASSUMED_NETWORK_GBPS) * 1e9 / 8
    exchange = {n: 2 * (n - 1) / n * job.facts.gradient_bytes / wide for n in (one.nodes, nodes)}
    known = one.reliability
    step_s = known.work_s / one.steps
    compute_s = max(step_s - exchange[one.nodes], 0.0) * batch / one.per_device_batch
    needed = job.workload.samples_to_target
    steps = math.ceil(
        one.steps * needed(whole) / needed(one.global_batch) * one.global_batch / whole
    )
    work_s = steps * (compute_s + exchange[nodes])
    interval_s = known.checkpoint_interval_s * math.sqrt(one.nodes / nodes)
    return one.model_copy(
        update={
            "nodes": nodes,
            "workers": one.workers // one.nodes * nodes,
            "per_device_batch": batch,
            "global_batch": whole,
            "steps": steps,
            "reliability": known.model_copy(
                update={
                    "work_s": work_s,
                    "checkpoint_interval_s": max(min(interval_s, work_s), known.checkpoint_s),
                }
            ),
        }
    )


FIGURES: dict[str, Change] = {
    "price": _price,
    "nodes": _nodes,
    "spot_hazard": _reliability("spot_hazard"),
    "failures": _reliability("node_failures_per_h"),
    "provisioning": _reliability("provisioning"),
    "stock_out": _reliability("stock_out"),
    "work": _reliability("work_s"),
}


def places(candidates: Sequence[PlannedCandidate]) -> list[str]:
    """Where each job's machines stand: the first zone of its offer, or its region."""
    return [one.offer.zones[0] if one.offer.zones else one.offer.region for one in candidates]


def failing(zone: str, candidates: Sequence[PlannedCandidate]) -> list[bool]:
    """Which jobs stand in the zone (in_zone)."""
    return in_zone(zone, places(candidates), "job of the plan stands")


def scenario_world(
    what: WhatIf,
    jobs: Sequence[PlannedJob],
    candidates: Sequence[PlannedCandidate],
    conditions: Conditions,
) -> tuple[list[PlannedCandidate], Conditions]:
    """Candidates and conditions in that scenario."""
    if conditions.market is not None and any(one.name == "spot_hazard" for one in what.figures):
        raise InputError(
            f"--what-if '{what.words}': spot losses come from the trace here, not from a hazard; "
            "leave out --spot-trace, or try another change"
        )
    changed = list(candidates)
    for figure in what.figures:
        change = FIGURES[figure.name]
        changed = [change(figure, job, one) for job, one in zip(jobs, changed, strict=True)]
    outages: list[tuple[tuple[float, float], ...]] = [
        conditions.outages_of(number) for number in range(len(jobs))
    ]
    for zone, begin, end in what.outages:
        for number, there in enumerate(failing(zone, candidates)):
            if there:
                outages[number] = (*outages[number], (begin, end))
    return changed, replace(conditions, outages=tuple(outages)) if what.outages else conditions


def what_if(
    scenarios: Sequence[WhatIf],
    jobs: Sequence[PlannedJob],
    candidates: Sequence[PlannedCandidate],
    baseline: Futures,
    *,
    seed: int,
    conditions: Conditions,
    processes: int = 1,
    backend: Backend = "processes",
    progress: Progress = unheard,
) -> tuple[Scenario, ...]:
    """Each scenario in as many futures as the baseline has, and its paired differences."""
    # All are made before the first is run: a mistake in the last should not cost the others' time.
    worlds = [scenario_world(what, jobs, candidates, conditions) for what in scenarios]
    found = []
    count = len(baseline.finish_s)
    for number, (what, (changed, world)) in enumerate(zip(scenarios, worlds, strict=True)):
        ours = run_futures(
            changed,
            replications=count,
            seed=seed,
            jobs=processes,
            backend=backend,
            conditions=world,
            progress=_after(number * count, progress),
        )
        found.append(compared(what.words, baseline, ours))
    return tuple(found)


def _after(done: int, progress: Progress) -> Progress:
    """Progress that goes on where earlier scenarios left it."""
    return lambda more: progress(done + more)


def compared(words: str, baseline: Futures, changed: Futures) -> Scenario:
    """The change of the last finish and of the cost, future by future."""
    finish = [one.finish_s.max(axis=1) for one in (baseline, changed)]
    cost = [one.cost_usd.sum(axis=1) for one in (baseline, changed)]
    return Scenario(
        change=words,
        finish_s=_difference(*finish),
        cost_usd=_difference(*cost),
        unfinished=int((~changed.finished.all(axis=1)).sum()),
    )


def _difference(before: Floats, after: Floats) -> Difference:
    change = after - before
    apart = float(before.var() + after.var())
    return Difference(
        baseline=float(before.mean()),
        mean=float(after.mean()),
        p90=float(np.quantile(after, 0.9)),
        difference=float(change.mean()),
        difference_ci95=mean_interval(change),
        variance_ratio=float(change.var()) / apart if apart > 0 else 0.0,
    )
