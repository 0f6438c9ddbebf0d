"""What descriptions that are no Kubernetes objects may look like: a PAI-DLC job, a SkyPilot task."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from .shapes import Shape, Size, Text, Words


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
    Envs: Words = Field(default_factory=dict)
    DataSources: list[DlcSource] = Field(default_factory=list)
    JobMaxRunningTimeMinutes: Size | None = None
    SuccessPolicy: Literal["ChiefWorker", "AllWorkers"] | None = None
    WorkspaceId: Text | None = None
    ResourceId: Text | None = None
    Settings: dict[str, Any] = Field(default_factory=dict)
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
    envs: Words = Field(default_factory=dict)
    setup: str | None = None
    workdir: Any = None
    file_mounts: dict[str, Any] = Field(default_factory=dict)
    also = "secrets config volumes inputs outputs service event_callback experimental"
