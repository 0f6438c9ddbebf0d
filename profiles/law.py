"""The law of step time over batch, devices and nodes: its terms, and one member fitted to steps.

A series is one model with one framework, precision, accelerator, ... : what differs between its
points is the per-device batch b, the devices K, the nodes n and the devices m on the fullest node.

    T_p(b, K, n, m) = (g(b)^p + s(K, n, m)^p)^(1/p)                                  (DESIGN 3.1)

    g = a + sum_k beta_k ramp_k(b)        compute: a fixed cost and slopes between measured batches
    s = c_i 2(m-1)/m + l_i (m-1)                                              on one node
    s = c_n 2(n-1)/n + l_n log2 n + c_m 2(K-n)/K + l_m log2(K/n)              on several
        + [n = 2] (c_2 + l_2 log2(K/2))   a pair of nodes exchanges otherwise than a ring of more

All coefficients are not negative, so T grows with b and never falls below g: more samples never
take less time, and scaling is never superlinear. p = 1 adds communication to compute, a larger p
hides the shorter behind the longer (the form of Pollux, Qiao et al., OSDI 2021). Weighted least
squares on relative error, with a prior that only speaks where data do not: on every coefficient of
s, on the fixed cost, and on the change of slope from one pair of batches to the next. No I/O.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares, nnls

Floats = NDArray[np.float64]

# A coefficient's prior: its effect at REFERENCE, as a share of a typical step. The mean is what
# public series lose on average; the spread is as wide as what they differ by.
REFERENCE = {"m": 8.0, "n": 8.0, "K": 32.0}
PRIOR_SHARE = 0.02
STEP_SHARE = 0.2  # of a step at the largest measured batch that a batch of none would take
# A slope differs from the next by so much of the typical one for every root of an octave between:
# a step at the middle of two octaves then lies 3 % off its chord, as `spread.GUESS` says of public
# series (a change d of the slope beta bends the chord by d beta b / 3).
BEND = 0.1
LEAST_OCTAVES = 0.1  # two batches nearer than that are taken as so far apart
# Gradients of tens of MB over links of 1 to 10 GB/s take tens of ms, a hop 20 to 500 us: volume over
# bandwidth comes first, contention second, hops and a pair of nodes being special last.
SPREADS = np.array([1.0, 0.2, 1.0, 0.1, 0.3, 0.1, 0.1, 0.1])
LEAST_SPREAD = 0.05  # of contention, where a machine shows none: what hops alone would be
NOISE = 0.03  # relative error of one measured step before residuals say otherwise
COMPUTE_PULL = 0.5  # the compute part speaks for itself unless devices were never alone
LEAST_COMPUTE = 1e-3  # of a typical step: what is left of it without exchange, at least
TINY = 1e-12  # seconds; nothing is quicker


@dataclass(frozen=True, slots=True)
class Points:
    """Configurations, one array element each: batch a device, devices, nodes, fullest node.

    layout: a number for the devices of each node in their order; 0 where nobody says.
    """

    batch: Floats
    devices: Floats
    nodes: Floats
    fullest: Floats
    layout: Floats

    def __len__(self) -> int:
        return len(self.batch)

    def at(self, rows: NDArray[np.generic]) -> "Points":
        """The points of an index or mask."""
        return Points(
            self.batch[rows],
            self.devices[rows],
            self.nodes[rows],
            self.fullest[rows],
            self.layout[rows],
        )

    def placements(self) -> NDArray[np.int64]:
        """A number for each point's placement, shape (points,); equal for equal placements."""
        rows = np.column_stack([self.devices, self.nodes, self.fullest])
        return np.unique(rows, axis=0, return_inverse=True)[1].ravel().astype(np.int64)

    def places(self) -> list[tuple[float, ...]]:
        """Devices, nodes, fullest node and layout of each point."""
        return list(zip(self.devices, self.nodes, self.fullest, self.layout, strict=True))

    def alone(self) -> "Points":
        """The same batches on one device."""
        one = np.ones(len(self))
        return replace(self, devices=one, nodes=one, fullest=one, layout=np.zeros(len(self)))


def points(rows: Sequence[tuple[float, ...]]) -> Points:
    """Points of (batch, devices, nodes, devices on the fullest node), and the layout if known."""
    known = [(*row, 0.0)[:5] for row in rows]
    return Points(*np.array(known, dtype=float).reshape(-1, 5).T)


def exchange_terms(at: Points) -> Floats:
    """The terms of s, shape (points, 8), in the order of the module's formula."""
    K, n, m = at.devices, at.nodes, at.fullest
    several = n > 1
    pair = n == 2
    return np.column_stack(
        [
            np.where(several, 0.0, 2 * (m - 1) / m),
            np.where(several, 0.0, m - 1),
            2 * (n - 1) / n,
            np.log2(n),
            np.where(several, 2 * (K - n) / K, 0.0),
            np.where(several, np.log2(K / n), 0.0),
            pair.astype(float),
            np.where(pair, np.log2(K / 2), 0.0),
        ]
    )


def compute_terms(batch: Floats, knots: Floats) -> Floats:
    """1 and the ramps of g, shape (points, 1 + slopes): clip(b, k, k') - k between knots."""
    edges = np.concatenate([[0.0], knots[1:-1], [np.inf]])
    ramps = [np.clip(batch, low, high) - low for low, high in pairwise(edges)]
    return np.column_stack([np.ones(len(batch)), *ramps])


@dataclass(frozen=True, slots=True)
class _Prior:
    """What is expected of the coefficients c before data: rows c = target, in units of NOISE."""

    rows: Floats
    target: Floats


@dataclass(frozen=True, slots=True)
class Law:
    """One member: coefficients in units of their priors' scale."""

    overlap: float
    knots: Floats
    scale: Floats
    coefficients: Floats
    prior: Floats  # its rows, in units of NOISE

    @classmethod
    def fit(
        cls, at: Points, step_s: Floats, overlap: float, contention: float | None = None
    ) -> Self:
        """Least squares on relative error, coefficients not negative.

        contention: the share of exchange within a node that is to be expected from a bus that all
        its devices share, where the measurements leave open how it grows; None: nothing tells.
        """
        knots = np.unique(at.batch)
        compute, exchange = compute_terms(at.batch, knots), exchange_terms(at)
        typical = float(np.exp(np.mean(np.log(step_s))))
        step_s = step_s / typical
        # Compute terms are scaled by what they reach, the others by their value at REFERENCE.
        reach = np.maximum(compute.max(axis=0), 1e-12)
        scale = np.concatenate([reach, reference_terms()])
        terms = np.hstack([compute, exchange]) / scale
        own = len(reach)
        longest = float(step_s[at.batch == knots[-1]].mean())
        prior = _prior(knots, reach, longest, _spreads_with(contention))
        weighted = terms / step_s[:, None]
        least = np.zeros(terms.shape[1])
        least[0] = LEAST_COMPUTE
        rest = np.concatenate(
            [np.ones(len(at)) - weighted @ least, prior.target - prior.rows @ least]
        )
        start = least + nnls(np.vstack([weighted, prior.rows]), rest)[0]
        if overlap == 1.0 or not exchange.any():
            return cls(overlap, knots, scale / typical, start, prior.rows)

        def residuals(c: Floats) -> Floats:
            g, s = weighted[:, :own] @ c[:own], weighted[:, own:] @ c[own:]
            total = _norm(g, s, overlap)
            return np.concatenate([total - 1, prior.rows @ c - prior.target])

        def slope(c: Floats) -> Floats:
            g, s = weighted[:, :own] @ c[:own], weighted[:, own:] @ c[own:]
            total = np.maximum(_norm(g, s, overlap), 1e-12)
            by_g = (g / total) ** (overlap - 1)
            by_s = (s / total) ** (overlap - 1)
            rows = np.hstack([weighted[:, :own] * by_g[:, None], weighted[:, own:] * by_s[:, None]])
            return np.vstack([rows, prior.rows])

        found = least_squares(
            residuals, np.maximum(start, 2e-3), slope, bounds=(least, np.inf), max_nfev=50
        )
        return cls(overlap, knots, scale / typical, found.x, prior.rows)

    def parts(self, at: Points) -> tuple[Floats, Floats]:
        """Compute and exchange, seconds."""
        c = self.coefficients / self.scale
        compute = compute_terms(at.batch, self.knots)
        own = compute.shape[1]
        return compute @ c[:own], exchange_terms(at) @ c[own:]

    def step_s(self, at: Points) -> Floats:
        return _norm(*self.parts(at), self.overlap)

    def gradient(self, at: Points) -> Floats:
        """Of log step time by the coefficients, shape (points, coefficients)."""
        g, s = self.parts(at)
        total = _norm(g, s, self.overlap)
        by_g, by_s = (g / total) ** (self.overlap - 1), (s / total) ** (self.overlap - 1)
        compute = compute_terms(at.batch, self.knots)
        rows = np.hstack([compute * by_g[:, None], exchange_terms(at) * by_s[:, None]])
        return rows / self.scale / total[:, None]

    def information(self, at: Points) -> Floats:
        """J'J + prior, of points in units of NOISE."""
        rows = self.gradient(at)
        return (rows.T @ rows + self.prior.T @ self.prior) / NOISE**2


def _prior(knots: Floats, reach: Floats, longest: float, spreads: Floats) -> _Prior:
    """Of a law over those batches; longest: a step at the last of them, over a typical one."""
    own, count = len(reach), len(reach) + len(spreads)
    one = np.eye(count)
    every_slope = np.zeros(count)
    every_slope[1:own] = 1 / longest
    rows = [COMPUTE_PULL * NOISE * one[0], COMPUTE_PULL * NOISE * every_slope]
    target = [COMPUTE_PULL * NOISE * STEP_SHARE, COMPUTE_PULL * NOISE * (1 - STEP_SHARE)]
    typical = (1 - STEP_SHARE) * longest / knots[-1]
    edges = np.concatenate([[knots[0] / 2], knots[1:-1], [knots[-1]]])
    middles = np.log2(edges[:-1] * edges[1:]) / 2
    for k in range(2, own):
        octaves = max(float(middles[k - 1] - middles[k - 2]), LEAST_OCTAVES)
        change = one[k] / reach[k] - one[k - 1] / reach[k - 1]
        rows.append(NOISE / (BEND * math.sqrt(octaves) * typical) * change)
        target.append(0.0)
    for k, spread in enumerate(spreads):
        rows.append(NOISE / spread * one[own + k])
        mean = PRIOR_SHARE * SPREADS[k] if k < len(spreads) - 2 else 0.0
        target.append(NOISE / spread * mean)
    return _Prior(np.array(rows), np.array(target))


def _spreads_with(contention: float | None) -> Floats:
    """SPREADS, but that of l_i such that four devices' exchange is split to that share.

    At four devices the terms of c_i and l_i reach 6/7 and 3/7 of what they do at REFERENCE, and a
    reading is split between them as the squares of reach and spread: l^2/(4c^2 + l^2).
    """
    spreads = SPREADS.copy()
    if contention is not None:
        share = min(contention, 0.99)
        spreads[1] = max(LEAST_SPREAD, 2 * spreads[0] * math.sqrt(share / (1 - share)))
    return spreads


def _norm(g: Floats, s: Floats, p: float) -> Floats:
    if p == 1.0:
        return np.maximum(g + s, TINY)
    big = np.maximum(np.maximum(g, s), TINY)
    return big * ((g / big) ** p + (s / big) ** p) ** (1 / p)


def reference_terms() -> Floats:
    """The exchange terms at REFERENCE, shape (8,)."""
    m, n, k = REFERENCE["m"], REFERENCE["n"], REFERENCE["K"]
    one = exchange_terms(points([(1, m, 1, m)]))[0]
    many = exchange_terms(points([(1, k, n, k / n)]))[0]
    pair = exchange_terms(points([(1, 2 * m, 2, m)]))[0]
    return np.concatenate([one[:2], many[2:6], pair[6:]])
