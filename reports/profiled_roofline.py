"""The roofline: what was reached, against what data sheets say devices could reach."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import plotly.graph_objects as go

from ..catalog import Accelerator
from ..profiles.records import Measurement, Profile
from ..profiles.sheets import sheet
from ..profiles.throughput import CPU_FLOPS_PER_CORE
from . import words
from .content import Drawing, Table, cell
from .drawing import ACCENT, INK, MUTED, SERIES, axis, draw, plain

COMPARED = ("T4", "V100", "A100", "H100")  # whose roofs stand beside what was measured
SPAN = 30.0  # times the job's intensity to either side that the figure shows


@dataclass(frozen=True, slots=True)
class Roof:
    """What a device can reach: peak FLOP/s, and memory bytes/s (None where no source says it)."""

    name: str
    flops: float
    bytes_s: float | None
    assumed: bool = False

    def at(self, intensity: float) -> float:
        return self.flops if self.bytes_s is None else min(self.flops, self.bytes_s * intensity)


@dataclass(frozen=True, slots=True)
class Roofline:
    """intensity: FLOP a byte of memory traffic. reached: (setting, FLOP/s of one device)."""

    job: str
    intensity: float
    reached: tuple[tuple[str, float], ...]
    roofs: tuple[Roof, ...]


def roofline(profile: Profile, accelerators: Mapping[str, Accelerator]) -> Roofline:
    """What was reached against what data sheets promise, float32.

    Of processors no sheet says it: their roof is the model's assumption for a core.
    """
    flops = profile.facts.flops_per_sample
    reached = tuple(
        (one.setting.describe(), one.samples_per_s * flops / _devices(one))
        for one in profile.measurements
    )
    here = {one.setting.accelerator for one in profile.measurements}
    roofs = []
    if "CPU" in here:
        cores = profile.host.cores
        roofs.append(
            Roof(
                f"{words.count(cores, 'core')} here, assumed",
                CPU_FLOPS_PER_CORE * cores,
                None,
                True,
            )
        )
    for name in dict.fromkeys([*sorted(here - {"CPU"}), *COMPARED]):
        known = sheet(name, accelerators)
        if known is not None and known.flops > 0 and known.bytes_s > 0:
            roofs.append(Roof(name, known.flops, known.bytes_s))
    return Roofline(profile.workload, flops / profile.facts.bytes_per_sample, reached, tuple(roofs))


def _devices(one: Measurement) -> int:
    """Devices that share the work; workers that share a machine's processors count as one."""
    return one.setting.nodes * one.setting.devices_per_node


def draw_roofline(info: Roofline) -> Drawing:
    low, high = info.intensity / SPAN, info.intensity * SPAN
    xs = [low * (high / low) ** (k / 60) for k in range(61)]
    best = max(info.reached, key=lambda one: one[1])
    least = min(value for _, value in info.reached)
    top = max(roof.flops for roof in info.roofs) if info.roofs else best[1]
    figure = draw(
        [
            *(
                go.Scatter(
                    x=xs,
                    y=[roof.at(x) for x in xs],
                    mode="lines",
                    name=plain(roof.name),
                    line={
                        "color": MUTED if roof.assumed else SERIES[1 + k % (len(SERIES) - 1)],
                        "width": 1.8,
                        "dash": "dot"
                        if roof.assumed
                        else ("solid", "dash", "dashdot", "longdash")[k % 4],
                    },
                    hovertext=[f"{plain(roof.name)}: {words.operations(roof.at(x))}/s" for x in xs],
                    hoverinfo="text",
                )
                for k, roof in enumerate(info.roofs)
            ),
            go.Scatter(
                x=[info.intensity] * len(info.reached),
                y=[value for _, value in info.reached],
                mode="markers",
                name="reached",
                marker={"size": 10, "color": ACCENT, "line": {"color": INK, "width": 1}},
                hovertext=[
                    f"{plain(setting)}: {words.operations(value)}/s"
                    for setting, value in info.reached
                ],
                hoverinfo="text",
            ),
        ],
        x=axis("FLOP a byte of memory traffic", type="log", nticks=6, range=_logs(low, high)),
        y=axis(
            "FLOP/s of a device",
            type="log",
            tickformat="~s",
            nticks=7,
            range=_logs(min(least, info.roofs[0].at(low) if info.roofs else least) / 2, 2 * top),
        ),
        height_px=420,
        showlegend=True,
        shapes=[
            {
                "type": "line",
                "x0": info.intensity,
                "x1": info.intensity,
                "xref": "x",
                "y0": 0,
                "y1": 1,
                "yref": "paper",
                "line": {"color": MUTED, "width": 1, "dash": "dot"},
                "layer": "below",
            }
        ],
    )
    return Drawing(
        title=f"Roofline: {words.operations(best[1])}/s reached",
        caption=(
            "A device's line is the most that it could reach, by memory where it rises and by arithmetic "
            f"where it is level; the job does {info.intensity:.3g} FLOP a byte (dotted). {_bounds(info)}"
        ),
        label=(
            f"{best[0]} reaches {words.operations(best[1])}/s at {info.intensity:.3g} FLOP a byte. "
            + "; ".join(
                f"{roof.name} could reach {words.operations(roof.at(info.intensity))}/s"
                for roof in info.roofs
            )
            + "."
        ),
        figure=figure,
        data=Table(
            caption="What was reached, and what devices could reach at this intensity",
            heads=("What", "FLOP/s"),
            rows=tuple(
                (cell(name), cell(f"{words.operations(value)}/s", key=value))
                for name, value in (
                    *info.reached,
                    *((roof.name, roof.at(info.intensity)) for roof in info.roofs),
                )
            ),
        ),
    )


def _bounds(info: Roofline) -> str:
    """What bounds the job on the devices whose sheets are known."""
    sides = {
        "memory": [r.name for r in info.roofs if r.bytes_s and r.at(info.intensity) < r.flops],
        "arithmetic": [r.name for r in info.roofs if r.bytes_s and r.at(info.intensity) == r.flops],
    }
    said = [f"{', '.join(names)} by {side}" for side, names in sides.items() if names]
    return f"There it is bound on {' and on '.join(said)}." if said else ""


def _logs(low: float, high: float) -> list[float]:
    return [math.log10(low), math.log10(high)]
