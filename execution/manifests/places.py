"""Where a pod may stand: node labels, taints and devices of each provider's Kubernetes.

Labels as the providers' guides and their open controllers name them, read November 2026. The
instance type and the region are Kubernetes' own well-known labels, set by every cloud's node
controller; the others are named beside each table.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ...catalog.files import InputError
from ...optimizer.plan import PlannedOffer

Kind = Literal["cpu", "gpu", "tpu"]

INSTANCE_TYPE = "node.kubernetes.io/instance-type"
REGION = "topology.kubernetes.io/region"
ZONE = "topology.kubernetes.io/zone"
HOST = "kubernetes.io/hostname"

GKE_GPU = "cloud.google.com/gke-accelerator"
GKE_GPUS = {
    "A100-40GB": "nvidia-tesla-a100",
    "A100-80GB": "nvidia-a100-80gb",
    "B200": "nvidia-b200",
    "H100": "nvidia-h100-80gb",
    "H200": "nvidia-h200-141gb",
    "L4": "nvidia-l4",
    "P100": "nvidia-tesla-p100",
    "P4": "nvidia-tesla-p4",
    "RTX-PRO-6000": "nvidia-rtx-pro-6000",
    "T4": "nvidia-tesla-t4",
    "V100-16GB": "nvidia-tesla-v100",
}
GKE_MEGA = "nvidia-h100-mega-80gb"  # the H100 of a3-megagpu machines

TPU_TYPE = "cloud.google.com/gke-tpu-accelerator"
TPU_TOPOLOGY = "cloud.google.com/gke-tpu-topology"
GKE_TPUS = {
    "TPU-v3": "tpu-v3-slice",
    "TPU-v4": "tpu-v4-podslice",
    "TPU-v5e": "tpu-v5-lite-podslice",
    "TPU-v5p": "tpu-v5p-slice",
    "TPU-v6e": "tpu-v6e-slice",
}
# Chips of a slice to its topology; GKE guide, "Plan TPUs". Hosts of a slice have four chips,
# except where one host with one or eight chips is the whole slice.
FLAT = {1: "1x1", 4: "2x2", 8: "2x4", 16: "4x4", 32: "4x8", 64: "8x8", 128: "8x16", 256: "16x16"}
DEEP = {
    4: "2x2x1",
    8: "2x2x2",
    16: "2x2x4",
    32: "2x4x4",
    64: "4x4x4",
    128: "4x4x8",
    256: "4x8x8",
    512: "8x8x8",
}
TOPOLOGIES = {
    "TPU-v3": {chips: shape for chips, shape in FLAT.items() if chips in (4, 16, 32, 64, 128, 256)},
    "TPU-v4": DEEP,
    "TPU-v5e": FLAT,
    "TPU-v5p": DEEP,
    "TPU-v6e": FLAT,
}
SLICE_HOST_CHIPS = 4


@dataclass(frozen=True, slots=True)
class Ground:
    """What one provider's Kubernetes calls its spot nodes, and how it finds nodes.

    spot: label to the values that mean spot; any of the labels will do. taint: key and value that
    spot nodes are given, None where they have none by themselves.
    """

    spot: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    taint: tuple[str, str] | None = None
    types: bool = True  # nodes carry the catalog's instance type
    regions: bool = True  # and the catalog's name of the region


GROUNDS = {
    # Managed node groups, and Karpenter (EKS Auto Mode); EKS guide, "Managed node group capacity types".
    "aws": Ground(
        {"eks.amazonaws.com/capacityType": ("SPOT",), "karpenter.sh/capacity-type": ("spot",)}
    ),
    # GKE guide, "Spot VMs": the label is there always, the taint where one asks for it.
    "gcp": Ground({"cloud.google.com/gke-spot": ("true",)}, ("cloud.google.com/gke-spot", "true")),
    # AKS guide, "Add a spot node pool".
    "azure": Ground(
        {"kubernetes.azure.com/scalesetpriority": ("spot",)},
        ("kubernetes.azure.com/scalesetpriority", "spot"),
    ),
    # ACK's cloud controller since 2.10.2 (January 2025).
    "alibaba": Ground(
        {"node.alibabacloud.com/spot-strategy": ("SpotWithPriceLimit", "SpotAsPriceGo")}
    ),
    # OKE guide, "Capacity types". Its regions have short names there.
    "oci": Ground(
        {"oci.oraclecloud.com/oke-is-preemptible": ("true",)},
        ("oci.oraclecloud.com/oke-is-preemptible", "present"),
        regions=False,
    ),
}
UNKNOWN = Ground(types=False, regions=False)
AKS_GPU = "kubernetes.azure.com/accelerator"
ACK_GPU_COUNT = "aliyun.accelerator/nvidia_count"


def ground(provider: str) -> Ground:
    """What is known of the provider's Kubernetes; one's own cluster is asked for resources alone."""
    return GROUNDS.get(provider, UNKNOWN)


def node_selector(offer: PlannedOffer, kind: Kind, devices: int, workers: int) -> dict[str, str]:
    """Labels that a node of the offer carries, for so many workers of so many devices each.

    Raises InputError where GKE has no such TPU.
    """
    known = ground(offer.provider)
    labels: dict[str, str] = {}
    if known.regions:
        labels[REGION] = offer.region.lower()
    if kind == "tpu":
        labels[TPU_TYPE] = gke_tpu(offer.accelerator)
        labels[TPU_TOPOLOGY] = topology(offer.accelerator, devices, workers)
        return labels
    if known.types:
        labels[INSTANCE_TYPE] = machine_type(offer)
    if kind == "gpu" and offer.provider == "gcp" and offer.accelerator in GKE_GPUS:
        mega = offer.instance_type.startswith("a3-mega")
        labels[GKE_GPU] = GKE_MEGA if mega else GKE_GPUS[offer.accelerator]
    if kind == "gpu" and offer.provider == "azure":
        labels[AKS_GPU] = "nvidia"
    if kind == "gpu" and offer.provider == "alibaba":
        labels[ACK_GPU_COUNT] = str(offer.accelerator_count)
    return labels


def node_labels(offer: PlannedOffer, kind: Kind, devices: int, workers: int) -> dict[str, str]:
    """Those of `node_selector`; none where GKE has no such TPU, for not every form is Kubernetes'."""
    try:
        return node_selector(offer, kind, devices, workers)
    except InputError:
        return {}


def machine_type(offer: PlannedOffer) -> str:
    """The instance type as its nodes are labelled.

    The catalog writes Google Cloud's attached GPUs behind a plus, Oracle's flexible shapes with
    their size behind a dollar sign.
    """
    return offer.instance_type.split("+")[0].split("$")[0]


def gke_tpu(accelerator: str) -> str:
    """GKE's name of a TPU; InputError where it has none."""
    if accelerator not in GKE_TPUS:
        raise InputError(
            f"{accelerator} is not to be had in Google Kubernetes Engine; expected one of "
            f"{', '.join(GKE_TPUS)}. Plan with constraints.accelerators, or rent it without Kubernetes"
        )
    return GKE_TPUS[accelerator]


def topology(accelerator: str, chips_per_host: int, hosts: int) -> str:
    """The slice that so many hosts form; hosts that are whole slices stand beside each other.

    >>> topology("TPU-v5e", 4, 8), topology("TPU-v4", 4, 64), topology("TPU-v6e", 8, 8)
    ('4x8', '4x8x8', '2x4')
    """
    shapes = TOPOLOGIES[accelerator]
    chips = chips_per_host * hosts if chips_per_host == SLICE_HOST_CHIPS else chips_per_host
    if chips not in shapes:
        sizes = ", ".join(str(size // SLICE_HOST_CHIPS) for size in shapes if size >= 4)
        raise InputError(
            f"{hosts} hosts with {chips_per_host} chips of {accelerator} form no slice that Google "
            f"offers; plan for one of {sizes} hosts"
        )
    return shapes[chips]


def allocatable(vcpus: float, memory_gib: float) -> tuple[float, float]:
    """Processors and GiB that a node of that size leaves to one training pod.

    Memory: GKE's published reservation, a quarter of the first 4 GiB, 20 % of the next 4, 10 % of
    the next 8, 6 % of the next 112, 2 % above, and 0.1 GiB before eviction; EKS and AKS reserve
    less of large nodes. Processors: 0.1 and 1.1 % of them, above GKE's, EKS's and AKS's tables (AKS,
    the highest: 0.1 of 2, 0.74 of 64). Assumed for daemons (network, logs, drivers): 0.4 processors,
    0.7 GiB.

    >>> [round(part, 2) for part in allocatable(8, 32)]
    [7.41, 27.64]
    """
    left, reserved = memory_gib, 0.1 + 0.7
    for width, part in ((4, 0.25), (4, 0.20), (8, 0.10), (112, 0.06), (math.inf, 0.02)):
        piece = min(left, width)
        reserved += part * piece
        left -= piece
    return max(0.1, vcpus - 0.1 - 0.011 * vcpus - 0.4), max(0.25, memory_gib - reserved)
