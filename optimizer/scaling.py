"""How throughput grows with devices, as the step-time model says it of one offer."""

from collections.abc import Sequence

import numpy as np

from ..profiles.throughput import Basis, interval
from .describe import planned_candidates
from .plan import ScalingCurve, ScalingPoint, Throughput
from .pricing import Priced

MOST_CURVES = 3


def scaling(one: Priced, rows: Sequence[int]) -> list[ScalingCurve]:
    """For the offers of some candidates, each instance type once: the quickest batch on so many devices.

    Batches above the workload's largest are no candidates, so a curve may end early.
    """
    curves: dict[tuple[str, str], ScalingCurve] = {}
    found = one.candidates
    for row in rows:
        offer = one.catalog.offer(int(found.offer[row]))
        kind = offer.provider, offer.instance_type
        if kind in curves or len(curves) == MOST_CURVES:
            continue
        same = np.flatnonzero(
            (found.offer == found.offer[row]) & (found.purchase == found.purchase[row])
        )
        some = found.take(same)
        devices, batch, step_s = some.replicas, some.batch, some.step_s
        quickest = np.lexsort((-(batch * devices) / step_s, devices))
        first = quickest[np.unique(devices[quickest], return_index=True)[1]]
        points = []
        for k in first.tolist():
            low, high = interval(float(step_s[k]), float(some.step_sigma[k]))
            whole = int(batch[k] * devices[k])
            points.append(
                ScalingPoint(
                    devices=int(devices[k]),
                    nodes=int(some.nodes[k]),
                    per_device_batch=int(batch[k]),
                    samples_per_s=Throughput(
                        p50=whole / float(step_s[k]), p05=whole / high, p95=whole / low
                    ),
                    basis=Basis(int(some.basis[k])).word,  # type: ignore[arg-type]
                )
            )
        curves[kind] = ScalingCurve(
            offer=planned_candidates(one, [row])[0].offer, points=tuple(points)
        )
    return list(curves.values())
