"""Why this plan: what its constraints cost, what would be worth measuring, what else was looked at."""

from ..optimizer.plan import ConstraintPrice, Explanation, PlannedJob
from . import words
from .content import Cell, Note, Table, cell
from .planned import SCENARIO_WORDS, rows

SURELY_NOTHING = 1e-9


def constraint_blocks(why: Explanation) -> tuple[Note | Table, ...]:
    """What each constraint costs, or that there is none."""
    if not why.constraints:
        return (Note("No constraint was stated, so none binds."),)
    every = (*why.constraints, *([why.together] if why.together else []))
    binding = [one for one in every if one.binds]
    if not binding:
        table = Table(
            title="What binds, and what it costs",
            caption="Nothing binds: without any one of the constraints the plan would be the same",
            heads=("Constraint", "Used"),
            rows=tuple((cell(_words(one)), cell(_used(one))) for one in every),
        )
        return (table,)
    table = Table(
        title="What binds, and what it costs",
        caption=(
            "Each constraint taken away and the job planned anew: what the constraint adds (+) or saves (-)"
        ),
        heads=("Constraint", "Used", "Mean time", "90 % time", "Mean cost", "L", "Without it"),
        rows=tuple(_constraint(one) for one in every),
    )
    return (table,)


def _constraint(one: ConstraintPrice) -> tuple[Cell, ...]:
    if not one.binds:
        nothing = (cell("0") for _ in range(4))
        return (cell(_words(one)), cell(_used(one)), *nothing, cell("the same plan"))

    def hours(value: float) -> Cell:
        return cell(words.signed(value * 3600, words.duration), key=value)

    return (
        cell(_words(one)),
        cell(_used(one)),
        hours(one.hours),
        hours(one.p90_hours),
        cell(words.signed(one.usd, words.usd), key=one.usd),
        cell(f"{one.loss:+.4f}", key=one.loss),
        cell("" if one.instead is None else words.plan(one.instead)),
    )


def _words(one: ConstraintPrice) -> str:
    """The constraint with its limit as a person would say it."""
    if one.limit is None or one.key not in ("deadline_s", "budget_usd", "hourly_usd"):
        return one.words
    if one.key == "deadline_s":
        sure = one.words.partition(",")[2].replace("%", " %")
        return f"deadline of {words.duration(one.limit)}{',' if sure else ''}{sure}"
    return f"{'budget' if one.key == 'budget_usd' else 'hourly cap'} of {words.usd(one.limit)}"


def _used(one: ConstraintPrice) -> str:
    return "" if one.used is None or not one.limit else words.share(round(one.used / one.limit, 3))


def measuring_blocks(why: Explanation) -> tuple[Note | Table, ...]:
    """What a profile on further hardware is worth."""
    if not why.measuring:
        return (
            Note(
                "No further profile is worth its while: none is expected to change the choice for the "
                "better."
            ),
        )
    return (
        Table(
            title="What to measure next",
            caption=(
                "The expected worth of a short profile on other hardware before choosing: what the better "
                "choice then saves on this job"
            ),
            heads=("On", "Saves L", "Saves", "Saves time", "Changes the choice", "Costs", "Takes"),
            rows=tuple(
                (
                    cell(
                        one.accelerator,
                        f"{one.offer.instance_type}, {words.place(one.offer)}",
                    ),
                    cell(f"{one.loss:.4f}", key=one.loss),
                    cell(words.signed(one.usd, words.usd), key=one.usd),
                    cell(words.signed(one.hours * 3600, words.duration), key=one.hours),
                    cell(f"{words.share(round(one.chance, 2))} likely", key=one.chance),
                    cell(words.usd(one.usd_to_measure), key=one.usd_to_measure),
                    cell(words.duration(one.hours_to_measure * 3600), key=one.hours_to_measure),
                )
                for one in why.measuring
            ),
        ),
    )


def offers_table(job: PlannedJob, most: int) -> Table:
    """Every kind of offer at its best, to be searched and sorted; the front where that is all there is."""
    why = job.explanation
    if why is None or not why.considered:
        return _from_front(job, most)
    shown = why.considered[:most]
    more = why.considered_size - len(shown)
    return Table(
        caption=(
            f"Every instance type and way to buy it, at its best: {len(shown):,} of "
            f"{why.considered_size:,}, the least L first"
            if more
            else f"All {len(shown):,} instance types and ways to buy them, each at its best, the least L first"
        ),
        heads=OFFER_HEADS,
        choices=OFFER_CHOICES,
        rows=tuple(
            (
                cell(one.instance_type, one.region),
                cell(one.provider),
                cell(one.accelerator, *_each(one.accelerator_count)),
                cell(one.purchase.value.replace("_", " ")),
                cell(
                    words.count(one.nodes, "node"), f"batch {one.per_device_batch}", key=one.nodes
                ),
                cell(f"{words.usd(one.price_usd_h)}/h", key=one.price_usd_h),
                cell(
                    words.duration(one.time_p50_s),
                    f"90 %: {words.duration(one.time_p90_s)}",
                    key=one.time_p50_s,
                ),
                cell(words.usd(one.cost_usd), key=one.cost_usd),
                cell(f"{one.flexibility:.2f}", key=one.flexibility),
                cell(f"{one.loss:.3f}", key=one.loss),
                cell("no" if one.breaks else "yes", *one.breaks),
            )
            for one in shown
        ),
    )


OFFER_HEADS = (
    "Offer",
    "Provider",
    "Accelerator",
    "Bought",
    "Nodes",
    "Price",
    "Time",
    "Cost",
    "F",
    "L",
    "Allowed",
)
OFFER_CHOICES = ("Provider", "Accelerator", "Bought", "Allowed")


def _each(count: int) -> tuple[str, ...]:
    return (f"{count} a node",) if count > 1 else ()


def _from_front(job: PlannedJob, most: int) -> Table:
    named = [row.candidate for row in rows(job)]
    every = sorted(
        {id(one): one for one in (*named, *job.frontier)}.values(), key=lambda one: one.losses.total
    )
    return Table(
        caption=(
            "The chosen plan, the runners-up and the Pareto front; 'optimize --explain' lists every offer"
        ),
        heads=OFFER_HEADS[:-1],
        choices=OFFER_CHOICES[:-1],
        rows=tuple(
            (
                cell(one.offer.instance_type, one.offer.region),
                cell(one.offer.provider),
                cell(one.offer.accelerator, *_each(one.offer.accelerator_count)),
                cell(one.purchase.value.replace("_", " ")),
                cell(
                    words.count(one.nodes, "node"), f"batch {one.per_device_batch}", key=one.nodes
                ),
                cell(f"{words.usd(one.offer.price_usd_h)}/h", key=one.offer.price_usd_h),
                cell(
                    words.duration(one.predicted.time_s.p50),
                    f"90 %: {words.duration(one.predicted.time_s.p90)}",
                    key=one.predicted.time_s.p50,
                ),
                cell(words.usd(one.predicted.cost_usd.mean), key=one.predicted.cost_usd.mean),
                cell(f"{one.predicted.flexibility:.2f}", key=one.predicted.flexibility),
                cell(f"{one.losses.total:.3f}", key=one.losses.total),
            )
            for one in every[:most]
        ),
    )


def scenarios(job: PlannedJob) -> Table:
    """What the flexibility of the chosen way is made of."""
    return Table(
        caption="What the chosen way would lose if, half-way through, the world changed",
        heads=("If", "Score (1: no way out)", "Extra cost", "Extra time"),
        rows=tuple(
            (
                cell(SCENARIO_WORDS.get(name, name.replace("_", " "))),
                cell(f"{regret.score:.2f}"),
                cell("no answer" if regret.usd is None else words.usd(regret.usd)),
                cell("no answer" if regret.hours is None else words.duration(regret.hours * 3600)),
            )
            for name, regret in job.chosen.predicted.scenarios.items()
        ),
        folded=True,
    )
