"""What can be asked of the service: the bodies of its requests, and how a folder answers to them."""

from typing import Annotated, Literal

from pydantic import Field

from ..catalog.files import InputError, Record, Seconds, did_you_mean
from ..optimizer.plan import Plan
from ..profiles.workload import Weights, read_workload
from .folder import Folder
from .jobs import Kind

Name = Annotated[
    str,
    Field(
        min_length=1,
        max_length=400,
        description="A file by its path below the served folder.",
        examples=["cifar10.yaml"],
    ),
]
Positive = Annotated[float, Field(ge=0, le=1e12)]
Deadline = Annotated[Seconds | None, Field(gt=0, le=1e12)]


class PlanRequest(Record):
    """A plan for one workload or several; what is left out is the workloads' own.

    no_deadline, no_budget: not even the workloads' own.
    """

    workloads: tuple[Name, ...] = Field(min_length=1, max_length=20)
    weights: Weights | None = None
    deadline_s: Deadline = None
    budget_usd: Positive | None = None
    no_deadline: bool = False
    no_budget: bool = False
    objective: Literal["weighted", "chebyshev"] = "weighted"
    catalog: Literal["all", "built-in", "imported"] = "all"
    explain: bool = False


class SimulationRequest(Record):
    """A rehearsal of a plan; here: of its candidate for this machine."""

    plan: Name
    replications: int = Field(default=1000, ge=10, le=1_000_000)
    seed: int = Field(default=0, ge=0, le=2**32 - 1)
    here: bool = False


class RunRequest(Record):
    """A real run of a plan's candidate for this machine. The workload's own code is executed."""

    plan: Name
    engine: Annotated[str, Field(max_length=40)] = "local"
    job: Annotated[str, Field(max_length=200)] | None = None
    workers: int | None = Field(default=None, ge=1, le=64)
    max_steps: int | None = Field(default=None, ge=1, le=10**12)
    seed: int = Field(default=0, ge=0, le=2**31 - 1)


class SpaceRequest(Record):
    """Which workload is to be shown live."""

    workload: Name


class ReplanRequest(Record):
    """The sliders: weights, deadline and budget of the moment; None for no limit."""

    workload: Name
    weights: Weights
    deadline_s: Deadline = None
    budget_usd: Positive | None = None


JobRequest = PlanRequest | SimulationRequest | RunRequest

REQUESTS: dict[Kind, type[PlanRequest] | type[SimulationRequest] | type[RunRequest]] = {
    "plan": PlanRequest,
    "simulation": SimulationRequest,
    "run": RunRequest,
}
RESULTS: dict[Kind, str] = {"plan": "plans", "simulation": "simulations", "run": "runs"}


def check(request: JobRequest, folder: Folder) -> None:
    """Refuse at once what could only fail later; raises InputError."""
    if isinstance(request, PlanRequest):
        for name in request.workloads:
            read_workload(folder.existing(name))
        if len(set(request.workloads)) < len(request.workloads):
            raise InputError("a workload is named twice; name each once")
        return
    plan = Plan.read(folder.existing(request.plan))
    if isinstance(request, RunRequest):
        from ..execution.engines import KNOWN, engine
        from ..execution.setup import set_up

        if request.engine not in KNOWN:
            raise InputError(
                f"there is no engine '{request.engine}'{did_you_mean(request.engine, KNOWN)}"
            )
        if (lacking := engine(request.engine).available()) is not None:
            raise InputError(lacking)
        set_up(plan, job=request.job, workers=request.workers)
