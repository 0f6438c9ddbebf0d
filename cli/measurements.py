"""isocost profile predict, show, import, export: measurements as tables."""

import json
from collections.abc import Mapping
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
    from ..catalog import load
    from ..catalog.files import InputError, write_whole
    from ..profiles import store
    from ..profiles.predict import Predictor, predicted_cells
    from ..profiles.public import public_rows
    from ..profiles.table import read_table, write_rows
    from .output import err, out

    known = read_table(measurements, measured=True).sound()
    wanted = read_table(at, measured=False).sound()
    predictor = Predictor.of(
        known.rows,
        wanted.rows,
        load().accelerators,
        (*public_rows(), *store.imported()),
        lambda words: err.print(words, markup=False) if err.is_terminal else None,
    )
    predictions = predictor.predict(wanted.rows)
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


def show(
    words: Annotated[
        list[str] | None,
        typer.Argument(help="Words that model, accelerator, source or data must contain."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Only models that contain this.")] = None,
    accelerator: Annotated[str | None, typer.Option(help="Only this accelerator.")] = None,
    precision: Annotated[str | None, typer.Option(help="Only this precision.")] = None,
    devices: Annotated[int | None, typer.Option(min=1, help="Only so many accelerators.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="Rows to show; 0 for all.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON.")] = False,
) -> None:
    """Browse measured throughput: the built-in public table, your imports and your profiles.

    Says where two sources disagree by more than a tenth on the same setting.

    Example: isocost profile show resnet50 --accelerator T4
    """
    from ..catalog.files import InputError, did_you_mean
    from ..profiles import store
    from ..profiles.public import public_rows
    from ..profiles.sheets import key
    from ..profiles.table import conflicts, row
    from .output import figures, out

    own = [row({k: str(v) for k, v in cells.items()}, 0) for cells in store.own_rows()]
    known = [*public_rows(), *store.imported(), *own]
    found = [
        each
        for each in known
        if all(
            any(
                word.lower() in each.cell(name).lower()
                for name in ("model", "accelerator", "source", "dataset")
            )
            for word in words or ()
        )
        and (model is None or model.lower() in each.cell("model").lower())
        and (accelerator is None or key(each.cell("accelerator")) == key(accelerator))
        and (precision is None or precision.lower() in each.cell("precision").lower())
        and (devices is None or each.devices == devices)
    ]
    if accelerator is not None and not found:
        names = {each.cell("accelerator") for each in known}
        if key(accelerator) not in {key(name) for name in names}:
            raise InputError(f"--accelerator {accelerator!r}{did_you_mean(accelerator, names)}")
    found.sort(
        key=lambda each: (
            each.cell("model"),
            each.cell("accelerator"),
            each.devices,
            each.batch or 0,
        )
    )
    apart = conflicts(found)
    shown = found[:limit] if limit else found
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "measurements": [dict(each.cells) for each in shown],
                    "found": len(found),
                    "conflicts": [
                        {
                            "slower": dict(one.slower.cells),
                            "faster": dict(one.faster.cells),
                            "ratio": one.ratio,
                        }
                        for one in apart
                    ],
                },
                indent=1,
            )
        )
        return
    marked = {id(each) for one in apart for each in (one.slower, one.faster)}
    table = figures(
        None, "model", "data", "accelerator", "source", "n", "batch", "bits", "rate", words=4
    )
    for each in shown:
        bits = each.cell("precision").replace("mixed_", "").replace("tensorfloat", "tf")
        rate = (
            f"{each.throughput:,.0f}" if (each.throughput or 0) >= 100 else f"{each.throughput:.3g}"
        )
        unit = each.cell("unit").split("/")[0]
        table.add_row(
            each.cell("model"),
            each.cell("dataset").removeprefix("synthetic "),
            each.cell("accelerator"),
            _short(each.cell("source")) + (" !" if id(each) in marked else ""),
            str(each.devices),
            f"{each.batch:g}" if each.batch else "-",
            bits.replace("bfloat", "bf").replace("float", "fp")
            + (" xla" if each.cell("xla") == "on" else ""),
            rate + ("" if unit in ("samples", "") else f" {unit[:3]}"),
        )
    out.print(table)
    out.print(
        f"{len(shown)} of {len(found)} measurements, samples/s of all n devices; --limit 0 shows "
        "all, --json every column."
    )
    if apart:
        out.print(f"{len(apart)} settings on which sources disagree (marked !):")
        for one in apart[:5]:
            out.print("  " + one.describe(), markup=False)


def _short(source: str) -> str:
    """A source without its licence and commit."""
    return source.split(" (")[0].split(" @")[0].split(" submission")[0].split(",")[0]


def import_(
    file: Annotated[Path, typer.Argument(help="CSV, plain or gzipped.", show_default=False)],
) -> None:
    """Keep somebody's measurements, to be shown and predicted from.

    Wrong rows are refused one by one with line and reason, the rest is kept. Importing a file twice
    changes nothing.

    Example: isocost profile import runs.csv
    """
    from ..catalog.files import InputError
    from ..profiles import store
    from ..profiles.table import SHOWN_FAULTS, read_table
    from .output import err, out

    table = read_table(file, measured=True)
    new, known = store.keep_imports(table.rows)
    already = f", {known} were there already" if known else ""
    out.print(
        f"{new} measurements imported{already}. Kept in {store.imports_path()}",
        soft_wrap=True,
        markup=False,
    )
    for fault in table.faults[:SHOWN_FAULTS]:
        err.print(fault, markup=False, soft_wrap=True)
    if table.faults:
        raise InputError(
            f"{len(table.faults)} of {len(table.faults) + len(table.rows)} rows were refused"
        )


def export(
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="CSV to write; else standard output.")
    ] = None,
) -> None:
    """Write your own measurements and imports as CSV, to share.

    Example: isocost profile export -o mine.csv
    """
    from ..catalog.files import InputError, write_whole
    from ..profiles import store
    from ..profiles.table import COLUMNS, write_rows
    from .output import err

    rows: list[Mapping[str, object]] = [*store.own_rows(), *(row.cells for row in store.imported())]
    if not rows:
        raise InputError("there is nothing to export; measure with `isocost profile FILE` first")
    text = write_rows(COLUMNS, rows)
    if output is None:
        typer.echo(text, nl=False)
    else:
        write_whole(output, text)
        err.print(f"{len(rows)} measurements written to {output}", soft_wrap=True, markup=False)
