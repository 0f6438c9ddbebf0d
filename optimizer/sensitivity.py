"""How wrong a figure may be before another plan is better.

One figure is f times what the plan takes for it, in one group of candidates; all else stays, F and
the scale of L too:

price          of the chosen one's provider, bought as it is bought: compute_usd f
throughput     on its accelerator (processors: at its provider), whose predictions err together:
               the work takes 1 / f as long
interruptions  of its provider: hazards and failures f times as frequent; times and bills anew
deadline       f times as late, for everybody

Then the choice is made again, within the limits. The figure at which the chosen plan stops winning is
bisected for price and throughput, among those of its group that are good in something today, and
exact for the deadline.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .constraints import Limit, admitted
from .describe import planned_candidates
from .generating import generate
from .measuring import groups_that_err_together, loss_at, parts_of
from .pareto import front
from .plan import Sensitivity, Swing
from .pricing import Priced, step_time_model
from .reliability import lognormal_quantile

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

PRICE = (0.75, 1.25)
DEADLINE = (0.75, 1.25)
INTERRUPTIONS = (0.5, 2.0)
FARTHEST = 8.0  # times and parts up to which the point of change is sought
HALVINGS = 24
SAME_L = 1e-12


@dataclass(frozen=True, slots=True)
class _World:
    """A group of candidates where one figure is another: rows of all candidates, and their columns."""

    rows: Rows
    time_p90_s: Floats
    cost_usd: Floats
    loss: Floats
    allowed: NDArray[np.bool_]


Change = Callable[[Rows, float], _World]


def sensitivity(one: Priced, chosen: int) -> list[Sensitivity]:
    """What each figure does to the plan; the deadline only where there is one."""
    predicted = planned_candidates(one, [chosen])[0].predicted.samples_per_s
    within = predicted.p05 / predicted.p50, predicted.p95 / predicted.p50
    return [
        _sensitivity(one, chosen, "price", PRICE, _same_price(one, chosen), _price(one)),
        _sensitivity(one, chosen, "throughput", within, _same_speed(one, chosen), _throughput(one)),
        _interruptions(one, chosen),
        *(
            _deadline(one, chosen, limit)
            for limit in one.limits
            if limit.key == "deadline_s" and limit.use[chosen] > 0
        ),
    ]


def _sensitivity(
    one: Priced, chosen: int, key: str, at: tuple[float, float], rows: Rows, change: Change
) -> Sensitivity:
    outside = _best_outside(one, rows)
    few = np.union1d(rows[front(one.points[rows])], [chosen]).astype(np.intp)

    def wins(factor: float) -> bool:
        return _winner(one, change(few, factor), chosen, outside) == chosen

    return Sensitivity(
        key=key,  # type: ignore[arg-type]
        low=_swing(one, chosen, at[0], change(rows, at[0]), outside),
        high=_swing(one, chosen, at[1], change(rows, at[1]), outside),
        wins_from=_edge(wins, 1 / FARTHEST),
        wins_to=_edge(wins, FARTHEST),
    )


def _edge(wins: Callable[[float], bool], end: float) -> float | None:
    """The factor between 1 and end at which the chosen plan stops winning; None where it does not."""
    if wins(end):
        return None
    still, no_more = 0.0, math.log(end)
    for _ in range(HALVINGS):
        middle = (still + no_more) / 2
        if wins(math.exp(middle)):
            still = middle
        else:
            no_more = middle
    return math.exp(still)


# ---- the groups and what changes in them ----


def _same_price(one: Priced, chosen: int) -> Rows:
    offers = one.catalog.offers["provider"].to_numpy().astype(np.str_)
    seller = offers[one.candidates.offer[chosen]]
    sold = (offers == seller)[one.candidates.offer]
    same = one.candidates.purchase == one.candidates.purchase[chosen]
    return np.flatnonzero(sold & same & one.permitted)


def _same_speed(one: Priced, chosen: int) -> Rows:
    group = groups_that_err_together(one)
    same = group == group[one.candidates.offer[chosen]]
    return np.flatnonzero(same[one.candidates.offer] & one.permitted)


def _price(one: Priced) -> Change:
    def change(rows: Rows, factor: float) -> _World:
        some = one.candidates.take(rows)
        cost = some.cost_mean_usd + (factor - 1) * some.compute_usd
        variance = some.settings.time_variance[some.setting]
        return _judged(one, rows, some.time_mean_s, variance, cost, {"hourly_usd": factor})

    return change


def _throughput(one: Priced) -> Change:
    def change(rows: Rows, factor: float) -> _World:
        slower = 1 / factor
        fixed_s, work_s, fixed_usd, work_usd, sigma = parts_of(one, rows)
        settings, setting = one.candidates.settings, one.candidates.setting[rows]
        own = np.expm1(sigma**2) * work_s**2
        rest = np.maximum(settings.time_variance[setting] - own, 0.0)
        mean = fixed_s + slower * work_s
        variance = slower**2 * np.minimum(own, settings.time_variance[setting]) + slower * rest
        return _judged(one, rows, mean, variance, fixed_usd + slower * work_usd)

    return change


def _interruptions(one: Priced, chosen: int) -> Sensitivity:
    """Times and bills of the chosen one's provider, made anew with other hazards."""
    offers = one.catalog.offers
    seller = str(offers["provider"][int(one.candidates.offer[chosen])])
    here = (offers["provider"] == seller).to_numpy()
    rows = np.flatnonzero(here[one.candidates.offer])
    known = one.catalog.facts(seller)
    model = step_time_model(one.job, one.facts, one.catalog)
    profile = one.job.profile if one.job.profiled_here else None

    def world(factor: float) -> _World:
        harder = replace(
            known,
            spot_hazard=tuple(
                replace(band, per_h=factor * band.per_h) for band in known.spot_hazard
            ),
            node_failures_per_h=factor * known.node_failures_per_h,
        )
        catalog = replace(
            one.catalog,
            offers=offers.filter(here),
            providers={**one.catalog.providers, seller: harder},
        )
        # The same candidates in the same order: what is left out stands before or after them.
        some = generate(one.job.workload, one.facts, catalog, model, profile)
        variance = some.settings.time_variance[some.setting]
        return _judged(one, rows, some.time_mean_s, variance, some.cost_mean_usd)

    outside = _best_outside(one, rows)
    return Sensitivity(
        key="interruptions",
        low=_swing(one, chosen, INTERRUPTIONS[0], world(INTERRUPTIONS[0]), outside),
        high=_swing(one, chosen, INTERRUPTIONS[1], world(INTERRUPTIONS[1]), outside),
        wins_from=None,
        wins_to=None,
    )


def _deadline(one: Priced, chosen: int, limit: Limit) -> Sensitivity:
    others = [other for other in one.limits if other is not limit]
    possible = one.permitted & admitted(others, len(one.candidates))
    total = one.losses.total

    def swing(factor: float) -> Swing:
        rows = np.flatnonzero(possible & (limit.use <= factor * limit.limit))
        every = np.union1d(rows, [chosen]).astype(np.intp)
        world = _World(
            rows=every,
            time_p90_s=one.candidates.time_p90_s[every],
            cost_usd=one.candidates.cost_mean_usd[every],
            loss=total[every],
            allowed=np.isin(every, rows),
        )
        return _swing(one, chosen, factor, world, None)

    better = possible & (total < total[chosen] - SAME_L) & (limit.use > limit.limit)
    return Sensitivity(
        key="deadline",
        low=swing(DEADLINE[0]),
        high=swing(DEADLINE[1]),
        wins_from=float(limit.use[chosen] / limit.limit),
        wins_to=float(limit.use[better].min() / limit.limit) if better.any() else None,
    )


# ---- the choice made again ----


def _judged(
    one: Priced,
    rows: Rows,
    mean_s: Floats,
    variance_s2: Floats,
    cost_usd: Floats,
    factors: Mapping[str, float] | None = None,
) -> _World:
    """Rows with other times and costs. factors: of what other limits count, by their keys."""
    p90 = lognormal_quantile(mean_s, variance_s2, 0.9)
    allowed = one.permitted[rows]
    wishes = one.job.workload.constraints
    for limit in one.limits:
        if limit.key == "deadline_s":
            use = lognormal_quantile(mean_s, variance_s2, wishes.deadline_probability)
        elif limit.key == "budget_usd":
            use = cost_usd
        elif limit.key == "carbon_kg":
            use = limit.use[rows] * mean_s / one.candidates.time_mean_s[rows]
        else:
            use = limit.use[rows] * (factors or {}).get(limit.key, 1.0)
        allowed = allowed & (use <= limit.limit)
    return _World(rows, p90, cost_usd, loss_at(one, rows, p90, cost_usd), allowed)


def _best_outside(one: Priced, rows: Rows) -> int | None:
    """The allowed candidate of least L outside a group; nothing there changes."""
    others = one.allowed.copy()
    others[rows] = False
    found = np.flatnonzero(others)
    return int(found[np.argmin(one.losses.total[found])]) if len(found) else None


def _winner(one: Priced, world: _World, chosen: int, outside: int | None) -> int | None:
    """The candidate that is then chosen, the plan's own one where none is better; None: none is allowed."""
    loss = np.where(world.allowed, world.loss, np.inf)
    best = int(np.argmin(loss))
    least = float(loss[best])
    own = np.flatnonzero((world.rows == chosen) & world.allowed)
    elsewhere = math.inf if outside is None else float(one.losses.total[outside])
    if len(own) and loss[own[0]] <= min(least, elsewhere) + SAME_L:
        return chosen
    if outside is not None and elsewhere < least:
        return outside
    return int(world.rows[best]) if math.isfinite(least) else None


def _swing(one: Priced, chosen: int, factor: float, world: _World, outside: int | None) -> Swing:
    winner = _winner(one, world, chosen, outside)
    own = int(np.searchsorted(world.rows, chosen))
    place = own if winner is None else int(np.searchsorted(world.rows, winner))
    inside = place < len(world.rows) and world.rows[place] == (chosen if winner is None else winner)
    found = one.candidates
    return Swing(
        factor=factor,
        stays_time_s=float(world.time_p90_s[own]),
        stays_cost_usd=float(world.cost_usd[own]),
        stays_allowed=bool(world.allowed[own]),
        time_s=float(world.time_p90_s[place] if inside else found.time_p90_s[winner]),
        cost_usd=float(world.cost_usd[place] if inside else found.cost_mean_usd[winner]),
        instead=None
        if winner is None or winner == chosen
        else planned_candidates(one, [winner])[0],
    )
