"""Manifests: what they say, that Kubernetes' own schemas take them, and that mistakes are found."""

import copy
import json
import os
import random
import re
import string
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from isocost.catalog import Purchase
from isocost.catalog.files import InputError
from isocost.execution.manifests import check, read, shapes, text
from isocost.execution.manifests.checks import KINDS
from isocost.execution.manifests.code import code_of
from isocost.execution.manifests.dlc import dlc_job
from isocost.execution.manifests.order import Contract, slug
from isocost.execution.manifests.places import allocatable, topology
from isocost.execution.manifests.secrets import secret_in, secret_name
from isocost.execution.manifests.shapes import Shape

from .conftest import ROOT
from .orders import ALIBABA, CLOUD, OFFERS, order

SCHEMAS = Path(os.environ.get("ISOCOST_SHARED", ROOT.parent / "shared")) / "schemas"
KUBERNETES = "1.37"
FORMS = ("kubernetes", "jobset", "trainjob")
Document = dict[str, Any]

needs_schemas = pytest.mark.skipif(
    not SCHEMAS.is_dir(), reason=f"the published schemas are not at {SCHEMAS}"
)


def rendered(
    form: str, name: str = "gcp T4", workers: int = 8, **changes: object
) -> list[Document]:
    """The documents of a form as they come back from its text."""
    return [dict(one) for one in read(text(form, order(name, workers, **changes)), form)]


def sentences(documents: list[Document], expected: Contract | None = None) -> list[str]:
    return [finding.sentence for finding in check(documents, expected)]


# -- what the published schemas say ------------------------------------------------------------


@cache
def core_schema(kind: str, group: str) -> tuple[Any, Any]:
    """Validator of a core object, and its definitions; unknown keys refused."""
    import referencing
    from jsonschema import Draft202012Validator
    from kubernetes_validate.utils import schema_contents

    folder = f"kubernetes-json-schema/v{KUBERNETES}.0-local-strict"
    schema = schema_contents(f"{folder}/{kind.lower()}-{group}.json", KUBERNETES)
    definitions = definitions_of()
    registry = referencing.Resource.from_contents(definitions) @ referencing.Registry()
    return Draft202012Validator(schema, registry=registry), definitions


@cache
def definitions_of() -> Any:
    from kubernetes_validate.utils import schema_contents

    folder = f"kubernetes-json-schema/v{KUBERNETES}.0-local-strict"
    return schema_contents(f"{folder}/_definitions.json", KUBERNETES)


@cache
def crd_schema(kind: str) -> Any:
    """Validator of a custom object; unknown keys refused."""
    from jsonschema import Draft202012Validator

    plural = {
        "JobSet": "jobset.x-k8s.io_jobsets",
        "TrainJob": "trainer.kubeflow.org_trainjobs",
        "TrainingRuntime": "trainer.kubeflow.org_trainingruntimes",
    }[kind]
    (path,) = SCHEMAS.glob(f"{plural}.*.yaml")
    definition = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    (version,) = definition["spec"]["versions"]
    schema = closed(version["schema"]["openAPIV3Schema"])
    schema["required"] = ["apiVersion", "kind", "metadata", "spec"]
    # The server itself looks after metadata, and after what stands in a template of a Job's.
    for path_to in (("metadata",),):
        schema["properties"][path_to[0]] = {"type": "object"}
    return Draft202012Validator(schema)


def closed(schema: Any) -> Any:
    """A structural schema in which every object refuses keys it does not name."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(value) for key, value in schema.items()}
    if made.pop("x-kubernetes-int-or-string", False) is True:
        made.pop("type", None)
        made["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if isinstance(made.get("properties"), dict) and "additionalProperties" not in made:
        made["additionalProperties"] = False
    return made


def refusals(documents: list[Document]) -> list[str]:
    """What the published schemas refuse."""
    found = []
    for one in documents:
        group = one["apiVersion"].replace("batch/", "batch-")
        if one["kind"] in ("JobSet", "TrainJob", "TrainingRuntime"):
            validator = crd_schema(one["kind"])
        else:
            validator, _ = core_schema(one["kind"], group)
        found += [error.message for error in validator.iter_errors(one)]
    return found


@needs_schemas
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("workers", [1, 8, 64])
def test_manifests_of_all_plans_hold_to_the_published_schemas_and_to_our_checks(
    form: str, workers: int
) -> None:
    pytest.importorskip("kubernetes_validate")
    for name in OFFERS:
        for purchase in (Purchase.ON_DEMAND, Purchase.SPOT):
            documents = rendered(form, name, workers, purchase=purchase)
            assert refusals(documents) == [], (name, purchase)
            assert sentences(documents) == [], (name, purchase)


def test_kubernetes_validate_itself_takes_the_job_strictly() -> None:
    library = pytest.importorskip("kubernetes_validate")
    for document in rendered("kubernetes", "aws A100", 8, code={"train.py": "x = 1\n"}):
        library.validate(document, KUBERNETES, strict=True)
    wrong = rendered("kubernetes")[-1]
    wrong["spec"]["compeltions"] = 8
    with pytest.raises(library.ValidationError, match="compeltions"):
        library.validate(wrong, KUBERNETES, strict=True)


def test_the_closed_records_know_every_key_of_the_published_schemas() -> None:
    pytest.importorskip("kubernetes_validate")
    definitions = definitions_of()["$defs"]
    core, batch = "io.k8s.api.core.v1", "io.k8s.api.batch.v1"
    parts = {
        "Beside": f"{core}.PodAffinityTerm",
        "Capabilities": f"{core}.Capabilities",
        "Claim": f"{core}.PersistentVolumeClaimVolumeSource",
        "ConfigMapSource": f"{core}.ConfigMapVolumeSource",
        "Container": f"{core}.Container",
        "ContainerPort": f"{core}.ContainerPort",
        "Env": f"{core}.EnvVar",
        "ExitCodes": f"{batch}.PodFailurePolicyOnExitCodesRequirement",
        "FailureRule": f"{batch}.PodFailurePolicyRule",
        "HostPath": f"{core}.HostPathVolumeSource",
        "JobSpec": f"{batch}.JobSpec",
        "Key": f"{core}.SecretKeySelector",
        "Memory": f"{core}.EmptyDirVolumeSource",
        "Metadata": "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta",
        "Mount": f"{core}.VolumeMount",
        "PodSecurity": f"{core}.PodSecurityContext",
        "PodSpec": f"{core}.PodSpec",
        "Resources": f"{core}.ResourceRequirements",
        "Seccomp": f"{core}.SeccompProfile",
        "SecurityContext": f"{core}.SecurityContext",
        "ServicePort": f"{core}.ServicePort",
        "ServiceSpec": f"{core}.ServiceSpec",
        "Source": f"{core}.EnvVarSource",
        "Term": f"{core}.NodeSelectorTerm",
        "Toleration": f"{core}.Toleration",
        "Volume": f"{core}.Volume",
    }
    for ours, theirs in parts.items():
        shape: type[Shape] = getattr(shapes, ours)
        published = set(definitions[theirs]["properties"])
        assert set(shape.model_fields) | set(shape.also.split()) == published, ours


# -- what they say -----------------------------------------------------------------------------


def test_every_worker_finds_the_others_by_the_names_that_its_form_gives_pods() -> None:
    hosts = {}
    for form in FORMS:
        documents = rendered(form, workers=2)
        container = (
            documents[-1]["spec"]["trainer"] if form == "trainjob" else container_of(documents[-1])
        )
        (value,) = (env["value"] for env in container["env"] if env["name"] == "ISOCOST_HOSTS")
        hosts[form] = value
    name = "cifar10-cnn"
    assert hosts["kubernetes"] == f"{name}-0.{name}:2222,{name}-1.{name}:2222"
    assert hosts["jobset"] == f"{name}-worker-0-0.{name}:2222,{name}-worker-0-1.{name}:2222"
    assert hosts["trainjob"] == f"{name}-node-0-0.{name}:2222,{name}-node-0-1.{name}:2222"


def pod_of(document: Document) -> Document:
    spec = document["spec"]
    if document["kind"] == "TrainingRuntime":
        spec = spec["template"]["spec"]
    if "replicatedJobs" in spec:
        spec = spec["replicatedJobs"][0]["template"]["spec"]
    pod: Document = spec["template"]["spec"]
    return pod


def container_of(document: Document) -> Document:
    container: Document = pod_of(document)["containers"][0]
    return container


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        (
            "gcp T4",
            {
                "node.kubernetes.io/instance-type": "n1-standard-8",
                "cloud.google.com/gke-accelerator": "nvidia-tesla-t4",
            },
        ),
        ("gcp H100", {"cloud.google.com/gke-accelerator": "nvidia-h100-mega-80gb"}),
        ("aws A100", {"node.kubernetes.io/instance-type": "p4d.24xlarge"}),
        ("azure T4", {"kubernetes.azure.com/accelerator": "nvidia"}),
        ("alibaba A10", {"aliyun.accelerator/nvidia_count": "1"}),
        (
            "TPU v5e",
            {
                "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
                "cloud.google.com/gke-tpu-topology": "4x8",
            },
        ),
    ],
)
def test_nodes_are_asked_for_by_the_labels_of_their_provider(
    name: str, labels: dict[str, str]
) -> None:
    selector = pod_of(rendered("kubernetes", name)[-1])["nodeSelector"]
    assert labels.items() <= selector.items()


def test_own_clusters_are_asked_for_resources_alone() -> None:
    pod = pod_of(rendered("kubernetes", "own CPU")[-1])
    assert "nodeSelector" not in pod
    assert "nodeAffinity" not in pod["affinity"]
    assert pod["containers"][0]["resources"]["requests"]["cpu"] == "1478m"


def test_spot_is_asked_for_where_it_is_planned_and_shunned_elsewhere() -> None:
    spot = pod_of(rendered("jobset", "gcp T4", purchase=Purchase.SPOT)[-1])
    plain = pod_of(rendered("jobset", "gcp T4")[-1])
    label = "cloud.google.com/gke-spot"
    assert {"key": label, "operator": "Equal", "value": "true", "effect": "NoSchedule"} in (
        spot["tolerations"]
    )
    assert label not in json.dumps(plain["tolerations"])
    assert '"operator": "In"' in json.dumps(spot["affinity"]["nodeAffinity"])
    assert '"operator": "NotIn"' in json.dumps(plain["affinity"]["nodeAffinity"])


@pytest.mark.parametrize("vcpus", [2, 4, 8, 16, 32, 64, 96])
def test_a_node_has_more_than_is_asked_for(vcpus: int) -> None:
    # Reserved by AKS (its guide, "Resource reservations") and by GKE ("Plan node sizes"), cores.
    aks = {2: 0.1, 4: 0.14, 8: 0.18, 16: 0.26, 32: 0.42, 64: 0.74, 96: 0.74}
    gke = 0.06 + 0.01 + min(2, max(0, vcpus - 2)) * 0.005 + max(0, vcpus - 4) * 0.0025
    cpu, memory = allocatable(vcpus, 4 * vcpus)
    assert 0 < cpu <= vcpus - max(aks[vcpus], gke) - 0.3
    assert 0 < memory < 4 * vcpus


def test_tpu_slices_that_google_does_not_offer_are_refused_with_those_it_does() -> None:
    with pytest.raises(InputError, match=r"3 hosts with 4 chips .* 1, 2, 4, 8"):
        topology("TPU-v5e", 4, 3)
    with pytest.raises(InputError, match="TPU-v2 is not to be had"):
        rendered(
            "kubernetes",
            "TPU v4",
            offer=order("TPU v4").offer.model_copy(update={"accelerator": "TPU-v2"}),
        )


@given(st.text(max_size=80))
def test_any_job_name_becomes_a_dns_label(name: str) -> None:
    made = slug(name)
    assert 1 <= len(made) <= 40
    assert set(made) <= set(string.ascii_lowercase + string.digits + "-")
    assert made[0].isalpha()
    assert made[-1] != "-"


def test_same_order_same_text() -> None:
    for form in (*FORMS, "skypilot"):
        assert text(form, order()) == text(form, order())


# -- mistakes ----------------------------------------------------------------------------------

Mutate = Callable[[list[Document]], None]


def job(documents: list[Document]) -> Document:
    return next(one for one in documents if one["kind"] == "Job")


def service(documents: list[Document]) -> Document:
    return next(one for one in documents if one["kind"] == "Service")


def worker(documents: list[Document]) -> Document:
    return container_of(job(documents))


def env(documents: list[Document], name: str) -> Document:
    found: Document = next(one for one in worker(documents)["env"] if one["name"] == name)
    return found


def put(target: Callable[[list[Document]], Document], path: str, value: object) -> Mutate:
    """A mutation that writes value at path, or removes it where value is None."""

    def mutate(documents: list[Document]) -> None:
        *way, last = path.split(".")
        place: Any = target(documents)
        for part in way:
            place = place[int(part)] if part.isdigit() else place[part]
        if value is None:
            del place[int(last) if last.isdigit() else last]
        else:
            place[int(last) if last.isdigit() else last] = value

    return mutate


def add_env(name: str, value: str) -> Mutate:
    return lambda documents: worker(documents)["env"].append({"name": name, "value": value})


def drop_host(documents: list[Document]) -> None:
    hosts = env(documents, "ISOCOST_HOSTS")
    hosts["value"] = hosts["value"].rpartition(",")[0]


def second_container(documents: list[Document]) -> None:
    pod_of(job(documents))["containers"].append({"name": "sidecar", "image": "busybox"})


GPU = "resources.{}.nvidia.com/gpu"


def gpu(kind: str, value: object) -> Mutate:
    def mutate(documents: list[Document]) -> None:
        resources = worker(documents)["resources"][kind]
        if value is None:
            del resources["nvidia.com/gpu"]
        else:
            resources["nvidia.com/gpu"] = value

    return mutate


MISTAKES: dict[str, tuple[Mutate, str]] = {
    "too few workers": (put(job, "spec.completions", 7), r"completions: found 7; expected 8"),
    "another parallelism": (put(job, "spec.parallelism", 4), r"parallelism: found 4; expected 8"),
    "no indexes": (put(job, "spec.completionMode", "NonIndexed"), "'Indexed'"),
    "fewer devices": (gpu("limits", "0"), "expected '1', the devices"),
    "request below limit": (gpu("requests", None), "requests and limits are both"),
    "no deadline": (put(job, "spec.activeDeadlineSeconds", None), "found nothing; expected 7200"),
    "another deadline": (
        put(job, "spec.activeDeadlineSeconds", 72000),
        "found 72000; expected 7200",
    ),
    "image by tag": (put(worker, "image", "ghcr.io/someone/isocost:latest"), "digest"),
    "image digest cut": (put(worker, "image", "a/b@sha256:abc"), "64 hexadecimal"),
    "secret by name": (add_env("AWS_SECRET_ACCESS_KEY", "plain"), "under a secret's name"),
    "secret by form": (add_env("SOME", "AKIA" + "IOSFODNN7EXAMPLE"), "an AWS access key"),
    "secret by look": (add_env("SETTING", "q8Zt3VbYx0Lk5Wn2Rj7Ms4Pd"), "a random text"),
    "secret in an address": (add_env("DB", "postgres://me:hunter2@db/x"), "password in an address"),
    "service of another name": (
        put(service, "metadata.name", "other"),
        "the subdomain of the pods",
    ),
    "another subdomain": (put(job, "spec.template.spec.subdomain", "other"), "the subdomain"),
    "selector of other pods": (
        put(service, "spec.selector", {"app": "other"}),
        "labels that the pods have",
    ),
    "missing selector": (put(service, "spec.selector", None), "expected the key 'selector'"),
    "service with an address": (put(service, "spec.clusterIP", None), "headless"),
    "service that waits": (put(service, "spec.publishNotReadyAddresses", False), "before they are"),
    "a host too few": (drop_host, "found 7 hosts; expected 8"),
    "a wrong host": (
        lambda documents: env(documents, "ISOCOST_HOSTS").update(
            value=env(documents, "ISOCOST_HOSTS")["value"].replace("-3.", "-9.")
        ),
        "as rank 3",
    ),
    "no checkpoint volume": (put(worker, "volumeMounts", []), "checkpoints, in every worker"),
    "checkpoints in the pod": (
        put(job, "spec.template.spec.volumes", [{"name": "run", "emptyDir": {}}]),
        "ends with its pod",
    ),
    "a mount of nothing": (put(worker, "volumeMounts.0.name", "rum"), "found the volume 'rum'"),
    "a bad name": (put(job, "metadata.name", "My_Job"), "DNS-1123"),
    "spot not planned": (
        put(
            job,
            "spec.template.spec.tolerations",
            [{"key": "cloud.google.com/gke-spot", "operator": "Exists", "effect": "NoSchedule"}],
        ),
        "no tolerance of spot nodes",
    ),
    "spot allowed": (
        put(job, "spec.template.spec.affinity.nodeAffinity", None),
        "spot nodes allowed",
    ),
    "wrong apiVersion": (put(job, "apiVersion", "batch/v1beta1"), "'batch/v1'"),
    "text for a number": (put(job, "spec.completions", "8"), "integer without quotes"),
    "number for a text": (put(worker, "env.0.value", 5), "string in quotes"),
    "variable twice": (add_env("ISOCOST_WORK", "{}"), "the variable twice"),
    "two containers": (second_container, r"found 2 \(worker, sidecar\)"),
    "another program": (put(worker, "command", ["bash"]), "which makes TF_CONFIG"),
    "one TF_CONFIG for all": (add_env("TF_CONFIG", "{}"), "each worker makes its own"),
    "restart alone": (put(job, "spec.template.spec.restartPolicy", "OnFailure"), "'Never'"),
    "no time for a checkpoint": (
        put(job, "spec.template.spec.terminationGracePeriodSeconds", 5),
        "saves a checkpoint first",
    ),
    "restarts for ever": (put(job, "spec.backoffLimit", 1000), "3 restarts of 8 workers"),
    "restarts of what is refused": (put(job, "spec.podFailurePolicy", None), "no rule that ends"),
    "key misspelt": (put(job, "spec.compeltions", 8), "did you mean 'completions'"),
    "another namespace": (put(service, "metadata.namespace", "other"), "one namespace"),
    "a device of another kind": (
        put(worker, "resources.limits", {"amd.com/gpu": "1", "memory": "1Gi"}),
        "found the device amd.com/gpu",
    ),
    "a port of another number": (put(worker, "ports.0.containerPort", 2223), "expected 2222"),
    "no memory": (put(worker, "resources.requests.cpu", None), "share of its node"),
    "two workers on one machine": (
        put(job, "spec.template.spec.affinity.podAntiAffinity", None),
        "would share what the plan gives each",
    ),
    "a label of another GPU": (
        put(
            job,
            "spec.template.spec.nodeSelector",
            {"cloud.google.com/gke-accelerator": "nvidia-l4"},
        ),
        "'nvidia-tesla-t4', of the planned machine",
    ),
    "more processors than a machine has": (
        put(worker, "resources.requests.cpu", "64"),
        "share of its machine",
    ),
    "next to no memory": (put(worker, "resources.requests.memory", "64Mi"), "at least 10%"),
    "a volume that is mounted nowhere": (
        lambda documents: pod_of(job(documents))["volumes"].append(
            {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
        ),
        "mounted nowhere",
    ),
    "a claim of a bad name": (
        put(job, "spec.template.spec.volumes.0.persistentVolumeClaim.claimName", "My_Claim"),
        "DNS-1123",
    ),
    "suspended": (put(job, "spec.suspend", True), "would not start"),
    "the host's network": (put(job, "spec.template.spec.hostNetwork", True), "names of pods"),
    "the host's processes": (put(job, "spec.template.spec.hostPID", True), "see, and could end"),
    "the host's memory": (put(job, "spec.template.spec.hostIPC", True), "would share memory"),
    "the host's port": (put(worker, "ports.0.hostPort", 2222), "one pod a machine"),
    "the host's files": (
        lambda documents: pod_of(job(documents))["volumes"][0].update(
            {"persistentVolumeClaim": None, "hostPath": {"path": "/var/run"}}
        ),
        "found hostPath '/var/run'; expected a claim",
    ),
    "privileged": (
        put(worker, "securityContext", {"privileged": True}),
        r"containers\[0\]\.securityContext\.privileged: found true; expected false or nothing",
    ),
    "privileged before the worker": (
        put(
            job,
            "spec.template.spec.initContainers",
            [{"name": "fetch", "image": "busybox", "securityContext": {"privileged": True}}],
        ),
        r"initContainers\[0\]\.securityContext\.privileged: found true",
    ),
    "more rights on the way": (
        put(worker, "securityContext", {"allowPrivilegeEscalation": True}),
        "more rights than it was started with",
    ),
    "rights over the machine": (
        put(worker, "securityContext", {"capabilities": {"add": ["CHOWN", "SYS_ADMIN"]}}),
        "found SYS_ADMIN; expected none",
    ),
    "root": (put(worker, "securityContext", {"runAsUser": 0}), "found 0, root"),
    "a pod of root": (
        put(job, "spec.template.spec.securityContext", {"runAsUser": 0}),
        r"spec\.securityContext\.runAsUser: found 0, root",
    ),
    "every system call": (
        put(worker, "securityContext", {"seccompProfile": {"type": "Unconfined"}}),
        "every system call",
    ),
    "the account of the cluster": (
        put(job, "spec.template.spec.automountServiceAccountToken", True),
        "asks nothing of the cluster",
    ),
    "a variable without value": (
        lambda documents: worker(documents)["env"].append({"name": "X"}),
        "neither value nor valueFrom",
    ),
    "a secret beside the worker": (
        put(
            job,
            "spec.template.spec.initContainers",
            [{"name": "fetch", "image": "busybox", "env": [{"name": "API_KEY", "value": "x"}]}],
        ),
        "under a secret's name",
    ),
    "workers in several zones": (
        put(job, "spec.template.spec.affinity.podAffinity", None),
        "between zones gradients are slow",
    ),
    "a contract of another batch": (
        lambda documents: env(documents, "ISOCOST_WORK").update(
            value=env(documents, "ISOCOST_WORK")["value"].replace('h":256', 'h":512')
        ),
        "32 on each of 8 replicas",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_found_with_a_sentence(mistake: str) -> None:
    mutate, words = MISTAKES[mistake]
    documents = copy.deepcopy(rendered("kubernetes"))
    mutate(documents)
    found = sentences(documents)
    assert any(re.search(words, sentence) for sentence in found), found
    for sentence in found:
        assert "found" in sentence
        assert "expected" in sentence


def test_a_manifest_is_held_to_the_plan_where_there_is_one() -> None:
    documents = rendered("jobset", workers=4)
    assert sentences(documents, order(workers=4).contract) == []
    (first, *_) = sentences(documents, order(workers=8).contract)
    assert "found 4; expected 8, as planned" in first


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of everything in a document, parts of it included."""
    if path:
        yield path
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in items:
        yield from leaves(inner, (*path, key))


def at(document: Any, path: tuple[Any, ...]) -> Any:
    for part in path:
        document = document[part]
    return document


@needs_schemas
@pytest.mark.parametrize("form", FORMS)
def test_what_the_published_schemas_refuse_our_checks_refuse_too(form: str) -> None:
    """Every value in turn becomes one of another type, is removed, or has a misspelt neighbour."""
    pytest.importorskip("kubernetes_validate")
    documents = rendered(form, "gcp T4", 2, code={"train.py": "x = 1\n"}, data_claim="data")
    silent = []
    for number, document in enumerate(documents):
        for path in leaves(document):
            if path[:1] == ("metadata",) and path[-1] not in ("name",):
                continue
            old = at(document, path)
            kinds: list[Any] = ["text", 7, True, ["x"], {"x": "y"}, None]
            for new in [one for one in kinds if type(one) is not type(old)]:
                changed = copy.deepcopy(documents)
                parent = at(changed[number], path[:-1])
                if new is None:
                    del parent[path[-1]]
                else:
                    parent[path[-1]] = new
                if not check(changed) and refusals(changed):
                    silent.append((document["kind"], path, new))
    assert silent == []


@pytest.mark.parametrize("form", [*FORMS, "pai-dlc", "skypilot"])
def test_what_may_be_removed_without_a_word_is_known(form: str) -> None:
    """Every key in turn is removed: only what has a harmless default may go unnoticed."""
    name = "alibaba A10" if form == "pai-dlc" else "gcp T4"
    documents = rendered(form, name, 8, purchase=Purchase.SPOT)
    harmless = {
        *("annotations", "isocost.dev/offer", "isocost.dev/deadline"),
        *("ports", "name", "targetPort", "protocol", "data"),
        *("automountServiceAccountToken", "enableServiceLinks"),
        *("topologyKey", "podAffinity", "podAntiAffinity", "affinity", "labelSelector"),
        *("nodeSelector", "topology.kubernetes.io/region", "node.kubernetes.io/instance-type"),
        *("cloud.google.com/gke-accelerator", "matchLabels", "app.kubernetes.io/name"),
        *("app.kubernetes.io/instance", "labels", "limits", "memory", "effect", "operator"),
        *("apiGroup", "network", "enableDNSHostnames", "subdomain", "publishNotReadyAddresses"),
        *("mlPolicy", "metadata", "replicas", "rules", "onJobFailureReasons", "failurePolicy"),
        *("trainer.kubeflow.org/trainjob-ancestor-step", "containerName", "onPodConditions"),
        *("autostop", "idle_minutes", "down", "job_recovery", "max_restarts_on_errors", "store"),
        *("mode", "SuccessPolicy", "Settings"),
        *("TerminationGracePeriodSeconds", "MountAccess", "key", "values", "status", "type"),
    }
    if form == "trainjob":  # the TrainJob says them again, and a runtime of its own lacks them
        harmless |= {"image", "command"}
    silent = set()
    for number, document in enumerate(documents):
        for path in leaves(document):
            if isinstance(path[-1], int) or isinstance(path[-2] if len(path) > 1 else "", int):
                continue
            changed = copy.deepcopy(documents)
            del at(changed[number], path[:-1])[path[-1]]
            if not check(changed):
                silent.add(path[-1])
    assert silent <= harmless, silent - harmless


# -- secrets -----------------------------------------------------------------------------------


def test_random_keys_are_taken_for_secrets_and_words_are_not() -> None:
    rng = random.Random(7)
    base64 = string.ascii_letters + string.digits + "+/"
    keys = [
        "".join(rng.choices(base64, k=length)) for length in (24, 32, 40, 64) for _ in range(50)
    ]
    keys += ["".join(rng.choices("0123456789abcdef", k=64)) for _ in range(50)]
    keys += ["".join(rng.choices(string.ascii_lowercase + string.digits, k=40)) for _ in range(50)]
    missed = [key for key in keys if secret_in(key) is None]
    assert len(missed) <= 0.02 * len(keys), missed
    plain = [
        "gs://bucket/some-long-folder-name/part-00000-of-00128",
        "registry.example.com/team/project/training-image",
        "multi_worker_mirrored,mixed_bfloat16,xla",
        "/mnt/datasets/imagenet2012/train-tfrecords-v2",
        "cifar10-cnn-worker-0-63.cifar10-cnn.default.svc.cluster.local:2222",
        "isocost/work/v1",
        "projects/my-project-123456/locations/us-central1",
        "NVIDIA_VISIBLE_DEVICES=all",
        "2026-11-24T22:09:00.000000+00:00",
        "tensorflow==2.21.0,keras==3.15.1",
        "--xla_gpu_enable_triton_softmax_fusion=true",
    ]
    assert [word for word in plain if secret_in(word) is not None] == []


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("HF_TOKEN", True),
        ("WANDB_API_KEY", True),
        ("DB_PASSWORD", True),
        ("ALIBABA_CLOUD_ACCESS_KEY_ID", True),
        ("dbPassword", True),
        ("CREDENTIALS", True),
        ("TOKENIZERS_PARALLELISM", False),
        ("KEY_FILE", False),
        ("MONKEY", False),
        ("BATCH_SIZE", False),
    ],
)
def test_names_that_promise_a_secret(name: str, secret: bool) -> None:
    assert secret_name(name) is secret


def test_a_secret_that_is_referred_to_is_well() -> None:
    documents = rendered("kubernetes")
    reference = {"secretKeyRef": {"name": "hub", "key": "token"}}
    worker(documents)["env"].append({"name": "HF_TOKEN", "valueFrom": reference})
    assert sentences(documents) == []


# -- PAI-DLC and SkyPilot ----------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 8, 64])
@pytest.mark.parametrize("purchase", [Purchase.ON_DEMAND, Purchase.SPOT])
def test_pai_dlc_jobs_hold_to_our_checks(workers: int, purchase: Purchase) -> None:
    for name in ALIBABA:
        made = rendered("pai-dlc", name, workers, purchase=purchase, claim="d-abc123")
        assert sentences(made) == []
        (role,) = made[0]["JobSpecs"]
        assert (role["Type"], role["PodCount"]) == ("Worker", workers)
        assert made[0]["JobMaxRunningTimeMinutes"] == 120


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("JobSpecs.0.PodCount", 7, "expected 8, the number of workers"),
        ("JobSpecs.0.PodCount", "8", "integer without quotes"),
        ("JobSpecs.0.Image", "pai/tensorflow:2.21", "digest"),
        ("JobSpecs.0.EcsSpec", "p4d.24xlarge", "instance type of Alibaba Cloud"),
        ("JobSpecs.0.SpotSpec", {"SpotStrategy": "SpotAsPriceGo"}, "what was planned: on demand"),
        ("JobSpecs.0.EcsSpec", "ecs.g7.large", "the planned machine, ecs.gn7i"),
        ("JobSpecs.0.RestartPolicy", "Always", "'ExitCode'"),
        ("JobMaxRunningTimeMinutes", None, "expected 120, the deadline"),
        ("JobType", "PyTorchJob", "'TFJob'"),
        ("DataSources", [], "the storage of the checkpoints"),
        ("UserCommand", "python train.py", "makes TF_CONFIG"),
        ("Envs.LTAI", "LTAI" + "5tABCDEFGHJKLMNPQRST", "an Alibaba Cloud access key"),
        ("DisplayName", "a b", "pattern"),
        ("Jobspecs", [], "did you mean 'JobSpecs'"),
    ],
)
def test_a_mistake_in_a_pai_dlc_job_is_found(path: str, value: object, words: str) -> None:
    documents = rendered("pai-dlc", "alibaba A10", claim="d-abc123")
    put(lambda given: given[0], path, value)(documents)
    assert any(words in sentence for sentence in sentences(documents)), sentences(documents)


def test_pai_dlc_takes_no_files() -> None:
    with pytest.raises(InputError, match="--code-path"):
        dlc_job(order("alibaba A10", code={"train.py": ""}))


@pytest.mark.parametrize("workers", [1, 8, 64])
def test_skypilot_tasks_hold_to_our_checks(workers: int) -> None:
    for name in CLOUD:
        if not name.startswith("alibaba"):
            for purchase in (Purchase.ON_DEMAND, Purchase.SPOT):
                assert sentences(rendered("skypilot", name, workers, purchase=purchase)) == []


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("num_nodes", 7, "expected 8, the number of workers"),
        ("resources.use_spot", True, "what was planned: on demand"),
        ("resources.image_id", "docker:isocost:latest", "digest"),
        ("resources.infra", "aws/us-east-1", "the planned provider, gcp"),
        ("resources.instance_type", "n1-standard-4", "the planned machine, 'n1-standard-8'"),
        ("resources.accelerators", {"T4": 4}, "expected 1 on each node"),
        ("resources.acelerators", {"T4": 1}, "did you mean 'accelerators'"),
        ("run", "python -m isocost.execution.pod", "SkyPilot knows no deadline"),
        ("run", "timeout --signal=TERM --kill-after=90 9 python -m isocost.execution.pod", "7200"),
        ("file_mounts", {}, "a bucket that is mounted"),
        ("envs.WANDB_API_KEY", "abc", "under a secret's name"),
        ("envs.ISOCOST_WORK", "{", "no JSON"),
    ],
)
def test_a_mistake_in_a_skypilot_task_is_found(path: str, value: object, words: str) -> None:
    documents = rendered("skypilot")
    put(lambda given: given[0], path, value)(documents)
    assert any(words in sentence for sentence in sentences(documents)), sentences(documents)


# -- the user's own model ----------------------------------------------------------------------


def test_the_files_of_a_model_are_it_and_what_it_imports(tmp_path: Path) -> None:
    (tmp_path / "layers").mkdir()
    files = {
        "train.py": "import numpy\nfrom layers.blocks import conv\nimport data as d\n",
        "data.py": "KEY = 1\n",
        "unrelated.py": "SECRET = 1\n",
        "layers/__init__.py": "",
        "layers/blocks.py": "from . import norms\nfrom .norms import batch\n",
        "layers/norms.py": "import json\n",
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    found = code_of("train:make", tmp_path)
    assert set(found) == set(files) - {"unrelated.py"}
    assert code_of("resnet50", tmp_path) == {}
    with pytest.raises(InputError, match="--code-path"):
        code_of("missing:make", tmp_path)


def test_the_files_come_as_a_config_map_at_the_workers_model_folder() -> None:
    documents = rendered("jobset", code={"train.py": "x = 1\n", "layers/norms.py": ""})
    (config,) = (one for one in documents if one["kind"] == "ConfigMap")
    assert set(config["data"]) == {"train.py", "layers__norms.py"}
    items = pod_of(documents[-1])["volumes"][-1]["configMap"]["items"]
    assert {"key": "layers__norms.py", "path": "layers/norms.py"} in items
    with pytest.raises(InputError, match="at most 900,000"):
        rendered("jobset", code={"big.py": "#" * 1_000_000})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is empty"),
        ("a: [", "expected a manifest"),
        ("- 1", "not a mapping"),
        ("a: 1\na: 2", "stands twice"),
        ("!!python/object:os.system x", "expected a manifest"),
    ],
)
def test_what_is_no_manifest_is_refused_in_a_sentence(content: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read(content, "file.yaml")


def test_unknown_kinds_and_several_jobs_in_a_file_are_findings() -> None:
    documents = rendered("kubernetes")
    assert "kind 'Deployment'" in sentences([*documents, {"kind": "Deployment"}])[0]
    both = sentences([*documents, *rendered("jobset")])
    assert any("exactly one" in sentence for sentence in both)
    assert any("exactly one" in sentence for sentence in sentences([documents[0]]))


def test_every_kind_of_object_has_a_closed_record() -> None:
    assert set(KINDS) == {"Job", "Service", "ConfigMap", "JobSet", "TrainingRuntime", "TrainJob"}
