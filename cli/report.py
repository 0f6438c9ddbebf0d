"""isocost report: records as one page."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    files: Annotated[
        list[Path], typer.Argument(help="Plan, simulation, run and profile files, in any order.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The page.")] = Path("report.html"),
    title: Annotated[str | None, typer.Option(help="Heading of the page.")] = None,
) -> None:
    """Join records into one self-contained HTML page that needs no network.

    Example: isocost report plan.json simulation.json run.json -o report.html
    """
    from ..catalog.files import write_whole
    from ..reports import read_any, render
    from .output import out

    page = render([read_any(path) for path in files], title=title)
    write_whole(output, page)
    out.print(f"Written to {output} ({len(page) / 1e6:.1f} MB)", soft_wrap=True, markup=False)
