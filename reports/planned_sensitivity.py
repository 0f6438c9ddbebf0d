"""How wrong a figure may be: what the plan costs and takes then, and when another one wins."""

from collections.abc import Callable
from dataclasses import dataclass

import plotly.graph_objects as go

from ..optimizer.plan import PlannedJob, Sensitivity, Swing
from . import words
from .content import Drawing, Facts, Table, cell, facts
from .drawing import ACCENT, INK, MUTED, ORANGE, axis, draw, plain, row_label, time_axis, usd_axis

NAMES = {
    "price": "price",
    "throughput": "throughput",
    "interruptions": "interruptions",
    "deadline": "deadline",
}


@dataclass(frozen=True, slots=True)
class Bar:
    """One figure at its low and its high value, and what that does."""

    name: str
    low: Swing
    high: Swing
    wins: str


@dataclass(frozen=True, slots=True)
class Tornado:
    """The bars, the widest first; what the plan costs and takes as planned."""

    job: str
    cost_usd: float
    time_s: float
    bars: tuple[Bar, ...]


def tornado(job: PlannedJob) -> Tornado | None:
    """None where the plan was not explained."""
    if job.explanation is None or not job.explanation.sensitivity:
        return None
    predicted = job.chosen.predicted
    cost, time_s = predicted.cost_usd.mean, predicted.time_s.p90

    def width(one: Sensitivity) -> float:
        """The largest relative change of cost or time."""
        swings = (one.low, one.high)
        return max(
            max(abs(swing.cost_usd - cost) / max(cost, 1e-9) for swing in swings),
            max(abs(swing.time_s - time_s) / max(time_s, 1e-9) for swing in swings),
        )

    return Tornado(
        job=job.name,
        cost_usd=cost,
        time_s=time_s,
        bars=tuple(
            Bar(NAMES[one.key], one.low, one.high, wins_words(one))
            for one in sorted(job.explanation.sensitivity, key=width, reverse=True)
        ),
    )


def wins_words(one: Sensitivity) -> str:
    """Between which changes the chosen plan stays the best."""
    low, high = one.wins_from, one.wins_to
    if low is None and high is None:
        changed = [
            words.percent_change(swing.factor)
            for swing in (one.low, one.high)
            if swing.instead is not None or not swing.stays_allowed
        ]
        if changed:
            return f"another plan wins at {' and at '.join(changed)}"
        return "the chosen plan stays the best"
    if low is None:
        return f"the chosen plan stays the best up to {words.percent_change(high or 1)}"
    if high is None:
        return f"the chosen plan stays the best down to {words.percent_change(low)}"
    return (
        "the chosen plan stays the best from "
        f"{words.percent_change(low)} to {words.percent_change(high)}"
    )


def draw_tornado(info: Tornado) -> Drawing:
    places = list(range(len(info.bars)))
    swings = [swing for bar in info.bars for swing in (bar.low, bar.high)]
    away = [swing for swing in swings if swing.instead is not None]
    costs = [*(one.cost_usd for one in swings), *(one.stays_cost_usd for one in away)]
    times = [*(one.time_s for one in swings), *(one.stays_time_s for one in away)]
    top, bottom = (0.55, 1.0), (0.0, 0.41)
    rows = {"range": [len(info.bars) - 0.6, -0.8], "visible": False}
    figure = draw(
        [
            *_bars(info, "cost", lambda swing: swing.cost_usd, words.usd, "x", "y"),
            *_bars(info, "90 % time", lambda swing: swing.time_s, words.duration, "x2", "y2"),
        ],
        x=usd_axis("mean cost", [*costs, info.cost_usd], log=False, anchor="y"),
        y=axis("", domain=top, **rows),
        height_px=190 + 96 * len(info.bars),
        xaxis2=time_axis(
            "time that 90 % stay under", [*times, info.time_s], log=False, anchor="y2"
        ),
        yaxis2=axis("", domain=bottom, **rows),
        barmode="overlay",
        showlegend=True,
        shapes=[
            _middle(info.cost_usd, "x", "y"),
            _middle(info.time_s, "x2", "y2"),
        ],
        annotations=[
            row_label(_label(bar, with_range), k - 0.3, yref=yref)
            for yref, with_range in (("y", True), ("y2", False))
            for k, bar in zip(places, info.bars, strict=True)
        ],
    )
    return Drawing(
        title="How wrong the figures may be",
        caption=(
            "Each bar is what the best plan then costs (above) and takes (below) where one figure is lower "
            "or higher than predicted and all others hold; a diamond is the chosen plan where another has "
            "become better, and the line is the plan as it stands. Throughput moves within its own 90 % interval."
        ),
        label="; ".join(f"{bar.name}: {bar.wins}" for bar in info.bars) + ".",
        figure=figure,
        data=_data(info),
    )


def edges_block(info: Tornado) -> Facts:
    """Until when the chosen plan stays the best."""
    return facts(
        "",
        *(
            (
                (
                    f"{bar.name} {words.percent_change(bar.low.factor)} or "
                    f"{words.percent_change(bar.high.factor)}"
                ),
                bar.wins,
            )
            for bar in info.bars
        ),
    )


def _label(bar: Bar, with_range: bool) -> str:
    if not with_range:
        return f"<b>{bar.name}</b>"
    low, high = (words.percent_change(swing.factor) for swing in (bar.low, bar.high))
    return f"<b>{bar.name}</b> {low} or {high}"


def _middle(value: float, x: str, y: str) -> dict[str, object]:
    return {
        "type": "line",
        "x0": value,
        "x1": value,
        "xref": x,
        "y0": 0,
        "y1": 1,
        "yref": f"{y} domain",
        "line": {"color": MUTED, "width": 1, "dash": "dot"},
    }


def _bars(
    info: Tornado,
    quantity: str,
    value_of: Callable[[Swing], float],
    say: Callable[[float], str],
    x: str,
    y: str,
) -> list[go.Bar | go.Scatter]:
    base = info.cost_usd if quantity == "cost" else info.time_s
    traces: list[go.Bar | go.Scatter] = [
        go.Bar(
            base=[base] * len(info.bars),
            x=[value_of(getattr(bar, side)) - base for bar in info.bars],
            y=[k + (-0.09 if side == "low" else 0.09) for k in range(len(info.bars))],
            orientation="h",
            width=0.16,
            xaxis=x,
            yaxis=y,
            name=f"{side}er",
            legendgroup=side,
            showlegend=quantity == "cost",
            marker={"color": colour, "line": {"width": 0}},
            hovertext=[
                _hover(bar.name, getattr(bar, side), quantity, value_of, say) for bar in info.bars
            ],
            hoverinfo="text",
        )
        for side, colour in (("low", ORANGE), ("high", ACCENT))
    ]
    stays = [
        (k, side, swing)
        for k, bar in enumerate(info.bars)
        for side, swing in ((-0.09, bar.low), (0.09, bar.high))
        if swing.instead is not None
    ]
    if stays:
        own = [
            swing.stays_cost_usd if quantity == "cost" else swing.stays_time_s
            for _, _, swing in stays
        ]
        traces.append(
            go.Scatter(
                x=own,
                y=[k + side for k, side, _ in stays],
                xaxis=x,
                yaxis=y,
                mode="markers",
                name="chosen plan, no longer the best",
                legendgroup="stays",
                showlegend=quantity == "cost",
                marker={"symbol": "diamond-open", "size": 9, "color": INK, "line": {"width": 1.5}},
                hovertext=[
                    f"{info.bars[k].name} {words.percent_change(swing.factor)}: the chosen plan "
                    f"{say(value)}"
                    for (k, _, swing), value in zip(stays, own, strict=True)
                ],
                hoverinfo="text",
            )
        )
    return traces


def _hover(
    name: str,
    swing: Swing,
    quantity: str,
    value_of: Callable[[Swing], float],
    say: Callable[[float], str],
) -> str:
    then = "the chosen plan" if swing.instead is None else plain(words.plan(swing.instead))
    return (
        f"{name} {words.percent_change(swing.factor)}<br>{quantity} {say(value_of(swing))}"
        f"<br>best then: {then}"
    )


def _data(info: Tornado) -> Table:
    return Table(
        caption="What the best plan is, costs and takes where one figure is other than predicted",
        heads=("Figure", "Change", "Best then", "Mean cost", "90 % time", "Chosen plan then"),
        rows=tuple(
            (
                cell(bar.name),
                cell(words.percent_change(swing.factor)),
                cell("the chosen plan" if swing.instead is None else words.plan(swing.instead)),
                cell(words.usd(swing.cost_usd), key=swing.cost_usd),
                cell(words.duration(swing.time_s), key=swing.time_s),
                cell(
                    f"{words.usd(swing.stays_cost_usd)}, {words.duration(swing.stays_time_s)}",
                    *(() if swing.stays_allowed else ("keeps not every constraint",)),
                ),
            )
            for bar in info.bars
            for swing in (bar.low, bar.high)
        ),
    )
