"""A workload of the served folder as a job to plan: its latest profile, and the offers there are."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from .. import __version__
from ..catalog import Catalog, Offer, catalog_of, this_machine, with_owned
from ..catalog.home import home
from ..catalog.shelf import Which
from ..optimizer.optimize import Job, optimize
from ..optimizer.plan import Plan
from ..profiles import store
from ..profiles.measure import this_host
from ..profiles.workload import Workload, read_workload
from .folder import Folder
from .requests import PlanRequest

Tell = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Offers:
    """Everything one can choose from, and this machine."""

    catalog: Catalog
    local: Offer


def offers(which: Which = "all") -> Offers:
    """As `isocost optimize` has them: built in, imported, owned, and this machine."""
    return Offers(with_owned(catalog_of(which)), this_machine())


def job_at(path: Path, root: Path) -> Job:
    """The workload at path with the latest profile of its model: beside it, in root, or the user's."""
    workload = read_workload(path)
    folders = list(dict.fromkeys((path.parent, root, store.profiles_folder())))
    found = store.latest(workload, folders)
    return Job(
        workload,
        path.parent,
        found[1] if found else None,
        found[0].resolve() if found else None,
        profiled_here=found is None or found[1].host == this_host(),
    )


def stamp(path: Path, root: Path) -> tuple[object, ...]:
    """Changes whenever a plan of the workload at path might come out otherwise."""
    folders = (path.parent, root, store.profiles_folder(), home() / "catalog")
    looked = [path, home() / "offers.yaml"]
    for folder in dict.fromkeys(folders):
        looked += sorted(folder.glob("*profile*.json")) + sorted(folder.glob("*.csv"))
    return (
        datetime.now(UTC).date(),
        *((one, one.stat().st_mtime_ns) for one in looked if one.exists()),
    )


def plan(request: PlanRequest, folder: Folder, tell: Tell) -> Plan:
    """The plan that a request asks for."""
    tell(0.05, "reading offers")
    there = offers(request.catalog)
    jobs = []
    for name in request.workloads:
        job = job_at(folder.existing(name), folder.root)
        jobs.append(replace(job, workload=_wishing(job.workload, request)))
    tell(0.2, "planning")
    return optimize(
        jobs,
        there.catalog,
        there.local,
        weights=request.weights,
        objective=request.objective,
        explained=request.explain,
        version=__version__,
        command=command(request),
    )


def _wishing(workload: Workload, request: PlanRequest) -> Workload:
    freed = {
        key: None
        for key, free in (
            ("deadline_s", request.no_deadline),
            ("budget_usd", request.no_budget),
        )
        if free
    }
    kept = workload.constraints.model_copy(update=freed)
    return workload.model_copy(update={"constraints": kept}).wishing(
        deadline_s=request.deadline_s, budget_usd=request.budget_usd
    )


def command(request: PlanRequest) -> str:
    """The command line that asks for the same plan."""
    import shlex

    words = ["isocost", "optimize", *request.workloads]
    if request.weights is not None:
        w = request.weights
        words += ["--alpha", f"{w.alpha:g}", "--beta", f"{w.beta:g}", "--gamma", f"{w.gamma:g}"]
    if request.deadline_s is not None:
        words += ["--deadline", f"{request.deadline_s:g}s"]
    if request.budget_usd is not None:
        words += ["--budget", f"{request.budget_usd:g}"]
    if request.objective != "weighted":
        words += ["--objective", request.objective]
    if request.catalog != "all":
        words += ["--catalog", request.catalog]
    return shlex.join([*words, *(["--explain"] if request.explain else [])])
