"""A profile as a tab: throughput, what the knobs do, where a step's time goes, the roofline."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import plotly.graph_objects as go

from ..catalog import load as load_catalog
from ..profiles.records import Estimate, Profile
from . import words
from .breakdown import breakdowns, draw_breakdowns
from .content import Block, Drawing, Note, Section, Tab, Table, cell, facts
from .drawing import ACCENT, INK, axis, draw, plain, reference_line, row_label
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
    """How many times the throughput a knob gives, all else equal, with its 95 % interval.

    measured: both settings were; else one of them was predicted from the others.
    """

    knob: str
    setting: str
    ratio: float
    ci95: tuple[float, float]
    measured: bool


def effects(profile: Profile) -> tuple[Effect, ...]:
    """Each pair of settings that differ in XLA alone, or in precision alone, one of them measured.

    Logarithms of both step times err independently, so that their half widths add in squares.
    """
    measured = {one.setting for one in profile.measurements}
    by_setting = {one.setting: one.step_time_s for one in profile.predicted}
    by_setting |= {one.setting: one.step_time_s for one in profile.measurements}
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
            known = {setting, without} & measured
            if without in by_setting and known:
                ratio = by_setting[without].value / one.value
                half = math.hypot(_half_width(by_setting[without]), _half_width(one))
                found.append(
                    Effect(
                        knob=name,
                        setting=without.describe(),
                        ratio=ratio,
                        ci95=(ratio * math.exp(-half), ratio * math.exp(half)),
                        measured=len(known) == 2,
                    )
                )
    return tuple(found)


def _half_width(one: Estimate) -> float:
    low, high = one.ci95
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
                marker={
                    "size": 11,
                    "color": ACCENT,
                    "symbol": ["circle" if one.measured else "circle-open" for one in found],
                    "line": {"width": 2, "color": ACCENT},
                },
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
        shapes=[reference_line(1)],
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
            f"chance ({unsure} of {len(found)} do). Of an open mark one side was predicted, not measured."
        ),
        label="; ".join(f"{one.knob} at {one.setting}: {one.ratio:.2f} times" for one in found)
        + f"; within {min(ends):.2f} to {max(ends):.2f} in all.",
        figure=figure,
        data=Table(
            caption="Throughput with the knob over throughput without",
            heads=("Knob", "At", "Times", "95 % within", "Both measured"),
            rows=tuple(
                (
                    cell(one.knob),
                    cell(one.setting),
                    cell(f"{one.ratio:.3f}", key=one.ratio),
                    cell(f"{one.ci95[0]:.3f} to {one.ci95[1]:.3f}"),
                    cell("yes" if one.measured else "no"),
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
