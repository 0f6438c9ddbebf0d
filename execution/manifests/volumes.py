"""Checks of volumes and mounts: each there once, and checkpoints where all can write and none is lost."""

from collections import Counter
from collections.abc import Iterator

from .findings import Finding, shown
from .gang import Gang
from .names import LABEL, LONGEST, SUBDOMAIN, bad_name
from .order import RUN_PATH, WORK, Contract


def volumes(gang: Gang) -> Iterator[Finding]:
    held, mounts = gang.pod.volumes, gang.container.volumeMounts
    where = f"{gang.where_container}.volumeMounts"
    names = [volume.name for volume in held]
    for name, count in Counter(names).items():
        if count > 1:
            yield Finding(
                f"{gang.where_pod}.volumes",
                f"{shown(name)} twice",
                "each volume once",
                "remove one",
            )
    for volume in held:
        if not LABEL.match(volume.name) or len(volume.name) > LONGEST:
            yield bad_name(f"{gang.where_pod}.volumes", volume.name)
        claim = volume.persistentVolumeClaim
        if claim is not None and not SUBDOMAIN.match(claim.claimName):
            yield bad_name(f"{gang.where_pod}.volumes {volume.name} claimName", claim.claimName)
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
    source = next((volume for volume in held if volume.name == run.name), None)
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


def folder(gang: Gang, held: Contract) -> Iterator[Finding]:
    """Where the worker keeps its run must be on the volume."""
    kept = str(held.spec.get("folder", ""))
    if kept and not kept.startswith(f"{RUN_PATH}/"):
        yield Finding(
            f"{gang.where_env} {WORK} spec.folder",
            shown(kept),
            f"a folder below {RUN_PATH}, the shared volume",
            "write it so",
        )
