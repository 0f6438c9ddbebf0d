"""Plans as files that other schedulers take: Kubernetes, JobSet, Kubeflow Trainer, PAI-DLC, SkyPilot.

order      what is to be placed, and the contract every worker carries
places     node labels, taints, devices and what a node has left, by provider
pods       the pod that all Kubernetes forms share      forms   Job, JobSet, TrainJob
dlc, sky   PAI-DLC and SkyPilot                          files   one order to one text, and back
checks     what is wrong with a manifest, by findings: shapes, shapes_sets, shapes_described (closed
           records), gang (one view of the workers), ganged (all checks of them: told, lifetime,
           privileges, volumes, resources, placing), names, secrets, describing (dlc, sky)
"""

from .checks import check
from .files import read, text
from .findings import Finding
from .order import Contract, Order

__all__ = ["Contract", "Finding", "Order", "check", "read", "text"]
