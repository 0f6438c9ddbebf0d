"""A rehearsal in sentences and figures: how long and how dear over many futures, and one of them."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import plotly.graph_objects as go

from ..optimizer.plan import Spread
from ..simulator.records import Distribution, Simulation, Timeline
from . import words
from .content import Drawing, Table, cell
from .drawing import (
    ACCENT,
    BAND,
    INK,
    MUTED,
    ORANGE,
    VERMILLION,
    axis,
    draw,
    histogram,
    share_below,
    time_axis,
    usd_axis,
)

Quantity = Literal["finish time", "cost"]
MOST_NODES = 32  # that the timeline shows
MOST_STRETCHES = 200  # that its table lists


def rehearsal_sentence(simulation: Simulation) -> str:
    """What many futures said about the plan."""
    which = "plan" if simulation.which == "chosen" else "plan's best on this machine"
    (time, time_p90), (cost, cost_p90) = (
        words.time(simulation.finish_s),
        words.cost(simulation.cost_usd),
    )
    losses = words.count(float(f"{simulation.interruptions:.2g}"), "interruption")
    return (
        f"Rehearsed {simulation.replications:,} times, the {which} is done in {time} ({time_p90}) "
        f"for {cost} ({cost_p90}), with {losses} on average."
    )


def hopeless_sentence(simulation: Simulation) -> str | None:
    """What must be said where some futures never reached the target."""
    if not simulation.unfinished:
        return None
    return (
        f"{simulation.unfinished:,} of {simulation.replications:,} futures never reached the target "
        "and were given up; they count with the time and the cost at which they were."
    )


# ----------------------------------------------------------------------------- distributions


@dataclass(frozen=True, slots=True)
class Futures:
    """A quantity over all futures as a histogram, with what was predicted and what was wished.

    beyond: the share above the last edge. predicted: the optimizer's closed form, per job.
    limit: deadline or budget, None where there is none; p_limit: share of futures that keep it.
    """

    name: str
    quantity: Quantity
    edges: tuple[float, ...]
    shares: tuple[float, ...]
    beyond: float
    largest: float
    p50: float
    p90: float
    predicted: Spread | None
    limit: float | None
    p_limit: float | None
    p_limit_ci95: tuple[float, float] | None

    def word(self, value: float) -> str:
        return words.duration(value) if self.quantity == "finish time" else words.usd(value)

    @property
    def limit_in_view(self) -> bool:
        """Whether the limit is near enough to be drawn without pressing the rest together."""
        width = self.edges[-1] - self.edges[0] or abs(self.edges[0])
        return (
            self.limit is not None and self.edges[0] - width <= self.limit <= self.edges[-1] + width
        )


def finish_futures(simulation: Simulation) -> tuple[Futures, ...]:
    """Finish times: of the whole plan where it has several jobs, then of each."""
    whole = _futures(
        "all jobs",
        "finish time",
        simulation.finish_s,
        None,
        None,
        simulation.p_deadline,
        simulation.p_deadline_ci95,
    )
    return (
        *([whole] if len(simulation.jobs) > 1 else []),
        *(
            _futures(
                job.name,
                "finish time",
                job.finish_s,
                job.predicted_time_s,
                job.deadline_s,
                job.p_deadline,
                job.p_deadline_ci95,
            )
            for job in simulation.jobs
        ),
    )


def cost_futures(simulation: Simulation) -> tuple[Futures, ...]:
    """Costs, likewise."""
    whole = _futures(
        "all jobs",
        "cost",
        simulation.cost_usd,
        None,
        None,
        simulation.p_budget,
        simulation.p_budget_ci95,
    )
    return (
        *([whole] if len(simulation.jobs) > 1 else []),
        *(
            _futures(
                job.name,
                "cost",
                job.cost_usd,
                job.predicted_cost_usd,
                job.budget_usd,
                job.p_budget,
                job.p_budget_ci95,
            )
            for job in simulation.jobs
        ),
    )


def _futures(
    name: str,
    quantity: Quantity,
    found: Distribution,
    predicted: Spread | None,
    limit: float | None,
    p_limit: float | None,
    p_limit_ci95: tuple[float, float] | None,
) -> Futures:
    edges, shares = histogram(found.quantiles)
    return Futures(
        name=name,
        quantity=quantity,
        edges=tuple(edges),
        shares=tuple(shares),
        beyond=1 - share_below(found.quantiles, edges[-1]),
        largest=found.quantiles[-1],
        p50=found.p50,
        p90=found.p90,
        predicted=predicted,
        limit=limit,
        p_limit=p_limit,
        p_limit_ci95=p_limit_ci95,
    )


def draw_futures(info: Futures) -> Drawing:
    marks = [
        _lines("rehearsed: median, 90 %", (info.p50, info.p90), info, INK, "solid"),
        *(
            [
                _lines(
                    "predicted: median, 90 %",
                    (info.predicted.p50, info.predicted.p90),
                    info,
                    INK,
                    "dot",
                )
            ]
            if info.predicted
            else []
        ),
        *(
            [_lines(_limit_word(info), (info.limit,), info, VERMILLION, "dash")]
            if info.limit is not None and info.limit_in_view
            else []
        ),
    ]
    seen = [value for mark in marks for value in mark.x if value is not None]
    scale = time_axis if info.quantity == "finish time" else usd_axis
    # Bars of equal width on a logarithmic axis would lie about the shares.
    x = scale(info.quantity, [*info.edges, *seen], log=False)
    centres = [(a + b) / 2 for a, b in pairwise(info.edges)]
    figure = draw(
        [
            go.Bar(
                x=centres,
                y=list(info.shares),
                width=[b - a for a, b in pairwise(info.edges)]
                if info.edges[-1] > info.edges[0]
                else None,
                marker={"color": ACCENT, "opacity": 0.75, "line": {"width": 0}},
                showlegend=False,
                hovertext=[
                    f"{info.word(a)} to {info.word(b)}: {words.share(part)} of futures"
                    for (a, b), part in zip(pairwise(info.edges), info.shares, strict=True)
                ],
                hoverinfo="text",
            ),
            *marks,
        ],
        x=x,
        y=axis("share of futures", tickformat=".0%", rangemode="tozero", nticks=5),
        height_px=340,
        bargap=0,
    )
    return Drawing(
        title=f"{info.quantity.capitalize()} of {info.name}{_kept(info)}",
        caption=_futures_caption(info),
        label=(
            f"Histogram of the {info.quantity} of {info.name}: median {info.word(info.p50)}, "
            f"nine of ten under {info.word(info.p90)}{_kept(info)}."
        ),
        figure=figure,
        data=_futures_data(info),
    )


def _futures_data(info: Futures) -> Table:
    below = 0.0
    rows = []
    for (low, high), part in zip(pairwise(info.edges), info.shares, strict=True):
        below += part
        rows.append(
            (
                cell(f"{info.word(low)} to {info.word(high)}"),
                cell(words.share(max(part, 0.0))),
                cell(words.share(min(max(below, 0.0), 1.0))),
            )
        )
    return Table(
        caption=f"Shares of futures by {info.quantity}",
        heads=(info.quantity.capitalize(), "Share", "So far in all"),
        rows=tuple(rows),
    )


def _lines(
    name: str, values: tuple[float, ...], info: Futures, colour: str, dash: str
) -> go.Scatter:
    top = 1.08 * max(info.shares)
    return go.Scatter(
        x=[x for value in values for x in (value, value, None)],
        y=[y for _ in values for y in (0.0, top, None)],
        mode="lines",
        name=name,
        line={"color": colour, "width": 1.5, "dash": dash},
        hovertext=[text for value in values for text in (f"{name}: {info.word(value)}",) * 3],
        hoverinfo="text",
    )


def _limit_word(info: Futures) -> str:
    return "deadline" if info.quantity == "finish time" else "budget"


def _kept(info: Futures) -> str:
    """How often the limit is kept, as the end of a title."""
    if info.p_limit is None:
        return ""
    if info.limit is None:
        return f": {words.share(info.p_limit)} keep every {_limit_word(info)}"
    return f": {words.share(info.p_limit)} keep the {_limit_word(info)} of {info.word(info.limit)}"


def _futures_caption(info: Futures) -> str:
    parts = ["The height of a bar is the share of rehearsed futures that end there"]
    if info.predicted:
        parts.append("solid and dotted lines close together mean that the closed form was right")
    if info.limit is not None and not info.limit_in_view:
        parts.append(f"the {_limit_word(info)} of {info.word(info.limit)} lies outside the picture")
    if info.beyond > 0:
        parts.append(
            f"{words.share(info.beyond)} lie further right, up to {info.word(info.largest)}"
        )
    if info.p_limit_ci95 is not None:
        low, high = info.p_limit_ci95
        parts.append(
            f"the share that keeps the {_limit_word(info)} is known to lie between "
            f"{words.share(low)} and {words.share(high)} (95 %)"
        )
    return "; ".join(parts) + "."


# --------------------------------------------------------------------------- one of the futures

State = Literal["starting", "waiting", "training"]


@dataclass(frozen=True, slots=True)
class Stretch:
    """What one node did for a while."""

    node: int
    state: State
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Gantt:
    """One job's nodes through one future; losses: (node, time)."""

    job: str
    nodes: int
    stretches: tuple[Stretch, ...]
    losses: tuple[tuple[int, float], ...]
    finished: bool


def gantt(timeline: Timeline) -> Gantt:
    """Events as stretches: a node starts, waits for the others, trains; a loss stops them all."""
    now: dict[int, tuple[State, float]] = {}
    stretches: list[Stretch] = []

    def enter(node: int, state: State | None, at_s: float) -> None:
        if node in now:
            before, since_s = now.pop(node)
            if at_s > since_s:
                stretches.append(Stretch(node, before, since_s, at_s))
        if state is not None:
            now[node] = (state, at_s)

    losses, finished = [], False
    for event in timeline.events:
        if event.kind == "provision" and event.node is not None:
            enter(event.node, "starting", event.at_s)
        elif event.kind == "ready" and event.node is not None:
            enter(event.node, "waiting", event.at_s)
        elif event.kind in ("work", "restored"):
            for node in sorted(now):
                enter(node, "training", event.at_s)
        elif event.kind == "lost" and event.node is not None:
            losses.append((event.node, event.at_s))
            enter(event.node, None, event.at_s)
            for node in sorted(now):
                if now[node][0] == "training":
                    enter(node, "waiting", event.at_s)
        elif event.kind in ("finished", "given_up"):
            finished = event.kind == "finished"
            for node in sorted(now):
                enter(node, None, event.at_s)
    return Gantt(timeline.job, timeline.nodes, tuple(stretches), tuple(losses), finished)


_STATE_COLOURS: dict[State, str] = {"training": ACCENT, "starting": ORANGE, "waiting": MUTED}


def draw_gantt(info: Gantt) -> Drawing:
    shown = [one for one in info.stretches if one.node < MOST_NODES]
    nodes = min(info.nodes, MOST_NODES)
    end_s = max((one.end_s for one in info.stretches), default=1.0)
    figure = draw(
        [
            *(
                go.Bar(
                    base=[one.start_s for one in shown if one.state == state],
                    x=[one.end_s - one.start_s for one in shown if one.state == state],
                    y=[one.node + 1 for one in shown if one.state == state],
                    orientation="h",
                    width=0.6,
                    name=state,
                    marker={"color": colour, "line": {"width": 0}},
                    hovertext=[
                        f"node {one.node + 1} {state} for {words.duration(one.end_s - one.start_s)}"
                        for one in shown
                        if one.state == state
                    ],
                    hoverinfo="text",
                )
                for state, colour in _STATE_COLOURS.items()
                if any(one.state == state for one in shown)
            ),
            *(
                [
                    go.Scatter(
                        x=[at_s for node, at_s in info.losses if node < MOST_NODES],
                        y=[node + 1 for node, _ in info.losses if node < MOST_NODES],
                        mode="markers",
                        name="lost",
                        marker={
                            "symbol": "x",
                            "size": 11,
                            "color": VERMILLION,
                            "line": {"color": BAND, "width": 1},
                        },
                        hovertext=[
                            f"node {node + 1} lost after {words.duration(at_s)}"
                            for node, at_s in info.losses
                            if node < MOST_NODES
                        ],
                        hoverinfo="text",
                    )
                ]
                if info.losses
                else []
            ),
        ],
        x=time_axis("time since the start", [0.0, end_s]),
        y=axis("node", tickmode="array", tickvals=list(range(1, nodes + 1)), autorange="reversed"),
        height_px=150 + 26 * nodes,
        barmode="overlay",
        showlegend=True,
    )
    outcome = "done" if info.finished else "given up"
    losses = words.count(len(info.losses), "loss", "losses")
    return Drawing(
        title=f"One future of {info.job}: {outcome} after {words.duration(end_s)}, {losses}",
        caption=(
            "The one that nine of ten futures beat; each line is a node, a cross its loss, and while one "
            "is replaced the others wait."
        ),
        label=f"Timeline of {words.count(info.nodes, 'node')}: {losses}, {outcome} after "
        f"{words.duration(end_s)}.",
        figure=figure,
        data=_gantt_data(info),
    )


def _gantt_data(info: Gantt) -> Table:
    """Each stretch and each loss, in order of time; the first MOST_STRETCHES of them."""
    happened = [
        *((one.start_s, one.node, one.state, one.end_s - one.start_s) for one in info.stretches),
        *((at_s, node, "lost", 0.0) for node, at_s in info.losses),
    ]
    happened.sort()
    return Table(
        caption="What each node did, and when"
        + (f"; the first {MOST_STRETCHES}" if len(happened) > MOST_STRETCHES else ""),
        heads=("After", "Node", "What", "For"),
        rows=tuple(
            (
                cell(words.duration(at_s), key=at_s),
                cell(str(node + 1), key=node + 1),
                cell(what),
                cell(words.duration(length_s) if length_s else "", key=length_s),
            )
            for at_s, node, what, length_s in happened[:MOST_STRETCHES]
        ),
    )
