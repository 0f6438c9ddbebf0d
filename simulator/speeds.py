"""How fast a job works on each accelerator: a measured table, or the trace's own durations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..catalog.files import InputError, did_you_mean
from .cluster import Cluster
from .trace import Job, number, rows, whole

NEEDED = ("worker_type", "job_type", "scale_factor", "steps_per_s")


class Speeds(Protocol):
    """Work is counted in whatever unit the speeds have per second."""

    def work(self, job: Job) -> float:
        """All the work of a job."""
        ...

    def rate(self, job: Job, accelerator: str, gpus: int, *, crossing: bool = False) -> float:
        """Work per second on so many GPUs of one kind; 0 where the job cannot run."""
        ...


@dataclass(frozen=True, slots=True)
class Durations:
    """Work is the trace's duration_s, which passes alike on every accelerator.

    An elastic job on k instead of n GPUs works k / n as fast.
    """

    crossing_slowdown: float = 1.0

    def work(self, job: Job) -> float:
        return job.duration_s

    def rate(self, job: Job, accelerator: str, gpus: int, *, crossing: bool = False) -> float:
        speed = 1.0 if gpus == job.num_gpus else gpus / job.num_gpus
        return speed / self.crossing_slowdown if crossing else speed


@dataclass(frozen=True, slots=True)
class Throughputs:
    """Work is training steps; steps/s by (accelerator, job type, GPUs, within one node).

    Without total_steps a job's work is its duration on ``reference``, the cluster's first accelerator. A speed of
    0 across nodes is one that nobody measured.
    """

    steps_per_s: Mapping[tuple[str, str, int, bool], float]
    reference: str
    crossing_slowdown: float = 1.0

    def work(self, job: Job) -> float:
        if job.total_steps is not None:
            return job.total_steps
        return job.duration_s * self.rate(job, self.reference, job.num_gpus)

    def rate(self, job: Job, accelerator: str, gpus: int, *, crossing: bool = False) -> float:
        table, kind = self.steps_per_s, job.job_type or ""
        within = table.get((accelerator, kind, gpus, True), 0.0)
        if not crossing:
            return within
        across = table.get((accelerator, kind, gpus, False), 0.0)
        return across or within / self.crossing_slowdown

    def job_types(self) -> set[str]:
        return {kind for _, kind, _, _ in self.steps_per_s}


def read_throughputs(path: Path, cluster: Cluster, table: str | None = None) -> Throughputs:
    """A CSV with worker_type, job_type, scale_factor, steps_per_s, optionally consolidated and table.

    consolidated: yes for GPUs of one node, no for a gang that crosses nodes. table: which of the
    tables in the file; the first without it. Raises InputError.
    """
    found: dict[tuple[str, str, int, bool], float] = {}
    lines: dict[tuple[str, str, int, bool], int] = {}
    tables: dict[str, None] = {}
    for line, row in rows(path, NEEDED):
        where = f"{path} line {line}"
        name = row.get("table", "")
        tables[name] = None
        if name != (next(iter(tables)) if table is None else table):
            continue
        speed = number(row["steps_per_s"], "steps_per_s", where, least=0.0)
        gpus = whole(row["scale_factor"], "scale_factor", where)
        within = row.get("consolidated", "yes")
        if within not in ("yes", "no", ""):
            raise InputError(f"{where}: consolidated is '{within}'; expected yes or no")
        key = (row["worker_type"], row["job_type"], gpus, within != "no")
        if key in lines:
            raise InputError(
                f"{where}: {key[1]} on {gpus} x {key[0]} stands on line {lines[key]} already; keep one"
            )
        found[key], lines[key] = speed, line
    if not found:
        if table is not None and tables:
            raise InputError(f"{path} has no table '{table}'{did_you_mean(table, tables)}")
        raise InputError(f"{path} has no throughputs; expected a line for each below the header")
    kinds = {accelerator for accelerator, _, _, _ in found}
    for accelerator in cluster.accelerators:
        if accelerator not in kinds:
            raise InputError(
                f"{path} has no throughput on the cluster's accelerator '{accelerator}'"
                f"{did_you_mean(accelerator, kinds)}"
            )
    return Throughputs(found, cluster.accelerators[0], cluster.crossing_slowdown)


@dataclass(frozen=True, slots=True)
class Task:
    """A job with its place in the trace, its work, and its speed on each accelerator.

    rates: work per second of the gang that it asks for; 0 where it does not fit or cannot run.
    fastest: the accelerators on which it can run, quickest first.
    """

    index: int
    job: Job
    work: float
    rates: tuple[float, ...]
    fastest: tuple[int, ...]

    @property
    def ideal_s(self) -> float:
        """Run time on the fastest accelerator."""
        return self.work / self.rates[self.fastest[0]]


def tasks(jobs: Sequence[Job], cluster: Cluster, speeds: Speeds, origin: str = "") -> list[Task]:
    """The jobs of a trace on a cluster, in order.

    Raises InputError, naming the line, for a job that the cluster can never run. origin: the
    trace's name.
    """
    made = []
    seen: dict[tuple[str | None, int], tuple[tuple[float, ...], tuple[int, ...]]] = {}
    for index, job in enumerate(jobs):
        kind = (job.job_type, job.num_gpus)
        if kind not in seen:
            seen[kind] = _rates(job, cluster, speeds, origin)
        rates, fastest = seen[kind]
        work = speeds.work(job)
        if work <= 0:
            raise InputError(
                f"{_where(job, origin)}: total_steps is missing, and '{job.job_type}' has no speed on "
                f"{cluster.accelerators[0]} by which its duration would give them; add the column"
            )
        made.append(Task(index, job, work, rates, fastest))
    return made


def _where(job: Job, origin: str) -> str:
    return f"{origin} line {job.line}" if origin else f"job '{job.job_id}'"


def _rates(
    job: Job, cluster: Cluster, speeds: Speeds, origin: str
) -> tuple[tuple[float, ...], tuple[int, ...]]:
    where = _where(job, origin)
    if job.num_gpus > max(cluster.gpus):
        raise InputError(
            f"{where}: the job asks for {job.num_gpus} GPUs, but the cluster has at most "
            f"{max(cluster.gpus)} of one kind; enlarge the cluster or drop the job"
        )
    rates = tuple(
        speeds.rate(job, name, job.num_gpus) if job.num_gpus <= gpus else 0.0
        for name, gpus in zip(cluster.accelerators, cluster.gpus, strict=True)
    )
    if not any(rates):
        if isinstance(speeds, Throughputs) and job.job_type not in (known := speeds.job_types()):
            raise InputError(
                f"{where}: unknown model '{job.job_type or ''}': the throughput table has none of that "
                f"job_type{did_you_mean(job.job_type or '', known)}"
            )
        raise InputError(
            f"{where}: the throughput table has no speed of '{job.job_type}' on {job.num_gpus} GPUs of "
            f"any accelerator that has so many ({', '.join(cluster.accelerators)})"
        )
    order = sorted((i for i, rate in enumerate(rates) if rate), key=lambda i: (-rates[i], i))
    return rates, tuple(order)
