"""A replayed trace in sentences and figures: completion times, how busy the cluster was, policies."""

from collections.abc import Callable, Sequence

import plotly.graph_objects as go

from ..simulator.metrics import Comparison, Difference, Figures
from . import words
from .content import Drawing, Table, cell
from .drawing import (
    SERIES,
    axis,
    draw,
    interval_marks,
    needs_log,
    plain,
    reference_line,
    row_label,
    time_axis,
)

SAME = 1e-9  # of a time: equal but for rounding
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


# --------------------------------------------------------------------------------- sentences


def replay_sentence(found: Figures) -> str:
    return (
        f"Under {found.policy}, {words.count(found.jobs, 'job')} are done in "
        f"{words.duration(found.avg_jct_s)} on average (99 of 100 within "
        f"{words.duration(found.p99_jct_s)}), of which {words.duration(found.avg_wait_s)} is waiting; the "
        f"cluster is {words.share(found.utilization)} used for {words.duration(found.makespan_s)}."
    )


def comparison_sentence(found: Comparison) -> str:
    best = min(found.policies, key=lambda one: one.avg_jct_s)
    worst = max(found.policies, key=lambda one: one.avg_jct_s)
    if worst.avg_jct_s <= best.avg_jct_s * (1 + SAME):
        return (
            f"All {len(found.policies)} policies have the same average completion time on "
            f"{words.count(best.jobs, 'job')}, {words.duration(best.avg_jct_s)}."
        )
    return (
        f"Of {len(found.policies)} policies on {words.count(best.jobs, 'job')}, {best.policy} has the "
        f"shortest average completion time, {words.duration(best.avg_jct_s)}; {worst.policy} has the "
        f"longest, {words.duration(worst.avg_jct_s)}."
    )


# ------------------------------------------------------------------------------------- curves


def draw_cdf(
    found: Sequence[Figures], quantity: str, quantiles: Sequence[tuple[float, ...]]
) -> Drawing:
    """Share of jobs that are done (started) within a time, one line a policy."""
    seen = [value for each in quantiles for value in each if value > 0]
    log = needs_log(seen)
    least = min(seen)
    steps = [100 * k / (len(quantiles[0]) - 1) for k in range(len(quantiles[0]))]
    figure = draw(
        [
            go.Scatter(
                # A job that never waits has no place on a logarithmic axis but its left end.
                x=[max(value, least) if log else value for value in each],
                y=steps,
                mode="lines",
                name=plain(one.policy),
                line={
                    "color": SERIES[k % len(SERIES)],
                    "dash": DASHES[k % len(DASHES)],
                    "width": 2,
                },
                hovertext=[
                    f"{plain(one.policy)}: {step:.0f} % within {words.duration(value)}"
                    for value, step in zip(each, steps, strict=True)
                ],
                hoverinfo="text",
            )
            for k, (one, each) in enumerate(zip(found, quantiles, strict=True))
        ],
        x=time_axis(quantity, seen, log=log),
        y=axis("share of jobs within", ticksuffix=" %", range=[0, 102], nticks=6),
        height_px=400,
        showlegend=True,
    )
    middle = len(quantiles[0]) // 2
    shown = (10, 25, 50, 75, 90, 95, 99, 100)
    return Drawing(
        title=f"{quantity.capitalize()} of jobs",
        caption="The height of a line is the share of jobs within that time; further left is sooner.",
        label="; ".join(
            f"{one.policy}: median {words.duration(each[middle])}"
            for one, each in zip(found, quantiles, strict=True)
        )
        + ".",
        figure=figure,
        data=Table(
            caption=f"{quantity.capitalize()} that so many of 100 jobs stay within",
            heads=("Policy", *(f"{percent} %" for percent in shown)),
            rows=tuple(
                (
                    cell(one.policy),
                    *(cell(words.duration(each[k * (len(each) - 1) // 100])) for k in shown),
                )
                for one, each in zip(found, quantiles, strict=True)
            ),
        ),
    )


def draw_differences(found: Comparison) -> Drawing:
    """Mean change of the completion time against the first policy, paired job by job."""
    base = found.policies[0].policy
    pairs = found.differences
    lows = [one.mean_ci95[0] if one.mean_ci95 else one.mean_s for one in pairs]
    highs = [one.mean_ci95[1] if one.mean_ci95 else one.mean_s for one in pairs]
    means = [one.mean_s for one in pairs]
    figure = draw(
        [
            interval_marks(
                means,
                lows,
                highs,
                name="mean with 95 % interval",
                hovertext=[plain(_pair_words(one, base)) for one in pairs],
            )
        ],
        x=_signed_time_axis(f"completion time less that under {base}", [0.0, *lows, *highs]),
        y=axis("", visible=False, range=[len(pairs) - 0.5, -0.8]),
        height_px=120 + 54 * len(pairs),
        shapes=[reference_line(0)],
        annotations=[
            row_label(
                f"<b>{plain(one.policy)}</b> {words.signed(one.mean_s, words.duration)}",
                place - 0.24,
            )
            for place, one in enumerate(pairs)
        ],
    )
    return Drawing(
        title=f"Against {base}, job by job",
        caption=(
            "Left of the dotted line jobs are done sooner on average; an interval that crosses it may be chance."
        ),
        label="; ".join(_pair_words(one, base) for one in pairs) + ".",
        figure=figure,
        data=Table(
            caption=f"Completion time less that under {base}",
            heads=("Policy", "Mean", "95 % within", "Jobs sooner", "Jobs later"),
            rows=tuple(
                (
                    cell(one.policy),
                    cell(words.signed(one.mean_s, words.duration), key=one.mean_s),
                    cell(
                        ""
                        if one.mean_ci95 is None
                        else " to ".join(words.signed(end, words.duration) for end in one.mean_ci95)
                    ),
                    cell(words.share(one.sooner)),
                    cell(words.share(one.later)),
                )
                for one in pairs
            ),
        ),
    )


def _pair_words(one: Difference, base: str) -> str:
    return (
        f"{one.policy}: {words.signed(one.mean_s, words.duration)} against {base}, "
        f"{words.share(one.sooner)} of jobs sooner, {words.share(one.later)} later"
    )


def _signed_time_axis(title: str, values: Sequence[float]) -> dict[str, object]:
    """Durations on both sides of zero."""
    end = max(abs(min(values)), abs(max(values))) or 1.0
    made = time_axis(title, [0.0, end], log=False)
    ticks = [tick for tick in made["tickvals"] if tick > 0]
    texts = made["ticktext"][-len(ticks) :] if ticks else []
    values_and_words = [
        *((-tick, f"-{text}") for tick, text in zip(ticks, texts, strict=True)),
        (0.0, "0"),
        *((tick, f"+{text}") for tick, text in zip(ticks, texts, strict=True)),
    ]
    low, high = 1.1 * min(*values, 0.0), 1.1 * max(*values, 0.0)
    inside = [(at, text) for at, text in values_and_words if low <= at <= high]
    return made | {"tickvals": [at for at, _ in inside], "ticktext": [text for _, text in inside]}


# -------------------------------------------------------------------------------------- usage


def draw_usage(found: Sequence[Figures]) -> Drawing:
    """Share of the GPUs in use over time: each accelerator of one policy, or each policy's mean."""
    lines: list[tuple[str, float, float, tuple[float, ...]]] = []
    for one in found:
        assert one.usage is not None
        shares = one.usage.shares
        if len(found) == 1:
            lines += [
                (name, one.usage.from_s, one.usage.stretch_s, values)
                for name, values in shares.items()
            ]
        else:
            mean = tuple(sum(at) / len(at) for at in zip(*shares.values(), strict=True))
            lines.append((one.policy, one.usage.from_s, one.usage.stretch_s, mean))
    return _over_time(
        lines,
        title="How busy the cluster is",
        caption=(
            "Share of the GPUs in use, as means of equal stretches of time"
            + ("." if len(found) == 1 else "; of several accelerators the mean of their shares.")
        ),
        y=axis("in use", tickformat=".0%", range=[0, 1.03], nticks=5),
        say=words.share,
    )


def draw_waiting(found: Sequence[Figures]) -> Drawing:
    """How many jobs wait, over time."""
    lines = [
        (one.policy, one.usage.from_s, one.usage.stretch_s, one.usage.waiting)
        for one in found
        if one.usage is not None
    ]
    return _over_time(
        lines,
        title="How many jobs wait",
        caption="Jobs that have come and hold no GPU, as means of equal stretches of time.",
        y=axis("jobs waiting", rangemode="tozero", nticks=5),
        say=lambda value: f"{value:,.1f} jobs",
    )


def _over_time(
    lines: Sequence[tuple[str, float, float, tuple[float, ...]]],
    *,
    title: str,
    caption: str,
    y: dict[str, object],
    say: Callable[[float], str],
) -> Drawing:
    first_s = min(start for _, start, _, _ in lines)
    ends = [start + len(values) * width - first_s for _, start, width, values in lines]
    figure = draw(
        [
            go.Scatter(
                x=[start - first_s + (k + 0.5) * width for k in range(len(values))],
                y=list(values),
                mode="lines",
                name=plain(name),
                line={
                    "color": SERIES[number % len(SERIES)],
                    "dash": DASHES[number % len(DASHES)],
                    "width": 1.8,
                    "shape": "hvh",
                },
                hovertext=[
                    f"{plain(name)}, after "
                    f"{words.duration(start - first_s + (k + 0.5) * width)}: {say(value)}"
                    for k, value in enumerate(values)
                ],
                hoverinfo="text",
            )
            for number, (name, start, width, values) in enumerate(lines)
        ],
        x=time_axis("time since the first event", [0.0, max(ends)], log=False),
        y=y,
        height_px=340,
        showlegend=True,
    )
    return Drawing(
        title=title,
        caption=caption,
        label="; ".join(
            f"{name}: {say(sum(values) / len(values))} on average, at most {say(max(values))}"
            for name, _, _, values in lines
        )
        + ".",
        figure=figure,
        data=Table(
            caption=f"{title}: mean, and quarters of the time",
            heads=("Line", "Mean", "First quarter", "Second", "Third", "Last"),
            rows=tuple(
                (
                    cell(name),
                    cell(say(sum(values) / len(values))),
                    *(cell(say(sum(part) / len(part))) for part in _quarters(values)),
                )
                for name, _, _, values in lines
            ),
        ),
    )


def _quarters(values: tuple[float, ...]) -> list[tuple[float, ...]]:
    size = max(len(values) // 4, 1)
    return [values[k * size : (k + 1) * size] or values[-size:] for k in range(4)]
