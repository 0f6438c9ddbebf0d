"""Checks of what lets a pod reach beyond itself, into its machine or the cluster: training needs none.

What the Baseline profile of Kubernetes' Pod Security Standards forbids, and being root by name.
"""

from collections.abc import Iterator

from .findings import Finding, shown
from .gang import Gang
from .shapes import Container, SecurityContext

# What container runtimes grant anyway, which Baseline allows to be named; and IPC_LOCK, without which
# NCCL cannot pin memory for InfiniBand.
HARMLESS = {
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "IPC_LOCK", "KILL", "MKNOD",
    "NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
}  # fmt: skip


def privileges(gang: Gang) -> Iterator[Finding]:
    """Everything of the machine's own that the pod asks for."""
    pod, where = gang.pod, gang.where_pod
    for name, asked, words in (
        ("hostNetwork", pod.hostNetwork, "workers reach each other by the names of pods"),
        ("hostPID", pod.hostPID, "it would see, and could end, every process of the machine"),
        ("hostIPC", pod.hostIPC, "it would share memory with every process of the machine"),
        (
            "automountServiceAccountToken",
            pod.automountServiceAccountToken,
            "a worker asks nothing of the cluster, and whoever takes it over should not either",
        ),
    ):
        if asked:
            yield Finding(f"{where}.{name}", "true", "false or nothing", f"{words}: remove it")
    for volume in pod.volumes:
        if volume.hostPath is not None:
            yield Finding(
                f"{where}.volumes {volume.name}",
                f"hostPath {shown(volume.hostPath.path)}",
                "a claim, a ConfigMap or an emptyDir",
                "files of the machine are others on the next one, and not ours to change: mount a claim",
            )
    security = pod.securityContext
    if security is not None:
        yield from _root(security.runAsUser, f"{where}.securityContext")
        if security.seccompProfile is not None:
            yield from _unconfined(security.seccompProfile.type, f"{where}.securityContext")
    for kind, containers in (
        ("containers", pod.containers),
        ("initContainers", pod.initContainers),
    ):
        for index, container in enumerate(containers):
            yield from _container(container, f"{where}.{kind}[{index}]")


def _container(container: Container, where: str) -> Iterator[Finding]:
    for port in container.ports:
        if port.hostPort:
            yield Finding(
                f"{where}.ports hostPort",
                shown(port.hostPort),
                "nothing",
                "one pod a machine could have that port, and everybody reaches it: remove it",
            )
    if container.securityContext is not None:
        yield from _security(container.securityContext, f"{where}.securityContext")


def _security(asked: SecurityContext, where: str) -> Iterator[Finding]:
    for name, given, words in (
        ("privileged", asked.privileged, "it would own the machine and every pod on it"),
        (
            "allowPrivilegeEscalation",
            asked.allowPrivilegeEscalation,
            "a process could get more rights than it was started with",
        ),
    ):
        if given:
            yield Finding(
                f"{where}.{name}",
                "true",
                "false or nothing",
                f"{words}, and training needs none of it: remove it",
            )
    yield from _root(asked.runAsUser, where)
    added = asked.capabilities.add if asked.capabilities is not None else []
    more = [one for one in added if one.removeprefix("CAP_") not in HARMLESS]
    if more:
        yield Finding(
            f"{where}.capabilities.add",
            ", ".join(more),
            "none",
            "training needs no rights over the machine: remove it",
        )
    if asked.procMount == "Unmasked":
        yield Finding(f"{where}.procMount", "'Unmasked'", "'Default' or nothing", "remove it")
    if asked.seccompProfile is not None:
        yield from _unconfined(asked.seccompProfile.type, where)


def _root(user: int | None, where: str) -> Iterator[Finding]:
    if user == 0:
        yield Finding(
            f"{where}.runAsUser",
            "0, root",
            "another user, or nothing",
            "training needs no root, and files on the shared volume would be root's: give the number "
            "of a user who may write there",
        )


def _unconfined(kind: str, where: str) -> Iterator[Finding]:
    if kind == "Unconfined":
        yield Finding(
            f"{where}.seccompProfile.type",
            "'Unconfined'",
            "'RuntimeDefault' or nothing",
            "every system call would be open to it: remove it",
        )
