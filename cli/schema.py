"""isocost schema: the JSON Schema of every file, for editors."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..catalog.files import Document

# Where each kind of file is described; imported only when asked for.
FILES = {
    "workload": ("profiles.workload", "Workload"),
    "offers": ("catalog.owned", "OwnedFile"),
    "cluster": ("simulator.cluster", "Cluster"),
    "profile": ("profiles.records", "Profile"),
    "plan": ("optimizer.plan", "Plan"),
    "simulation": ("simulator.records", "Simulation"),
    "run": ("execution.record", "Run"),
}


def _names(incomplete: str) -> list[str]:
    return [name for name in FILES if name.startswith(incomplete)]


def schema(
    name: Annotated[
        str | None,
        typer.Argument(help="Kind of file; without one, they are listed.", autocompletion=_names),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="Write it here; of no NAME, all of them into a folder."
        ),
    ] = None,
) -> None:
    """Print the JSON Schema of a file, so that editors complete and check it.

    A YAML file that begins with "# yaml-language-server: $schema=FILE" is checked by editors with the
    YAML language server; isocost init writes that line.

    Examples:

    isocost schema workload -o workload.schema.json

    isocost schema -o schemas/
    """
    from ..catalog.files import InputError, did_you_mean
    from .output import out

    if name is not None and name not in FILES:
        raise InputError(f"there is no file '{name}'{did_you_mean(name, FILES)}")
    if name is None and output is None:
        for known in FILES:
            out.print(known)
    elif name is None and output is not None:
        for known in FILES:
            out.print(f"Written to {write_schema(known, output)}", soft_wrap=True, markup=False)
    elif output is not None:
        from ..catalog.files import write_whole

        write_whole(output, _text(name or ""))
        out.print(f"Written to {output}", soft_wrap=True, markup=False)
    else:
        typer.echo(_text(name or ""), nl=False)


def write_schema(name: str, folder: Path) -> Path:
    """The schema of one kind of file as NAME.json in folder; written only where it is not there."""
    from ..catalog.files import write_whole

    path, text = folder / f"{name}.json", _text(name)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_whole(path, text)
    return path


def document(name: str) -> "type[Document]":
    """The record that a kind of file is read as."""
    import importlib

    module, kind = FILES[name]
    found: type[Document] = getattr(importlib.import_module(f"..{module}", __package__), kind)
    return found


def _text(name: str) -> str:
    described = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **document(name).model_json_schema(by_alias=True, mode="validation"),
    }
    return json.dumps(described, indent=1) + "\n"
