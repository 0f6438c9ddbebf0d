"""Gangs on a Kubernetes cluster, through its official client: Job, JobSet or TrainJob.

The cluster owns the workers: it restarts them and ends them at their deadline. This side submits,
watches and stops. Tried against a server that answers as the API does, on no real cluster.
"""

import contextlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...catalog.files import InputError
from ..manifests import read
from ..manifests.checks import check
from ..manifests.files import text
from ..manifests.order import Order
from ..manifests.pods import INSTANCE
from .base import EngineFailed, Launch

# The API of custom objects serves every group, Jobs' own included.
GROUPS = {
    "Job": ("batch", "v1", "jobs", "Kubernetes"),
    "JobSet": ("jobset.x-k8s.io", "v1alpha2", "jobsets", "the JobSet controller"),
    "TrainJob": ("trainer.kubeflow.org", "v1alpha1", "trainjobs", "Kubeflow Trainer"),
    "TrainingRuntime": (
        "trainer.kubeflow.org",
        "v1alpha1",
        "trainingruntimes",
        "Kubeflow Trainer",
    ),
}
INDEX = "batch.kubernetes.io/job-completion-index"
POLL_S = 2.0
GONE_S = 180.0  # grace of the pods, and what the API server needs
TIMEOUT_S = 30.0  # of one call
# What comes back of an object that is made or removed differs between versions, and is not looked at.
RAW: dict[str, Any] = {"_preload_content": False, "_request_timeout": TIMEOUT_S}


class Kubernetes:
    """An order on the cluster of the current kubeconfig context, or of another one."""

    here = False

    def __init__(self, form: str, order: Order, context: str | None = None) -> None:
        self.name, self._order, self._context = form, order, context

    def available(self) -> str | None:
        try:
            import kubernetes.config
        except ImportError:
            return (
                "the Kubernetes client is not installed; install it with "
                "pip install 'isocost[kubernetes]', or print the manifest with --dry-run"
            )
        try:
            kubernetes.config.list_kube_config_contexts()
        except kubernetes.config.ConfigException as error:
            if Path("/var/run/secrets/kubernetes.io/serviceaccount/token").exists():
                return None
            return f"no cluster is configured ({error}); set KUBECONFIG, or use --dry-run"
        return None

    def describe(self, launch: Launch | None = None) -> str:
        return text(self.name, self._order)

    def submit(self, launch: Launch | None = None) -> "KubernetesPlacement":
        """Create every object of the manifest; if one cannot be, remove those before it."""
        documents = read(self.describe(), "the manifest")
        if findings := check(documents, self._order.contract):
            raise InputError("; ".join(finding.sentence for finding in findings))
        cluster = Cluster(self._context, self._order.namespace)
        made: list[Mapping[str, Any]] = []
        try:
            for document in documents:
                cluster.create(document)
                made.append(document)
        except BaseException:
            for document in reversed(made):
                cluster.delete(document)
            raise
        return KubernetesPlacement(cluster, self._order, documents)


class Cluster:
    """The few calls to the API server that a run needs."""

    def __init__(self, context: str | None, namespace: str | None) -> None:
        from kubernetes import client, config

        try:
            config.load_kube_config(context=context)
            known = config.list_kube_config_contexts()[0]
            active = config.list_kube_config_contexts()[1]
            chosen = next((one for one in known if one["name"] == context), active)
            default = chosen["context"].get("namespace", "default")
        except config.ConfigException as outside:
            try:
                config.load_incluster_config()
            except config.ConfigException:
                raise InputError(
                    f"no cluster is configured ({outside}); set KUBECONFIG or --context"
                ) from None
            default = "default"
        self.namespace = namespace or default
        api = client.ApiClient()
        # Any: their signatures want objects where they take mappings, as a manifest has them.
        self._core: Any = client.CoreV1Api(api)
        self._custom: Any = client.CustomObjectsApi(api)

    def create(self, document: Mapping[str, Any]) -> None:
        kind, name = document["kind"], document["metadata"]["name"]
        with self._asking(f"create {kind.lower()}/{name}", kind):
            if kind == "Service":
                self._core.create_namespaced_service(self.namespace, document, **RAW)
            elif kind == "ConfigMap":
                self._core.create_namespaced_config_map(self.namespace, document, **RAW)
            else:
                group, version, plural, _ = GROUPS[kind]
                self._custom.create_namespaced_custom_object(
                    group, version, self.namespace, plural, document, **RAW
                )

    def delete(self, document: Mapping[str, Any]) -> None:
        """Remove an object with what it owns; it may be gone already."""
        kind, name = document["kind"], document["metadata"]["name"]
        owned = RAW | {"propagation_policy": "Background"}
        with self._asking(f"delete {kind.lower()}/{name}", kind, gone=True):
            if kind == "Service":
                self._core.delete_namespaced_service(name, self.namespace, **owned)
            elif kind == "ConfigMap":
                self._core.delete_namespaced_config_map(name, self.namespace, **owned)
            else:
                group, version, plural, _ = GROUPS[kind]
                self._custom.delete_namespaced_custom_object(
                    group, version, self.namespace, plural, name, **owned
                )

    def suspend(self, document: Mapping[str, Any]) -> None:
        """End the pods in good order (SIGTERM, grace), and keep the object."""
        kind, name = document["kind"], document["metadata"]["name"]
        group, version, plural, _ = GROUPS[kind]
        with self._asking(f"suspend {kind.lower()}/{name}", kind, gone=True):
            self._custom.patch_namespaced_custom_object(
                group, version, self.namespace, plural, name, {"spec": {"suspend": True}}, **RAW
            )

    def conditions(self, document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """What the controller says of the object: type, status, reason, message."""
        kind, name = document["kind"], document["metadata"]["name"]
        group, version, plural, _ = GROUPS[kind]
        with self._asking(f"read {kind.lower()}/{name}", kind):
            found = self._custom.get_namespaced_custom_object(
                group, version, self.namespace, plural, name, _request_timeout=TIMEOUT_S
            )
        return list((found.get("status") or {}).get("conditions") or [])

    def pods(self, name: str) -> list[Any]:
        """The pods of a run, the newest of each rank last."""
        with self._asking("list the pods", "Pod"):
            listed = self._core.list_namespaced_pod(
                self.namespace, label_selector=f"{INSTANCE}={name}", _request_timeout=TIMEOUT_S
            )
        return sorted(listed.items, key=lambda pod: pod.metadata.creation_timestamp)

    def log(self, pod: str, lines: int) -> str:
        with self._asking(f"read the log of {pod}", "Pod", gone=True):
            return str(
                self._core.read_namespaced_pod_log(
                    pod, self.namespace, tail_lines=lines, _request_timeout=TIMEOUT_S
                )
            )
        return ""

    @contextlib.contextmanager
    def _asking(self, what: str, kind: str, *, gone: bool = False) -> Iterator[None]:
        """Turn what the client raises into a sentence; gone: it is well if there is nothing there."""
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            yield
        except ApiException as error:
            if gone and error.status == 404:
                return
            raise _said(error, what, kind, self.namespace) from None
        except HTTPError as error:
            raise EngineFailed(f"the cluster does not answer: could not {what}: {error}") from None


def _said(error: Any, what: str, kind: str, namespace: str) -> Exception:
    try:
        message = json.loads(error.body or "")["message"]
    except (ValueError, KeyError, TypeError):
        message = error.reason
    if error.status == 409:
        return InputError(
            f"could not {what}: it exists already in namespace {namespace}; give the run another "
            "--name, or delete it"
        )
    if error.status in (401, 403):
        return InputError(f"could not {what}: {message}; your account needs that right there")
    if error.status == 404 and kind in GROUPS:
        return InputError(
            f"could not {what}: the cluster knows no {kind}; install {GROUPS[kind][3]}, or use "
            "--engine kubernetes"
        )
    if error.status == 404:
        return InputError(f"could not {what}: {message}; is there a namespace {namespace}?")
    if error.status in (400, 422):
        return InputError(f"could not {what}: the cluster refuses it: {message}")
    return EngineFailed(f"could not {what}: {error.status} {message}")


class KubernetesPlacement:
    """A run on the cluster: watch it, and stop it."""

    def __init__(
        self, cluster: Cluster, order: Order, documents: Sequence[Mapping[str, Any]]
    ) -> None:
        self._cluster, self._order, self._documents = cluster, order, documents
        self._main = next(one for one in documents if one["kind"] in ("Job", "JobSet", "TrainJob"))

    @property
    def logs(self) -> Sequence[Path]:
        """None here: they are the cluster's; see ``last_words``."""
        return ()

    def ranks(self) -> dict[int, Any]:
        """The newest pod of each rank."""
        found: dict[int, Any] = {}
        for pod in self._cluster.pods(self._order.name):
            told = {**(pod.metadata.labels or {}), **(pod.metadata.annotations or {})}
            if str(told.get(INDEX, "")).isdigit():
                found[int(told[INDEX])] = pod
        return found

    def hosts(self) -> tuple[str, ...]:
        ranks = self.ranks()
        nodes = [ranks[rank].spec.node_name for rank in sorted(ranks)]
        return tuple(nodes) if len(nodes) == self._order.workers and all(nodes) else ()

    def waiting(self) -> str | None:
        """Why not all workers run yet, in the cluster's words."""
        ranks = self.ranks()
        started = [rank for rank, pod in ranks.items() if pod.status.phase != "Pending"]
        if len(started) == self._order.workers or self.ended() is not None:
            return None
        reasons = [
            f"{condition.reason}: {condition.message}"
            for pod in ranks.values()
            for condition in pod.status.conditions or []
            if condition.status == "False" and condition.message
        ]
        why = f" ({reasons[0]})" if reasons else ""
        return f"{len(started)} of {self._order.workers} workers run{why}"

    def codes(self) -> list[int | None]:
        ranks = self.ranks()
        return [
            _code(ranks[rank]) if rank in ranks else None for rank in range(self._order.workers)
        ]

    def ended(self) -> bool | None:
        """True when the controller says it is complete, False when it failed, None before."""
        for condition in self._cluster.conditions(self._main):
            if str(condition["status"]) == "True":
                if condition["type"] in ("Complete", "Completed", "SuccessCriteriaMet"):
                    return True
                if condition["type"] in ("Failed", "FailureTarget"):
                    return False
        return None

    def fault(self) -> str | None:
        for condition in self._cluster.conditions(self._main):
            if (
                condition["type"] in ("Failed", "FailureTarget")
                and str(condition["status"]) == "True"
            ):
                said = ": ".join(
                    str(condition[key]) for key in ("reason", "message") if condition.get(key)
                )
                return f"the cluster ended the run ({said or 'it gives no reason'})"
        return None

    def last_words(self, lines: int = 20) -> str:
        """The end of the chief's log; empty where there is none."""
        chief = self.ranks().get(0)
        return "" if chief is None else self._cluster.log(chief.metadata.name, lines)

    def terminate(self) -> None:
        """Ask every worker to save and end: the run is suspended, and can go on later."""
        self._cluster.suspend(self._main)

    def kill(self) -> None:
        """Remove every object of the run, and wait until its pods are gone."""
        for document in reversed(self._documents):
            self._cluster.delete(document)
        until = time.monotonic() + GONE_S
        while self._cluster.pods(self._order.name):
            if time.monotonic() > until:
                raise EngineFailed(
                    f"pods of {self._order.name} are still there {GONE_S:.0f} s after their end was "
                    f"asked for; look at: kubectl get pods -l {INSTANCE}={self._order.name}"
                )
            time.sleep(POLL_S)


def _code(pod: Any) -> int | None:
    if pod.status.phase == "Succeeded":
        return 0
    states = [one.state.terminated for one in pod.status.container_statuses or [] if one.state]
    codes = [state.exit_code for state in states if state is not None]
    return codes[0] if codes else (1 if pod.status.phase == "Failed" else None)
