"""How far predictions of `scaling` miss, learned by leaving measurements out. No I/O.

A prediction's sigma times a factor for its kind: at a measured placement between its batches, at a
placement among those measured, or beyond them. The factor is what the 90 % quantile of left-out
errors over sigma asks for, over all series of a table, mixed with a cautious guess worth
PRIOR_FITS left-out fits.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from .scaling import Z95, Floats, Points, Scaling

PRIOR_FITS = 10.0
MOST_SERIES = 200  # left-out fits are made on at most so many series


class Kind(StrEnum):
    """What a prediction asks of its series."""

    MEASURED = "measured"
    BATCH = "batch"
    BATCH_BEYOND = "batch beyond"
    SCALE = "scale"
    SCALE_BEYOND = "scale beyond"


GUESS = {
    Kind.MEASURED: 1.2,
    Kind.BATCH: 1.2,
    Kind.BATCH_BEYOND: 2.0,
    Kind.SCALE: 1.2,
    Kind.SCALE_BEYOND: 1.5,
}


def kinds(fit: Scaling, at: Points) -> list[Kind]:
    """The kind of each point."""
    most = max(K for K, _, _ in fit.curves)
    batches = np.concatenate([curve.batches for curve in fit.curves.values()])
    low, high = batches.min(), batches.max()
    found = []
    for b, K, n, m in zip(at.batch, at.devices, at.nodes, at.fullest, strict=True):
        curve = fit.curves.get((K, n, m))
        if curve is not None and b in curve.batches:
            found.append(Kind.MEASURED)
        elif not low <= b <= high:
            found.append(Kind.BATCH_BEYOND)
        elif curve is not None:
            found.append(Kind.BATCH)
        else:
            found.append(Kind.SCALE if most >= K else Kind.SCALE_BEYOND)
    return found


@dataclass(frozen=True, slots=True)
class Spread:
    """The factor on sigma of each kind."""

    factor: Mapping[Kind, float]

    @classmethod
    def learned(cls, series: Iterable[tuple[Points, Floats]]) -> "Spread":
        """From left-out measurements of series of points and step times."""
        scores: dict[Kind, list[Floats]] = {kind: [] for kind in Kind}
        eligible = [(at, step_s) for at, step_s in series if len(at) > 2]
        stride = max(1, -(-len(eligible) // MOST_SERIES))
        for at, step_s in eligible[::stride]:
            for out in left_out(at):
                if out.all() or not out.any():
                    continue
                fit = Scaling.fit(at.at(~out), step_s[~out])
                asked = at.at(out)
                z = np.abs(np.log(step_s[out] / fit.step_s(asked))) / fit.sigma(asked)
                each = np.array(kinds(fit, asked))
                for kind in Kind:
                    if (each == kind).any():
                        scores[kind].append(z[each == kind])
        return cls({kind: _factor(scores[kind], GUESS[kind]) for kind in Kind})

    def sigma(self, fit: Scaling, at: Points) -> tuple[Floats, NDArray[np.bool_]]:
        """Log-standard-deviation of each point, and whether it was itself measured."""
        each = kinds(fit, at)
        # A measured point's sigma reaches its readings as it stands.
        factor = np.array(
            [
                max(self.factor[kind], 1.0) if kind is Kind.MEASURED else self.factor[kind]
                for kind in each
            ]
        )
        return fit.sigma(at) * factor, np.array([kind is Kind.MEASURED for kind in each])


def _factor(scores: list[Floats], guess: float) -> float:
    """From the scores of each fit; those of one fit err together and so count as one."""
    if not scores:
        return guess
    seen = float(np.quantile(np.concatenate(scores), 0.9)) / Z95
    weight = len(scores) / (len(scores) + PRIOR_FITS)
    return float(np.exp(weight * np.log(max(seen, 1e-3)) + (1 - weight) * np.log(guess)))


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
    most = at.devices.max()
    if count > 1 and most > 1:
        masks.append(at.devices > most / 2)
        if (at.devices <= most / 4).any():
            masks.append(at.devices > most / 4)
    return masks
