"""Checks of a gang of pods: what every worker runs and is told, how many there are, and where."""

from collections import Counter
from collections.abc import Iterator

from .findings import Finding, shown
from .gang import Gang
from .lifetime import deadlines, ending, restarts
from .order import HOSTS, WORK, Contract
from .placing import apart, place
from .privileges import privileges
from .resources import devices, share, stated
from .told import agree, commanded, contract_in, environment, pinned, secrets
from .volumes import folder, volumes


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
    yield from ending(gang)
    yield from privileges(gang)
    yield from volumes(gang)
    yield from stated(gang)
    held = expected or contract
    if held is None:
        return
    yield from _sizes(gang, held)
    yield from _hosts(gang, held)
    yield from deadlines(gang, held)
    yield from restarts(gang, held)
    yield from devices(gang, held)
    yield from share(gang, held)
    yield from place(gang, held)
    yield from folder(gang, held)
    yield from apart(gang, held)


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
