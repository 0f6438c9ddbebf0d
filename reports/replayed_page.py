"""A replayed trace as a tab, or policies side by side on one."""

from collections.abc import Callable, Iterator, Sequence

from ..simulator.metrics import Comparison, Figures
from . import words
from .content import Block, Note, Section, Tab, Table, cell, facts
from .replayed import (
    comparison_sentence,
    draw_cdf,
    draw_differences,
    draw_usage,
    draw_waiting,
    replay_sentence,
)


def replay_tab(found: Figures) -> Tab:
    """One replay as a tab of a page."""
    return Tab(
        name=f"Replay: {found.policy}",
        lead=(replay_sentence(found),),
        sections=(
            Section(
                f"The replay under {found.policy}",
                (
                    figures_table([found]),
                    *_losses(found),
                    *_estimates(found),
                    *_curves([found]),
                    *_usage([found]),
                ),
            ),
            *([Section("What if", tuple(_what_if(found)))] if found.what_if else []),
            _words(),
            _provenance(found.trace, [found]),
        ),
    )


def comparison_tab(found: Comparison) -> Tab:
    """Policies side by side as a tab of a page."""
    return Tab(
        name="Policies",
        lead=(comparison_sentence(found),),
        sections=(
            Section(
                "Policies side by side",
                (
                    figures_table(found.policies),
                    *([draw_differences(found)] if found.differences else []),
                    *_curves(found.policies),
                    *_usage(found.policies),
                ),
            ),
            _words(),
            _provenance(found.trace, found.policies),
        ),
    )


def _curves(found: Sequence[Figures]) -> Iterator[Block]:
    with_times = [one for one in found if one.jct_quantiles_s]
    if not with_times:
        yield Note(
            "The completion times of single jobs are not in this file; 'isocost simulate' of today keeps "
            "their quantiles."
        )
        return
    yield draw_cdf(with_times, "completion time", [one.jct_quantiles_s for one in with_times])
    if any(one.wait_quantiles_s and one.wait_quantiles_s[-1] > 0 for one in with_times):
        yield draw_cdf(with_times, "wait", [one.wait_quantiles_s for one in with_times])


def _usage(found: Sequence[Figures]) -> Iterator[Block]:
    known = [one for one in found if one.usage is not None]
    if known:
        yield draw_usage(known)
        yield draw_waiting(known)


# ------------------------------------------------------------------------------------ tables


def figures_table(found: Sequence[Figures]) -> Table:
    late = any(one.deadline_misses is not None for one in found)
    return Table(
        caption="Completion times, waiting, use and cost",
        heads=(
            "Policy",
            "Average JCT",
            "Median",
            "99 %",
            "Wait",
            "Makespan",
            "Used",
            "Cost",
            "Preemptions",
            *(["Late"] if late else []),
        ),
        rows=tuple(
            (
                cell(one.policy),
                *(
                    cell(words.duration(value), key=value)
                    for value in (
                        one.avg_jct_s,
                        one.median_jct_s,
                        one.p99_jct_s,
                        one.avg_wait_s,
                        one.makespan_s,
                    )
                ),
                cell(words.share(one.utilization), key=one.utilization),
                cell(words.usd(one.total_cost_usd), key=one.total_cost_usd),
                cell(f"{one.preemptions:,}", key=one.preemptions),
                *([cell(f"{one.deadline_misses or 0:,}")] if late else []),
            )
            for one in found
        ),
    )


FIGURE_WORDS: dict[str, tuple[str, Callable[[float], str]]] = {
    "avg_jct_s": ("average JCT", words.duration),
    "p99_jct_s": ("99 % JCT", words.duration),
    "makespan_s": ("makespan", words.duration),
    "total_cost_usd": ("cost of what was used", words.usd),
    "reserved_cost_usd": ("cost of what stood", words.usd),
    "unfinished": ("jobs given up", lambda value: f"{value:,.3g}"),
    "losses": ("times a job lost a machine", lambda value: f"{value:,.3g}"),
}


def _figure_words(name: str) -> tuple[str, Callable[[float], str]]:
    return FIGURE_WORDS.get(name, (name.replace("_", " "), lambda value: f"{value:,.4g}"))


def _losses(found: Figures) -> Iterator[Block]:
    """What was lost, where machines come and go."""
    if found.machines_lost or found.unfinished:
        yield facts(
            "",
            ("machines lost", f"{found.machines_lost:,}; jobs lost one {found.losses:,} times"),
            ("work done again", f"{found.lost_gpu_hours:,.3g} GPU-hours"),
            ("jobs given up", f"{found.unfinished:,}" if found.unfinished else ""),
        )


def _estimates(found: Figures) -> Iterator[Block]:
    if not found.estimates:
        return
    rows = []
    for one in found.estimates:
        name, say = _figure_words(one.figure)
        low, high = one.mean_ci95
        rows.append(
            (
                cell(name),
                cell(say(one.mean)),
                cell(f"{say(low)} to {say(high)}"),
                cell(say(one.p90)),
            )
        )
    yield Table(
        title="Over several seeds",
        caption="Means with their 95 % intervals, and what nine of ten seeds stay under",
        heads=("Figure", "Mean", "95 % within", "90 % under"),
        rows=tuple(rows),
    )


def _what_if(found: Figures) -> Iterator[Block]:
    """Each scenario's figures against the replay as it is, seed by seed."""
    for scenario in found.what_if:
        rows = []
        for one in scenario.figures:
            name, say = _figure_words(one.figure)
            between = (
                ""
                if one.difference_ci95 is None
                else " to ".join(words.signed(end, say) for end in one.difference_ci95)
            )
            rows.append(
                (
                    cell(name),
                    cell(say(one.baseline)),
                    cell(say(one.changed)),
                    cell(words.signed(one.difference, say), key=one.difference),
                    cell(between),
                )
            )
        yield Table(
            title=scenario.change,
            caption=(
                f"{words.share(scenario.sooner)} of jobs are done sooner, {words.share(scenario.later)} later"
            ),
            heads=("Figure", "As it is", "Then", "Difference", "95 % within"),
            rows=tuple(rows),
        )


# --------------------------------------------------------------------------------- provenance


def _words() -> Section:
    return Section(
        "What the words mean",
        (
            facts(
                "",
                ("JCT", "Job completion time: from the submission of a job to its end."),
                ("wait", "From the submission to the first start."),
                ("makespan", "From the first submission to the last end."),
                ("used", "GPU time held over GPU time there, over the makespan."),
                ("cost", "What was held, at the prices of the cluster file."),
                ("late", "Jobs that end after their deadline."),
                ("given up", "Jobs that never end: their costs count, their times do not."),
            ),
        ),
    )


def _provenance(trace: str, found: Sequence[Figures]) -> Section:
    first = found[0]
    return Section(
        "Where the replay comes from",
        (
            facts(
                "",
                ("trace", trace),
                ("jobs", f"{first.jobs:,}"),
                ("made", f"{first.created:%Y-%m-%d %H:%M} UTC" if first.created else ""),
                ("policies", ", ".join(one.policy for one in found)),
            ),
        ),
    )
