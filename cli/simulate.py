"""isocost simulate: a plan rehearsed under losses and failures, or a job trace replayed."""

from typing import Any

import typer
from typer.core import TyperGroup

from . import rehearse, replay
from .output import default_command

OF_A_TRACE = ("--cluster", "--throughputs", "--policy")


class _PlanOrTrace(TyperGroup):
    """``isocost simulate FILE`` replays a trace (.csv, .csv.gz) and rehearses anything else."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        trace = bool(args) and (
            args[0].endswith((".csv", ".csv.gz"))
            or any(one.split("=")[0] in OF_A_TRACE for one in args)
        )
        default = "trace" if trace else "plan"
        return super().parse_args(ctx, default_command(args, self.commands, default))


app = typer.Typer(cls=_PlanOrTrace, no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Rehearse a plan (plan.json), or replay a job trace on a cluster (trace.csv).

    `isocost simulate plan.json` is short for `isocost simulate plan plan.json`, and
    `isocost simulate trace.csv --cluster ...` for `isocost simulate trace trace.csv --cluster ...`.
    """


app.command("plan")(rehearse.rehearse)
app.command("trace")(replay.replay)
app.command("compare")(replay.compare)
