"""Chance, handed in: what a gang asks of the world, and the world drawn from a plan's figures.

Each purpose has its own stream, and each draw its own place in it: the k-th life of node i takes
the same numbers whatever happened before. So two candidates, or two settings of one, are compared
in the same world (common random numbers).
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..optimizer.plan import DelayFacts, HazardFacts, PlannedCandidate

PURPOSES = ("work", "provisioning", "stock_out", "spot", "failure")


class World(Protocol):
    """What a gang asks of the world; life counts the machines that a node's place has had."""

    def work_s(self) -> float:
        """Work to the target, without stalls and losses."""
        ...

    def provisioning_s(self, node: int, life: int) -> float:
        """From the request of a machine until it can train."""
        ...

    def life_s(self, node: int, life: int) -> float:
        """From then until the machine is lost; inf for never."""
        ...

    def stock_out_s(self, node: int, life: int) -> float:
        """From a loss until another machine can be requested."""
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
        edges, rates, summed = [0.0], [0.0], [0.0]
        for band in sorted(bands, key=lambda band: band.from_h):
            summed.append(summed[-1] + rates[-1] * (band.from_h - edges[-1]))
            edges.append(band.from_h)
            rates.append(band.per_h)
            if band.to_h is not None:
                summed.append(summed[-1] + band.per_h * (band.to_h - band.from_h))
                edges.append(band.to_h)
                rates.append(0.0)
        return cls(tuple(edges), tuple(rates), tuple(summed))

    def age_s(self, integral: float) -> float:
        """The age at which the summed hazard reaches integral; inf where it never does.

        >>> Hazard.of([HazardFacts(from_h=0, to_h=None, per_h=0.5)]).age_s(1.0)
        7200.0
        """
        band = bisect_right(self.summed, integral) - 1
        if self.per_h[band] <= 0:
            return math.inf
        return 3600 * (self.edges_h[band] + (integral - self.summed[band]) / self.per_h[band])


class Draws:
    """The draws of one purpose, by life and node, made when first asked for."""

    def __init__(self, draw: Callable[[int], NDArray[np.float64]], nodes: int) -> None:
        self._draw, self._nodes = draw, nodes
        self._lives: list[list[float]] = []

    def at(self, node: int, life: int) -> float:
        while len(self._lives) <= life:
            self._lives.append(self._draw(self._nodes).tolist())
        return self._lives[life][node]


class RandomWorld:
    """The world as the plan's reliability record describes it.

    Work and delays are lognormal, median exp(sigma z). A machine is lost at the earlier of its
    spot loss (by age) and its failure (exponential). seeds: those of this replication and job.
    """

    def __init__(self, candidate: PlannedCandidate, seeds: np.random.SeedSequence) -> None:
        known, nodes = candidate.reliability, candidate.nodes
        # Built from the key, not spawned: spawning counts, so a second world would differ.
        work, provisioning, stock_out, spot, failure = (
            np.random.default_rng(
                np.random.SeedSequence(seeds.entropy, spawn_key=(*seeds.spawn_key, purpose))
            )
            for purpose in range(len(PURPOSES))
        )
        self._known = known
        self._hazard = Hazard.of(known.spot_hazard)
        self._work = Draws(work.standard_normal, 1)
        self._provisioning = Draws(provisioning.standard_normal, nodes)
        self._stock_out = Draws(stock_out.standard_normal, nodes)
        self._spot = Draws(spot.standard_exponential, nodes)
        self._failure = Draws(failure.standard_exponential, nodes)
        self._spot_market = candidate.purchase == "spot"

    def work_s(self) -> float:
        return self._known.work_s * math.exp(self._known.work_sigma * self._work.at(0, 0))

    def provisioning_s(self, node: int, life: int) -> float:
        return lognormal_s(self._known.provisioning, self._provisioning.at(node, life))

    def life_s(self, node: int, life: int) -> float:
        spot = self._hazard.age_s(self._spot.at(node, life))
        rate = self._known.node_failures_per_h
        failure = 3600 * self._failure.at(node, life) / rate if rate > 0 else math.inf
        return min(spot, failure)

    def stock_out_s(self, node: int, life: int) -> float:
        if not self._spot_market:
            return 0.0
        return lognormal_s(self._known.stock_out, self._stock_out.at(node, life))


def lognormal_s(delay: DelayFacts, z: float) -> float:
    """median exp(sigma z).

    >>> lognormal_s(DelayFacts(median_s=360, sigma=0.6), 0.0)
    360.0
    """
    return delay.median_s * math.exp(delay.sigma * z)
