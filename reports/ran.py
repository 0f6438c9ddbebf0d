"""Runs in sentences and figures: what was predicted, what happened."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import plotly.graph_objects as go

from ..execution.record import Run, StepTimePoint
from . import words
from .content import Drawing, Table, cell
from .drawing import (
    ACCENT,
    BAND,
    INK,
    VERMILLION,
    axis,
    draw,
    needs_log,
    reference_line,
    time_axis,
)

T = TypeVar("T")

Z90 = 1.645  # nine of ten of a normal distribution lie within this many deviations


@dataclass(frozen=True, slots=True)
class Comparison:
    """One quantity: predicted with its central 90 % interval, and measured."""

    quantity: str
    predicted: float
    low: float | None
    high: float | None
    measured: float
    word: Callable[[float], str]

    @property
    def ratio(self) -> float:
        return self.measured / self.predicted


def comparisons(run: Run) -> tuple[Comparison, ...]:
    """What was both predicted and measured.

    The record states an interval of the throughput; time and cost inherit it through the samples
    that were trained: time = start + samples / throughput, and cost is proportional to time.
    """
    predicted, measured = run.predicted, run.measured
    low, high = predicted.samples_per_s_p05, predicted.samples_per_s_p95
    quickest = slowest = None
    if predicted.samples_per_s and predicted.time_s and low and high:
        quickest = predicted.time_s + run.samples * (1 / high - 1 / predicted.samples_per_s)
        slowest = predicted.time_s + run.samples * (1 / low - 1 / predicted.samples_per_s)
    usd_per_s = (
        predicted.cost_usd / predicted.time_s if predicted.cost_usd and predicted.time_s else None
    )
    return tuple(
        Comparison(quantity, said, least, most, found, word)
        for quantity, said, least, most, found, word in (
            ("throughput", predicted.samples_per_s, low, high, measured.samples_per_s, words.rate),
            ("time", predicted.time_s, quickest, slowest, measured.time_s, words.duration),
            (
                "cost",
                predicted.cost_usd,
                None if quickest is None or usd_per_s is None else quickest * usd_per_s,
                None if slowest is None or usd_per_s is None else slowest * usd_per_s,
                measured.cost_usd,
                words.usd,
            ),
        )
        if said and found is not None
    )


def noise_band(run: Run) -> tuple[float, float] | None:
    """Factors between which nine of ten repeats of the same setting lie on that machine."""
    if run.repeat_noise is None:
        return None
    return math.exp(-Z90 * run.repeat_noise), math.exp(Z90 * run.repeat_noise)


def run_sentence(run: Run) -> str:
    """What happened, and how far it was from the prediction."""
    taken = f"{run.steps:,} of {words.count(run.planned_steps, 'step')}"
    verb = {
        "finished": "finished",
        "stopped": "was stopped after",
        "interrupted": "was interrupted after",
        "deadline": "was ended by its deadline after",
        "budget": "was ended by its budget after",
        "failed": "failed after",
    }
    sentence = f"The run of {words.name(run.job)} {verb[run.status]} {taken}"
    if run.measured.time_s is not None:
        sentence += f" in {words.duration(run.measured.time_s)}"
    if run.measured.cost_usd is not None:
        sentence += f" for {words.usd(run.measured.cost_usd)}"
    found = {one.quantity: one for one in comparisons(run)}
    verdicts = [
        *([_verdict(found["time"], "longer", "shorter")] if "time" in found else []),
        *([_verdict(found["throughput"], "faster", "slower")] if "throughput" in found else []),
    ]
    if verdicts:
        sentence += f", {' and '.join(verdicts)}"
    if run.restarts:
        sentence += f", with {words.count(run.restarts, 'restart')}"
    if run.reason:
        sentence += f": {run.reason}"
    return sentence + "."


def _verdict(one: Comparison, more: str, less: str) -> str:
    change = words.change(one.ratio, more, less)
    if change == "as predicted":
        return f"{one.quantity} as predicted"
    return f"{change} than predicted" if one.quantity == "time" else f"its steps {change}"


def noise_sentence(run: Run) -> str | None:
    """Whether the deviation of the throughput is more than repeating alone would give."""
    band = noise_band(run)
    found = [one for one in comparisons(run) if one.quantity == "throughput"]
    if band is None or not found:
        return None
    low, high = band
    inside = "is within" if low <= found[0].ratio <= high else "is more than"
    return (
        f"On this machine nine of ten repeats of the very same setting lie between "
        f"{words.change(low, 'faster', 'slower')} and {words.change(high, 'faster', 'slower')}; "
        f"the throughput's deviation {inside} that."
    )


def draw_comparisons(run: Run) -> Drawing | None:
    """Everything as measured over predicted, so that one axis serves all; None without any."""
    found = comparisons(run)
    if not found:
        return None
    places = list(range(len(found)))
    band = noise_band(run)
    figure = draw(
        [
            go.Scatter(
                x=[1.0] * len(found),
                y=places,
                error_x={
                    "symmetric": False,
                    "array": [
                        0 if one.high is None else one.high / one.predicted - 1 for one in found
                    ],
                    "arrayminus": [
                        0 if one.low is None else 1 - one.low / one.predicted for one in found
                    ],
                    "color": INK,
                    "thickness": 1.5,
                    "width": 5,
                },
                mode="markers",
                name="predicted, 90 % interval",
                marker={"symbol": "line-ns-open", "size": 12, "color": INK, "line": {"width": 2}},
                hovertext=[
                    f"predicted {one.word(one.predicted)}"
                    + (
                        f"<br>90 % within {one.word(one.low)} to {one.word(one.high)}"
                        if one.low is not None and one.high is not None
                        else ""
                    )
                    for one in found
                ],
                hoverinfo="text",
            ),
            go.Scatter(
                x=[one.ratio for one in found],
                y=places,
                mode="markers",
                name="measured",
                marker={"symbol": "circle", "size": 13, "color": ACCENT},
                cliponaxis=False,
                hovertext=[
                    f"measured {one.word(one.measured)}<br>{words.change(one.ratio, 'more', 'less')}"
                    for one in found
                ],
                hoverinfo="text",
            ),
        ],
        x=axis("measured ÷ predicted", tickformat=".2~f", nticks=7),
        y=axis("", visible=False, range=[len(found) - 0.5, -0.75]),
        height_px=120 + 64 * len(found),
        shapes=[
            *(
                [
                    {
                        "type": "rect",
                        "x0": band[0],
                        "x1": band[1],
                        "xref": "x",
                        "y0": 0,
                        "y1": 1,
                        "yref": "paper",
                        "fillcolor": BAND,
                        "opacity": 0.6,
                        "line": {"width": 0},
                        "layer": "below",
                    }
                ]
                if band
                else []
            ),
            reference_line(1),
        ],
        annotations=[
            {
                "x": 0,
                "xref": "paper",
                "xanchor": "left",
                "y": k - 0.24,
                "yref": "y",
                "yanchor": "bottom",
                "showarrow": False,
                "align": "left",
                "text": f"<b>{one.quantity}</b> {one.word(one.measured)}, "
                f"predicted {one.word(one.predicted).removesuffix(' samples/s')}",
                "font": {"size": 12, "color": INK},
            }
            for k, one in enumerate(found)
        ],
    )
    return Drawing(
        title=f"{words.name(run.job)}: predicted against measured",
        caption=(
            "A dot on the middle line was predicted exactly; the bar is what the prediction allowed nine "
            "times in ten"
            + (
                ", the shaded band what nine of ten mere repeats stay within on this machine."
                if band
                else "."
            )
        ),
        label="; ".join(
            f"{one.quantity}: predicted {one.word(one.predicted)}, measured {one.word(one.measured)}"
            for one in found
        )
        + ".",
        figure=figure,
        data=Table(
            caption="Predicted against measured",
            heads=("Quantity", "Predicted", "90 % within", "Measured", "Measured ÷ predicted"),
            rows=tuple(
                (
                    cell(one.quantity),
                    cell(one.word(one.predicted)),
                    cell(
                        f"{one.word(one.low)} to {one.word(one.high)}"
                        if one.low is not None and one.high is not None
                        else ""
                    ),
                    cell(one.word(one.measured)),
                    cell(f"{one.ratio:.3f}", key=one.ratio),
                )
                for one in found
            ),
        ),
    )


def draw_losses(run: Run) -> Drawing | None:
    """Training loss over steps, with the test figures; None where no loss was kept."""
    if not run.losses:
        return None
    values = [point.loss for point in run.losses]
    last = run.losses[-1]
    test = (
        ""
        if run.test is None
        else f", test loss {run.test.loss:.3g}"
        if run.test.accuracy is None
        else f", test accuracy {words.share(run.test.accuracy)}"
    )
    figure = draw(
        [
            go.Scatter(
                x=[point.step for point in run.losses],
                y=values,
                mode="lines",
                name="training loss",
                line={"color": ACCENT, "width": 1.5},
                hovertemplate="step %{x:,}: %{y:.3g}<extra></extra>",
            ),
            *(
                [
                    go.Scatter(
                        x=[run.losses[0].step, last.step],
                        y=[run.test.loss] * 2,
                        mode="lines",
                        name="test loss",
                        line={"color": VERMILLION, "width": 1.5, "dash": "dash"},
                        hovertemplate="test loss %{y:.3g}<extra></extra>",
                    )
                ]
                if run.test is not None
                else []
            ),
        ],
        x=axis("step", tickformat=",d", nticks=6),
        y=axis("loss", type="log" if needs_log(values) else "linear", nticks=6),
        height_px=320,
        showlegend=True,
    )
    return Drawing(
        title=f"{words.name(run.job)}: loss{test}",
        caption=(
            "Mean loss over the global batch: the first hundred steps one by one, then an even "
            "selection; lower is better."
        ),
        label=f"Training loss from {values[0]:.3g} to {last.loss:.3g} at step {last.step:,}{test}.",
        figure=figure,
        data=Table(
            caption="Training loss at some of the steps",
            heads=("Step", "Loss"),
            rows=tuple(
                (cell(f"{point.step:,}", key=point.step), cell(f"{point.loss:.4g}"))
                for point in _some(run.losses)
            ),
        ),
    )


def _some(points: Sequence[T], most: int = 40) -> list[T]:
    """An even selection that ends with the last."""
    if len(points) <= most:
        return list(points)
    return [points[round(k * (len(points) - 1) / (most - 1))] for k in range(most)]


def between_restarts(run: Run) -> list[list[StepTimePoint]]:
    """Step times of each uninterrupted part of the run, empty parts left out."""
    bounds = [0.0, *sorted(one.at_s for one in run.recoveries), math.inf]
    parts = (
        [point for point in run.step_times if start < point.at_s <= end]
        for start, end in pairwise(bounds)
    )
    return [part for part in parts if part]


def draw_step_times(run: Run) -> Drawing | None:
    """Step time over the run with its restarts; None where none was kept."""
    if not run.step_times:
        return None
    points, restarts_s = run.step_times, sorted(one.at_s for one in run.recoveries)
    times, values = [point.at_s for point in points], [point.step_s for point in points]
    top = max(values)
    said = run.predicted.samples_per_s
    predicted_s = run.global_batch / said if said else None
    figure = draw(
        [
            *(
                go.Scatter(
                    x=[point.at_s for point in stretch],
                    y=[point.step_s for point in stretch],
                    mode="lines",
                    name="step time",
                    showlegend=k == 0,
                    line={"color": ACCENT, "width": 1.5},
                    hovertext=[
                        f"step {point.step:,}, after {words.duration(point.at_s)}: "
                        f"{words.duration(point.step_s)}"
                        for point in stretch
                    ],
                    hoverinfo="text",
                )
                for k, stretch in enumerate(between_restarts(run))
            ),
            *(
                [
                    go.Scatter(
                        x=[times[0], times[-1]],
                        y=[predicted_s] * 2,
                        mode="lines",
                        name="predicted",
                        line={"color": INK, "width": 1.5, "dash": "dot"},
                        hovertext=[f"predicted {words.duration(predicted_s)}"] * 2,
                        hoverinfo="text",
                    )
                ]
                if predicted_s
                else []
            ),
            *(
                [
                    go.Scatter(
                        x=[x for at_s in restarts_s for x in (at_s, at_s, None)],
                        y=[y for _ in restarts_s for y in (0.0, top, None)],
                        mode="lines",
                        name="restart",
                        line={"color": VERMILLION, "width": 1.5, "dash": "dash"},
                        hoverinfo="skip",
                    )
                ]
                if restarts_s
                else []
            ),
        ],
        x=time_axis("time since the start", [0.0, *times, *restarts_s]),
        y=time_axis(
            "step time", [0.0, top, *([predicted_s] if predicted_s else [])], rangemode="tozero"
        ),
        height_px=320,
        showlegend=True,
    )
    restarts = words.count(len(run.recoveries), "restart")
    return Drawing(
        title=f"{words.name(run.job)}: step time over the run, {restarts}",
        caption="Each point is the mean of a stretch of steps; a level line is a steady machine.",
        label=(
            f"Step time between {words.duration(min(values))} and {words.duration(top)}, {restarts}."
        ),
        figure=figure,
        data=Table(
            caption="Step time at some of the steps",
            heads=("Step", "After", "Step time"),
            rows=tuple(
                (
                    cell(f"{point.step:,}", key=point.step),
                    cell(words.duration(point.at_s), key=point.at_s),
                    cell(words.duration(point.step_s), key=point.step_s),
                )
                for point in _some(points)
            ),
        ),
    )
