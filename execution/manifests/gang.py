"""One view of the workers, whichever kind of object describes them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .order import HOSTS
from .shapes import Container, Env, Job, JobSpec, PodSpec, Shape
from .shapes_sets import JobSet, SetSpec, TrainingRuntime, TrainJob


@dataclass(frozen=True, slots=True)
class Gang:
    """The workers of a manifest. where_...: the path of a part, for sentences.

    host: of a rank, with {rank} for its number. sizes, deadlines, suspended: every place that states
    it, with what it states. subdomain: of the pods' names, None where a controller makes it.
    """

    kind: str
    name: str
    container_name: str
    pod: PodSpec
    where_pod: str
    container: Container
    where_container: str
    where_env: str
    where_resources: str
    job: JobSpec
    where_job: str
    set_spec: SetSpec | None
    where_set: str
    pod_labels: dict[str, str]
    host: str
    subdomain: str | None
    sizes: dict[str, int | None]
    deadlines: dict[str, int | None]
    suspended: dict[str, bool | None]

    @property
    def env(self) -> list[Env]:
        return self.container.env

    @property
    def hosts(self) -> list[str] | None:
        """Addresses in ISOCOST_HOSTS, None where there is no such variable."""
        value = next((env.value for env in self.env if env.name == HOSTS), None)
        return None if value is None else [part.strip() for part in value.split(",")]

    @property
    def port(self) -> int | None:
        """The one port of all hosts, None where there is no such."""
        ports = {host.rpartition(":")[2] for host in self.hosts or []}
        only = ports.pop() if len(ports) == 1 else ""
        return int(only) if only.isdigit() else None


def gang_of(objects: Sequence[Shape]) -> Gang | None:
    """The workers that the objects describe; None where a part of them is not there."""
    for one in objects:
        if isinstance(one, Job):
            return _of_job(one)
        if isinstance(one, JobSet):
            return _of_set(one)
        if isinstance(one, TrainJob):
            runtimes = [found for found in objects if isinstance(found, TrainingRuntime)]
            return _of_trainjob(one, runtimes[0]) if runtimes else None
    return None


def _of_job(job: Job) -> Gang:
    name, where = job.metadata.name, f"job/{job.metadata.name} spec"
    pod = job.spec.template.spec
    container = f"{where}.template.spec.containers[0]"
    return Gang(
        kind="Job",
        name=name,
        container_name="worker",
        pod=pod,
        where_pod=f"{where}.template.spec",
        container=pod.containers[0],
        where_container=container,
        where_env=f"{container}.env",
        where_resources=f"{container}.resources",
        job=job.spec,
        where_job=where,
        set_spec=None,
        where_set="",
        pod_labels=job.spec.template.metadata.labels,
        host=f"{name}-{{rank}}.{pod.subdomain or name}",
        subdomain=pod.subdomain,
        sizes={
            f"{where}.completions": job.spec.completions,
            f"{where}.parallelism": job.spec.parallelism,
        },
        deadlines={f"{where}.activeDeadlineSeconds": job.spec.activeDeadlineSeconds},
        suspended={f"{where}.suspend": job.spec.suspend},
    )


def _of_set(jobset: JobSet) -> Gang:
    name, where = jobset.metadata.name, f"jobset/{jobset.metadata.name} spec"
    spec = jobset.spec
    subdomain = (spec.network.subdomain if spec.network else None) or name
    replicated = spec.replicatedJobs[0]
    gang = _in_set(name, spec, where, f"{name}-{replicated.name}-0-{{rank}}.{subdomain}", "worker")
    job = gang.job
    sizes = {
        f"{gang.where_job}.completions": job.completions,
        f"{gang.where_job}.parallelism": job.parallelism,
    }
    return replace(gang, kind="JobSet", sizes=sizes)


def _of_trainjob(job: TrainJob, runtime: TrainingRuntime) -> Gang:
    name = job.metadata.name
    where = f"trainingruntime/{runtime.metadata.name} spec.template.spec"
    gang = _in_set(
        name, runtime.spec.template.spec, where, f"{name}-node-0-{{rank}}.{name}", "node"
    )
    trainer, container = job.spec.trainer, gang.container
    here = f"trainjob/{name} spec.trainer"
    policy = runtime.spec.mlPolicy
    # What the TrainJob says of the container overrides the runtime.
    merged = container.model_copy(
        update={
            "image": trainer.image or container.image,
            "command": trainer.command or container.command,
            "args": trainer.args or container.args,
            "env": trainer.env or container.env,
            "resources": trainer.resourcesPerNode
            if trainer.resourcesPerNode.requests or trainer.resourcesPerNode.limits
            else container.resources,
        }
    )
    return replace(
        gang,
        kind="TrainJob",
        container=merged,
        where_env=f"{here}.env",
        where_resources=f"{here}.resourcesPerNode",
        sizes={
            f"{here}.numNodes": trainer.numNodes,
            f"trainingruntime/{runtime.metadata.name} spec.mlPolicy.numNodes": None
            if policy is None
            else policy.numNodes,
        },
        deadlines={f"trainjob/{name} spec.activeDeadlineSeconds": job.spec.activeDeadlineSeconds}
        | gang.deadlines,
        suspended={f"trainjob/{name} spec.suspend": job.spec.suspend} | gang.suspended,
    )


def _in_set(name: str, spec: SetSpec, where: str, host: str, container_name: str) -> Gang:
    template = spec.replicatedJobs[0].template
    here = f"{where}.replicatedJobs[0].template.spec"
    pod = template.spec.template.spec
    container = f"{here}.template.spec.containers[0]"
    return Gang(
        kind="",
        name=name,
        container_name=container_name,
        pod=pod,
        where_pod=f"{here}.template.spec",
        container=pod.containers[0],
        where_container=container,
        where_env=f"{container}.env",
        where_resources=f"{container}.resources",
        job=template.spec,
        where_job=here,
        set_spec=spec,
        where_set=where,
        pod_labels=template.spec.template.metadata.labels,
        host=host,
        subdomain=None,
        sizes={},
        deadlines={f"{here}.activeDeadlineSeconds": template.spec.activeDeadlineSeconds},
        suspended={f"{where}.suspend": spec.suspend, f"{here}.suspend": template.spec.suspend},
    )
