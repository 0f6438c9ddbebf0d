"""The exact set of points that no other point is at least as good as in everything."""

from bisect import bisect_right

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def front(points: Floats) -> NDArray[np.intp]:
    """Indices of the non-dominated rows of points (N x 3, lower is better), in ascending order.

    A row is dominated where another is nowhere larger and somewhere smaller; of equal rows the
    first is kept. Sorted by the first column, the others are a staircase: a row is dominated if
    and only if an earlier one is at most as large in both. O(N log N) but for the staircase's
    insertions; a few strong points first remove most rows at once.
    """
    if len(points) == 0:
        return np.zeros(0, np.intp)
    kept = _survivors_of_strong_points(points)
    rows = points[kept]
    order = np.lexsort((kept, rows[:, 2], rows[:, 1], rows[:, 0]))
    ys: list[float] = []  # ascending, with descending zs: the staircase so far
    zs: list[float] = []
    found = []
    for i in order.tolist():
        y, z = float(rows[i, 1]), float(rows[i, 2])
        place = bisect_right(ys, y)
        if place and zs[place - 1] <= z:
            continue
        found.append(i)
        end = place
        while end < len(zs) and zs[end] >= z:
            end += 1
        start = place - 1 if place and ys[place - 1] == y else place
        ys[start:end], zs[start:end] = [y], [z]
    return np.sort(kept[np.array(found, np.intp)])


def _survivors_of_strong_points(points: Floats) -> NDArray[np.intp]:
    """Rows that no point of a small strong set strictly beats; never drops a front row."""
    low, high = points.min(axis=0), points.max(axis=0)
    unit = (points - low) / np.where(high > low, high - low, 1.0)
    weights = np.array(
        [[1, 1, 1], [4, 1, 1], [1, 4, 1], [1, 1, 4], [8, 8, 1], [8, 1, 8], [1, 8, 8]]
    )
    strong = points[np.unique(np.argmin(unit @ weights.T.astype(float), axis=0))]
    alive = np.ones(len(points), bool)
    for point in strong:
        alive &= ~((points >= point).all(axis=1) & (points > point).any(axis=1))
    return np.flatnonzero(alive)


def lower_hull(x: Floats, y: Floats) -> NDArray[np.intp]:
    """Indices of the points that minimise x + v y for some v >= 0, by ascending x."""
    order = np.lexsort((y, x))
    hull: list[int] = []
    for i in order.tolist():
        if hull and y[i] >= y[hull[-1]]:
            continue
        while len(hull) > 1:
            a, b = hull[-2], hull[-1]
            if (x[b] - x[a]) * (y[i] - y[a]) - (x[i] - x[a]) * (y[b] - y[a]) > 0:
                break
            hull.pop()
        hull.append(i)
    return np.array(hull, np.intp)
