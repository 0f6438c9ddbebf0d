"""A profile as a figure: throughput against batch, one line a group of settings."""

from dataclasses import dataclass

import plotly.graph_objects as go

from ..profiles.records import Measurement, Profile
from . import words
from .content import Drawing, Table, cell
from .drawing import SERIES, SYMBOLS, axis, draw, plain


@dataclass(frozen=True, slots=True)
class Measured:
    """One setting's throughput with its 95 % confidence interval."""

    per_device_batch: int
    samples_per_s: float
    ci95: tuple[float, float]
    processes: int
    step_s: float


@dataclass(frozen=True, slots=True)
class Curve:
    """Settings that differ in their batch alone; words: what they are besides."""

    words: tuple[str, ...]
    points: tuple[Measured, ...]


def curves(profile: Profile) -> tuple[Curve, ...]:
    """Measurements grouped by everything but the batch, in the order in which they were made."""
    groups: dict[tuple[str, ...], list[Measurement]] = {}
    for one in profile.measurements:
        groups.setdefault(_words(one), []).append(one)
    return tuple(
        Curve(
            name,
            tuple(
                _measured(one)
                for one in sorted(found, key=lambda one: one.setting.per_device_batch)
            ),
        )
        for name, found in groups.items()
    )


def common_words(found: tuple[Curve, ...]) -> tuple[str, ...]:
    """What all curves share, so that it need not be said of each."""
    return tuple(word for word in found[0].words if all(word in curve.words for curve in found))


def _words(one: Measurement) -> tuple[str, ...]:
    setting = one.setting
    devices = setting.nodes * setting.devices_per_node
    return (
        f"{devices} × {setting.accelerator}" if devices > 1 else setting.accelerator,  # noqa: RUF001
        *([words.count(setting.nodes, "node")] if setting.nodes > 1 else []),
        *words.knobs(setting.knobs).split(", "),
    )


def _measured(one: Measurement) -> Measured:
    step, (low_s, high_s) = one.step_time_s.value, one.step_time_s.ci95
    return Measured(
        per_device_batch=one.setting.per_device_batch,
        samples_per_s=one.samples_per_s,
        ci95=(one.samples_per_s * step / high_s, one.samples_per_s * step / low_s),
        processes=len(one.processes),
        step_s=step,
    )


def profile_sentence(profile: Profile) -> str:
    """What was measured, where, and what it took."""
    settings = words.count(len(profile.measurements), "setting")
    return (
        f"{words.name(profile.workload)} was measured in {settings} on {profile.host.cpu} "
        f"({words.count(profile.host.cores, 'core')}, {profile.host.memory_gib:g} GiB) "
        f"in {words.duration(profile.profiling_s)}, for {words.usd(profile.profiling_usd)}."
    )


def draw_curves(found: tuple[Curve, ...]) -> Drawing:
    batches = sorted({point.per_device_batch for curve in found for point in curve.points})
    best_curve, best = max(
        ((curve, point) for curve in found for point in curve.points),
        key=lambda pair: pair[1].samples_per_s,
    )
    common = common_words(found)
    names = [
        plain(", ".join(word for word in curve.words if word not in common) or "plain")
        for curve in found
    ]
    figure = draw(
        [
            go.Scatter(
                x=[point.per_device_batch for point in curve.points],
                y=[point.samples_per_s for point in curve.points],
                error_y={
                    "symmetric": False,
                    "array": [point.ci95[1] - point.samples_per_s for point in curve.points],
                    "arrayminus": [point.samples_per_s - point.ci95[0] for point in curve.points],
                    "thickness": 1.2,
                    "width": 4,
                },
                mode="lines+markers",
                name=name,
                line={"color": SERIES[k % len(SERIES)], "width": 2},
                marker={"symbol": SYMBOLS[k % len(SYMBOLS)], "size": 9},
                hovertext=[
                    f"{name}<br>batch {point.per_device_batch} a device: "
                    f"{words.rate(point.samples_per_s)}<br>95 % within "
                    f"{words.rate(point.ci95[0])} to {words.rate(point.ci95[1])}<br>"
                    f"step {words.duration(point.step_s)}, "
                    f"{words.count(point.processes, 'fresh process', 'fresh processes')}"
                    for point in curve.points
                ],
                hoverinfo="text",
            )
            for k, (curve, name) in enumerate(zip(found, names, strict=True))
        ],
        x=axis(
            "batch a device",
            type="log",
            tickmode="array",
            tickvals=batches,
            ticktext=[f"{batch:,}" for batch in batches],
        ),
        y=axis("samples/s", tickformat=",", rangemode="tozero", nticks=6),
        height_px=380,
        showlegend=True,
    )
    return Drawing(
        title=f"Throughput against batch: up to {words.rate(best.samples_per_s)}",
        caption=(
            f"Each line is one way to set the knobs (all: {', '.join(common)}); bars are 95 % confidence "
            "intervals over fresh processes; higher is faster."
        ),
        label=(
            f"Throughput of {words.count(len(found), 'group')} of settings; the fastest is "
            f"{', '.join(best_curve.words)} at batch {best.per_device_batch}: {words.rate(best.samples_per_s)}."
        ),
        figure=figure,
        data=Table(
            caption="Throughput of each setting with its 95 % confidence interval",
            heads=("Setting", "Batch a device", "Samples/s", "95 % within", "Step", "Processes"),
            rows=tuple(
                (
                    cell(", ".join(word for word in curve.words if word not in common) or "plain"),
                    cell(f"{point.per_device_batch:,}", key=point.per_device_batch),
                    cell(words.rate(point.samples_per_s), key=point.samples_per_s),
                    cell(f"{words.rate(point.ci95[0])} to {words.rate(point.ci95[1])}"),
                    cell(words.duration(point.step_s), key=point.step_s),
                    cell(f"{point.processes}", key=point.processes),
                )
                for curve in found
                for point in curve.points
            ),
        ),
    )
