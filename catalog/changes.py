"""What changed between two lists of offers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from .discounts import with_reserved_prices
from .files import InputError, did_you_mean
from .importing import MARKET, read_offers
from .shelf import Which, catalog_of, stored_sources, take
from .store import OFFER_KEY, Catalog

CATALOGS: Sequence[Which] = ("built-in", "imported", "all")


@dataclass(frozen=True, slots=True, eq=False)
class Changes:
    """Offers that are new or gone, and prices that differ.

    prices: provider, region, instance_type, price (its column), old, new in USD an hour, and
    change = new/old - 1; the largest change first. Prices that appear or vanish are no change.
    """

    old: int
    new: int
    added: pl.DataFrame
    removed: pl.DataFrame
    prices: pl.DataFrame


def changes(old: pl.DataFrame, new: pl.DataFrame, least: float = 1e-4) -> Changes:
    """How one table of offers differs from another; relative changes up to least are rounding."""
    both = old.join(new, on=OFFER_KEY, how="inner", suffix=" new")
    prices = pl.concat(
        both.select(
            *OFFER_KEY,
            price=pl.lit(column),
            old=pl.col(column),
            new=pl.col(f"{column} new"),
            change=pl.col(f"{column} new") / pl.col(column) - 1,
        )
        for column in MARKET
    ).filter(pl.col("change").abs() > least)
    return Changes(
        old=old.height,
        new=new.height,
        added=new.join(old, on=OFFER_KEY, how="anti"),
        removed=old.join(new, on=OFFER_KEY, how="anti"),
        prices=prices.sort(
            pl.col("change").abs(), *OFFER_KEY, descending=[True, False, False, False]
        ),
    )


def offers_of(name: str, provider: str | None = None) -> pl.DataFrame:
    """The offers of a catalog, of a list imported under a name, or of a file."""
    if name in CATALOGS:
        return catalog_of(name).offers  # type: ignore[arg-type]
    if name in stored_sources():
        return take(name)
    if Path(name).exists():
        return read_offers(Path(name), catalog_of(), provider=provider).offers
    raise InputError(
        f"'{name}' is no file and no list you imported"
        f"{did_you_mean(name, [*CATALOGS, *stored_sources()])}"
    )


def side_by_side(base: Catalog, old: pl.DataFrame, new: pl.DataFrame) -> tuple[Catalog, Catalog]:
    """The base catalog with the offers of old, and with those of new, in place of both lists' own.

    What neither list has stays; what only one has is in that catalog alone.
    """
    listed = pl.concat([old.select(OFFER_KEY), new.select(OFFER_KEY)])
    others = base.offers.join(listed, on=OFFER_KEY, how="anti", maintain_order="left")

    def with_list(offers: pl.DataFrame) -> Catalog:
        table = pl.concat([others, offers.select(others.columns)])
        return replace(base, offers=with_reserved_prices(table, base.discounts))

    return with_list(old), with_list(new)
