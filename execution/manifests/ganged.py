"""Checks of a gang of pods: total, hosts, devices, deadline, restarts, volumes, place, names."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from decimal import Decimal

from ...catalog import Purchase
from .findings import Finding, shown
from .forms import REFUSED, STOPPED
from .gang import Gang
from .order import GRACE_S, HOSTS, RUN_PATH, WORK, Contract
from .places import HOST, TPU_TOPOLOGY, TPU_TYPE, ZONE, ground
from .shapes import ConfigMap, PodFailurePolicy, Shape, TrainingRuntime, TrainJob
from .told import agree, commanded, contract_in, environment, in_texts, pinned, secrets

LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")  # DNS-1123; a Service's begins with a letter
SUBDOMAIN = re.compile(r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
LABEL_VALUE = re.compile(r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$")
LONGEST = 63
DEVICES = re.compile(
    r"^(nvidia\.com/.+|amd\.com/gpu|google\.com/tpu|aliyun\.com/.*gpu.*|gpu\.intel\.com/.+)$"
)
SCALE = {"": 0, "n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
LEAST_SHARE = Decimal("0.1")  # of a machine: lowered by hand it may be, given away not
BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}


def check_gang(gang: Gang, expected: Contract | None) -> Iterator[Finding]:
    """Every mistake in the workers' description."""
    value = next((env.value for env in gang.env if env.name == WORK), None)
    contract, wrong = contract_in(value, gang.where_env)
    yield from wrong
    if contract is not None and expected is not None:
        yield from agree(contract, expected, gang.where_env)
    yield from _containers(gang)
    yield from pinned(gang.container.image, f"{gang.where_container}.image")
    yield from commanded(
        gang.container.command, gang.container.args, f"{gang.where_container}.command"
    )
    yield from _environment(gang)
    yield from _job(gang)
    yield from _volumes(gang)
    yield from _requests(gang)
    held = expected or contract
    if held is None:
        return
    yield from _sizes(gang, held)
    yield from _hosts(gang, held)
    yield from _deadlines(gang, held)
    yield from _restarts(gang, held)
    yield from _devices(gang, held)
    yield from _within(gang, held)
    yield from _place(gang, held)
    yield from _folder(gang, held)
    yield from _apart(gang, held)


def _containers(gang: Gang) -> Iterator[Finding]:
    where, pod = f"{gang.where_pod}.containers", gang.pod
    if len(pod.containers) > 1:
        named = ", ".join(container.name for container in pod.containers)
        yield Finding(
            where,
            f"{len(pod.containers)} ({named})",
            "one: the worker",
            "a second would keep the pod alive after the worker's end: remove it, or make it an "
            "init container with restartPolicy Always",
        )
    if gang.container.name != gang.container_name:
        why = (
            "Kubeflow Trainer sets the container of that name alone"
            if gang.kind == "TrainJob"
            else "the failure policy names it"
        )
        yield Finding(
            f"{gang.where_container}.name",
            shown(gang.container.name),
            shown(gang.container_name),
            f"{why}: rename it",
        )
    if gang.kind == "TrainJob" and gang.set_spec is not None:
        name = gang.set_spec.replicatedJobs[0].name
        if name != "node":
            yield Finding(
                f"{gang.where_set}.replicatedJobs[0].name",
                shown(name),
                "'node'",
                "Kubeflow Trainer sets the number of workers of that one: rename it",
            )


def _environment(gang: Gang) -> Iterator[Finding]:
    yield from environment([(env.name, env.value) for env in gang.env], gang.where_env)
    for env in gang.env:
        if env.value is not None and env.valueFrom is not None:
            yield Finding(
                f"{gang.where_env} {env.name}",
                "both value and valueFrom",
                "one of them",
                "remove the other",
            )
        if env.value is None and env.valueFrom is None:
            yield Finding(
                f"{gang.where_env} {env.name}",
                "neither value nor valueFrom",
                "one of them",
                "give it a value, or remove it",
            )
    for index, one in enumerate(gang.pod.initContainers):
        where = f"{gang.where_pod}.initContainers[{index}].env"
        yield from environment([(env.name, env.value) for env in one.env], where)
    for index, word in enumerate([*(gang.container.command or []), *(gang.container.args or [])]):
        yield from secrets(f"word {index}", word, f"{gang.where_container}.command")


def _job(gang: Gang) -> Iterator[Finding]:
    job, pod = gang.job, gang.pod
    if job.completionMode != "Indexed":
        yield Finding(
            f"{gang.where_job}.completionMode",
            shown(job.completionMode),
            "'Indexed'",
            "a worker learns its rank from its index: write Indexed",
        )
    if pod.restartPolicy != "Never":
        yield Finding(
            f"{gang.where_pod}.restartPolicy",
            shown(pod.restartPolicy),
            "'Never'",
            "a worker that is started again alone waits for peers that are gone, and a failure "
            "policy needs it: write Never",
        )
    grace = pod.terminationGracePeriodSeconds
    if grace is None or grace < GRACE_S:
        yield Finding(
            f"{gang.where_pod}.terminationGracePeriodSeconds",
            shown(grace),
            f"at least {GRACE_S}",
            "a worker that is asked to end saves a checkpoint first: give it the time",
        )
    if pod.activeDeadlineSeconds is not None:
        yield Finding(
            f"{gang.where_pod}.activeDeadlineSeconds",
            shown(pod.activeDeadlineSeconds),
            "none: a pod's deadline starts again with every pod",
            "put it on the job",
        )
    for where, suspended in gang.suspended.items():
        if suspended:
            yield Finding(where, "true", "false or nothing", "it would not start: remove it")
    if pod.hostNetwork:
        yield Finding(
            f"{gang.where_pod}.hostNetwork",
            "true",
            "false or nothing",
            "workers reach each other by the names of pods: remove it",
        )
    yield from _policy(gang, job.podFailurePolicy)
    if gang.set_spec is not None:
        yield from _set(gang)


def _policy(gang: Gang, policy: PodFailurePolicy | None) -> Iterator[Finding]:
    where = f"{gang.where_job}.podFailurePolicy"
    rules = policy.rules if policy is not None else []
    ended = [
        rule.onExitCodes
        for rule in rules
        if rule.action == "FailJob" and rule.onExitCodes and rule.onExitCodes.operator == "In"
    ]
    codes = {code for rule in ended for code in rule.values}
    if not codes >= {REFUSED, STOPPED}:
        yield Finding(
            where,
            f"FailJob on exit codes {sorted(codes)}" if codes else "no rule that ends the job",
            f"FailJob on exit codes {REFUSED} (no restart mends it) and {STOPPED} (out of time)",
            "add the rule, or every restart is paid for",
        )
    for rule in rules:
        name = rule.onExitCodes.containerName if rule.onExitCodes else None
        if name is not None and name not in {one.name for one in gang.pod.containers}:
            yield Finding(
                f"{where} containerName",
                shown(name),
                f"the container, {shown(gang.container.name)}",
                "write its name",
            )


def _set(gang: Gang) -> Iterator[Finding]:
    spec, where = gang.set_spec, gang.where_set
    assert spec is not None
    replicated = spec.replicatedJobs
    if len(replicated) > 1:
        yield Finding(
            f"{where}.replicatedJobs",
            f"{len(replicated)} ({', '.join(one.name for one in replicated)})",
            "one: all workers are alike",
            "remove the others",
        )
    if replicated[0].replicas not in (None, 1):
        yield Finding(
            f"{where}.replicatedJobs[0].replicas",
            shown(replicated[0].replicas),
            "1: the gang is one job with an index a worker",
            "write 1, and the number of workers as completions",
        )
    if gang.job.backoffLimit != 0:
        yield Finding(
            f"{gang.where_job}.backoffLimit",
            shown(gang.job.backoffLimit),
            "0: a lost worker restarts the whole set",
            "write 0; restarts are counted in failurePolicy.maxRestarts",
        )
    network = spec.network
    if network is not None and network.enableDNSHostnames is False:
        yield Finding(
            f"{where}.network.enableDNSHostnames",
            "false",
            "true",
            "without names the workers do not find each other: write true",
        )
    if network is not None and network.publishNotReadyAddresses is False:
        yield Finding(
            f"{where}.network.publishNotReadyAddresses",
            "false",
            "true",
            "workers look for each other before they are ready: write true",
        )


def _sizes(gang: Gang, held: Contract) -> Iterator[Finding]:
    for where, size in gang.sizes.items():
        if size != held.workers:
            yield Finding(
                where,
                shown(size),
                f"{held.workers}, the number of workers",
                f"write {held.workers}",
            )


def _hosts(gang: Gang, held: Contract) -> Iterator[Finding]:
    where = f"{gang.where_env} {HOSTS}"
    hosts = gang.hosts
    if hosts is None:
        yield Finding(
            gang.where_env,
            f"no {HOSTS}",
            "the address of every rank",
            "TF_CONFIG is made of it: add it",
        )
        return
    if len(hosts) != held.workers:
        yield Finding(
            where,
            f"{len(hosts)} hosts",
            f"{held.workers}, one a worker",
            "TF_CONFIG is made of it, and all wait for who never comes: name each once",
        )
        return
    if len(set(hosts)) < len(hosts):
        twice = next(host for host, count in Counter(hosts).items() if count > 1)
        yield Finding(where, f"{shown(twice)} twice", "each host once", "correct the list")
        return
    ports = {host.rpartition(":")[2] for host in hosts}
    if gang.port is None:
        yield Finding(where, f"ports {shown(sorted(ports))}", "one port for all", "write one")
    for rank, host in enumerate(hosts):
        name = gang.host.format(rank=rank)
        if host.rpartition(":")[0] not in (name, f"{name}.svc"):
            yield Finding(
                where,
                f"{shown(host)} as rank {rank}",
                f"'{name}:{gang.port or 'PORT'}', the name of that pod",
                "names follow from metadata.name, the subdomain and the index",
            )
            return
    opened = {port.containerPort for port in gang.container.ports}
    if gang.port is not None and opened and gang.port not in opened:
        yield Finding(
            f"{gang.where_container}.ports",
            shown(sorted(opened)),
            f"{gang.port}, the port in {HOSTS}",
            "write that port",
        )
    numbers = [port.containerPort for port in gang.container.ports]
    if len(set(numbers)) < len(numbers):
        yield Finding(
            f"{gang.where_container}.ports", shown(numbers), "each port once", "remove one"
        )


def _deadlines(gang: Gang, held: Contract) -> Iterator[Finding]:
    for where, seconds in gang.deadlines.items():
        if seconds is None:
            yield Finding(
                where,
                "nothing",
                f"{held.deadline_s}, the deadline in seconds",
                "without it a job that hangs is paid for until somebody sees it: add it",
            )
        elif seconds != held.deadline_s:
            yield Finding(
                where, shown(seconds), f"{held.deadline_s}, the deadline in seconds", "write that"
            )


def _restarts(gang: Gang, held: Contract) -> Iterator[Finding]:
    if gang.set_spec is None:
        wanted, got = held.restarts * held.workers, gang.job.backoffLimit
        if got != wanted:
            yield Finding(
                f"{gang.where_job}.backoffLimit",
                shown(got),
                f"{wanted}, {held.restarts} restarts of {held.workers} workers",
                f"write {wanted}: it counts pods",
            )
        return
    policy = gang.set_spec.failurePolicy
    got = None if policy is None else policy.maxRestarts
    if got != held.restarts:
        yield Finding(
            f"{gang.where_set}.failurePolicy.maxRestarts",
            shown(got),
            f"{held.restarts}, the restarts that the plan allows for",
            f"write {held.restarts}",
        )


def quantity(text: str | float) -> Decimal:
    """A Kubernetes quantity as a number.

    >>> quantity("1500m"), quantity("2Gi"), quantity(3)
    (Decimal('1.500'), Decimal('2147483648'), Decimal('3'))
    """
    match = re.fullmatch(r"([+-]?[\d.]+)(?:[eE]([+-]?\d+)|([A-Za-z]*))", str(text))
    assert match is not None, text
    number, exponent, suffix = match.groups()
    if exponent is not None:
        return Decimal(number).scaleb(int(exponent))
    if suffix in BINARY:
        return Decimal(number) * Decimal(1024 ** BINARY[suffix])
    return Decimal(number).scaleb(SCALE[suffix or ""])


def _requests(gang: Gang) -> Iterator[Finding]:
    """Processors and memory are asked for, and no request is above its limit."""
    given, where = gang.container.resources, gang.where_resources
    for name in ("cpu", "memory"):
        if name not in given.requests and name not in given.limits:
            yield Finding(
                f"{where}.requests.{name}",
                "nothing",
                "the worker's share of its node",
                "without it the worker is the first to be put on a full node, or off it: add it",
            )
    for kind, values in (("requests", given.requests), ("limits", given.limits)):
        for name, value in values.items():
            if quantity(value) <= 0 and not DEVICES.match(name):
                yield Finding(f"{where}.{kind}.{name}", shown(value), "more than 0", "write so")
    for name, request in given.requests.items():
        limit = given.limits.get(name)
        if limit is not None and quantity(request) > quantity(limit) and not DEVICES.match(name):
            yield Finding(
                f"{where}.requests.{name}",
                f"{request}, above the limit of {limit}",
                "a request within its limit",
                "lower it",
            )


def _devices(gang: Gang, held: Contract) -> Iterator[Finding]:
    given, where = gang.container.resources, gang.where_resources
    named = {name for name in (*given.requests, *given.limits) if DEVICES.match(name)}
    for name in sorted(named - {held.device}):
        yield Finding(
            where,
            f"the device {name}",
            f"{held.device}" if held.device else "no device: the plan trains on processors",
            "remove it",
        )
    if held.device is None:
        return
    for kind, values in (("requests", given.requests), ("limits", given.limits)):
        got = values.get(held.device)
        if got is None or quantity(got) != held.devices:
            yield Finding(
                f"{where}.{kind}.{held.device}",
                shown(got),
                f"'{held.devices}', the devices of each worker",
                "devices cannot be shared: requests and limits are both that number",
            )


def _within(gang: Gang, held: Contract) -> Iterator[Finding]:
    """Processors and memory: no more than the worker's share of its machine, and not next to none."""
    share = -(-held.workers // held.nodes)
    there = {"cpu": Decimal(str(held.vcpus)), "memory": Decimal(str(held.memory_gib)) * 2**30}
    for name, whole in there.items():
        text = gang.container.resources.requests.get(name)
        if text is None:
            continue
        asked = quantity(text)
        if not LEAST_SHARE * whole / share <= asked <= whole / share:
            most = whole / share if name == "cpu" else whole / share / 2**30
            yield Finding(
                f"{gang.where_resources}.requests.{name}",
                shown(text),
                f"at most {most:.4g}{'' if name == 'cpu' else ' GiB'}, the worker's share of its "
                f"machine, and at least {float(LEAST_SHARE):.0%} of it",
                "more never starts, less is shared with others: correct it",
            )


def _volumes(gang: Gang) -> Iterator[Finding]:
    volumes, mounts = gang.pod.volumes, gang.container.volumeMounts
    where = f"{gang.where_container}.volumeMounts"
    names = [volume.name for volume in volumes]
    for name, count in Counter(names).items():
        if count > 1:
            yield Finding(
                f"{gang.where_pod}.volumes",
                f"{shown(name)} twice",
                "each volume once",
                "remove one",
            )
    for volume in volumes:
        if not LABEL.match(volume.name) or len(volume.name) > LONGEST:
            yield _bad_name(f"{gang.where_pod}.volumes", volume.name)
        claim = volume.persistentVolumeClaim
        if claim is not None and not SUBDOMAIN.match(claim.claimName):
            yield _bad_name(f"{gang.where_pod}.volumes {volume.name} claimName", claim.claimName)
        everywhere = {
            mount.name
            for one in (*gang.pod.containers, *gang.pod.initContainers)
            for mount in one.volumeMounts
        }
        if volume.name not in everywhere:
            yield Finding(
                f"{gang.where_pod}.volumes {volume.name}",
                "a volume that is mounted nowhere",
                "a mount of it in the worker",
                "mount it, or remove it",
            )
    for path, count in Counter(mount.mountPath for mount in mounts).items():
        if count > 1:
            yield Finding(where, f"two mounts at {path}", "one a path", "remove one")
    for mount in mounts:
        if mount.name not in names:
            yield Finding(
                where,
                f"the volume {shown(mount.name)}",
                f"one of the pod's volumes ({', '.join(names) or 'there are none'})",
                "correct the name, or add the volume",
            )
        if not mount.mountPath.startswith("/"):
            yield Finding(where, shown(mount.mountPath), "a path from /", "write so")
    run = next((mount for mount in mounts if mount.mountPath.rstrip("/") == RUN_PATH), None)
    if run is None:
        yield Finding(
            where,
            f"nothing at {RUN_PATH}",
            "the volume of the checkpoints, in every worker",
            "mount it: a restart reads what the chief saved",
        )
        return
    if run.readOnly:
        yield Finding(
            f"{where} {RUN_PATH}", "readOnly", "a volume to write to", "checkpoints are saved there"
        )
    source = next((volume for volume in volumes if volume.name == run.name), None)
    if source is not None and source.emptyDir is not None:
        yield Finding(
            f"{gang.where_pod}.volumes {run.name}",
            "an emptyDir, which ends with its pod",
            "a claim that all workers share and that outlives them",
            "write persistentVolumeClaim",
        )
    if (
        source is not None
        and source.persistentVolumeClaim
        and source.persistentVolumeClaim.readOnly
    ):
        yield Finding(
            f"{gang.where_pod}.volumes {run.name}", "readOnly", "a claim to write to", "remove it"
        )


def _place(gang: Gang, held: Contract) -> Iterator[Finding]:
    """Spot where spot was planned, and nowhere else; a slice as large as the gang."""
    known = ground(held.provider)
    required = gang.pod.affinity.nodeAffinity
    terms = (
        required.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms
        if required and required.requiredDuringSchedulingIgnoredDuringExecution
        else []
    )
    where = f"{gang.where_pod}.affinity.nodeAffinity"
    spot = held.purchase == Purchase.SPOT
    bought = str(held.purchase).replace("_", " ")
    labels = " or ".join(known.spot)
    selected = {label for label in known.spot if label in gang.pod.nodeSelector}
    asks = [
        any(
            one.key in known.spot
            and one.operator in ("In", "Exists")
            and (one.operator == "Exists" or set(one.values) <= set(known.spot[one.key]))
            for one in term.matchExpressions
        )
        for term in terms
    ]
    shuns = bool(terms) and all(
        all(
            any(
                one.key == label
                and (
                    one.operator == "DoesNotExist"
                    or (one.operator == "NotIn" and set(known.spot[label]) <= set(one.values))
                )
                for one in term.matchExpressions
            )
            for label in known.spot
        )
        for term in terms
    )
    if spot and known.spot and not (selected or (asks and all(asks))):
        yield Finding(
            where,
            "no demand for spot nodes" if not any(asks) else "a term without spot nodes",
            f"nodes with {labels}, for the plan is to buy spot",
            "on other nodes it costs more than planned: ask for that label",
        )
    if not spot and known.spot and (selected or any(asks) or not shuns):
        yield Finding(
            where,
            "a demand for spot nodes" if selected or any(asks) else "spot nodes allowed",
            f"nodes without {labels}, for the plan is to buy {bought}",
            "spot nodes are taken away: exclude them (operator NotIn)",
        )
    tolerated = [
        one
        for one in gang.pod.tolerations
        if known.taint is not None
        and (one.key == known.taint[0] or (one.key is None and one.operator == "Exists"))
        and one.effect in (None, "NoSchedule")
    ]
    if known.taint is not None:
        key, value = known.taint
        fits = [one for one in tolerated if one.operator == "Exists" or one.value == value]
        if spot and not fits:
            yield Finding(
                f"{gang.where_pod}.tolerations",
                shown([one.key for one in gang.pod.tolerations] or None),
                f"{key}={value}:NoSchedule, the taint of spot nodes",
                "without it no spot node takes the pod: add it",
            )
        if not spot and tolerated:
            yield Finding(
                f"{gang.where_pod}.tolerations",
                shown(tolerated[0].key or "all taints"),
                f"no tolerance of spot nodes, for the plan is to buy {bought}",
                "remove it",
            )
    yield from _labels(gang, held)
    yield from _slice(gang, held)


def _labels(gang: Gang, held: Contract) -> Iterator[Finding]:
    """Nodes are found by the labels of the planned machine, region and accelerator."""
    for label, value in held.node.items():
        got = gang.pod.nodeSelector.get(label)
        if got != value:
            yield Finding(
                f"{gang.where_pod}.nodeSelector {label}",
                shown(got),
                f"'{value}', of the planned machine",
                "on another machine its times and prices do not hold: write that",
            )


def _slice(gang: Gang, held: Contract) -> Iterator[Finding]:
    shape, where = gang.pod.nodeSelector.get(TPU_TOPOLOGY), f"{gang.where_pod}.nodeSelector"
    if held.device != "google.com/tpu":
        for label in (TPU_TYPE, TPU_TOPOLOGY):
            if label in gang.pod.nodeSelector:
                yield Finding(f"{where} {label}", "the label of TPU nodes", "none", "remove it")
        return
    if TPU_TYPE not in gang.pod.nodeSelector:
        yield Finding(
            where, f"no {TPU_TYPE}", "the kind of TPU", "GKE places TPU pods by it: add it"
        )
    if shape is None or not re.fullmatch(r"\d+(x\d+){1,2}", shape):
        yield Finding(
            f"{where} {TPU_TOPOLOGY}",
            shown(shape),
            "a topology such as 2x4",
            "GKE needs it: add it",
        )
        return
    chips = 1
    for side in shape.split("x"):
        chips *= int(side)
    if chips not in (held.devices, held.devices * held.workers):
        yield Finding(
            f"{where} {TPU_TOPOLOGY}",
            f"'{shape}', {chips} chips",
            f"{held.devices * held.workers} chips, {held.workers} workers with {held.devices}",
            "choose the topology of that size",
        )


def _folder(gang: Gang, held: Contract) -> Iterator[Finding]:
    """Where the worker keeps its run must be on the volume."""
    folder = str(held.spec.get("folder", ""))
    if folder and not folder.startswith(f"{RUN_PATH}/"):
        yield Finding(
            f"{gang.where_env} {WORK} spec.folder",
            shown(folder),
            f"a folder below {RUN_PATH}, the shared volume",
            "write it so",
        )


def _apart(gang: Gang, held: Contract) -> Iterator[Finding]:
    """All workers in one zone, each on a machine of its own: what a plan's times and prices rest on."""
    affinity = gang.pod.affinity
    for name, part, key, words, wanted in (
        (
            "podAffinity",
            affinity.podAffinity,
            ZONE,
            "between zones gradients are slow, and moving them is billed",
            held.nodes > 1,
        ),
        (
            "podAntiAffinity",
            affinity.podAntiAffinity,
            HOST,
            "two workers on one machine would share what the plan gives each",
            held.nodes == held.workers > 1,
        ),
    ):
        where = f"{gang.where_pod}.affinity.{name}"
        rules = part.requiredDuringSchedulingIgnoredDuringExecution if part else []
        found = [one for one in rules if one.topologyKey == key]
        if wanted and not found:
            yield Finding(
                where,
                shown([one.topologyKey for one in rules] or None),
                f"a required rule with topologyKey {key}",
                f"{words}: add it",
            )
        for one in found:
            labels = one.labelSelector.matchLabels if one.labelSelector else {}
            if not labels or any(gang.pod_labels.get(k) != v for k, v in labels.items()):
                yield Finding(
                    f"{where} labelSelector",
                    shown(labels or None),
                    f"labels of the pods ({shown(gang.pod_labels)})",
                    "select by the pods' labels",
                )


def names(one: Shape, where: str) -> Iterator[Finding]:
    """Names and labels as the API server takes them, and no secret in what describes."""
    metadata = one.metadata  # type: ignore[attr-defined]
    kind = one.kind  # type: ignore[attr-defined]
    if not LABEL.match(metadata.name) or len(metadata.name) > LONGEST:
        yield _bad_name(f"{where} metadata.name", metadata.name)
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
        yield _bad_name(f"{where} metadata.namespace", metadata.namespace)
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


def _bad_name(where: str, name: str) -> Finding:
    return Finding(
        where,
        shown(name),
        f"at most {LONGEST} small letters, digits and dashes, none of them at an end (DNS-1123)",
        "rename it",
    )
