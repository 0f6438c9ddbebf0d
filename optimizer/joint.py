"""All jobs of a plan together: what the limits that they share cost, and the front of their plans."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from ..profiles.workload import Weights
from . import plan as records
from .candidates import PURCHASES
from .deciding import Decision, decided
from .front import LEAST_WEIGHT, Solved, refined
from .instance import Limit
from .pipeline import Wait, scale
from .pricing import Priced
from .shared import GAP, OWNED, QUOTA, Shared, as_instance

NEAR = 1e-3  # of L, on average over the jobs: then the front is not refined any more
WORDS = {
    "budget": "the total budget (USD)",
    "hourly": "the hourly cap of all jobs (USD/h)",
    "share": "the largest share of a provider",
}


def limit_prices(
    priced: Sequence[Priced],
    found: Sequence[Wait],
    shared: Shared,
    decision: Decision,
    solver: str = "highs",
) -> tuple[records.LimitPrice, ...]:
    """Each limit's price: everything is planned once more without it."""
    return tuple(
        _price_of(limit, used, priced, decision, decided(priced, found, other, solver))
        for limit, used, other in _limits(priced, shared, decision)
    )


def _limits(
    priced: Sequence[Priced], shared: Shared, decision: Decision
) -> list[tuple[Limit, float, Shared]]:
    """The limits that were stated, what the plan uses of them, and what is shared without each."""
    instance, rows = as_instance(priced, shared)
    columns = instance.start[:-1] + np.array(
        [np.searchsorted(kept, k) for kept, k in zip(rows, decision.chosen, strict=True)]
    )
    found = []
    for limit in instance.limits:
        if limit.name == OWNED:
            continue
        used = float(limit.used(columns).max())
        if limit.name == "budget" and decision.pipeline is not None:
            used = decision.pipeline.cost_usd
        found.append((limit, used, shared.without(limit.name)))
    return found


def _price_of(
    limit: Limit, used: float, priced: Sequence[Priced], with_it: Decision, without: Decision
) -> records.LimitPrice:
    loss = with_it.total - without.total
    # Both are known to the solver's gap only.
    binds = loss > 2 * GAP * max(abs(with_it.total), 1e-9)
    now, then = _sums(priced, with_it), _sums(priced, without)
    hours, p90_hours, usd = (
        (a - b) * unit if binds else 0.0
        for a, b, unit in zip(now, then, (1 / 3600, 1 / 3600, 1.0), strict=True)
    )
    return records.LimitPrice(
        key=limit.name,
        words=WORDS.get(limit.name, f"the {QUOTA}of {limit.name.removeprefix(QUOTA)} (nodes)"),
        used=used,
        limit=float(limit.at_most.max()),
        binds=binds,
        loss=loss if binds else 0.0,
        hours=hours,
        p90_hours=p90_hours,
        usd=usd,
    )


def _sums(priced: Sequence[Priced], decision: Decision) -> tuple[float, float, float]:
    """Mean and p90 seconds and mean USD of all jobs; of a pipeline its makespan and its moves."""
    chosen = [
        one.candidates.take(np.array([k])) for one, k in zip(priced, decision.chosen, strict=True)
    ]
    mean = math.fsum(float(one.time_mean_s[0]) for one in chosen)
    if decision.pipeline is not None:
        return mean, decision.pipeline.makespan_s, decision.pipeline.cost_usd
    return (
        mean,
        math.fsum(float(one.time_p90_s[0]) for one in chosen),
        math.fsum(float(one.cost_mean_usd[0]) for one in chosen),
    )


def front_of_jobs(
    priced: Sequence[Priced],
    found: Sequence[Wait],
    shared: Shared | None,
    *,
    most: int,
    solver: str = "highs",
    solved: Callable[[int], None] = lambda count: None,
) -> records.Front:
    """Plans of all jobs that no other of them beats, from at most so many solves.

    solved: told the number of solves so far. Raises Infeasible or NotProven as the plan itself does.
    """
    count = 0

    def solve(weights: Weights) -> Solved[Decision]:
        nonlocal count
        weighed = [one.weighing(weights) for one in priced]
        decision = decided(weighed, found, shared, solver)
        count += 1
        solved(count)
        jobs = 1 if found else len(priced)
        return Solved(weights, _losses(priced, found, decision), decision.bound / jobs, decision)

    front = refined(solve, most=most, near=NEAR)
    points = sorted((_point(priced, one) for one in front.points), key=lambda point: point.time_s)
    return records.Front(
        points=tuple(points),
        within=front.within,
        least_weight=LEAST_WEIGHT,
        solves=front.solves,
    )


def _losses(
    priced: Sequence[Priced], found: Sequence[Wait], decision: Decision
) -> tuple[float, float, float]:
    """P^, C^ and F of all jobs: the means, of a pipeline those of its own scale."""
    pairs = list(zip(priced, decision.chosen, strict=True))
    flexibility = math.fsum(float(one.losses.flexibility[k]) for one, k in pairs) / len(pairs)
    if decision.pipeline is not None:
        of_all = scale(priced, found)
        return (
            (decision.pipeline.makespan_s - of_all.least_s) / of_all.range_s,
            (decision.pipeline.cost_usd - of_all.least_usd) / of_all.range_usd,
            flexibility,
        )
    return (
        math.fsum(float(one.losses.performance[k]) for one, k in pairs) / len(pairs),
        math.fsum(float(one.losses.cost[k]) for one, k in pairs) / len(pairs),
        flexibility,
    )


def _point(priced: Sequence[Priced], one: Solved[Decision]) -> records.FrontPoint:
    decision, (performance, cost, flexibility) = one.plan, one.losses
    _, time_s, usd = _sums(priced, decision)
    return records.FrontPoint(
        weights=one.weights,
        performance=performance,
        cost=cost,
        flexibility=flexibility,
        time_s=time_s,
        cost_usd=usd,
        gap=decision.solution.gap,
        choices=tuple(_choice(job, k) for job, k in zip(priced, decision.chosen, strict=True)),
    )


def _choice(one: Priced, k: int) -> records.FrontChoice:
    found = one.candidates.take(np.array([k]))
    offer = one.catalog.offer(int(found.offer[0]))
    return records.FrontChoice(
        job=one.job.workload.name,
        provider=offer.provider,
        region=offer.region,
        instance_type=offer.instance_type,
        purchase=PURCHASES[int(found.purchase[0])],
        nodes=int(found.nodes[0]),
        per_device_batch=int(found.batch[0]),
    )
