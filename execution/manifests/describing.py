"""Checks of descriptions that are no Kubernetes objects: a PAI-DLC job, a SkyPilot task."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from ...catalog import Purchase
from .dlc import LARGEST_BYTES
from .findings import Finding, shown
from .order import BOOTSTRAP, GRACE_S, RUN_PATH, WORK, Contract
from .shapes_described import DlcJob, SkyTask
from .sky import CLOUDS
from .told import agree, contract_in, environment, pinned, secrets


def check_dlc(job: DlcJob, document: Mapping[str, Any], expected: Contract | None) -> list[Finding]:
    """Every mistake in the body of CreateJob."""
    contract, found = contract_in(job.Envs.get(WORK), "job Envs")
    if contract is not None and expected is not None:
        found += agree(contract, expected, "job Envs")
    found += environment(job.Envs.items(), "job Envs")
    found += secrets("UserCommand", job.UserCommand, "job")
    role, where = job.JobSpecs[0], "job JobSpecs[0]"
    if len(job.JobSpecs) > 1 or role.Type != "Worker":
        found.append(
            Finding(
                "job JobSpecs",
                ", ".join(one.Type for one in job.JobSpecs),
                "one role, Worker: rank 0 is the chief",
                "remove the others",
            )
        )
    found += pinned(role.Image, f"{where}.Image")
    if role.EcsSpec is None and role.ResourceConfig is None:
        found.append(Finding(f"{where}.EcsSpec", "nothing", "the instance type", "add it"))
    if role.EcsSpec is not None and not role.EcsSpec.startswith("ecs."):
        found.append(
            Finding(
                f"{where}.EcsSpec",
                shown(role.EcsSpec),
                "an instance type of Alibaba Cloud, ecs. and so on",
                "plan with offers of alibaba",
            )
        )
    if role.RestartPolicy != "ExitCode":
        found.append(
            Finding(
                f"{where}.RestartPolicy",
                shown(role.RestartPolicy),
                "'ExitCode': what a restart may mend ends with 128 or more",
                "write it so",
            )
        )
    if " ".join(BOOTSTRAP) not in job.UserCommand:
        found.append(
            Finding(
                "job UserCommand",
                shown(job.UserCommand),
                f"exec {' '.join(BOOTSTRAP)}",
                "write it so: it makes TF_CONFIG and starts the worker",
            )
        )
    run = [one for one in job.DataSources if (one.MountPath or "").rstrip("/") == RUN_PATH]
    if not run or run[0].MountAccess == "RO":
        found.append(
            Finding(
                "job DataSources",
                f"nothing to write to at {RUN_PATH}",
                "the storage of the checkpoints, in every worker",
                "add it with MountAccess RW",
            )
        )
    for index, one in enumerate(job.DataSources):
        if (one.DataSourceId is None) == (one.Uri is None):
            found.append(
                Finding(
                    f"job DataSources[{index}]",
                    "both an id and a Uri" if one.Uri else "neither an id nor a Uri",
                    "one of them",
                    "give DataSourceId or Uri",
                )
            )
        elif one.DataSourceId is not None and not one.DataSourceId.startswith("d"):
            found.append(
                Finding(
                    f"job DataSources[{index}].DataSourceId",
                    shown(one.DataSourceId),
                    "the id of a data set (d-...) of the workspace, or a Uri (oss://, nas://)",
                    "give it with --claim",
                )
            )
        elif one.Uri is not None:
            found += secrets("Uri", one.Uri, f"job DataSources[{index}]")
    size = len(json.dumps(document).encode())
    if size > LARGEST_BYTES:
        found.append(
            Finding("job", f"{size} bytes", f"at most {LARGEST_BYTES}", "shorten what is in Envs")
        )
    held = expected or contract
    if held is not None:
        found += _dlc_against(job, held)
    return found


def _dlc_against(job: DlcJob, held: Contract) -> list[Finding]:
    role, where, found = job.JobSpecs[0], "job JobSpecs[0]", []
    if role.EcsSpec is not None and role.EcsSpec != held.instance_type:
        found.append(
            Finding(
                f"{where}.EcsSpec",
                shown(role.EcsSpec),
                f"the planned machine, {held.instance_type}",
                "correct it",
            )
        )
    if role.PodCount != held.workers:
        found.append(
            Finding(
                f"{where}.PodCount",
                shown(role.PodCount),
                f"{held.workers}, the number of workers",
                f"write {held.workers}",
            )
        )
    minutes = math.ceil(held.deadline_s / 60)
    if job.JobMaxRunningTimeMinutes != minutes:
        found.append(
            Finding(
                "job JobMaxRunningTimeMinutes",
                shown(job.JobMaxRunningTimeMinutes),
                f"{minutes}, the deadline of {held.deadline_s} s",
                f"write {minutes}",
            )
        )
    spot = role.SpotSpec is not None and role.SpotSpec.SpotStrategy != "NoSpot"
    if spot != (held.purchase == Purchase.SPOT):
        bought = str(held.purchase).replace("_", " ")
        found.append(
            Finding(
                f"{where}.SpotSpec",
                "spot" if spot else "nothing",
                f"what was planned: {bought}",
                "remove it" if spot else "write SpotStrategy SpotAsPriceGo",
            )
        )
    return found


def check_sky(
    task: SkyTask, document: Mapping[str, Any], expected: Contract | None
) -> list[Finding]:
    """Every mistake in a SkyPilot task."""
    contract, found = contract_in(task.envs.get(WORK), "task envs")
    if contract is not None and expected is not None:
        found += agree(contract, expected, "task envs")
    found += environment(task.envs.items(), "task envs")
    for name, text in (("run", task.run), ("setup", task.setup or "")):
        found += secrets(name, text, "task")
    resources = task.resources
    if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", task.name) or len(task.name) > 40:
        found.append(
            Finding(
                "task name",
                shown(task.name),
                "at most 40 small letters, digits and dashes, a letter first",
                "rename it",
            )
        )
    cloud = resources.infra.split("/")[0]
    if cloud not in CLOUDS.values() and cloud != "kubernetes":
        found.append(
            Finding(
                "task resources.infra",
                shown(resources.infra),
                f"CLOUD/REGION with one of {', '.join(CLOUDS.values())}",
                "write it so",
            )
        )
    found += pinned(resources.image_id.removeprefix("docker:"), "task resources.image_id")
    if not resources.image_id.startswith("docker:"):
        found.append(
            Finding(
                "task resources.image_id", shown(resources.image_id), "docker:IMAGE", "write it so"
            )
        )
    command = re.search(r"timeout --signal=TERM --kill-after=(\d+) (\d+) (.+)", task.run)
    if command is None or command[3].strip() != " ".join(BOOTSTRAP):
        found.append(
            Finding(
                "task run",
                shown(task.run),
                f"timeout --signal=TERM --kill-after={GRACE_S} SECONDS {' '.join(BOOTSTRAP)}",
                "SkyPilot knows no deadline: write it so",
            )
        )
    elif int(command[1]) < GRACE_S:
        found.append(
            Finding(
                "task run --kill-after",
                command[1],
                f"at least {GRACE_S}",
                "a checkpoint takes time",
            )
        )
    mount = task.file_mounts.get(RUN_PATH)
    if not isinstance(mount, dict) or mount.get("mode", "MOUNT") == "COPY":
        found.append(
            Finding(
                "task file_mounts",
                f"{shown(mount)} at {RUN_PATH}",
                "a bucket that is mounted, for the checkpoints of all workers",
                "write name and mode: MOUNT",
            )
        )
    held = expected or contract
    if held is not None:
        found += _sky_against(task, held, command)
    return found


def _sky_against(task: SkyTask, held: Contract, command: re.Match[str] | None) -> list[Finding]:
    resources, found = task.resources, []
    if task.num_nodes != held.workers:
        found.append(
            Finding(
                "task num_nodes",
                shown(task.num_nodes),
                f"{held.workers}, the number of workers",
                f"write {held.workers}",
            )
        )
    if command is not None and int(command[2]) != held.deadline_s:
        found.append(
            Finding(
                "task run timeout",
                command[2],
                f"{held.deadline_s}, the deadline in seconds",
                "write that",
            )
        )
    if resources.use_spot != (held.purchase == Purchase.SPOT):
        found.append(
            Finding(
                "task resources.use_spot",
                shown(resources.use_spot),
                f"what was planned: {str(held.purchase).replace('_', ' ')}",
                "correct it",
            )
        )
    cloud = resources.infra.split("/")[0]
    if CLOUDS.get(held.provider) != cloud:
        found.append(
            Finding(
                "task resources.infra",
                shown(resources.infra),
                f"the planned provider, {held.provider}",
                "correct it",
            )
        )
    planned = None if (held.device or "").endswith("tpu") else held.instance_type.split("+")[0]
    if resources.instance_type != planned:
        found.append(
            Finding(
                "task resources.instance_type",
                shown(resources.instance_type),
                f"the planned machine, {shown(planned)}",
                "correct it",
            )
        )
    count = sum((resources.accelerators or {}).values())
    # A TPU slice is one accelerator to SkyPilot, whatever its chips.
    wanted = 0 if held.device is None else 1 if held.device.endswith("tpu") else held.devices
    if count != wanted:
        found.append(
            Finding(
                "task resources.accelerators",
                shown(resources.accelerators),
                f"{wanted} on each node" if wanted else "none: the plan trains on processors",
                "correct it",
            )
        )
    return found
