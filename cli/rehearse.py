"""isocost simulate plan.json: a plan rehearsed under losses and failures."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from ..simulator import Simulation
    from ..simulator.records import Difference
    from ..simulator.world import Conditions


def rehearse(
    plan: Annotated[Path, typer.Argument(help="Plan file of isocost optimize.")],
    replications: Annotated[
        int, typer.Option(min=10, max=1_000_000, help="Simulated futures, at most.")
    ] = 1000,
    precision: Annotated[
        float | None,
        typer.Option(
            help="Stop earlier, once the 95 % intervals of mean and p90 are within this share "
            "of their values: 0.01 for 1 %."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same futures.")] = 0,
    here: Annotated[
        bool, typer.Option("--here", help="Rehearse the candidate for this machine instead.")
    ] = False,
    what_if: Annotated[
        list[str] | None,
        typer.Option(
            "--what-if",
            help="Scenarios to set beside the plan: price*1.5,spot_hazard*2,nodes+4,"
            "'fail zone a at 2h'; 'and' joins several changes into one.",
        ),
    ] = None,
    spot_trace: Annotated[
        Path | None,
        typer.Option(
            help="Replay this spot availability instead of the catalog's hazards: CSV with "
            "trace_id, t_start_s, duration_s, available_nodes."
        ),
    ] = None,
    spot_zone: Annotated[
        list[str] | None,
        typer.Option(help="Of that file, only traces whose trace_id holds this (may be repeated)."),
    ] = None,
    block: Annotated[
        str | None,
        typer.Option(help="Length of the replayed blocks, 72h or more; 240h by default."),
    ] = None,
    processes: Annotated[int, typer.Option(min=1, max=256, help="Run on so many cores.")] = 1,
    backend: Annotated[
        Literal["processes", "ray"],
        typer.Option(help="Where they run: on this machine, or on the machines of a Ray cluster."),
    ] = "processes",
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Simulation file (simulation.json without --json)."),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Also write a page about it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the simulation as JSON.")] = False,
) -> None:
    """Rehearse a plan: when it finishes and what it costs, over many simulated futures.

    Spot losses, node failures, provisioning, checkpoints and the prediction's own doubt.
    Example: isocost simulate plan.json --precision 0.01 --what-if 'price*1.5,nodes+4'
    """
    from ..catalog.files import write_whole
    from ..optimizer.plan import Plan
    from ..simulator.rehearsal import planned, run_futures, simulation
    from ..simulator.whatif import parse, scenario_world
    from ..simulator.whatif import what_if as compare
    from .output import only_ours_on_stdout, out, print_json, progress_bar

    given = Plan.read(plan)
    conditions = _conditions(spot_trace, spot_zone or (), block)
    scenarios = parse(what_if) if what_if else []
    which: Literal["chosen", "runnable_here"] = "runnable_here" if here else "chosen"
    candidates = [planned(job, which) for job in given.jobs]
    for one in scenarios:
        # A mistake in one is told before any future is run.
        scenario_world(one, given.jobs, candidates, conditions)
    with only_ours_on_stdout(), progress_bar() as bar:
        task = bar.add_task("rehearsing", total=replications * (1 + len(scenarios)), note="")
        futures = run_futures(
            candidates,
            replications=replications,
            seed=seed,
            jobs=processes,
            backend=backend,
            precision=precision,
            conditions=conditions,
            progress=lambda done: bar.update(task, completed=done),
        )
        first = len(futures.finish_s)
        bar.update(task, total=first * (1 + len(scenarios)))
        found = simulation(
            given,
            candidates,
            futures,
            seed=seed,
            which=which,
            conditions=conditions,
            plan_path=str(plan),
        )
        if scenarios:
            compared = compare(
                scenarios,
                given.jobs,
                candidates,
                futures,
                seed=seed,
                conditions=conditions,
                processes=processes,
                backend=backend,
                progress=lambda done: bar.update(task, completed=first + done),
            )
            found = found.model_copy(update={"what_if": compared})
    if output is None and not as_json:
        output = Path("simulation.json")
    if output is not None:
        found.write(output)
    if report is not None:
        from ..reports import render

        write_whole(report, render([given, found]))
    if as_json:
        print_json(found)
    else:
        _show(found)
        out.print(f"Written to {output}", soft_wrap=True, markup=False)


def _conditions(
    trace: Path | None, zones: "list[str] | tuple[()]", block: str | None
) -> "Conditions":
    from dataclasses import replace

    from ..catalog.files import InputError, seconds
    from ..simulator.rehearsal import ASSUMED
    from ..simulator.spot import BLOCK_S, read_market

    if trace is None:
        if zones or block is not None:
            raise InputError("--spot-zone and --block are about --spot-trace; give its file too")
        return ASSUMED
    try:
        length = BLOCK_S if block is None else float(seconds(block))  # type: ignore[arg-type]
    except ValueError as error:
        raise InputError(f"--block: {error}") from None
    return replace(ASSUMED, market=read_market(trace, zones, length))


def _show(found: "Simulation") -> None:
    from ..reports.words import duration, usd
    from .output import figures, out

    title = f"{found.replications:,} simulated futures, with 95 % intervals"
    table = figures(title, "", "finish", "between", "cost", "between")
    for name in ("mean", "p50", "p90"):
        times, costs = (
            getattr(found.finish_s, f"{name}_ci95"),
            getattr(found.cost_usd, f"{name}_ci95"),
        )
        table.add_row(
            name,
            duration(getattr(found.finish_s, name)),
            " - ".join(duration(value) for value in times),
            usd(getattr(found.cost_usd, name)),
            " - ".join(usd(value) for value in costs),
        )
    out.print(table)
    for words, value, ci in (
        ("deadline is kept", found.p_deadline, found.p_deadline_ci95),
        ("budget is kept", found.p_budget, found.p_budget_ci95),
    ):
        if value is not None and ci is not None:
            out.print(f"The {words} with probability {value:.3f} ({ci[0]:.3f} - {ci[1]:.3f}).")
    out.print(f"{found.interruptions:.2f} machines lost a run on average.")
    if found.unfinished:
        out.print(
            f"{found.unfinished:,} futures were given up unfinished: mean and upper quantiles are "
            "lower bounds."
        )
    if found.what_if:
        _show_scenarios(found)
    out.print("Basis: " + "; ".join(found.basis) + "." if found.basis else "", markup=False)


def _show_scenarios(found: "Simulation") -> None:
    from ..reports.words import duration, usd
    from .output import figures, out

    def difference(one: "Difference", say: "object") -> tuple[str, str]:
        assert callable(say)
        low, high = one.difference_ci95
        return signed(one.difference, say), f"{signed(low, say)} to {signed(high, say)}"

    def signed(value: float, say: "object") -> str:
        assert callable(say)
        return ("-" if value < 0 else "+") + str(say(abs(value)))

    for name, say in (("finish", duration), ("cost", usd)):
        base = found.finish_s.mean if name == "finish" else found.cost_usd.mean
        title = f"What if: mean {name} against {say(base)}, paired, with 95 % intervals"
        table = figures(title, "change", name, "difference", "between")
        for one in found.what_if:
            figure = one.finish_s if name == "finish" else one.cost_usd
            table.add_row(one.change, say(figure.mean), *difference(figure, say))
        out.print(table)
