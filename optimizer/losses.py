"""The three losses on one scale, and their weighted sum L."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..profiles.workload import Weights
from .pareto import front

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LossColumns:
    """P^ = (P - ideal) / (nadir - ideal) and C^ likewise, F as it is, and L = aP^ + bC^ + cF.

    P is the p90 wall time to target, C the mean cost, F the flexibility score; all lower is
    better. front: the Pareto set of (P, C, F) over all candidates, before any constraint.
    """

    performance: Floats
    cost: Floats
    flexibility: Floats
    total: Floats
    front: NDArray[np.intp]


def losses(
    time_p90_s: Floats,
    cost_usd: Floats,
    flexibility: Floats,
    weights: Weights,
    unrestricted: Floats | None = None,
) -> LossColumns:
    """Normalise over the Pareto set and weigh; a quantity that the set holds constant counts 0.

    unrestricted: F with every answer allowed, which settles the Pareto set, so that no constraint
    moves the scale; flexibility itself by default.
    """
    w = weights.normalised()
    scale_of = flexibility if unrestricted is None else unrestricted
    points = np.column_stack([time_p90_s, cost_usd, scale_of])
    efficient = front(points)
    performance, cost = (_between(points[:, i], points[efficient, i]) for i in (0, 1))
    total = w.alpha * performance + w.beta * cost + w.gamma * flexibility
    return LossColumns(performance, cost, flexibility, total, efficient)


def _between(values: Floats, efficient: Floats) -> Floats:
    ideal, nadir = float(efficient.min()), float(efficient.max())
    if nadir <= ideal:
        return np.zeros_like(values)
    return (values - ideal) / (nadir - ideal)
