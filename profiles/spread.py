"""How far predictions of `scaling` miss, learned by leaving measurements out. No I/O.

    sigma^2 = (f sigma_fit)^2 + (c reach)^2

f and c belong to a prediction's kind: between measured batches, beyond them, at a placement among
those measured, with more devices of one node, or with more of several. reach says how far it is
from what was measured: the product of the octaves to the batches on either side (the error of a
chord), the octaves beyond the last batch, what a ring of more devices on a node exchanges beyond
one of those seen, the doublings of devices and of nodes. f and c are such that 1.64 sigma holds
90 % of left-out errors, over all series of a table, mixed with what other sources say
(`benchmarks/spreads.py`), worth PRIOR_FITS left-out fits.
"""

import math
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from enum import IntEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize

from .law import Floats, Points
from .scaling import Z95, Scaling

HELD = 0.9
PRIOR_FITS = 6.0
LEAST_FIT = 0.25  # a series' own doubt always counts,
LEAST_NARROWED = 0.8  # the more where nothing else does
LEAST = 1e-3  # of c
MOST_SERIES = 120  # left-out fits are made on at most so many series


class Kind(IntEnum):
    """What a prediction asks of its series."""

    MEASURED = 0
    BATCH = 1
    BATCH_BEYOND = 2
    SCALE = 3
    NODE_BEYOND = 4
    SCALE_BEYOND = 5


@dataclass(frozen=True, slots=True)
class Factors:
    """f and c of one kind."""

    fit: float
    reach: float


# What `benchmarks/spreads.py` finds: over batches in Gavel's, NVIDIA's, Zeus's and others' rows, over
# devices in those of NVIDIA's DeepLearningExamples and DLPerf's other frameworks, which exchange by
# NCCL as TensorFlow does. None of these is judged by the benchmark's tasks of such predictions.
GUESS = {
    Kind.MEASURED: Factors(1.0, 0.0),
    Kind.BATCH: Factors(1.0, 0.042),
    Kind.BATCH_BEYOND: Factors(1.0, 0.049),
    Kind.SCALE: Factors(0.71, 0.0),
    Kind.NODE_BEYOND: Factors(0.26, 0.399),
    Kind.SCALE_BEYOND: Factors(1.0, 0.0),  # 0.47 there: others' networks are no DGX's
}


def kinds(fit: Scaling, at: Points) -> tuple[NDArray[np.int64], Floats]:
    """Kind and reach of each point, shape (points,)."""
    known = fit.deviation.at
    batches = np.unique(known.batch)
    after = np.searchsorted(batches, at.batch)
    low = batches[np.maximum(after - 1, 0)]
    high = batches[np.minimum(after, len(batches) - 1)]
    below, above = np.log2(at.batch / low), np.log2(high / at.batch)
    outside = (at.batch < batches[0]) | (at.batch > batches[-1])
    doublings = np.log2(np.maximum(at.devices / known.devices.max(), 1))
    doublings = doublings + np.log2(np.maximum(at.nodes / known.nodes.max(), 1))
    ring = np.maximum(1 / known.fullest[known.nodes == 1].max(initial=1) - 1 / at.fullest, 0)
    beyond = np.maximum(np.maximum(-below, -above), 0)
    cases: tuple[tuple[NDArray[np.bool_], Kind, Floats], ...] = (
        (fit.measured(at), Kind.MEASURED, np.zeros(len(at))),
        (outside, Kind.BATCH_BEYOND, np.hypot(beyond, doublings)),
        (fit.placed(at), Kind.BATCH, below * above),
        ((doublings > 0) & (at.nodes == 1), Kind.NODE_BEYOND, ring),
        (doublings > 0, Kind.SCALE_BEYOND, doublings),
    )
    where = [case for case, _, _ in cases]
    kind = np.select(where, [each for _, each, _ in cases], Kind.SCALE).astype(np.int64)
    reach = np.select(where, [far for _, _, far in cases], 1.0)
    return kind, reach


@dataclass(frozen=True, slots=True)
class Spread:
    """The factors of each kind."""

    factors: Mapping[Kind, Factors]

    @classmethod
    def learned(cls, series: Iterable[tuple[Points, Floats]]) -> "Spread":
        """From left-out measurements of series of points and step times."""
        errors = left_out_errors(series)
        return cls({kind: _mixed(kind, errors[kind], GUESS[kind]) for kind in Kind})

    @classmethod
    def assumed(cls) -> "Spread":
        """What holds before anything was left out."""
        return cls(GUESS)

    def sigma(self, fit: Scaling, at: Points) -> tuple[Floats, NDArray[np.bool_]]:
        """Log-standard-deviation of each point, and whether it was itself measured."""
        kind, reach = kinds(fit, at)
        f = np.array([self.factors[each].fit for each in Kind])[kind]
        c = np.array([self.factors[each].reach for each in Kind])[kind]
        measured = kind == Kind.MEASURED
        # A measured point's sigma reaches its readings as it stands: repeats can only widen it.
        f = np.where(measured, np.maximum(f, 1.0), f)
        return np.hypot(f * fit.sigma(at), c * reach), measured


def left_out_errors(series: Iterable[tuple[Points, Floats]]) -> dict[Kind, list[Floats]]:
    """Of each kind, errors, sigmas and reaches of each left-out fit, shape (points, 3)."""
    errors: dict[Kind, list[Floats]] = {kind: [] for kind in Kind}
    eligible = [_packed(at, step_s) for at, step_s in series if len(at) > 2]
    # As good as random, and the same series from a table and from most of it.
    for packed in sorted(eligible, key=zlib.crc32)[:MOST_SERIES]:
        for kind, rows in _missed(packed):
            errors[kind].append(rows)
    return errors


def _packed(at: Points, step_s: Floats) -> bytes:
    return np.vstack([*astuple(at), step_s]).tobytes()


@lru_cache(maxsize=4096)
def _missed(packed: bytes) -> tuple[tuple[Kind, Floats], ...]:
    """Of each left-out fit and kind: errors, sigmas and reaches, shape (points, 3).

    Remembered by series, as one process may predict from many parts of one table.
    """
    *where, step_s = np.frombuffer(packed).reshape(6, -1)
    at = Points(*where)
    whole = Scaling.fit(at, step_s)
    found = []
    for out in left_out(at):
        if out.all() or not out.any():
            continue
        fit = Scaling.fit(at.at(~out), step_s[~out], whole)
        asked = at.at(out)
        kind, reach = kinds(fit, asked)
        missed = np.abs(np.log(step_s[out] / fit.step_s(asked)))
        rows = np.column_stack([missed, fit.sigma(asked), reach])
        found += [(each, rows[kind == each]) for each in Kind if (kind == each).any()]
    return tuple(found)


def factors(kind: Kind, errors: Floats, share: Floats) -> Factors:
    """By which 1.64 sigma holds HELD of errors, rows of error, sigma and reach; share: what each
    counts for.

    Errors with more devices of a node are in proportion to their reach, what a ring exchanges beyond
    what was seen: f and c are those nearest to the HELD quantile by Koenker's loss. Elsewhere reach
    is a rough measure: c widens where errors are larger than sigma, else f narrows.
    """
    share = share / share.sum()
    missed, sigma, reach = errors.T

    def held(f: float, c: float) -> float:
        ratio = missed / (Z95 * np.hypot(f * sigma, c * reach))
        return float(np.quantile(ratio, HELD, weights=share, method="inverted_cdf"))

    if kind is Kind.NODE_BEYOND:
        f, c = _nearest(missed, sigma, reach, share)
        right = held(f, c)
        return Factors(max(right * f, LEAST_FIT), right * c)
    if held(1.0, 0.0) <= 1 or not reach.any():
        return Factors(max(held(1.0, 0.0), LEAST_NARROWED), 0.0)
    most = float(np.max(missed / np.maximum(reach, 1e-9))) + LEAST
    if held(1.0, most) > 1:
        return Factors(1.0, most)
    return Factors(1.0, float(brentq(lambda c: held(1.0, c) - 1, 0.0, most)))


def _nearest(missed: Floats, sigma: Floats, reach: Floats, share: Floats) -> tuple[float, float]:
    """f and c with the least loss of 1.64 sigma as the HELD quantile of errors."""

    def loss(logs: Floats) -> float:
        over = missed - Z95 * np.hypot(_fit(logs[0]) * sigma, np.exp(logs[1]) * reach)
        return float(share @ np.maximum(HELD * over, (HELD - 1) * over))

    typical = float(np.median(missed)) + LEAST
    starts = [np.log([1.0, LEAST]), np.log([0.3, typical])]
    found = [minimize(loss, start, method="Nelder-Mead") for start in starts]
    best = min(found, key=lambda one: one.fun).x
    return _fit(best[0]), float(np.exp(best[1]))


def _fit(log: float) -> float:
    return LEAST_FIT + math.exp(log)


def _mixed(kind: Kind, fits: list[Floats], guess: Factors) -> Factors:
    """What the left-out fits say and the guess; errors of one fit go together, and so count as one
    against the guess."""
    if not fits:
        return guess
    errors = np.concatenate(fits)
    seen = factors(kind, errors, np.ones(len(errors)))
    weight = len(fits) / (len(fits) + PRIOR_FITS)
    return Factors(
        seen.fit**weight * guess.fit ** (1 - weight),
        weight * seen.reach + (1 - weight) * guess.reach,
    )


def left_out(at: Points) -> list[NDArray[np.bool_]]:
    """Masks of what to leave out: repeats, each batch, a fold of placements, the largest half of devices."""
    masks = []
    rows = np.column_stack([at.batch, at.devices, at.nodes, at.fullest, at.layout])
    first, place = np.unique(rows, axis=0, return_index=True, return_inverse=True)[1:]
    repeated = np.bincount(place.ravel())[place.ravel()] > 1
    if repeated.any():
        one = np.zeros(len(at), dtype=bool)
        one[first] = True
        masks += [repeated & one, repeated & ~one]
    batches = np.unique(at.batch)
    if len(batches) > 2:
        masks += [at.batch == batch for batch in batches[:: max(1, len(batches) // 6)]]
    placement = at.placements()
    count = int(placement.max()) + 1
    if count > 2:
        folds = min(count, 5)
        masks += [placement % folds == fold for fold in range(folds)]
    # What is left must still tell how exchange grows: a law without any would be another task.
    most = at.devices.max()
    for share in (2, 4):
        near = at.devices <= most / share
        if len(np.unique(at.devices[near])) > 1:
            masks.append(~near)
    return masks
