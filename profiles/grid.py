"""Which settings are worth knowing on the devices at hand, and which of them to measure first."""

from collections.abc import Sequence

from . import effects
from .devices import Devices
from .records import Knobs, Precision, Setting, Strategy
from .workload import Workload

ONE_CPU = Devices(kind="cpu", accelerator="CPU", count=1)


def grid(
    workload: Workload,
    workers: Sequence[int] = (1, 2),
    devices: Devices = ONE_CPU,
    strategy: Strategy | None = None,
) -> list[Setting]:
    """Every setting worth knowing: batches x XLA x precision x workers, or devices, here.

    Processors are shared by worker processes under MultiWorkerMirrored; with strategy "mirrored" by
    as many logical devices in one process. GPUs train one alone, then two, four, ... and all of them
    mirrored. A TPU trains as a whole.
    """
    batches = _three(sorted(set(workload.per_device_batch)), workload.max_global_batch)
    ways: list[tuple[int, int, Strategy]]
    if devices.kind == "cpu" and strategy != "mirrored":
        # One worker runs the same program as several.
        ways = [(1, count, strategy or "multi_worker_mirrored") for count in workers]
    elif devices.kind == "cpu":
        ways = [(count, 1, "mirrored" if count > 1 else "one_device") for count in workers]
    elif devices.kind == "tpu":
        ways = [(devices.count, 1, "tpu")]
    else:
        counts = sorted({2**i for i in range(devices.count.bit_length())} | {devices.count})
        ways = [
            (count, 1, strategy or ("mirrored" if count > 1 else "one_device"))
            for count in counts
            if count <= devices.count
        ]
    return [
        Setting(
            accelerator=devices.accelerator,
            devices_per_node=count,
            per_device_batch=batch,
            knobs=Knobs(xla=xla, precision=precision, strategy=how, workers_per_node=processes),
        )
        for batch in batches
        for xla in ((False, True) if devices.kind != "tpu" else (False,))
        for precision in _precisions(workload, devices.kind)
        for count, processes, how in ways
    ]


def design(workload: Workload, settings: Sequence[Setting], count: int) -> list[Setting]:
    """The count settings that tell most of all; what the workload may train with weighs more."""
    weights = [
        3.0 if setting.knobs.precision in workload.precisions else 1.0 for setting in settings
    ]
    return effects.v_optimal(settings, count, weights)


def _precisions(workload: Workload, kind: str) -> list[Precision]:
    """Those of the workload and those that the devices compute fast; float16 on GPUs alone."""
    half: Precision = "mixed_float16" if kind == "gpu" else "mixed_bfloat16"
    asked = {one for one in workload.precisions if kind == "gpu" or one != "mixed_float16"}
    return sorted({"float32", half, *asked})


def _three(batches: list[int], most: int) -> list[int]:
    """At least three batches: the given ones, else with doubles up to most, halves, more doubles."""
    low, high = batches[0], batches[-1]
    doubles = [2 * high, 4 * high]
    more = [b for b in doubles if b <= most] + [b for b in (low // 2, low // 4) if b] + doubles
    for extra in more:
        if len(batches) < 3 and extra not in batches:
            batches = [*batches, extra]
    return sorted(batches)
