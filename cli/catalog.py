"""isocost catalog: what can be rented."""

import json
from typing import Annotated

import typer

app = typer.Typer(help="Offers and their prices.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Offers and their prices."""


@app.command("show")
def show(
    where: Annotated[
        str | None, typer.Argument(help="SQL condition on the columns that --columns lists.")
    ] = None,
    provider: Annotated[list[str] | None, typer.Option(help="Only these providers.")] = None,
    accelerator: Annotated[list[str] | None, typer.Option(help="Only these accelerators.")] = None,
    region: Annotated[list[str] | None, typer.Option(help="Only these regions.")] = None,
    sort: Annotated[str, typer.Option(help="Column to sort by.")] = "on_demand_usd_h",
    limit: Annotated[int, typer.Option(min=0, help="Rows to show; 0 for all.")] = 20,
    columns: Annotated[bool, typer.Option("--columns", help="List the columns and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the offers as JSON.")] = False,
) -> None:
    """List offers, filtered and sorted.

    Example: isocost catalog show "accelerator = 'T4' AND spot_usd_h < 0.2" --sort spot_usd_h
    """
    from ..catalog import load, this_machine
    from ..catalog.files import InputError, did_you_mean
    from .output import figures, out

    catalog = load().with_offer(this_machine())
    names = catalog.offers.columns
    if columns:
        for name in names:
            typer.echo(name)
        return
    if sort not in names:
        raise InputError(f"--sort: there is no column '{sort}'{did_you_mean(sort, names)}")
    for column, words in (("provider", provider), ("accelerator", accelerator), ("region", region)):
        if words:
            listed = ", ".join("'" + word.replace("'", "''") + "'" for word in words)
            catalog = catalog.filtered(f"{column} IN ({listed})")
    if where:
        catalog = catalog.filtered(where)
    offers = catalog.offers.sort(sort, nulls_last=True, maintain_order=True)
    found = len(offers)
    offers = offers.head(limit) if limit else offers
    if as_json:
        typer.echo(json.dumps({"offers": json.loads(offers.write_json())}, indent=1))
        return
    table = figures(
        None, "provider", "region", "type", "devices", "vCPU", "demand", "spot", "priced", words=4
    )
    for row in offers.iter_rows(named=True):
        table.add_row(
            row["provider"],
            row["region"],
            row["instance_type"],
            f"{row['accelerator_count']}x{row['accelerator']}",
            f"{row['vcpus']:g}",
            _price(row["on_demand_usd_h"] or row["owned_usd_h"]),
            _price(row["spot_usd_h"]),
            f"{row['price_date']:%Y-%m}",
        )
    out.print(table)
    out.print(f"{len(offers)} of {found} offers; prices in USD an hour.")


def _price(usd_h: float | None) -> str:
    return "" if usd_h is None else f"{usd_h:.4g}"
