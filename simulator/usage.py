"""How busy a replayed cluster was over time: GPUs in use and jobs that wait, as means of equal stretches."""

from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..catalog.files import Record
from .cluster import Cluster
from .replay import Happened, Listen

Floats = NDArray[np.float64]

STRETCHES = 240  # as many as a picture shows
WAITING = {
    "submit": 1.0,
    "start": -1.0,
    "stop": 1.0,
    "lost": 1.0,
}  # what each event adds to the queue


class Usage(Record):
    """Means over equal stretches from from_s on: share of each accelerator's GPUs, jobs waiting."""

    from_s: float
    stretch_s: float
    shares: dict[str, tuple[float, ...]]
    waiting: tuple[float, ...]


class UsageMeter:
    """Listens to a replay and counts; events need not come in the order of time."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._used = [(array("d"), array("d")) for _ in cluster.accelerators]
        self._waiting = (array("d"), array("d"))

    def __call__(self, event: Happened) -> None:
        at_s, kind, _, grant = event
        change = WAITING.get(kind, 0.0)
        if kind == "end" and grant is None:
            change = -1.0
        if change:
            self._waiting[0].append(at_s)
            self._waiting[1].append(change)
        if grant is not None:
            times, changes = self._used[grant.accelerator]
            times.append(at_s)
            changes.append(grant.gpus if kind == "start" else -grant.gpus)

    def usage(self, stretches: int = STRETCHES) -> Usage | None:
        """None where nothing happened, or all of it at once."""
        times = [times for times, _ in (*self._used, self._waiting) if len(times)]
        if not times:
            return None
        first, last = min(map(min, times)), max(map(max, times))
        if last <= first:
            return None
        edges = np.linspace(first, last, stretches + 1)
        return Usage(
            from_s=first,
            stretch_s=(last - first) / stretches,
            shares={
                name: tuple((_means(*used, edges) / gpus).clip(0.0, 1.0).tolist())
                for name, gpus, used in zip(
                    self._cluster.accelerators, self._cluster.gpus, self._used, strict=True
                )
            },
            waiting=tuple(_means(*self._waiting, edges).clip(0.0).tolist()),
        )


def _means(times: Sequence[float], changes: Sequence[float], edges: Floats) -> Floats:
    """Means between the edges of the step function that changes at these times.

    Its integral is linear between changes, so that differences of the interpolated integral are exact.
    """
    at, by = np.asarray(times, float), np.asarray(changes, float)
    order = np.argsort(at, kind="stable")
    at, level = at[order], np.cumsum(by[order])
    if not len(at):
        return np.zeros(len(edges) - 1)
    integral = np.concatenate([[0.0], np.cumsum(level[:-1] * np.diff(at))])
    found: Floats = np.diff(np.interp(edges, at, integral)) / np.diff(edges)
    # Beyond the last change the level stays; np.interp would hold the integral still.
    beyond = np.maximum(edges - at[-1], 0.0) * level[-1]
    found += np.diff(beyond) / np.diff(edges)
    return found


def both(first: Listen, second: Listen) -> Listen:
    """One listener for two."""

    def tell(event: Happened) -> None:
        first(event)
        second(event)

    return tell
