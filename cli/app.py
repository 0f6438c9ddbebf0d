"""The commands in one list. Nothing heavy is imported before a command runs: help stays quick."""

from typing import Any

import typer
from typer.core import TyperGroup

from . import (
    catalog,
    doctor,
    init,
    manifest,
    optimize,
    profile,
    report,
    run,
    schema,
    serve,
    simulate,
)

ORDER = ("init", "profile", "optimize", "simulate", "run", "report", "serve", "catalog")


class _InOrder(TyperGroup):
    """The commands in the order in which one needs them, and not groups after the rest."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*ORDER, *(name for name in self.commands if name not in ORDER)]


app = typer.Typer(
    name="isocost",
    cls=_InOrder,
    help="Where to train a TensorFlow model: measured, optimised over every cloud offer, "
    "rehearsed, run and checked.",
    epilog="Try: isocost init train.py; isocost profile train.yaml; isocost optimize train.yaml; "
    "isocost run plan.json",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command("init")(init.init)
app.add_typer(profile.app, name="profile")
app.command("optimize")(optimize.optimize)
app.add_typer(simulate.app, name="simulate")
app.command("run")(run.run)
app.command("report")(report.report)
app.command("serve")(serve.serve)
app.add_typer(catalog.app, name="catalog")
app.add_typer(manifest.app, name="manifest")
app.command("schema")(schema.schema)
app.command("doctor")(doctor.doctor)


def _version(wanted: bool) -> None:
    if wanted:
        from .. import __version__

        typer.echo(f"isocost {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and end."
    ),
) -> None:
    pass
