"""The linear relaxation of many jobs: column generation, then limits rounded, with a proven bound.

Solved is the relaxation over a few columns (HiGHS, warm); its prices pi of the limits give every
column a reduced cost by NumPy, the best enter, and so on. For any pi >= 0

    bound(pi) = sum over j of min over k of (L[k] + pi a[k]) - pi b          (Lagrange)

is below every solution, and a column whose own term is d above its job's minimum is in none that is
better than bound + d. Where the relaxation's choice is broken by a limit rounded to whole columns
(`rounding`), that joins the limits and the generation goes on.
"""

from dataclasses import dataclass, replace

import highspy
import numpy as np
from numpy.typing import NDArray

from .instance import Instance, coupling
from .rounding import broken
from .solver import TIGHT

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

SAMPLE = 120  # jobs whose prices start those of all: each sample is an eighth of the next
FIRST_COLUMNS = 2  # a job, to begin with
ENTERING = 2  # columns a job that may enter in one round
MOST_ROUNDS = 200
LP_GAP = 1e-7
ELASTIC = 300.0  # price of exceeding a limit by its largest amount, in ranges of L
MOST_ROUNDINGS = 10


@dataclass(frozen=True, slots=True)
class Prices:
    """pi >= 0 of every bounded group of every limit, and of every group of the peak."""

    limits: tuple[Floats, ...]  # each G, 0 where unbounded
    peak: Floats


@dataclass(frozen=True, slots=True)
class Relaxation:
    """The best bound found, its prices, and each column's distance d from its job's best.

    instance: the one that was asked about, with the limits that were rounded.
    """

    instance: Instance
    bound: float
    prices: Prices
    distance: Floats
    columns: Ints
    x: Floats  # of columns, in the last restricted master
    excess: float  # by which limits are still exceeded there
    rounds: int


def relax(instance: Instance) -> Relaxation | None:
    """The linear relaxation by column generation, with limits rounded where its choice breaks them so; None
    where even that keeps no limit (a proof)."""
    relaxed = _kept(instance, _first_prices(instance))
    for _ in range(MOST_ROUNDINGS):
        if relaxed is None:
            break
        within = relaxed.instance
        more = broken(instance.limits, relaxed.columns, relaxed.x)
        if not more:
            break
        free = tuple(np.zeros(len(limit.at_most)) for limit in more)
        relaxed = _kept(
            replace(within, limits=(*within.limits, *more)),
            replace(relaxed.prices, limits=(*relaxed.prices.limits, *free)),
            relaxed.columns[relaxed.x > 1e-9],
        )
    return relaxed


def _kept(
    instance: Instance, prices: Prices | None, columns: Ints | None = None
) -> Relaxation | None:
    """Column generation from the prices and columns on, within the limits; None where none keeps them."""
    relaxed = _generate(instance, prices, np.ptp(instance.loss) * ELASTIC + 1.0, columns)
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
    return Relaxation(instance, bound, best, distance, master.columns, x, excess, rounds)


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
        # What HiGHS lets limits be exceeded by costs nothing there and lowers the bound by its price.
        self.highs.setOptionValue("primal_feasibility_tolerance", TIGHT)
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
