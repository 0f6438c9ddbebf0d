"""Chance, handed in: what a gang asks of the world, and the world drawn from a plan's figures.

Each purpose has its own stream, and each draw its own place in it: the k-th life of node i takes
the same numbers whatever happened before. So two candidates, or two settings of one, are compared
in the same world (common random numbers).
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ..optimizer.plan import DelayFacts, HazardFacts, PlannedCandidate
from .spot import SpotMarket, Supply, with_outages

PURPOSES = (
    "work",
    "provisioning",
    "stock_out",
    "spot",
    "failure",
    "failure_rate",
    "slowness",
    "shock",
    "hit",
    "together",
)
EVERY_JOB = 2**32 - 1  # in the place of a job's number: chance that all jobs of a plan share
REFERENCE_AGE_H = 24.0  # machines' mean hazard is taken over their first day
MOST_SHOCKS = 100_000  # asked for in one life; beyond them the machine is taken to stay


@dataclass(frozen=True, slots=True)
class Spreads:
    """What varies beside the plan's own figures; all zero is the plan to the letter.

    work_sigma: log-sd of the samples to the target between runs that differ in their seed only.
    failure_rate_sigma: log-sd of a fleet's failure rate (its mean is the plan's).
    slowness_sigma: log-sd of one machine's step time, kept for as long as the machine is.
    bulk_share: of spot losses, those in which several machines of the gang may go at once.
    bulk_hit: chance of a machine of average age to go in such a loss.
    """

    work_sigma: float = 0.0
    failure_rate_sigma: float = 0.0
    slowness_sigma: float = 0.0
    bulk_share: float = 0.0
    bulk_hit: float = 1.0


QUIET = Spreads()
OBSERVED = Spreads(
    # Median coefficient of variation of epochs to the target over 546 groups of 10 or more runs
    # each: MLPerf reference convergence points (mlcommons/logging 7bbf7926, Apache-2.0).
    work_sigma=0.038,
    # Log-sd of three fleets' failures per node-day: Meta RSC-1 0.0065 and RSC-2 0.0023
    # (arXiv 2410.21680), Llama 3 0.0038.
    failure_rate_sigma=0.51,
    # Median over the four multi-worker jobs of Alibaba PAI 2020 (clusterdata 7a6c496e, CC BY 4.0)
    # of the coefficient of variation between workers' mean step times; one job reaches 0.69.
    slowness_sigma=0.06,
    # Bamboo (uclasystem/bamboo 80809293, MIT), p3, g4dn and GCP V100, 2021-12: 680 of 759 lost
    # machines went with others; one such loss took 11 % of the machines on average.
    bulk_share=0.90,
    bulk_hit=0.11,
)


@dataclass(frozen=True, slots=True)
class Conditions:
    """The world outside the plan: its spreads, observed spot markets, and zones that fail.

    market: replaces the plan's spot hazard and stock-out of spot candidates. outages: of each job,
    (from, to) in seconds when none of its machines can stand.
    """

    spreads: Spreads = QUIET
    market: SpotMarket | None = None
    outages: tuple[tuple[tuple[float, float], ...], ...] = ()

    def limited(self, job: int) -> bool:
        """Whether the supply of machines for a job has a limit."""
        return self.market is not None or bool(self.outages_of(job))

    def outages_of(self, job: int) -> tuple[tuple[float, float], ...]:
        return self.outages[job] if job < len(self.outages) else ()


class World(Protocol):
    """What a gang asks of the world; life counts the machines that a node's place has had."""

    def work_s(self) -> float:
        """Work to the target, without stalls and losses, on machines of average pace."""
        ...

    def provisioning_s(self, node: int, life: int) -> float:
        """From the request of a machine until it can train."""
        ...

    def life_s(self, node: int, life: int, at_s: float) -> float:
        """From then, at_s on the clock, until the machine is lost; inf for never."""
        ...

    def stock_out_s(self, node: int, life: int) -> float:
        """From a loss until another machine can be requested."""
        ...

    def stretch(self, lives: Sequence[int]) -> float:
        """Time over average time of a step on the gang's present machines (life of each node)."""
        ...

    def supply(self) -> Supply | None:
        """Machines that can stand at most, step by step; None for as many as wanted."""
        ...


@dataclass(frozen=True, slots=True)
class Hazard:
    """A piecewise-constant hazard h(age) and the inverse of its integral H.

    edges_h: where each band starts, from 0; the last band has no end. summed: H at each edge.
    If E is exponential with mean 1, the age at which H reaches E has the hazard h.
    """

    edges_h: tuple[float, ...]
    per_h: tuple[float, ...]
    summed: tuple[float, ...]

    @classmethod
    def of(cls, bands: Sequence[HazardFacts]) -> "Hazard":
        """The hazard in bands, which follow each other from age 0; after the last it is 0."""
        edges, rates = [0.0], [0.0]
        for band in sorted(bands, key=lambda band: band.from_h):
            edges.append(band.from_h)
            rates.append(band.per_h)
            if band.to_h is not None:
                edges.append(band.to_h)
                rates.append(0.0)
        return cls.stepwise(edges, rates)

    @classmethod
    def stepwise(cls, edges_h: Sequence[float], per_h: Sequence[float]) -> "Hazard":
        """The hazard that is per_h[i] from edges_h[i] on."""
        summed = [0.0]
        for i in range(1, len(edges_h)):
            summed.append(summed[-1] + per_h[i - 1] * (edges_h[i] - edges_h[i - 1]))
        return cls(tuple(edges_h), tuple(per_h), tuple(summed))

    def age_s(self, integral: float) -> float:
        """The age at which the summed hazard reaches integral; inf where it never does.

        >>> Hazard.of([HazardFacts(from_h=0, to_h=None, per_h=0.5)]).age_s(1.0)
        7200.0
        """
        band = bisect_right(self.summed, integral) - 1
        if self.per_h[band] <= 0:
            return math.inf
        return 3600 * (self.edges_h[band] + (integral - self.summed[band]) / self.per_h[band])

    def at(self, age_h: float) -> float:
        """The hazard at an age, per hour."""
        return self.per_h[bisect_right(self.edges_h, age_h) - 1]

    def mean(self, until_h: float) -> float:
        """H(until) / until."""
        band = bisect_right(self.edges_h, until_h) - 1
        return (self.summed[band] + self.per_h[band] * (until_h - self.edges_h[band])) / until_h


@dataclass(frozen=True, slots=True)
class BulkHazard:
    """A hazard split into shocks that the gang's machines share, and what each suffers alone.

    Shocks come at the rate L = share h1 / hit, h1 the mean hazard of the first day. A shock takes
    each machine with the chance p(age) = min(1, share h(age) / L); alone, it is lost with the
    hazard h(age) - L p(age). The two add up to h(age): a single machine notices no difference.
    """

    shocks_per_h: float
    chance: Hazard  # p, band by band
    alone: Hazard

    @classmethod
    def of(cls, hazard: Hazard, share: float, hit: float) -> "BulkHazard":
        rate = share * hazard.mean(REFERENCE_AGE_H) / hit
        if rate <= 0:
            return cls(0.0, Hazard((0.0,), (0.0,), (0.0,)), hazard)
        chances = [min(1.0, share * per_h / rate) for per_h in hazard.per_h]
        alone = [max(per_h - rate * p, 0.0) for per_h, p in zip(hazard.per_h, chances, strict=True)]
        return cls(
            rate,
            Hazard.stepwise(hazard.edges_h, chances),
            Hazard.stepwise(hazard.edges_h, alone),
        )


@lru_cache(maxsize=256)
def bulk_hazard(bands: tuple[HazardFacts, ...], share: float, hit: float) -> BulkHazard:
    """The split of a plan's hazard, made once."""
    return BulkHazard.of(Hazard.of(bands), share, hit)


class Draws:
    """The draws of one purpose, by life and node, made when first asked for."""

    def __init__(self, seeds: Callable[[], np.random.Generator], how: str, nodes: int) -> None:
        self._seeds, self._how, self._nodes = seeds, how, nodes
        self._draw: Callable[[int], NDArray[np.float64]] | None = None
        self._lives: list[list[float]] = []

    def at(self, node: int, life: int) -> float:
        while len(self._lives) <= life:
            if self._draw is None:
                self._draw = getattr(self._seeds(), self._how)
            self._lives.append(self._draw(self._nodes).tolist())
        return self._lives[life][node]


class RandomWorld:
    """The world as the plan's reliability record and the conditions describe it.

    Work and delays are lognormal, median exp(sigma z). A machine is lost at the earliest of its
    spot loss (by age; alone or in a shock) and its failure (exponential, at a rate that is drawn
    once). Machines lost in one shock come back after the same wait. seeds: those of this
    replication and job; shared: those of this replication.
    """

    def __init__(
        self,
        candidate: PlannedCandidate,
        seeds: np.random.SeedSequence,
        conditions: Conditions | None = None,
        job: int = 0,
    ) -> None:
        known, nodes = candidate.reliability, candidate.nodes
        conditions = conditions or Conditions()
        self._known, self._nodes, self._seeds = known, nodes, seeds
        self._spreads, self._outages = conditions.spreads, conditions.outages_of(job)
        spot = candidate.purchase == "spot"
        self._market = (
            conditions.market.of_zones(candidate.offer.region, candidate.offer.zones)
            if spot and conditions.market is not None
            else None
        )
        self._waits_for_stock = spot and self._market is None
        bands = () if self._market is not None else known.spot_hazard
        self._bulk = bulk_hazard(bands, self._spreads.bulk_share, self._spreads.bulk_hit)
        self._work = self._draws("work", "standard_normal", 1)
        self._provisioning = self._draws("provisioning", "standard_normal", nodes)
        self._stock_out = self._draws("stock_out", "standard_normal", nodes)
        self._spot = self._draws("spot", "standard_exponential", nodes)
        self._failure = self._draws("failure", "standard_exponential", nodes)
        self._rate = self._draws("failure_rate", "standard_normal", 1)
        self._slowness = self._draws("slowness", "standard_normal", nodes)
        self._shock = self._draws("shock", "standard_exponential", 1)
        self._hit = self._draws("hit", "random", nodes)
        self._together = self._draws("together", "standard_normal", 1)
        self._shocks_h: list[float] = []
        self._lost_in: dict[tuple[int, int], int] = {}

    def _draws(self, purpose: str, how: str, nodes: int) -> Draws:
        return Draws(lambda: self._stream(purpose), how, nodes)

    def _stream(self, purpose: str) -> np.random.Generator:
        # Built from the key, not spawned: spawning counts, so a second world would differ.
        key = (*self._seeds.spawn_key, PURPOSES.index(purpose))
        return np.random.default_rng(np.random.SeedSequence(self._seeds.entropy, spawn_key=key))

    def work_s(self) -> float:
        sigma = math.hypot(self._known.work_sigma, self._spreads.work_sigma)
        return self._known.work_s * math.exp(sigma * self._work.at(0, 0))

    def provisioning_s(self, node: int, life: int) -> float:
        return lognormal_s(self._known.provisioning, self._provisioning.at(node, life))

    def life_s(self, node: int, life: int, at_s: float) -> float:
        spot = self._bulk.alone.age_s(self._spot.at(node, life))
        rate = self._failures_per_h()
        failure = 3600 * self._failure.at(node, life) / rate if rate > 0 else math.inf
        alone = min(spot, failure)
        shock = self._shocked(node, at_s, alone) if self._bulk.shocks_per_h > 0 else None
        if shock is None:
            return alone
        self._lost_in[node, life] = shock
        return 3600 * self._shocks_h[shock] - at_s

    def _failures_per_h(self) -> float:
        """The fleet's rate: lognormal with the plan's as its mean."""
        rate, sigma = self._known.node_failures_per_h, self._spreads.failure_rate_sigma
        if rate <= 0 or sigma <= 0:
            return rate
        return rate * math.exp(sigma * self._rate.at(0, 0) - sigma**2 / 2)

    def _shocked(self, node: int, at_s: float, within_s: float) -> int | None:
        """The shock that takes this machine, ready at at_s, before it is lost otherwise."""
        start_h, chance = at_s / 3600, self._bulk.chance
        until_h = start_h + within_s / 3600
        if math.isinf(until_h) and chance.per_h[-1] <= 0:
            until_h = start_h + chance.edges_h[-1]
        shock = bisect_right(self._shocks_h, start_h)
        for number in range(shock, shock + MOST_SHOCKS):
            while len(self._shocks_h) <= number:
                before = self._shocks_h[-1] if self._shocks_h else 0.0
                wait = self._shock.at(0, len(self._shocks_h)) / self._bulk.shocks_per_h
                self._shocks_h.append(before + wait)
            when = self._shocks_h[number]
            if when >= until_h:
                return None
            if when > start_h and self._hit.at(node, number) < chance.at(when - start_h):
                return number
        return None

    def stock_out_s(self, node: int, life: int) -> float:
        if not self._waits_for_stock:
            return 0.0
        shock = self._lost_in.get((node, life - 1))
        z = self._stock_out.at(node, life) if shock is None else self._together.at(0, shock)
        return lognormal_s(self._known.stock_out, z)

    def stretch(self, lives: Sequence[int]) -> float:
        """exp(sigma (max_i z_i - E[max of n])): the gang goes at the pace of its slowest machine.

        The plan's step time already holds the slowest machine of an average gang.
        """
        sigma = self._spreads.slowness_sigma
        if sigma <= 0:
            return 1.0
        slowest = max(self._slowness.at(node, life) for node, life in enumerate(lives))
        return math.exp(sigma * (slowest - expected_largest_normal(self._nodes)))

    def supply(self) -> Supply | None:
        if self._market is None:
            enough = None
        else:
            key = (*self._seeds.spawn_key[:-1], EVERY_JOB)
            shared = np.random.SeedSequence(self._seeds.entropy, spawn_key=key)
            enough = self._market.supply(self._nodes, np.random.default_rng(shared))
        return with_outages(enough, self._nodes, self._outages) if self._outages else enough


@lru_cache(maxsize=1024)
def expected_largest_normal(count: int) -> float:
    """E[max] of so many independent standard normals, by the midpoint rule over its quantiles.

    >>> round(expected_largest_normal(1), 6), round(expected_largest_normal(2), 3)
    (0.0, 0.564)
    """
    middle = (np.arange(4000) + 0.5) / 4000
    return float(stats.norm.ppf(middle ** (1 / count)).mean())


def lognormal_s(delay: DelayFacts, z: float) -> float:
    """median exp(sigma z).

    >>> lognormal_s(DelayFacts(median_s=360, sigma=0.6), 0.0)
    360.0
    """
    return delay.median_s * math.exp(delay.sigma * z)
