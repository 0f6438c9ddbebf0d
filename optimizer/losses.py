"""The three losses on one scale, and L: their weighted sum, or the augmented Chebyshev distance."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..profiles.workload import Weights
from .pareto import front

Floats = NDArray[np.float64]
Objective = Literal["weighted", "chebyshev"]

AUGMENTATION = 1e-3  # rho: of points equally far, the one with the least sum; Steuer and Choo 1983


@dataclass(frozen=True, slots=True)
class LossColumns:
    """P^ = (P - ideal) / (nadir - ideal) and C^ likewise, F as it is, and L of either objective:

        weighted    L = a P^ + b C^ + c F
        chebyshev   L = max(a P^, b C^, c F) + rho (P^ + C^ + F)

    P is the p90 wall time to target, C the mean cost, F the flexibility score; all lower is
    better. front: the Pareto set of (P, C, F) over all candidates, before any constraint or
    filter. Where all of the set have the same P (C), as where one candidate is best in everything,
    the nadir is twice the ideal: then P^ (C^) is the share by which it is exceeded; of an ideal of
    0 it is the value itself, in seconds (USD). ranges: nadir - ideal of P in seconds, of C in USD.
    """

    performance: Floats
    cost: Floats
    flexibility: Floats
    total: Floats
    front: NDArray[np.intp]
    ranges: tuple[float, float]
    objective: Objective

    def with_flexibility(self, flexibility: Floats, weights: Weights) -> "LossColumns":
        """The same scale with other flexibility scores."""
        total = weigh(self.performance, self.cost, flexibility, weights, self.objective)
        return replace(self, flexibility=flexibility, total=total)


def losses(
    time_p90_s: Floats,
    cost_usd: Floats,
    flexibility: Floats,
    weights: Weights,
    objective: Objective = "weighted",
) -> LossColumns:
    """Normalise over the Pareto set and weigh."""
    efficient = front(np.column_stack([time_p90_s, cost_usd, flexibility]))
    performance, time_range = _between(time_p90_s, time_p90_s[efficient])
    cost, cost_range = _between(cost_usd, cost_usd[efficient])
    total = weigh(performance, cost, flexibility, weights, objective)
    return LossColumns(
        performance, cost, flexibility, total, efficient, (time_range, cost_range), objective
    )


def weigh(
    performance: Floats, cost: Floats, flexibility: Floats, weights: Weights, objective: Objective
) -> Floats:
    """L of normalised losses."""
    w = weights.normalised()
    if objective == "weighted":
        return w.alpha * performance + w.beta * cost + w.gamma * flexibility
    farthest = np.maximum(np.maximum(w.alpha * performance, w.beta * cost), w.gamma * flexibility)
    return farthest + AUGMENTATION * (performance + cost + flexibility)


def _between(values: Floats, efficient: Floats) -> tuple[Floats, float]:
    ideal, nadir = float(efficient.min()), float(efficient.max())
    span = nadir - ideal if nadir > ideal else ideal if ideal > 0 else 1.0
    return (values - ideal) / span, span
