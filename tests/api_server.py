"""A server that answers as Kubernetes' API does, for the few calls that a run makes.

Objects live in a dictionary by their address. A job that is created gets its pods; a test says what
becomes of them. Answers have the recorded shape of a real API server's: kind, metadata, status.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

Object = dict[str, Any]
KNOWN = {
    "/apis/batch/v1/namespaces/{ns}/jobs": "Job",
    "/api/v1/namespaces/{ns}/services": "Service",
    "/api/v1/namespaces/{ns}/configmaps": "ConfigMap",
    "/api/v1/namespaces/{ns}/pods": "Pod",
    "/apis/jobset.x-k8s.io/v1alpha2/namespaces/{ns}/jobsets": "JobSet",
    "/apis/trainer.kubeflow.org/v1alpha1/namespaces/{ns}/trainjobs": "TrainJob",
    "/apis/trainer.kubeflow.org/v1alpha1/namespaces/{ns}/trainingruntimes": "TrainingRuntime",
}


class Api:
    """The state of the cluster; refuse: kinds it does not know, forbid: kinds it lets nobody make."""

    def __init__(self, namespace: str = "default") -> None:
        self.namespace = namespace
        self.objects: dict[str, Object] = {}
        self.asked: list[tuple[str, str]] = []
        self.log = ""
        self.unknown: set[str] = set()
        self.forbidden: set[str] = set()
        self.collections = {path.format(ns=namespace): kind for path, kind in KNOWN.items()}

    def named(self, kind: str) -> list[Object]:
        return [one for one in self.objects.values() if one["kind"] == kind]

    def finish(self, kind: str, *, failed: str | None = None) -> None:
        """End the run: pods and the condition of the object."""
        for pod in self.named("Pod"):
            pod["status"]["phase"] = "Failed" if failed else "Succeeded"
            code = 1 if failed else 0
            pod["status"]["containerStatuses"] = [
                {
                    "name": "worker",
                    "image": "x",
                    "imageID": "x",
                    "ready": False,
                    "restartCount": 0,
                    "state": {"terminated": {"exitCode": code, "reason": "Completed"}},
                }
            ]
        condition = {
            "type": "Failed" if failed else "Complete" if kind == "Job" else "Completed",
            "status": "True",
            "reason": failed or "AllDone",
            "message": "what the controller says",
            "lastTransitionTime": "2026-11-24T22:00:00Z",
        }
        for one in self.named(kind):
            one["status"] = {"conditions": [condition]}

    def run_pods(self, phase: str = "Running") -> None:
        for pod in self.named("Pod"):
            pod["status"] = {"phase": phase}
            pod["spec"]["nodeName"] = f"node-{pod['metadata']['name']}"

    def answer(self, method: str, path: str, query: Object, body: Object | None) -> tuple[int, Any]:
        self.asked.append((method, path))
        if path.endswith("/log"):
            return 200, self.log
        if path in self.collections:
            kind = self.collections[path]
            if kind in self.unknown:
                return 404, status(
                    404, "NotFound", "the server could not find the requested resource"
                )
            if method == "GET":
                return 200, self._listed(kind, query)
            assert body is not None
            return self._create(kind, path, body)
        if path not in self.objects:
            return 404, status(404, "NotFound", f"{path.rsplit('/', 1)[-1]} not found")
        if method == "DELETE":
            gone = self.objects.pop(path)
            if gone["kind"] in ("Job", "JobSet", "TrainJob"):
                self._end_pods()
            return 200, gone if gone["kind"] == "Service" else status(200, "Success", "")
        if method == "PATCH":
            assert body is not None
            self.objects[path]["spec"].update(body["spec"])
            self._end_pods()
        return 200, self.objects[path]

    def _listed(self, kind: str, query: Object) -> Object:
        key, _, value = query.get("labelSelector", ["="])[0].partition("=")
        items = [
            one
            for one in self.named(kind)
            if one["metadata"].get("labels", {}).get(key) == value or not key
        ]
        return {"apiVersion": "v1", "kind": f"{kind}List", "metadata": {}, "items": items}

    def _create(self, kind: str, path: str, body: Object) -> tuple[int, Object]:
        name = body["metadata"]["name"]
        if kind in self.forbidden:
            words = f'{kind.lower()}s is forbidden: User "me" cannot create resource'
            return 403, status(403, "Forbidden", words)
        if f"{path}/{name}" in self.objects:
            return 409, status(409, "AlreadyExists", f'"{name}" already exists')
        made = json.loads(json.dumps(body))
        made["metadata"] |= {"uid": f"uid-{name}", "creationTimestamp": "2026-11-24T22:00:00Z"}
        made["status"] = {}
        self.objects[f"{path}/{name}"] = made
        if kind in ("Job", "JobSet", "TrainJob"):
            self._make_pods(made)
        return 201, made

    def _make_pods(self, owner: Object) -> None:
        spec = owner["spec"]
        size = spec.get("completions") or spec.get("trainer", {}).get("numNodes")
        if owner["kind"] == "JobSet":
            size = spec["replicatedJobs"][0]["template"]["spec"]["completions"]
        for index in range(size):
            name = f"{owner['metadata']['name']}-{index}-abcde"
            self.objects[f"/api/v1/namespaces/{self.namespace}/pods/{name}"] = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": name,
                    "labels": dict(owner["metadata"]["labels"]),
                    "annotations": {"batch.kubernetes.io/job-completion-index": str(index)},
                    "creationTimestamp": "2026-11-24T22:00:01Z",
                },
                "spec": {"containers": [{"name": "worker"}]},
                "status": {
                    "phase": "Pending",
                    "conditions": [
                        {
                            "type": "PodScheduled",
                            "status": "False",
                            "reason": "Unschedulable",
                            "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
                        }
                    ],
                },
            }

    def _end_pods(self) -> None:
        for path in [path for path, one in self.objects.items() if one["kind"] == "Pod"]:
            del self.objects[path]


def status(code: int, reason: str, message: str) -> Object:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success" if code == 200 else "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }


@contextmanager
def serving(api: Api, kubeconfig: Path) -> Iterator[Api]:
    """Serve on loopback, and write a kubeconfig that leads there."""

    class Handler(BaseHTTPRequestHandler):
        def _all(self) -> None:
            address = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            code, answer = api.answer(self.command, address.path, parse_qs(address.query), body)
            content = answer if isinstance(answer, str) else json.dumps(answer)
            self.send_response(code)
            kind = "text/plain" if isinstance(answer, str) else "application/json"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content.encode())))
            self.end_headers()
            self.wfile.write(content.encode())

        do_GET = do_POST = do_PATCH = do_DELETE = _all

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    cluster = {"server": f"http://127.0.0.1:{server.server_address[1]}"}
    kubeconfig.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "test", "cluster": cluster}],
                "users": [{"name": "me", "user": {}}],
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": "me"}}],
                "current-context": "test",
            }
        ),
        encoding="utf-8",
    )
    try:
        yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
