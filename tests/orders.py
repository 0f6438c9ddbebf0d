"""Orders for every kind of plan, made without a planner: what manifests are tested with."""

from datetime import date

from isocost.catalog import Purchase
from isocost.execution.manifests.order import Order
from isocost.execution.manifests.places import Kind
from isocost.optimizer.plan import PlannedOffer

IMAGE = "ghcr.io/someone/isocost@sha256:" + "0123456789abcdef" * 4

# provider, region, instance type, accelerator, devices, vCPUs, GiB, kind, vendor
OFFERS: dict[str, tuple[str, str, str, str, int, float, float, Kind, str]] = {
    "gcp T4": ("gcp", "us-central1", "n1-standard-8+t4x1", "T4", 1, 8, 30, "gpu", "nvidia"),
    "gcp H100": ("gcp", "us-east4", "a3-megagpu-8g", "H100", 8, 208, 1872, "gpu", "nvidia"),
    "aws A100": ("aws", "us-east-1", "p4d.24xlarge", "A100-40GB", 8, 96, 1152, "gpu", "nvidia"),
    "azure T4": ("azure", "eastus", "Standard_NC4as_T4_v3", "T4", 1, 4, 28, "gpu", "nvidia"),
    "alibaba A10": (
        *("alibaba", "cn-beijing", "ecs.gn7i-c16g1.4xlarge", "A10"),
        *(1, 16, 60, "gpu", "nvidia"),
    ),
    "oci MI300X": ("oci", "us-chicago-1", "BM.GPU.MI300X.8", "MI300X", 8, 112, 2048, "gpu", "amd"),
    "lambda A10": ("lambda", "us-east-1", "gpu_1x_a10", "A10", 1, 30, 200, "gpu", "nvidia"),
    "aws CPU": ("aws", "eu-west-1", "c7i.4xlarge", "CPU", 1, 16, 32, "cpu", "any"),
    "gcp CPU": ("gcp", "us-central1", "c4-highcpu-32", "CPU", 1, 32, 64, "cpu", "any"),
    "alibaba CPU": ("alibaba", "cn-hangzhou", "ecs.c7.2xlarge", "CPU", 1, 8, 16, "cpu", "any"),
    "own CPU": ("local", "here", "this machine", "CPU", 1, 2, 24, "cpu", "any"),
    "TPU v5e": ("gcp", "us-central1", "tpu-v5litepod-4", "TPU-v5e", 4, 112, 192, "tpu", "google"),
    "TPU v4": ("gcp", "us-central2", "tpu-v4-8", "TPU-v4", 4, 240, 407, "tpu", "google"),
    "TPU v6e": ("gcp", "us-east4", "tpu-v6e-8", "TPU-v6e", 8, 180, 1440, "tpu", "google"),
}
CLOUD = [name for name in OFFERS if not name.startswith(("own", "lambda"))]
ALIBABA = [name for name in OFFERS if name.startswith("alibaba")]


def planned_offer(name: str) -> PlannedOffer:
    provider, region, instance_type, accelerator, devices, vcpus, memory, _, _ = OFFERS[name]
    return PlannedOffer(
        provider=provider,
        region=region,
        zones=(f"{region}-a",),
        instance_type=instance_type,
        accelerator=accelerator,
        accelerator_count=devices,
        vcpus=vcpus,
        memory_gib=memory,
        network_gbps=10,
        price_usd_h=1.25,
        price_date=date(2026, 11, 1),
        source="test",
    )


def order(name: str = "gcp T4", workers: int = 8, **changes: object) -> Order:
    """An order of so many workers, one a node."""
    *_, devices, _, _, kind, vendor = OFFERS[name]
    replicas = workers * (1 if kind == "cpu" else devices)
    given: dict[str, object] = {
        "name": "cifar10-cnn",
        "image": IMAGE,
        "offer": planned_offer(name),
        "kind": kind,
        "vendor": vendor,
        "purchase": Purchase.ON_DEMAND,
        "nodes": workers,
        "tasks": ("worker",) * workers,
        "deadline_s": 7200,
        "deadline_from": "the job's deadline",
        "restarts": 3,
        "spec": {
            "schema": "isocost/work/v1",
            "model": "cifar10_cnn",
            "model_folder": "",
            "knobs": {"strategy": "multi_worker_mirrored"},
            "per_device_batch": 32,
            "global_batch": 32 * replicas,
            "seed": 0,
            "steps": 1000,
            "stop_after": 1000,
            "checkpointing": {"write_s": 1.0, "mean_to_interruption_s": 360_000.0},
            "cores": 8,
            "folder": "",
            "began": 0.0,
            "started": 0.0,
        },
    }
    return Order.model_validate(given | changes)
