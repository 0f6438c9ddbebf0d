"""isocost doctor: what this machine has, and what is missing."""

import json
from typing import Annotated

import typer


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Say what this machine has, what is missing, and what to do about it.

    Devices, processors, memory, disk, catalog, solvers, engines, live view and browser. Ends with 4
    where something is wrong without which isocost cannot do its main work.

    Example: isocost doctor
    """
    from .findings import findings
    from .output import figures, only_ours_on_stdout, out, waiting

    with only_ours_on_stdout(), waiting("Looking; TensorFlow takes some seconds"):
        found = list(findings())
    if as_json:
        typer.echo(json.dumps({"findings": [one.as_json() for one in found]}, indent=1))
    else:
        from rich.markup import escape

        table = figures(None, "", "", "", words=3)
        marks = {
            "ok": "[green]ok[/]",
            "missing": "[yellow]missing[/]",
            "problem": "[red]problem[/]",
        }
        for one in found:
            remedy = f"\n-> {escape(one.remedy)}" if one.remedy else ""
            table.add_row(one.name, marks[one.state], escape(one.found) + remedy)
        table.show_header = False
        out.print(table)
    if any(one.state == "problem" and one.needed for one in found):
        raise typer.Exit(4)
