"""isocost catalog: what can be rented."""

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import complete
from .catalog_diff import diff
from .catalog_refresh import refresh
from .output import CatalogChoice, OwnedChoice

if TYPE_CHECKING:
    from ..catalog.importing import Imported, Refusal

app = typer.Typer(no_args_is_help=True)
app.command("refresh")(refresh)
app.command("diff")(diff)


@app.callback()
def _group() -> None:
    """Offers and their prices.

    Example: isocost catalog show "accelerator = 'T4'"
    """


@app.command("show")
def show(
    where: Annotated[
        str | None, typer.Argument(help="SQL condition on the columns that --columns lists.")
    ] = None,
    provider: Annotated[
        list[str] | None,
        typer.Option(help="Only these providers.", autocompletion=complete.providers),
    ] = None,
    accelerator: Annotated[
        list[str] | None,
        typer.Option(help="Only these accelerators.", autocompletion=complete.accelerators),
    ] = None,
    region: Annotated[
        list[str] | None,
        typer.Option(help="Only these regions.", autocompletion=complete.regions),
    ] = None,
    sort: Annotated[str, typer.Option(help="Column to sort by.")] = "on_demand_usd_h",
    limit: Annotated[int, typer.Option(min=0, help="Rows to show; 0 for all.")] = 20,
    which: CatalogChoice = "all",
    owned: OwnedChoice = None,
    columns: Annotated[bool, typer.Option("--columns", help="List the columns and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the offers as JSON.")] = False,
) -> None:
    """List offers, filtered and sorted.

    Example: isocost catalog show "accelerator = 'T4' AND spot_usd_h < 0.2" --sort spot_usd_h
    """
    from ..catalog import catalog_of, this_machine, with_owned
    from ..catalog.files import InputError, did_you_mean
    from .output import figures, out

    catalog = with_owned(catalog_of(which), owned).with_offer(this_machine())
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


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="Price list, .csv or .csv.gz.")],
    name: Annotated[
        str | None, typer.Option(help="Keep it under this name; by default the file's own.")
    ] = None,
    provider: Annotated[
        str | None, typer.Option(help="Whose prices a SkyPilot list holds; else its folder's name.")
    ] = None,
    as_of: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Day of the prices, if the list has no dates."),
    ] = None,
    show: Annotated[
        int, typer.Option(min=0, help="Refused rows to print; 0 for all of them.")
    ] = 20,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be taken; keep nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Read a price list into your own catalog; rows that are wrong are refused one by one.

    Reads isocost's columns (those of `isocost catalog show --columns`) and SkyPilot's vms.csv.
    Importing a list of the same name again replaces it.

    Example: isocost catalog import prices/aws/vms.csv --provider aws --as-of 2026-11-01
    """
    from ..catalog import load
    from ..catalog.files import InputError
    from ..catalog.importing import read_offers
    from ..catalog.shelf import put, put_refusals, safe_name
    from .output import waiting

    with waiting(f"Reading {file.name}"):
        day = as_of.date() if as_of else None
        found = read_offers(file, load(), provider=provider, as_of=day)
    kept_as = safe_name(name or _list_name(file, provider))
    if found.offers.is_empty():
        first = found.refused[0]
        raise InputError(
            f"{file}: all {found.rows} rows are wrong, so nothing was taken; the first, line "
            f"{first.line} ({first.offer}): {first.reason}"
        )
    stored = refusals = None
    if not dry_run:
        stored = put(kept_as, found.offers)
        refusals = put_refusals(kept_as, found.refused)
    if as_json:
        typer.echo(json.dumps(_outcome(found, kept_as, stored), indent=1))
        return
    _show_import(found, show)
    where = "Nothing was kept (--dry-run)." if stored is None else f"Kept as '{kept_as}': {stored}"
    typer.echo(where)
    if refusals is not None:
        typer.echo(f"Every refused row with its reason: {refusals}")


@app.command("sources")
def sources(
    forget: Annotated[str | None, typer.Option(help="Remove the list of this name.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the lists as JSON.")] = False,
) -> None:
    """List what you imported and refreshed: names, offers, days of prices.

    Example: isocost catalog sources --forget offers
    """
    from ..catalog import shelf
    from .output import figures, out

    if forget is not None:
        shelf.forget(forget)
    lists = {name: shelf.take(name) for name in shelf.stored_sources()}
    rows = [
        {
            "name": name,
            "providers": sorted(offers["provider"].unique()),
            "offers": offers.height,
            "oldest_price": str(offers["price_date"].min()),
            "newest_price": str(offers["price_date"].max()),
        }
        for name, offers in lists.items()
    ]
    if as_json:
        typer.echo(json.dumps({"sources": rows}, indent=1))
        return
    if not rows:
        out.print("Nothing was imported yet: isocost catalog import FILE.")
        return
    table = figures(None, "name", "providers", "offers", "oldest", "newest", words=2)
    for row in rows:
        table.add_row(
            str(row["name"]),
            " ".join(row["providers"]),  # type: ignore[arg-type]
            f"{row['offers']:,}",
            str(row["oldest_price"]),
            str(row["newest_price"]),
        )
    out.print(table)
    out.print(f"They lie in {shelf.shelf()}.", soft_wrap=True)


def _list_name(file: Path, provider: str | None) -> str:
    """offers.csv.gz is "offers"; aws/vms.csv is "aws-vms"."""
    stem = file.name.split(".")[0] or "offers"
    seller = provider or (file.resolve().parent.name if stem == "vms" else None)
    return f"{seller}-{stem}" if seller else stem


def _outcome(found: "Imported", name: str, stored: Path | None) -> dict[str, object]:
    def listed(rows: "tuple[Refusal, ...]") -> list[dict[str, object]]:
        return [{"line": r.line, "offer": r.offer, "reason": r.reason} for r in rows]

    return {
        "name": name,
        "stored": None if stored is None else str(stored),
        "rows": found.rows,
        "kept": found.offers.height,
        "merged": found.merged,
        "refused": listed(found.refused),
        "doubtful": listed(found.doubts),
    }


def _show_import(found: "Imported", show: int) -> None:
    from rich.markup import escape

    from .output import figures, out

    for title, rows in (("Refused", found.refused), ("Kept, but doubtful", found.doubts)):
        if not rows:
            continue
        kinds = figures(f"{title}: {len(rows):,} rows", "rows", "first line", "why", words=0)
        kinds.columns[2].justify, kinds.columns[2].no_wrap = "left", False
        for count, line, reason in _kinds(rows):
            kinds.add_row(f"{count:,}", str(line), escape(reason))
        out.print(kinds)
    listed = found.refused[:show] if show else found.refused
    for one in listed:
        out.print(f"line {one.line}: {one.offer}: {one.reason}", soft_wrap=True, markup=False)
    if len(listed) < len(found.refused):
        out.print(f"... and {len(found.refused) - len(listed):,} more; --show 0 prints all.")
    merged = (
        f", {found.merged:,} merged into others (zones of a region, GPUs of a host)"
        if found.merged
        else ""
    )
    sizes = (
        f" {found.completed:,} took vCPUs and memory from the same type elsewhere."
        if found.completed
        else ""
    )
    out.print(
        f"{found.rows:,} rows read: {found.offers.height:,} kept as offers{merged}, "
        f"{len(found.refused):,} refused.{sizes}",
        soft_wrap=True,
    )


def _kinds(rows: "tuple[Refusal, ...]") -> list[tuple[int, int, str]]:
    """(rows, first line, reason) for each kind of reason: reasons that differ in figures are one."""
    import re

    kinds: dict[str, list[Refusal]] = {}
    for one in rows:
        kinds.setdefault(
            re.sub(r"(?<![\w-])-?\d+(\.\d+)?(e-?\d+)?(?!\w)", "#", one.reason), []
        ).append(one)
    return sorted(
        ((len(some), some[0].line, some[0].reason) for some in kinds.values()),
        key=lambda kind: -kind[0],
    )
