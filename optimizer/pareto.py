"""The exact set of points that no other point is at least as good as in everything."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BLOCK = 128  # rows compared with each other at once
# Directions in which strong points are sought, each point beating most rows at once.
DIRECTIONS = np.array(
    [[1, 1, 1], [8, 1, 1], [1, 8, 1], [1, 1, 8], [8, 8, 1], [8, 1, 8], [1, 8, 8]], float
)


def front(points: Floats) -> NDArray[np.intp]:
    """Indices of the non-dominated rows of points (N x 3, lower is better), in ascending order.

    A row is dominated where another is nowhere larger and somewhere smaller; of equal rows the
    first is kept. Sorted by the first column, then the second and third, only an earlier row can
    beat a later one, and does so if and only if it is at most as large in both other columns: the
    best of them so far are a staircase. Rows go through in blocks: against the staircase by
    bisection, against each other by comparison. A few strong points first remove most rows.
    """
    x, y, z = (np.ascontiguousarray(points[:, i], float) for i in range(3))
    kept = _not_beaten_by_strong_points(x, y, z)
    order = kept[np.argsort(x[kept], kind="stable")]
    if (np.diff(x[order]) == 0).any():
        order = kept[np.lexsort((z[kept], y[kept], x[kept]))]
    y, z = y[order], z[order]
    stair_y, stair_z = np.zeros(0), np.zeros(0)  # ascending, descending
    found = []
    for start in range(0, len(order), BLOCK):
        block = np.arange(start, min(start + BLOCK, len(order)))
        place = np.searchsorted(stair_y, y[block], side="right") - 1
        beaten = (place >= 0) & (stair_z[place] <= z[block]) if len(stair_z) else place >= 0
        block = block[~beaten]
        a, b = y[block], z[block]
        earlier = (a[:, None] <= a) & (b[:, None] <= b)
        block = block[~np.triu(earlier, 1).any(axis=0)]
        if not len(block):
            continue
        found.append(block)
        stair_y, stair_z = _staircase(
            np.concatenate([stair_y, y[block]]), np.concatenate([stair_z, z[block]])
        )
    return np.sort(order[np.concatenate(found)]) if found else np.zeros(0, np.intp)


def _staircase(y: Floats, z: Floats) -> tuple[Floats, Floats]:
    """The pairs that no other is at most as large as in both, by ascending y."""
    order = np.lexsort((z, y))
    y, z = y[order], z[order]
    lower = np.ones(len(z), bool)
    lower[1:] = z[1:] < np.minimum.accumulate(z)[:-1]
    return y[lower], z[lower]


def _not_beaten_by_strong_points(x: Floats, y: Floats, z: Floats) -> NDArray[np.intp]:
    """Rows that no point of a small strong set strictly beats; never drops a front row."""
    rows = np.arange(len(x))
    if len(x) <= BLOCK:
        return rows
    low, high = np.array([[c.min(), c.max()] for c in (x, y, z)]).T
    span = np.where(high > low, high - low, 1.0)
    for direction in DIRECTIONS:
        if not len(rows):
            break
        unit = direction / span
        value = unit[0] * x[rows] + unit[1] * y[rows] + unit[2] * z[rows]
        best = int(rows[np.argmin(value)])
        beaten = (x[rows] >= x[best]) & (y[rows] >= y[best]) & (z[rows] >= z[best])
        same = (x[rows] == x[best]) & (y[rows] == y[best]) & (z[rows] == z[best])
        rows = rows[~beaten | same]
    return rows
