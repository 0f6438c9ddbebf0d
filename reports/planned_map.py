"""Who wins at which weights: the (alpha, beta, gamma) triangle as a map."""

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from ..optimizer.plan import PlannedCandidate, PlannedJob
from ..optimizer.weightmap import weight_map
from ..profiles.workload import Weights
from . import words
from .content import Drawing, Table, cell
from .drawing import INK, MUTED, PAPER, RULE, SERIES, draw, plain
from .planned import identity

Corner = tuple[float, float, float]

COLOURS = (*SERIES[:5], "#8c8c8c", "#f0e442", "#6a51a3")  # none is another's dark partner
MOST_NAMED = 6  # in the legend; the others have their numbers and the table
LEAST_NUMBERED = 0.012  # share of the triangle that has room for a number


@dataclass(frozen=True, slots=True)
class Area:
    """Where one candidate wins: the corners of its polygon, in order, and its share of the triangle."""

    number: int
    candidate: PlannedCandidate
    corners: tuple[Corner, ...]
    share: float

    @property
    def middle(self) -> Corner:
        """The polygon's centre of area."""
        first, total, at = np.array(self.corners[0]), 0.0, np.zeros(3)
        for a, b in zip(self.corners[1:], self.corners[2:], strict=False):
            size = abs(
                (a[0] - first[0]) * (b[1] - first[1]) - (b[0] - first[0]) * (a[1] - first[1])
            )
            at += size * (first + np.array(a) + np.array(b)) / 3
            total += size
        found = at / total if total else np.mean(self.corners, axis=0)
        return float(found[0]), float(found[1]), float(found[2])


@dataclass(frozen=True, slots=True)
class Map:
    """The areas, the largest first. exact: over the whole front, not a selection of it."""

    job: str
    weights: Weights
    chosen: PlannedCandidate
    areas: tuple[Area, ...]
    exact: bool


def wins(job: PlannedJob) -> Map:
    """The plan's own map; where it has none, one of the front's points that the plan keeps."""
    if job.explanation is not None:
        cells = [(one.candidate, one.corners, one.share) for one in job.explanation.weight_map]
        exact = True
    else:
        front = list(job.frontier)
        losses = [
            [one.losses.performance, one.losses.cost, one.losses.flexibility] for one in front
        ]
        cells = [
            (front[one.winner], one.corners, one.share) for one in weight_map(np.array(losses))
        ]
        exact = job.frontier_size <= len(front)
    areas = tuple(
        Area(number, candidate, corners, share)
        for number, (candidate, corners, share) in enumerate(cells, 1)
    )
    return Map(job.name, job.weights.normalised(), job.chosen, areas, exact)


def draw_map(info: Map) -> Drawing:
    here = info.weights
    figure = draw(
        [
            *(_polygon(area) for area in reversed(info.areas)),
            _numbers(info),
            go.Scatterternary(
                a=[here.alpha],
                b=[here.beta],
                c=[here.gamma],
                mode="markers",
                name="your weights",
                marker={
                    "symbol": "star",
                    "size": 17,
                    "color": PAPER,
                    "line": {"color": INK, "width": 1.8},
                },
                hovertext=[
                    (
                        f"your weights<br>time {here.alpha:.2f}, cost {here.beta:.2f}, "
                        f"flexibility {here.gamma:.2f}"
                    )
                ],
                hoverinfo="text",
                cliponaxis=False,
            ),
        ],
        height_px=520,
        ternary={
            "sum": 1,
            "domain": {"x": [0.1, 0.9]},  # leaves room for the names of the corners on a phone
            "bgcolor": "rgba(0,0,0,0)",
            "aaxis": _side("time, α"),  # noqa: RUF001
            "baxis": _side("cost, β"),
            "caxis": _side("flexibility, γ"),  # noqa: RUF001
        },
        margin={"l": 8, "r": 8, "t": 8, "b": 34},
        showlegend=True,
    )
    several = len(info.areas) > 1
    largest = info.areas[0]
    return Drawing(
        title="Which plan wins at which weights"
        if several
        else "At all weights the same plan wins",
        caption=_caption(info),
        label=(
            f"Triangle of all weights for {info.job}: {words.count(len(info.areas), 'plan')} can win; on "
            f"{words.share(largest.share)} of it {words.plan(largest.candidate)}."
        ),
        figure=figure,
        data=_data(info),
    )


def _caption(info: Map) -> str:
    own = next(
        (one for one in info.areas if identity(one.candidate) == identity(info.chosen)), None
    )
    parts = [
        (
            "Each corner stands for caring about one thing alone; the star is your weights, and each area is "
            "where one plan has the least L"
        )
    ]
    if own is not None:
        parts.append(
            f"the chosen one is number {own.number}, on {words.share(own.share)} of all weights"
        )
    elif info.areas:
        parts.append("a tie, or a limit that jobs share, kept the chosen one off the map")
    if not info.exact:
        parts.append(
            "drawn from the points of the front that the plan keeps; 'optimize --explain' gives it exactly"
        )
    return "; ".join(parts) + "."


def _side(title: str) -> dict[str, object]:
    return {
        "title": {"text": title, "font": {"size": 13, "color": MUTED}},
        "tickvals": [0.25, 0.5, 0.75],
        "tickfont": {"color": MUTED, "size": 11},
        "gridcolor": RULE,
        "linecolor": MUTED,
        "min": 0,
    }


def _polygon(area: Area) -> go.Scatterternary:
    corners = [*area.corners, area.corners[0]]
    one = area.candidate
    return go.Scatterternary(
        a=[corner[0] for corner in corners],
        b=[corner[1] for corner in corners],
        c=[corner[2] for corner in corners],
        mode="lines",
        fill="toself",
        fillcolor=COLOURS[(area.number - 1) % len(COLOURS)],
        opacity=0.55,
        line={"color": PAPER, "width": 1.2},
        name=plain(f"{area.number}  {short(one)}"),
        showlegend=area.number <= MOST_NAMED,
        legendrank=area.number,
        hoveron="fills",
        hoverinfo="text",
        text="<br>".join(
            plain(line)
            for line in (
                f"{area.number}: {words.hardware(one.offer)}, {words.place(one.offer)}",
                f"{words.terms(one)}, {words.batch(one)}",
                f"time {', '.join(words.time(one.predicted.time_s))}",
                f"cost {', '.join(words.cost(one.predicted.cost_usd))}",
                f"wins at {words.share(area.share)} of all weights",
            )
        ),
    )


def short(one: PlannedCandidate, most: int = 30) -> str:
    """A candidate for a legend: '2 × p3.2xlarge, spot'."""  # noqa: RUF002
    many = f"{one.nodes} × " if one.nodes > 1 else ""  # noqa: RUF001
    name = one.offer.instance_type
    name = name if len(name) <= most else f"{name[: most - 1]}…"
    if one.offer.provider == "local":
        return f"this machine, batch {one.global_batch}"
    return f"{many}{name}, {one.purchase.value.replace('_', ' ')}"


def _numbers(info: Map) -> go.Scatterternary:
    shown = [area for area in info.areas if area.share >= LEAST_NUMBERED]
    middles = [area.middle for area in shown]
    return go.Scatterternary(
        a=[at[0] for at in middles],
        b=[at[1] for at in middles],
        c=[at[2] for at in middles],
        mode="text",
        text=[str(area.number) for area in shown],
        textfont={"size": 13, "color": INK},
        showlegend=False,
        hoverinfo="skip",
    )


def _data(info: Map) -> Table:
    def span(area: Area, side: int) -> str:
        values = [corner[side] for corner in area.corners]
        return f"{min(values):.2f} to {max(values):.2f}"

    return Table(
        caption="Which plan wins at which weights: its share of all, and between which weights it lies",
        heads=("Number", "Plan", "Share", "Time, α", "Cost, β", "Flexibility, γ"),  # noqa: RUF001
        rows=tuple(
            (
                cell(str(area.number)),
                cell(words.plan(area.candidate)),
                cell(words.share(area.share), key=area.share),
                *(cell(span(area, side)) for side in range(3)),
            )
            for area in info.areas
        ),
        marked=next(
            (
                place
                for place, area in enumerate(info.areas)
                if identity(area.candidate) == identity(info.chosen)
            ),
            None,
        ),
    )
