"""Offers the user imported: one file for each source in the user's data directory."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Literal

import polars as pl

from .discounts import with_reserved_prices
from .files import InputError, did_you_mean, write_whole
from .home import home
from .importing import Refusal
from .store import OFFER_KEY, Catalog, load, read_offers_table

Which = Literal["all", "built-in", "imported"]  # of the offers, which to plan with


def shelf() -> Path:
    """The folder of imported offers."""
    return home() / "catalog"


def stored_sources() -> list[str]:
    """Names under which offers were imported."""
    return sorted(path.stem for path in shelf().glob("*.csv"))


def put(name: str, offers: pl.DataFrame) -> Path:
    """Keep offers under the name of their source; what was kept under it before is replaced."""
    path = shelf() / f"{safe_name(name)}.csv"
    write_whole(path, offers.write_csv())
    return path


def forget(name: str) -> None:
    """Remove the list kept under a name; InputError where there is none."""
    if name not in stored_sources():
        known = stored_sources()
        hint = did_you_mean(name, known) if known else "; nothing was imported yet"
        raise InputError(f"no list is kept as '{name}'{hint}")
    (shelf() / f"{name}.csv").unlink()
    put_refusals(name, ())


def put_refusals(name: str, refused: Sequence[Refusal]) -> Path | None:
    """List what was refused of a source, beside its offers; None and no list where nothing was."""
    path = shelf() / "refused" / f"{safe_name(name)}.csv"
    if not refused:
        path.unlink(missing_ok=True)
        return None
    columns = {f.name: [getattr(one, f.name) for one in refused] for f in fields(Refusal)}
    write_whole(path, pl.DataFrame(columns).write_csv())
    return path


def take(name: str) -> pl.DataFrame:
    """The offers imported under a name."""
    return read_offers_table(shelf() / f"{name}.csv")


def catalog_of(which: Which = "all") -> Catalog:
    """The catalog with the built-in offers, the imported ones, or both.

    Of an offer that several lists have, the one with the newest price counts; of equally new ones
    the imported.
    """
    built_in = load()
    if which == "built-in":
        return built_in
    imported = [take(name) for name in stored_sources()]
    if which == "imported" and not imported:
        raise InputError(
            f"nothing was imported yet (in {shelf()}); run isocost catalog import FILE, "
            "or use --catalog built-in"
        )
    if not imported:
        return built_in
    lists = imported if which == "imported" else [*imported, built_in.offers]
    return replace(built_in, offers=with_reserved_prices(newest(lists), built_in.discounts))


def newest(lists: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """One row per offer of several lists: that of the latest price, of the first list among equals."""
    together = pl.concat(lists)
    if not together.select(OFFER_KEY).is_duplicated().any():
        return together
    return (
        together.with_row_index("place")
        .sort("price_date", "place", descending=[True, False])
        .unique(OFFER_KEY, keep="first", maintain_order=True)
        .sort("place")
        .drop("place")
    )


def safe_name(text: str) -> str:
    """A source's name as a file may be called.

    >>> safe_name("../catalogs v8/aws")
    'catalogs-v8-aws'
    """
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.")
    return name[:80] or "offers"
