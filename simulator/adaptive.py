"""Jobs whose speed and efficiency follow from where they stand and how large a batch they take.

An adaptive job on the GPUs `placement` (their number on each node) takes T seconds a step and makes

    progress per second = gain / T,  gain = (v + q) / (v / s + q)

reference steps, s its global batch over the smallest one, q and v the squared norm and the variance of its
gradient at that epoch: what a larger batch is worth (Pollux, OSDI 2021). It is done after its epochs. T and
(q, v) are measured: step times by placement and local batch, curves by epoch and batch. Between them lines
are drawn. The cluster is looked at every minute, as by Pollux's simulator, whose published results for
Tiresias and Optimus are met by this (benchmarks/pollux.py).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import LinearNDInterpolator

from ..catalog.files import InputError, did_you_mean
from .trace import number, rows

Floats = NDArray[np.float64]
Placement = tuple[int, ...]

INTERVAL_S = 60.0
RESCALE_S = 30.0  # checkpoint and restart on other GPUs
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
    def _between(self) -> LinearNDInterpolator:
        return LinearNDInterpolator(self.anywhere[:, :3], self.anywhere[:, 3:])

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

    def gain(self, batch: int, epoch: int) -> float:
        """Reference steps in one step with that global batch."""
        square, variance = self._at("square", batch, epoch), self._at("variance", batch, epoch)
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


@dataclass(frozen=True, slots=True)
class AdaptiveJob:
    """One line of the trace: num_gpus is what a rigid policy gives it, batch its global batch."""

    job_id: str
    submit_s: float
    application: Application
    num_gpus: int
    batch: int


@dataclass(slots=True, eq=False)
class State:
    """A job in the system. nodes: the node of each of its GPUs."""

    job: AdaptiveJob
    nodes: tuple[int, ...] = ()
    placement: Placement = ()
    local: int = 0
    extra: int = 0  # further passes over a local batch before gradients are exchanged
    restart_s: float = 0.0
    progress: float = 0.0
    epoch: int = 0
    finish_s: float | None = None

    def move(self, nodes: tuple[int, ...]) -> None:
        """Stand on other GPUs from now on."""
        self.nodes = nodes
        self.placement = tuple(nodes.count(node) for node in dict.fromkeys(nodes))
        if nodes:
            app, batch = self.job.application, self.job.batch
            least = 1 if len(nodes) == 1 and batch > app.smallest_batch else 0
            self.local, self.extra = split(app, batch, len(nodes), least)
            self.restart_s = RESCALE_S

    def run(self, now_s: float, seconds: float) -> None:
        """Train for so long; epochs end at whole seconds."""
        if not self.placement:
            return
        delay = min(self.restart_s, seconds)
        self.restart_s -= delay
        app, at, left = self.job.application, now_s + delay, seconds - delay
        step, sync = app.step_s(self.placement, self.local)
        batch = len(self.nodes) * self.local * (self.extra + 1)
        while left > 0 and self.finish_s is None:
            speed = app.gain(batch, self.epoch) / (step + (step - sync) * self.extra)
            goal = app.progress_after(self.epoch + 1)
            if self.progress + speed * left < goal:
                self.progress += speed * left
                return
            took = float(round((goal - self.progress) / speed))
            self.progress, self.epoch = goal, self.epoch + 1
            at, left = at + took, left - took
            if self.epoch >= app.epochs:
                self.finish_s = at


def split(app: Application, batch: int, gpus: int, least: int) -> tuple[int, int]:
    """(local batch, extra passes) of a global batch on so many GPUs, within the memory of each."""
    whole = math.ceil(batch / gpus - ROUNDING)
    extra = max(math.ceil(whole / app.most_local - ROUNDING) - 1, least)
    local = math.ceil(whole / (extra + 1) - ROUNDING)
    return min(local, app.largest_batch // (gpus * (extra + 1))), extra


Wish = Callable[[float, Sequence[State], int], Mapping[State, int]]
"""GPUs for each job present, from the time, the jobs by submission, and the GPUs there are; in the order in
which jobs that move are to be placed."""


@dataclass(slots=True)
class Tiresias:
    """Two queues by GPU time attained: whoever has had limit_gpu_s goes behind all who have not.

    Jobs get all the GPUs they ask for or none; those that do not fit are passed over.
    """

    limit_gpu_s: float = 16 * 3600.0
    queues: tuple[list[State], list[State]] = field(default_factory=lambda: ([], []))
    attained_s: dict[State, float] = field(default_factory=dict)
    running: frozenset[State] = frozenset()
    looked_s: float = 0.0

    def __call__(self, now_s: float, jobs: Sequence[State], gpus: int) -> Mapping[State, int]:
        present, first, second = set(jobs), *self.queues
        first, second = ([one for one in queue if one in present] for queue in (first, second))
        first += [one for one in jobs if one not in self.attained_s]
        for one in jobs:
            had = self.attained_s.get(one, 0.0)
            had += now_s - self.looked_s if one in self.running else 0.0
            self.attained_s[one] = had
            if one in first and had * one.job.num_gpus >= self.limit_gpu_s:
                first.remove(one)
                second.append(one)
        self.queues, self.looked_s = (first, second), now_s
        wishes = {}
        for one in (*first, *second):
            wishes[one] = one.job.num_gpus if one.job.num_gpus <= gpus else 0
            gpus -= wishes[one]
        self.running = frozenset(one for one, count in wishes.items() if count)
        return wishes


def optimus(now_s: float, jobs: Sequence[State], gpus: int) -> Mapping[State, int]:
    """One GPU for each, then one by one where it saves most time: steps left x (T(n) - T(n + 1)).

    T is that of the fewest nodes of four that hold the gang (Peng et al., EuroSys 2018).
    """
    wishes: dict[State, int] = {}
    saves: dict[State, float] = {}

    def saved(one: State) -> float:
        app, count = one.job.application, wishes[one]
        most = 1 if app.name == "ncf" else one.job.batch // app.least_local
        if count + 1 > most or gpus < 1:
            return 0.0
        return (_optimus_step_s(one.job, count) - _optimus_step_s(one.job, count + 1)) * left[one]

    left = {one: one.job.application.steps_left(one.job.batch, one.epoch) for one in jobs}
    for one in jobs:
        wishes[one] = min(1, gpus)
        gpus -= wishes[one]
        saves[one] = saved(one) if wishes[one] else 0.0
    while gpus > 0 and saves:
        one = max(saves, key=saves.__getitem__)
        if saves[one] <= 0:
            break
        wishes[one] += 1
        saves[one] = saved(one)
        gpus -= 1
    return dict(sorted(wishes.items(), key=lambda item: item[1]))


def _optimus_step_s(job: AdaptiveJob, gpus: int) -> float:
    full, rest = divmod(gpus, 4)
    placement = (4,) * full + ((rest,) if rest else ())
    local, extra = split(job.application, job.batch, gpus, 1 if gpus == 1 else 0)
    step, sync = job.application.step_s(placement, local)
    return step + (step - sync) * extra


def replay_adaptive(
    trace: Sequence[AdaptiveJob],
    policy: Wish,
    *,
    nodes: int,
    gpus_per_node: int,
    interval_s: float = INTERVAL_S,
    moves: Callable[[State, int], bool] = lambda one, wish: len(one.nodes) != wish,
) -> dict[str, float]:
    """Completion time of each job by its id: finish minus submission, seconds.

    Every interval_s the policy is asked; jobs whose number of GPUs changes are placed anew, on the
    emptiest nodes. Raises InputError for a job that no node count can hold.
    """
    for job in trace:
        if job.num_gpus > nodes * gpus_per_node:
            raise InputError(
                f"job '{job.job_id}' asks for {job.num_gpus} GPUs; the cluster has "
                f"{nodes * gpus_per_node}"
            )
    coming, present, now = sorted(trace, key=lambda job: job.submit_s), list[State](), 0.0
    done: dict[str, float] = {}
    while coming or present:
        for one in present:
            one.run(now, interval_s)
        now += interval_s
        for one in present:
            if one.finish_s is not None:
                done[one.job.job_id] = one.finish_s - one.job.submit_s
        present = [one for one in present if one.finish_s is None]
        while coming and coming[0].submit_s <= now:
            present.append(State(coming.pop(0)))
        wishes = policy(now, present, nodes * gpus_per_node)
        free = [gpus_per_node] * nodes
        for one in present:
            if not moves(one, wishes[one]):
                for node in one.nodes:
                    free[node] -= 1
        for one, wish in wishes.items():
            if moves(one, wish):
                one.move(_emptiest(free, wish))
    return done


def _emptiest(free: list[int], gpus: int) -> tuple[int, ...]:
    """GPUs on the emptiest nodes, each filled before the next; taken from free."""
    taken: list[int] = []
    while len(taken) < gpus:
        node = max(range(len(free)), key=free.__getitem__)
        count = min(free[node], gpus - len(taken))
        taken += [node] * count
        free[node] -= count
    return tuple(taken)


# ------------------------------------------------------------------------------------- files


def read_curves(path: Path) -> dict[str, dict[int, Curve]]:
    """Training curves by application and global batch, from a CSV with a line an epoch."""
    needed = ("app", "batch_size", "epoch", "progress", "iteration", "grad_sqr", "grad_var")
    found: dict[str, dict[int, list[tuple[float, ...]]]] = {}
    for line, row in rows(path, needed):
        where = f"{path} line {line}"
        values = tuple(number(row[name], name, where) for name in needed[1:])
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
    )
