"""Which plan wins where in the (alpha, beta, gamma) simplex: the lower envelope of linear functions.

L[k](w) = alpha P^[k] + beta C^[k] + gamma F[k] is linear in the weights, so each plan wins in a
convex polygon, possibly empty: where w (p[k] - p[i]) <= 0 for every other i.

The polygons are found exactly from few plans: those that win at the corners to begin with. Where
every corner of every polygon is won by its own plan even among all plans, the polygons are those
of all: the true least L is concave, the few plans' L is linear within a polygon and equal to it at
the corners, hence nowhere above it, and it is nowhere below either. Otherwise the plan that wins
at a corner joins the few.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Corner = tuple[float, float, float]

SIMPLEX = np.eye(3)
EPSILON = 1e-12  # of L: plans this near win together
SMALLEST = 1e-12  # share of the simplex that a polygon must have to be one


@dataclass(frozen=True, slots=True)
class Cell:
    """The polygon in which one plan wins: its row, its corners in order, its share of the area."""

    winner: int
    corners: tuple[Corner, ...]
    share: float


def weight_map(points: Floats) -> list[Cell]:
    """The cells of plans with these losses (N x 3: P^, C^, F), the largest first.

    They cover the simplex and meet only in edges. Of plans with equal losses the first wins.
    """
    few: list[int] = []
    queue = SIMPLEX
    while True:
        value = queue @ points.T
        new = set()
        for row in value:
            best = float(row.min())
            if not few or float(row[few].min()) > best + EPSILON:
                new.add(int(np.argmin(row)))
        if not new:
            break
        few = sorted({*few, *new})
        polygons = [_polygon(points, few, one) for one in few]
        queue = np.concatenate([p for p in polygons if len(p)])
    cells = [
        Cell(one, tuple((float(a), float(b), float(c)) for a, b, c in corners), share)
        for one, corners in zip(few, polygons, strict=True)
        if (share := _share(corners)) > SMALLEST
    ]
    return sorted(cells, key=lambda cell: -cell.share)


def _polygon(points: Floats, few: list[int], one: int) -> Floats:
    """Corners, in order, of where one of few has the least L; none where nowhere."""
    corners = SIMPLEX
    for other in few:
        if other != one:
            corners = _clipped(corners, points[one] - points[other])
    return corners


def _clipped(corners: Floats, normal: Floats) -> Floats:
    """The part of a convex polygon in which w . normal <= 0 (Sutherland and Hodgman)."""
    if not len(corners):
        return corners
    side = corners @ normal
    kept = []
    for i in range(len(corners)):
        j = (i + 1) % len(corners)
        if side[i] <= 0:
            kept.append(corners[i])
        if (side[i] < 0 < side[j]) or (side[j] < 0 < side[i]):
            t = side[i] / (side[i] - side[j])
            kept.append(corners[i] + t * (corners[j] - corners[i]))
    return np.array(kept).reshape(-1, 3)


def _share(corners: Floats) -> float:
    """Area over the simplex's, by the shoelace formula in (alpha, beta)."""
    if len(corners) < 3:
        return 0.0
    x, y = corners[:, 0], corners[:, 1]
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)))
