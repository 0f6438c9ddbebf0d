"""isocost profile predict: tables of measurements, predicted from."""

from pathlib import Path
from typing import Annotated

import typer


def predict(
    measurements: Annotated[
        Path, typer.Option(help="CSV of measured rows, as .csv or .csv.gz.", show_default=False)
    ],
    at: Annotated[
        Path, typer.Option(help="CSV of the configurations to predict.", show_default=False)
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="CSV to write.", show_default=False)
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a summary as JSON instead of text.")
    ] = False,
) -> None:
    """Predict training throughput of configurations from measurements of others.

    Writes the columns of --at with throughput_pred, p05 and p95 (the 90 % interval) and basis:
    measured, fitted (same model and accelerator) or transferred (same model, another accelerator).

    Example: isocost profile predict --measurements runs.csv --at plan.csv -o predicted.csv
    """
    import json

    from ..catalog import load
    from ..catalog.files import InputError, write_whole
    from ..profiles.predict import Predictor, predicted_cells
    from ..profiles.table import read_table, write_rows
    from .output import err, out

    known = read_table(measurements, measured=True).sound()
    wanted = read_table(at, measured=False).sound()
    predictor = Predictor.of(
        known.rows,
        wanted.rows,
        load().accelerators,
        lambda words: err.print(words, markup=False) if err.is_terminal else None,
    )
    predictions = [predictor.predict(row) for row in wanted.rows]
    columns = [name for name in wanted.columns if name not in predicted_cells(None)]
    cells = [
        {**row.cells, **predicted_cells(one)}
        for row, one in zip(wanted.rows, predictions, strict=True)
    ]
    write_whole(output, write_rows([*columns, *predicted_cells(None)], cells))
    counts = {
        basis: sum(one is not None and one.basis == basis for one in predictions)
        for basis in ("measured", "fitted", "transferred")
    }
    if as_json:
        typer.echo(json.dumps({"configurations": len(predictions), **counts, "file": str(output)}))
    else:
        words = ", ".join(f"{count} {basis}" for basis, count in counts.items() if count)
        out.print(f"{len(predictions)} configurations: {words or 'none predicted'}.", markup=False)
        out.print(f"Written to {output}", soft_wrap=True, markup=False)
    unknown = [row for row, one in zip(wanted.rows, predictions, strict=True) if one is None]
    if unknown:
        raise InputError("\n".join(predictor.unknown(row, str(at)) for row in unknown[:20]))
