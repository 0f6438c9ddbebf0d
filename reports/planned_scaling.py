"""How throughput grows with devices: the chosen offer's curve with its band, and others beside it."""

from dataclasses import dataclass

import plotly.graph_objects as go

from ..optimizer.plan import PlannedJob, ScalingPoint
from . import words
from .content import Drawing, Table, cell
from .drawing import MUTED, SERIES, SYMBOLS, axis, draw, plain


@dataclass(frozen=True, slots=True)
class Curve:
    """One offer's throughput over devices."""

    name: str
    place: str
    points: tuple[ScalingPoint, ...]


def curves(job: PlannedJob) -> tuple[Curve, ...]:
    """Those of the plan; none where it was not explained, or nothing has more than one point."""
    if job.explanation is None:
        return ()
    found = tuple(
        Curve(words.hardware(one.offer), words.place(one.offer), one.points)
        for one in job.explanation.scaling
    )
    return found if any(len(one.points) > 1 for one in found) else ()


def draw_scaling(found: tuple[Curve, ...]) -> Drawing:
    first = found[0]
    devices = sorted({point.devices for one in found for point in one.points})
    # Bands of all would hide each other: the others' intervals are in the hover and the table.
    traces = [trace for k, one in enumerate(found) for trace in _curve(one, k, band=k == 0)]
    figure = draw(
        [*traces, *_linear(first)],
        x=axis(
            "devices, or workers that share a machine",
            type="log",
            tickmode="array",
            tickangle=0,
            tickvals=_few(devices),
            ticktext=[f"{count:,}" for count in _few(devices)],
        ),
        y=axis("samples/s", type="log", tickformat="~s", nticks=6),
        height_px=400,
        showlegend=True,
    )
    fullest = max(first.points, key=lambda point: point.devices)
    return Drawing(
        title="Throughput against devices",
        caption=(
            "Filled marks were measured, open ones are predicted, and the band holds nine of ten for the chosen "
            "offer; the dotted line is what perfect scaling of it would give. Each mark is the quickest batch "
            "on so many."
        ),
        label="; ".join(
            f"{one.name}: {words.rate(one.points[0].samples_per_s.p50)} on "
            f"{words.count(one.points[0].devices, 'device')}"
            + (
                f", {words.rate(one.points[-1].samples_per_s.p50)} on {one.points[-1].devices}"
                if len(one.points) > 1
                else ""
            )
            for one in found
        )
        + f". The chosen one reaches {words.rate(fullest.samples_per_s.p50)}.",
        figure=figure,
        data=Table(
            caption="Predicted throughput, with the interval that holds nine of ten",
            heads=(
                "Offer",
                "Devices",
                "Nodes",
                "Batch a device",
                "Samples/s",
                "90 % within",
                "Basis",
            ),
            rows=tuple(
                (
                    cell(one.name, one.place),
                    cell(f"{point.devices:,}", key=point.devices),
                    cell(f"{point.nodes:,}", key=point.nodes),
                    cell(f"{point.per_device_batch:,}", key=point.per_device_batch),
                    cell(words.rate(point.samples_per_s.p50), key=point.samples_per_s.p50),
                    cell(
                        f"{words.rate(point.samples_per_s.p05)} to "
                        f"{words.rate(point.samples_per_s.p95)}"
                    ),
                    cell(point.basis),
                )
                for one in found
                for point in one.points
            ),
        ),
    )


def _few(counts: list[int], most: int = 5) -> list[int]:
    """Of many counts those that double."""
    if len(counts) <= most:
        return counts
    kept = [counts[0]]
    for count in counts[1:]:
        if count >= 2 * kept[-1]:
            kept.append(count)
    return kept


def _curve(one: Curve, k: int, *, band: bool) -> list[go.Scatter]:
    colour = SERIES[k % len(SERIES)]
    x = [point.devices for point in one.points]
    between = go.Scatter(
        x=[*x, *reversed(x)],
        y=[
            *(point.samples_per_s.p95 for point in one.points),
            *(point.samples_per_s.p05 for point in reversed(one.points)),
        ],
        mode="lines",
        fill="toself",
        fillcolor=colour,
        opacity=0.13,
        line={"width": 0, "color": colour},
        showlegend=False,
        hoverinfo="skip",
    )
    symbol = SYMBOLS[k % len(SYMBOLS)]
    line = go.Scatter(
        x=x,
        y=[point.samples_per_s.p50 for point in one.points],
        error_y={
            "symmetric": False,
            "array": [point.samples_per_s.p95 - point.samples_per_s.p50 for point in one.points],
            "arrayminus": [
                point.samples_per_s.p50 - point.samples_per_s.p05 for point in one.points
            ],
            "thickness": 1,
            "width": 4,
            "color": colour,
        }
        if len(one.points) == 1
        else None,
        mode="lines+markers",
        name=plain(one.name),
        line={"color": colour, "width": 2},
        marker={
            "size": 9,
            "color": colour,
            "symbol": [
                symbol if point.basis == "measured" else f"{symbol}-open" for point in one.points
            ],
        },
        hovertext=[
            "<br>".join(
                plain(text)
                for text in (
                    f"{one.name}, {one.place}",
                    (
                        f"{words.count(point.devices, 'device')} on {words.count(point.nodes, 'node')}, "
                        f"batch {point.per_device_batch} a device"
                    ),
                    words.rate(point.samples_per_s.p50),
                    (
                        f"90 % within {words.rate(point.samples_per_s.p05)} to "
                        f"{words.rate(point.samples_per_s.p95)}"
                    ),
                    point.basis,
                )
            )
            for point in one.points
        ],
        hoverinfo="text",
    )
    return [between, line] if band and len(one.points) > 1 else [line]


def _linear(one: Curve) -> list[go.Scatter]:
    if len(one.points) < 2:
        return []
    start, end = one.points[0], one.points[-1]
    return [
        go.Scatter(
            x=[start.devices, end.devices],
            y=[
                start.samples_per_s.p50,
                start.samples_per_s.p50 * end.devices / start.devices,
            ],
            mode="lines",
            name="perfect scaling",
            line={"color": MUTED, "width": 1.2, "dash": "dot"},
            hoverinfo="skip",
        )
    ]
