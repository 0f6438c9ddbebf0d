"""Jobs started in an order that is known when they arrive, and never stopped: FIFO and SJF."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush

from ..cluster import Cluster
from ..pool import Pool
from ..replay import Active, Change, Grant
from ..speeds import Task

Key = Callable[[Task], float]
Waiting = list[tuple[float, int, Active]]


def by_submission(task: Task) -> float:
    """First in, first out."""
    return 0.0


def by_duration(task: Task) -> float:
    """Shortest job first, by its run time on the fastest accelerator."""
    return task.ideal_s


@dataclass(frozen=True, slots=True)
class InOrder:
    """Start jobs by rising key, ties by submission, on the fastest accelerator with room.

    skip: whatever fits may pass those that do not (greedy); else the first that does not fit
    holds up all behind it.
    """

    name: str
    key: Key
    skip: bool

    def scheduler(self, cluster: Cluster) -> "Queue":
        return Queue(self.key, self.skip)


class Queue:
    """Waiting jobs in one heap for each shape (GPUs and usable accelerators).

    Jobs of one shape fit or do not fit alike, so only the first of each is looked at: the cost of
    a decision does not grow with the queue.
    """

    wake_s = math.inf

    def __init__(self, key: Key, skip: bool) -> None:
        self._key, self._skip = key, skip
        self._heaps: dict[tuple[int, tuple[int, ...]], Waiting] = {}

    def arrive(self, job: Active) -> None:
        task = job.task
        heap = self._heaps.setdefault((task.job.num_gpus, task.fastest), [])
        heappush(heap, (self._key(task), task.index, job))

    def leave(self, job: Active) -> None:
        pass

    def decide(self, now_s: float, free: Pool) -> Iterator[Change]:
        while True:
            first: Waiting | None = None
            for (gpus, fastest), heap in self._heaps.items():
                if heap and (first is None or heap[0] < first[0]):
                    if self._skip and room(free, fastest, gpus) is None:
                        continue
                    first = heap
            if first is None:
                return
            task = first[0][2].task
            accelerator = room(free, task.fastest, task.job.num_gpus)
            if accelerator is None:
                return
            yield heappop(first)[2], Grant(accelerator, task.job.num_gpus)


def room(free: Pool, fastest: tuple[int, ...], gpus: int) -> int | None:
    """The first of these accelerators with so many free GPUs."""
    left = free.free
    for accelerator in fastest:
        if left[accelerator] >= gpus:
            return accelerator
    return None
