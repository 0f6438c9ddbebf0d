"""Documents of any kind as one page of HTML that needs nothing but a browser."""

import base64
import gzip
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from ..catalog.files import Document, InputError
from ..execution.record import Run
from ..optimizer.plan import Plan, PlannedJob
from ..profiles.records import Host, Profile
from ..simulator.records import Simulation
from . import planned, profiled, ran, rehearsed, words
from .drawing import ACCENT, BAND, DARK, FONT, INK, MUTED, PAPER, RULE, VERMILLION, Drawing

TEMPLATE = Path(__file__).with_name("page.html")
VARIABLES = {
    "ink": INK,
    "muted": MUTED,
    "rule": RULE,
    "paper": PAPER,
    "band": BAND,
    "accent": ACCENT,
    "warn": VERMILLION,
}
PLOTLY_CONFIG = {
    "displaylogo": False,
    "responsive": True,
    # Plotly's own button would upload the figure to a server.
    "showSendToCloud": False,
    "plotlyServerURL": "",
    "typesetMath": False,  # two dollar signs are two prices, no formula
    "modeBarButtons": [["toImage"]],
}

Cell = tuple[str, ...]  # what matters, then what is said smaller below it


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under heads; the row of index marked stands out."""

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    marked: int | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """One document, or one job of a plan. folded: a table to be opened by who wants it."""

    title: str
    sentences: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    table: Table | None = None
    drawings: tuple[Drawing, ...] = ()
    folded: Table | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """The documents of a page by kind."""

    plans: Sequence[Plan]
    simulations: Sequence[Simulation]
    runs: Sequence[Run]
    profiles: Sequence[Profile]


def render(documents: Sequence[Document], *, title: str | None = None) -> str:
    """One self-contained page about plans, simulations, runs and profiles, in that order.

    Raises InputError where there is nothing to show or a document has no page.
    """
    if not documents:
        raise InputError("there is nothing to report; give a plan, simulation, run or profile")
    for document in documents:
        if not isinstance(document, Plan | Simulation | Run | Profile):
            raise InputError(
                f"a {type(document).__name__.lower()} has no page; "
                "give plans, simulations, runs or profiles"
            )
    shown = Shown(
        plans=[one for one in documents if isinstance(one, Plan)],
        simulations=[one for one in documents if isinstance(one, Simulation)],
        runs=[one for one in documents if isinstance(one, Run)],
        profiles=[one for one in documents if isinstance(one, Profile)],
    )
    return _template().render(
        title=title or _title(shown),
        lead=list(_lead(shown)),
        sections=list(_sections(shown)),
        proofs=[_proof(plan) for plan in shown.plans],
        weights=[_weights(plan) for plan in shown.plans],
        provenance=list(_provenance(shown)),
        variables=VARIABLES,
        dark_variables={name: DARK.get(colour, colour) for name, colour in VARIABLES.items()},
        dark=DARK,
        font=Markup(FONT),  # quotes in it are CSS
        config=PLOTLY_CONFIG,
        plotly=_plotly(),
    )


@dataclass(frozen=True, slots=True)
class Packed:
    """A script, compressed, and the hash by which the page's policy knows it.

    style_ids: elements whose presence tells the script that its styles are there already.
    """

    gzip_base64: str
    policy_hash: str
    style_ids: tuple[str, ...]


@cache
def _plotly() -> Packed:
    """plotly.js from the installed package: 4.8 MB, 2.0 MB packed."""
    script = get_plotlyjs()
    packed = gzip.compress(script.encode(), compresslevel=9, mtime=0)
    return Packed(
        base64.b64encode(packed).decode(),
        _policy_hash(script),
        # The styles of geographic maps: no page of ours has one, and the policy would refuse them.
        tuple(re.findall(r'if\(!document\.getElementById\("([0-9a-f]{64})"\)\)', script)),
    )


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["script_json"] = _script_json
    environment.filters["policy_hash"] = _policy_hash
    environment.filters["tied"] = _tied
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8"))


def _policy_hash(text: str) -> Markup:
    """A Content-Security-Policy source that allows exactly this inline text."""
    return Markup(f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'")


def _tied(text: str) -> str:
    """The text with each number tied to its unit, so that no line breaks between them."""
    text = re.sub(r"(?<=\d) (?=(?:%|µs|ms|s|min|h|d)(?!\w))", "\u00a0", text)
    return text.replace(" × ", "\u00a0×\u00a0")  # noqa: RUF001


def _script_json(value: Any) -> Markup:
    """JSON that is safe inside a script element, whatever names it holds."""
    text = json.dumps(
        value.to_plotly_json() if hasattr(value, "to_plotly_json") else value,
        default=lambda part: part.to_plotly_json(),
        allow_nan=False,
        separators=(",", ":"),
    )
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


# -------------------------------------------------------------------------------------- words


def _title(shown: Shown) -> str:
    """The jobs' names, as the first kind of document that is there says them."""
    kinds = (
        [job.name for plan in shown.plans for job in plan.jobs],
        [job.name for simulation in shown.simulations for job in simulation.jobs],
        [run.job for run in shown.runs],
        [profile.workload for profile in shown.profiles],
    )
    names = list(dict.fromkeys(next(found for found in kinds if found)))
    if len(names) <= 3:
        return ", ".join(names)
    return f"{', '.join(names[:2])} and {len(names) - 2} more"


def _lead(shown: Shown) -> Iterator[str]:
    """The page in a few sentences."""
    for plan in shown.plans:
        if len(plan.jobs) == 1:
            yield planned.train_sentence(plan.jobs[0])
            yield planned.here_sentence(plan.jobs[0])
        else:
            yield _jobs_sentence(plan)
    yield from (rehearsed.rehearsal_sentence(simulation) for simulation in shown.simulations)
    yield from (ran.run_sentence(run) for run in shown.runs)
    if not (shown.plans or shown.simulations or shown.runs):
        yield from (profiled.profile_sentence(profile) for profile in shown.profiles)


def _jobs_sentence(plan: Plan) -> str:
    longest = max(plan.jobs, key=lambda job: job.chosen.predicted.time_s.p90)
    total = sum(job.chosen.predicted.cost_usd.mean for job in plan.jobs)
    return (
        f"{len(plan.jobs)} jobs for about {words.usd(total)} together; the longest, {longest.name}, "
        f"takes about {words.duration(longest.chosen.predicted.time_s.p50)} "
        f"(90 % sure under {words.duration(longest.chosen.predicted.time_s.p90)})."
    )


# ------------------------------------------------------------------------------------ sections


def _sections(shown: Shown) -> Iterator[Section]:
    for plan in shown.plans:
        yield from _plan_sections(plan)
    yield from (_simulation_section(simulation) for simulation in shown.simulations)
    yield from (_run_section(run) for run in shown.runs)
    yield from (_profile_section(profile) for profile in shown.profiles)


def _plan_sections(plan: Plan) -> Iterator[Section]:
    for job in plan.jobs:
        warning = planned.basis_warning(job)
        asked = planned.limits(job)
        yield Section(
            title=f"The plan for {job.name}" if len(plan.jobs) > 1 else "The plan",
            sentences=(
                *(
                    (planned.train_sentence(job), planned.here_sentence(job))
                    if len(plan.jobs) > 1
                    else ()
                ),
                *((f"Asked for: {asked}.",) if asked else ()),
            ),
            warnings=(warning,) if warning else (),
            table=_table(planned.rows(job), f"Chosen for {job.name}, and what else was near"),
            drawings=(
                planned.draw_frontier(planned.frontier(job)),
                planned.draw_costs(planned.cost_bars(job)),
            ),
            folded=_scenarios(job),
        )


def _table(rows: Sequence[planned.Row], caption: str) -> Table:
    return Table(
        caption=caption,
        heads=(
            "",
            "Offer",
            "Setting",
            "Basis",
            "Median time",
            "Mean cost",
            "Flexibility loss",
            "L",
        ),
        rows=tuple(
            (
                (row.role,),
                (words.hardware(row.candidate.offer), words.place(row.candidate.offer)),
                (
                    f"{words.terms(row.candidate)}, {words.batch(row.candidate)}",
                    words.knobs(row.candidate.knobs),
                ),
                (row.candidate.basis,),
                words.time(row.candidate.predicted.time_s),
                words.cost(row.candidate.predicted.cost_usd),
                (f"{row.candidate.predicted.flexibility:.2f}",),
                (f"{row.candidate.losses.total:.4f}",),
            )
            for row in rows
        ),
        marked=0,
    )


def _scenarios(job: PlannedJob) -> Table:
    return Table(
        caption="What the chosen way would lose if, half-way through, the world changed",
        heads=("If", "Score (1: no way out)", "Extra cost", "Extra time"),
        rows=tuple(
            (
                (planned.SCENARIO_WORDS.get(name, name.replace("_", " ")),),
                (f"{regret.score:.2f}",),
                ("no answer" if regret.usd is None else words.usd(regret.usd),),
                ("no answer" if regret.hours is None else words.duration(regret.hours * 3600),),
            )
            for name, regret in job.chosen.predicted.scenarios.items()
        ),
    )


def _simulation_section(simulation: Simulation) -> Section:
    hopeless = rehearsed.hopeless_sentence(simulation)
    return Section(
        title="The rehearsal"
        if simulation.which == "chosen"
        else "The rehearsal of the best on this machine",
        warnings=(hopeless,) if hopeless else (),
        table=Table(
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
                    (job.name,),
                    words.time(job.predicted_time_s),
                    words.time(job.finish_s),
                    words.cost(job.predicted_cost_usd),
                    words.cost(job.cost_usd),
                    (
                        f"{job.interruptions:.2g}",
                        f"{words.duration(job.lost_work_s)} done twice",
                    ),
                )
                for job in simulation.jobs
            ),
        ),
        drawings=tuple(rehearsed.drawings(simulation)),
    )


def _run_section(run: Run) -> Section:
    noise = ran.noise_sentence(run)
    return Section(
        title=f"The run of {run.job}",
        sentences=(noise,) if noise else (),
        table=Table(
            caption="Restarts",
            heads=("After", "Went on from step", "Steps lost", "Because"),
            rows=tuple(
                (
                    (words.duration(one.at_s),),
                    (f"{one.from_step:,}",),
                    (f"{one.lost_steps:,}",),
                    (one.reason,),
                )
                for one in run.recoveries
            ),
        )
        if run.recoveries
        else None,
        drawings=tuple(ran.drawings(run)),
    )


def _profile_section(profile: Profile) -> Section:
    return Section(
        title=f"The profile of {profile.workload}",
        sentences=(profiled.profile_sentence(profile),),
        drawings=(profiled.draw_curves(profiled.curves(profile)),),
    )


# ---------------------------------------------------------------------------------- provenance


def _proof(plan: Plan) -> str:
    solver = plan.solver
    gap = "none" if solver.gap == 0 else f"{solver.gap:.1e} of the objective"
    return (
        f"{solver.name} found the plan {solver.status}, proven gap {gap}: "
        f"{words.count(solver.candidates, 'candidate')}, of which {solver.columns:,} could be best and "
        f"were stated; generated in {words.duration(solver.generate_s)}, "
        f"built in {words.duration(solver.build_s)}, solved in {words.duration(solver.solve_s)}."
    )


def _weights(plan: Plan) -> str:
    weights = plan.weights
    return f"L = {weights.alpha:.2g} P + {weights.beta:.2g} C + {weights.gamma:.2g} F"


@dataclass(frozen=True, slots=True)
class Facts:
    title: str
    rows: tuple[tuple[str, str], ...]


def _facts(title: str, *rows: tuple[str, str]) -> Facts:
    return Facts(title, tuple((name, value) for name, value in rows if value))


def _provenance(shown: Shown) -> Iterator[Facts]:
    yield from (_plan_facts(plan) for plan in shown.plans)
    yield from (_simulation_facts(simulation) for simulation in shown.simulations)
    yield from (_run_facts(run) for run in shown.runs)
    yield from (_profile_facts(profile) for profile in shown.profiles)


def _plan_facts(plan: Plan) -> Facts:
    chosen = [job.chosen.offer for job in plan.jobs]
    return _facts(
        "Plan",
        ("made", f"{plan.created:%Y-%m-%d %H:%M} UTC"),
        ("command", plan.command),
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
                f"facts of {job.name}",
                (
                    f"{job.facts_basis}: {job.facts.parameters:,} parameters, "
                    f"{words.operations(job.facts.flops_per_sample)} a sample, "
                    f"checkpoint {words.size(job.facts.checkpoint_bytes)}"
                ),
            )
            for job in plan.jobs
        ),
        *((f"profile of {job.name}", job.profile or "") for job in plan.jobs),
    )


def _simulation_facts(simulation: Simulation) -> Facts:
    return _facts(
        "Rehearsal",
        ("made", f"{simulation.created:%Y-%m-%d %H:%M} UTC"),
        ("plan", simulation.plan),
        ("futures", f"{simulation.replications:,}, seed {simulation.seed}"),
        ("future shown", f"number {simulation.example_replication:,}"),
    )


def _run_facts(run: Run) -> Facts:
    return _facts(
        f"Run of {run.job}",
        ("made", f"{run.created:%Y-%m-%d %H:%M} UTC"),
        ("plan", run.plan),
        ("folder", run.folder),
        ("engine", f"{run.engine}, {words.count(run.workers, 'worker')}"),
        ("setting", f"batch {run.global_batch}, {words.knobs(run.knobs)}"),
        ("data", run.data),
        ("seed", str(run.seed)),
        ("prediction", run.predicted.basis),
        *_host_rows(run.host),
    )


def _profile_facts(profile: Profile) -> Facts:
    return _facts(
        f"Profile of {profile.workload}",
        ("made", f"{profile.created:%Y-%m-%d %H:%M} UTC"),
        ("model", profile.model),
        ("data", profile.data),
        *_host_rows(profile.host),
    )


def _host_rows(host: Host) -> tuple[tuple[str, str], ...]:
    return (
        (
            "machine",
            f"{host.cpu}, {words.count(host.cores, 'core')}, {host.memory_gib:g} GiB, {host.system}",
        ),
        ("versions", ", ".join(f"{name} {version}" for name, version in host.versions.items())),
    )
