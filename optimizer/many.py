"""Many jobs: column generation with a proven bound.

The model of `instance` over all columns is never handed to a solver. Its linear relaxation is solved
over a few columns (HiGHS, warm); its prices pi of the limits give every column a reduced cost by
NumPy, the best enter, and so on. For any pi >= 0

    bound(pi) = sum over j of min over k of (L[k] + pi a[k]) - pi b          (Lagrange)

is below every solution, and a column whose own term is d above its job's minimum is in none that is
better than bound + d. So once a solution is known, all columns with d above the distance between
it and the bound are out, exactly; the integer program over the rest, stated in PuLP, ends it.
"""

import math
import time
from dataclasses import dataclass, replace
from typing import Any

import highspy
import numpy as np
from numpy.typing import NDArray

from .instance import Instance, as_solution, chosen_by, coupling, stated
from .solver import Outcome, Status, relative_gap, solve

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

SAMPLE = 120  # jobs whose prices start those of all: each sample is an eighth of the next
FIRST_COLUMNS = 6  # a job, to begin with
ENTERING = 2  # columns a job that may enter in one round
MOST_ROUNDS = 200
LP_GAP = 1e-7
ELASTIC = 300.0  # price of exceeding a limit by its largest amount, in ranges of L
STATED = 2  # columns a job in the first integer program, which only looks for a good choice
ROUNDING = 1e-8  # of sums of L; the relaxation's bound keeps 1e-9 of it to be on the safe side
FIRST_GAP, FIRST_NODES = 3e-4, 2000  # at which all but the last program end
GROWTH = 4  # of columns from one program to the next


@dataclass(frozen=True, slots=True)
class Answer:
    """The chosen column of each job (indices into the instance), None where there is none.

    bound: no choice has a smaller objective. generated: columns that the relaxation saw. stated:
    columns of the last integer program. survivors: that exact fixing could not rule out. nodes: of all
    searches.
    """

    status: Status
    chosen: Ints | None
    objective: float
    bound: float
    generated: int
    survivors: int
    stated: int
    nodes: int
    rounds: int
    relaxation_s: float
    integer_s: float
    solver: str

    @property
    def gap(self) -> float:
        return math.inf if self.chosen is None else relative_gap(self.objective, self.bound)


@dataclass(frozen=True, slots=True)
class Prices:
    """pi >= 0 of every bounded group of every limit, and of every group of the peak."""

    limits: tuple[Floats, ...]  # each G, 0 where unbounded
    peak: Floats


@dataclass(frozen=True, slots=True)
class Relaxation:
    """The best bound found, its prices, and each column's distance d from its job's best."""

    bound: float
    prices: Prices
    distance: Floats
    columns: Ints
    x: Floats  # of columns, in the last restricted master
    excess: float  # by which limits are still exceeded there
    rounds: int


def choose_many(
    instance: Instance,
    *,
    gap: float = 1e-4,
    solver: str = "highs",
    time_limit_s: float | None = None,
) -> Answer:
    """One column for each job within every limit, with the least sum of L; proven to the gap.

    Raises nothing for an infeasible instance: the status says so, and it is a proof.
    """
    start = time.perf_counter()
    relaxed = relax(instance)
    solved = time.perf_counter()
    if relaxed is None:
        return _answer(Status.INFEASIBLE, None, instance, None, solved - start, 0.0, 0, 0, solver)
    left = None if time_limit_s is None else max(0.1, time_limit_s - (solved - start))
    return _integer(instance, relaxed, gap, solver, left, solved - start)


def _answer(
    status: Status,
    chosen: Ints | None,
    instance: Instance,
    relaxed: Relaxation | None,
    relaxation_s: float,
    integer_s: float,
    survivors: int,
    columns: int,
    solver: str,
    bound: float = -math.inf,
    nodes: int = 0,
) -> Answer:
    objective = math.inf if chosen is None else instance.objective(chosen)
    return Answer(
        status=status,
        chosen=chosen,
        objective=objective,
        bound=min(max(bound, relaxed.bound if relaxed else -math.inf), objective),
        generated=len(relaxed.columns) if relaxed else 0,
        survivors=survivors,
        stated=columns,
        nodes=nodes,
        rounds=relaxed.rounds if relaxed else 0,
        relaxation_s=relaxation_s,
        integer_s=integer_s,
        solver={"highs": "HiGHS", "cbc": "CBC"}[solver] + " through PuLP, column generation",
    )


def _integer(
    instance: Instance,
    relaxed: Relaxation,
    gap: float,
    solver: str,
    time_limit_s: float | None,
    relaxation_s: float,
) -> Answer:
    """From the relaxation to a choice: among the nearest columns, more of them each time, until among all
    that a choice better by the gap could have.

    A choice is among the stated columns, and not below their program's bound; or it has another column,
    and is not below the relaxation's bound and that column's distance.
    """
    start = time.perf_counter()
    best: Ints | None = None
    bound, upper, nodes, proven = relaxed.bound, math.inf, 0, False
    rows = _nearest(instance, relaxed, STATED * instance.jobs)
    while True:
        outside = float(relaxed.distance[_others(instance, rows)].min(initial=math.inf))
        last = len(rows) == len(instance) or outside > _reach(upper, relaxed.bound, gap)
        spent = time.perf_counter() - start
        left = None if time_limit_s is None else max(0.1, time_limit_s - spent)
        aim, most = (gap, None) if last else (max(gap, FIRST_GAP), FIRST_NODES)
        solved = _solve(instance, rows, relaxed.bound, aim, solver, left, best, most)
        nodes += solved.nodes
        if solved.x is not None:
            found = chosen_by(instance, solved.x, rows)
            if instance.kept(found) and instance.objective(found) < upper:
                best, upper = found, instance.objective(found)
        bound = max(bound, min(solved.bound, relaxed.bound + outside - 1e-9, upper))
        proven = best is not None and upper - bound <= gap * abs(upper) + ROUNDING
        if last or proven or (left is not None and time.perf_counter() - start >= left + spent):
            break
        survivors = np.flatnonzero(relaxed.distance <= _reach(upper, relaxed.bound, gap))
        if len(survivors) <= GROWTH * len(rows):
            rows = survivors if best is None else np.union1d(survivors, best)
        else:
            rows = _nearest(instance, relaxed, GROWTH * len(rows))
            rows = rows if best is None else np.union1d(rows, best)
    if best is not None:
        status = Status.OPTIMAL if proven else Status.NOT_PROVEN
    else:
        none = last and solved.status is Status.INFEASIBLE
        status = Status.INFEASIBLE if none else Status.NO_ANSWER
    return _answer(
        status,
        best,
        instance,
        relaxed,
        relaxation_s,
        time.perf_counter() - start,
        int((relaxed.distance <= _reach(upper, relaxed.bound, gap)).sum()),
        len(rows),
        solver,
        bound,
        nodes,
    )


def _others(instance: Instance, rows: Ints) -> NDArray[np.bool_]:
    others = np.ones(len(instance), bool)
    others[rows] = False
    return others


def _reach(upper: float, bound: float, gap: float) -> float:
    """How far from its job's best a column can be of a choice that is better by more than the gap; a
    little more for rounding."""
    if not math.isfinite(upper):
        return math.inf
    return upper - gap * abs(upper) - bound + 1e-9 * max(1.0, abs(bound))


def _nearest(instance: Instance, relaxed: Relaxation, count: int) -> Ints:
    """About so many columns with the least distance, the relaxation's own and each job's best."""
    if count >= len(instance):
        return np.arange(len(instance))
    reach = np.partition(relaxed.distance, count)[count]
    near = relaxed.distance <= max(float(reach), 0.0)
    near[relaxed.columns[relaxed.x > 1e-9]] = True
    return np.flatnonzero(near)


def _solve(
    instance: Instance,
    rows: Ints,
    bound: float,
    gap: float,
    solver: str,
    time_limit_s: float | None,
    best: Ints | None,
    most_nodes: int | None,
) -> Outcome:
    """The integer program over the columns in rows, from the best choice so far."""
    if solver == "cbc":
        return solve(stated(instance, rows), solver=solver, gap=gap, time_limit_s=time_limit_s)
    known = None
    if best is not None and np.isin(best, rows).all():
        known = as_solution(instance, best, rows)
    # A solution this near the bound over all columns ends it; the proof is that bound.
    options: dict[str, Any] = {"objective_target": bound + gap * abs(bound)} if gap > 0 else {}
    if most_nodes is not None:
        options["mip_max_nodes"] = most_nodes
    return solve(stated(instance, rows), gap=gap, time_limit_s=time_limit_s, known=known, **options)


def relax(instance: Instance) -> Relaxation | None:
    """The linear relaxation by column generation; None where even that keeps no limit (a proof)."""
    prices = _first_prices(instance)
    relaxed = _generate(instance, prices, np.ptp(instance.loss) * ELASTIC + 1.0)
    if relaxed.excess > 1e-7:
        # Limits exceeded: is it the price of excess, or is there no way at all?
        least = _generate(replace(instance, loss=np.zeros(len(instance)), peak=None), None, 1.0)
        if least.bound > 1e-7:
            return None
        relaxed = _generate(
            instance,
            relaxed.prices,
            np.ptp(instance.loss) * instance.jobs * ELASTIC * 1e3,
            least.columns,
        )
    return relaxed


def _first_prices(instance: Instance) -> Prices | None:
    """Prices of a sample of the jobs with the same part of every limit."""
    if instance.jobs <= SAMPLE or not (instance.limits or instance.peak):
        return None
    count = max(SAMPLE, instance.jobs // 8)
    # Evenly spread: jobs that were listed together are often alike.
    jobs = np.linspace(0, instance.jobs - 1, count).round().astype(np.intp)
    rows = np.concatenate([np.arange(instance.start[j], instance.start[j + 1]) for j in jobs])
    part = count / instance.jobs
    sizes = np.diff(instance.start)[jobs]
    sample = Instance(
        np.concatenate([[0], np.cumsum(sizes)]),
        instance.loss[rows],
        tuple(
            replace(limit.take(rows), at_most=limit.at_most * (1.0 if limit.shares else part))
            for limit in instance.limits
        ),
        None
        if instance.peak is None
        else replace(instance.peak.take(rows), reference=instance.peak.reference * part),
    )
    elastic = float(np.ptp(sample.loss)) * ELASTIC + 1.0
    return _generate(sample, _first_prices(sample), elastic, gap=1e-4).prices


def _reduced(instance: Instance, prices: Prices | None) -> Floats:
    """L[k] + pi a[k] of every column."""
    total = instance.loss.copy()
    if prices is None:
        return total
    for limit, price in zip(instance.limits, prices.limits, strict=True):
        if not price.any():
            continue
        worth = np.append(price, 0.0)  # code -1 is the last
        if limit.shares:
            worth = worth - float(price @ np.where(np.isfinite(limit.at_most), limit.at_most, 0.0))
        total += worth[limit.codes] * limit.amount
    if instance.peak is not None and prices.peak.any():
        worth = np.append(prices.peak, 0.0) / instance.peak.reference
        total += worth[instance.peak.codes] * instance.peak.amount
    return total


def _offset(instance: Instance, prices: Prices | None) -> float:
    """pi b."""
    if prices is None:
        return 0.0
    return sum(
        float(price[limit.bounded] @ limit.at_most[limit.bounded])
        for limit, price in zip(instance.limits, prices.limits, strict=True)
        if not limit.shares
    )


def _generate(
    instance: Instance,
    prices: Prices | None,
    elastic: float,
    columns: Ints | None = None,
    gap: float = LP_GAP,
) -> Relaxation:
    """Column generation from the prices on, exceeding limits at the price elastic if need be."""
    reduced = _reduced(instance, prices)
    least = np.minimum.reduceat(reduced, instance.start[:-1])
    bound = float(least.sum()) - _offset(instance, prices)
    best, distance = prices or _no_prices(instance), reduced - least[instance.job]
    near = np.zeros(len(instance), bool)
    count = min(len(instance), FIRST_COLUMNS * instance.jobs)
    near[np.argpartition(distance, count - 1)[:count]] = True
    near[_first_of_each(instance, distance)] = True
    if columns is not None:
        near[columns] = True
    master = _Master(instance, elastic)
    master.add(np.flatnonzero(near))
    rounds = 0
    while True:
        rounds += 1
        objective, trial, worth = master.solve()
        reduced = _reduced(instance, trial)
        least = np.minimum.reduceat(reduced, instance.start[:-1])
        found = float(least.sum()) - _offset(instance, trial)
        if found >= bound:
            bound, best, distance = found, trial, reduced - least[instance.job]
        if objective - bound <= gap * max(abs(objective), 1e-6) or rounds == MOST_ROUNDS:
            break
        gain = reduced - worth[instance.job]
        gain[master.columns] = 0.0
        entering = np.flatnonzero(gain < -1e-9)
        if not len(entering):
            break
        if len(entering) > ENTERING * instance.jobs:
            keep = np.argpartition(gain[entering], ENTERING * instance.jobs)
            entering = entering[keep[: ENTERING * instance.jobs]]
        master.add(np.sort(entering))
    x, excess = master.solution()
    return Relaxation(bound, best, distance, master.columns, x, excess, rounds)


def _first_of_each(instance: Instance, distance: Floats) -> Ints:
    """The first column of each job at distance 0."""
    least = np.flatnonzero(distance <= 0)
    return least[np.searchsorted(least, instance.start[:-1])]


def _no_prices(instance: Instance) -> Prices:
    return Prices(
        tuple(np.zeros(len(limit.at_most)) for limit in instance.limits),
        np.zeros(len(instance.peak.labels) if instance.peak else 0),
    )


class _Master:
    """The relaxation over a growing set of columns, warm from one solve to the next.

    Rows: one_of_<j>, then those of `coupling`, each with an excess at a price. HiGHS is called
    directly: PuLP cannot add columns to a solved model. A test holds it to the PuLP model's answer.
    """

    def __init__(self, instance: Instance, elastic: float) -> None:
        self.instance = instance
        right = coupling(instance, np.zeros(0, np.intp))[1]
        jobs, limits = instance.jobs, len(right)
        self.peaks = len(instance.peak.labels) if instance.peak else 0
        self.highs = highspy.Highs()
        self.highs.setOptionValue("output_flag", False)
        self.highs.setOptionValue("threads", 1)
        none_i, none_f = np.zeros(0, np.int32), np.zeros(0)
        self.highs.addRows(
            jobs + limits,
            np.concatenate([np.ones(jobs), np.full(limits, -np.inf)]),
            np.concatenate([np.ones(jobs), right]),
            0,
            np.zeros(jobs + limits, np.int32),
            none_i,
            none_f,
        )
        # The excess of each limit, but not of the peak's rows; then z.
        self.excesses = limits - self.peaks
        for row in range(self.excesses):
            self.highs.addCol(
                elastic, 0.0, np.inf, 1, np.array([jobs + row], np.int32), np.array([-1.0])
            )
        if instance.peak is not None:
            places = np.arange(jobs + self.excesses, jobs + limits, dtype=np.int32)
            self.highs.addCol(
                instance.peak.weight, 0.0, np.inf, len(places), places, -np.ones(len(places))
            )
        self.own = self.excesses + (instance.peak is not None)
        self.columns = np.zeros(0, np.intp)

    def add(self, columns: Ints) -> None:
        part = coupling(self.instance, columns)[0]
        lengths = np.diff(part.indptr) + 1
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        indices = np.empty(int(lengths.sum()), np.int32)
        values = np.ones(len(indices))
        others = np.ones(len(indices), bool)
        others[starts] = False
        indices[starts] = self.instance.job[columns]
        indices[others] = part.indices + self.instance.jobs
        values[others] = part.data
        count = len(columns)
        self.highs.addCols(
            count,
            self.instance.loss[columns],
            np.zeros(count),
            np.full(count, np.inf),
            len(indices),
            starts.astype(np.int32),
            indices,
            values,
        )
        self.columns = np.concatenate([self.columns, columns])

    def solve(self) -> tuple[float, Prices, Floats]:
        """The objective, the prices of the limits, and the worth of each job's row."""
        if len(self.columns) and self.highs.getInfo().valid:
            self.highs.setOptionValue("simplex_strategy", 4)  # primal: the basis stays feasible
        self.highs.run()
        if self.highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            raise RuntimeError(f"HiGHS left the relaxation at {self.highs.getModelStatus()}")
        duals = np.array(self.highs.getSolution().row_dual)
        jobs = self.instance.jobs
        # HiGHS's dual of a row "<= b" is negative; its rows were divided by their sizes.
        pi = np.maximum(-duals[jobs:], 0.0)
        limits, place = [], 0
        for limit in self.instance.limits:
            price = np.zeros(len(limit.at_most))
            own = pi[place : place + len(limit.bounded)]
            price[limit.bounded] = own / limit.sizes[limit.bounded]
            limits.append(price)
            place += len(limit.bounded)
        peak = pi[place:]
        if self.instance.peak is not None and peak.sum() > self.instance.peak.weight:
            peak = peak * (self.instance.peak.weight / peak.sum())  # else z would be worth -inf
        return float(self.highs.getObjectiveValue()), Prices(tuple(limits), peak), duals[:jobs]

    def solution(self) -> tuple[Floats, float]:
        """x of the columns, and by how much limits are exceeded in all."""
        values = np.array(self.highs.getSolution().col_value)
        return values[self.own :], float(values[: self.excesses].sum())
