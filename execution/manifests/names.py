"""Checks of names and labels, and of what objects of one file call each other by."""

import re
from collections.abc import Iterable, Iterator

from .findings import Finding, shown
from .shapes import ConfigMap, Shape
from .shapes_sets import TrainingRuntime, TrainJob
from .told import in_texts

LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")  # DNS-1123; a Service's begins with a letter
SUBDOMAIN = re.compile(r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
LABEL_VALUE = re.compile(r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$")
LONGEST = 63


def names(one: Shape, where: str) -> Iterator[Finding]:
    """Names and labels as the API server takes them, and no secret in what describes."""
    metadata = one.metadata  # type: ignore[attr-defined]
    kind = one.kind  # type: ignore[attr-defined]
    if not LABEL.match(metadata.name) or len(metadata.name) > LONGEST:
        yield bad_name(f"{where} metadata.name", metadata.name)
    elif kind in ("Service", "JobSet", "TrainJob") and metadata.name[0].isdigit():
        yield Finding(
            f"{where} metadata.name",
            shown(metadata.name),
            "a letter first (DNS-1035)",
            "put a letter before it",
        )
    if metadata.namespace is not None and (
        not LABEL.match(metadata.namespace) or len(metadata.namespace) > LONGEST
    ):
        yield bad_name(f"{where} metadata.namespace", metadata.namespace)
    for key, value in metadata.labels.items():
        if not LABEL_VALUE.match(value) or len(value) > LONGEST:
            yield Finding(
                f"{where} metadata.labels {key}",
                shown(value),
                f"at most {LONGEST} letters, digits, '-', '_' and '.'",
                "shorten or rename it",
            )
    yield from in_texts(metadata.annotations, f"{where} metadata.annotations")
    if isinstance(one, ConfigMap):
        yield from in_texts(one.data, f"{where} data")
    if isinstance(one, TrainJob):
        reference = one.spec.runtimeRef
        if reference.kind != "TrainingRuntime":
            yield Finding(
                f"{where} spec.runtimeRef.kind",
                shown(reference.kind),
                "'TrainingRuntime', the runtime of this file",
                "without it a ClusterTrainingRuntime is looked for: write it",
            )
        if reference.apiGroup not in (None, "trainer.kubeflow.org"):
            yield Finding(
                f"{where} spec.runtimeRef.apiGroup",
                shown(reference.apiGroup),
                "'trainer.kubeflow.org'",
                "write it so",
            )


def policies(runtime: TrainingRuntime) -> Iterator[Finding]:
    """A policy of another framework would write its own variables into the workers."""
    policy = runtime.spec.mlPolicy
    for name in ("flux", "jax", "mpi", "torch", "xgboost"):
        if policy is not None and getattr(policy, name) is not None:
            yield Finding(
                f"trainingruntime/{runtime.metadata.name} spec.mlPolicy.{name}",
                "a policy of another framework",
                "numNodes alone",
                "remove it",
            )


def references(job: TrainJob, runtimes: Iterable[TrainingRuntime]) -> Iterator[Finding]:
    """The runtime that a TrainJob names must be the one of the file."""
    there = [runtime.metadata.name for runtime in runtimes]
    if job.spec.runtimeRef.name not in there:
        yield Finding(
            f"trainjob/{job.metadata.name} spec.runtimeRef.name",
            shown(job.spec.runtimeRef.name),
            f"the TrainingRuntime of this file ({', '.join(there) or 'there is none'})",
            "write its name",
        )


def bad_name(where: str, name: str) -> Finding:
    return Finding(
        where,
        shown(name),
        f"at most {LONGEST} small letters, digits and dashes, none of them at an end (DNS-1123)",
        "rename it",
    )
