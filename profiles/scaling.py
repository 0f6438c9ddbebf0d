"""A series' step-time model: the members of the law, weighed, and what placements deviate by.

    log T(x) = sum_p w_p log T_p(x) + d(x)

T_p a member of the `law` with overlap p, w_p by the error it makes on placements it has not seen, d
the `deviation` that neighbouring placements, the same placement and the same run share. At each
placement the curve over batch is drawn through law and deviation at the measured batches, made to
rise, and keeps the law's shape between them. No I/O.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from .deviation import Deviation
from .law import NOISE, Floats, Law, Points, exchange_terms

OVERLAPS = (1.0, 1.5, 2.0, 3.0)
OVERLAP_PRIOR = (0.55, 0.15, 0.2, 0.1)  # NCCL in TensorFlow and Horovod hides little of it
FOLDS = 5
MOST_KNOTS = 40  # batches of a curve
Z95 = 1.6449  # the normal's 95 % quantile: a 90 % interval reaches so many sigma

Setting = tuple[float, ...]  # devices, nodes, fullest node and layout; and the batch


@dataclass(frozen=True, slots=True)
class Scaling:
    """The model of one series. Predictions are lognormal about step_s; see `sigma`."""

    laws: tuple[Law, ...]
    weights: Floats
    information: tuple[Floats, ...]
    deviation: Deviation
    knots: Floats
    apart: Mapping[Setting, float]  # log distance of the readings of a setting from step_s

    @classmethod
    def fit(
        cls,
        at: Points,
        step_s: Floats,
        like: "Scaling | None" = None,
        contention: float | None = None,
    ) -> Self:
        """The model of measured steps; a configuration may be given several times.

        like: a model of the same series, whose members' weights and deviation's amplitudes serve.
        contention: see Law.fit.
        """
        laws = tuple(Law.fit(at, step_s, p, contention) for p in overlaps(at))
        weights = like.weights if like is not None else np.empty(0)
        if len(weights) != len(laws):
            weights = _weights(at, step_s, len(laws))
        residual = np.log(step_s / _combined(laws, weights, at))
        amplitudes = like.deviation.amplitudes if like is not None else None
        deviation = Deviation.fit(at, residual, amplitudes)
        information = tuple(law.information(at) for law in laws)
        batches = np.unique(at.batch)
        some = np.unique(np.linspace(0, len(batches) - 1, MOST_KNOTS).round().astype(int))
        knots = batches[some] if len(batches) > MOST_KNOTS else batches
        fit = cls(laws, weights, information, deviation, knots, {})
        apart: dict[Setting, float] = {}
        missed = np.abs(np.log(step_s / fit.step_s(at)))
        for place, batch, log in zip(at.places(), at.batch, missed, strict=True):
            for mark in {(*place, batch), (*place[:3], 0.0, batch)}:
                apart[mark] = max(apart.get(mark, 0.0), float(log))
        return cls(laws, weights, information, deviation, knots, apart)

    def law_s(self, at: Points) -> Floats:
        """Step times of the combined law alone, seconds."""
        return _combined(self.laws, self.weights, at)

    def step_s(self, at: Points) -> Floats:
        """Predicted step times, seconds, shape (points,)."""
        value = self._curve_s(at)
        placed = self.placed(at)
        if placed.all():
            return value
        return np.where(placed, value, np.maximum(value, self._curve_s(at.alone())))

    def _curve_s(self, at: Points) -> Floats:
        """Steps at batches: between knots in the law's shape, beyond them in its proportion."""
        x = self.knots
        each, place = np.unique(np.array(at.places()), axis=0, return_inverse=True)
        place = place.ravel()
        grid = Points(np.tile(x, len(each)), *np.repeat(each, len(x), axis=0).T)
        law_s = self.law_s(grid)
        drawn = (law_s * np.exp(self.deviation.mean(grid))).reshape(len(each), len(x))
        shape = law_s.reshape(len(each), len(x))
        y = np.array([isotonic_regression(row).x for row in drawn])
        law_here = self.law_s(at)
        after = np.clip(np.searchsorted(x, at.batch, side="right"), 1, max(len(x) - 1, 1))
        low, high = after - 1, np.minimum(after, len(x) - 1)
        span, rise = x[high] - x[low], shape[place, high] - shape[place, low]
        linear = (at.batch - x[low]) / np.where(span > 0, span, 1.0)
        bent = (law_here - shape[place, low]) / np.where(rise > 0, rise, 1.0)
        share = np.where(rise > 1e-9 * shape[place, low], bent, linear)
        inside = y[place, low] + (y[place, high] - y[place, low]) * np.clip(share, 0, 1)
        below = y[place, 0] * law_here / shape[place, 0]
        above = y[place, -1] * law_here / shape[place, -1]
        return np.asarray(
            np.where(at.batch < x[0], below, np.where(at.batch > x[-1], above, inside))
        )

    def placed(self, at: Points) -> NDArray[np.bool_]:
        """Whether each point's devices, nodes and fullest node were measured, at any batch."""
        seen = {place[:3] for place in self.deviation.at.places()}
        return np.array([place[:3] in seen for place in at.places()], dtype=bool)

    def measured(self, at: Points) -> NDArray[np.bool_]:
        """Whether each point was itself measured; where it names no layout, in any."""
        marks = zip(at.places(), at.batch, strict=True)
        return np.array([(*place, batch) in self.apart for place, batch in marks], dtype=bool)

    def sigma(self, at: Points) -> Floats:
        """Log-standard-deviation of a measurement about step_s, shape (points,).

        What the coefficients leave open, what the members disagree on, what placements deviate by,
        and the noise of the measurement it will be compared with.
        """
        value = np.log(np.array([law.step_s(at) for law in self.laws]))
        mean = self.weights @ value
        apart = self.weights @ (value - mean) ** 2
        open_ = np.zeros(len(at))
        for weight, law, information in zip(self.weights, self.laws, self.information, strict=True):
            rows = law.gradient(at)
            solved = np.linalg.solve(information, rows.T).T
            open_ += weight * np.einsum("ij,ij->i", rows, solved)
        noise = self.deviation.noise
        law = open_ * max(noise / NOISE, 1.0) ** 2 + apart
        sigma = np.sqrt(law + self.deviation.variance(at) + noise**2)
        for i, (place, batch) in enumerate(zip(at.places(), at.batch, strict=True)):
            reading = self.apart.get((*place, batch))
            if reading is not None:
                sigma[i] = max(min(sigma[i], math.sqrt(2) * noise), 1.01 * reading / Z95)
        return np.asarray(sigma)


def _combined(laws: tuple[Law, ...], weights: Floats, at: Points) -> Floats:
    return np.asarray(np.exp(weights @ np.log(np.array([law.step_s(at) for law in laws]))))


def overlaps(at: Points) -> tuple[float, ...]:
    """The overlaps that points can tell apart: one, where nothing is exchanged."""
    return OVERLAPS if exchange_terms(at).any() else OVERLAPS[:1]


def _weights(at: Points, step_s: Floats, members: int) -> Floats:
    """The members' weights: the prior times the likelihood of placements left out, the larger half
    of the devices among them, each placement counted once (its readings err together)."""
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
    likely = -0.5 * (placement.max() + 1) * np.log(errors / max(count, 1) + NOISE**2)
    weights = np.array(OVERLAP_PRIOR) * np.exp(likely - likely.max())
    return np.asarray(weights / weights.sum())
