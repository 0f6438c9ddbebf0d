"""What a training manifest may look like: closed records of the parts of the API that it is made of.

A field that Kubernetes has and that no manifest of ours needs is named in ``also``: it may stand
there, and is not looked into. Everything else is a mistake. Names and types of Kubernetes 1.37,
JobSet 0.12, Kubeflow Trainer 2.3 and PAI-DLC 2020-12-03; tests hold them to the published schemas.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

# Kubernetes writes quantities as text; a plain number stands for itself.
QUANTITY = r"^[+-]?(\d+|\d+\.\d*|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?$"
Text = Annotated[str, StringConstraints(min_length=1)]
Quantity = Annotated[str, StringConstraints(pattern=QUANTITY)] | int | float
Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
Size = Annotated[int, Field(ge=1, le=2**31 - 1)]
Port = Annotated[int, Field(ge=1, le=65535)]
Words = dict[str, str]


class Shape(BaseModel):
    """A closed record; also: further fields of the API, in one text."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    also: ClassVar[str] = ""

    @model_validator(mode="before")
    @classmethod
    def _without_others(cls, given: Any) -> Any:
        if not isinstance(given, dict) or not cls.also:
            return given
        others = set(cls.also.split())
        return {key: value for key, value in given.items() if key not in others}


class Metadata(Shape):
    name: Text
    namespace: Text | None = None
    labels: Words = {}
    annotations: Words = {}
    also = (
        "creationTimestamp deletionGracePeriodSeconds deletionTimestamp finalizers generateName "
        "generation managedFields ownerReferences resourceVersion selfLink uid"
    )


class PartMetadata(Metadata):
    """Of a template: its objects are named by others."""

    name: Text | None = None  # type: ignore[assignment]


class Key(Shape):
    key: Text
    name: Text
    optional: bool | None = None


class Source(Shape):
    configMapKeyRef: Key | None = None
    secretKeyRef: Key | None = None
    also = "fieldRef fileKeyRef resourceFieldRef"


class Env(Shape):
    name: Text
    value: str | None = None
    valueFrom: Source | None = None


class ContainerPort(Shape):
    name: Text | None = None
    containerPort: Port
    protocol: Literal["TCP", "UDP", "SCTP"] | None = None
    also = "hostIP hostPort"


class Resources(Shape):
    requests: dict[str, Quantity] = {}
    limits: dict[str, Quantity] = {}
    also = "claims"


class Mount(Shape):
    name: Text
    mountPath: Text
    readOnly: bool | None = None
    also = "bindMountOptions mountPropagation recursiveReadOnly subPath subPathExpr"


class Container(Shape):
    name: Text
    image: Text | None = None
    imagePullPolicy: Literal["Always", "IfNotPresent", "Never"] | None = None
    command: list[str] | None = None
    args: list[str] | None = None
    env: list[Env] = []
    ports: list[ContainerPort] = []
    resources: Resources = Resources()
    volumeMounts: list[Mount] = []
    also = (
        "envFrom lifecycle livenessProbe readinessProbe resizePolicy restartPolicy "
        "restartPolicyRules securityContext startupProbe stdin stdinOnce terminationMessagePath "
        "terminationMessagePolicy tty volumeDevices workingDir"
    )


class Claim(Shape):
    claimName: Text
    readOnly: bool | None = None


class Item(Shape):
    key: Text
    path: Text
    mode: Count | None = None


class ConfigMapSource(Shape):
    name: Text
    items: list[Item] | None = None
    optional: bool | None = None
    also = "defaultMode defaultUser"


class Memory(Shape):
    medium: Literal["", "Memory"] | None = None
    sizeLimit: Quantity | None = None
    also = "mode"


class Volume(Shape):
    name: Text
    persistentVolumeClaim: Claim | None = None
    configMap: ConfigMapSource | None = None
    emptyDir: Memory | None = None
    also = (
        "awsElasticBlockStore azureDisk azureFile cephfs cinder csi downwardAPI ephemeral fc "
        "flexVolume flocker gcePersistentDisk gitRepo glusterfs hostPath image iscsi nfs "
        "photonPersistentDisk portworxVolume projected quobyte rbd scaleIO secret storageos "
        "vsphereVolume"
    )


class Toleration(Shape):
    key: Text | None = None
    operator: Literal["Exists", "Equal", "Lt", "Gt"] | None = None
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    tolerationSeconds: int | None = None


class Expression(Shape):
    key: Text
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    values: list[str] = []


class Term(Shape):
    matchExpressions: list[Expression] = []
    matchFields: list[Expression] = []


class Terms(Shape):
    nodeSelectorTerms: list[Term] = Field(min_length=1)


class NodeAffinity(Shape):
    requiredDuringSchedulingIgnoredDuringExecution: Terms | None = None
    also = "preferredDuringSchedulingIgnoredDuringExecution"


class Selector(Shape):
    matchLabels: Words = {}
    also = "matchExpressions"


class Beside(Shape):
    topologyKey: Text
    labelSelector: Selector | None = None
    also = "matchLabelKeys mismatchLabelKeys namespaceSelector namespaces"


class PodAffinity(Shape):
    requiredDuringSchedulingIgnoredDuringExecution: list[Beside] = []
    also = "preferredDuringSchedulingIgnoredDuringExecution"


class Affinity(Shape):
    nodeAffinity: NodeAffinity | None = None
    podAffinity: PodAffinity | None = None
    podAntiAffinity: PodAffinity | None = None


class PodSpec(Shape):
    containers: list[Container] = Field(min_length=1)
    initContainers: list[Container] = []
    restartPolicy: Literal["Always", "Never", "OnFailure"] | None = None
    subdomain: Text | None = None
    nodeSelector: Words = {}
    affinity: Affinity = Affinity()
    tolerations: list[Toleration] = []
    volumes: list[Volume] = []
    terminationGracePeriodSeconds: Count | None = None
    activeDeadlineSeconds: Count | None = None
    hostNetwork: bool | None = None
    automountServiceAccountToken: bool | None = None
    enableServiceLinks: bool | None = None
    also = (
        "dnsConfig dnsPolicy ephemeralContainers "
        "evictionResponders "
        "hostAliases hostIPC hostPID hostUsers hostname hostnameOverride "
        "imagePullSecrets nodeName os overhead preemptionPolicy priority priorityClassName "
        "readinessGates resourceClaims resources runtimeClassName schedulerName schedulingGates "
        "schedulingGroup securityContext serviceAccount serviceAccountName setHostnameAsFQDN "
        "shareProcessNamespace topologySpreadConstraints"
    )


class PodTemplate(Shape):
    metadata: PartMetadata = PartMetadata()
    spec: PodSpec


class ExitCodes(Shape):
    containerName: Text | None = None
    operator: Literal["In", "NotIn"]
    values: list[int] = Field(min_length=1)


class Condition(Shape):
    type: Text
    status: Literal["True", "False", "Unknown"] | None = None


class FailureRule(Shape):
    action: Literal["FailJob", "FailIndex", "Ignore", "Count"]
    onExitCodes: ExitCodes | None = None
    onPodConditions: list[Condition] = []


class PodFailurePolicy(Shape):
    rules: list[FailureRule] = []


class JobSpec(Shape):
    template: PodTemplate
    completionMode: Literal["Indexed", "NonIndexed"] | None = None
    completions: Count | None = None
    parallelism: Count | None = None
    activeDeadlineSeconds: Size | None = None
    backoffLimit: Count | None = None
    podFailurePolicy: PodFailurePolicy | None = None
    suspend: bool | None = None
    also = (
        "backoffLimitPerIndex managedBy manualSelector maxFailedIndexes podReplacementPolicy "
        "scheduling selector successPolicy ttlSecondsAfterFinished"
    )


class Job(Shape):
    apiVersion: Literal["batch/v1"]
    kind: Literal["Job"]
    metadata: Metadata
    spec: JobSpec
    also = "status"


class ServicePort(Shape):
    name: Text | None = None
    port: Port
    targetPort: int | str | None = None
    protocol: Literal["TCP", "UDP", "SCTP"] | None = None
    also = "appProtocol nodePort"


class ServiceSpec(Shape):
    clusterIP: str | None = None
    selector: Words
    ports: list[ServicePort] = []
    publishNotReadyAddresses: bool | None = None
    type: Literal["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"] | None = None
    also = (
        "allocateLoadBalancerNodePorts clusterIPs externalIPs externalName externalTrafficPolicy "
        "healthCheckNodePort internalTrafficPolicy ipFamilies ipFamilyPolicy loadBalancerClass "
        "loadBalancerIP loadBalancerSourceRanges sessionAffinity sessionAffinityConfig "
        "trafficDistribution"
    )


class Service(Shape):
    apiVersion: Literal["v1"]
    kind: Literal["Service"]
    metadata: Metadata
    spec: ServiceSpec
    also = "status"


class ConfigMap(Shape):
    apiVersion: Literal["v1"]
    kind: Literal["ConfigMap"]
    metadata: Metadata
    data: Words = {}
    binaryData: Words = {}
    immutable: bool | None = None


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
    ] = []
    also = "onJobFailureMessagePatterns targetReplicatedJobs"


class SetFailurePolicy(Shape):
    maxRestarts: Count | None = None
    restartStrategy: Literal["Recreate", "BlockingRecreate", "InPlaceRestart"] | None = None
    rules: list[SetRule] = []


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
    env: list[Env] = []
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


class Spot(Shape):
    SpotStrategy: Literal["SpotWithPriceLimit", "SpotAsPriceGo", "NoSpot"]
    SpotPriceLimit: float | int | None = None
    SpotDiscountLimit: float | int | None = None


class DlcRole(Shape):
    Type: Literal["Chief", "PS", "Worker", "Evaluator", "GraphLearn", "Master"]
    PodCount: Size
    Image: Text
    EcsSpec: Text | None = None
    RestartPolicy: Literal["Always", "Never", "OnFailure", "ExitCode"] | None = None
    SpotSpec: Spot | None = None
    ResourceConfig: Words | None = None
    also = (
        "AssignNodeSpec AutoScalingSpec ConsiderInSuccessPolicy Driver ElasticSpotSpecs "
        "ExtraPodSpec HyperNodeSchedulingConfig ImageConfig IsCheif IsChief LocalMountSpecs "
        "OversoldType QuotaId ServiceSpec StartupDependencies SystemDisk UseSpotInstance "
        "UserCommand"
    )


class DlcSource(Shape):
    DataSourceId: Text | None = None
    Uri: Text | None = None
    MountPath: Text | None = None
    MountAccess: Literal["RO", "RW"] | None = None
    also = "AccessPointId DataSourceVersion EnableCache Options RoleArn RoleChain"


class DlcJob(Shape):
    DisplayName: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z_.\-]{1,256}$")]
    JobType: Literal["TFJob"]
    JobSpecs: list[DlcRole] = Field(min_length=1)
    UserCommand: Text
    Envs: Words = {}
    DataSources: list[DlcSource] = []
    JobMaxRunningTimeMinutes: Size | None = None
    SuccessPolicy: Literal["ChiefWorker", "AllWorkers"] | None = None
    WorkspaceId: Text | None = None
    ResourceId: Text | None = None
    Settings: dict[str, Any] = {}
    Priority: Annotated[int, Field(ge=1, le=9)] | None = None
    also = (
        "Accessibility CodeSource CredentialConfig CustomEnvs DebuggerConfigContent Description "
        "ElasticSpec Options SchedulingStrategy TemplateId TemplateVersion ThirdpartyLibDir "
        "ThirdpartyLibs UserVpc"
    )


class SkyResources(Shape):
    infra: Text
    use_spot: bool
    image_id: Text
    instance_type: Text | None = None
    accelerators: dict[str, int] | None = None
    autostop: dict[str, Any] | bool | int | None = None
    job_recovery: dict[str, Any] | Text | None = None
    also = (
        "cpus memory disk_size disk_tier network_tier ports labels priority volumes zone region "
        "cloud any_of ordered max_hourly_cost"
    )


class SkyTask(Shape):
    name: Text
    num_nodes: Size
    resources: SkyResources
    run: Text
    envs: Words = {}
    setup: str | None = None
    workdir: Any = None
    file_mounts: dict[str, Any] = {}
    also = "secrets config volumes inputs outputs service event_callback experimental"


KINDS: dict[str, type[Shape]] = {
    "Job": Job,
    "Service": Service,
    "ConfigMap": ConfigMap,
    "JobSet": JobSet,
    "TrainingRuntime": TrainingRuntime,
    "TrainJob": TrainJob,
}
