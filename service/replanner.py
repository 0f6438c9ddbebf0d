"""Workloads kept priced, so that a slider has its new plan at once."""

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from ..optimizer.pricing import price
from ..optimizer.replan import Ready, Replanned, Space, replan, space
from .folder import Folder
from .planning import job_at, offers, stamp
from .requests import ReplanRequest

KEPT = 3  # workloads; one of a million candidates takes some 200 MB


@dataclass
class _Slot:
    """One workload: priced by whoever comes first, while the others wait."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    stamp: tuple[object, ...] = ()
    ready: Ready | None = None


class Replanner:
    """Plans workloads of one folder again and again; at most so many at once, the others wait."""

    def __init__(self, folder: Folder, at_once: int = 2) -> None:
        self._folder = folder
        self._slots: OrderedDict[str, _Slot] = OrderedDict()
        self._lock = threading.Lock()
        self._turns = threading.BoundedSemaphore(at_once)

    def space(self, name: str) -> Space:
        """What can be chosen from; the first time, this prices every candidate."""
        return space(self._ready(name))

    def replan(self, asked: ReplanRequest) -> Replanned:
        """The plan under the wishes of the moment."""
        ready = self._ready(asked.workload)
        with self._turns:
            return replan(ready, asked.weights, asked.deadline_s, asked.budget_usd)

    def _ready(self, name: str) -> Ready:
        path = self._folder.existing(name)
        now = stamp(path, self._folder.root)
        with self._lock:
            slot = self._slots.setdefault(name, _Slot())
            self._slots.move_to_end(name)
            while len(self._slots) > KEPT:
                self._slots.popitem(last=False)
        with slot.lock:
            if slot.ready is None or slot.stamp != now:
                job = job_at(path, self._folder.root)
                there = offers()
                priced = price(job, there.catalog.with_offer(there.local), job.workload.weights)
                slot.ready, slot.stamp = Ready.of(priced), now
            return slot.ready
