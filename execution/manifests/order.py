"""What is to be placed: one gang of workers on one kind of node, whatever file describes it."""

import json
import math
import re
from collections.abc import Mapping

from pydantic import Field, JsonValue

from ...catalog import Purchase
from ...catalog.files import InputError, Record
from ...optimizer.plan import PlannedCandidate, PlannedJob, PlannedOffer
from .places import Kind, node_labels

RUN_PATH = "/isocost/run"  # the run's checkpoints and logs, one volume for all workers
CODE_PATH = "/isocost/code"  # the user's own model, where the image does not hold it
DATA_PATH = "/isocost/data"
PORT = 2222
WORK = "ISOCOST_WORK"  # the contract as JSON, in the environment of every worker
HOSTS = "ISOCOST_HOSTS"  # address:port of each rank, rank 0 first
BOOTSTRAP = ("python", "-m", "isocost.execution.pod")
GRACE_S = 90  # from the wish to end until the kill: one checkpoint of 60 s, and leaving
NO_IMAGE = "registry.invalid/isocost@sha256:" + 64 * "0"  # shows where the image goes

LONGEST_NAME = 40  # with "-worker-0-63" a host's name stays under the 63 characters of DNS
DIGEST = re.compile(r"^[a-z0-9][a-z0-9._:/-]*@sha256:[0-9a-f]{64}$")
WITHOUT_DEADLINE = 2.0  # times the predicted p90: what runs longer than that is stuck


class Contract(Record):
    """What every worker is told, and what a manifest is held to.

    workers: of the whole gang; nodes: machines, which they fill in blocks. device, devices: the
    Kubernetes resource and how many of it each worker has; None and 0 for processors. deadline_s:
    from the first start. restarts: of the gang. instance_type, vcpus, memory_gib: of a machine;
    node: labels by which Kubernetes finds one. spec: the worker's own file (isocost/work/v1) with
    paths as the workers see them.
    """

    workers: int = Field(ge=1)
    nodes: int = Field(ge=1)
    device: str | None
    devices: int = Field(ge=0)
    deadline_s: int = Field(ge=1)
    purchase: Purchase
    provider: str
    restarts: int = Field(ge=0)
    instance_type: str
    vcpus: float = Field(gt=0)
    memory_gib: float = Field(gt=0)
    node: dict[str, str]
    tasks: tuple[str, ...] | None = None  # TF_CONFIG's type of each rank; None: all are workers
    spec: dict[str, JsonValue]

    def to_text(self) -> str:
        """On one line, for an environment variable."""
        return json.dumps(self.model_dump(mode="json"), separators=(",", ":"))


class Order(Record):
    """One gang, to be written down as a manifest.

    name: a DNS label. nodes: machines, which the ranks fill in blocks. deadline_from: the words
    behind deadline_s. code: files of the user's model by their path below code_path. claim:
    the volume claim (ReadWriteMany) that keeps checkpoints; data_claim: one that holds the data.
    """

    name: str
    image: str
    offer: PlannedOffer
    kind: Kind
    vendor: str
    purchase: Purchase
    nodes: int = Field(ge=1)
    tasks: tuple[str, ...] = Field(min_length=1)
    deadline_s: int = Field(ge=1)
    deadline_from: str
    restarts: int = Field(ge=0)
    spec: dict[str, JsonValue]
    code: Mapping[str, str] = {}
    code_path: str = CODE_PATH
    claim: str = "isocost"
    data_claim: str | None = None
    namespace: str | None = None

    @property
    def workers(self) -> int:
        return len(self.tasks)

    @property
    def workers_per_node(self) -> int:
        return -(-self.workers // self.nodes)

    @property
    def device(self) -> str | None:
        """The Kubernetes resource that a worker's devices are."""
        if self.kind == "cpu":
            return None
        if self.kind == "tpu":
            return "google.com/tpu"
        return "amd.com/gpu" if self.vendor == "amd" else "nvidia.com/gpu"

    @property
    def devices(self) -> int:
        """Devices of each worker."""
        return 0 if self.kind == "cpu" else self.offer.accelerator_count // self.workers_per_node

    @property
    def run_folder(self) -> str:
        return f"{RUN_PATH}/{self.name}"

    @property
    def contract(self) -> Contract:
        return Contract(
            workers=self.workers,
            nodes=self.nodes,
            device=self.device,
            devices=self.devices,
            deadline_s=self.deadline_s,
            purchase=self.purchase,
            provider=self.offer.provider,
            restarts=self.restarts,
            instance_type=self.offer.instance_type,
            vcpus=self.offer.vcpus,
            memory_gib=self.offer.memory_gib,
            node=node_labels(self.offer, self.kind, self.devices, self.workers),
            tasks=None if set(self.tasks) == {"worker"} else self.tasks,
            spec=self.spec | {"folder": self.run_folder, "model_folder": self.code_path},
        )


def slug(name: str) -> str:
    """A job's name as DNS takes it: letters, digits and dashes, a letter first.

    >>> slug("My job_2"), slug("3rd try"), slug("日本")
    ('my-job-2', 'job-3rd-try', 'job')
    """
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if not plain[:1].isalpha():
        plain = f"job-{plain}"
    return plain[:LONGEST_NAME].strip("-")


def checked_image(image: str) -> str:
    """The image, if it is pinned: a tag may name other content tomorrow."""
    if not DIGEST.match(image):
        raise InputError(
            f"image '{image}' has no digest; give name@sha256:... as your registry shows it after "
            "a push, so that every worker and every restart runs the same program"
        )
    return image


def deadline(job: PlannedJob, candidate: PlannedCandidate) -> tuple[int, str]:
    """Seconds after which the run is ended from outside, and where they come from.

    The nearest of the job's deadline and of what its budget pays for; without both, twice the time
    that the plan stays below nine times in ten.
    """
    limits = job.workload.constraints
    known: list[tuple[float, str]] = []
    if limits.deadline_s is not None:
        known.append((limits.deadline_s, "the job's deadline"))
    hourly = candidate.nodes * candidate.offer.price_usd_h
    if limits.budget_usd is not None and hourly > 0:
        pays_s = limits.budget_usd / hourly * 3600
        known.append((pays_s, f"what ${limits.budget_usd:g} pay for at ${hourly:.4g} an hour"))
    if not known:
        p90_s = candidate.predicted.time_s.p90
        known.append((WITHOUT_DEADLINE * p90_s, "twice the predicted p90 time; the job names none"))
    seconds, words = min(known)
    return max(1, math.floor(seconds)), words


def restarts(candidate: PlannedCandidate, least: int = 3) -> int:
    """Restarts to allow: mean interruptions and three standard deviations of their Poisson law.

    >>> from types import SimpleNamespace as of
    >>> [restarts(of(reliability=of(interruptions=mean))) for mean in (0.0, 4.0)]
    [3, 10]
    """
    mean = candidate.reliability.interruptions
    return max(least, math.ceil(mean + 3 * math.sqrt(mean)))
