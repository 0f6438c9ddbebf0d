"""Which configurations to measure so that few of them predict all others best. No I/O.

V-optimal design for the linear form of the step-time law (`law`, p = 1): with rows x of terms
over a rough step time and a prior of one on every coefficient, choose greedily the point that most
lowers the mean variance over the targets,

    gain(x) = x' M^-1 V M^-1 x / (1 + x' M^-1 x),   M = I + sum x x'   V = mean of targets' x x'

(Ernest, Venkataraman et al., NSDI 2016, chooses by the same measure.) A node that is neither full
nor with one device, and three nodes or more, are taken in where candidates have them: no other
points tell contention from hops.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .law import NOISE, Floats, Points, exchange_terms, reference_terms

SHARES = (0.3, 0.7)  # of a rough step: its fixed cost, and that of a middling batch
EXCHANGE_SHARE = 0.5  # of a rough step, at the reference placement


def v_optimal(candidates: Points, targets: Points, count: int) -> NDArray[np.int64]:
    """Indices of the candidates to measure, the most telling first, at most count of them."""
    middle = float(np.median(targets.batch))
    rows, wanted = _terms(candidates, middle), _terms(targets, middle)
    spread = wanted.T @ wanted / len(wanted)
    information = np.eye(rows.shape[1]) * NOISE**2 / 0.25
    free = np.ones(len(rows), dtype=bool)
    chosen: list[int] = []
    for _ in range(min(count, len(rows))):
        allowed = free & _still_needed(candidates, chosen, count)
        solved = rows @ np.linalg.inv(information)
        gain = np.einsum("ij,jk,ik->i", solved, spread, solved)
        gain /= 1 + np.einsum("ij,ij->i", solved, rows)
        best = int(np.argmax(np.where(allowed, gain, -1.0)))
        chosen.append(best)
        free[best] = False
        information = information + np.outer(rows[best], rows[best])
    return np.array(chosen, dtype=np.int64)


def _terms(at: Points, middle: float) -> Floats:
    batch = at.batch / middle
    exchange = exchange_terms(at) / reference_terms()
    rough = SHARES[0] + SHARES[1] * batch + EXCHANGE_SHARE * exchange[:, :6].mean(axis=1)
    return np.asarray(np.column_stack([np.ones(len(at)), batch, exchange]) / rough[:, None])


def _half_filled(at: Points) -> NDArray[np.bool_]:
    most = at.fullest.max()
    return np.asarray((at.nodes == 1) & (at.fullest > 1) & (at.fullest < most))


def _three_nodes(at: Points) -> NDArray[np.bool_]:
    return np.asarray(at.nodes >= 3)


MUST: tuple[Callable[[Points], NDArray[np.bool_]], ...] = (_half_filled, _three_nodes)


def _still_needed(at: Points, chosen: list[int], count: int) -> NDArray[np.bool_]:
    """What may be taken now: anything, until the places left are only as many as the musts open."""
    open_ = [kind(at) for kind in MUST if kind(at).any() and not kind(at)[chosen].any()]
    if open_ and count - len(chosen) <= len(open_):
        return open_[0]
    return np.ones(len(at), dtype=bool)
