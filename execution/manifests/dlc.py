"""An order as a job description of PAI-DLC, Alibaba Cloud's training service (API 2020-12-03)."""

import math

from ...catalog import Purchase
from ...catalog.files import InputError
from .order import BOOTSTRAP, DATA_PATH, GRACE_S, RUN_PATH, WORK, Order
from .pods import Json

LARGEST_BYTES = 65_536  # of all parameters of CreateJob together
SERVICE = "pai-dlc"


def dlc_job(order: Order, workspace: str | None = None) -> Json:
    """The body of CreateJob.

    A TFJob gives every node a TF_CONFIG with all hosts: the worker takes the hosts from there and
    makes its own. RestartPolicy ExitCode starts again what ends with 128 or more. There are no
    files beside a job: a model of one's own must be in the image or in the data source.
    """
    if order.code:
        raise InputError(
            "PAI-DLC takes no files beside a job: put the model's Python files into the image and "
            "say where they lie with --code-path"
        )
    if set(order.tasks) != {"worker"}:
        raise InputError(
            "a PAI-DLC job is written for workers alone; plan without parameter servers"
        )
    worker: Json = {
        "Type": "Worker",
        "PodCount": order.workers,
        "Image": order.image,
        "EcsSpec": order.offer.instance_type,
        "RestartPolicy": "ExitCode",
    }
    if order.purchase == Purchase.SPOT:
        worker["SpotSpec"] = {"SpotStrategy": "SpotAsPriceGo"}
    sources = [data_source(order.claim, RUN_PATH, "RW")]
    if order.data_claim is not None:
        sources.append(data_source(order.data_claim, DATA_PATH, "RO"))
    job: Json = {
        "DisplayName": order.name,
        "JobType": "TFJob",
        "JobSpecs": [worker],
        "UserCommand": "exec " + " ".join(BOOTSTRAP),
        "Envs": {WORK: order.contract.to_text()},
        "DataSources": sources,
        "JobMaxRunningTimeMinutes": math.ceil(order.deadline_s / 60),
        "SuccessPolicy": "AllWorkers",
        "Settings": {"TerminationGracePeriodSeconds": GRACE_S},
    }
    if workspace is not None:
        job["WorkspaceId"] = workspace
    return job


def data_source(claim: str, path: str, access: str) -> dict[str, str]:
    """A data set of the workspace by its id, or storage by its address (oss://, nas://, cpfs://)."""
    kind = "Uri" if "://" in claim else "DataSourceId"
    return {kind: claim, "MountPath": path, "MountAccess": access}
