"""A plan as a tab: the answer, what else there is, why this one, and where it comes from."""

from collections.abc import Iterator, Sequence

from ..optimizer.plan import Plan, PlannedJob
from . import planned, words
from .content import Block, Facts, Note, Section, Tab, Table, cell, facts
from .planned_costs import cost_bars, draw_costs
from .planned_front import draw_frontier, frontier
from .planned_jobs import jobs_blocks, jobs_sentence, pipeline_sentence
from .planned_map import draw_map, wins
from .planned_scaling import curves, draw_scaling
from .planned_sensitivity import draw_tornado, edges_block, tornado
from .planned_why import constraint_blocks, measuring_blocks, offers_table, scenarios

MOST_WHOLE = 8  # jobs that are shown with all their figures
OFFERS = 300  # rows of offers on a page, shared by its jobs

WORDS = (
    (
        "Performance, P",
        (
            "The time to the target that nine of ten runs stay under: work, checkpoints, expected "
            "interruptions, waiting for machines. Between 0, the best candidate worth considering, and 1, "
            "the worst."
        ),
    ),
    (
        "Cost, C",
        "The mean of everything billed, compute, storage and data moved out, on the same scale.",
    ),
    (
        "Flexibility, F",
        (
            "What the candidate would regret if the world changed half-way: 0 changes freely, 1 has no way "
            "out."
        ),
    ),
    ("measured", "This very setting was timed on this very machine."),
    ("fitted", "Between or just beyond settings that were timed, on that machine or accelerator."),
    (
        "transferred",
        (
            "Nothing was timed there: the model's operation counts, data sheets and public measurements "
            "stand in, with wide intervals."
        ),
    ),
)


def plan_tab(plan: Plan) -> Tab:
    """The plan as a tab of a page."""
    several = len(plan.jobs) > 1
    return Tab(
        name="Plan",
        lead=tuple(_lead(plan)),
        sections=(
            *([Section("The plan", jobs_blocks(plan))] if several else []),
            *(section for job in _whole(plan) for section in _job_sections(plan, job)),
            Section("What the words mean", (Facts("", (_loss_words(plan), *WORDS)),)),
            Section("Where the plan comes from", (Note(proof(plan)), *_provenance(plan))),
        ),
    )


def _lead(plan: Plan) -> Iterator[str]:
    if len(plan.jobs) == 1:
        yield planned.train_sentence(plan.jobs[0])
        yield planned.here_sentence(plan.jobs[0])
    else:
        yield jobs_sentence(plan)
        if plan.pipeline is not None:
            yield pipeline_sentence(plan.pipeline)


def _whole(plan: Plan) -> Sequence[PlannedJob]:
    """The jobs that are shown with all their figures: the dearest, in the order of the plan."""
    dearest = sorted(plan.jobs, key=lambda job: -job.chosen.predicted.cost_usd.mean)[:MOST_WHOLE]
    names = {id(job) for job in dearest}
    return [job for job in plan.jobs if id(job) in names]


def _job_sections(plan: Plan, job: PlannedJob) -> Iterator[Section]:
    several = len(plan.jobs) > 1
    of = f" for {words.name(job.name)}" if several else ""
    yield Section(f"The plan{of}", tuple(_answer(job, several)))
    yield Section(f"Why this plan{of}", tuple(_why(plan, job)))
    share = OFFERS // min(len(plan.jobs), MOST_WHOLE)
    yield Section(f"Every offer{of}", (offers_table(job, share),))


def _answer(job: PlannedJob, several: bool) -> Iterator[Block]:
    if several:
        yield Note(planned.train_sentence(job))
        yield Note(planned.here_sentence(job))
    if asked := planned.limits(job):
        yield Note(f"Asked for: {asked}.")
    if warning := planned.basis_warning(job):
        yield Note(warning, warning=True)
    yield draw_frontier(frontier(job))
    yield near_table(
        planned.rows(job), f"Chosen for {words.name(job.name)}, and what else was near"
    )
    yield draw_costs(cost_bars(job))
    if found := curves(job):
        yield draw_scaling(found)


def _why(plan: Plan, job: PlannedJob) -> Iterator[Block]:
    why = job.explanation
    if plan.objective == "weighted":
        yield draw_map(wins(job))
    if (found := tornado(job)) is not None:
        yield draw_tornado(found)
        yield edges_block(found)
    if why is not None:
        yield from constraint_blocks(why)
        yield from measuring_blocks(why)
        yield from (Note(note) for note in why.notes)
    else:
        yield Note(
            "What each constraint costs, how wrong the figures may be and what to measure next are worked "
            "out by 'isocost optimize --explain'."
        )
    yield scenarios(job)


def near_table(rows: Sequence[planned.Row], caption: str) -> Table:
    """The chosen candidate and what was near, with all that describes them."""
    return Table(
        caption=caption,
        heads=("What it is", "Offer", "Setting", "Basis", "Time", "Cost", "F", "L"),
        rows=tuple(
            (
                cell(row.role),
                cell(words.hardware(row.candidate.offer), words.place(row.candidate.offer)),
                cell(
                    f"{words.terms(row.candidate)}, {words.batch(row.candidate)}",
                    words.knobs(row.candidate.knobs),
                ),
                cell(row.candidate.basis),
                cell(*words.time(row.candidate.predicted.time_s)),
                cell(*words.cost(row.candidate.predicted.cost_usd)),
                cell(f"{row.candidate.predicted.flexibility:.2f}"),
                cell(f"{row.candidate.losses.total:.4g}"),
            )
            for row in rows
        ),
        marked=0,
    )


def _loss_words(plan: Plan) -> tuple[str, str]:
    weights = plan.weights
    formula = f"L = {weights.alpha:.2g} P + {weights.beta:.2g} C + {weights.gamma:.2g} F"
    if plan.objective == "chebyshev":
        formula = (
            f"L = the largest of {weights.alpha:.2g} P, {weights.beta:.2g} C and {weights.gamma:.2g} F, and "
            "a thousandth of their sum"
        )
    return "L", f"What the plan makes as small as it can: {formula}."


def proof(plan: Plan) -> str:
    """How the optimum was found and proven."""
    solver = plan.solver
    gap = "none" if solver.gap == 0 else f"{solver.gap:.1e} of the objective"
    return (
        f"{solver.name} found the plan {solver.status}, proven gap {gap}: "
        f"{words.count(solver.candidates, 'candidate')}, of which {solver.columns:,} could be best and "
        f"were stated; generated in {words.duration(solver.generate_s)}, "
        f"built in {words.duration(solver.build_s)}, solved in {words.duration(solver.solve_s)}."
    )


def _provenance(plan: Plan) -> Iterator[Block]:
    chosen = [job.chosen.offer for job in plan.jobs]
    yield from (Note(f"Stale price: {said}.", warning=True) for said in plan.stale_prices)
    yield facts(
        "",
        ("made", f"{plan.created:%Y-%m-%d %H:%M} UTC"),
        ("made again by", plan.command),
        ("isocost", plan.version),
        ("prices", f"between {plan.oldest_price} and {plan.newest_price}"),
        *(
            (
                f"price of {words.hardware(offer)}",
                f"{words.usd(offer.price_usd_h)}/h on {offer.price_date}, {offer.source}",
            )
            for offer in dict.fromkeys(chosen)
        ),
        *(
            (
                f"facts of {words.name(job.name)}",
                (
                    f"{job.facts_basis}: {job.facts.parameters:,} parameters, "
                    f"{words.operations(job.facts.flops_per_sample)} a sample, "
                    f"checkpoint {words.size(job.facts.checkpoint_bytes)}"
                ),
            )
            for job in plan.jobs[:MOST_WHOLE]
        ),
        *(
            (f"profile of {words.name(job.name)}", job.profile or "none")
            for job in plan.jobs[:MOST_WHOLE]
        ),
    )
