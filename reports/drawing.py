"""What all figures share: colours, axes that speak in durations and dollars, the calm layout."""

import math
from collections.abc import Callable, Sequence
from html import escape
from itertools import pairwise
from typing import Any

import plotly.graph_objects as go

from .words import DAY_S, HOUR_S, MINUTE_S, duration

# Okabe and Ito's colours, told apart by colour-blind readers too; the page exchanges each light
# colour for its dark partner where the reader's screen is dark.
INK, MUTED, RULE, PAPER, BAND = "#1c2126", "#59636e", "#e3e6ea", "#ffffff", "#dbe8f1"
EDGE = "#87919b"  # of what can be pressed or typed into
ACCENT, ORANGE, GREEN, VERMILLION, PURPLE = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7"
DARK = {
    INK: "#e6e9ec",
    MUTED: "#9ba6b2",
    RULE: "#2e353c",
    PAPER: "#15191d",
    BAND: "#21384a",
    EDGE: "#6d7883",
    ACCENT: "#56b4e9",
    GREEN: "#2cb68d",
    VERMILLION: "#ea7a33",
}
SERIES = (ACCENT, ORANGE, GREEN, PURPLE, VERMILLION, INK)
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "cross")

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif"
LOG_FROM = 10.0  # times the smallest value; a linear axis would press the rest into a corner
MOST_TICKS = 6  # that a phone can show side by side

Axis = dict[str, Any]


def draw(
    traces: Sequence[Any],
    *,
    x: Axis | None = None,
    y: Axis | None = None,
    height_px: int = 380,
    **layout: Any,
) -> go.Figure:
    """The traces in the common layout."""
    return go.Figure(
        data=list(traces),
        layout={
            "template": go.layout.Template(),
            "height": height_px,
            "margin": {"l": 14, "r": 14, "t": 8, "b": 8},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": FONT, "size": 13, "color": INK},
            "hoverlabel": {
                "bgcolor": PAPER,
                "bordercolor": RULE,
                "font": {"color": INK},
                "align": "left",
            },
            "legend": {
                "orientation": "h",
                "x": 0,
                "xanchor": "left",
                "y": 1.02,
                "yanchor": "bottom",
                "font": {"color": INK},
                "traceorder": "normal",
            },
            "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": MUTED, "activecolor": INK},
            "dragmode": False,
            "xaxis": x or {"visible": False},
            "yaxis": y or {"visible": False},
        }
        | layout,
    )


def plain(text: str) -> str:
    """A name as Plotly shows it literally: its tags and links are no markup."""
    return escape(text, quote=False)


def axis(title: str, **more: Any) -> Axis:
    return {
        "title": {"text": title, "font": {"size": 13, "color": MUTED}, "standoff": 10},
        "tickfont": {"color": MUTED},
        "gridcolor": RULE,
        "linecolor": RULE,
        "zeroline": False,
        "automargin": True,
    } | more


def row_label(text: str, place: float, **more: Any) -> dict[str, Any]:
    """Words above a row of a figure with horizontal bars: they need no margin, so a phone shows them."""
    return {
        "x": 0,
        "xref": "paper",
        "xanchor": "left",
        "y": place,
        "yref": "y",
        "yanchor": "bottom",
        "showarrow": False,
        "align": "left",
        "text": text,
        "font": {"size": 12, "color": INK},
    } | more


def interval_marks(
    means: Sequence[float],
    lows: Sequence[float],
    highs: Sequence[float],
    *,
    name: str,
    hovertext: Sequence[str],
) -> go.Scatter:
    """A mark and its interval for each row, the first row at 0."""
    return go.Scatter(
        x=list(means),
        y=list(range(len(means))),
        mode="markers",
        name=name,
        marker={"size": 12, "color": ACCENT},
        error_x={
            "symmetric": False,
            "array": [high - mean for high, mean in zip(highs, means, strict=True)],
            "arrayminus": [mean - low for low, mean in zip(lows, means, strict=True)],
            "color": INK,
            "thickness": 1.5,
            "width": 5,
        },
        hovertext=list(hovertext),
        hoverinfo="text",
    )


def stacked_rows(
    labels: Sequence[str],
    parts: Sequence[tuple[str, str, Sequence[float]]],
    *,
    x: Axis,
    say: Callable[[int, str, float], str],
) -> go.Figure:
    """A row for each label with a bar of parts below it, the first row on top.

    parts: (name, colour, length in each row). say: what hovering tells of a part, from row, name and
    length.
    """
    places = list(range(len(labels)))
    return draw(
        [
            go.Bar(
                x=list(lengths),
                y=places,
                orientation="h",
                width=0.36,
                name=name,
                marker={"color": colour},
                hovertext=[say(k, name, length) for k, length in enumerate(lengths)],
                hoverinfo="text",
            )
            for name, colour, lengths in parts
        ],
        x=x,
        y=axis("", visible=False, range=[len(labels) - 0.6, -0.8]),
        height_px=110 + 58 * len(labels),
        barmode="stack",
        showlegend=True,
        annotations=[row_label(label, k - 0.24) for k, label in zip(places, labels, strict=True)],
    )


def reference_line(x: float) -> dict[str, Any]:
    """A dotted upright line over the whole height, behind the marks."""
    return {
        "type": "line",
        "x0": x,
        "x1": x,
        "xref": "x",
        "y0": 0,
        "y1": 1,
        "yref": "paper",
        "line": {"color": MUTED, "width": 1, "dash": "dot"},
        "layer": "below",
    }


def needs_log(values: Sequence[float]) -> bool:
    """Whether the values span so much that only a logarithmic axis shows them all."""
    return min(values) > 0 and max(values) / min(values) >= LOG_FROM


def time_axis(title: str, values: Sequence[float], *, log: bool | None = None, **more: Any) -> Axis:
    """An axis of seconds with ticks such as '5 min' or '2 h'; logarithmic where the span asks."""
    log = needs_log(values) if log is None else log
    ticks = _ticks(values, _TIME_STEPS_S, _TIME_LANDMARKS_S, log)
    return _ticked(title, log, ticks, _time_words(ticks)) | more


def _time_words(ticks: Sequence[float]) -> list[str]:
    """Ticks as a person says them, or in the one unit that tells close ones apart."""
    # A person says 90 s, but 1 min.
    names = ["1 min" if tick == MINUTE_S else duration(tick) for tick in ticks]
    if len(set(names)) == len(names):
        return names
    step = ticks[1] - ticks[0]
    unit, unit_s = next(
        ((name, size_s) for name, size_s in _UNITS if step >= 0.999 * size_s), _UNITS[-1]
    )
    return [f"{tick / unit_s:,.10g} {unit}" for tick in ticks]


def usd_axis(title: str, values: Sequence[float], *, log: bool | None = None, **more: Any) -> Axis:
    """The same of dollars."""
    log = needs_log(values) if log is None else log
    ticks = _ticks(values, _ROUND, _DECADES, log)
    words = [f"${tick:,.9f}".rstrip("0").rstrip(".") for tick in ticks]
    return _ticked(title, log, ticks, words) | more


def _ticked(title: str, log: bool, ticks: list[float], words: list[str]) -> Axis:
    kind = "log" if log else "linear"
    return axis(title, type=kind, tickmode="array", tickvals=ticks, ticktext=words)


_UNITS = (("d", DAY_S), ("h", HOUR_S), ("min", MINUTE_S), ("s", 1), ("ms", 1e-3), ("µs", 1e-6))
_DECADES = tuple(10.0**power for power in range(-9, 10))
_ROUND = tuple(digit * decade for decade in _DECADES for digit in (1, 2, 5))
_TIME_STEPS_S = (
    *(step for step in _ROUND if step < 10),
    *(10, 20, 30),
    *(MINUTE_S * k for k in (1, 2, 5, 10, 20, 30)),
    *(HOUR_S * k for k in (1, 2, 4, 8, 12)),
    *(DAY_S * k for k in (1, 2, 4, 7, 14, 30, 60, 120, 240, 360, 720)),
)
_TIME_LANDMARKS_S = (
    *(decade for decade in _DECADES if decade < MINUTE_S),
    *(MINUTE_S, 10 * MINUTE_S, HOUR_S, 6 * HOUR_S, DAY_S, 7 * DAY_S, 30 * DAY_S, 360 * DAY_S),
)


def _ticks(
    values: Sequence[float], steps: Sequence[float], landmarks: Sequence[float], log: bool
) -> list[float]:
    """At most MOST_TICKS round values over the range of values.

    On a logarithmic axis all steps where they fit, else the landmarks, thinned if need be.
    """
    low, high = min(values), max(values)
    if log:
        inside = [step for step in steps if 0.7 * low <= step <= 1.4 * high]
        if len(inside) > MOST_TICKS:
            inside = [step for step in landmarks if 0.7 * low <= step <= 1.4 * high]
        return inside[:: math.ceil(len(inside) / MOST_TICKS) or 1]
    span = high - low or abs(high) or 1.0
    # Ticks closer than a ten-thousandth of their value would need too many digits.
    least = max(span / (MOST_TICKS - 1), 1e-4 * abs(high))
    step = next((one for one in steps if one >= least), steps[-1])
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(k * step, 12) for k in range(first, last + 1)]


def histogram(quantiles: Sequence[float], bins: int = 24) -> tuple[list[float], list[float]]:
    """Edges of equal width and the share between them, from evenly spaced quantiles 0..100 %.

    The share below a value is linear between neighbouring quantiles. The last hundredth is left
    out where it alone would take more than two thirds of the width.
    """
    low, high = quantiles[0], quantiles[-1]
    p99 = quantiles[round(0.99 * (len(quantiles) - 1))]
    if high - low > 3 * (p99 - low) > 0:
        high = p99
    if high <= low:
        return [low, low], [1.0]
    edges = [low + (high - low) * k / bins for k in range(bins + 1)]
    below = [0.0, *(share_below(quantiles, edge) for edge in edges[1:])]
    return edges, [b - a for a, b in pairwise(below)]


def share_below(quantiles: Sequence[float], value: float) -> float:
    """The share at or below a value, from evenly spaced quantiles 0..100 %."""
    last = len(quantiles) - 1
    if value >= quantiles[-1]:
        return 1.0
    if value < quantiles[0]:
        return 0.0
    k = next(k for k in range(last) if quantiles[k] <= value < quantiles[k + 1])
    return (k + (value - quantiles[k]) / (quantiles[k + 1] - quantiles[k])) / last
