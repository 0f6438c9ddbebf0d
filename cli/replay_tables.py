"""Replays as tables of 80 columns."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..reports.words import duration, usd
from .output import figures, out

if TYPE_CHECKING:
    from ..simulator.metrics import Comparison, Figures


def show(found: "Figures") -> None:
    title = f"{found.jobs:,} jobs under {found.policy}"
    table = figures(title + (f", seed {found.seed}" if found.estimates else ""), "", "")
    for words, value in (
        ("average job completion time", duration(found.avg_jct_s)),
        ("median", duration(found.median_jct_s)),
        ("99 of 100 jobs within", duration(found.p99_jct_s)),
        ("average wait for the first start", duration(found.avg_wait_s)),
        ("makespan", duration(found.makespan_s)),
        ("GPU-hours used", f"{found.gpu_hours:,.1f}"),
        ("utilization", f"{found.utilization:.1%}"),
        ("cost of what was used", usd(found.total_cost_usd)),
        ("cost of the machines that stood", usd(found.reserved_cost_usd)),
        ("mean slowdown against running alone", f"{found.mean_slowdown:.2f}"),
        ("preemptions", f"{found.preemptions:,}"),
    ):
        table.add_row(words, value)
    if found.deadline_misses is not None:
        table.add_row("deadlines missed", f"{found.deadline_misses:,}")
    if found.machines_lost or found.losses:
        table.add_row("machines lost", f"{found.machines_lost:,}")
        table.add_row("jobs thrown back by it", f"{found.losses:,}")
        table.add_row("GPU-hours of work lost", f"{found.lost_gpu_hours:,.1f}")
    if found.unfinished:
        table.add_row("jobs that did not finish", f"{found.unfinished:,}")
    out.print(table)
    if found.estimates:
        _show_estimates(found)
    for one in found.what_if:
        _show_scenario(found, one.change)


def _say(name: str) -> Callable[[float], str]:
    """How a figure of that name is read."""
    if name.endswith("_usd"):
        return usd
    return duration if name.endswith("_s") else lambda value: f"{value:,.1f}"


WORDS = {
    "avg_jct_s": "average JCT",
    "p99_jct_s": "p99 JCT",
    "makespan_s": "makespan",
    "total_cost_usd": "cost used",
    "reserved_cost_usd": "cost stood",
    "unfinished": "unfinished",
    "losses": "thrown back",
}


def _show_estimates(found: "Figures") -> None:
    table = figures("Over the seeds, with 95 % intervals", "", "mean", "between", "9 of 10 within")
    for one in found.estimates:
        say = _say(one.figure)
        between = " to ".join(say(max(value, 0.0)) for value in one.mean_ci95)
        table.add_row(WORDS[one.figure], say(one.mean), between, say(one.p90))
    out.print(table)


def _show_scenario(found: "Figures", change: str) -> None:
    one = next(one for one in found.what_if if one.change == change)
    table = figures(
        f"What if {one.change}: {one.sooner:.0%} of the jobs sooner, {one.later:.0%} later",
        *("", "before", "after", "difference", "between (95 %)"),
    )
    for row in one.figures:
        say = _say(row.figure)
        if not (row.baseline or row.changed):
            continue
        between = (
            ""
            if row.difference_ci95 is None
            else " to ".join(_signed(value, say) for value in row.difference_ci95)
        )
        table.add_row(
            *(WORDS[row.figure], say(row.baseline), say(row.changed)),
            *(_signed(row.difference, say), between),
        )
    out.print(table)


def _signed(value: float, say: Callable[[float], str] = duration) -> str:
    return ("-" if value < 0 else "+" if value > 0 else "") + say(abs(value))


def show_comparison(found: "Comparison") -> None:
    base = found.policies[0].policy
    table = figures(
        f"{found.policies[0].jobs:,} jobs",
        *("policy", "avg JCT", "p99 JCT", "makespan", "cost", "use"),
    )
    for one in found.policies:
        table.add_row(
            *(one.policy, duration(one.avg_jct_s), duration(one.p99_jct_s)),
            *(duration(one.makespan_s), usd(one.total_cost_usd), f"{one.utilization:.0%}"),
        )
    out.print(table)
    paired = figures(
        f"JCT less that under {base}, job by job"
        + (f" over {found.seeds} seeds" if found.seeds > 1 else "")
        + ", with 95 % intervals",
        *("policy", "mean", "between", "sooner", "later"),
    )
    for pair in found.differences:
        between = "" if pair.mean_ci95 is None else " to ".join(map(_signed, pair.mean_ci95))
        shares = (f"{pair.sooner:.0%}", f"{pair.later:.0%}")
        paired.add_row(pair.policy, _signed(pair.mean_s), between, *shares)
    out.print(paired)
