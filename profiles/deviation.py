"""What placements deviate by from the law of a series: a Gaussian process over log step time.

    r = log(step / law) = d + e,     d ~ N(0, C),  e ~ noise t(FREEDOM)

    C = sum over (near, same, own) of w (a^2 + c^2 exp(-octaves between the batches / 2))

near = exp(-distance^2 / 2) in octaves of devices, nodes and the fullest node; same = the same three
counts; own = the same devices on each node in the same order, that is, the same run of a placement.
The six amplitudes and the noise are the most likely ones of the series, given a guess, were e normal:
readings far off make every interval wider. But they hardly move d, for each has noise of its own, that
of Student's t about the expected d (iteratively reweighted least squares; Lange, Little and Taylor
1989). Then d at any configuration and what is left open of it are the conditional normal's. No I/O.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from .law import Floats, Points
from .likely import Readings, likeliest

BATCH_OCTAVES = 2.0
FEWEST = 8  # readings below which the guess stands, and e is normal
FREEDOM = 3.0  # the fewest whole ones with a variance
LOOKS = 6
SETTLED = 0.05  # the largest relative change of a reading's noise that needs no further look
MOST_LEARNED = 450  # readings that amplitudes are learned from
GUESS_SPREAD = 1.0  # of the logarithm of each amplitude
# Amplitudes of near, same and own, for all batches and along them, then the noise: together the
# 4 % by which placements deviate from a law, and the 2 % between runs of one configuration.
GUESS = np.array([0.016] * 5 + [0.03, 0.02])


@dataclass(frozen=True, slots=True)
class Deviation:
    """The process conditioned on the residuals of measured points."""

    at: Points
    amplitudes: Floats
    factor: tuple[Floats, bool]
    solved: Floats

    @classmethod
    def fit(cls, at: Points, residual: Floats, amplitudes: Floats | None = None) -> Self:
        """From log(step / law) of measured points; amplitudes are learned unless given."""
        if amplitudes is None:
            amplitudes = _learned(at, residual)
        covariance = _weigh(_kernels(at, at), amplitudes)
        typical = noise = np.full(len(at), amplitudes[-1] ** 2)
        for _ in range(LOOKS if len(at) >= FEWEST else 1):
            factor = cho_factor(covariance + np.diag(noise))
            solved = cho_solve(factor, residual)
            missed = noise * solved
            before, noise = noise, (FREEDOM * typical + missed**2) / (FREEDOM + 1)
            if np.abs(noise / before - 1).max() < SETTLED:
                break
        return cls(at, amplitudes, factor, solved)

    @property
    def noise(self) -> float:
        """Log-standard-deviation of one measured step about its own placement's curve."""
        return float(self.amplitudes[-1])

    def mean(self, at: Points) -> Floats:
        """The expected d of each point."""
        return np.asarray(_weigh(_kernels(at, self.at), self.amplitudes) @ self.solved)

    def variance(self, at: Points) -> Floats:
        """What the readings leave open of d, of each point."""
        known = _weigh(_kernels(at, self.at), self.amplitudes)
        told = np.einsum("ij,ji->i", known, cho_solve(self.factor, known.T))
        return np.asarray(np.maximum(np.sum(self.amplitudes[:-1] ** 2) - told, 0.0))


def _kernels(one: Points, other: Points) -> list[Floats]:
    """The matrices that the squares of the amplitudes weigh, shape (one, other) each."""

    def apart(a: Floats, b: Floats) -> Floats:
        return np.asarray(np.subtract.outer(np.log2(a), np.log2(b)))

    distance2 = np.asarray(
        apart(one.devices, other.devices) ** 2
        + apart(one.nodes, other.nodes) ** 2
        + apart(one.fullest, other.fullest) ** 2
    )
    along = np.exp(-np.abs(apart(one.batch, other.batch)) / BATCH_OCTAVES)
    same = (distance2 < 1e-12).astype(float)
    own = same * np.equal.outer(one.layout, other.layout)
    return [
        matrix for share in (np.exp(-distance2 / 2), same, own) for matrix in (share, share * along)
    ]


def _weigh(kernels: list[Floats], amplitudes: Floats) -> Floats:
    total = np.zeros_like(kernels[0])
    for amplitude, matrix in zip(amplitudes, kernels, strict=False):
        total += amplitude**2 * matrix
    return total


def _learned(at: Points, residual: Floats) -> Floats:
    """The most likely amplitudes and noise, with the guess as a prior of their logarithms."""
    if len(at) < FEWEST:
        return GUESS
    placement = at.placements()
    # Whole placements, evenly chosen: deviations along the batch need their neighbours.
    stride = -(-len(at) // MOST_LEARNED)
    used = np.flatnonzero(placement % stride == 0)
    at, residual = at.at(used), residual[used]
    return likeliest(
        [Readings(residual, [*_kernels(at, at), np.eye(len(at))])], GUESS, GUESS_SPREAD
    )
