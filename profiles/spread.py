"""How far predictions of `scaling` miss, learned by leaving measurements out. No I/O.

    sigma^2 = (f sigma_fit)^2 + (c reach)^2

f and c belong to a prediction's kind: between measured batches, beyond them, at a placement among
those measured, or with more devices. reach says how far it is from what was measured: the product
of the octaves to the batches on either side (the error of a chord), the octaves beyond the last
batch, the doublings of devices and of nodes. Where left-out errors are larger than sigma_fit says, c
is what makes the 90 % interval hold 90 % of them; where smaller, f is. Over all series of a
table, mixed with a cautious guess worth PRIOR_FITS left-out fits.
"""

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from enum import IntEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from .law import Floats, Points
from .scaling import Z95, Scaling

HELD = 0.9
PRIOR_FITS = 6.0
MOST_SERIES = 120  # left-out fits are made on at most so many series


class Kind(IntEnum):
    """What a prediction asks of its series."""

    MEASURED = 0
    BATCH = 1
    BATCH_BEYOND = 2
    SCALE = 3
    SCALE_BEYOND = 4


# c before anything was left out, in log step time a unit of reach: Pollux's and PROFET's steps
# (2021) bend by 1 to 4 % over an octave to either side; public series lose 2 to 10 % a doubling.
GUESS = {
    Kind.MEASURED: 0.0,
    Kind.BATCH: 0.02,
    Kind.BATCH_BEYOND: 0.10,
    Kind.SCALE: 0.05,
    Kind.SCALE_BEYOND: 0.05,
}


@dataclass(frozen=True, slots=True)
class Factors:
    """f and c of one kind."""

    fit: float
    reach: float


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
    beyond = np.maximum(np.maximum(-below, -above), 0)
    cases: tuple[tuple[NDArray[np.bool_], Kind, Floats], ...] = (
        (fit.measured(at), Kind.MEASURED, np.zeros(len(at))),
        (outside, Kind.BATCH_BEYOND, np.hypot(beyond, doublings)),
        (fit.placed(at), Kind.BATCH, below * above),
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
        errors: dict[Kind, list[NDArray[np.float64]]] = {kind: [] for kind in Kind}
        eligible = [_packed(at, step_s) for at, step_s in series if len(at) > 2]
        # As good as random, and the same series from a table and from most of it.
        for packed in sorted(eligible, key=zlib.crc32)[:MOST_SERIES]:
            for kind, rows in _missed(packed):
                errors[kind].append(rows)
        return cls({kind: _factors(errors[kind], GUESS[kind]) for kind in Kind})

    def sigma(self, fit: Scaling, at: Points) -> tuple[Floats, NDArray[np.bool_]]:
        """Log-standard-deviation of each point, and whether it was itself measured."""
        kind, reach = kinds(fit, at)
        f = np.array([self.factors[each].fit for each in Kind])[kind]
        c = np.array([self.factors[each].reach for each in Kind])[kind]
        measured = kind == Kind.MEASURED
        # A measured point's sigma reaches its readings as it stands.
        return np.hypot(np.where(measured, 1.0, f) * fit.sigma(at), c * reach), measured


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


def _factors(fits: list[NDArray[np.float64]], guess: float) -> Factors:
    """From the errors, sigmas and reaches of each fit; those of one fit err together and so count
    as one against the guess."""
    if not fits:
        return Factors(1.0, guess)
    missed, sigma, reach = np.concatenate(fits).T
    weight = len(fits) / (len(fits) + PRIOR_FITS)

    def beyond(c: float) -> float:
        return float(np.quantile(missed / np.hypot(sigma, c * reach), HELD)) - Z95

    if beyond(0.0) <= 0 or not reach.any():
        seen = (beyond(0.0) + Z95) / Z95
        return Factors(float(max(seen, 1e-3) ** weight), (1 - weight) * guess)
    most = float(np.max(missed / np.maximum(reach, 1e-9)))
    c = brentq(beyond, 0.0, most + 1e-6) if beyond(most + 1e-6) < 0 else most
    return Factors(1.0, float(weight * c + (1 - weight) * guess))


def left_out(at: Points) -> list[NDArray[np.bool_]]:
    """Masks of what to leave out: each batch, a fold of placements, the largest half of devices."""
    masks = []
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
