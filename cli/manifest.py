"""isocost manifest: look over what is about to be submitted."""

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Check manifests of training runs: Kubernetes, JobSet, Kubeflow Trainer, PAI-DLC, SkyPilot. "
    "Example: isocost manifest check job.yaml --plan plan.json",
    no_args_is_help=True,
)


@app.callback()
def _group() -> None:
    pass


@app.command("check")
def check(
    files: Annotated[
        list[str], typer.Argument(help="Files in YAML or JSON; - for standard input.")
    ],
    plan: Annotated[
        Path | None,
        typer.Option(help="Hold them to this plan; without it, to what the file itself promises."),
    ] = None,
    job: Annotated[str | None, typer.Option(help="Which job of a plan with several.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Find mistakes that a scheduler would take without a word, or that stop it.

    Every finding says what was found, what was expected and what to do; exit code 2 where there is
    one. Example: isocost run plan.json --engine jobset --dry-run | isocost manifest check -
    """
    import json

    from ..catalog.files import InputError, read_text
    from ..execution.manifests import check as findings_of
    from ..execution.manifests import read
    from ..execution.manifests.ordering import contract_for
    from ..execution.setup import planned_job
    from ..optimizer.plan import Plan
    from .output import out

    planned = None if plan is None else planned_job(Plan.read(plan), job)
    found = []
    for file in files:
        origin = "standard input" if file == "-" else file
        content = sys.stdin.read() if file == "-" else read_text(Path(file))
        documents = read(content, origin)
        expected = None if planned is None else contract_for(planned, documents)
        found += [(origin, finding) for finding in findings_of(documents, expected)]
    if as_json:
        listed = [
            {
                "file": origin,
                "where": one.where,
                "found": one.found,
                "expected": one.expected,
                "remedy": one.remedy,
            }
            for origin, one in found
        ]
        sys.stdout.write(json.dumps({"findings": listed}, indent=2, ensure_ascii=False) + "\n")
    for origin, one in found:
        if not as_json:
            print(f"{origin}: {one.sentence}")
    if found:
        count = f"{len(found)} mistakes" if len(found) > 1 else "a mistake"
        raise InputError(f"{count} in {', '.join(dict.fromkeys(origin for origin, _ in found))}")
    if not as_json:
        out.print(f"No mistake found in {', '.join(files)}.", soft_wrap=True, markup=False)
