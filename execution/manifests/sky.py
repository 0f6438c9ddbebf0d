"""An order as a task of SkyPilot."""

from typing import Any

from ...catalog import Purchase
from ...catalog.files import InputError
from ...catalog.names import tpu_slice
from .order import BOOTSTRAP, CODE_PATH, DATA_PATH, GRACE_S, RUN_PATH, WORK, Order
from .pods import Json

SERVICE = "skypilot"
# Our providers to SkyPilot's clouds, and the store of each that a bucket is made in by default.
CLOUDS = {
    "aws": "aws",
    "gcp": "gcp",
    "azure": "azure",
    "lambda": "lambda",
    "runpod": "runpod",
    "oci": "oci",
    "nebius": "nebius",
    "cudo": "cudo",
}
STORES = {"aws": "s3", "gcp": "gcs", "azure": "azure", "oci": "oci", "nebius": "nebius"}
NAMES = {
    "A100-40GB": "A100",
    "V100-16GB": "V100",
    "RTX-A5000": "RTXA5000",
    "RTX-A6000": "RTXA6000",
    "RTX-PRO-6000": "RTXPRO6000",
    "H100-PCIe": "H100",
}


def sky_task(order: Order, folder: str) -> Json:
    """The task as a mapping; folder: where the files of order.code lie on this machine.

    ``sky jobs launch`` brings lost machines back; what the machines share is a bucket, claim.
    SkyPilot itself knows no deadline: ``timeout`` ends each start, and the worker counts from the
    first one.
    """
    if order.workers != order.nodes:
        raise InputError(
            f"SkyPilot starts one worker a node; the plan has {order.workers} on {order.nodes}"
        )
    cloud = CLOUDS[order.offer.provider]
    resources: Json = {
        "infra": f"{cloud}/{order.offer.region}",
        "use_spot": order.purchase == Purchase.SPOT,
        "image_id": f"docker:{order.image}",
        "autostop": {"idle_minutes": 10, "down": True},
        "job_recovery": {"max_restarts_on_errors": order.restarts},
    }
    if order.kind == "tpu":
        resources["accelerators"] = {sky_tpu(order.offer.instance_type): 1}
    else:
        resources["instance_type"] = order.offer.instance_type.split("+")[0]
        if order.kind == "gpu":
            name = _accelerator(order)
            resources["accelerators"] = {name: order.offer.accelerator_count}
    mounts: Json = {RUN_PATH: _bucket(order.claim, cloud)}
    if order.data_claim is not None:
        mounts[DATA_PATH] = _bucket(order.data_claim, cloud)
    for path in order.code:
        mounts[f"{CODE_PATH}/{path}"] = f"{folder}/{path}"
    command = " ".join(BOOTSTRAP)
    return {
        "name": order.name,
        "num_nodes": order.nodes,
        "resources": resources,
        "envs": {WORK: order.contract.to_text()},
        "file_mounts": mounts,
        "run": f"timeout --signal=TERM --kill-after={GRACE_S} {order.deadline_s} {command}\n",
    }


def _accelerator(order: Order) -> str:
    if order.offer.instance_type.startswith("a3-mega"):
        return "H100-MEGA"
    return NAMES.get(order.offer.accelerator, order.offer.accelerator)


def sky_tpu(instance_type: str) -> str:
    """SkyPilot's name of a TPU slice: Google's, whose v5e says v5litepod.

    >>> sky_tpu("tpu-v5litepod-4"), sky_tpu("tpu-v6e-8")
    ('tpu-v5litepod-4', 'tpu-v6e-8')
    """
    if tpu_slice(instance_type) is None:
        raise InputError(f"'{instance_type}' is no TPU slice; expected for example tpu-v6e-8")
    return instance_type


def _bucket(name: str, cloud: str) -> dict[str, Any]:
    bucket: dict[str, Any] = {"name": name, "mode": "MOUNT"}
    if cloud in STORES:
        bucket["store"] = STORES[cloud]
    return bucket
