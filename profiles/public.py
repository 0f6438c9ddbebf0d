"""The package's own tables: public TensorFlow measurements, and what the built-in models need."""

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np
from scipy.optimize import nnls

from ..catalog import Accelerator
from .records import Precision
from .workload import ModelFacts


@dataclass(frozen=True, slots=True)
class PublicMeasurement:
    """One published training throughput of one device; train_flops_per_sample as 6 x the paper's
    forward multiply-adds, scaled with the pixels."""

    accelerator: str
    model: str
    pixels: int
    precision: Precision
    per_device_batch: int
    devices: int
    samples_per_s_per_device: float
    train_flops_per_sample: float
    framework: str
    as_of: str
    source: str

    @property
    def step_s(self) -> float:
        return self.per_device_batch / self.samples_per_s_per_device


@dataclass(frozen=True, slots=True)
class Efficiency:
    """Share of a data sheet's rate that training reaches; spread: of ln(predicted / measured)."""

    share: float
    spread: float
    points: int


def _rows(name: str) -> list[dict[str, str]]:
    text = (files(__package__) / "data" / name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@lru_cache
def measurements() -> tuple[PublicMeasurement, ...]:
    """All rows of the table of public measurements."""
    return tuple(
        PublicMeasurement(
            accelerator=row["accelerator"],
            model=row["model"],
            pixels=int(row["pixels"]),
            precision=row["precision"],  # type: ignore[arg-type]
            per_device_batch=int(row["per_device_batch"]),
            devices=int(row["devices"]),
            samples_per_s_per_device=float(row["samples_per_s_per_device"]),
            train_flops_per_sample=float(row["train_flops_per_sample"]),
            framework=row["framework"],
            as_of=row["as_of"],
            source=row["source"],
        )
        for row in _rows("public.csv")
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


def efficiencies(
    accelerators: Mapping[str, Accelerator],
) -> dict[tuple[str, Precision], Efficiency]:
    """Efficiency of each accelerator and precision with public measurements.

    Fits T = a_model + b F / (share P) by non-negative least squares on relative error, a_model the
    step cost of each model and input size, F the FLOPs of a sample, P the data sheet's rate.
    """
    groups: dict[tuple[str, Precision], list[PublicMeasurement]] = {}
    for row in measurements():
        groups.setdefault((row.accelerator, row.precision), []).append(row)
    found = {}
    for (name, precision), rows in groups.items():
        peak = peak_flops(accelerators[name], precision) if name in accelerators else None
        if peak is not None:
            found[name, precision] = _efficiency(rows, peak)
    return found


def _efficiency(rows: list[PublicMeasurement], peak: float) -> Efficiency:
    models = sorted({(row.model, row.pixels) for row in rows})
    step = np.array([row.step_s for row in rows])
    ideal = np.array([row.per_device_batch * row.train_flops_per_sample / peak for row in rows])
    constants = np.array([[(row.model, row.pixels) == model for model in models] for row in rows])
    # A step cost is told from the slope only by a second batch of the same model.
    seen = constants[:, constants.sum(axis=0) > 1]
    relative = np.column_stack([seen, ideal]) / step[:, None]
    solution, _ = nnls(relative, np.ones(len(rows)))
    slope = max(float(solution[-1]), 1e-3)
    predicted = np.column_stack([seen, ideal]) @ np.append(solution[:-1], slope)
    residuals = np.log(predicted / step)
    spread = float(np.sqrt(np.mean(residuals**2))) if len(rows) > 1 else math.inf
    return Efficiency(1 / slope, spread, len(rows))
