"""The value of information: what it is worth to profile the workload on some hardware before choosing.

Step times of all candidates on one accelerator (of processors: at one provider) err together:

    true work of k = f_k(z) predicted,   f_k(z) = exp(s_k z - s_k^2 / 2),   z ~ N(0, 1)

s_k the prediction's log-standard-deviation. A profile would show z, and leave the spread r of one
more process. With z at K equally likely quantiles, the group's losses at each, all others' as they
are, and whatever the limits then admit,

    worth = L* - mean over z of min(min outside the group, min inside at z) >= 0,   L* of today's choice

F is held; fixed times and costs are known. The narrower p90 after a profile counts in L. Dollars and
hours are means over z of today's choice minus the then chosen one.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from .candidates import PURCHASES, TERM_H
from .describe import planned_candidates
from .losses import weigh
from .pareto import front
from .plan import Measuring
from .pricing import Priced
from .reliability import lognormal_quantile

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

QUANTILES = 41
REPEAT_SIGMA = 0.12  # of one more process after a profile; the prior of docs/models.md
PROFILE_S = 600.0  # of paid profiling on a rented machine, after provisioning
MOST = 5
WORTH_NAMING = 1e-6  # of L


@dataclass(frozen=True, slots=True)
class _Shifted:
    """Some candidates where the error of their group is z: rows x z."""

    time_mean_s: Floats
    cost_usd: Floats
    loss: Floats
    allowed: NDArray[np.bool_]


def worth_measuring(one: Priced, chosen: int) -> list[Measuring]:
    """The kinds of hardware whose profile is expected to save most, the best first."""
    group_of_offer = groups_that_err_together(one)
    group = group_of_offer[one.candidates.offer]
    z = special.ndtri((np.arange(QUANTILES) + 0.5) / QUANTILES)
    rows = np.flatnonzero(one.permitted)
    by_group = rows[np.argsort(group[rows], kind="stable")]
    starts = np.flatnonzero(np.diff(group[by_group], prepend=-1))
    hopeful = np.minimum.reduceat(_at_best(one, by_group, float(z[0])), starts)
    ends = np.append(starts[1:], len(by_group))
    found = []
    for start, end, least in zip(starts.tolist(), ends.tolist(), hopeful.tolist(), strict=True):
        members = by_group[start:end]
        mine = int(group[members[0]]) == int(group[chosen])
        if least < one.losses.total[chosen] or mine:
            found.append(_worth(one, members, _best_outside(one, group, members), chosen, mine, z))
    worth = [measuring for measuring in found if measuring.loss > WORTH_NAMING]
    return sorted(worth, key=lambda measuring: -measuring.loss)[:MOST]


def groups_that_err_together(one: Priced) -> NDArray[np.int16]:
    """Offers whose step times err together, as small whole numbers."""
    offers = one.catalog.offers
    names = offers["accelerator"].to_numpy().astype(np.str_)
    sellers = offers["provider"].to_numpy().astype(np.str_)
    names = np.where((names == "CPU") | (sellers == "local"), np.char.add("CPU ", sellers), names)
    return np.unique(names, return_inverse=True)[1].astype(np.int16)


def parts_of(one: Priced, rows: Rows) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Fixed and growing seconds, fixed and growing USD, log-spread of the growing parts."""
    parts = one.flexibility.world.parts
    return (
        parts.fixed_s[rows],
        parts.work_s[rows],
        parts.fixed_usd[rows],
        parts.work_usd[rows],
        one.candidates.settings.step_sigma[one.candidates.setting[rows]],
    )


def _at_best(one: Priced, rows: Rows, z: float) -> Floats:
    """A loss that no row goes below at errors down to z."""
    fixed_s, work_s, fixed_usd, work_usd, sigma = parts_of(one, rows)
    factor = np.exp(sigma * z - sigma**2 / 2)
    # A p90 may lie below the mean where the tail is heavy; a third of it is below any.
    time_s = (fixed_s + factor * work_s) / 3
    return loss_at(one, rows, time_s, fixed_usd + factor * work_usd)


def loss_at(one: Priced, rows: Rows, time_s: Floats, cost_usd: Floats) -> Floats:
    """L of rows at other times and costs, on the scale of the plan; times and costs rows x any."""
    losses, found = one.losses, one.candidates
    shape = (len(rows), *(1 for _ in time_s.shape[1:]))

    def moved(loss: Floats, value: Floats, new: Floats, span: float) -> Floats:
        return loss[rows].reshape(shape) + (new - value[rows].reshape(shape)) / span

    return weigh(
        moved(losses.performance, found.time_p90_s, time_s, losses.ranges[0]),
        moved(losses.cost, found.cost_mean_usd, cost_usd, losses.ranges[1]),
        losses.flexibility[rows].reshape(shape),
        one.weights,
        losses.objective,
    )


def _shifted(one: Priced, rows: Rows, z: Floats) -> _Shifted:
    fixed_s, work_s, fixed_usd, work_usd, sigma = (part[:, None] for part in parts_of(one, rows))
    settings, setting = one.candidates.settings, one.candidates.setting[rows]
    factor = np.exp(sigma * z - sigma**2 / 2)
    mean_s, cost = fixed_s + factor * work_s, fixed_usd + factor * work_usd
    rest = settings.time_variance[setting][:, None] - np.expm1(sigma**2) * work_s**2
    left = np.expm1(np.minimum(sigma, REPEAT_SIGMA) ** 2)
    variance = left * (factor * work_s) ** 2 + np.maximum(rest, 0.0) * factor
    allowed = np.ones(mean_s.shape, bool)
    wishes = one.job.workload.constraints
    for limit in one.limits:
        if limit.key == "deadline_s":
            use = lognormal_quantile(mean_s, variance, wishes.deadline_probability)
        else:
            use = cost if limit.key == "budget_usd" else limit.use[rows][:, None]
        allowed &= use <= limit.limit
    p90 = lognormal_quantile(mean_s, variance, 0.9)
    return _Shifted(mean_s, cost, loss_at(one, rows, p90, cost), allowed)


def _best_outside(one: Priced, group: NDArray[np.int16], members: Rows) -> int | None:
    """The allowed candidate of least L outside a group."""
    rows = np.flatnonzero(one.allowed & (group != group[members[0]]))
    return int(rows[np.argmin(one.losses.total[rows])]) if len(rows) else None


def _worth(
    one: Priced, members: Rows, outside: int | None, chosen: int, mine: bool, z: Floats
) -> Measuring:
    found = one.candidates
    # Only members that are good in something can win; at other errors they stay so, nearly.
    candidates = members[front(one.points[members])]
    rows = np.union1d(candidates, [chosen]).astype(np.intp) if mine else candidates
    at = _shifted(one, rows, z)
    inside = np.where(at.allowed, at.loss, np.inf)
    winner = np.argmin(inside, axis=0)
    least = inside[winner, np.arange(len(z))]
    today = int(np.searchsorted(rows, chosen)) if mine else -1
    if outside is not None:
        stays = one.losses.total[outside] <= least
        other_s, other_usd = found.time_mean_s[outside], found.cost_mean_usd[outside]
        other_loss = float(one.losses.total[outside])
    else:
        # Nothing else is allowed: where this group fails as well, today's choice stays.
        stays = ~np.isfinite(least)
        other_s, other_usd, other_loss = at.time_mean_s[today], at.cost_usd[today], at.loss[today]
    columns = np.arange(len(z))
    then_loss = np.where(stays, other_loss, least)
    then_s = np.where(stays, other_s, at.time_mean_s[winner, columns])
    then_usd = np.where(stays, other_usd, at.cost_usd[winner, columns])
    now_s = at.time_mean_s[today] if mine else np.full(len(z), found.time_mean_s[chosen])
    now_usd = at.cost_usd[today] if mine else np.full(len(z), found.cost_mean_usd[chosen])
    changes = np.where(stays, outside != chosen, rows[winner] != chosen)
    place, hours, usd = _cheapest(one, members)
    return Measuring(
        accelerator=one.catalog.offers["accelerator"][int(found.offer[place])],
        offer=planned_candidates(one, [place])[0].offer,
        loss=max(0.0, float(one.losses.total[chosen] - then_loss.mean())),
        usd=float((now_usd - then_usd).mean()),
        hours=float((now_s - then_s).mean() / 3600),
        chance=float(changes.mean()),
        usd_to_measure=usd,
        hours_to_measure=hours,
    )


def _cheapest(one: Priced, members: Rows) -> tuple[int, float, float]:
    """The candidate on whose offer one node is profiled cheapest, the hours and what they cost."""
    found = one.candidates
    committed = [index for index, purchase in enumerate(PURCHASES) if purchase in TERM_H]
    rows = members[~np.isin(found.purchase[members], committed)]
    rows = rows if len(rows) else members
    row = int(rows[np.argmin(found.price_usd_h[rows])])
    setting = found.setting[row]
    seconds = float(found.settings.ready_s[setting]) + PROFILE_S
    facts = one.catalog.facts(found.providers[int(found.settings.provider[setting])])
    billed = facts.billing.billed_s(seconds)
    return row, seconds / 3600, billed / 3600 * float(found.price_usd_h[row])
