"""Plans between time, cost and flexibility when each of them takes a solve: found where least is known.

A plan's losses are p = (P^, C^, F); L(w) = w p. U(w) = min over the plans found so far of w p is linear
within each polygon of their `weight_map`, and the true least L is concave in w. So

    most of U - L over all weights  =  most of it over the corners of those polygons

and the next solve is at the corner where it may be largest: U there less the best lower bound, which is
the concave hull of the bounds proven so far. What is left at the end is proven for all weights.
Only weights of at least LEAST_WEIGHT each are looked at: a weight of nothing says nothing of ties.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from ..profiles.workload import Weights
from .pareto import front
from .weightmap import weight_map

Floats = NDArray[np.float64]
T = TypeVar("T")

LEAST_WEIGHT = 0.01
CORNERS = np.eye(3) * (1 - 3 * LEAST_WEIGHT) + LEAST_WEIGHT  # rows: the triangle of weights
SAME = 1e-9  # of a weight


@dataclass(frozen=True, slots=True)
class Solved(Generic[T]):
    """A plan, its losses (P^, C^, F), and at weights: no plan has a smaller L than bound."""

    weights: Weights
    losses: tuple[float, float, float]
    bound: float
    plan: T


@dataclass(frozen=True, slots=True)
class Refined(Generic[T]):
    """The plans that no other beats; one of them is within so much of the least L at all weights."""

    points: tuple[Solved[T], ...]
    within: float
    solves: int


def refined(solve: Callable[[Weights], Solved[T]], *, most: int, near: float) -> Refined[T]:
    """At most so many solves, at least three, until one of the plans is near at all weights."""
    asked = np.eye(3)  # as shares of CORNERS
    found = [_at(solve, share) for share in asked]
    while True:
        points = np.array([one.losses for one in found]) @ CORNERS.T
        cells = weight_map(points)
        corners = np.unique(
            np.round([corner for cell in cells for corner in cell.corners], 12), axis=0
        )
        least = _least(asked, np.array([one.bound for one in found]), corners)
        open_ = (corners @ points.T).min(axis=1) - least
        within = max(0.0, float(open_.max()))
        new = np.abs(corners[:, None, :] - asked[None, :, :]).max(axis=2).min(axis=1) > SAME
        if within <= near or len(found) >= most or not new.any():
            break
        share = corners[np.flatnonzero(new)[np.argmax(open_[new])]]
        asked = np.vstack([asked, share])
        found.append(_at(solve, share))
    kept = front(np.array([one.losses for one in found]))
    return Refined(tuple(found[k] for k in kept.tolist()), within, len(found))


def _at(solve: Callable[[Weights], Solved[T]], share: Floats) -> Solved[T]:
    alpha, beta, gamma = (share @ CORNERS).tolist()
    return solve(Weights(alpha=alpha, beta=beta, gamma=gamma))


def _least(asked: Floats, bounds: Floats, corners: Floats) -> Floats:
    """A lower bound of the least L at each corner: the best mixture of proven ones (Jensen)."""
    mixed = [
        optimize.linprog(-bounds, A_eq=asked.T, b_eq=corner, method="highs").x
        for corner in corners / corners.sum(axis=1, keepdims=True)
    ]
    return np.array(mixed) @ bounds
