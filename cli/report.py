"""isocost report: records as one page, or its figures as image files."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..reports.exporting import Format

FORMATS = ("png", "svg", "pdf")


def report(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Plan, simulation, replay, comparison, run and profile files, in any order."
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The page.")] = Path("report.html"),
    title: Annotated[str | None, typer.Option(help="Heading of the page.")] = None,
    export: Annotated[
        Path | None,
        typer.Option(
            help="Also write each figure as image files to this folder (needs kaleido and a browser)."
        ),
    ] = None,
    formats: Annotated[
        str, typer.Option("--format", help="Of the exported figures: png, svg, pdf, with commas.")
    ] = "png",
) -> None:
    """Join records into one self-contained HTML page, a tab each, that needs no network.

    Examples:

    isocost report plan.json simulation.json run.json -o report.html

    isocost report plan.json --export figures --format svg,pdf
    """
    from ..catalog.files import write_whole
    from ..reports import export as write_figures
    from ..reports import read_any, render
    from .output import only_ours_on_stdout, out

    kinds = _formats(formats)
    documents = [read_any(path) for path in files]
    page = render(documents, title=title)
    write_whole(output, page)
    out.print(
        f"Written to {output} ({len(page.encode()) / 1e6:.1f} MB)", soft_wrap=True, markup=False
    )
    if export is not None:
        with only_ours_on_stdout():
            written = write_figures(documents, export, kinds)
        out.print(f"{len(written)} figures written to {export}", soft_wrap=True, markup=False)


def _formats(given: str) -> "list[Format]":
    from ..catalog.files import InputError, did_you_mean

    kinds = list(dict.fromkeys(part.strip().lower() for part in given.split(",")))
    for kind in kinds:
        if kind not in FORMATS:
            raise InputError(f"--format: '{kind}' is none{did_you_mean(kind, FORMATS)}")
    return kinds  # type: ignore[return-value]
