"""Plans as files that other schedulers take: Kubernetes, JobSet, Kubeflow Trainer, PAI-DLC, SkyPilot.

order      what is to be placed, and the contract every worker carries
places     node labels, taints, devices and what a node has left, by provider
pods       the pod that all Kubernetes forms share      forms   Job, JobSet, TrainJob
dlc, sky   PAI-DLC and SkyPilot                          files   one order to one text, and back
checks     what is wrong with a manifest: shapes (closed records), gang and ganged (workers),
           describing (dlc, sky), told (contract, image, environment), secrets, findings
"""

from .checks import check
from .files import read, text
from .findings import Finding
from .order import Contract, Order

__all__ = ["Contract", "Finding", "Order", "check", "read", "text"]
