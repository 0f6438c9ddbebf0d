"""A profile as a tab: throughput, what the knobs do, where a step's time goes, the roofline."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import plotly.graph_objects as go

from ..catalog import load as load_catalog
from ..profiles.records import Measurement, Profile
from . import words
from .content import Block, Drawing, Note, Section, Tab, Table, cell, facts
from .drawing import (
    ACCENT,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    axis,
    draw,
    plain,
    row_label,
    time_axis,
)
from .profiled import curves, draw_curves, profile_sentence
from .profiled_roofline import draw_roofline, roofline
from .ran_page import host_rows


def profile_tab(profile: Profile) -> Tab:
    """The profile as a tab of a page."""
    return Tab(
        name="Profile",
        lead=(profile_sentence(profile),),
        sections=(
            Section(f"The profile of {profile.workload}", tuple(_blocks(profile))),
            Section("Where the profile comes from", tuple(_provenance(profile))),
        ),
    )


def _blocks(profile: Profile) -> Iterator[Block]:
    yield from (Note(text, warning=True) for text in profile.warnings)
    yield draw_curves(curves(profile))
    if found := effects(profile):
        yield draw_effects(found)
    if split := breakdowns(profile):
        yield draw_breakdowns(split)
    yield draw_roofline(roofline(profile, load_catalog().accelerators))
    if profile.predicted:
        yield Table(
            title="Settings that were not measured",
            caption="What the effects of those that were say of them, with a 95 % interval",
            heads=("Setting", "Samples/s", "Step", "95 % within"),
            rows=tuple(
                (
                    cell(one.setting.describe()),
                    cell(words.rate(one.samples_per_s), key=one.samples_per_s),
                    cell(words.duration(one.step_time_s.value)),
                    cell(" to ".join(words.duration(end) for end in one.step_time_s.ci95)),
                )
                for one in profile.predicted
            ),
        )
    if profile.failures:
        yield Table(
            title="Settings that do not work",
            caption="What was tried and failed, and why",
            heads=("Setting", "Kind", "Because"),
            rows=tuple(
                (
                    cell(one.setting.describe()),
                    cell(one.kind.replace("_", " ")),
                    cell(one.reason),
                )
                for one in profile.failures
            ),
        )


# ------------------------------------------------------------------------------- knobs' effects


@dataclass(frozen=True, slots=True)
class Effect:
    """How many times the throughput a knob gives, all else equal, with its 95 % interval."""

    knob: str
    setting: str
    ratio: float
    ci95: tuple[float, float]


def effects(profile: Profile) -> tuple[Effect, ...]:
    """Each pair of measured settings that differ in XLA alone, or in precision alone.

    Logarithms of both step times err independently, so that their half widths add in squares.
    """
    by_setting = {one.setting: one for one in profile.measurements}
    found = []
    for setting, one in by_setting.items():
        knobs = setting.knobs
        plainer: list[tuple[str, dict[str, object]]] = []
        if knobs.xla:
            plainer.append(("XLA", {"xla": False}))
        if knobs.precision != "float32":
            plainer.append((knobs.precision.removeprefix("mixed_"), {"precision": "float32"}))
        for name, change in plainer:
            without = setting.model_copy(update={"knobs": knobs.model_copy(update=change)})
            if without in by_setting:
                found.append(_effect(name, by_setting[without], one))
    return tuple(found)


def _effect(name: str, without: Measurement, with_: Measurement) -> Effect:
    ratio = without.step_time_s.value / with_.step_time_s.value
    half = math.hypot(*(_half_width(one) for one in (without, with_)))
    return Effect(
        knob=name,
        setting=without.setting.describe(),
        ratio=ratio,
        ci95=(ratio * math.exp(-half), ratio * math.exp(half)),
    )


def _half_width(one: Measurement) -> float:
    low, high = one.step_time_s.ci95
    return math.log(high / low) / 2


def draw_effects(found: tuple[Effect, ...]) -> Drawing:
    places = list(range(len(found)))
    ends = [end for one in found for end in one.ci95]
    figure = draw(
        [
            go.Scatter(
                x=[one.ratio for one in found],
                y=places,
                mode="markers",
                name="95 % interval",
                marker={"size": 11, "color": ACCENT},
                error_x={
                    "symmetric": False,
                    "array": [one.ci95[1] - one.ratio for one in found],
                    "arrayminus": [one.ratio - one.ci95[0] for one in found],
                    "color": INK,
                    "thickness": 1.4,
                    "width": 5,
                },
                hovertext=[
                    f"{plain(one.knob)} at {plain(one.setting)}: {one.ratio:.2f} times the throughput"
                    f"<br>95 % within {one.ci95[0]:.2f} to {one.ci95[1]:.2f}"
                    for one in found
                ],
                hoverinfo="text",
            )
        ],
        x=axis("times the throughput without it", tickformat=".2~f", nticks=6),
        y=axis("", visible=False, range=[len(found) - 0.5, -0.8]),
        height_px=110 + 50 * len(found),
        shapes=[
            {
                "type": "line",
                "x0": 1,
                "x1": 1,
                "xref": "x",
                "y0": 0,
                "y1": 1,
                "yref": "paper",
                "line": {"color": MUTED, "width": 1, "dash": "dot"},
                "layer": "below",
            }
        ],
        annotations=[
            row_label(f"<b>{plain(one.knob)}</b> at {plain(one.setting)}", place - 0.24)
            for place, one in zip(places, found, strict=True)
        ],
    )
    unsure = sum(one.ci95[0] < 1 < one.ci95[1] for one in found)
    return Drawing(
        title="What XLA and precision do",
        caption=(
            "Right of the dotted line the knob makes training faster; an interval that crosses it may be "
            f"chance ({unsure} of {len(found)} do)."
        ),
        label="; ".join(f"{one.knob} at {one.setting}: {one.ratio:.2f} times" for one in found)
        + f"; within {min(ends):.2f} to {max(ends):.2f} in all.",
        figure=figure,
        data=Table(
            caption="Throughput with the knob over throughput without",
            heads=("Knob", "At", "Times", "95 % within"),
            rows=tuple(
                (
                    cell(one.knob),
                    cell(one.setting),
                    cell(f"{one.ratio:.3f}", key=one.ratio),
                    cell(f"{one.ci95[0]:.3f} to {one.ci95[1]:.3f}"),
                )
                for one in found
            ),
        ),
    )


# ---------------------------------------------------------------------------- step breakdown


@dataclass(frozen=True, slots=True)
class Parts:
    """Where the time of one setting's step goes, seconds."""

    setting: str
    compute_s: float
    communication_s: float
    input_s: float

    @property
    def total_s(self) -> float:
        return self.compute_s + self.communication_s + self.input_s


def breakdowns(profile: Profile) -> tuple[Parts, ...]:
    return tuple(
        Parts(
            setting=one.setting.describe(),
            compute_s=max(one.breakdown.compute_s, 0.0),
            communication_s=max(one.breakdown.communication_s, 0.0),
            input_s=max(one.breakdown.input_s, 0.0),
        )
        for one in profile.measurements
        if one.breakdown is not None
    )


def draw_breakdowns(found: tuple[Parts, ...]) -> Drawing:
    places = list(range(len(found)))
    kinds = (
        ("computing", ACCENT, [one.compute_s for one in found]),
        ("exchanging gradients", GREEN, [one.communication_s for one in found]),
        ("waiting for input", ORANGE, [one.input_s for one in found]),
    )
    figure = draw(
        [
            go.Bar(
                x=values,
                y=places,
                orientation="h",
                width=0.36,
                name=name,
                marker={"color": colour},
                hovertext=[
                    f"{plain(one.setting)}<br>{name}: {words.duration(value)}, "
                    f"{words.share(value / one.total_s)}"
                    for one, value in zip(found, values, strict=True)
                ],
                hoverinfo="text",
            )
            for name, colour, values in kinds
        ],
        x=time_axis(
            "time of a step", [0.0, *(one.total_s for one in found)], log=False, rangemode="tozero"
        ),
        y=axis("", visible=False, range=[len(found) - 0.6, -0.8]),
        height_px=110 + 54 * len(found),
        barmode="stack",
        showlegend=True,
        annotations=[
            row_label(f"<b>{words.duration(one.total_s)}</b> {plain(one.setting)}", place - 0.24)
            for place, one in zip(places, found, strict=True)
        ],
    )
    return Drawing(
        title="Where a step's time goes",
        caption=(
            "Input is what a step loses against one whose batch is already there, exchange an all-reduce of "
            "the gradients on its own; computing is the rest."
        ),
        label="; ".join(
            f"{one.setting}: {words.share(round(one.compute_s / one.total_s, 3))} computing"
            for one in found
        )
        + ".",
        figure=figure,
        data=Table(
            caption="Parts of a step",
            heads=("Setting", "Computing", "Exchange", "Input", "Step"),
            rows=tuple(
                (
                    cell(one.setting),
                    *(
                        cell(words.duration(value), key=value)
                        for value in (
                            one.compute_s,
                            one.communication_s,
                            one.input_s,
                            one.total_s,
                        )
                    ),
                )
                for one in found
            ),
        ),
    )


# --------------------------------------------------------------------------------- provenance


def _provenance(profile: Profile) -> Iterator[Block]:
    noisy = [one for one in profile.measurements if one.noise]
    known = profile.facts
    yield facts(
        "",
        ("made", f"{profile.created:%Y-%m-%d %H:%M} UTC"),
        ("model", profile.model),
        ("data", profile.data),
        (
            "facts",
            (
                f"{known.parameters:,} parameters, {words.operations(known.flops_per_sample)} and "
                f"{words.size(known.bytes_per_sample)} of traffic a sample"
            ),
        ),
        (
            "measuring took",
            f"{words.duration(profile.profiling_s)}, {words.usd(profile.profiling_usd)}",
        ),
        (
            "noise",
            "; ".join(f"{one.setting.describe()}: {', '.join(one.noise)}" for one in noisy[:5]),
        ),
        *host_rows(profile.host),
    )
