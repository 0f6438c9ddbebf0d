"""The package's own tables: public TensorFlow measurements, and what the built-in models need."""

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np

from ..catalog import Accelerator
from .records import Precision
from .table import Row
from .table import row as table_row
from .workload import ModelFacts


@dataclass(frozen=True, slots=True)
class PublicMeasurement:
    """One published training throughput of one device; train_flops_per_sample as 6 x the paper's
    forward multiply-adds, scaled with the pixels."""

    accelerator: str
    model: str
    precision: Precision
    per_device_batch: int
    devices: int
    samples_per_s_per_device: float
    train_flops_per_sample: float

    @property
    def step_s(self) -> float:
        return self.per_device_batch / self.samples_per_s_per_device


@dataclass(frozen=True, slots=True)
class Efficiency:
    """Share of a data sheet's rate that training reaches; spread: of its logarithm over rows."""

    share: float
    spread: float
    points: int


def _rows(name: str) -> list[dict[str, str]]:
    text = (files(__package__) / "data" / name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@lru_cache
def public_rows() -> tuple[Row, ...]:
    """All rows of the package's own table of published TensorFlow training throughput."""
    return tuple(
        table_row(cells, line, measured=True) for line, cells in enumerate(_rows("public.csv"), 2)
    )


@lru_cache
def measurements() -> tuple[PublicMeasurement, ...]:
    """The public rows by which data sheets are calibrated: those whose FLOPs a sample are known."""
    return tuple(
        PublicMeasurement(
            accelerator=each.cell("accelerator"),
            model=each.cell("model"),
            precision=each.cell("precision"),  # type: ignore[arg-type]
            per_device_batch=int(each.cell("per_device_batch")),
            devices=each.devices,
            samples_per_s_per_device=(each.throughput or 0.0) / each.devices,
            train_flops_per_sample=float(each.cell("train_flops_per_sample")),
        )
        for each in public_rows()
        if each.cell("train_flops_per_sample")
    )


@lru_cache
def built_in_facts() -> Mapping[str, ModelFacts]:
    """ModelFacts of each built-in model."""
    return {
        row["model"]: ModelFacts(
            parameters=int(row["parameters"]),
            gradient_bytes=float(row["gradient_bytes"]),
            flops_per_sample=float(row["flops_per_sample"]),
            bytes_per_sample=float(row["bytes_per_sample"]),
            checkpoint_bytes=float(row["checkpoint_bytes"]),
        )
        for row in _rows("models.csv")
    }


def peak_flops(accelerator: Accelerator, precision: Precision) -> float | None:
    """The data sheet's dense rate for a precision, FLOP/s; None where it states none."""
    teraflops = {
        "float32": accelerator.fp32_tflops,
        "mixed_float16": accelerator.fp16_tflops,
        "mixed_bfloat16": accelerator.bf16_tflops,
    }[precision]
    return None if teraflops is None else teraflops * 1e12


def utilisation(row: PublicMeasurement, peak: float) -> float:
    """Share of the data sheet's rate that one measurement reached: F * rate / P."""
    return row.samples_per_s_per_device * row.train_flops_per_sample / peak


def efficiencies(
    accelerators: Mapping[str, Accelerator], without_model: str | None = None
) -> dict[tuple[str, Precision], Efficiency]:
    """Efficiency of each accelerator and precision with public measurements.

    The share is the geometric middle of the utilisations of its rows; the spread is that of models
    about it, which is what another model will show. without_model: leave one out, for a test.
    """
    groups: dict[tuple[str, Precision], list[PublicMeasurement]] = {}
    for row in measurements():
        if row.model != without_model:
            groups.setdefault((row.accelerator, row.precision), []).append(row)
    found = {}
    for (name, precision), rows in groups.items():
        peak = peak_flops(accelerators[name], precision) if name in accelerators else None
        if peak is not None:
            logs = np.log([utilisation(row, peak) for row in rows])
            spread = float(logs.std(ddof=1)) if len(logs) > 2 else math.inf
            found[name, precision] = Efficiency(float(np.exp(np.median(logs))), spread, len(rows))
    return found
