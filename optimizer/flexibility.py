"""How much a plan regrets when the world changes half-way: F of DESIGN 3.4, against hindsight.

    F = sum_s w_s min(1, (G_s - B_s) / (C + v T)),     v = C / T unless the user says what an hour is worth

G_s: what the job costs in all when scenario s strikes after half of the work: what is sunk by then
and the best answer still feasible, in dollars and hours worth v. B_s: the least that it could have
cost for somebody who had known of s from the start, and values time alike. No feasible answer
scores 1.

    A candidate is fixed + work: egress and the start of its machines, then what grows with work.
    sunk = fixed + work / 2      go on: rho work      move to a: fixed_a + rho work_a, rho of the work is left

grow       the work doubles (rho = 3/2): go on, or move anywhere
lose_zone  the zone is gone (rho = 1/2): start again in another zone of the region, or move elsewhere
leave      the provider is left: move to another provider
cancel     the job ends: what has been paid by then
price      this provider's prices rise by half; owned and reserved machines keep theirs: go on, or
           move to another provider

Why hindsight: compared with its own undisturbed course alone, a plan that wastes money has little
to regret, for leaving it is a relief, and waste would score as freedom. Here a plan pays in every
scenario for being worse than what one would have chosen, and one that nothing disturbs scores 0.

v is rounded to an eighth of an octave, so that the best answers are a small table: one row for
each v, one column for each zone or provider that may be left.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..catalog import Catalog, Purchase
from ..profiles.workload import Flexibilities
from .candidates import PURCHASES, Candidates

Floats = NDArray[np.float64]
Groups = NDArray[np.int32]
Truths = NDArray[np.bool_]

DONE = 0.5  # share of the work done when the world changes
GROWTH = 1.0  # further work, in shares of the whole, when it grows
RISE = 1.5  # of this provider's prices
STEPS_PER_OCTAVE = 8  # of v
LOWEST_USD_H, HIGHEST_USD_H = 1e-9, 1e9  # within which v is told apart
BLOCK = 1 << 15  # rows scored at once: what fits into the processor's cache
KEEPS_ITS_PRICE = np.array([p not in (Purchase.ON_DEMAND, Purchase.SPOT) for p in PURCHASES])


@dataclass(frozen=True, slots=True)
class Regret:
    """One scenario for some candidates.

    score: in [0, 1]. usd, hours: what the best answer adds to the undisturbed plan (negative: it
    saves), nan where there is none.
    """

    score: Floats
    usd: Floats
    hours: Floats


@dataclass(frozen=True, slots=True)
class _Answers:
    """The least usd + v seconds for each v (rows), outside each group (columns).

    best: the group that holds the least of all, -1 where there is none.
    """

    usd: Floats
    seconds: Floats
    best: Groups

    def at(self, v: Groups, group: Groups | int) -> tuple[Floats, Floats]:
        return self.usd[v, group], self.seconds[v, group]


@dataclass(frozen=True, slots=True)
class _Exits:
    """Where the rest of the work could go: anywhere after growth, out of a place, out of a provider."""

    grown: _Answers
    elsewhere: _Answers
    abroad: _Answers


@dataclass(frozen=True, slots=True)
class Flexibility:
    """F of every candidate, and every scenario's own figures on request."""

    total: Floats
    world: "World"

    def scenarios(self, rows: NDArray[np.intp]) -> Mapping[str, Regret]:
        """Each scenario's score, dollars and hours for some candidates."""
        return self.world.regrets(rows)


def score(
    candidates: Candidates,
    catalog: Catalog,
    wishes: Flexibilities,
    permitted: Truths | None = None,
    unrestricted: Flexibility | None = None,
) -> Flexibility:
    """F of every candidate.

    permitted: the candidates one may move to, all by default. Hindsight chooses from all either
    way, so that fewer answers never lower F. unrestricted: F of the same candidates with all
    answers, if it is known already.
    """
    world = unrestricted.world if unrestricted else World.of(candidates, catalog, wishes)
    if permitted is not None:
        world = world.restricted(permitted)
    total = np.empty(len(candidates))
    for start in range(0, len(candidates), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(candidates)))
        found = world.regrets(rows)
        total[rows] = sum(weight * found[name].score for name, weight in world.weights.items())
    return Flexibility(total, world)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a scenario needs of each candidate: fixed and growing dollars and seconds, and its place.

    restart_usd: what starting its machines again costs. place, provider: numbers of them.
    """

    fixed_usd: Floats
    fixed_s: Floats
    restart_usd: Floats
    work_usd: Floats
    work_s: Floats
    cancelled_usd: Floats
    place: Groups
    provider: Groups
    other_zone: Truths
    keeps_price: Truths

    @classmethod
    def of(cls, candidates: Candidates, catalog: Catalog) -> "Parts":
        """The parts of one job's candidates."""
        cost, time_s = candidates.cost_mean_usd, candidates.time_mean_s
        fixed_s = np.minimum(candidates.settings.ready_s[candidates.setting], time_s)
        starting = np.minimum(fixed_s / 3600 * candidates.rate_usd_h, candidates.compute_usd)
        # A commitment is paid at once and whole; nothing of it is left to pay for the rest.
        whole = (candidates.commitment_h[candidates.purchase] > 0) & (candidates.utilisation == 0)
        fixed_usd = candidates.egress_usd + np.where(whole, candidates.compute_usd, starting)
        offers = catalog.offers
        names = offers["provider"].to_numpy().astype(np.str_)
        places = np.char.add(np.char.add(names, ":"), offers["region"].to_numpy().astype(np.str_))
        zones = offers["zones"].fill_null("").str.split(" ").list.len().to_numpy()
        return cls(
            fixed_usd=fixed_usd,
            fixed_s=fixed_s,
            restart_usd=np.where(whole, 0.0, starting),
            work_usd=cost - fixed_usd,
            work_s=time_s - fixed_s,
            cancelled_usd=candidates.cancelled_usd,
            place=np.unique(places, return_inverse=True)[1].astype(np.int32)[candidates.offer],
            provider=np.unique(names, return_inverse=True)[1].astype(np.int32)[candidates.offer],
            other_zone=(zones > 1)[candidates.offer],
            keeps_price=KEEPS_ITS_PRICE[candidates.purchase],
        )


@dataclass(frozen=True, slots=True)
class World:
    """What every scenario needs: the candidates' parts, the answers, and hindsight.

    v: of each candidate, an index into v_usd_s. hindsight: the least cost in each scenario, for
    each v and group.
    """

    weights: Mapping[str, float]
    v_usd_s: Floats
    v: Groups
    parts: Parts
    exits: _Exits
    hindsight: Mapping[str, Floats]

    @classmethod
    def of(cls, candidates: Candidates, catalog: Catalog, wishes: Flexibilities) -> "World":
        """The world of one job's candidates."""
        parts = Parts.of(candidates, catalog)
        v_usd_s, v = _worths(candidates.cost_mean_usd, candidates.time_mean_s, wishes.hour_usd)
        exits = _exits(parts, v_usd_s, None)
        return cls(wishes.weights(), v_usd_s, v, parts, exits, _hindsight(parts, v_usd_s, exits))

    def restricted(self, permitted: Truths) -> "World":
        """The same with only the permitted candidates as answers."""
        if permitted.all():
            return self
        return replace(self, exits=_exits(self.parts, self.v_usd_s, permitted))

    def regrets(self, rows: NDArray[np.intp]) -> dict[str, Regret]:
        """Every scenario for some candidates."""
        v, worth = self.v[rows], self.v_usd_s[self.v[rows]]
        parts, exits = self.parts, self.exits
        fixed_usd, fixed_s = parts.fixed_usd[rows], parts.fixed_s[rows]
        work_usd, work_s = parts.work_usd[rows], parts.work_s[rows]
        place, provider = parts.place[rows], parts.provider[rows]
        sunk_usd, sunk_s = fixed_usd + DONE * work_usd, fixed_s + DONE * work_s
        sunk = sunk_usd + worth * sunk_s
        rest = 1 - DONE
        scale = np.maximum(fixed_usd + work_usd + worth * (fixed_s + work_s), 1e-12)
        nothing = np.zeros(len(rows))

        def stay(share: float, price: Floats | float = 1.0) -> tuple[Floats, Floats]:
            return price * share * work_usd, share * work_s

        def best(*answers: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
            usd, seconds = answers[0]
            for other_usd, other_s in answers[1:]:
                take = other_usd + worth * other_s < usd + worth * seconds
                usd, seconds = np.where(take, other_usd, usd), np.where(take, other_s, seconds)
            return usd, seconds

        def regret(name: str, answer: tuple[Floats, Floats], group: Groups | int) -> Regret:
            usd, seconds = answer
            known = np.isfinite(usd)
            beyond = sunk + usd + worth * seconds - self.hindsight[name][v, group]
            scored = np.where(known, np.clip(beyond / scale, 0.0, 1.0), 1.0)
            return Regret(
                scored,
                np.where(known, usd - rest * work_usd, np.nan),
                np.where(known, (seconds - rest * work_s) / 3600, np.nan),
            )

        again = np.where(parts.other_zone[rows], 0.0, np.inf)
        restart = again + parts.restart_usd[rows] + rest * work_usd, fixed_s + rest * work_s
        raised = np.where(parts.keeps_price[rows], 1.0, RISE)
        cancelled = parts.cancelled_usd[rows] - sunk_usd, DONE * (fixed_s + work_s) - sunk_s
        found = {
            "grow": regret("grow", best(stay(rest + GROWTH), exits.grown.at(v, 0)), 0),
            "lose_zone": regret("lose_zone", best(restart, exits.elsewhere.at(v, place)), place),
            "leave": regret("leave", exits.abroad.at(v, provider), provider),
            "cancel": regret("cancel", cancelled, 0),
            "price": regret(
                "price", best(stay(rest, raised), exits.abroad.at(v, provider)), provider
            ),
        }
        # The job ends: nothing is added, and what would have been spent is not saved by the plan.
        unused = parts.cancelled_usd[rows] - (fixed_usd + DONE * work_usd)
        found["cancel"] = Regret(found["cancel"].score, np.maximum(unused, 0.0), nothing)
        return found


def _worths(cost: Floats, time_s: Floats, hour_usd: float | None) -> tuple[Floats, Groups]:
    """The different worths of a second, USD, and which of them is each candidate's."""
    if hour_usd is not None:
        return np.array([hour_usd / 3600]), np.zeros(len(cost), np.int32)
    own = cost / np.maximum(time_s, 1e-9)
    # Where nothing is paid, an hour is worth what it is worth to the others.
    free = own <= 0
    if free.any():
        own = np.where(free, float(np.median(own[~free])) if not free.all() else 1.0, own)
    own = np.clip(own, LOWEST_USD_H / 3600, HIGHEST_USD_H / 3600)
    step = np.rint(np.log2(own) * STEPS_PER_OCTAVE).astype(np.int32)
    lowest = int(step.min())
    met = np.bincount(step - lowest) > 0
    place = (np.cumsum(met) - 1).astype(np.int32)
    return np.exp2((np.flatnonzero(met) + lowest) / STEPS_PER_OCTAVE), place[step - lowest]


def _exits(parts: Parts, v: Floats, permitted: Truths | None) -> _Exits:
    rows = slice(None) if permitted is None else permitted
    fixed_usd, fixed_s = parts.fixed_usd[rows], parts.fixed_s[rows]
    work_usd, work_s = parts.work_usd[rows], parts.work_s[rows]
    rest, more = 1 - DONE, 1 - DONE + GROWTH
    usd, seconds = fixed_usd + rest * work_usd, fixed_s + rest * work_s
    return _Exits(
        _outside(fixed_usd + more * work_usd, fixed_s + more * work_s, None, 1, v),
        _outside(usd, seconds, parts.place[rows], int(parts.place.max()) + 1, v),
        _outside(usd, seconds, parts.provider[rows], int(parts.provider.max()) + 1, v),
    )


def _with(rows: NDArray[np.intp], others: list[int], count: int) -> NDArray[np.intp]:
    """Rows and others of so many, each once, ascending."""
    chosen = np.zeros(count, bool)
    chosen[rows] = True
    chosen[others] = True
    return np.flatnonzero(chosen)


def _sample(v: Floats) -> list[float]:
    """Some of the v, from the middle outwards: what is good in both beats most others at once."""
    places = np.linspace(0, len(v) - 1, min(len(v), 13)).astype(int)
    return [float(x) for x in v[places[np.argsort(abs(places - len(v) / 2), kind="stable")]]]


def _hindsight(parts: Parts, v: Floats, exits: _Exits) -> dict[str, Floats]:
    """The least cost in each scenario for each v and group, had one known of it from the start.

    Outside the group that is struck, one is not disturbed. Inside it, one is sunk and then answers;
    as both halves cost at least half of the best, that can only pay in the group that holds the
    best undisturbed candidate of all, so only that one is looked at.
    """

    def least(rows: Truths | slice, done: float) -> Floats:
        """The least of fixed + done work for each v, among some rows."""
        usd = parts.fixed_usd[rows] + done * parts.work_usd[rows]
        seconds = parts.fixed_s[rows] + done * parts.work_s[rows]
        return _value(_outside(usd, seconds, None, 1, v), v)[:, 0]

    everybody = slice(None)
    half_time = DONE * (parts.fixed_s + parts.work_s)
    grown = np.minimum(
        least(everybody, 1 + GROWTH), least(everybody, DONE) + _value(exits.grown, v)[:, 0]
    )
    found = {
        "grow": grown[:, None],
        "cancel": _value(_outside(parts.cancelled_usd, half_time, None, 1, v), v),
    }
    cost, time_s = parts.fixed_usd + parts.work_usd, parts.fixed_s + parts.work_s
    raised = DONE + (1 - DONE) * RISE
    for name, group, out_of, spared in (
        ("lose_zone", parts.place, exits.elsewhere, parts.other_zone),
        ("leave", parts.provider, exits.abroad, None),
        ("price", parts.provider, exits.abroad, parts.keeps_price),
    ):
        undisturbed = _outside(cost, time_s, group, int(group.max()) + 1, v)
        value, out = _value(undisturbed, v), _value(out_of, v)
        if spared is not None and spared.any():
            value = np.minimum(value, least(spared, 1.0)[:, None])
        for struck in np.unique(undisturbed.best).tolist():
            at, inside = undisturbed.best == struck, group == struck
            own = least(inside, DONE)[at] + out[at, struck]
            if name == "price":
                stays_usd = parts.fixed_usd[inside] + raised * parts.work_usd[inside]
                stays = _outside(stays_usd, time_s[inside], None, 1, v)
                own = np.minimum(own, _value(stays, v)[at, 0])
            value[at, struck] = np.minimum(value[at, struck], own)
        found[name] = value
    return found


def _value(answers: _Answers, v: Floats) -> Floats:
    return answers.usd + v[:, None] * answers.seconds


def _outside(
    usd: Floats, seconds: Floats, group: Groups | None, groups: int, v: Floats
) -> _Answers:
    """The row that minimises usd + v seconds outside each group, for each v; inf where none is.

    group: of each row; None: no row is excluded, and one column answers for all.
    """
    found_usd = np.full((len(v), groups), np.inf)
    found_s = np.zeros((len(v), groups))
    best = np.full(len(v), -1, np.int32)
    rows = _matter(usd, seconds, group, v)
    usd, seconds = usd[rows], seconds[rows]
    group = np.zeros(len(rows), np.int32) if group is None else group[rows]
    for i, worth in enumerate(v.tolist()):
        if not len(rows):
            break
        value = usd + worth * seconds
        first = int(np.argmin(value))
        found_usd[i], found_s[i], best[i] = usd[first], seconds[first], group[first]
        if groups > 1:
            others = np.where(group == best[i], np.inf, value)
            second = int(np.argmin(others))
            alone = not np.isfinite(others[second])
            found_usd[i, best[i]] = np.inf if alone else usd[second]
            found_s[i, best[i]] = 0.0 if alone else seconds[second]
    return _Answers(found_usd, found_s, best)


def _matter(usd: Floats, seconds: Floats, group: Groups | None, v: Floats) -> NDArray[np.intp]:
    """Rows that can minimise usd + v seconds for some v, whichever one group is left out.

    A row goes where rows of two groups are at least as good in both. Lossless; a few v suffice to
    find rows that beat nearly all.
    """
    rows = np.arange(len(usd))
    kept: list[int] = []
    for worth in _sample(v):
        if not len(rows):
            break
        value = usd[rows] + worth * seconds[rows]
        first = int(rows[np.argmin(value)])
        corner_usd, corner_s = usd[first], seconds[first]
        kept.append(first)
        if group is not None:
            value[group[rows] == group[first]] = math.inf
            at = int(np.argmin(value))
            if not math.isfinite(value[at]):
                continue
            second = int(rows[at])
            kept.append(second)
            corner_usd, corner_s = max(corner_usd, usd[second]), max(corner_s, seconds[second])
        rows = rows[(usd[rows] < corner_usd) | (seconds[rows] < corner_s)]
    return _with(rows, kept, len(usd))
