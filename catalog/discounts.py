"""What a commitment or steady use takes off: reserved prices for 1 and 3 years, sustained use."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

YEARS = (1, 3)


@dataclass(frozen=True, slots=True)
class Discount:
    """Of a month's (or term's) hours from one fraction to another, each costs multiplier x on-demand.

    applies_to: how the names of the instance types begin; "*" for all.
    """

    provider: str
    kind: str  # reserved_1y, reserved_3y, sustained_use
    applies_to: str
    from_fraction: float
    to_fraction: float
    multiplier: float
    source: str

    def covers(self, provider: str, instance_type: str) -> bool:
        return self.provider == provider and (
            self.applies_to == "*" or instance_type.startswith(self.applies_to)
        )


def discount(row: Mapping[str, str]) -> Discount:
    """One row of the table of discounts."""
    return Discount(
        row["provider"],
        row["discount"],
        row["applies_to"],
        float(row["from_fraction"]),
        float(row["to_fraction"]),
        float(row["multiplier"]),
        row["source"],
    )


def with_reserved_prices(offers: pl.DataFrame, discounts: Iterable[Discount]) -> pl.DataFrame:
    """Offers whose reserved prices, where the list has none, are the provider's usual ones.

    A reserved price is of an hour of the whole term, used or not. It stays empty where neither the
    list nor the provider's usual discount is known.
    """
    kinds = list(discounts)
    columns = [f"reserved_{years}y_usd_h" for years in YEARS]
    listed = pl.any_horizontal(pl.col(name).is_not_null() for name in columns)
    offers = offers.with_columns(
        reserved_basis=pl.when(pl.col("reserved_basis").is_null() & listed)
        .then(pl.lit("list"))
        .otherwise("reserved_basis")
    )
    for years in YEARS:
        column = f"reserved_{years}y_usd_h"
        usual = {one.provider: one.multiplier for one in kinds if one.kind == f"reserved_{years}y"}
        multiplier = pl.col("provider").replace_strict(usual, default=None, return_dtype=pl.Float64)
        offers = offers.with_columns(
            pl.col(column).fill_null(pl.col("on_demand_usd_h") * multiplier)
        )
    return offers.with_columns(
        reserved_basis=pl.when(pl.col("reserved_basis").is_null() & listed)
        .then(pl.lit("usual_discount"))
        .otherwise("reserved_basis")
    )


def sustained_use_multiplier(
    discounts: Iterable[Discount], provider: str, instance_type: str, month_fraction: float
) -> float:
    """Mean price over on-demand for a type that runs a fraction of the month, 0 to 1.

    The first quarter costs in full, each later one less: (sum over parts of length x multiplier) /
    fraction. 1 where the provider has no such discount for the type.
    """
    if not 0 <= month_fraction <= 1:
        raise ValueError(f"a month's fraction lies between 0 and 1, not at {month_fraction}")
    parts = [
        one
        for one in discounts
        if one.kind == "sustained_use" and one.covers(provider, instance_type)
    ]
    if not parts or month_fraction == 0:
        return 1.0
    paid = sum(
        max(0.0, min(month_fraction, one.to_fraction) - one.from_fraction) * one.multiplier
        for one in parts
    )
    return paid / month_fraction
