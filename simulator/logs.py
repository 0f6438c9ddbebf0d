"""What a replay leaves on disk while it runs: finished jobs as CSV, events for Perfetto.

Both are written beside their place as ``FILE.part``, every two seconds, and renamed when whole. What is
written is whole lines, so that even a replay that is killed by SIGKILL leaves a part that reads: CSV, or a Chrome
trace without its closing bracket, which Perfetto and chrome://tracing take all the same.
"""

import csv
import io
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from ..catalog.files import InputError
from .cluster import Cluster
from .replay import Finished, Grant, Happened
from .speeds import Task

WRITE_S = 2.0
WRITE_CHARACTERS = 64 * 1024

JOB_COLUMNS = (
    *("job_id", "submit_time_s", "start_s", "finish_s", "jct_s", "wait_s", "run_s"),
    *("num_gpus", "gpu_s", "cost_usd", "preemptions", "slowdown", "accelerators"),
    *("losses", "lost_s"),
)


class PartFile:
    """A text file that takes its name only when it is whole; if not kept, it is then removed."""

    def __init__(self, path: Path, *, kept: bool = True) -> None:
        self._kept = kept
        self.path = path
        self.part = path.with_name(path.name + ".part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._raw = self.part.open("wb", buffering=0)
        except OSError as error:
            raise InputError(f"{self.part} cannot be written: {error.strerror}") from None
        self._file = io.StringIO(newline="")
        self._lines, self._written = 0, time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *raised: object) -> None:
        if kind is None:
            self._close()
        self._write()
        os.fsync(self._raw.fileno())
        self._raw.close()
        if kind is None and self._kept:
            os.replace(self.part, self.path)
        elif kind is None:
            self.part.unlink(missing_ok=True)

    def _close(self) -> None:
        """What is still to be written at the end."""

    def _line_written(self) -> None:
        self._lines += 1
        if self._file.tell() > WRITE_CHARACTERS or time.monotonic() > self._written + WRITE_S:
            self._write()

    def _write(self) -> None:
        """All lines so far, in one piece."""
        left = memoryview(self._file.getvalue().encode("utf-8"))
        while left:
            left = left[self._raw.write(left) :]
        self._file.seek(0)
        self._file.truncate()
        self._written = time.monotonic()


class JobsCsv(PartFile):
    """One line a finished job, in order of finish."""

    def __init__(self, path: Path, cluster: Cluster, *, kept: bool = True) -> None:
        super().__init__(path, kept=kept)
        self._cluster = cluster
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow(JOB_COLUMNS)
        self._write()

    def __call__(self, one: Finished) -> None:
        self._writer.writerow(job_row(one, self._cluster))
        self._line_written()


def job_row(one: Finished, cluster: Cluster) -> Sequence[object]:
    """The columns JOB_COLUMNS of a finished job."""
    used = (
        f"{name}:{gpu_s:.10g}"
        for name, gpu_s in zip(cluster.accelerators, one.gpu_s, strict=True)
        if gpu_s
    )
    job = one.task.job
    return (
        *(job.job_id, job.submit_s, one.start_s, one.finish_s, one.jct_s, one.wait_s, one.run_s),
        *(job.num_gpus, sum(one.gpu_s), one.cost_usd(cluster), one.preemptions),
        *(one.jct_s / one.task.ideal_s, " ".join(used), one.losses, one.lost_s),
    )


class ChromeTrace(PartFile):
    """Events in Chrome's trace format: a process an accelerator, a thread a job, a bar a stretch of
    running (ended_by: finish, stop, lost with a machine, or end), and counters of GPUs in use and
    jobs waiting. Times in microseconds, as the format wants.
    """

    def __init__(self, path: Path, cluster: Cluster) -> None:
        super().__init__(path)
        self._cluster = cluster
        self._since: dict[int, float] = {}
        self._used = [0] * len(cluster.accelerators)
        self._waiting = 0
        self._file.write("[\n")
        for pid, name in enumerate(cluster.accelerators):
            title = f"{name} ({cluster.gpus[pid]} GPUs)"
            self._put({"ph": "M", "name": "process_name", "pid": pid, "args": {"name": title}})
        self._put({"ph": "M", "name": "process_name", "pid": 1_000, "args": {"name": "queue"}})
        self._write()

    def __call__(self, event: Happened) -> None:
        task, grant = event.job, event.grant
        if event.kind == "submit":
            self._queue(event.at_s, +1)
            at = event.at_s * 1e6
            self._put(
                {
                    "ph": "i",
                    "name": f"submit {task.job.job_id}",
                    "ts": at,
                    "s": "p",
                    "pid": 1_000,
                    "tid": 0,
                }
            )
        elif event.kind == "start":
            self._since[task.index] = event.at_s
            self._queue(event.at_s, -1)
            self._count(event.at_s, grant, +1)
        elif grant is None:  # given up while it waited
            self._queue(event.at_s, -1)
        else:
            self._bar(event.at_s, task, grant, event.kind)
            self._count(event.at_s, grant, -1)
            if event.kind in ("stop", "lost"):
                self._queue(event.at_s, +1)

    def _bar(self, at_s: float, task: Task, grant: Grant | None, how: str) -> None:
        assert grant is not None
        since = self._since.pop(task.index)
        self._put(
            {
                "ph": "X",
                "name": f"job {task.job.job_id}",
                "cat": task.job.job_type or "job",
                "ts": since * 1e6,
                "dur": (at_s - since) * 1e6,
                "pid": grant.accelerator,
                "tid": task.index,
                "args": {"gpus": grant.gpus, "ended_by": how},
            }
        )

    def _count(self, at_s: float, grant: Grant | None, sign: int) -> None:
        assert grant is not None
        self._used[grant.accelerator] += sign * grant.gpus
        name, used = "GPUs in use", self._used[grant.accelerator]
        self._put(
            {
                "ph": "C",
                "name": name,
                "pid": grant.accelerator,
                "tid": 0,
                "ts": at_s * 1e6,
                "args": {"gpus": used},
            }
        )

    def _queue(self, at_s: float, change: int) -> None:
        self._waiting += change
        self._put(
            {
                "ph": "C",
                "name": "jobs waiting",
                "pid": 1_000,
                "tid": 0,
                "ts": at_s * 1e6,
                "args": {"jobs": self._waiting},
            }
        )

    def _put(self, event: dict[str, object]) -> None:
        self._file.write((",\n" if self._lines else "") + json.dumps(event))
        self._line_written()

    def _close(self) -> None:
        self._file.write("\n]\n")


class EventsCsv(PartFile):
    """One line an event: at_s, kind, job_id, accelerator, gpus."""

    def __init__(self, path: Path, cluster: Cluster) -> None:
        super().__init__(path)
        self._names = cluster.accelerators
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow(("at_s", "kind", "job_id", "accelerator", "gpus"))
        self._write()

    def __call__(self, event: Happened) -> None:
        grant = event.grant
        where = ("", "") if grant is None else (self._names[grant.accelerator], grant.gpus)
        self._writer.writerow((event.at_s, event.kind, event.job.job.job_id, *where))
        self._line_written()


def event_log(path: Path, cluster: Cluster) -> ChromeTrace | EventsCsv:
    """The event log in the format that the name asks for: .json for Chrome's, else CSV."""
    return ChromeTrace(path, cluster) if path.suffix == ".json" else EventsCsv(path, cluster)
