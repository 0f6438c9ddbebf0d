"""isocost optimize: the plan that minimises L over every offer."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .output import CatalogChoice, FreshChoice, OwnedChoice

if TYPE_CHECKING:
    from ..optimizer.plan import Pipeline, Plan, PlannedCandidate
    from ..optimizer.shared import Shared
    from ..profiles.workload import Weights, Workload


def optimize(
    workloads: Annotated[list[Path], typer.Argument(help="Workload files (YAML or JSON).")],
    alpha: Annotated[float | None, typer.Option(min=0, help="Weight of performance.")] = None,
    beta: Annotated[float | None, typer.Option(min=0, help="Weight of cost.")] = None,
    gamma: Annotated[float | None, typer.Option(min=0, help="Weight of flexibility.")] = None,
    deadline: Annotated[str | None, typer.Option(help="For example 90m, 6h, 1d12h.")] = None,
    budget: Annotated[float | None, typer.Option(min=0, help="USD for each job.")] = None,
    offers: Annotated[
        str | None,
        typer.Option(help="Choose only from these: \"provider IN ('aws','gcp') AND vcpus >= 8\"."),
    ] = None,
    which: CatalogChoice = "all",
    owned: OwnedChoice = None,
    fresh_days: FreshChoice = (90, 365),
    profile: Annotated[
        Path | None,
        typer.Option(help="Else the latest: beside -o, here, beside the workload, or yours."),
    ] = None,
    hourly: Annotated[
        float | None, typer.Option(min=0, help="USD an hour at most, all nodes together.")
    ] = None,
    quota: Annotated[
        list[str] | None,
        typer.Option(help="NAME=NODES for all jobs together: aws=8, aws:us-east-1=4, A100=2."),
    ] = None,
    total_budget: Annotated[
        float | None, typer.Option(min=0, help="USD for all jobs together.")
    ] = None,
    total_hourly: Annotated[
        float | None, typer.Option(min=0, help="USD an hour for all jobs together.")
    ] = None,
    max_share: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="At most this part of the money to one provider."),
    ] = None,
    objective: Annotated[
        Literal["weighted", "chebyshev"],
        typer.Option(help="L as weighted sum, or the largest weighted loss (augmented)."),
    ] = "weighted",
    solver: Annotated[
        Literal["highs", "cbc"], typer.Option(help="Who proves the optimum, through PuLP.")
    ] = "highs",
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Also why: what binds and what it costs, who wins at which weights, what to measure.",
        ),
    ] = False,
    front: Annotated[
        int | None,
        typer.Option(
            min=3, max=500, help="Also plans of all jobs between the losses, from so many solves."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Plan file (plan.json without --json).")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Also write a page about the plan, reasons included.")
    ] = None,
    local_price: Annotated[
        float | None, typer.Option(help="What an hour of this machine costs, USD.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Find the plan that minimises L = alpha Performance + beta Cost + gamma Flexibility.

    Weights that are not given are the workload's; once one is given, the others are 0.
    Examples:

    isocost optimize examples/cifar10.yaml --alpha 1 --deadline 2h -o plan.json

    isocost optimize job.yaml --budget 40 --hourly 12 --explain

    isocost optimize a.yaml b.yaml c.yaml --quota aws=8 --total-budget 90 --max-share 0.5

    isocost optimize a.yaml b.yaml --quota A100=2 --explain --front 20

    isocost optimize prepare.yaml train.yaml   (train.yaml: after: [{job: prepare, bytes: 20e12}])
    """
    from .. import __version__
    from ..catalog import Freshness, catalog_of, this_machine, with_owned
    from ..optimizer.optimize import Infeasible, Job
    from ..optimizer.optimize import optimize as solve
    from ..profiles import store
    from ..profiles.measure import this_host
    from ..profiles.workload import read_workload
    from .output import only_ours_on_stdout, print_json, progress_bar, waiting

    jobs = []
    imported = store.imported()
    for path in workloads:
        workload = _with_wishes(read_workload(path), deadline, budget, hourly)
        found = _profile(workload, path, profile, output)
        jobs.append(
            Job(
                workload,
                path.resolve().parent,
                found[1] if found else None,
                found[0].resolve() if found else None,
                profiled_here=found is None or found[1].host == this_host(),
                measured=imported,
            )
        )
    catalog = with_owned(catalog_of(which), owned)
    local = this_machine(local_price)
    allowed = catalog.with_offer(local).filtered(offers) if offers else None
    try:
        bar = progress_bar()
        task = bar.add_task("front", total=front or 0, note="")
        with only_ours_on_stdout(), bar if front else waiting("Planning"):
            plan = solve(
                jobs,
                catalog,
                local,
                weights=_weights(alpha, beta, gamma),
                offers=allowed,
                fresh=Freshness(*fresh_days),
                objective=objective,
                solver=solver,
                explained=explain or report is not None,
                shared=_shared(quota, total_budget, total_hourly, max_share),
                front=front,
                solved=lambda count: bar.update(task, completed=count),
                version=__version__,
                command=_command(),
            )
    except Infeasible as refusal:
        if as_json:
            print_json(refusal.document())
        raise
    if output is None and not as_json:
        output = Path("plan.json")
    if output is not None:
        plan.write(output)
    if report is not None:
        from ..catalog.files import write_whole
        from ..reports import render

        write_whole(report, render([plan]))
    if as_json:
        print_json(plan)
    else:
        show(plan, reasons=explain)
        for written in (output, report):
            if written is not None:
                _say(f"Written to {written}")


def _shared(
    quota: list[str] | None, budget: float | None, hourly: float | None, share: float | None
) -> "Shared | None":
    from ..optimizer.shared import Shared, quotas

    if not quota and budget is None and hourly is None and share is None:
        return None
    return Shared(quotas(quota or []), budget, hourly, share)


def _command() -> str:
    import shlex
    import sys

    return shlex.join(["isocost", *sys.argv[1:]])


def _with_wishes(
    workload: "Workload", deadline: str | None, budget: float | None, hourly: float | None
) -> "Workload":
    from ..catalog.files import InputError, seconds

    try:
        deadline_s = None if deadline is None else seconds(deadline)
    except ValueError as error:
        raise InputError(f"--deadline: {error}") from None
    return workload.wishing(deadline_s=deadline_s, budget_usd=budget, hourly_usd=hourly)


def _profile(  # type: ignore[no-untyped-def]
    workload: "Workload", path: Path, given: Path | None, output: Path | None
):
    """The given profile; else the latest beside the output, here, beside the workload, or the user's."""
    from ..catalog.files import InputError
    from ..profiles import store
    from ..profiles.records import Profile

    if given is None:
        beside = [] if output is None else [output.parent]
        return store.latest(workload, [*beside, Path(), path.parent, store.profiles_folder()])
    profile = Profile.read(given)
    if profile.model != workload.model:
        raise InputError(
            f"{given} is a profile of the model {profile.model}; {workload.name} trains "
            f"{workload.model}: profile that, or leave --profile out"
        )
    return given, profile


def _weights(alpha: float | None, beta: float | None, gamma: float | None) -> "Weights | None":
    from pydantic import ValidationError

    from ..catalog.files import InputError, sentence
    from ..profiles.workload import Weights

    if alpha is None and beta is None and gamma is None:
        return None
    if not (alpha or beta or gamma):
        raise InputError("--alpha, --beta and --gamma are all 0; at least one must be above 0")
    given = {"alpha": alpha or 0, "beta": beta or 0, "gamma": gamma or 0}
    try:
        return Weights.model_validate(given)
    except ValidationError as error:
        raise InputError(f"--{sentence(error, Weights)}") from None


def _say(text: str) -> None:
    from .output import out

    out.print(text, soft_wrap=True, markup=False)


def show(plan: "Plan", *, reasons: bool = True) -> None:
    """The plan in words and one table a job; reasons: with why, where the plan knows it."""
    from .explained import show_explanation, show_front, show_limits, time_unit
    from .output import figures, out

    for job in plan.jobs:
        chosen, here = job.chosen, job.runnable_here
        _say(f"{job.name}: {_sentence(chosen)}")
        if here is None:
            _say("This machine cannot train it.")
        elif here == chosen:
            _say("That is the best choice, and it runs right here.")
        else:
            kept = (
                ""
                if job.runnable_here_keeps_constraints
                else " That is outside what was asked for."
            )
            _say(f"Right here: {_sentence(here)}{kept}")
        if chosen.basis == "transferred":
            _say("Nothing was measured on the chosen offer: its figures are transferred.")
        rows = [chosen, *job.runners_up]
        if here is not None and here not in rows:
            rows.append(here)
        unit_s, unit = time_unit(max(one.predicted.time_s.p90 for one in rows))
        names = ("offer", "buy", "nodes", "batch", f"time/{unit}", "p90", "cost", "flex", "L")
        table = figures(None, *names, words=2)
        for one in rows:
            table.add_row(*_row(one, unit_s))
        out.print(table)
        if reasons and job.explanation is not None:
            show_explanation(job.explanation, chosen)
    if plan.pipeline is not None:
        _show_pipeline(plan.pipeline)
    if plan.limits:
        show_limits(plan.limits)
    if plan.front is not None:
        show_front(plan.front)
    w, s = plan.weights, plan.solver
    _say(
        f"Weights: performance {w.alpha:.2f}, cost {w.beta:.2f}, flexibility {w.gamma:.2f}. "
        f"{s.candidates:,} candidates; {s.status} by {s.name}, gap {s.gap:.1e}. "
        f"Prices of {plan.oldest_price} to {plan.newest_price}."
    )
    for words in plan.stale_prices:
        _say(f"Note for {words}.")


def _show_pipeline(one: "Pipeline") -> None:
    """The end of the whole, and a line for each move of data."""
    from rich.markup import escape

    from ..reports.words import duration, usd
    from .output import figures, out

    _say(
        f"The pipeline ends within {duration(one.makespan_s)}, counting for each job the time that it "
        f"keeps 9 times in 10; it costs {usd(one.cost_usd)}, of which {usd(one.moved_usd)} for moving "
        f"data. L of the whole: {one.total:.3f}."
    )
    table = figures(None, "move", "from", "to", "GB", "takes", "cost", words=3)
    for move in one.moves:
        table.add_row(
            escape(f"{move.from_job} > {move.to_job}"),
            escape(move.source),
            escape(move.target),
            f"{move.bytes / 1e9:,.0f}",
            duration(move.seconds) if move.seconds else "-",
            usd(move.usd),
        )
    out.print(table)


def _row(one: "PlannedCandidate", unit_s: float) -> list[str]:
    from rich.markup import escape

    from ..reports.words import usd

    offer = one.offer
    devices = f"{offer.accelerator_count}x{offer.accelerator}"
    return [
        escape(f"{offer.provider} {offer.instance_type} {devices}"),
        one.purchase.value.replace("_", " ").replace("on demand", "demand"),
        str(one.nodes),
        str(one.per_device_batch),
        f"{one.predicted.time_s.mean / unit_s:,.1f}",
        f"{one.predicted.time_s.p90 / unit_s:,.1f}",
        usd(one.predicted.cost_usd.mean),
        f"{one.predicted.flexibility:.2f}",
        f"{one.losses.total:.3f}",
    ]


def _sentence(one: "PlannedCandidate") -> str:
    from ..reports.words import duration, rate, usd

    offer, predicted = one.offer, one.predicted
    if offer.provider == "local":
        where = f"train on this machine ({offer.instance_type})"
    else:
        nodes = f"{one.nodes} x " if one.nodes > 1 else ""
        where = (
            f"rent {nodes}{offer.instance_type} ({offer.accelerator_count} x {offer.accelerator}) "
            f"from {offer.provider} in {offer.region}, {one.purchase.value.replace('_', ' ')}"
        )
    workers = f", {one.workers} workers" if one.workers > 1 else ""
    return (
        f"{where}, batch {one.per_device_batch} a device{workers}"
        f"{', XLA' if one.knobs.xla else ''}. It takes {duration(predicted.time_s.mean)} "
        f"(9 times in 10 under {duration(predicted.time_s.p90)}) and costs "
        f"{usd(predicted.cost_usd.mean)} (under {usd(predicted.cost_usd.p90)}) at "
        f"{rate(predicted.samples_per_s.p50)} ({one.basis})."
    )
