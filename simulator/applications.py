"""Models whose speed follows from where they stand, and whose steps are worth more or less with the batch.

An application on the GPUs `placement` (their number on each node) takes T seconds a step and makes

    progress per second = gain / T,  gain = (v + q) / (v / s + q)

reference steps, s its global batch over the smallest one, q and v the squared norm and the variance of its
gradient at that epoch: what a larger batch is worth (Pollux, OSDI 2021). T and (q, v) are measured: step
times by placement and local batch, curves by epoch and batch. Between them lines are drawn.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import LinearNDInterpolator
from scipy.spatial import QhullError

from ..catalog.files import InputError, did_you_mean
from .trace import number, rows

Floats = NDArray[np.float64]
Placement = tuple[int, ...]

MOST_NODES_MEASURED = 16
ROUNDING = 1e-8


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One training run, by epoch: reference steps and steps done at its end, and the gradient's noise."""

    progress: Floats
    steps: Floats
    square: Floats
    variance: Floats


@dataclass(frozen=True, eq=False)
class Application:
    """A model: its training curves by global batch, and measured (step, exchange) seconds.

    times: by placement, rows of (local batch, step_s, sync_s). anywhere: rows of (nodes, GPUs, local
    batch, step_s, sync_s), for placements nobody measured.
    """

    name: str
    curves: Mapping[int, Curve]
    times: Mapping[Placement, Floats]
    anywhere: Floats
    least_local: int
    most_local: int
    most_gpus: int | None = None  # that a policy which chooses may give it
    _known: dict[tuple[Placement, int], tuple[float, float]] = field(default_factory=dict)

    @property
    def epochs(self) -> int:
        return min(len(curve.progress) for curve in self.curves.values())

    @property
    def smallest_batch(self) -> int:
        return min(self.curves)

    @property
    def largest_batch(self) -> int:
        return max(self.curves)

    @cached_property
    def _between(self) -> Callable[[list[float]], Floats]:
        try:
            return LinearNDInterpolator(self.anywhere[:, :3], self.anywhere[:, 3:])
        except QhullError:  # measured on one number of nodes, say: nothing lies between
            return lambda point: np.full((1, 2), np.nan)

    def step_s(self, placement: Placement, local: int) -> tuple[float, float]:
        """(a step, the part of it in which gradients are exchanged), by linear interpolation."""
        turned = min(placement[i:] + placement[:i] for i in range(len(placement)))
        found = self._known.get((turned, local))
        if found is None:
            table = self.times.get(turned)
            if table is not None:
                found = (
                    float(np.interp(local, table[:, 0], table[:, 1])),
                    float(np.interp(local, table[:, 0], table[:, 2])),
                )
            else:
                nodes = min(len(turned), MOST_NODES_MEASURED)
                step, sync = self._between([nodes, sum(turned), local])[0]
                found = float(step), float(sync)
            if not math.isfinite(found[0]):
                raise InputError(
                    f"{self.name}: no step time near {'+'.join(map(str, turned))} GPUs with a local "
                    f"batch of {local}; measure one on each side of it"
                )
            self._known[turned, local] = found
        return found

    def _at(self, column: str, batch: float, epoch: int) -> float:
        sizes = sorted(self.curves)
        low = max(size for size in sizes if size <= batch)
        high = min(size for size in sizes if size >= batch)
        first, last = (float(getattr(self.curves[size], column)[epoch]) for size in (low, high))
        if low == high:
            return first
        return ((batch - low) * last + (high - batch) * first) / (high - low)

    def noise(self, batch: int, epoch: int) -> tuple[float, float]:
        """Squared norm and variance of the gradient with that global batch."""
        return self._at("square", batch, epoch), self._at("variance", batch, epoch)

    def gain(self, batch: int, epoch: int) -> float:
        """Reference steps in one step with that global batch."""
        square, variance = self.noise(batch, epoch)
        return (variance + square) / (variance * self.smallest_batch / batch + square)

    def steps_left(self, batch: int, epoch: int) -> float:
        """Steps of that global batch from an epoch to the last."""
        last = self.epochs - 1
        if epoch >= last:
            return 1.0
        return self._at("steps", batch, last) - self._at("steps", batch, epoch)

    def progress_after(self, epochs: int) -> float:
        """Reference steps after so many epochs, by the run that needed the fewest."""
        return min(float(curve.progress[epochs - 1]) for curve in self.curves.values())


def split(app: Application, batch: float, gpus: int, least: int) -> tuple[int, int]:
    """(local batch, extra passes) of a global batch on so many GPUs, within the memory of each."""
    whole = math.ceil(batch / gpus - ROUNDING)
    extra = max(math.ceil(whole / app.most_local - ROUNDING) - 1, least)
    local = math.ceil(whole / (extra + 1) - ROUNDING)
    return min(local, app.largest_batch // (gpus * (extra + 1))), extra


def read_curves(path: Path) -> dict[str, dict[int, Curve]]:
    """Training curves by application and global batch, from a CSV with a line an epoch."""
    needed = ("app", "batch_size", "epoch", "progress", "iteration", "grad_sqr", "grad_var")
    found: dict[str, dict[int, list[tuple[float, ...]]]] = {}
    for line, row in rows(path, needed):
        where = f"{path} line {line}"
        # A gradient's variance has no natural bound: BERT's is beyond 1e15.
        values = tuple(number(row[name], name, where, most=math.inf) for name in needed[1:])
        found.setdefault(row["app"], {}).setdefault(int(values[0]), []).append(values[1:])
    return {
        app: {
            batch: Curve(*np.array(sorted(epochs)).T[1:]) for batch, epochs in sorted(runs.items())
        }
        for app, runs in found.items()
    }


def application(
    name: str,
    curves: Mapping[str, Mapping[int, Curve]],
    times: Sequence[tuple[Placement, int, float, float]],
    anywhere: Sequence[tuple[int, int, int, float, float]] = (),
    *,
    most_local: int | None = None,
    most_gpus: int | None = None,
) -> Application:
    """An application from rows (placement, local batch, step_s, sync_s), and (nodes, GPUs, local batch,
    step_s, sync_s) where the placement is not known. Raises InputError for an unknown name.
    """
    if name not in curves:
        raise InputError(f"there are no training curves of '{name}'{did_you_mean(name, curves)}")
    tables: dict[Placement, list[tuple[float, float, float]]] = {}
    shapes: dict[tuple[int, int, int], list[tuple[float, float]]] = {}
    for placement, local, step, sync in times:
        tables.setdefault(placement, []).append((local, step, sync))
        shapes.setdefault((len(placement), sum(placement), local), []).append((step, sync))
    mean = [(*shape, *np.mean(pairs, axis=0)) for shape, pairs in shapes.items()]
    sizes = [local for _, local, _, _ in times]
    return Application(
        name,
        curves[name],
        {placement: np.array(sorted(table)) for placement, table in tables.items()},
        np.array([*mean, *anywhere]),
        min(sizes),
        most_local or max(sizes),
        most_gpus,
    )


STEP_TIMES = ("job_type", "placement", "nodes", "gpus", "local_batch", "step_time_s", "sync_time_s")
LIMITS = ("most_local_batch", "most_gpus")


def read_applications(times: Path, curves: Path) -> dict[str, Application]:
    """Applications from a CSV of step times and one of training curves.

    times: columns STEP_TIMES, placement as 4+2 or empty where only nodes and GPUs are known, and
    optionally the application's LIMITS. Raises InputError.
    """
    by_placement: dict[str, list[tuple[Placement, int, float, float]]] = {}
    anywhere: dict[str, list[tuple[int, int, int, float, float]]] = {}
    limits: dict[str, tuple[int | None, int | None]] = {}
    for line, row in rows(times, STEP_TIMES):
        where = f"{times} line {line}"
        nodes, gpus, local = (int(number(row[n], n, where, least=1.0)) for n in STEP_TIMES[2:5])
        step = number(row["step_time_s"], "step_time_s", where, above=0.0)
        sync = number(row["sync_time_s"], "sync_time_s", where, least=0.0)
        if sync > step:
            raise InputError(
                f"{where}: sync_time_s is {sync:g}; expected a part of step_time_s ({step:g})"
            )
        app = row["job_type"]
        if row["placement"]:
            parts = row["placement"].split("+")
            if not all(part.isdigit() and int(part) for part in parts) or (
                (len(parts), sum(map(int, parts))) != (nodes, gpus)
            ):
                raise InputError(
                    f"{where}: placement is '{row['placement']}'; expected the GPUs on each of "
                    f"{nodes} nodes, {gpus} in all, as 4+2"
                )
            placement = tuple(map(int, parts))
            by_placement.setdefault(app, []).append((placement, local, step, sync))
        else:
            anywhere.setdefault(app, []).append((nodes, gpus, local, step, sync))
        most_local, most_gpus = (
            int(number(row[name], name, where, least=1.0)) if row.get(name) else None
            for name in LIMITS
        )
        limits[app] = most_local, most_gpus
    known = read_curves(curves)
    if not by_placement:
        raise InputError(
            f"{times} has no step time of a placement; expected lines with one, as 4+2"
        )
    return {
        app: application(
            app,
            known,
            measured,
            anywhere.get(app, ()),
            most_local=limits[app][0],
            most_gpus=limits[app][1],
        )
        for app, measured in by_placement.items()
    }
