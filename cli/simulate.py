"""isocost simulate: a plan rehearsed under losses and failures, or a job trace replayed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from . import replay

if TYPE_CHECKING:
    from ..simulator import Simulation

OF_A_TRACE = ("--cluster", "--throughputs", "--policy")


class _PlanOrTrace(TyperGroup):
    """``isocost simulate FILE`` replays a trace (.csv, .csv.gz) and rehearses anything else."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            trace = args[0].endswith((".csv", ".csv.gz")) or any(
                one.split("=")[0] in OF_A_TRACE for one in args
            )
            args = ["trace" if trace else "plan", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=_PlanOrTrace, no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Rehearse a plan (plan.json), or replay a job trace on a cluster (trace.csv).

    `isocost simulate plan.json` is short for `isocost simulate plan plan.json`, and
    `isocost simulate trace.csv --cluster ...` for `isocost simulate trace trace.csv --cluster ...`.
    """


app.command("trace")(replay.replay)
app.command("compare")(replay.compare)


@app.command("plan")
def simulate(
    plan: Annotated[Path, typer.Argument(help="Plan file of isocost optimize.")],
    replications: Annotated[
        int, typer.Option(min=10, max=1_000_000, help="Simulated futures.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same futures.")] = 0,
    here: Annotated[
        bool, typer.Option("--here", help="Rehearse the candidate for this machine instead.")
    ] = False,
    processes: Annotated[int, typer.Option(min=1, max=256, help="Run on so many cores.")] = 1,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Simulation file (simulation.json without --json)."),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Also write a page about it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the simulation as JSON.")] = False,
) -> None:
    """Rehearse a plan: when it finishes and what it costs, over many simulated futures.

    Spot losses, node failures, provisioning, checkpoints and the prediction's own doubt.
    Example: isocost simulate plan.json --replications 5000 -o simulation.json
    """
    from ..catalog.files import write_whole
    from ..optimizer.plan import Plan
    from ..simulator import rehearse
    from .output import only_ours_on_stdout, out, print_json, progress_bar

    planned = Plan.read(plan)
    with only_ours_on_stdout(), progress_bar() as bar:
        task = bar.add_task("rehearsing", total=replications, note="")
        found = rehearse(
            planned,
            replications=replications,
            seed=seed,
            which="runnable_here" if here else "chosen",
            jobs=processes,
            plan_path=str(plan),
            progress=lambda done: bar.update(task, completed=done),
        )
    if output is None and not as_json:
        output = Path("simulation.json")
    if output is not None:
        found.write(output)
    if report is not None:
        from ..reports import render

        write_whole(report, render([planned, found]))
    if as_json:
        print_json(found)
    else:
        _show(found)
        out.print(f"Written to {output}", soft_wrap=True, markup=False)


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
    out.print(f"{found.interruptions:.2f} interruptions a run on average.")
