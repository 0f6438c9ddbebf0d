"""Data sheets by whatever name a table gives an accelerator: the catalog's, and of cards that
measurements were published of but nobody rents out.

A sheet's FLOP/s are those of every lane at the boost clock. Training holds a clock between boost and
base, which is what the card's power allows; and where lanes serve whole numbers too, those take 36
instructions for every 100 of floats (NVIDIA's Turing white paper): 100/136 of the lanes are left.
Kepler's schedulers moreover feed 128 of 192 lanes, unless two instructions can go at once.
"""

import csv
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from ..catalog import Accelerator

_VENDORS = r"\b(NVIDIA|AMD|GOOGLE|INTEL|TESLA|INSTINCT|GEFORCE|DESIGN|WITH|CHIP)\b"
# What a bare family name means, and form factors that the catalog does not tell apart.
_MEANT = {
    "A100": "A10040GB",
    "V100": "V10016GB",
    "H10080GB": "H100",
    "H10096GB": "H100",
    "H100PCIE80GB": "H100PCIE",
    "H200141GB": "H200",
    "H200NVL141GB": "H200",
    "B200180GB": "B200",
    "A100PCIE40GB": "A10040GB",
    "A10080GBPCIE": "A100PCIE80GB",
    "H10080GBHBM3": "H100",
    "MI350X": "MI355X",
    "2080TI": "RTX2080TI",
    "RTX6000": "QUADRORTX6000",
    "RTX": "RTX2080TI",
}

MATRIX_UNITS = 2.1  # times float32's rate: lanes alone reach twice that at 16 bit
TYPICAL_CLOCK = 0.9  # of the boost clock, where no base clock is known: what those known have


@dataclass(frozen=True, slots=True)
class Sheet:
    """An accelerator's rates by the `key` of its name: dense FLOP/s in float32 and at 16 bit, memory
    bytes/s; its architecture (its own name where that is not known); the share of its boost clock that it
    holds, and of its lanes that are left for floats."""

    name: str
    flops: float
    half_flops: float
    bytes_s: float
    architecture: str = ""
    clock: float = 1.0
    float_lanes: float = 1.0

    def rate(self, half: bool) -> float:
        """The sheet's FLOP/s."""
        return self.half_flops if half else self.flops

    def held_rate(self, half: bool) -> float:
        """FLOP/s at the clock that is held, of the lanes left for floats; matrix units have no others
        to serve."""
        lanes = 1.0 if half and self.half_flops > MATRIX_UNITS * self.flops else self.float_lanes
        return self.clock * lanes * self.rate(half)


def key(name: str) -> str:
    """The name without vendor, form factor and punctuation.

    >>> key("NVIDIA V100-SXM2-16GB"), key("Google TPU v4"), key("RTX 2080 Ti")
    ('V10016GB', 'TPUV4', 'RTX2080TI')
    """
    word = re.sub(_VENDORS, " ", name.upper())
    word = re.sub(r"\bSXM\d?\b|\(.*?\)", " ", word)
    word = re.sub(r"[^A-Z0-9]", "", word)
    return _MEANT.get(word, word)


@lru_cache
def _own() -> Mapping[str, Sheet]:
    return {
        key(row["name"]): _sheet(
            row["name"],
            float(row["fp32_tflops"]),
            float(row["fp16_tflops"]) if row["fp16_tflops"] else None,
            float(row["bandwidth_gb_s"]),
        )
        for row in _rows("sheets.csv")
    }


@lru_cache
def _architectures() -> Mapping[str, Mapping[str, str]]:
    """By key: architecture, clocks and lanes left for floats."""
    return {key(row["name"]): row for row in _rows("architectures.csv")}


def _rows(name: str) -> list[dict[str, str]]:
    text = (files(__package__) / "data" / name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def _sheet(name: str, fp32: float | None, fp16: float | None, gb_s: float) -> Sheet:
    # A TPU has one rate, in bfloat16; a card without a 16-bit rate computes as in float32.
    full = fp32 if fp32 is not None else (fp16 or math.nan) / 2
    known = _architectures().get(key(name), {})
    base, boost = known.get("base_mhz"), known.get("boost_mhz")
    return Sheet(
        key(name),
        full * 1e12,
        (fp16 if fp16 is not None else full) * 1e12,
        gb_s * 1e9,
        known.get("architecture", key(name)),
        math.sqrt(float(base) / float(boost)) if base and boost else TYPICAL_CLOCK,
        float(known.get("float_lanes", 1.0)),
    )


def sheet(name: str, accelerators: Mapping[str, Accelerator]) -> Sheet | None:
    """The data sheet of an accelerator by any of its names; None where there is none."""
    wanted = key(name)
    if (own := _own().get(wanted)) is not None:
        return own
    for each in accelerators.values():
        if key(each.name) == wanted and each.kind != "cpu":
            half = each.fp16_tflops if each.fp16_tflops is not None else each.bf16_tflops
            if each.bandwidth_gb_s is None or (each.fp32_tflops is None and half is None):
                return None
            return _sheet(each.name, each.fp32_tflops, half, each.bandwidth_gb_s)
    return None
