"""isocost init: a commented workload file, from a Keras script or a few questions."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from .complete import models


def init(
    script: Annotated[
        Path | None, typer.Argument(help="Keras script; without one, a few questions.")
    ] = None,
    arguments: Annotated[
        list[str] | None, typer.Argument(help="The script's own arguments, after --.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Workload file; by default SCRIPT.yaml beside it."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the job.")] = None,
    deadline: Annotated[str | None, typer.Option(help="For example 90m, 6h, 1d12h.")] = None,
    budget: Annotated[float | None, typer.Option(min=0, help="USD at most.")] = None,
    data_location: Annotated[
        str | None, typer.Option(help="Where the data lie, as provider:region.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Without a script: a built-in model, or module:function.", autocompletion=models
        ),
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Without a script: samples in an epoch.")
    ] = None,
    epochs: Annotated[
        float | None, typer.Option(min=1e-6, help="Without a script: epochs to the target.")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Without a script: samples in a step.")
    ] = None,
    fit: Annotated[int, typer.Option(min=1, help="Which call of fit, if there are several.")] = 1,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Try one training step of what was found.")
    ] = True,
    patience: Annotated[
        float, typer.Option(min=1, help="Seconds for the script to come to its fit.")
    ] = 300.0,
    force: Annotated[
        bool, typer.Option("--force", help="Write over files that are there.")
    ] = False,
) -> None:
    """Write a commented workload file from a Keras script, or from a few questions.

    The script runs, as it would from the command line, until it calls model.fit; it is not changed
    and trains nothing. A small module beside the workload does the same for isocost profile.

    Examples:

    isocost init train.py

    isocost init train.py --deadline 6h --budget 40 -- --epochs 20 --data images/

    isocost init --model resnet50 --samples 1281167 --epochs 90 --batch 256
    """
    from ..catalog.files import write_whole
    from ..profiles import starting
    from .output import out, waiting

    wishes = starting.Wishes(name, deadline, budget, data_location)
    if script is None:
        _from_answers(wishes, output or Path("workload.yaml"), model, samples, epochs, batch, force)
        return
    _refuse_answers(model, samples, epochs, batch)
    target = output or script.with_suffix(".yaml")
    module = target.parent / f"{starting.module_name(script)}.py"
    _refuse_overwriting([target, module], force)
    given = tuple(arguments or ())
    with waiting(f"Running {script.name} up to its fit"):
        found = starting.look_at(script, given, fit=fit, try_step=check, patience_s=patience)
    text = starting.text_of_script(
        found,
        script,
        wishes,
        schema=_schema_file(),
        next_step=f"isocost profile {starting.relative(target)}",
    )
    _write(target, text)
    write_whole(module, starting.adapter_text(script, given, fit, target.parent))
    parameters = "" if found.facts is None else f" with {found.facts.parameters:,} parameters"
    out.print(
        f"{script.name} trains a {found.kind} model{parameters} on {found.samples:,} samples a pass, "
        f"batch {found.batch}, {found.epochs} epochs.",
        soft_wrap=True,
        markup=False,
    )
    for note in found.notes:
        out.print(f"Note: {note}.", soft_wrap=True, markup=False)
    _written(target, module)


def _from_answers(
    wishes: object,
    target: Path,
    model: str | None,
    samples: int | None,
    epochs: float | None,
    batch: int | None,
    force: bool,
) -> None:
    from dataclasses import replace

    from ..profiles import starting

    assert isinstance(wishes, starting.Wishes)
    _refuse_overwriting([target], force)
    asking = sys.stdin.isatty() and sys.stderr.isatty()
    if asking and model is None:
        model = typer.prompt("Model: built in, or module:function", default="cifar10_cnn", err=True)
    if asking and samples is None:
        samples = typer.prompt("Samples in an epoch", default=50_000, type=int, err=True)
    if asking and epochs is None:
        epochs = typer.prompt("Epochs to the target", default=10.0, type=float, err=True)
    if asking and batch is None:
        batch = typer.prompt("Samples in a step", default=32, type=int, err=True)
    if asking and wishes.deadline is None:
        said = typer.prompt("Deadline, such as 6h (empty: none)", default="", err=True)
        wishes = replace(wishes, deadline=said or None)
    if asking and wishes.budget_usd is None:
        said = typer.prompt("Budget in USD (empty: none)", default="", err=True)
        wishes = replace(wishes, budget_usd=_dollars(said) if said else None)
    text = starting.text_of_answers(
        model=model or "cifar10_cnn",
        samples=samples or 50_000,
        epochs=epochs or 10.0,
        batch=batch or 32,
        wishes=wishes,
        schema=_schema_file(),
        next_step=f"isocost profile {target}",
    )
    _write(target, text)
    _written(target)


def _dollars(said: str) -> float:
    from ..catalog.files import InputError

    try:
        return float(said.lstrip("$"))
    except ValueError:
        raise InputError(f"the budget '{said}' is no number; give dollars, such as 40") from None


def _refuse_answers(*answers: object) -> None:
    from ..catalog.files import InputError

    if any(answer is not None for answer in answers):
        raise InputError(
            "--model, --samples, --epochs and --batch are for a workload without a script; the script "
            "says them itself, and its own arguments go after --"
        )


def _refuse_overwriting(paths: list[Path], force: bool) -> None:
    from ..catalog.files import InputError

    for path in paths:
        if path.exists() and not force:
            raise InputError(f"{path} is there already; --force writes over it, -o names another")


def _write(target: Path, text: str) -> None:
    """Write what is known to be a workload file; raises InputError for any other text."""
    from ..catalog.files import write_whole
    from ..profiles.starting import check_text

    check_text(text, str(target))
    write_whole(target, text)


def _written(target: Path, module: Path | None = None) -> None:
    from .output import out

    with_module = "" if module is None else f" and {module}"
    out.print(f"Written to {target}{with_module}", soft_wrap=True, markup=False)
    out.print(
        f"Next: isocost profile {target}, or at once: isocost optimize {target}",
        soft_wrap=True,
        markup=False,
    )


def _schema_file() -> str:
    """Where editors find the schema of workload files: in the user's data directory, brought up to date."""
    from ..catalog.home import home
    from .schema import write_schema

    return write_schema("workload", home() / "schemas").resolve().as_posix()
