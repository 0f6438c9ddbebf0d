"""Adaptive jobs on a cluster that is looked at every minute, as by Pollux's simulator.

An adaptive job runs an application (applications.py) on GPUs that the policy may change: it is done after
its epochs, and pays for every move with a restart. Tiresias and Optimus meet the published results of
that simulator (benchmarks/pollux.py). The policies are policies/tiresias.py, optimus.py and pollux.py.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..catalog.files import InputError, did_you_mean
from .applications import Application, Placement, split
from .cluster import Cluster
from .replay import Done, Finished, Grant, Happened, Listen, Replay
from .speeds import Task
from .trace import Job, number, rows

Nodes = tuple[int, ...]

INTERVAL_S = 60.0
RESCALE_S = 30.0  # checkpoint and restart on other GPUs


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
    """A job in the system. nodes: the node of each of its GPUs.

    local, extra: its batch on each GPU, and the further passes before gradients are exchanged. tune
    chooses them anew at every look and epoch; without it they follow from the trace's batch. noise: the
    gradient's as last observed; most_had: GPUs it has trained on.
    """

    job: AdaptiveJob
    restart_s: float = RESCALE_S
    tune: "Tune | None" = None
    nodes: Nodes = ()
    placement: Placement = ()
    local: int = 0
    extra: int = 0
    restarting_s: float = 0.0
    progress: float = 0.0
    epoch: int = 0
    noise: tuple[float, float] | None = None
    most_had: int = 0
    moves: int = 0
    started_s: float | None = None
    finish_s: float | None = None
    run_s: float = 0.0
    gpu_s: float = 0.0

    def move(self, nodes: Nodes, now_s: float) -> None:
        """Stand on other GPUs from now on."""
        self.nodes = nodes
        self.placement = tuple(nodes.count(node) for node in dict.fromkeys(nodes))
        if nodes:
            self.restarting_s = self.restart_s
            self.moves += 1
            self.started_s = now_s if self.started_s is None else self.started_s
            if self.tune is not None:
                self.local, self.extra = self.tune(self)
                return
            app, batch = self.job.application, self.job.batch
            least = 1 if len(nodes) == 1 and batch > app.smallest_batch else 0
            self.local, self.extra = split(app, batch, len(nodes), least)

    def run(self, now_s: float, seconds: float) -> None:
        """Train for so long; epochs end at whole seconds."""
        if not self.placement:
            return
        delay = min(self.restarting_s, seconds)
        self.restarting_s -= delay
        app, at, left = self.job.application, now_s + delay, seconds - delay
        while left > 0 and self.finish_s is None:
            step, sync = app.step_s(self.placement, self.local)
            batch = len(self.nodes) * self.local * (self.extra + 1)
            speed = app.gain(batch, self.epoch) / (step + (step - sync) * self.extra)
            self.noise = app.noise(batch, self.epoch)
            self.most_had = max(self.most_had, len(self.nodes))
            goal = app.progress_after(self.epoch + 1)
            if self.progress + speed * left < goal:
                self.progress += speed * left
                left = 0.0
            else:
                took = float(round((goal - self.progress) / speed))
                self.progress, self.epoch = goal, self.epoch + 1
                at, left = at + took, left - took
                if self.epoch >= app.epochs:
                    self.finish_s = at
            if self.tune is not None and self.finish_s is None:
                self.local, self.extra = self.tune(self)
        held = (now_s + seconds if self.finish_s is None else self.finish_s) - now_s
        self.run_s += held
        self.gpu_s += held * len(self.nodes)


Tune = Callable[[State], tuple[int, int]]


Wish = Callable[[float, Sequence[State], int], Mapping[State, int | Nodes]]
"""GPUs for each job present, or the very nodes, from the time, the jobs by submission, and the GPUs there
are; in the order in which jobs that move are to be placed."""


def replay_adaptive(
    trace: Sequence[AdaptiveJob],
    policy: Wish,
    cluster: Cluster,
    *,
    name: str = "adaptive",
    interval_s: float = INTERVAL_S,
    restart_s: float = RESCALE_S,
    tune: Tune | None = None,
    moves: Callable[[State, int], bool] = lambda one, wish: len(one.nodes) != wish,
    listen: Listen | None = None,
    done: Done | None = None,
) -> Replay:
    """The trace on equal nodes of one accelerator, the policy asked every interval_s.

    Jobs whose number of GPUs changes are placed anew, on the emptiest nodes; where the policy
    names nodes, those that are to have others. A job's run time alone (Task.work) is that on the GPUs and
    with the batch of the trace. Raises InputError for a job that is too large for the cluster, and
    where a step time is needed that nobody measured.
    """
    nodes, per_node = shape(cluster)
    gpus = nodes * per_node
    ordered = sorted(trace, key=lambda job: job.submit_s)
    tasks = {job.job_id: _task(index, job, per_node, gpus) for index, job in enumerate(ordered)}
    present, now, ended = list[State](), 0.0, list[Finished]()
    job_s, looks = 0.0, 0

    def tell(at_s: float, kind: str, one: State) -> None:
        if listen is not None:
            grant = Grant(0, len(one.nodes)) if one.nodes and kind != "submit" else None
            listen(Happened(at_s, kind, tasks[one.job.job_id], grant))

    coming = deque(ordered)
    while coming or present:
        for one in present:
            one.run(now, interval_s)
        now += interval_s
        finished = [one for one in present if one.finish_s is not None]
        for one in sorted(finished, key=lambda one: one.finish_s or 0.0):
            tell(one.finish_s or 0.0, "finish", one)
            ended.append(_finished(one, tasks[one.job.job_id]))
            job_s += ended[-1].jct_s
            if done is not None:
                done(ended[-1])
        present = [one for one in present if one.finish_s is None]
        while coming and coming[0].submit_s <= now:
            present.append(State(coming.popleft(), restart_s, tune))
            tell(present[-1].job.submit_s, "submit", present[-1])
        wishes = policy(now, present, gpus)
        looks += 1
        moved = {
            one: wish
            for one, wish in wishes.items()
            if (moves(one, wish) if isinstance(wish, int) else wish != one.nodes)
        }
        free = [per_node] * nodes
        for one in present:
            if one not in moved:
                for node in one.nodes:
                    free[node] -= 1
            elif one.nodes:
                tell(now, "stop", one)
        for one, wish in moved.items():
            one.move(_emptiest(free, wish) if isinstance(wish, int) else wish, now)
            if one.nodes:
                tell(now, "start", one)
    return Replay(cluster, name, tuple(ended), job_s, looks)


def shape(cluster: Cluster) -> tuple[int, int]:
    """(nodes, GPUs on each). Raises InputError where they are not equal, or of two accelerators."""
    sizes = {(group.accelerator, group.gpus_per_node) for group in cluster.nodes}
    if len(sizes) != 1:
        words = ", ".join(f"{count} x {name} a node" for name, count in sorted(sizes))
        raise InputError(
            f"the cluster has {words}; adaptive jobs are replayed on equal nodes of one accelerator"
        )
    return sum(group.count for group in cluster.nodes), sizes.pop()[1]


def _task(index: int, job: AdaptiveJob, per_node: int, gpus: int) -> Task:
    """The job as other replays know it, its work the seconds that it takes alone."""
    if job.num_gpus > gpus:
        raise InputError(f"job '{job.job_id}' asks for {job.num_gpus} GPUs; the cluster has {gpus}")
    alone = State(job, restart_s=0.0)
    alone.move(tuple(gpu // per_node for gpu in range(job.num_gpus)), 0.0)
    alone.run(0.0, math.inf)
    seconds = max(alone.finish_s or 0.0, 1.0)
    line = Job(job.job_id, job.submit_s, job.num_gpus, seconds, job.application.name)
    return Task(index, line, seconds, (1.0,), (0,))


def _finished(one: State, task: Task) -> Finished:
    start, finish = one.started_s or 0.0, one.finish_s or 0.0
    return Finished(task, start, finish, one.run_s, (one.gpu_s,), one.moves - 1)


def _emptiest(free: list[int], gpus: int) -> Nodes:
    """GPUs on the emptiest nodes, each filled before the next; taken from free."""
    taken: list[int] = []
    while len(taken) < gpus:
        node = max(range(len(free)), key=free.__getitem__)
        count = min(free[node], gpus - len(taken))
        taken += [node] * count
        free[node] -= count
    return tuple(taken)


NEEDED = ("job_id", "submit_time_s", "num_gpus", "job_type", "batch_size")


def read_adaptive(
    path: Path, known: Mapping[str, Application], only: Mapping[str, str] | None = None
) -> list[AdaptiveJob]:
    """The jobs of a CSV with the columns NEEDED. only: values that columns must have, for a file
    of several workloads. Raises InputError.
    """
    found: list[AdaptiveJob] = []
    lines: dict[str, int] = {}
    wanted = dict(only or {})
    for line, row in rows(path, (*NEEDED, *wanted)):
        if any(row[name] != value for name, value in wanted.items()):
            continue
        where = f"{path} line {line}"
        name, kind = row["job_id"], row["job_type"]
        if not name:
            raise InputError(f"{where}: job_id is empty; every job needs an id of its own")
        if name in lines:
            raise InputError(
                f"{where}: job_id '{name}' is already on line {lines[name]}; every job needs an id "
                "of its own (where the file holds several workloads, choose one with --where)"
            )
        if kind not in known:
            raise InputError(
                f"{where}: there are no step times of job_type '{kind}'{did_you_mean(kind, known)}"
            )
        lines[name], app = line, known[kind]
        gpus, batch = (
            number(row[column], column, where, least=1.0) for column in ("num_gpus", "batch_size")
        )
        if gpus != int(gpus) or batch != int(batch):
            raise InputError(
                f"{where}: num_gpus is {gpus:g} and batch_size {batch:g}; expected whole numbers"
            )
        if not max(app.smallest_batch, app.least_local * gpus) <= batch <= app.largest_batch:
            raise InputError(
                f"{where}: batch_size is {batch:g}; '{kind}' on {gpus:g} GPUs is known from "
                f"{max(app.smallest_batch, app.least_local * int(gpus))} to {app.largest_batch}"
            )
        at = number(row["submit_time_s"], "submit_time_s", where, least=0.0)
        found.append(AdaptiveJob(name, at, app, int(gpus), int(batch)))
    if not found:
        words = " and ".join(f"{name} = {value}" for name, value in wanted.items())
        raise InputError(f"{path} has no jobs" + (f" with {words}" if words else ""))
    return found
