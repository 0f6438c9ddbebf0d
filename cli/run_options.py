"""The options of isocost run, each with its type, help and place in the help."""

from pathlib import Path
from typing import Annotated

import typer

SETTING, LIMITS, SURVIVING = "Another setting than planned", "Limits", "Surviving"
CLUSTER = "On a cluster or cloud"

PlanFile = Annotated[Path, typer.Argument(help="Plan file of isocost optimize.")]
Engine = Annotated[
    str,
    typer.Option(
        help="Where the workers run: local, ray, slurm, kubernetes, jobset, trainjob, ack, "
        "pai-dlc, skypilot, or module:factory of your own."
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, max=64, help="Share the plan's global batch among so many workers."),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print what would be submitted, and submit nothing.")
]
MaxSteps = Annotated[
    int | None, typer.Option(min=1, help="Stop in good order after so many steps.")
]
Resume = Annotated[Path | None, typer.Option(help="Go on with the unfinished run in this folder.")]
Job = Annotated[str | None, typer.Option(help="Which job of a plan with several.")]
Seed = Annotated[
    int | None,
    typer.Option(min=0, max=2**31 - 1, help="Of the weights and the data order; 0, or as before."),
]
Output = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="Run file; its folder keeps checkpoints beside it."),
]
Report = Annotated[Path | None, typer.Option(help="Also write a page about the run.")]
Calibrate = Annotated[
    bool,
    typer.Option(
        "--calibrate", help="Take what was measured into the profile: the next plan uses it."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the run as JSON.")]

Strategy = Annotated[
    str | None,
    typer.Option(
        help="one_device, mirrored (devices of one process; processors are split), "
        "multi_worker_mirrored (processes) or parameter_server.",
        rich_help_panel=SETTING,
    ),
]
PerDeviceBatch = Annotated[
    int | None,
    typer.Option(min=1, help="Samples of each worker at a time.", rich_help_panel=SETTING),
]
GlobalBatch = Annotated[
    int | None,
    typer.Option(min=1, help="Samples of all workers for one update.", rich_help_panel=SETTING),
]
Accumulate = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=4096,
        help="Take a batch in so many parts, one after the other, for one update.",
        rich_help_panel=SETTING,
    ),
]
LearningRate = Annotated[
    str | None,
    typer.Option(
        help="How it follows the global batch: none, linear or sqrt of global batch / "
        "reference_batch.",
        rich_help_panel=SETTING,
    ),
]
Precision = Annotated[
    str | None,
    typer.Option(help="float32, mixed_bfloat16 or mixed_float16.", rich_help_panel=SETTING),
]
Xla = Annotated[
    bool | None, typer.Option("--xla/--no-xla", help="Compile the step.", rich_help_panel=SETTING)
]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1, max=1024, help="Processors of each worker process.", rich_help_panel=SETTING
    ),
]
Reproducible = Annotated[
    bool,
    typer.Option(
        "--reproducible",
        help="Sum in the same order however a batch is shared: one thread a worker, and "
        "TensorFlow without oneDNN (60 to 70 % more processor time for the example).",
        rich_help_panel=SETTING,
    ),
]

Deadline = Annotated[
    str | None,
    typer.Option(
        help="Save and stop before so long is over, such as 20s; by default what the workload's "
        "deadline leaves.",
        rich_help_panel=LIMITS,
    ),
]
Budget = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1e12,
        help="Save and stop before so many USD are spent; by default what the workload's leaves.",
        rich_help_panel=LIMITS,
    ),
]
NoLimits = Annotated[
    bool,
    typer.Option(
        "--no-limits",
        help="Go on beyond the workload's deadline and budget.",
        rich_help_panel=LIMITS,
    ),
]
LocalPrice = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1e6,
        help="USD for an hour of this machine; by default as planned.",
        rich_help_panel=LIMITS,
    ),
]

MaxRestarts = Annotated[
    int,
    typer.Option(
        min=0,
        help="How often in a row to start the workers again without getting further.",
        rich_help_panel=SURVIVING,
    ),
]
CheckpointEvery = Annotated[
    str | None,
    typer.Option(
        help="Such as 30s; by default Daly's interval, from what writing one takes here.",
        rich_help_panel=SURVIVING,
    ),
]
StartupTimeout = Annotated[
    str,
    typer.Option(
        help="From the start of the workers to their first step; a tenth of it to their first "
        "sign of life. Once they took steps, a restart has five times what the start took.",
        rich_help_panel=SURVIVING,
    ),
]
HangTimeout = Annotated[
    str,
    typer.Option(
        help="Without a sign of life from a worker; longer where its own steps are slow: ten "
        "times its longest silence so far, or three times its first step.",
        rich_help_panel=SURVIVING,
    ),
]
Grace = Annotated[
    str,
    typer.Option(
        help="From the wish to stop to a checkpoint and the end, then SIGKILL; longer where a "
        "step is slow: five times the longest silence.",
        rich_help_panel=SURVIVING,
    ),
]

Image = Annotated[
    str | None,
    typer.Option(
        envvar="ISOCOST_IMAGE",
        help="Container image that holds isocost, NAME@sha256:...",
        rich_help_panel=CLUSTER,
    ),
]
Name = Annotated[
    str | None, typer.Option(help="Of the run there; the job's.", rich_help_panel=CLUSTER)
]
Namespace = Annotated[
    str | None, typer.Option(help="Of Kubernetes; the context's.", rich_help_panel=CLUSTER)
]
Context = Annotated[
    str | None, typer.Option(help="Of the kubeconfig; the current.", rich_help_panel=CLUSTER)
]
Claim = Annotated[
    str | None,
    typer.Option(
        help="Where checkpoints are kept: volume claim, data set of PAI, or bucket.",
        rich_help_panel=CLUSTER,
    ),
]
DataClaim = Annotated[
    str | None,
    typer.Option(help="The same for data, at /isocost/data.", rich_help_panel=CLUSTER),
]
CodePath = Annotated[
    str | None,
    typer.Option(
        help="Folder of the image that holds the model's Python files; else they are sent.",
        rich_help_panel=CLUSTER,
    ),
]
Workspace = Annotated[str | None, typer.Option(help="Of PAI, its id.", rich_help_panel=CLUSTER)]
Detach = Annotated[
    bool, typer.Option("--detach", help="Submit, and do not wait.", rich_help_panel=CLUSTER)
]
