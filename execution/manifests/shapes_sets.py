"""What custom objects for training may look like: JobSet 0.12, and Kubeflow Trainer 2.3."""

from typing import Any, Literal

from pydantic import Field

from .shapes import Count, Env, JobSpec, Metadata, PartMetadata, Resources, Shape, Size, Text


class JobTemplate(Shape):
    metadata: PartMetadata = PartMetadata()
    spec: JobSpec


class ReplicatedJob(Shape):
    name: Text
    replicas: Count | None = None
    template: JobTemplate
    also = "dependsOn groupName"


class SetRule(Shape):
    name: Text
    action: Literal[
        "FailJobSet",
        "RestartJobSet",
        "RestartJobSetAndIgnoreMaxRestarts",
        "RestartJob",
        "RestartJobAndIgnoreMaxRestarts",
    ]
    onJobFailureReasons: list[
        Literal[
            "BackoffLimitExceeded",
            "DeadlineExceeded",
            "FailedIndexes",
            "MaxFailedIndexesExceeded",
            "PodFailurePolicy",
        ]
    ] = Field(default_factory=list)
    also = "onJobFailureMessagePatterns targetReplicatedJobs"


class SetFailurePolicy(Shape):
    maxRestarts: Count | None = None
    restartStrategy: Literal["Recreate", "BlockingRecreate", "InPlaceRestart"] | None = None
    rules: list[SetRule] = Field(default_factory=list)


class Network(Shape):
    enableDNSHostnames: bool | None = None
    subdomain: Text | None = None
    publishNotReadyAddresses: bool | None = None


class SetSpec(Shape):
    replicatedJobs: list[ReplicatedJob] = Field(min_length=1)
    failurePolicy: SetFailurePolicy | None = None
    network: Network | None = None
    suspend: bool | None = None
    also = (
        "coordinator managedBy startupPolicy successPolicy ttlSecondsAfterFinished "
        "volumeClaimPolicies"
    )


class JobSet(Shape):
    apiVersion: Literal["jobset.x-k8s.io/v1alpha2"]
    kind: Literal["JobSet"]
    metadata: Metadata
    spec: SetSpec
    also = "status"


class SetTemplate(Shape):
    metadata: PartMetadata = PartMetadata()
    spec: SetSpec


class Policy(Shape):
    numNodes: Size | None = None
    flux: Any = None
    jax: Any = None
    mpi: Any = None
    torch: Any = None
    xgboost: Any = None


class RuntimeSpec(Shape):
    template: SetTemplate
    mlPolicy: Policy | None = None
    also = "podGroupPolicy"


class TrainingRuntime(Shape):
    apiVersion: Literal["trainer.kubeflow.org/v1alpha1"]
    kind: Literal["TrainingRuntime"]
    metadata: Metadata
    spec: RuntimeSpec


class RuntimeRef(Shape):
    name: Text
    apiGroup: Text | None = None
    kind: Literal["TrainingRuntime", "ClusterTrainingRuntime"] | None = None


class Trainer(Shape):
    numNodes: Size | None = None
    image: Text | None = None
    command: list[str] | None = None
    args: list[str] | None = None
    env: list[Env] = Field(default_factory=list)
    resourcesPerNode: Resources = Resources()
    also = "numProcPerNode"


class TrainJobSpec(Shape):
    runtimeRef: RuntimeRef
    trainer: Trainer
    activeDeadlineSeconds: Size | None = None
    suspend: bool | None = None
    also = "initializer managedBy runtimePatches"


class TrainJob(Shape):
    apiVersion: Literal["trainer.kubeflow.org/v1alpha1"]
    kind: Literal["TrainJob"]
    metadata: Metadata
    spec: TrainJobSpec
    also = "status"
