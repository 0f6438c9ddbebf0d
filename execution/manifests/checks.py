"""Does a manifest say what the plan means? What no schema can know.

``check`` takes the documents of a file and gives every mistake as a Finding. What they are held to
is the contract that every worker carries (ISOCOST_WORK), or that of the plan where there is one.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .describing import check_dlc, check_sky
from .findings import Finding, shaped, shown
from .gang import Gang, gang_of
from .ganged import check_gang
from .names import names, policies, references
from .order import Contract
from .shapes import ConfigMap, Job, Service, Shape
from .shapes_described import DlcJob, SkyTask
from .shapes_sets import JobSet, TrainingRuntime, TrainJob

KINDS: dict[str, type[Shape]] = {
    "Job": Job,
    "Service": Service,
    "ConfigMap": ConfigMap,
    "JobSet": JobSet,
    "TrainingRuntime": TrainingRuntime,
    "TrainJob": TrainJob,
}
MAIN = {"Job": "a Job", "JobSet": "a JobSet", "TrainJob": "a TrainJob"}


def check(
    documents: Sequence[Mapping[str, Any]], expected: Contract | None = None
) -> tuple[Finding, ...]:
    """Every mistake in the documents of one manifest; expected: of the plan, where it is known."""
    if len(documents) == 1 and _is_dlc(documents[0]):
        return _described(DlcJob, documents[0], "job", check_dlc, expected)
    if len(documents) == 1 and _is_sky(documents[0]):
        return _described(SkyTask, documents[0], "task", check_sky, expected)
    return tuple(_kubernetes(documents, expected))


def _is_dlc(document: Mapping[str, Any]) -> bool:
    return bool({"JobType", "JobSpecs", "UserCommand"} & set(document)) and "kind" not in document


def _is_sky(document: Mapping[str, Any]) -> bool:
    return bool({"resources", "num_nodes", "run", "envs"} & set(document)) and not (
        {"kind", "apiVersion"} & set(document)
    )


def _described(
    shape: type[Any],
    document: Mapping[str, Any],
    where: str,
    held_to: Any,
    expected: Contract | None,
) -> tuple[Finding, ...]:
    parsed, findings = shaped(shape, document, where)
    if parsed is not None:
        findings += held_to(parsed, document, expected)
    return tuple(findings)


def _kubernetes(
    documents: Sequence[Mapping[str, Any]], expected: Contract | None
) -> Iterator[Finding]:
    objects: list[Shape] = []
    kinds: list[str] = []
    for number, document in enumerate(documents):
        kind = document.get("kind")
        name = _name(document)
        kinds.append(str(kind))
        if not isinstance(kind, str) or kind not in KINDS:
            yield Finding(
                f"document {number + 1}",
                f"kind {shown(kind)}",
                f"one of {', '.join(KINDS)}, a PAI-DLC job or a SkyPilot task",
                "remove it, or apply it from another file",
            )
            continue
        parsed, findings = shaped(KINDS[kind], document, f"{kind.lower()}/{name}")
        yield from findings
        if parsed is not None:
            objects.append(parsed)
    main = [kind for kind in kinds if kind in MAIN]
    if len(main) != 1:
        yield Finding(
            "the file",
            f"{len(main)} of {', '.join(MAIN)}",
            "exactly one, and what belongs to it",
            "give one manifest a file",
        )
        return
    yield from _together(objects, kinds)
    gang = gang_of(objects)
    if gang is not None:
        yield from check_gang(gang, expected)
        yield from _maps(gang, objects)


def _name(document: Mapping[str, Any]) -> str:
    metadata = document.get("metadata")
    return str(metadata.get("name", "?")) if isinstance(metadata, dict) else "?"


def _together(objects: Sequence[Shape], kinds: Sequence[str]) -> Iterator[Finding]:
    """What holds for every object: names, one namespace, nothing twice; and what must be there."""
    seen: dict[tuple[str, str], int] = {}
    spaces: dict[str, str] = {}
    for one in objects:
        where = f"{one.kind.lower()}/{one.metadata.name}"  # type: ignore[attr-defined]
        metadata = one.metadata  # type: ignore[attr-defined]
        key = (one.kind, metadata.name)  # type: ignore[attr-defined]
        seen[key] = seen.get(key, 0) + 1
        if seen[key] == 2:
            yield Finding(where, "it twice", "each object once", "remove one")
        spaces[metadata.namespace or ""] = where
        yield from names(one, where)
    if len(spaces) > 1:
        yield Finding(
            "metadata.namespace",
            ", ".join(f"{shown(space or None)} in {where}" for space, where in spaces.items()),
            "one namespace for all objects",
            "a pod finds neither a Service nor a claim of another namespace: write the same",
        )
    runtimes = [one for one in objects if isinstance(one, TrainingRuntime)]
    for one in objects:
        if isinstance(one, TrainJob) and runtimes:
            yield from references(one, runtimes)
    for runtime in runtimes:
        yield from policies(runtime)
    for main, needed, reason in (
        ("Job", "Service", "the pods of a Job have no names without a headless Service"),
        ("TrainJob", "TrainingRuntime", "Kubeflow Trainer ships no runtime for TensorFlow"),
    ):
        if main in kinds and kinds.count(needed) != 1:
            yield Finding(
                "the file",
                f"{kinds.count(needed)} of {needed}",
                f"one {needed}",
                f"{reason}: add it",
            )


def _maps(gang: Gang, objects: Sequence[Shape]) -> Iterator[Finding]:
    """What is mounted from a ConfigMap must be in one of the file; its Service must find the pods."""
    maps = {one.metadata.name: one for one in objects if isinstance(one, ConfigMap)}
    for index, volume in enumerate(gang.pod.volumes):
        source = volume.configMap
        if source is None or source.optional:
            continue
        where = f"{gang.where_pod}.volumes[{index}].configMap"
        if source.name not in maps:
            yield Finding(
                f"{where}.name",
                shown(source.name),
                f"a ConfigMap of this file ({', '.join(maps) or 'there is none'})",
                "write its name, or add it",
            )
            continue
        held = {**maps[source.name].data, **maps[source.name].binaryData}
        for item in source.items or []:
            if item.key not in held:
                yield Finding(
                    f"{where}.items",
                    f"the key {shown(item.key)}",
                    f"a key of configmap/{source.name} ({', '.join(held) or 'it is empty'})",
                    "correct the key",
                )
    for service in objects:
        if isinstance(service, Service):
            yield from _service(gang, service)


def _service(gang: Gang, service: Service) -> Iterator[Finding]:
    where, spec = f"service/{service.metadata.name}", service.spec
    if gang.subdomain is not None and service.metadata.name != gang.subdomain:
        yield Finding(
            f"{where} metadata.name",
            shown(service.metadata.name),
            f"{shown(gang.subdomain)}, the subdomain of the pods",
            "give both the same name: hosts are POD.SERVICE",
        )
    if spec.clusterIP != "None":
        yield Finding(
            f"{where} spec.clusterIP",
            shown(spec.clusterIP),
            "'None', a headless Service",
            "with an address of its own it would spread calls over the workers: write None in quotes",
        )
    if spec.type not in (None, "ClusterIP"):
        yield Finding(f"{where} spec.type", shown(spec.type), "'ClusterIP' or nothing", "remove it")
    if spec.publishNotReadyAddresses is not True:
        yield Finding(
            f"{where} spec.publishNotReadyAddresses",
            shown(spec.publishNotReadyAddresses),
            "true",
            "workers look for each other before they are ready: write true",
        )
    unmatched = {k: v for k, v in spec.selector.items() if gang.pod_labels.get(k) != v}
    if unmatched or not spec.selector:
        yield Finding(
            f"{where} spec.selector",
            shown(spec.selector or None),
            f"labels that the pods have ({shown(gang.pod_labels)})",
            "select by the pods' own labels",
        )
    ports = {port.port for port in spec.ports} | {
        port.targetPort for port in spec.ports if isinstance(port.targetPort, int)
    }
    if gang.port is not None and ports != {gang.port}:
        yield Finding(
            f"{where} spec.ports",
            shown(sorted(ports)),
            f"{gang.port}, the port in ISOCOST_HOSTS",
            "write that port",
        )
