"""A plan in sentences, rows and figures; each first a small record, then what is drawn from it."""

import math
from dataclasses import dataclass
from typing import Literal

import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from ..optimizer.plan import PlannedCandidate, PlannedJob
from ..profiles.records import Knobs
from . import words
from .drawing import (
    ACCENT,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    PAPER,
    Drawing,
    axis,
    draw,
    needs_log,
    plain,
    time_axis,
    usd_axis,
)

Mark = Literal["chosen", "here", "runner-up", "front"]
Identity = tuple[str, str, str, str, int, int, Knobs]

SCENARIO_WORDS = {
    "grow": "the work doubles",
    "lose_zone": "the zone is lost",
    "leave": "the provider must be left",
    "cancel": "the job is cancelled half-way",
    "price": "this provider's prices rise by half",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One candidate with what it is in this plan, such as 'chosen, on this machine'."""

    role: str
    mark: Mark
    candidate: PlannedCandidate


def identity(candidate: PlannedCandidate) -> Identity:
    """What makes two candidates the same way to run a job."""
    offer = candidate.offer
    return (
        offer.provider,
        offer.region,
        offer.instance_type,
        candidate.purchase,
        candidate.nodes,
        candidate.per_device_batch,
        candidate.knobs,
    )


def rows(job: PlannedJob) -> tuple[Row, ...]:
    """The chosen candidate, the best on this machine and the runners-up, each once."""
    chosen, here = identity(job.chosen), job.runnable_here and identity(job.runnable_here)
    found = [Row("chosen, this machine" if chosen == here else "chosen", "chosen", job.chosen)]
    if job.runnable_here is not None and here != chosen:
        found.append(Row("best on this machine", "here", job.runnable_here))
    for k, candidate in enumerate(job.runners_up, 1):
        if identity(candidate) not in (chosen, here):
            found.append(Row(f"runner-up {k}", "runner-up", candidate))
    return tuple(found)


# --------------------------------------------------------------------------------- sentences


def train_sentence(job: PlannedJob) -> str:
    """What to do, how long it will take and what it will cost."""
    best, predicted = job.chosen, job.chosen.predicted
    return (
        f"Train {job.name} on {_machine(best)} with {words.batch(best)}: "
        f"it will take about {words.duration(predicted.time_s.p50)} "
        f"(90 % sure under {words.duration(predicted.time_s.p90)}) "
        f"and cost about {words.usd(predicted.cost_usd.mean)} "
        f"(90 % sure under {words.usd(predicted.cost_usd.p90)})."
    )


def here_sentence(job: PlannedJob) -> str:
    """What this machine could do instead."""
    here = job.runnable_here
    if here is None:
        return "This machine cannot train it."
    if identity(here) == identity(job.chosen):
        return "That is the machine at hand: nothing that can be rented scores better under these weights."
    predicted = here.predicted
    sentence = (
        f"On this machine the best is {words.batch(here)}: "
        f"about {words.duration(predicted.time_s.p50)} "
        f"(90 % sure under {words.duration(predicted.time_s.p90)}) "
        f"for about {words.usd(predicted.cost_usd.mean)}"
    )
    if job.runnable_here_keeps_constraints:
        return sentence + "."
    return f"{sentence}; that does not keep what was asked for ({limits(job) or 'which offers'})."


def limits(job: PlannedJob) -> str:
    """The job's own constraints in words, '' where it has none."""
    wishes, said = job.workload.constraints, []
    if wishes.deadline_s is not None:
        sure = words.share(wishes.deadline_probability)
        said.append(f"done in {words.duration(wishes.deadline_s)} with {sure} probability")
    if wishes.budget_usd is not None:
        said.append(f"at most {words.usd(wishes.budget_usd)}")
    said += [
        f"only {' or '.join(names)}"
        for names in (wishes.providers, wishes.regions, wishes.accelerators)
        if names
    ]
    if not wishes.spot:
        said.append("no spot")
    return ", ".join(said)


def basis_warning(job: PlannedJob) -> str | None:
    """What must be said where nothing was measured on the chosen hardware."""
    if job.chosen.basis != "transferred":
        return None
    return (
        f"Nothing was measured on {words.hardware(job.chosen.offer)}. Its speed is transferred from "
        "the model's operation counts, data sheets and public measurements, and may be off by a "
        "third or more; the intervals say so. A short profile there would settle it."
    )


def _machine(candidate: PlannedCandidate) -> str:
    offer = candidate.offer
    nodes = "" if candidate.nodes == 1 else f"{candidate.nodes} × "  # noqa: RUF001
    if offer.provider == "local":
        return f"this machine ({offer.instance_type})"
    name = f"{nodes}{words.hardware(offer)}"
    return f"{name} ({words.place(offer)}, {candidate.purchase.replace('_', ' ')})"


# ------------------------------------------------------------------------------ Pareto front


@dataclass(frozen=True, slots=True)
class Point:
    """One candidate on the front: what is drawn of it, and the lines that describe it."""

    role: str
    mark: Mark
    time_p50_s: float
    time_p90_s: float
    cost_mean_usd: float
    cost_p50_usd: float
    cost_p90_usd: float
    flexibility: float
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Frontier:
    job: str
    points: tuple[Point, ...]

    @property
    def log_time(self) -> bool:
        return needs_log([point.time_p90_s for point in self.points])

    @property
    def dearest_flexibility(self) -> float:
        """Where the colours end."""
        return max(0.5, *(point.flexibility for point in self.points))

    @property
    def log_cost(self) -> bool:
        return needs_log([point.cost_mean_usd for point in self.points])


def frontier(job: PlannedJob) -> Frontier:
    """The Pareto front with the plan's own rows, each candidate once."""
    named = rows(job)
    seen = {identity(row.candidate) for row in named}
    others = [
        Row("on the front", "front", one) for one in job.frontier if identity(one) not in seen
    ]
    return Frontier(job.name, tuple(_point(row) for row in (*others, *reversed(named))))


def _point(row: Row) -> Point:
    candidate, predicted = row.candidate, row.candidate.predicted
    return Point(
        role=row.role,
        mark=row.mark,
        time_p50_s=predicted.time_s.p50,
        time_p90_s=predicted.time_s.p90,
        cost_mean_usd=predicted.cost_usd.mean,
        cost_p50_usd=predicted.cost_usd.p50,
        cost_p90_usd=predicted.cost_usd.p90,
        flexibility=predicted.flexibility,
        lines=(
            f"{words.hardware(candidate.offer)}, {words.place(candidate.offer)}",
            words.terms(candidate),
            words.batch(candidate),
            words.knobs(candidate.knobs),
            f"time {', '.join(words.time(predicted.time_s))}",
            f"cost {', '.join(words.cost(predicted.cost_usd))}",
            f"flexibility loss {predicted.flexibility:.2f}, L {candidate.losses.total:.4f}",
            f"basis: {candidate.basis}",
        ),
    )


_MARKS: dict[Mark, tuple[str, str, int]] = {
    "front": ("Pareto front", "circle", 10),
    "runner-up": ("runners-up", "square", 12),
    "here": ("best on this machine", "diamond", 15),
    "chosen": ("chosen", "star", 20),
}
_LABELS: dict[Mark, str] = {"here": "best here", "chosen": "chosen"}


def draw_frontier(info: Frontier) -> Drawing:
    times = [seconds for point in info.points for seconds in (point.time_p50_s, point.time_p90_s)]
    costs = [dollars for p in info.points for dollars in (p.cost_mean_usd, p.cost_p90_usd)]
    figure = draw(
        [_marks(info, mark) for mark in _MARKS if any(point.mark == mark for point in info.points)]
        + [_colour_bar(info.dearest_flexibility)],
        x=time_axis("time that 90 % stay under", times),
        y=usd_axis("mean cost", costs),
        height_px=460,
        annotations=_ranks(info),
    )
    chosen = next(point for point in info.points if point.mark == "chosen")
    return Drawing(
        title="Time against cost",
        caption=(
            "Circles are ways to train that no other beats in time, cost and flexibility at once; further "
            "left is sooner, further down is cheaper, darker is freer to change, and bars reach from "
            "the median to what nine of ten runs stay under."
        ),
        label=(
            f"Scatter of {len(info.points)} candidates for {info.job}: 90 % time against mean cost. "
            f"Chosen: {chosen.lines[4]}; {chosen.lines[5]}."
        ),
        figure=figure,
    )


def _marks(info: Frontier, mark: Mark) -> go.Scatter:
    points = [point for point in info.points if point.mark == mark]
    name, symbol, size_px = _MARKS[mark]
    named, labelled = mark != "front", mark in _LABELS
    return go.Scatter(
        x=[point.time_p90_s for point in points],
        y=[point.cost_mean_usd for point in points],
        error_x={
            "symmetric": False,
            "array": [0.0] * len(points),
            "arrayminus": [point.time_p90_s - point.time_p50_s for point in points],
            "color": MUTED,
            "thickness": 0.8,
            "width": 0,
        },
        error_y={
            "symmetric": False,
            "array": [max(0.0, point.cost_p90_usd - point.cost_mean_usd) for point in points],
            "arrayminus": [max(0.0, point.cost_mean_usd - point.cost_p50_usd) for point in points],
            "color": MUTED,
            "thickness": 0.8,
            "width": 0,
        },
        mode="markers+text" if labelled else "markers",
        text=[_LABELS[mark]] * len(points) if labelled else None,
        textposition="top center",
        textfont={"color": INK, "size": 12},
        cliponaxis=False,
        name=name,
        marker={
            "symbol": symbol,
            "size": size_px,
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
    ends = [scale(point.time_p90_s) for point in info.points]
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


# ---------------------------------------------------------------------------- cost breakdown


@dataclass(frozen=True, slots=True)
class CostBar:
    """The parts of one candidate's mean cost."""

    role: str
    instance: str
    setting: str
    compute_usd: float
    storage_usd: float
    egress_usd: float

    @property
    def total_usd(self) -> float:
        return self.compute_usd + self.storage_usd + self.egress_usd


def cost_bars(job: PlannedJob) -> tuple[CostBar, ...]:
    return tuple(
        CostBar(
            role=row.role,
            instance=row.candidate.offer.instance_type,
            setting=f"{words.hardware(row.candidate.offer)}, {words.terms(row.candidate)}",
            compute_usd=row.candidate.predicted.cost_lines.compute,
            storage_usd=row.candidate.predicted.cost_lines.storage,
            egress_usd=row.candidate.predicted.cost_lines.egress,
        )
        for row in rows(job)
    )


def draw_costs(bars: tuple[CostBar, ...]) -> Drawing:
    places = list(range(len(bars)))
    parts = (
        ("compute", ACCENT, [bar.compute_usd for bar in bars]),
        ("storage", ORANGE, [bar.storage_usd for bar in bars]),
        ("data moved out", GREEN, [bar.egress_usd for bar in bars]),
    )
    totals = [bar.total_usd for bar in bars]
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
                    f"{plain(bar.role)}: {name} {words.usd(value)}<br>{plain(bar.setting)}"
                    for bar, value in zip(bars, values, strict=True)
                ],
                hoverinfo="text",
            )
            for name, colour, values in parts
            if any(values) or name == "compute"
        ],
        x=usd_axis("mean cost", [0.0, *totals], rangemode="tozero"),
        y=axis("", visible=False, range=[len(bars) - 0.6, -0.75]),
        height_px=110 + 62 * len(bars),
        barmode="stack",
        showlegend=True,
        annotations=[
            {
                "x": 0,
                "y": k - 0.26,
                "xref": "x",
                "yref": "y",
                "xanchor": "left",
                "yanchor": "bottom",
                "align": "left",
                "showarrow": False,
                "text": f"<b>{words.usd(bar.total_usd)}</b> {plain(_short(f'{bar.role}: {bar.instance}'))}",
                "font": {"size": 12, "color": INK},
            }
            for k, bar in enumerate(bars)
        ],
    )
    return Drawing(
        title="What is paid for",
        caption="Each bar is one candidate's mean cost, split into what it is paid for.",
        label="; ".join(f"{bar.role}: {words.usd(bar.total_usd)}" for bar in bars) + ".",
        figure=figure,
    )


def _short(name: str, most: int = 38) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
