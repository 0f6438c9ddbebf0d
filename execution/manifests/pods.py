"""The pod that every Kubernetes form shares, and the objects beside it."""

import math
from typing import Any

from ...catalog import Purchase
from .order import BOOTSTRAP, DATA_PATH, GRACE_S, HOSTS, PORT, RUN_PATH, WORK, Order
from .places import HOST, ZONE, allocatable, ground, node_selector

INSTANCE = "app.kubernetes.io/instance"
Json = dict[str, Any]


def labels(order: Order) -> dict[str, str]:
    """What finds everything of one run."""
    return {"app.kubernetes.io/name": "isocost", INSTANCE: order.name}


def metadata(order: Order, name: str | None = None) -> Json:
    """Name, labels, and in words what the figures in the manifest come from."""
    offer = order.offer
    bought = order.purchase.replace("_", " ")
    described: Json = {
        "name": name or order.name,
        "labels": labels(order),
        "annotations": {
            "isocost.dev/offer": f"{order.nodes} x {offer.instance_type}, {offer.provider} "
            f"{offer.region}, {bought}, ${offer.price_usd_h:.4g}/h each",
            "isocost.dev/deadline": order.deadline_from,
        },
    }
    if order.namespace is not None:
        described["namespace"] = order.namespace
    return described


def environment(order: Order, host: str) -> list[Json]:
    """Where the others are, and what is to be done.

    host: of a rank, with {rank} for its number. TF_CONFIG is made from it in the worker: the index
    of an Indexed Job is in JOB_COMPLETION_INDEX, and no two pods of one template may differ.
    """
    addresses = [f"{host.format(rank=rank)}:{PORT}" for rank in range(order.workers)]
    return [
        {"name": HOSTS, "value": ",".join(addresses)},
        {"name": WORK, "value": order.contract.to_text()},
    ]


def pod(order: Order, name: str, host: str) -> Json:
    """The pod template; name: of its one container."""
    container: Json = {
        "name": name,
        "image": order.image,
        "command": list(BOOTSTRAP),
        "env": environment(order, host),
        "ports": [{"name": "tensorflow", "containerPort": PORT}],
        "resources": resources(order),
        "volumeMounts": [{"name": "run", "mountPath": RUN_PATH}],
    }
    volumes: list[Json] = [{"name": "run", "persistentVolumeClaim": {"claimName": order.claim}}]
    if order.code:
        items = [{"key": key, "path": path} for key, path in _keys(order).items()]
        container["volumeMounts"].append(
            {"name": "code", "mountPath": order.code_path, "readOnly": True}
        )
        volumes.append({"name": "code", "configMap": {"name": code_name(order), "items": items}})
    if order.data_claim is not None:
        container["volumeMounts"].append({"name": "data", "mountPath": DATA_PATH, "readOnly": True})
        volumes.append(
            {
                "name": "data",
                "persistentVolumeClaim": {"claimName": order.data_claim, "readOnly": True},
            }
        )
    if order.devices > 1:
        # NCCL joins the GPUs of a host through shared memory; a container has 64 MiB of it.
        container["volumeMounts"].append({"name": "shm", "mountPath": "/dev/shm"})
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}})
    spec: Json = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_S,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "nodeSelector": node_selector(order.offer, order.kind, order.devices, order.workers),
        "affinity": affinity(order),
        "tolerations": tolerations(order),
        "containers": [container],
        "volumes": volumes,
    }
    for empty in ("nodeSelector", "affinity", "tolerations"):
        if not spec[empty]:
            del spec[empty]
    return {"metadata": {"labels": labels(order)}, "spec": spec}


def affinity(order: Order) -> Json:
    """Spot or not as bought; workers in one zone; one on each machine where it is to have it alone."""
    pods = {"labelSelector": {"matchLabels": labels(order)}}
    chosen: Json = {}
    terms = _capacity(order.offer.provider, order.purchase)
    if terms:
        chosen["nodeAffinity"] = {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}
        }
    if order.workers > 1 and order.nodes > 1:
        chosen["podAffinity"] = {
            "requiredDuringSchedulingIgnoredDuringExecution": [pods | {"topologyKey": ZONE}]
        }
    if order.workers > 1 and order.workers_per_node == 1:
        chosen["podAntiAffinity"] = {
            "requiredDuringSchedulingIgnoredDuringExecution": [pods | {"topologyKey": HOST}]
        }
    return chosen


def _capacity(provider: str, purchase: Purchase) -> list[Json]:
    """Node selector terms: any of the spot labels for spot, none of them for everything else."""
    spot = ground(provider).spot
    if not spot:
        return []
    if purchase == Purchase.SPOT:
        return [
            {"matchExpressions": [{"key": label, "operator": "In", "values": list(values)}]}
            for label, values in spot.items()
        ]
    return [
        {
            "matchExpressions": [
                {"key": label, "operator": "NotIn", "values": list(values)}
                for label, values in spot.items()
            ]
        }
    ]


def tolerations(order: Order) -> list[dict[str, str]]:
    """Taints that a node of the offer may carry."""
    found: list[dict[str, str]] = []
    if order.device is not None:
        found.append({"key": order.device, "operator": "Exists", "effect": "NoSchedule"})
    taint = ground(order.offer.provider).taint
    if order.purchase == Purchase.SPOT and taint is not None:
        key, value = taint
        found.append({"key": key, "operator": "Equal", "value": value, "effect": "NoSchedule"})
    return found


def resources(order: Order) -> dict[str, dict[str, str]]:
    """Requests and limits of one worker: its share of what the system leaves of a node.

    Devices and memory have requests equal to limits; processors no limit, for throttling would
    only make steps uneven.
    """
    cpu, memory = allocatable(order.offer.vcpus, order.offer.memory_gib)
    share = order.workers_per_node
    requests = {
        "cpu": f"{max(100, math.floor(round(cpu / share * 1000, 3)))}m",
        "memory": f"{max(256, math.floor(memory / share * 1024))}Mi",
    }
    limits = {"memory": requests["memory"]}
    if order.device is not None:
        requests[order.device] = limits[order.device] = str(order.devices)
    return {"requests": requests, "limits": limits}


def service(order: Order) -> Json:
    """A headless service: it gives every pod a name that the others reach it by, ready or not."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(order),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": labels(order),
            "ports": [{"name": "tensorflow", "port": PORT, "targetPort": PORT}],
        },
    }


def code_name(order: Order) -> str:
    return f"{order.name}-code"


def code_map(order: Order) -> list[Json]:
    """The user's own model as a ConfigMap; nothing where it is built in or in the image."""
    if not order.code:
        return []
    data = {key: order.code[path] for key, path in _keys(order).items()}
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata(order, code_name(order)),
            "data": data,
        }
    ]


def _keys(order: Order) -> dict[str, str]:
    """Keys of the ConfigMap to paths; a key has no slash."""
    return {path.replace("/", "__"): path for path in order.code}
