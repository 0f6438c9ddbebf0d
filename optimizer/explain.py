"""Why this plan: what each constraint costs, who wins at which weights, and what to measure next."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .considered import considered
from .constraints import Constraint, Limit, constraint_words
from .describe import planned_candidates
from .measuring import worth_measuring
from .plan import ConstraintPrice, Explanation, Polygon
from .pricing import Priced, judged
from .scaling import scaling
from .sensitivity import sensitivity
from .weightmap import weight_map

ALTERNATIVES = 5
SAME_L = 1e-12


def explain(
    one: Priced, efficient: NDArray[np.intp], chosen: int, others: Sequence[int] = ()
) -> Explanation:
    """The explanation of one job's chosen candidate.

    efficient: the allowed candidates that no allowed one dominates. others: on further instance types,
    whose scaling is of interest as well.
    """
    # What jobs share may keep this one from its own best, which is what its constraints cost.
    alone = _winner(one)
    if one.losses.total[chosen] <= one.losses.total[alone] + SAME_L:
        alone = chosen
    prices = [_price_of(one, [constraint], alone) for constraint in one.constraints]
    together = None
    if len(one.constraints) > 1:
        together = _price_of(one, list(one.constraints), alone)
    points = np.column_stack([one.losses.performance, one.losses.cost, one.losses.flexibility])[
        efficient
    ]
    cells = weight_map(points)
    winners = planned_candidates(one, [int(efficient[cell.winner]) for cell in cells])
    looked_at, size = considered(one)
    return Explanation(
        constraints=tuple(prices),
        together=together if together and together.binds else None,
        alternatives=tuple(planned_candidates(one, nearest(one, efficient, chosen))),
        weight_map=tuple(
            Polygon(candidate=winner, corners=cell.corners, share=cell.share)
            for winner, cell in zip(winners, cells, strict=True)
        ),
        measuring=tuple(worth_measuring(one, chosen)),
        notes=tuple(_notes(one, alone != chosen)),
        sensitivity=tuple(sensitivity(one, chosen)),
        scaling=tuple(scaling(one, [chosen, *others])),
        considered=tuple(looked_at),
        considered_size=size,
    )


def nearest(
    one: Priced, efficient: NDArray[np.intp], chosen: int, most: int = ALTERNATIVES
) -> list[int]:
    """Of the plans that no other dominates, those whose L is nearest to the chosen one's."""
    others = efficient[efficient != chosen]
    by_loss = np.argsort(one.losses.total[others], kind="stable")
    return [int(row) for row in others[by_loss][:most]]


def _price_of(one: Priced, dropped: Sequence[Constraint], chosen: int) -> ConstraintPrice:
    """The plan without some constraints against the chosen one: solved with and without.

    Without a rule F has more answers, so the chosen plan is compared at its L in that world; the
    price in hours and dollars is the difference of the two plans.
    """
    keys = {constraint.key for constraint in dropped}
    free = judged(
        replace(
            one,
            rules=tuple(rule for rule in one.rules if rule.key not in keys),
            limits=tuple(limit for limit in one.limits if limit.key not in keys),
        )
    )
    best = _winner(free)
    gain = float(one.losses.total[chosen] - free.losses.total[best])
    found = one.candidates.take(np.array([chosen, best]))
    binds = best != chosen and not bool(one.allowed[best])
    limit = dropped[0] if len(dropped) == 1 and isinstance(dropped[0], Limit) else None
    hours = found.time_mean_s / 3600
    p90_hours = found.time_p90_s / 3600
    return ConstraintPrice(
        key=" + ".join(constraint.key for constraint in dropped),
        words="all constraints together"
        if len(dropped) > 1
        else constraint_words(dropped[0], one.job.workload.constraints),
        used=float(limit.use[chosen]) if limit else None,
        limit=limit.limit if limit else None,
        binds=binds,
        loss=gain if binds else 0.0,
        hours=float(hours[0] - hours[1]) if binds else 0.0,
        p90_hours=float(p90_hours[0] - p90_hours[1]) if binds else 0.0,
        usd=float(found.cost_mean_usd[0] - found.cost_mean_usd[1]) if binds else 0.0,
        instead=planned_candidates(free, [best])[0] if binds else None,
    )


def _winner(one: Priced) -> int:
    """The candidate of least L among the allowed; of equal ones that of the least sum of losses."""
    rows = np.flatnonzero(one.allowed)
    losses = one.losses
    best = rows[losses.total[rows] <= losses.total[rows].min() + SAME_L]
    sums = losses.performance + losses.cost + losses.flexibility
    return int(best[np.argmin(sums[best])])


def _notes(one: Priced, held_back: bool) -> list[str]:
    wishes = one.job.workload.constraints
    notes = []
    if not wishes.quotas:
        notes.append(
            "No quota was stated: the plan takes for granted what the provider must grant."
        )
    if held_back:
        notes.append(
            "What all jobs share keeps this one from the plan that is best for it alone; its own "
            "constraints are priced as if it were alone."
        )
    return notes
