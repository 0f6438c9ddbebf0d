"""An order as the objects of Kubernetes, JobSet or Kubeflow Trainer. Pure: same order, same objects."""

from collections.abc import Callable

from .order import Order
from .pods import Json, code_map, labels, metadata, pod, service

REFUSED = 2  # the worker's exit code for what no restart mends
STOPPED = 4  # and for a run that its deadline ended


def indexed_job(order: Order) -> list[Json]:
    """A Job whose pods have numbers, and the headless Service that names them.

    A worker that dies takes its peers along (their all-reduce fails), and each comes back as a new
    pod: backoffLimit counts pods, so it is restarts times workers. What Kubernetes itself takes
    away (a drained or preempted node) does not count; what no restart mends ends the Job.
    """
    name = "worker"
    template = pod(order, name, f"{order.name}-{{rank}}.{order.name}")
    template["spec"] = {"subdomain": order.name} | template["spec"]
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(order),
        "spec": {
            "completionMode": "Indexed",
            "completions": order.workers,
            "parallelism": order.workers,
            "activeDeadlineSeconds": order.deadline_s,
            "backoffLimit": order.restarts * order.workers,
            "podFailurePolicy": {
                "rules": [
                    _no_restart(name),
                    {
                        "action": "Ignore",
                        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                    },
                ]
            },
            "template": template,
        },
    }
    return [*code_map(order), service(order), job]


def _no_restart(container: str) -> Json:
    codes = {"containerName": container, "operator": "In", "values": [REFUSED, STOPPED]}
    return {"action": "FailJob", "onExitCodes": codes}


def jobset(order: Order) -> list[Json]:
    """A JobSet: any failure starts the whole gang anew; it makes the headless Service itself."""
    host = f"{order.name}-worker-0-{{rank}}.{order.name}"
    return [
        *code_map(order),
        {
            "apiVersion": "jobset.x-k8s.io/v1alpha2",
            "kind": "JobSet",
            "metadata": metadata(order),
            "spec": _set(order, "worker", host, order.workers)
            | {
                "network": {
                    "enableDNSHostnames": True,
                    "subdomain": order.name,
                    "publishNotReadyAddresses": True,
                }
            },
        },
    ]


def _set(order: Order, name: str, host: str, workers: int | None) -> Json:
    """The JobSet spec; workers None where somebody else fills the number in."""
    size = {} if workers is None else {"completions": workers, "parallelism": workers}
    return {
        "failurePolicy": {
            "maxRestarts": order.restarts,
            "rules": [
                {
                    # Refused, or over time: the same would happen again.
                    "name": "no-restart",
                    "action": "FailJobSet",
                    "onJobFailureReasons": ["PodFailurePolicy", "DeadlineExceeded"],
                }
            ],
        },
        "replicatedJobs": [
            {
                "name": name,
                "replicas": 1,
                "template": {
                    "metadata": {"labels": labels(order)},
                    "spec": {
                        "completionMode": "Indexed",
                        **size,
                        "activeDeadlineSeconds": order.deadline_s,
                        "backoffLimit": 0,
                        "podFailurePolicy": {"rules": [_no_restart(name)]},
                        "template": pod(order, name, host),
                    },
                },
            }
        ],
    }


def trainjob(order: Order) -> list[Json]:
    """A TrainJob of Kubeflow Trainer, and the runtime for it: none for TensorFlow ships with it.

    Trainer fills in numNodes, makes a JobSet and names hosts JOB-node-0-RANK.JOB; the container
    that trains must be called node.
    """
    api = "trainer.kubeflow.org/v1alpha1"
    name, host = "node", f"{order.name}-node-0-{{rank}}.{order.name}"
    template = _set(order, name, host, None)
    job = template["replicatedJobs"][0]["template"]
    job["metadata"]["labels"] = labels(order) | {
        "trainer.kubeflow.org/trainjob-ancestor-step": "trainer"
    }
    container = job["spec"]["template"]["spec"]["containers"][0]
    trainer = {
        "numNodes": order.workers,
        "image": container["image"],
        "command": container["command"],
        "env": container.pop("env"),
        "resourcesPerNode": container.pop("resources"),
    }
    return [
        *code_map(order),
        {
            "apiVersion": api,
            "kind": "TrainingRuntime",
            "metadata": metadata(order),
            "spec": {"mlPolicy": {"numNodes": order.workers}, "template": {"spec": template}},
        },
        {
            "apiVersion": api,
            "kind": "TrainJob",
            "metadata": metadata(order),
            "spec": {
                "runtimeRef": {
                    "apiGroup": "trainer.kubeflow.org",
                    "kind": "TrainingRuntime",
                    "name": order.name,
                },
                "trainer": trainer,
                "activeDeadlineSeconds": order.deadline_s,
            },
        },
    ]


FORMS: dict[str, Callable[[Order], list[Json]]] = {
    "kubernetes": indexed_job,
    "jobset": jobset,
    "trainjob": trainjob,
    "ack": indexed_job,
}
