"""What TensorFlow finds to train on: ``python -m isocost.profiles.devices RESULT`` writes it down."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from ..catalog import Accelerator
from ..catalog.files import Document
from .worker import die_with_parent

Kind = Literal["cpu", "gpu", "tpu"]


class Devices(Document):
    """The devices of one kind; accelerator: its name in the catalog, or what TensorFlow calls it."""

    schema_id: Literal["isocost/devices/v1"] = Field(alias="schema", default="isocost/devices/v1")
    kind: Kind
    accelerator: str
    count: int = Field(ge=1)


def main() -> int:
    die_with_parent()
    found().write(Path(sys.argv[1]))
    return 0


def found() -> Devices:
    """TPU cores where there are any, else GPUs, else the processors as one device."""
    import tensorflow as tf

    for kind in ("TPU", "GPU"):
        listed = tf.config.list_physical_devices(kind)
        if listed:
            details = tf.config.experimental.get_device_details(listed[0])
            name = str(details.get("device_name") or kind)
            return Devices(
                kind="tpu" if kind == "TPU" else "gpu", accelerator=name, count=len(listed)
            )
    return Devices(kind="cpu", accelerator="CPU", count=1)


def named(devices: Devices, accelerators: Mapping[str, Accelerator]) -> Devices:
    """The same with the catalog's name for the accelerator, where it has one.

    >>> sheets = {name: None for name in ("T4", "A100-40GB", "A100-80GB")}
    >>> named(Devices(kind="gpu", accelerator="NVIDIA A100-SXM4-40GB", count=8), sheets).accelerator
    'A100-40GB'
    """
    words = set(_words(devices.accelerator))
    fitting = [name for name in accelerators if set(_words(name)) <= words]
    if devices.kind == "cpu" or not fitting:
        return devices
    best = max(fitting, key=lambda name: (len(_words(name)), name))
    return devices.model_copy(update={"accelerator": best})


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z]*\d+[a-z]*|[a-z]+", name.lower())


if __name__ == "__main__":
    sys.exit(main())
