"""What a training manifest may look like: closed records of the parts of the API that it is made of.

A field that Kubernetes has and that no manifest of ours needs is named in ``also``: it may stand
there, and is not looked into. Everything else is a mistake. Names and types of Kubernetes 1.37; tests
hold them to the published schemas. Custom objects are in shapes_sets, what is no Kubernetes object in
shapes_described.
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
    hostPort: int | None = None
    protocol: Literal["TCP", "UDP", "SCTP"] | None = None
    also = "hostIP"


class Resources(Shape):
    requests: dict[str, Quantity] = {}
    limits: dict[str, Quantity] = {}
    also = "claims"


class Mount(Shape):
    name: Text
    mountPath: Text
    readOnly: bool | None = None
    also = "bindMountOptions mountPropagation recursiveReadOnly subPath subPathExpr"


class Capabilities(Shape):
    add: list[str] = []
    drop: list[str] = []


class Seccomp(Shape):
    type: Text
    also = "localhostProfile"


class SecurityContext(Shape):
    privileged: bool | None = None
    allowPrivilegeEscalation: bool | None = None
    capabilities: Capabilities | None = None
    procMount: Text | None = None
    runAsUser: int | None = None
    seccompProfile: Seccomp | None = None
    also = (
        "appArmorProfile readOnlyRootFilesystem runAsGroup runAsNonRoot seLinuxOptions "
        "windowsOptions"
    )


class PodSecurity(Shape):
    runAsUser: int | None = None
    seccompProfile: Seccomp | None = None
    also = (
        "appArmorProfile fsGroup fsGroupChangePolicy runAsGroup runAsNonRoot seLinuxChangePolicy "
        "seLinuxOptions supplementalGroups supplementalGroupsPolicy sysctls windowsOptions"
    )


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
    securityContext: SecurityContext | None = None
    also = (
        "envFrom lifecycle livenessProbe readinessProbe resizePolicy restartPolicy "
        "restartPolicyRules startupProbe stdin stdinOnce terminationMessagePath "
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


class HostPath(Shape):
    path: Text
    type: str | None = None


class Volume(Shape):
    name: Text
    persistentVolumeClaim: Claim | None = None
    configMap: ConfigMapSource | None = None
    emptyDir: Memory | None = None
    hostPath: HostPath | None = None
    also = (
        "awsElasticBlockStore azureDisk azureFile cephfs cinder csi downwardAPI ephemeral fc "
        "flexVolume flocker gcePersistentDisk gitRepo glusterfs image iscsi nfs "
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
    hostPID: bool | None = None
    hostIPC: bool | None = None
    securityContext: PodSecurity | None = None
    automountServiceAccountToken: bool | None = None
    enableServiceLinks: bool | None = None
    also = (
        "dnsConfig dnsPolicy ephemeralContainers "
        "evictionResponders "
        "hostAliases hostUsers hostname hostnameOverride "
        "imagePullSecrets nodeName os overhead preemptionPolicy priority priorityClassName "
        "readinessGates resourceClaims resources runtimeClassName schedulerName schedulingGates "
        "schedulingGroup serviceAccount serviceAccountName setHostnameAsFQDN "
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
