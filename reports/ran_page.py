"""A run as a tab: what was predicted and measured, where the time went, losses, restarts."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import plotly.graph_objects as go

from ..execution.record import Run
from ..profiles.records import Breakdown, Host
from . import words
from .breakdown import Parts, draw_breakdowns
from .content import Block, Drawing, Facts, Note, Section, Tab, Table, cell, facts
from .drawing import ACCENT, GREEN, MUTED, ORANGE, VERMILLION, axis, draw, row_label, time_axis
from .ran import (
    draw_comparisons,
    draw_losses,
    draw_step_times,
    noise_sentence,
    run_sentence,
)


def run_tab(run: Run) -> Tab:
    """The run as a tab of a page."""
    return Tab(
        name=f"Run, {words.count(run.workers, 'worker')}",
        lead=(run_sentence(run),),
        sections=(
            Section(f"The run of {run.job}", tuple(_blocks(run))),
            Section("Where the run comes from", tuple(_provenance(run))),
        ),
    )


def _blocks(run: Run) -> Iterator[Block]:
    if noise := noise_sentence(run):
        yield Note(noise)
    for drawing in (
        draw_comparisons(run),
        draw_waterfall(waterfall(run)),
        draw_split(split(run)),
        draw_breakdowns((step_parts(run.breakdown, run),)) if run.breakdown else None,
        draw_step_times(run),
        draw_losses(run),
    ):
        if drawing is not None:
            yield drawing
    yield from (Note(text) for text in run.notes)
    if run.recoveries:
        yield Table(
            title="Restarts",
            caption="What went wrong, and from where the run went on",
            heads=("After", "Went on from step", "Steps lost", "Done again", "Because"),
            rows=tuple(
                (
                    cell(words.duration(one.at_s)),
                    cell(f"{one.from_step:,}"),
                    cell(f"{one.lost_steps:,}"),
                    cell(words.duration(one.lost_s)),
                    cell(one.reason),
                )
                for one in run.recoveries
            ),
        )
    if (found := _kept(run)).rows:
        yield found


def step_parts(breakdown: Breakdown, run: Run) -> Parts:
    """The medians of a step's parts over the run."""
    return Parts(
        setting=f"batch {run.per_device_batch}, {words.count(run.workers, 'worker')}",
        compute_s=max(breakdown.compute_s, 0.0),
        communication_s=max(breakdown.communication_s, 0.0),
        input_s=max(breakdown.input_s, 0.0),
    )


def _kept(run: Run) -> Facts:
    """Limits, checkpoints and samples, as far as the run knows them."""
    limits, saved, seen = run.limits, run.checkpointing, run.samples_seen
    rows = []
    if limits is not None:
        spent = f"{words.duration(limits.spent_s)}, {words.usd(limits.spent_usd)}"
        asked = [
            *([f"deadline {words.duration(limits.deadline_s)}"] if limits.deadline_s else []),
            *([f"budget {words.usd(limits.budget_usd)}"] if limits.budget_usd is not None else []),
        ]
        rows.append(("spent in all", f"{spent}{' of ' + ', '.join(asked) if asked else ''}"))
    if saved is not None:
        write = "" if saved.write_s is None else f", {words.duration(saved.write_s)} each"
        rows.append(("checkpoints", f"{words.count(run.checkpoints, 'checkpoint')}{write}"))
    if seen is not None:
        passes = (
            ""
            if seen.passes is None
            else f"; {seen.once} of {words.count(seen.passes, 'whole pass', 'whole passes')} saw every "
            "sample exactly once"
        )
        each = ", ".join(f"{count:,}" for count in seen.per_worker)
        rows.append(("samples by worker", f"{each}{passes}"))
    if run.learning_rate.rule != "none":
        rows.append(
            ("learning rate", f"{run.learning_rate.factor:g} times, rule {run.learning_rate.rule}")
        )
    if run.memory_bytes:
        rows.append(("memory", words.size(run.memory_bytes)))
    return facts("What was kept to", *rows)


# --------------------------------------------------------------------------------- waterfall


@dataclass(frozen=True, slots=True)
class Waterfall:
    """From the predicted to the measured time in parts that add up.

    parts: (what, seconds that it adds).
    """

    job: str
    predicted_s: float
    parts: tuple[tuple[str, float], ...]
    measured_s: float


def waterfall(run: Run) -> Waterfall | None:
    """From the run's own account; None where time was not both predicted and measured."""
    if run.predicted.time_s is None or run.measured.time_s is None or not run.differences:
        return None
    return Waterfall(
        job=run.job,
        predicted_s=run.predicted.time_s,
        parts=tuple((one.what, one.seconds) for one in run.differences),
        measured_s=run.measured.time_s,
    )


def draw_waterfall(info: Waterfall | None) -> Drawing | None:
    if info is None:
        return None
    names = ["predicted", *(name for name, _ in info.parts), "measured"]
    starts, lengths, colours = [0.0], [info.predicted_s], [MUTED]
    at = info.predicted_s
    for _, seconds in info.parts:
        starts.append(at)
        lengths.append(seconds)
        colours.append(VERMILLION if seconds > 0 else GREEN)
        at += seconds
    starts.append(0.0)
    lengths.append(info.measured_s)
    colours.append(ACCENT)
    said = [
        words.duration(info.predicted_s),
        *(words.signed(seconds, words.duration) for _, seconds in info.parts),
        words.duration(info.measured_s),
    ]
    ends = [start + length for start, length in zip(starts, lengths, strict=True)]
    figure = draw(
        [
            go.Bar(
                base=starts,
                x=lengths,
                y=list(range(len(names))),
                orientation="h",
                width=0.36,
                marker={"color": colours, "line": {"width": 0}},
                hovertext=[f"{name}: {text}" for name, text in zip(names, said, strict=True)],
                hoverinfo="text",
            )
        ],
        x=time_axis("time", [0.0, *starts, *ends], log=False, rangemode="tozero"),
        y=axis("", visible=False, range=[len(names) - 0.6, -0.8]),
        height_px=90 + 58 * len(names),
        barmode="overlay",
        showlegend=False,
        annotations=[
            row_label(f"<b>{text}</b> {name}", place - 0.24)
            for place, (name, text) in enumerate(zip(names, said, strict=True))
        ],
    )
    return Drawing(
        title=f"From {said[0]} predicted to {said[-1]} measured",
        caption=(
            "What lies between prediction and measurement, in parts that add up: green bars saved time, "
            "orange ones took it."
        ),
        label="; ".join(f"{name}: {text}" for name, text in zip(names, said, strict=True)) + ".",
        figure=figure,
        data=Table(
            caption="From the predicted to the measured time",
            heads=("Part", "Time"),
            rows=tuple((cell(name), cell(text)) for name, text in zip(names, said, strict=True)),
        ),
    )


# -------------------------------------------------------------------------------------- split


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some steps: when the last ended, wall time for each step, and how much of it was the step itself."""

    at_s: float
    wall_s: float
    step_s: float

    @property
    def between_s(self) -> float:
        return max(self.wall_s - self.step_s, 0.0)


def split(run: Run) -> tuple[Stretch, ...]:
    """Wall time of each step, in the step and between steps: input, logs, checkpoints, restarts.

    The first point has no stretch before it that is known.
    """
    return tuple(
        Stretch(
            at_s=b.at_s,
            wall_s=(b.at_s - a.at_s) / (b.step - a.step),
            step_s=b.step_s,
        )
        for a, b in pairwise(run.step_times)
        if b.step > a.step and b.at_s > a.at_s
    )


def draw_split(found: tuple[Stretch, ...]) -> Drawing | None:
    if len(found) < 2:
        return None
    times = [one.at_s for one in found]
    within = sum(one.step_s for one in found) / len(found)
    between = sum(one.between_s for one in found) / len(found)
    total = within + between
    figure = draw(
        [
            go.Scatter(
                x=times,
                y=values,
                mode="lines",
                stackgroup="time",
                name=name,
                line={"color": colour, "width": 0.8, "shape": "vh"},
                fillcolor=colour,
                hovertext=[
                    f"after {words.duration(one.at_s)}<br>{name}: {words.duration(value)} a step"
                    for one, value in zip(found, values, strict=True)
                ],
                hoverinfo="text",
            )
            for name, colour, values in (
                ("in steps", ACCENT, [one.step_s for one in found]),
                ("between steps", ORANGE, [one.between_s for one in found]),
            )
        ],
        x=time_axis("time since the start", [0.0, *times]),
        y=time_axis(
            "wall time a step", [0.0, *(one.step_s + one.between_s for one in found)], log=False
        ),
        height_px=320,
        showlegend=True,
    )
    return Drawing(
        title=f"Where the time goes: {words.share(round(within / total, 3))} in steps",
        caption=(
            "A step is computing and exchanging gradients; between steps lie input, logs, checkpoints and, "
            "as a spike, restarts."
        ),
        label=(
            f"A step takes {words.duration(within)} on average, and {words.duration(between)} pass between "
            "steps."
        ),
        figure=figure,
        data=Table(
            caption="Wall time a step, in the step and between steps",
            heads=("After", "In steps", "Between steps"),
            rows=tuple(
                (
                    cell(words.duration(one.at_s)),
                    cell(words.duration(one.step_s)),
                    cell(words.duration(one.between_s)),
                )
                for one in found[:: max(1, len(found) // 40)]
            ),
        ),
    )


# --------------------------------------------------------------------------------- provenance


def _provenance(run: Run) -> Iterator[Block]:
    yield facts(
        "",
        ("made", f"{run.created:%Y-%m-%d %H:%M} UTC"),
        ("plan", run.plan),
        ("folder", run.folder),
        ("engine", f"{run.engine}, {words.count(run.workers, 'worker')}"),
        ("setting", f"batch {run.global_batch}, {words.knobs(run.knobs)}"),
        ("data", run.data),
        ("seed", str(run.seed)),
        ("prediction", run.predicted.basis),
        *host_rows(run.host),
    )


def host_rows(host: Host) -> tuple[tuple[str, str], ...]:
    """The machine, in words."""
    return (
        (
            "machine",
            f"{host.cpu}, {words.count(host.cores, 'core')}, {host.memory_gib:g} GiB, {host.system}",
        ),
        ("versions", ", ".join(f"{name} {version}" for name, version in host.versions.items())),
    )
