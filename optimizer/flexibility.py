"""How much a plan regrets when the world changes half-way (DESIGN 3.4).

    F = sum_s w_s min(1, min over feasible actions [dC + v dT]+ / (C0 + v T0)),     v = C0 / T0

Each scenario strikes when half of the work is done and leaves a rest of rho of the whole work:

grow       the work doubles (rho 3/2): stay, or go on anywhere else
lose_zone  the zone is gone: another zone of the region, or an offer of another region
leave      the provider is left: an offer of another provider
cancel     the job ends: what is paid and not used
price      this provider's prices rise by half: stay and pay, or go on anywhere else

Going on elsewhere costs the rest of that candidate's compute, its egress, and its time with a new
start. dC and dT compare with what the rest (one half) would have cost and taken undisturbed. The
cheapest answer minimises C + v T, so only each group's lower convex hull matters.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..catalog import Catalog
from .candidates import Candidates
from .pareto import lower_hull

Floats = NDArray[np.float64]

SCENARIOS: Mapping[str, float] = {
    "grow": 0.25,
    "lose_zone": 0.25,
    "leave": 0.20,
    "cancel": 0.15,
    "price": 0.15,
}
DONE = 0.5  # share of the work done when the world changes


@dataclass(frozen=True, slots=True)
class Flexibility:
    """F of every candidate, and every scenario's own score, dollars and hours (nan: no answer)."""

    total: Floats
    scores: Mapping[str, Floats]
    usd: Mapping[str, Floats]
    hours: Mapping[str, Floats]


@dataclass(frozen=True, slots=True)
class _Answer:
    """The best action for each candidate: extra dollars and seconds; inf where there is none."""

    usd: Floats
    seconds: Floats

    def better(self, other: "_Answer", v: Floats) -> "_Answer":
        mine, theirs = _worth(self, v), _worth(other, v)
        take = theirs < mine
        return _Answer(
            np.where(take, other.usd, self.usd), np.where(take, other.seconds, self.seconds)
        )


def _worth(answer: _Answer, v: Floats) -> Floats:
    known = np.isfinite(answer.usd)
    return np.where(
        known, np.where(known, answer.usd, 0) + v * np.where(known, answer.seconds, 0), np.inf
    )


def score(
    candidates: Candidates, catalog: Catalog, feasible: NDArray[np.bool_] | None = None
) -> Flexibility:
    """F of every candidate; no feasible action scores 1.

    feasible: the candidates one may go on with elsewhere; all of them by default. F is relative
    to the candidate's own plan: one that is worse than another in everything has little to regret.
    """
    if feasible is None:
        feasible = np.ones(len(candidates), bool)
    offers = catalog.offers
    provider = offers["provider"].to_numpy().astype(np.str_)[candidates.offer]
    region = offers["region"].to_numpy().astype(np.str_)[candidates.offer]
    zones = offers["zones"].fill_null("").str.split(" ").list.len().to_numpy()[candidates.offer]
    place = np.char.add(np.char.add(provider, ":"), region)
    cost, time = candidates.cost_mean_usd, candidates.time_mean_s
    v = cost / np.maximum(time, 1e-9)
    # Where nothing is paid, an hour is worth what it is worth to the others.
    v = np.where(v > 0, v, float(np.median(v[v > 0])) if (v > 0).any() else 1.0)
    restart = np.maximum(time - candidates.work_s, 0.0)

    def stay(rho: float, price: float = 1.0) -> _Answer:
        compute = candidates.compute_usd
        return _Answer((price * rho - DONE) * compute, (rho - DONE) * candidates.work_s)

    def move(rho: float, excluded: NDArray[np.str_]) -> _Answer:
        there = _Moves(candidates, rho, restart, feasible)
        usd, seconds = there.best(excluded, v)
        return _Answer(usd - DONE * candidates.compute_usd, seconds - DONE * candidates.work_s)

    def anywhere(rho: float) -> _Answer:
        return move(rho, np.full(len(cost), ""))

    other_zone = _Answer(
        np.where(zones > 1, restart / 3600 * candidates.nodes * candidates.price_usd_h, np.inf),
        np.where(zones > 1, restart, np.inf),
    )
    owned = provider == "local"
    rest = 1 - DONE
    answers = {
        "grow": stay(rest + 1).better(anywhere(rest + 1), v),
        "lose_zone": other_zone.better(move(rest, place), v),
        "leave": move(rest, provider),
        "cancel": _Answer(candidates.cancel_usd, np.zeros(len(cost))),
        "price": _Answer(np.where(owned, 0.0, stay(rest, 1.5).usd), np.zeros(len(cost))).better(
            move(rest, provider),
            v,  # whose prices did not rise
        ),
    }
    scale = np.maximum(cost + v * time, 1e-12)
    scores, usd, hours = {}, {}, {}
    for name, answer in answers.items():
        regret = np.maximum(_worth(answer, v), 0) / scale
        scores[name] = np.minimum(1.0, np.where(np.isfinite(regret), regret, 1.0))
        usd[name] = np.where(np.isfinite(answer.usd), answer.usd, np.nan)
        hours[name] = np.where(np.isfinite(answer.seconds), answer.seconds / 3600, np.nan)
    total = np.zeros(len(cost))
    for name, weight in SCENARIOS.items():
        total += weight * scores[name]
    return Flexibility(total, scores, usd, hours)


class _Moves:
    """Where the rest of the work could go: cost and time of every candidate for it."""

    def __init__(
        self,
        candidates: Candidates,
        rho: float,
        restart: Floats,
        feasible: NDArray[np.bool_],
    ) -> None:
        self._feasible = feasible
        starting = restart / 3600 * candidates.nodes * candidates.price_usd_h
        self._usd = rho * candidates.compute_usd + candidates.egress_usd + starting
        self._seconds = rho * candidates.work_s + restart

    def best(self, excluded: NDArray[np.str_], v: Floats) -> tuple[Floats, Floats]:
        """Cost and time of the candidate that minimises C + v T outside one's own group."""
        groups, member = np.unique(excluded, return_inverse=True)
        hulls = []
        for group in range(len(groups)):
            rows = np.flatnonzero((member == group) & self._feasible)
            hulls.append(rows[lower_hull(self._usd[rows], self._seconds[rows])])
        usd, seconds = np.full(len(v), np.inf), np.full(len(v), np.inf)
        for group, name in enumerate(groups.tolist()):
            asking = np.flatnonzero(member == group)
            # "" excludes nothing; otherwise all hulls but one's own.
            pool = np.concatenate(
                [hull for other, hull in enumerate(hulls) if other != group or name == ""]
                or [np.zeros(0, np.intp)]
            )
            if not len(pool):
                continue
            pool = pool[lower_hull(self._usd[pool], self._seconds[pool])]
            found = _cheapest(self._usd[pool], self._seconds[pool], v[asking])
            usd[asking], seconds[asking] = self._usd[pool][found], self._seconds[pool][found]
        return usd, seconds


def _cheapest(usd: Floats, seconds: Floats, v: Floats) -> NDArray[np.intp]:
    """For each v the hull point (ascending in usd) that minimises usd + v seconds."""
    if len(usd) == 1:
        return np.zeros(len(v), np.intp)
    # The next point wins once v exceeds the slope towards it; slopes ascend along the hull.
    slopes = np.diff(usd) / -np.diff(seconds)
    return np.searchsorted(slopes, v, side="left")
