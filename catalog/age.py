"""How old a price is, and when that is too old to plan with."""

from dataclasses import dataclass
from datetime import date

import polars as pl

from .records import Purchase
from .store import price_column


@dataclass(frozen=True, slots=True)
class Freshness:
    """How many days a price is taken for fresh: spot prices move, list prices seldom."""

    spot_days: int = 90
    list_days: int = 365

    def limit_days(self, purchase: Purchase) -> int:
        return self.spot_days if purchase is Purchase.SPOT else self.list_days


def price_day(purchase: Purchase, price_date: date, spot_date: date | None) -> date:
    """The day of the price at which an offer is bought."""
    return spot_date or price_date if purchase is Purchase.SPOT else price_date


def stale_words(
    purchase: Purchase, day: date, today: date, fresh: Freshness | None = None
) -> str | None:
    """What to say of a price that is too old, None of one that is not.

    >>> stale_words(Purchase.SPOT, date(2026, 1, 1), date(2026, 11, 24))
    'the spot price is of 2026-01-01, 327 days old (over 90); isocost catalog refresh may know a newer'
    """
    age, limit = (today - day).days, (fresh or Freshness()).limit_days(purchase)
    if purchase is Purchase.OWNED or age <= limit:
        return None
    return (
        f"the {purchase.value.replace('_', '-')} price is of {day}, {age} days old (over {limit}); "
        "isocost catalog refresh may know a newer"
    )


def stale_shares(
    offers: pl.DataFrame, today: date, fresh: Freshness | None = None
) -> dict[Purchase, float]:
    """Of each kind of purchase, the share of its prices that are too old; absent where none is sold."""
    limits = fresh or Freshness()
    found: dict[Purchase, float] = {}
    for purchase in Purchase:
        if purchase is Purchase.OWNED or price_column(purchase) not in offers.columns:
            continue
        sold = offers.filter(pl.col(price_column(purchase)).is_not_null())
        if sold.is_empty():
            continue
        day = pl.col("price_date")
        if purchase is Purchase.SPOT:
            day = pl.coalesce("spot_date", "price_date")
        age = (pl.lit(today) - day).dt.total_days()
        found[purchase] = float(sold.select((age > limits.limit_days(purchase)).mean()).item())
    return found
