"""Step time over batch, devices and nodes, fitted to measured steps of one series.

A series is one model with one framework, precision, accelerator, ... : what differs between its
points is the per-device batch b, the devices K, the nodes n and the devices m on the fullest node.

    T_p(b, K, n, m) = (g(b)^p + s(K, n, m)^p)^(1/p)                                  (DESIGN 3.1)

    g = a + sum_k beta_k ramp_k(b)        compute: a fixed cost and slopes between measured batches
    s = c_i 2(m-1)/m + l_i (m-1)                                              on one node
    s = c_n 2(n-1)/n + l_n log2 n + c_m 2(K-n)/K + l_m log2(K/n)              on several
        + [n = 2] (c_2 + l_2 log2(K/2))   a pair of nodes exchanges otherwise than a ring of more

All coefficients are not negative, so T grows with b and never falls below g: more samples never
take less time, and scaling is never superlinear. p = 1 adds communication to compute, a larger p
hides the shorter behind the longer (the form of Pollux, Qiao et al., OSDI 2021); the members of
different p are combined by the error each makes on placements it has not seen. Weighted least
squares on relative error, with a prior on every coefficient that only speaks where data do not.

At placements that were measured, the curve over batch is drawn towards the measured steps; at a
measured batch it is the measured step. No I/O.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression, least_squares, nnls

Floats = NDArray[np.float64]

OVERLAPS = (1.0, 2.0, 4.0)
OVERLAP_PRIOR = (0.65, 0.25, 0.1)  # NCCL in TensorFlow and Horovod hides little of small exchanges
FOLDS = 5
# A coefficient's prior: its effect at REFERENCE, as a share of a typical step. The mean is what
# public series lose on average; the spread is as wide as what they differ by.
REFERENCE = {"m": 8.0, "n": 8.0, "K": 32.0}
PRIOR_SHARE = 0.02
STEP_SHARE = 0.2  # of a step at the largest measured batch that a batch of none would take
# Gradients of tens of MB over links of 1 to 10 GB/s take tens of ms, a hop 20 to 500 us: volume over
# bandwidth comes first, contention second, hops and a pair of nodes being special last.
SPREADS = np.array([1.0, 0.2, 1.0, 0.1, 0.3, 0.1, 0.1, 0.1])
LEAST_SPREAD = 0.05  # of contention, where a machine shows none: what hops alone would be
NOISE = 0.03  # relative error of one measured step before residuals say otherwise
NOISE_POINTS = 4.0  # how many residuals that guess is worth
Z95 = 1.6449  # the normal's 95 % quantile: a 90 % interval reaches so many sigma
LEAST_COMPUTE = 1e-3  # of a typical step: what is left of it without exchange, at least
TINY = 1e-12  # seconds; nothing is quicker
WANDER = 0.04  # a placement's own deviation from the law, before residuals say otherwise


@dataclass(frozen=True, slots=True)
class Points:
    """Configurations, one array element each: batch a device, devices, nodes, fullest node."""

    batch: Floats
    devices: Floats
    nodes: Floats
    fullest: Floats

    def __len__(self) -> int:
        return len(self.batch)

    def at(self, rows: NDArray[np.generic]) -> "Points":
        """The points of an index or mask."""
        return Points(self.batch[rows], self.devices[rows], self.nodes[rows], self.fullest[rows])

    def placements(self) -> NDArray[np.int64]:
        """A number for each point's placement, shape (points,); equal for equal placements."""
        rows = np.column_stack([self.devices, self.nodes, self.fullest])
        return np.unique(rows, axis=0, return_inverse=True)[1].ravel().astype(np.int64)

    def on(self, batch: Floats) -> "Points":
        return replace(self, batch=batch)


def points(rows: Sequence[tuple[float, float, float, float]]) -> Points:
    """Points of (batch, devices, nodes, devices on the fullest node)."""
    return Points(*np.array(rows, dtype=float).reshape(-1, 4).T)


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
class Law:
    """One member: coefficients in units of their priors' scale."""

    overlap: float
    knots: Floats
    scale: Floats
    coefficients: Floats
    spreads: Floats  # of the exchange terms' priors

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
        spreads = _spreads_with(contention)
        spread = np.ones(terms.shape[1])
        spread[own:] = spreads
        mean = np.zeros(terms.shape[1])
        mean[0], mean[1:own] = STEP_SHARE, 1 - STEP_SHARE
        mean[own:-2] = PRIOR_SHARE * SPREADS[:-2]
        pull = NOISE / spread
        pull[:own] *= 0.5  # the compute part speaks for itself unless devices were never alone
        weighted = terms / step_s[:, None]
        least = np.zeros(terms.shape[1])
        least[0] = LEAST_COMPUTE
        prior = np.diag(pull)
        rest = np.concatenate([np.ones(len(at)) - weighted @ least, pull * (mean - least)])
        start = least + nnls(np.vstack([weighted, prior]), rest)[0]
        if overlap == 1.0 or not exchange.any():
            return cls(overlap, knots, scale / typical, start, spreads)

        def residuals(c: Floats) -> Floats:
            g, s = weighted[:, :own] @ c[:own], weighted[:, own:] @ c[own:]
            total = _norm(g, s, overlap)
            return np.concatenate([total - 1, pull * (c - mean)])

        def slope(c: Floats) -> Floats:
            g, s = weighted[:, :own] @ c[:own], weighted[:, own:] @ c[own:]
            total = np.maximum(_norm(g, s, overlap), 1e-12)
            by_g = (g / total) ** (overlap - 1)
            by_s = (s / total) ** (overlap - 1)
            rows = np.hstack([weighted[:, :own] * by_g[:, None], weighted[:, own:] * by_s[:, None]])
            return np.vstack([rows, prior])

        found = least_squares(
            residuals, np.maximum(start, 2e-3), slope, bounds=(least, np.inf), max_nfev=50
        )
        return cls(overlap, knots, scale / typical, found.x, spreads)

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
        spread = np.ones(rows.shape[1])
        spread[-len(SPREADS) :] = self.spreads
        return rows.T @ rows / NOISE**2 + np.diag(1 / spread**2)


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


@dataclass(frozen=True, slots=True)
class Curve:
    """Steps measured at one placement: batches, steps as measured, and drawn towards the law.

    Both rise with the batch: where readings do not, their mean over the stretch stands.
    """

    batches: Floats
    measured_s: Floats
    smooth_s: Floats
    apart: Floats  # largest log distance of a reading from measured_s
    precision: Floats  # inverse covariance of the residuals, shape (batches, batches)

    def open(self, batch: Floats, wander: float) -> Floats:
        """What the readings leave open of the placement's deviation, as a variance."""
        known = _deviation(batch, self.batches, wander)
        return np.asarray(wander**2 - np.einsum("ij,jk,ik->i", known, self.precision, known))

    def at(self, batch: Floats, law_s: Floats, law_at_knots_s: Floats) -> Floats:
        """Steps at batches: between knots in the law's shape, beyond them in its proportion."""
        x, y, shape = self.batches, self.smooth_s, law_at_knots_s
        place = np.clip(np.searchsorted(x, batch, side="right") - 1, 0, max(len(x) - 2, 0))
        after = np.minimum(place + 1, len(x) - 1)
        rise = shape[after] - shape[place]
        linear = (batch - x[place]) / np.where(after > place, x[after] - x[place], 1.0)
        share = np.where(
            rise > 1e-9 * shape[place], (law_s - shape[place]) / np.where(rise > 0, rise, 1), linear
        )
        inside = y[place] + (y[after] - y[place]) * np.clip(share, 0, 1)
        value = np.where(
            batch < x[0],
            y[0] * law_s / shape[0],
            np.where(batch > x[-1], y[-1] * law_s / shape[-1], inside),
        )
        # Never outside what was measured on either side, and the measurement where there is one.
        low = np.concatenate([[0.0], self.measured_s])[np.searchsorted(x, batch, side="right")]
        high = np.concatenate([self.measured_s, [np.inf]])[np.searchsorted(x, batch, side="left")]
        return np.asarray(np.clip(value, low, high))


@dataclass(frozen=True, slots=True)
class Scaling:
    """A series' step-time model. Predictions are lognormal about step_s; see `sigma`.

    noise: of one measured step about its curve. wander: of a placement about the law.
    """

    laws: tuple[Law, ...]
    weights: Floats
    information: tuple[Floats, ...]
    curves: dict[tuple[float, float, float], Curve]
    noise: float
    wander: float

    @classmethod
    def fit(
        cls,
        at: Points,
        step_s: Floats,
        weights: Floats | None = None,
        contention: float | None = None,
    ) -> Self:
        """The model of measured steps; a configuration may be given several times.

        weights: of the members of OVERLAPS; by default from the errors on points left out.
        contention: see Law.fit.
        """
        laws = tuple(Law.fit(at, step_s, p, contention) for p in overlaps(at))
        if weights is None or len(weights) != len(laws):
            weights = _weights(at, step_s, len(laws))
        law_s = _combined(laws, weights, at)
        residual = np.log(step_s / law_s)
        placement = at.placements()
        noise, wander = _spreads(residual, placement, at.batch, laws[0].coefficients)
        curves = {}
        for number in range(placement.max() + 1):
            rows = np.flatnonzero(placement == number)
            here = at.at(rows)
            key = float(here.devices[0]), float(here.nodes[0]), float(here.fullest[0])
            curves[key] = _curve(
                here.batch, step_s[rows], residual[rows], law_s[rows], noise, wander
            )
        information = tuple(law.information(at) for law in laws)
        return cls(laws, weights, information, curves, noise, wander)

    def law_s(self, at: Points) -> Floats:
        """Step times of the combined law alone, seconds."""
        return _combined(self.laws, self.weights, at)

    def step_s(self, at: Points) -> Floats:
        """Predicted step times, seconds, shape (points,)."""
        value = self.law_s(at)
        one = self.curves.get((1.0, 1.0, 1.0))
        floor = np.zeros(len(at))
        if one is not None:
            alone = Points(at.batch, *(np.ones(len(at)) for _ in range(3)))
            floor = one.at(at.batch, self.law_s(alone), self._knots(one, (1.0, 1.0, 1.0)))
        keys = list(zip(at.devices, at.nodes, at.fullest, strict=True))
        seen = np.zeros(len(at), dtype=bool)
        for key in set(keys):
            curve = self.curves.get(key)
            if curve is not None:
                rows = np.array([each == key for each in keys])
                seen |= rows
                value[rows] = curve.at(at.batch[rows], value[rows], self._knots(curve, key))
        return np.where(seen, value, np.maximum(value, floor))

    def _knots(self, curve: Curve, key: tuple[float, float, float]) -> Floats:
        K, n, m = key
        return self.law_s(points([(b, K, n, m) for b in curve.batches]))

    def sigma(self, at: Points) -> Floats:
        """Log-standard-deviation of a measurement about step_s, shape (points,).

        What the coefficients leave open, what the members disagree on, how far placements wander
        from the law, and the noise of the measurement it will be compared with.
        """
        value = np.log(np.array([law.step_s(at) for law in self.laws]))
        mean = self.weights @ value
        apart = self.weights @ (value - mean) ** 2
        open_ = np.zeros(len(at))
        for weight, law, information in zip(self.weights, self.laws, self.information, strict=True):
            rows = law.gradient(at)
            solved = np.linalg.solve(information, rows.T).T
            open_ += weight * np.einsum("ij,ij->i", rows, solved)
        law = open_ * max(self.noise / NOISE, 1.0) ** 2 + apart
        wander = np.full(len(at), self.wander**2)
        for (K, n, m), each in self.curves.items():
            here = (at.devices == K) & (at.nodes == n) & (at.fullest == m)
            if here.any():
                wander[here] = each.open(at.batch[here], self.wander)
        law += wander
        sigma = np.sqrt(law + self.noise**2)
        keys = zip(at.batch, at.devices, at.nodes, at.fullest, strict=True)
        for i, (b, K, n, m) in enumerate(keys):
            curve = self.curves.get((K, n, m))
            if curve is not None and b in curve.batches:
                reading = curve.apart[np.searchsorted(curve.batches, b)]
                sigma[i] = max(min(sigma[i], math.sqrt(2) * self.noise), 1.01 * reading / Z95)
        return np.asarray(sigma)


def _combined(laws: tuple[Law, ...], weights: Floats, at: Points) -> Floats:
    return np.asarray(np.exp(weights @ np.log(np.array([law.step_s(at) for law in laws]))))


def overlaps(at: Points) -> tuple[float, ...]:
    """The overlaps that points can tell apart: one, where nothing is exchanged."""
    return OVERLAPS if exchange_terms(at).any() else OVERLAPS[:1]


def _weights(at: Points, step_s: Floats, members: int) -> Floats:
    """The members' weights: the prior over the mean squared error on placements left out, the
    larger half of the devices among them."""
    if members == 1:
        return np.ones(1)
    placement = at.placements()
    folds = placement % min(FOLDS, placement.max() + 1)
    masks = [folds == fold for fold in np.unique(folds)]
    masks.append(at.devices > at.devices.max() / 2)
    errors = np.zeros(members)
    count = 0
    for out in masks:
        if out.all() or placement.max() < 2:
            continue
        count += int(out.sum())
        for i, p in enumerate(OVERLAPS):
            law = Law.fit(at.at(~out), step_s[~out], p)
            errors[i] += np.sum(np.log(step_s[out] / law.step_s(at.at(out))) ** 2)
    weights = np.array(OVERLAP_PRIOR) / (errors / max(count, 1) + NOISE**2)
    return np.asarray(weights / weights.sum())


def _spreads(
    residual: Floats, placement: NDArray[np.int64], batch: Floats, coefficients: Floats
) -> tuple[float, float]:
    """Noise within and wander between placements, about what placements share at a batch."""
    count = np.bincount(placement)
    middle = np.bincount(placement, residual) / count
    inner = residual - middle[placement]
    each = np.unique(batch, return_inverse=True)[1].ravel()
    shared = np.bincount(each, inner) / np.bincount(each)
    inner = inner - shared[each]
    free = max(len(residual) - len(count) - len(shared), 0.0)
    noise2 = (np.sum(inner**2) + NOISE_POINTS * NOISE**2) / (free + NOISE_POINTS)
    active = int(np.sum(coefficients > 1e-6))
    apart = max(len(count) - 0.5 * active, 0.0)
    between = np.sum(np.maximum(middle**2 - noise2 / count, 0))
    wander2 = (between + NOISE_POINTS * WANDER**2) / (apart + NOISE_POINTS)
    return math.sqrt(noise2), math.sqrt(wander2)


def _curve(
    batch: Floats, step_s: Floats, residual: Floats, law_s: Floats, noise: float, wander: float
) -> Curve:
    """A placement's curve: residuals drawn to the law as noise and wander say (best linear)."""
    batches, which, count = np.unique(batch, return_inverse=True, return_counts=True)
    mean = np.bincount(which, residual) / count
    measured = np.exp(np.bincount(which, np.log(step_s)) / count)
    law = np.exp(np.bincount(which, np.log(law_s)) / count)
    cov = _deviation(batches, batches, wander)
    precision = np.asarray(np.linalg.inv(cov + np.diag(noise**2 / count)), dtype=float)
    smooth = cov @ precision @ mean
    rising = isotonic_regression(law * np.exp(smooth), weights=count.astype(float)).x
    monotone = isotonic_regression(measured, weights=count.astype(float)).x
    apart_s = np.zeros(len(batches))
    np.maximum.at(apart_s, which, np.abs(np.log(step_s / monotone[which])))
    return Curve(batches, monotone, rising, apart_s, precision)


def _deviation(one: Floats, other: Floats, wander: float) -> Floats:
    """Covariance of a placement's deviation from the law between batches, shape (one, other).

    Half of it is shared by all batches, half changes along them, by e in two octaves.
    """
    apart = np.abs(np.subtract.outer(np.log2(one), np.log2(other)))
    return np.asarray(wander**2 * (0.5 + 0.5 * np.exp(-apart / 2)))
