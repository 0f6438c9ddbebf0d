"""The Pareto front as a figure: time against cost, coloured by flexibility, the plan's own rows marked."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from ..optimizer.plan import PlannedCandidate, PlannedJob
from . import words
from .content import Drawing, Table, cell
from .drawing import INK, MUTED, PAPER, draw, needs_log, plain, time_axis, usd_axis
from .planned import Mark, Row, identity, rows

MOST_DRAWN = 400  # of the front's points; more would hide each other, and slow the browser down
MOST_WITH_BARS = 300  # points up to which each has its interval
MOST_LISTED = 120
FAR = 10.0  # times all others' time
FINEST_GRID = 256  # cells a side, when of many points one a cell is drawn


@dataclass(frozen=True, slots=True)
class Point:
    """One candidate on the front: what is drawn of it, and the lines that describe it."""

    role: str
    mark: Mark
    candidate: PlannedCandidate

    @property
    def time_p50_s(self) -> float:
        return self.candidate.predicted.time_s.p50

    @property
    def time_p90_s(self) -> float:
        return self.candidate.predicted.time_s.p90

    @property
    def cost_mean_usd(self) -> float:
        return self.candidate.predicted.cost_usd.mean

    @property
    def cost_p50_usd(self) -> float:
        return self.candidate.predicted.cost_usd.p50

    @property
    def cost_p90_usd(self) -> float:
        return self.candidate.predicted.cost_usd.p90

    @property
    def flexibility(self) -> float:
        return self.candidate.predicted.flexibility

    @property
    def lines(self) -> tuple[str, ...]:
        one, predicted = self.candidate, self.candidate.predicted
        return (
            f"{words.hardware(one.offer)}, {words.place(one.offer)}",
            f"{words.terms(one)}, {words.usd(one.offer.price_usd_h)}/h a node",
            words.batch(one),
            words.knobs(one.knobs),
            f"time {', '.join(words.time(predicted.time_s))}",
            f"cost {', '.join(words.cost(predicted.cost_usd))}",
            f"flexibility loss {predicted.flexibility:.2f}, L {one.losses.total:.4f}",
            f"basis: {one.basis}",
        )


@dataclass(frozen=True, slots=True)
class Frontier:
    """points: drawn one by one. edge: (time, cost) of every candidate of the front that no other
    beats in both, quickest first. size: of the front, of which only kept are in the plan."""

    job: str
    points: tuple[Point, ...]
    edge: tuple[tuple[float, float], ...]
    size: int
    kept: int

    @property
    def drawn(self) -> tuple[Point, ...]:
        """The points in the picture: not this machine's best where it would press the others together."""
        others = [point.time_p90_s for point in self.points if point.mark != "here"]
        return tuple(
            point
            for point in self.points
            if point.mark != "here" or point.time_p90_s <= FAR * max(others)
        )

    @property
    def log_time(self) -> bool:
        return needs_log([point.time_p90_s for point in self.drawn])

    @property
    def dearest_flexibility(self) -> float:
        """Where the colours end."""
        return max(0.5, *(point.flexibility for point in self.drawn))

    @property
    def log_cost(self) -> bool:
        return needs_log([point.cost_mean_usd for point in self.drawn])


def frontier(job: PlannedJob) -> Frontier:
    """The Pareto front with the plan's own rows, each candidate once."""
    named = rows(job)
    seen = {identity(row.candidate) for row in named}
    others = [one for one in job.frontier if identity(one) not in seen]
    return Frontier(
        job=job.name,
        points=tuple(
            Point(row.role, row.mark, row.candidate)
            for row in (
                *(Row("on the front", "front", one) for one in thinned(others, MOST_DRAWN)),
                *reversed(named),
            )
        ),
        edge=tuple(edge(job.frontier)),
        size=max(job.frontier_size, len(job.frontier)),
        kept=len(job.frontier),
    )


def edge(candidates: Sequence[PlannedCandidate]) -> Iterator[tuple[float, float]]:
    """(p90 time, mean cost) of those that none is both as quick and as cheap as, quickest first."""
    least = math.inf
    for time_s, usd in sorted(
        (one.predicted.time_s.p90, one.predicted.cost_usd.mean) for one in candidates
    ):
        if usd < least:
            least = usd
            yield time_s, usd


def thinned(candidates: Sequence[PlannedCandidate], most: int) -> list[PlannedCandidate]:
    """At most so many, spread over the picture: of those that would lie on each other the freest.

    All of them where they are few enough; else one a cell of the finest grid that leaves at most
    so many.
    """
    if len(candidates) <= most:
        return list(candidates)
    freest = sorted(candidates, key=lambda one: one.predicted.flexibility)
    places = np.array(
        [[one.predicted.time_s.p90, one.predicted.cost_usd.mean] for one in freest], float
    )
    for axis in range(2):
        if needs_log(places[:, axis].tolist()):
            places[:, axis] = np.log10(places[:, axis])
    low, high = places.min(axis=0), places.max(axis=0)
    unit = (places - low) / np.where(high > low, high - low, 1.0)
    grid = FINEST_GRID
    while True:
        cells = np.minimum((unit * grid).astype(int), grid - 1) @ np.array([grid, 1])
        first = np.sort(np.unique(cells, return_index=True)[1])
        if len(first) <= most:
            return [freest[k] for k in first.tolist()]
        grid = grid * 7 // 8


_MARKS: dict[Mark, tuple[str, str, int]] = {
    "front": ("Pareto front", "circle", 10),
    "runner-up": ("runners-up", "square", 12),
    "here": ("best on this machine", "diamond", 15),
    "chosen": ("chosen", "star", 20),
}
_LABELS: dict[Mark, str] = {"here": "best here", "chosen": "chosen"}


def draw_frontier(info: Frontier) -> Drawing:
    times = [seconds for point in info.drawn for seconds in (point.time_p50_s, point.time_p90_s)]
    costs = [dollars for p in info.drawn for dollars in (p.cost_mean_usd, p.cost_p90_usd)]
    figure = draw(
        [
            *([_edge_line(info)] if len(info.edge) > 1 else []),
            *(
                _marks(info, mark)
                for mark in _MARKS
                if any(point.mark == mark for point in info.drawn)
            ),
            _colour_bar(info.dearest_flexibility),
        ],
        x=time_axis("time that 90 % stay under", times),
        y=usd_axis("mean cost", costs),
        height_px=460,
        annotations=_ranks(info),
    )
    chosen = next(point for point in info.points if point.mark == "chosen")
    return Drawing(
        title="Time against cost",
        caption=_caption(info),
        label=(
            f"Scatter of {len(info.points):,} candidates for {info.job}: 90 % time against mean cost. "
            f"Chosen: {chosen.lines[4]}; {chosen.lines[5]}."
        ),
        figure=figure,
        data=_data(info),
    )


def _caption(info: Frontier) -> str:
    drawn = sum(point.mark == "front" for point in info.points)
    parts = [
        (
            "Circles are ways to train that no other beats in time, cost and flexibility at once; further "
            "left is sooner, further down is cheaper, darker is freer to change, and bars reach from "
            "the median to what nine of ten runs stay under"
        )
    ]
    if len(info.edge) > 1:
        parts.append("below the line nothing is to be had")
    parts += [
        f"the best on this machine lies far outside: {point.lines[4]}; {point.lines[5]}"
        for point in info.points
        if point not in info.drawn
    ]
    if info.size > info.kept:
        parts.append(f"the front has {info.size:,} points, of which {info.kept:,} are in the plan")
    if drawn >= MOST_DRAWN // 2 and info.kept > drawn + 20:
        parts.append(f"of {info.kept:,} circles those are drawn that do not hide each other")
    return "; ".join(parts) + "."


def _edge_line(info: Frontier) -> go.Scatter:
    """All of the edge, also where only some of its points are drawn: steps, for nothing is between."""
    places = np.array(info.edge, np.float32)
    return go.Scatter(
        x=places[:, 0],
        y=places[:, 1],
        mode="lines",
        line={"shape": "hv", "color": MUTED, "width": 1},
        opacity=0.6,
        name="none sooner and cheaper",
        showlegend=False,
        hoverinfo="skip",
    )


def _marks(info: Frontier, mark: Mark) -> go.Scatter:
    points = [point for point in info.drawn if point.mark == mark]
    name, symbol, size_px = _MARKS[mark]
    named, labelled = mark != "front", mark in _LABELS
    barred = named or len(points) <= MOST_WITH_BARS
    bars = {"symmetric": False, "color": MUTED, "thickness": 0.8, "width": 0}
    return go.Scatter(
        x=[point.time_p90_s for point in points],
        y=[point.cost_mean_usd for point in points],
        error_x=bars
        | {
            "array": [0.0] * len(points),
            "arrayminus": [point.time_p90_s - point.time_p50_s for point in points],
        }
        if barred
        else None,
        error_y=bars
        | {
            "array": [max(0.0, point.cost_p90_usd - point.cost_mean_usd) for point in points],
            "arrayminus": [max(0.0, point.cost_mean_usd - point.cost_p50_usd) for point in points],
        }
        if barred
        else None,
        mode="markers+text" if labelled else "markers",
        text=[_LABELS[mark]] * len(points) if labelled else None,
        textposition="bottom center",
        textfont={"color": INK, "size": 12},
        cliponaxis=False,
        name=name,
        marker={
            "symbol": symbol,
            "size": size_px if barred else 7,
            "color": sample_colorscale(
                "Viridis", [point.flexibility / info.dearest_flexibility for point in points]
            ),
            "line": {"color": INK if named else MUTED, "width": 1.5 if named else 0.8},
        },
        hovertext=[_hover(point) for point in points],
        hoverinfo="text",
    )


def _ranks(info: Frontier) -> list[dict[str, object]]:
    """The runners-up's numbers beside their marks, spread out because they often lie together."""
    ranked = sorted(
        (point for point in info.points if point.mark == "runner-up"),
        key=lambda point: -point.cost_mean_usd,
    )
    scale = math.log10 if info.log_time else float
    ends = [scale(point.time_p90_s) for point in info.drawn]
    return [
        {
            "x": scale(point.time_p90_s),
            "y": math.log10(point.cost_mean_usd) if info.log_cost else point.cost_mean_usd,
            "text": point.role.removeprefix("runner-up "),
            "ax": -34 if scale(point.time_p90_s) > (min(ends) + max(ends)) / 2 else 34,
            "ay": 17 * (k - (len(ranked) - 1) / 2),
            "arrowhead": 0,
            "arrowwidth": 0.8,
            "arrowcolor": MUTED,
            "standoff": 5,
            "bgcolor": PAPER,
            "borderpad": 1,
            "font": {"size": 12, "color": INK},
        }
        for k, point in enumerate(ranked)
    ]


def _colour_bar(end: float) -> go.Scatter:
    """No mark, only the bar that says what the colours mean."""
    return go.Scatter(
        x=[None],
        y=[None],
        mode="markers",
        showlegend=False,
        hoverinfo="skip",
        marker={
            "color": [0],
            "colorscale": "Viridis",
            "cmin": 0,
            "cmax": end,
            "showscale": True,
            "colorbar": {
                "orientation": "h",
                "thickness": 8,
                "outlinewidth": 0,
                "y": -0.2,
                "yanchor": "top",
                "nticks": 5,
                "title": {
                    "text": "flexibility loss (0: free to change)",
                    "side": "bottom",
                    "font": {"size": 13, "color": MUTED},
                },
                "tickfont": {"color": MUTED},
            },
        },
    )


def _hover(point: Point) -> str:
    return "<br>".join([f"<b>{plain(point.role)}</b>", *(plain(line) for line in point.lines)])


def _data(info: Frontier) -> Table:
    order = [*reversed(info.points)]
    return Table(
        caption=f"Time, cost and flexibility of {min(len(order), MOST_LISTED):,} candidates",
        heads=("What it is", "Offer", "Median time", "90 % time", "Mean cost", "90 % cost", "F"),
        rows=tuple(
            (
                cell(point.role),
                cell(words.hardware(point.candidate.offer), words.terms(point.candidate)),
                cell(words.duration(point.time_p50_s), key=point.time_p50_s),
                cell(words.duration(point.time_p90_s), key=point.time_p90_s),
                cell(words.usd(point.cost_mean_usd), key=point.cost_mean_usd),
                cell(words.usd(point.cost_p90_usd), key=point.cost_p90_usd),
                cell(f"{point.flexibility:.2f}", key=point.flexibility),
            )
            for point in order[:MOST_LISTED]
        ),
    )
