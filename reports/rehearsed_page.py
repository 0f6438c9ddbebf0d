"""A rehearsal as a tab: how long and how dear over many futures, what if, and one of the futures."""

from collections.abc import Callable, Iterator

from ..simulator.records import Difference, Scenario, Simulation
from . import words
from .content import Block, Drawing, Note, Section, Tab, Table, cell, facts
from .drawing import (
    axis,
    draw,
    interval_marks,
    plain,
    reference_line,
    row_label,
    time_axis,
    usd_axis,
)
from .rehearsed import (
    cost_futures,
    draw_futures,
    draw_gantt,
    finish_futures,
    gantt,
    hopeless_sentence,
    rehearsal_sentence,
)


def simulation_tab(found: Simulation) -> Tab:
    """The rehearsal as a tab of a page."""
    title = (
        "The rehearsal" if found.which == "chosen" else "The rehearsal of the best on this machine"
    )
    return Tab(
        name="Rehearsal" if found.which == "chosen" else "Rehearsal here",
        lead=(rehearsal_sentence(found),),
        sections=(
            Section(title, tuple(_futures(found))),
            *([Section("What if", tuple(_what_if(found.what_if)))] if found.what_if else []),
            Section(
                "One of the futures",
                tuple(draw_gantt(gantt(timeline)) for timeline in found.example),
            ),
            Section("Where the rehearsal comes from", tuple(_provenance(found))),
        ),
    )


def _futures(found: Simulation) -> Iterator[Block]:
    if sentence := hopeless_sentence(found):
        yield Note(sentence, warning=True)
    yield Table(
        caption="What the closed form predicted, and what the rehearsal found",
        heads=(
            "Job",
            "Time predicted",
            "Time rehearsed",
            "Cost predicted",
            "Cost rehearsed",
            "Losses",
        ),
        rows=tuple(
            (
                cell(job.name),
                cell(*words.time(job.predicted_time_s)),
                cell(*words.time(job.finish_s)),
                cell(*words.cost(job.predicted_cost_usd)),
                cell(*words.cost(job.cost_usd)),
                cell(f"{job.interruptions:.2g}", f"{words.duration(job.lost_work_s)} done twice"),
            )
            for job in found.jobs
        ),
    )
    for info in (*finish_futures(found), *cost_futures(found)):
        yield draw_futures(info)


def _what_if(scenarios: tuple[Scenario, ...]) -> Iterator[Block]:
    yield Table(
        caption="Each change in the same futures: the mean, and the difference with its 95 % interval",
        heads=("Change", "Finish", "Difference", "Cost", "Difference "),
        rows=tuple(
            (
                cell(one.change, *([f"{one.unfinished:,} never end"] if one.unfinished else [])),
                cell(words.duration(one.finish_s.mean)),
                cell(*_difference(one.finish_s, words.duration)),
                cell(words.usd(one.cost_usd.mean)),
                cell(*_difference(one.cost_usd, words.usd)),
            )
            for one in scenarios
        ),
    )
    yield draw_what_if(scenarios, "finish")
    yield draw_what_if(scenarios, "cost")


def _difference(one: Difference, say: Callable[[float], str]) -> tuple[str, str]:
    low, high = one.difference_ci95
    return (
        words.signed(one.difference, say),
        f"{words.signed(low, say)} to {words.signed(high, say)}",
    )


def draw_what_if(scenarios: tuple[Scenario, ...], quantity: str) -> Drawing:
    """The differences of the finish or of the cost, with their intervals."""
    scale, say = (time_axis, words.duration) if quantity == "finish" else (usd_axis, words.usd)
    found = [one.finish_s if quantity == "finish" else one.cost_usd for one in scenarios]
    means = [one.mean for one in found]
    base = found[0].baseline
    lows = [one.baseline + one.difference_ci95[0] for one in found]
    highs = [one.baseline + one.difference_ci95[1] for one in found]
    figure = draw(
        [
            interval_marks(
                means,
                lows,
                highs,
                name="mean with 95 % interval of the difference",
                hovertext=[
                    f"{plain(one.change)}<br>{say(mean)}, {_difference(each, say)[0]}"
                    for one, each, mean in zip(scenarios, found, means, strict=True)
                ],
            )
        ],
        x=scale(f"mean {quantity}", [base, *lows, *highs], log=False),
        y=axis("", visible=False, range=[len(found) - 0.5, -0.8]),
        height_px=120 + 54 * len(found),
        shapes=[reference_line(base)],
        annotations=[
            row_label(f"<b>{plain(one.change)}</b> {_difference(each, say)[0]}", place - 0.24)
            for place, (one, each) in enumerate(zip(scenarios, found, strict=True))
        ],
    )
    return Drawing(
        title=f"What each change does to the {quantity}",
        caption=f"The dotted line is the plan as it is, {say(base)} on average; bars that cross it may be chance.",
        label="; ".join(
            f"{one.change}: {_difference(each, say)[0]}"
            for one, each in zip(scenarios, found, strict=True)
        )
        + ".",
        figure=figure,
        data=Table(
            caption=f"Mean and 90 % {quantity} of each change",
            heads=("Change", "Mean", "90 % under", "Difference", "95 % within"),
            rows=tuple(
                (
                    cell(one.change),
                    cell(say(each.mean)),
                    cell(say(each.p90)),
                    *(cell(text) for text in _difference(each, say)),
                )
                for one, each in zip(scenarios, found, strict=True)
            ),
        ),
    )


def _provenance(found: Simulation) -> Iterator[Block]:
    yield from (Note(sentence) for sentence in found.basis)
    yield facts(
        "",
        ("made", f"{found.created:%Y-%m-%d %H:%M} UTC"),
        ("plan", found.plan),
        ("futures", f"{found.replications:,}, seed {found.seed}"),
        ("future shown", f"number {found.example_replication:,}"),
        (
            "made again by",
            f"isocost simulate {found.plan} --replications {found.replications} --seed {found.seed}",
        ),
    )
