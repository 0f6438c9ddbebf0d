"""Preemptive policies: at every event the jobs are ranked anew, and the first ones that fit run.

SRTF and least attained service, in discrete queues as in Tiresias (Gu et al., NSDI 2019) or plain.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..cluster import Cluster
from ..pool import Pool
from ..replay import Active, Change, Grant

Rank = Callable[[Active, float], float]


def remaining(job: Active, now_s: float) -> float:
    """Shortest remaining time first: run time left on the fastest accelerator."""
    task = job.task
    return job.left_at(now_s) / task.rates[task.fastest[0]]


def attained(job: Active, now_s: float) -> float:
    """Least attained service first: GPU-seconds held so far."""
    return job.attained_gpu_s(now_s)


@dataclass(frozen=True, slots=True)
class Queues:
    """Two or more queues by GPU-seconds held; FIFO within each, so that equals do not take turns."""

    limits_gpu_s: tuple[float, ...]

    def __call__(self, job: Active, now_s: float) -> float:
        held = job.attained_gpu_s(now_s)
        return float(sum(held >= limit for limit in self.limits_gpu_s))


@dataclass(frozen=True, slots=True)
class Ranked:
    """Run the first jobs by rising rank, ties by submission; whatever fits may pass what does not.

    quantum_s: also decide anew so often while jobs wait; inf: only when a job arrives or ends.
    A running job stays on its accelerator while its rank holds.
    """

    name: str
    rank: Rank
    quantum_s: float = math.inf

    def scheduler(self, cluster: Cluster) -> "Ranking":
        return Ranking(self.rank, self.quantum_s)


class Ranking:
    """The jobs in the system and their order at each decision."""

    def __init__(self, rank: Rank, quantum_s: float) -> None:
        self._rank, self._quantum_s = rank, quantum_s
        self._jobs: dict[int, Active] = {}
        self.wake_s = math.inf

    def arrive(self, job: Active) -> None:
        self._jobs[job.task.index] = job

    def leave(self, job: Active) -> None:
        del self._jobs[job.task.index]

    def decide(self, now_s: float, free: Pool) -> Iterator[Change]:
        room = list(free.there)
        smallest = min((job.task.job.num_gpus for job in self._jobs.values()), default=0)
        order = sorted((self._rank(job, now_s), index, job) for index, job in self._jobs.items())
        runs: dict[int, Grant] = {}
        for _, index, job in order:
            kind = _place(job, room)
            if kind is not None:
                gpus = job.task.job.num_gpus
                runs[index] = Grant(kind, gpus)
                room[kind] -= gpus
                if max(room) < smallest:
                    break
        waits = len(runs) < len(self._jobs)
        self.wake_s = now_s + self._quantum_s if waits else math.inf
        for index, job in self._jobs.items():
            if job.grant is not None and runs.get(index) != job.grant:
                yield job, None
        for index, grant in runs.items():
            yield self._jobs[index], grant


def _place(job: Active, room: list[int]) -> int | None:
    gpus = job.task.job.num_gpus
    if job.grant is not None and room[job.grant.accelerator] >= gpus:
        return job.grant.accelerator
    return next((kind for kind in job.task.fastest if room[kind] >= gpus), None)
