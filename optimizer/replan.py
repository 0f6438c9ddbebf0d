"""Choosing again, at once, under other weights, deadline and budget.

What takes long, generating and pricing every candidate, depends on none of the three: F is
settled by the rules alone, and the scale of L by all candidates. So a priced job is kept, and each
new wish only weighs, filters and states the model.
"""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..catalog.files import Record
from ..profiles.workload import Constraints, Weights
from .candidates import PURCHASES
from .constraints import Limit
from .deciding import infeasible, tie_broken
from .describe import planned_candidates
from .model import Column, choose
from .optimize import FRONTIER, RUNNERS_UP
from .pareto import front
from .plan import PlannedCandidate
from .pricing import Priced

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

SAME_AS_P = 0.9  # at this probability the deadline looks at the very quantile that L does


@dataclass(frozen=True, slots=True)
class Ready:
    """A priced job, its own deadline and budget set aside.

    rows: what everything else admits, kind after kind; starts: where each kind (instance type and
    purchase) begins in rows. time_s: what the deadline is compared with, of each candidate.
    efficient: the rows that no other is at least as good as in p90 time, cost and F.
    """

    priced: Priced
    rows: Rows
    starts: Rows
    time_s: Floats
    efficient: Rows

    @classmethod
    def of(cls, priced: Priced) -> "Ready":
        """The job without its deadline and budget, which are asked for again each time."""
        limits = tuple(one for one in priced.limits if one.key not in ("deadline_s", "budget_usd"))
        allowed = priced.permitted.copy()
        for one in limits:
            allowed &= one.kept
        base = replace(priced, limits=limits, allowed=allowed)
        rows = np.flatnonzero(allowed)
        kinds = _kinds(base)[rows]
        order = np.argsort(kinds, kind="stable")
        rows, kinds = rows[order], kinds[order]
        starts = np.flatnonzero(np.diff(kinds, prepend=-1))
        probability = priced.job.workload.constraints.deadline_probability
        return cls(
            priced=base,
            rows=rows,
            starts=starts,
            time_s=base.candidates.time_quantile_s(probability),
            efficient=base.efficient() if len(rows) else rows,
        )

    @property
    def wishes(self) -> Constraints:
        return self.priced.job.workload.constraints


class Replanned(Record):
    """The plan of one job under the wishes of the moment.

    chosen: None where no candidate keeps them; then infeasible says what would. kept_s: the time that
    each of chosen and runners-up keeps with the deadline's probability. admitted: how many candidates
    keep the wishes. frontier_size: how many the model stated. gap: proven, relative.
    """

    weights: Weights
    deadline_s: float | None
    budget_usd: float | None
    chosen: PlannedCandidate | None
    runners_up: tuple[PlannedCandidate, ...]
    kept_s: tuple[float, ...]
    infeasible: str | None
    admitted: int
    frontier_size: int
    gap: float | None


class Points(Record):
    """Candidates for a picture, as columns, quickest first.

    time_s: the wall time that a candidate keeps with the deadline's probability.
    """

    time_s: tuple[float, ...]
    cost_usd: tuple[float, ...]
    flexibility: tuple[float, ...]
    labels: tuple[str, ...]


class Space(Record):
    """What can be chosen from, for a picture, under every wish but deadline and budget.

    front: what no other candidate beats; others: the best of each instance type and purchase under the
    workload's own weights; both evenly thinned. size: of the whole front. weights, deadline_s,
    budget_usd: the workload's own.
    """

    name: str
    deadline_probability: float
    weights: Weights
    deadline_s: float | None
    budget_usd: float | None
    candidates: int
    size: int
    front: Points
    others: Points


def replan(
    ready: Ready, weights: Weights, deadline_s: float | None, budget_usd: float | None
) -> Replanned:
    """The candidate of least L that keeps deadline and budget, as a whole new plan would choose.

    The model is stated over the candidates that can be best: those of the front, as long as the
    deadline looks at the quantile of L; else those of the front of what keeps the wishes.
    """
    base = ready.priced
    losses = base.losses.with_flexibility(base.flexibility.total, weights)
    cost = base.candidates.cost_mean_usd
    kept = np.ones(len(ready.rows), bool)
    limits = list(base.limits)
    if deadline_s is not None:
        kept &= ready.time_s[ready.rows] <= deadline_s
        limits.append(Limit("deadline_s", "deadline", "s", deadline_s, ready.time_s))
    if budget_usd is not None:
        kept &= cost[ready.rows] <= budget_usd
        limits.append(Limit("budget_usd", "budget", "USD", budget_usd, cost))
    one = replace(base, weights=weights, losses=losses, limits=tuple(limits))
    asked = {"weights": weights.normalised(), "deadline_s": deadline_s, "budget_usd": budget_usd}
    admitted = int(kept.sum())
    if not admitted:
        return Replanned(
            **asked,  # type: ignore[arg-type]
            chosen=None,
            runners_up=(),
            kept_s=(),
            infeasible=str(infeasible(one)),
            admitted=0,
            frontier_size=0,
            gap=None,
        )
    stated = _stated(ready, kept, deadline_s, budget_usd)
    solution = choose([Column(losses.total[stated], {})], {})
    if solution.chosen is None:
        raise RuntimeError(f"the solver found no plan ({solution.status})")
    chosen = tie_broken(one, stated, int(stated[solution.chosen[0]]))
    rows = [chosen, *_runners_up(ready, losses.total, kept, chosen)]
    shown = planned_candidates(one, rows)
    return Replanned(
        **asked,  # type: ignore[arg-type]
        chosen=shown[0],
        runners_up=tuple(shown[1:]),
        kept_s=tuple(ready.time_s[rows].tolist()),
        infeasible=None,
        admitted=admitted,
        frontier_size=len(stated),
        gap=solution.gap,
    )


def space(ready: Ready, most: int = FRONTIER) -> Space:
    """What there is to choose from; at most so many points of each kind."""
    base = ready.priced
    workload = base.job.workload
    best = _best_of_kinds(ready, base.losses.total[ready.rows])[0]
    return Space(
        name=workload.name,
        deadline_probability=workload.constraints.deadline_probability,
        weights=workload.weights.normalised(),
        deadline_s=workload.constraints.deadline_s,
        budget_usd=workload.constraints.budget_usd,
        candidates=len(base.candidates),
        size=len(ready.efficient),
        front=_points(ready, ready.efficient, most),
        others=_points(ready, np.setdiff1d(best, ready.efficient), most),
    )


def _points(ready: Ready, rows: Rows, most: int) -> Points:
    base = ready.priced
    rows = rows[np.argsort(ready.time_s[rows], kind="stable")]
    if len(rows) > most:
        rows = rows[np.linspace(0, len(rows) - 1, most).round().astype(np.intp)]
    return Points(
        time_s=tuple(ready.time_s[rows].tolist()),
        cost_usd=tuple(base.candidates.cost_mean_usd[rows].tolist()),
        flexibility=tuple(base.flexibility.total[rows].tolist()),
        labels=tuple(_labels(base, rows)),
    )


def _best_of_kinds(ready: Ready, loss: Floats) -> tuple[Rows, Floats]:
    """The row of least loss of each kind, and that loss; loss: of ready.rows."""
    least = np.minimum.reduceat(loss, ready.starts) if len(loss) else loss
    kind = np.repeat(np.arange(len(ready.starts)), np.diff(ready.starts, append=len(loss)))
    places = np.flatnonzero(loss == least[kind])
    first = places[np.unique(kind[places], return_index=True)[1]]
    return ready.rows[first], least


def _stated(
    ready: Ready, kept: NDArray[np.bool_], deadline_s: float | None, budget_usd: float | None
) -> Rows:
    base = ready.priced
    if deadline_s is not None and ready.wishes.deadline_probability != SAME_AS_P:
        rows = np.sort(ready.rows[kept])
        return rows[front(base.points[rows])]
    rows = ready.efficient
    fits = np.ones(len(rows), bool)
    if deadline_s is not None:
        fits &= ready.time_s[rows] <= deadline_s
    if budget_usd is not None:
        fits &= base.candidates.cost_mean_usd[rows] <= budget_usd
    return rows[fits]


def _runners_up(ready: Ready, total: Floats, kept: NDArray[np.bool_], chosen: int) -> list[int]:
    """The best of each kind but the chosen one's, best first."""
    rows, least = _best_of_kinds(ready, np.where(kept, total[ready.rows], np.inf))
    order = np.argsort(least, kind="stable")[: RUNNERS_UP + 1]
    rows = rows[order[np.isfinite(least[order])]]
    kinds = _kinds(ready.priced, np.append(rows, chosen))
    return [int(row) for row in rows[kinds[:-1] != kinds[-1]][:RUNNERS_UP]]


def _kinds(one: Priced, rows: Rows | slice = slice(None)) -> NDArray[np.int64]:
    """A number for the instance type and purchase of each candidate."""
    types = one.catalog.offers.select(pl.struct("provider", "instance_type").rank("dense"))
    numbers = types.to_series().to_numpy().astype(np.int64)
    kinds: NDArray[np.int64] = numbers[one.candidates.offer[rows]] * 64
    return kinds + one.candidates.purchase[rows]


def _labels(one: Priced, rows: Rows) -> list[str]:
    found = one.candidates.take(rows)
    offers = one.catalog.offers[found.offer].select(
        "provider", "region", "instance_type", "accelerator", "accelerator_count"
    )
    return [
        f"{nodes} x {kind} ({count} x {device}), {provider} {region}, "
        f"{PURCHASES[purchase].value.replace('_', ' ')}, batch {batch} a device"
        for (provider, region, kind, device, count), nodes, purchase, batch in zip(
            offers.iter_rows(),
            found.nodes.tolist(),
            found.purchase.tolist(),
            found.batch.tolist(),
            strict=True,
        )
    ]
