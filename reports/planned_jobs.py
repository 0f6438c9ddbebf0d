"""Several jobs of one plan: what each takes, when each runs where some wait for others."""

from dataclasses import dataclass

import plotly.graph_objects as go

from ..optimizer.plan import Pipeline, Plan
from . import words
from .content import Block, Drawing, Table, cell
from .drawing import ACCENT, BAND, INK, MUTED, draw, plain, row_label, time_axis
from .drawing import axis as plain_axis

MOST_ROWS = 40  # of the timeline


def jobs_sentence(plan: Plan) -> str:
    """All jobs in a sentence."""
    longest = max(plan.jobs, key=lambda job: job.chosen.predicted.time_s.p90)
    total = sum(job.chosen.predicted.cost_usd.mean for job in plan.jobs)
    return (
        f"{len(plan.jobs)} jobs for about {words.usd(total)} together; the longest, {words.name(longest.name)}, "
        f"takes about {words.duration(longest.chosen.predicted.time_s.p50)} "
        f"(90 % sure under {words.duration(longest.chosen.predicted.time_s.p90)})."
    )


def pipeline_sentence(one: Pipeline) -> str:
    """When the last job of a pipeline has ended, and what moving data costs."""
    moved = f", {words.usd(one.moved_usd)} of it for moving data" if one.moved_usd else ""
    return (
        f"Some wait for others: all are done within {words.duration(one.makespan_s)}, counting for each "
        f"the time that 90 % stay under, for about {words.usd(one.cost_usd)}{moved}."
    )


def jobs_blocks(plan: Plan) -> tuple[Block, ...]:
    """A table of the jobs, when they run, and the data that move between them."""
    moves = plan.pipeline.moves if plan.pipeline else ()
    return (
        _jobs_table(plan),
        draw_lanes(lanes(plan), whole=plan.pipeline is not None),
        *(
            [
                Table(
                    caption="Data that move from one job to the next",
                    heads=("Move", "From", "To", "Size", "Takes", "Costs"),
                    rows=tuple(
                        (
                            cell(f"{move.from_job} to {move.to_job}"),
                            cell(move.source),
                            cell(move.target),
                            cell(words.size(move.bytes), key=move.bytes),
                            cell(words.duration(move.seconds), key=move.seconds),
                            cell(words.usd(move.usd), key=move.usd),
                        )
                        for move in moves
                    ),
                )
            ]
            if moves
            else []
        ),
    )


def _jobs_table(plan: Plan) -> Table:
    starts = plan.pipeline.start_s if plan.pipeline else None
    return Table(
        caption="What is chosen for each job",
        heads=("Job", "Offer", "Setting", "Starts", "Time", "Cost", "F", "L")
        if starts
        else ("Job", "Offer", "Setting", "Time", "Cost", "F", "L"),
        choices=("Offer",) if len(plan.jobs) > 10 else (),
        rows=tuple(
            (
                cell(job.name),
                cell(words.hardware(job.chosen.offer), words.place(job.chosen.offer)),
                cell(f"{words.terms(job.chosen)}, {words.batch(job.chosen)}"),
                *([cell(f"after {words.duration(starts[k])}", key=starts[k])] if starts else []),
                cell(
                    *words.time(job.chosen.predicted.time_s),
                    key=job.chosen.predicted.time_s.p50,
                ),
                cell(
                    *words.cost(job.chosen.predicted.cost_usd),
                    key=job.chosen.predicted.cost_usd.mean,
                ),
                cell(f"{job.chosen.predicted.flexibility:.2f}"),
                cell(f"{job.chosen.losses.total:.3f}", key=job.chosen.losses.total),
            )
            for k, job in enumerate(plan.jobs)
        ),
    )


@dataclass(frozen=True, slots=True)
class Lane:
    """One job's time: from start to its median end, and to the end that 90 % stay under."""

    name: str
    where: str
    start_s: float
    p50_s: float
    p90_s: float
    usd: float


def lanes(plan: Plan) -> tuple[Lane, ...]:
    """By start; jobs that wait for nothing start at once."""
    starts = plan.pipeline.start_s if plan.pipeline else (0.0,) * len(plan.jobs)
    found = [
        Lane(
            name=job.name,
            where=f"{words.hardware(job.chosen.offer)}, {words.place(job.chosen.offer)}",
            start_s=start,
            p50_s=job.chosen.predicted.time_s.p50,
            p90_s=job.chosen.predicted.time_s.p90,
            usd=job.chosen.predicted.cost_usd.mean,
        )
        for job, start in zip(plan.jobs, starts, strict=True)
    ]
    return tuple(sorted(found, key=lambda lane: (lane.start_s, -lane.p90_s)))


def draw_lanes(found: tuple[Lane, ...], *, whole: bool) -> Drawing:
    """whole: whether starts are planned, for some wait for others."""
    shown = found[:MOST_ROWS]
    places = list(range(len(shown)))
    hovers = [
        f"{plain(lane.name)}<br>{plain(lane.where)}<br>{words.duration(lane.p50_s)}, 90 % under "
        f"{words.duration(lane.p90_s)}<br>{words.usd(lane.usd)}"
        for lane in shown
    ]
    end_s = max(lane.start_s + lane.p90_s for lane in shown)
    figure = draw(
        [
            go.Bar(
                base=[lane.start_s + start for lane, start in zip(shown, begin, strict=True)],
                x=length,
                y=places,
                orientation="h",
                width=0.34,
                name=name,
                marker={"color": colour, "line": {"width": 0.8, "color": MUTED}},
                hovertext=hovers,
                hoverinfo="text",
            )
            for name, colour, begin, length in (
                ("median", ACCENT, [0.0] * len(shown), [lane.p50_s for lane in shown]),
                (
                    "until 90 % are done",
                    BAND,
                    [lane.p50_s for lane in shown],
                    [lane.p90_s - lane.p50_s for lane in shown],
                ),
            )
        ],
        x=time_axis("time since the start", [0.0, end_s], log=False),
        y=plain_axis("", visible=False, range=[len(shown) - 0.6, -0.8]),
        height_px=110 + 50 * len(shown),
        barmode="overlay",
        showlegend=True,
        annotations=[
            row_label(
                f"<b>{plain(lane.name[:30])}</b> {words.usd(lane.usd)}",
                k - 0.22,
                font={"size": 12, "color": INK},
            )
            for k, lane in enumerate(shown)
        ],
    )
    return Drawing(
        title="When each job runs" if whole else "How long each job takes",
        caption=(
            (
                "A job starts when all that it waits for are done, nine times in ten, and their data there"
                if whole
                else "All jobs start at once, where nothing keeps them apart"
            )
            + (
                f"; the first {MOST_ROWS} of {len(found):,} are drawn."
                if len(found) > MOST_ROWS
                else "."
            )
        ),
        label="; ".join(
            f"{lane.name}: from {words.duration(lane.start_s)}, for {words.duration(lane.p50_s)}"
            for lane in shown[:10]
        )
        + ".",
        figure=figure,
        data=Table(
            caption="Start and length of each job",
            heads=("Job", "Where", "Starts", "Median time", "90 % time", "Mean cost"),
            rows=tuple(
                (
                    cell(lane.name),
                    cell(lane.where),
                    cell(words.duration(lane.start_s), key=lane.start_s),
                    cell(words.duration(lane.p50_s), key=lane.p50_s),
                    cell(words.duration(lane.p90_s), key=lane.p90_s),
                    cell(words.usd(lane.usd), key=lane.usd),
                )
                for lane in found
            ),
        ),
    )
