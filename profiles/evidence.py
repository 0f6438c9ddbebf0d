"""What steps measured on an accelerator tell about offers that have it: profiles, and imported tables.

One `scaling` for each accelerator and precision, the same as `isocost profile predict` fits. No I/O.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..catalog import Accelerator
from .law import points
from .records import Measurement, Precision, PredictedSetting, Profile
from .scaling import Scaling
from .sheets import key
from .spread import Spread
from .table import Row, precision_family

# Units of one sample; a table of tokens or epochs says nothing about steps of so many samples.
SAMPLES = ("sample", "image", "example", "sequence")
_OURS: Mapping[str, Precision] = {
    "float32": "float32",
    "tensorfloat32": "float32",
    "float16": "mixed_float16",
    "bfloat16": "mixed_bfloat16",
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """Measured steps of one model on one accelerator at one precision."""

    scaling: Scaling

    def knows(self, nodes: int, devices: int) -> bool:
        """Whether exchange among nodes, or devices of one node, was measured; devices a node."""
        seen = self.scaling.deviation.at
        if nodes > 1:
            return bool((seen.nodes > 1).any())
        return devices == 1 or bool(((seen.nodes == 1) & (seen.devices > 1)).any())

    def step(self, batch: int, nodes: int, devices: int) -> tuple[float, float]:
        """Seconds of a step and their log-standard-deviation; devices a node."""
        at = points([(batch, nodes * devices, nodes, devices)])
        sigma, _ = Spread.assumed().sigma(self.scaling, at)
        return float(self.scaling.step_s(at)[0]), float(sigma[0])


def of_model(rows: Iterable[Row], names: Sequence[str]) -> tuple[Row, ...]:
    """The rows of a model by one of its names that tell TensorFlow's steps in samples."""
    wanted = {name.lower() for name in names}
    return tuple(
        row
        for row in rows
        if row.cell("model").lower() in wanted
        and row.batch is not None
        and _is(row, "framework", ("tensorflow",))
        and _is(row, "unit", SAMPLES)
        and row.cell("xla").lower() != "on"
    )


def _is(row: Row, name: str, starts: tuple[str, ...]) -> bool:
    """Whether a cell is empty or starts with one of some words."""
    word = row.cell(name).lower()
    return not word or word.startswith(starts)


def evidence(
    profile: Profile | None, rows: Iterable[Row], accelerators: Mapping[str, Accelerator]
) -> dict[tuple[str, Precision], Evidence]:
    """By accelerator and precision, from the profile's settings and a table's rows of its model.

    Processors are no accelerator; rows of accelerators that the catalog does not have or in a
    precision that is none of ours, are left out.
    """
    names = {key(name): name for name, each in accelerators.items() if each.kind != "cpu"}
    found: dict[tuple[str, Precision], list[tuple[tuple[float, ...], float]]] = {}
    settings: list[Measurement | PredictedSetting] = []
    if profile is not None:
        settings = [*profile.predicted, *profile.measurements]
    for one in settings:
        setting = one.setting
        if setting.accelerator == "CPU" or setting.knobs.xla or setting.knobs.accumulate > 1:
            continue
        count = setting.devices_per_node
        at: tuple[float, ...] = (
            setting.per_device_batch,
            setting.nodes * count,
            setting.nodes,
            count,
        )
        mark = setting.accelerator, setting.knobs.precision
        found.setdefault(mark, []).append((at, one.step_time_s.value))
    for row in rows:
        name = names.get(key(row.cell("accelerator")))
        precision = precision_of(row.cell("precision"))
        if name is not None and precision is not None and row.batch is not None:
            at = (row.batch, row.devices, row.nodes, row.fullest)
            mark = name, precision
            found.setdefault(mark, []).append((at, row.step_s))
    return {
        mark: Evidence(
            Scaling.fit(points([at for at, _ in steps]), np.array([step for _, step in steps]))
        )
        for mark, steps in found.items()
    }


def precision_of(word: str) -> Precision | None:
    """A table's word for a precision as one of ours; float32 where it says nothing else.

    >>> [precision_of(word) for word in ("fp32", "amp", "bf16", "tf32", "", "amp_fp8")]
    ['float32', 'mixed_float16', 'mixed_bfloat16', 'float32', 'float32', None]
    """
    family = precision_family(word)
    if family[-1:].isdigit():
        return _OURS.get(family)
    return "float32"
