"""What a limit says of whole columns, where it says more than of fractions of them.

Of sum a[k] x[k] <= b with whole x >= 0 follows for any d > 0, with f = b/d - floor(b/d) and
q[k] = a[k]/d,

    sum (floor(q[k]) + max(0, q[k] - floor(q[k]) - f) / (1 - f)) x[k] <= floor(b/d)

(mixed-integer rounding; Nemhauser and Wolsey 1990, Marchand and Wolsey 2001). A quota of 47 nodes
in pieces of 2, 4 and 8 holds 46, however it is divided; with d = 2 this says so, and lets single nodes
pass. It depends on a column's amount alone, so it is a limit like others, over all columns.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .instance import Limit

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

BROKEN = 1e-4  # of d, from which on a rounded limit is worth its row
NEAR_WHOLE = 0.01  # f this near 0 or 1 adds nothing, or what rounding errors would be magnified in
SLACK = 1e-7  # of b, for those errors
MOST_SIZES = 40  # a group of more amounts than this is not of pieces


def broken(limits: Sequence[Limit], rows: Ints, x: Floats) -> list[Limit]:
    """The limits rounded as the fractions x of the columns in rows break them worst, one d for each group."""
    found = []
    for limit in limits:
        if limit.shares:
            continue
        divisors = np.full(len(limit.at_most), np.nan)
        for group in limit.bounded:
            inside = (limit.codes[rows] == group) & (x > 1e-7)
            if inside.any():
                divisors[group] = _worst(
                    limit.amount[rows][inside], x[inside], limit.at_most[group]
                )
        if np.isfinite(divisors).any():
            found.append(rounded(limit, divisors))
    return found


def _worst(amount: Floats, x: Floats, most: float) -> float:
    """The d at which x breaks the rounded limit most, of the amounts; not a number where at none."""
    sizes = np.unique(amount[amount > 0])
    if len(sizes) > MOST_SIZES:
        return np.nan
    worst, found = BROKEN, np.nan
    for divisor in sizes:
        part = _part(most, divisor)
        if not NEAR_WHOLE < part < 1 - NEAR_WHOLE:
            continue
        excess = float(_rounded(amount / divisor, part) @ x) - np.floor(most / divisor)
        if excess * (1 - part) > worst:
            worst, found = excess * (1 - part), divisor
    return float(found)


def rounded(limit: Limit, divisors: Floats) -> Limit:
    """The limit rounded with a d for each group, not a number where it shall have none."""
    d = np.append(divisors, np.nan)[limit.codes]
    inside = np.isfinite(d)
    most = np.append(limit.at_most, np.nan)[limit.codes][inside]
    amount = np.zeros(len(limit.amount))
    amount[inside] = _rounded(limit.amount[inside] / d[inside], _part(most, d[inside]))
    with np.errstate(invalid="ignore"):
        whole = np.floor(limit.at_most / divisors) * (1 + SLACK)
    at_most = np.where(np.isfinite(divisors), whole, np.inf)
    return Limit(f"{limit.name} in pieces", limit.labels, limit.codes, amount, at_most)


def _part(most: Floats | float, divisor: Floats | float) -> Floats:
    """f, the fractional part of b/d."""
    return np.asarray(most / divisor - np.floor(most / divisor))


def _rounded(q: Floats, part: Floats) -> Floats:
    """The coefficients of a/d = q."""
    return np.asarray(np.floor(q) + np.maximum(0.0, q - np.floor(q) - part) / (1 - part))
