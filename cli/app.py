"""The commands in one list. Nothing heavy is imported before a command runs: help stays quick."""

import typer

from . import catalog, optimize, profile, report, run, simulate

app = typer.Typer(
    name="isocost",
    help="Where to train a TensorFlow model: measured, optimised over every cloud offer, "
    "rehearsed, run and checked.",
    epilog="Try: isocost profile examples/cifar10.yaml; isocost optimize examples/cifar10.yaml; "
    "isocost run plan.json",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command("optimize")(optimize.optimize)
app.command("run")(run.run)
app.command("report")(report.report)
app.add_typer(profile.app, name="profile")
app.add_typer(simulate.app, name="simulate")
app.add_typer(catalog.app, name="catalog")


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
