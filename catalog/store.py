"""The catalog as one value: the built-in tables, read once, filtered by SQL expressions."""

import csv
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import polars as pl

from .discounts import Discount, discount, with_reserved_prices
from .files import InputError, did_you_mean
from .records import (
    Accelerator,
    Billing,
    Delay,
    HazardBand,
    Offer,
    ProviderFacts,
    Purchase,
    StoragePrice,
)
from .transfer import ANY, Place, Region, Transfer, region, transfer

BUILT_IN = Path(__file__).parent / "data"
POOLED = "pooled"  # the provider whose facts stand in where a provider's own are not known

OFFER_COLUMNS: Mapping[str, type[pl.DataType]] = {
    "provider": pl.String,
    "region": pl.String,
    "zones": pl.String,  # separated by spaces
    "instance_type": pl.String,
    "accelerator": pl.String,
    "accelerator_count": pl.Int64,
    "vcpus": pl.Float64,
    "memory_gib": pl.Float64,
    "network_gbps": pl.Float64,
    "interconnect": pl.String,
    "on_demand_usd_h": pl.Float64,
    "spot_usd_h": pl.Float64,
    "owned_usd_h": pl.Float64,
    "price_date": pl.Date,
    "spot_date": pl.Date,
    "spot_basis": pl.String,
    "source": pl.String,
    "arch": pl.String,  # of the host's processor: x86_64 or arm64
    "reserved_1y_usd_h": pl.Float64,
    "reserved_3y_usd_h": pl.Float64,
    "reserved_basis": pl.String,  # list, or usual_discount of the provider
    "nodes_owned": pl.Int64,  # how many there are of what one owns; null for what is rented
}
MAY_BE_MISSING = (
    "arch",
    "reserved_1y_usd_h",
    "reserved_3y_usd_h",
    "reserved_basis",
    "nodes_owned",
)  # in a table of offers
OFFER_KEY = ("provider", "region", "instance_type")
NAMED = ("provider", "region", "instance_type", "accelerator")  # columns whose words are checked


@dataclass(frozen=True, slots=True)
class Assumption:
    """A figure that is not an offer's: how far it can be trusted is its status."""

    name: str
    value: float
    unit: str
    status: str  # measured, published, assumed
    source: str
    as_of: str


@dataclass(frozen=True, slots=True, eq=False)
class Catalog:
    """Every offer and the facts that price it.

    offers: one row per provider, region and instance type, with the columns of OFFER_COLUMNS.
    """

    offers: pl.DataFrame
    accelerators: Mapping[str, Accelerator]
    providers: Mapping[str, ProviderFacts]
    assumptions: Mapping[str, Assumption]
    transfer: Transfer
    regions: Mapping[Place, Region]
    storage: Mapping[tuple[str, str, str], StoragePrice]  # provider, region or "*", kind
    discounts: tuple[Discount, ...]

    def offer(self, row: int) -> Offer:
        """The offer in one row of the table."""
        values = self.offers.row(row, named=True)
        prices = {p: values.get(price_column(p)) for p in Purchase}
        return Offer(
            provider=values["provider"],
            region=values["region"],
            zones=tuple((values["zones"] or "").split()),
            instance_type=values["instance_type"],
            accelerator=values["accelerator"],
            accelerator_count=values["accelerator_count"],
            vcpus=values["vcpus"],
            memory_gib=values["memory_gib"],
            network_gbps=values["network_gbps"],
            interconnect=values["interconnect"],
            prices_usd_h={p: price for p, price in prices.items() if price is not None},
            price_date=values["price_date"],
            source=values["source"],
            nodes_owned=values["nodes_owned"],
            spot_date=values["spot_date"],
            reserved_basis=values["reserved_basis"],
        )

    def with_offer(self, offer: Offer) -> "Catalog":
        """The catalog with one more offer, last; it replaces one of the same key."""
        added = pl.DataFrame(
            [
                {
                    **{name: getattr(offer, name, None) for name in OFFER_COLUMNS},
                    "zones": " ".join(offer.zones),
                    **{
                        price_column(p): offer.prices_usd_h.get(p)
                        for p in Purchase
                        if price_column(p) in OFFER_COLUMNS
                    },
                }
            ],
            schema=OFFER_COLUMNS,
        )
        others = self.offers.join(added, on=OFFER_KEY, how="anti", maintain_order="left")
        return replace(self, offers=pl.concat([others, added]))

    def facts(self, provider: str) -> ProviderFacts:
        """What holds for a provider; the pooled facts for one that is not known."""
        known = self.providers.get(provider)
        return known or replace(self.providers[POOLED], provider=provider)

    def storage_price(self, provider: str, region: str, kind: str = "object") -> StoragePrice:
        """What keeping data there costs; kind is "object" or "disk".

        Of a region that is not listed, the provider's dearest one counts.
        """
        for name in ((provider, region, kind), (provider, ANY, kind)):
            if name in self.storage:
                return self.storage[name]
        elsewhere = [p for (name, _, k), p in self.storage.items() if (name, k) == (provider, kind)]
        return max(
            elsewhere,
            key=lambda price: price.usd_per_gb_month,
            default=self.storage[POOLED, ANY, kind],
        )

    def egress_usd(self, volume_bytes: float, source: Place) -> pl.Series:
        """USD for moving so many bytes from source to each offer, in the order of the offers."""
        return self.by_place(lambda place: self.transfer.usd(volume_bytes, source, place))

    def storage_usd_per_gb_month(self, kind: str = "object") -> pl.Series:
        """USD for a GB (2^30 bytes) kept for a month where each offer is."""
        return self.by_place(lambda place: self.storage_price(*place, kind).usd_per_gb_month)

    def by_place(self, figure: Callable[[Place], float]) -> pl.Series:
        """A figure of each offer's provider and region, found once per place."""
        places = self.offers.select("provider", "region").unique(maintain_order=True)
        figures = pl.Series([figure(place) for place in places.iter_rows()], dtype=pl.Float64)
        return self.offers.join(
            places.with_columns(figure=figures),
            on=["provider", "region"],
            how="left",
            maintain_order="left",
        )["figure"]

    def filtered(self, expression: str) -> "Catalog":
        """The catalog with only the offers for which a SQL WHERE expression holds.

        Raises InputError with one sentence where the expression cannot be read, names what does
        not exist, or holds for no offer.
        """
        try:
            condition = pl.sql_expr(expression)
            columns = condition.meta.root_names()
        except (pl.exceptions.PolarsError, TypeError) as error:
            raise InputError(
                f"the offers expression {expression!r} is no SQL condition ({_first_line(error)}); "
                "write for example \"provider = 'aws' AND spot_usd_h < 1\""
            ) from None
        self._refuse_unknown(expression, columns)
        try:
            offers = self.offers.filter(condition)
        except pl.exceptions.PolarsError as error:
            raise InputError(
                f"the offers expression {expression!r} does not give true or false for an offer "
                f"({_first_line(error)}); write text as 'aws', dates as DATE '2026-07-01', numbers plain"
            ) from None
        if offers.is_empty():
            raise InputError(
                f"none of the {self.offers.height} offers matches {expression!r}"
                f"{self._ranges(columns)}; loosen a condition"
            )
        return replace(self, offers=offers)

    def _refuse_unknown(self, expression: str, columns: Iterable[str]) -> None:
        for column in columns:
            if column in self.offers.columns:
                continue
            if any(column in self.offers[name] for name in NAMED):
                raise InputError(f"text belongs in single quotes: write '{column}', not {column}")
            raise InputError(f"offers have no column '{column}'{_hint(column, OFFER_COLUMNS)}")
        for column, word in words_compared(expression):
            known = self.offers[column].unique()
            if word not in known:
                raise InputError(f"no offer has the {column} '{word}'{_hint(word, known)}")

    def _ranges(self, columns: Iterable[str]) -> str:
        """Where the numbers named in an expression lie."""
        numbers = [c for c in columns if self.offers.schema[c].is_numeric()]
        return "".join(
            f"; {c} is {self.offers[c].min()!r} to {self.offers[c].max()!r}"
            if self.offers[c].count()
            else f"; no offer has {c}"
            for c in numbers
        )


@lru_cache
def load(path: Path | None = None) -> Catalog:
    """The catalog of the built-in tables; a table found in the folder path replaces its like."""
    if path is not None and not path.is_dir():
        raise InputError(f"{path} is no folder; give a folder with tables such as offers.csv")

    def rows(name: str) -> list[dict[str, str]]:
        with _table(path, name).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    discounts = tuple(discount(row) for row in rows("discounts.csv"))
    offers = with_reserved_prices(read_offers_table(_table(path, "offers.csv")), discounts)
    regions = {(row["provider"], row["region"]): region(row) for row in rows("regions.csv")}
    return Catalog(
        offers=offers,
        accelerators={row["name"]: _accelerator(row) for row in rows("accelerators.csv")},
        providers=_provider_facts(offers["provider"], rows("providers.csv"), rows("hazards.csv")),
        assumptions={
            row["name"]: Assumption(**{**row, "value": float(row["value"])})  # type: ignore[arg-type]
            for row in rows("assumptions.csv")
        },
        transfer=transfer(rows("egress.csv"), regions),
        regions=regions,
        storage={
            (row["provider"], row["region"], row["kind"]): StoragePrice(
                row["product"], float(row["usd_per_gb_month"]), row["source"], row["as_of"]
            )
            for row in rows("storage.csv")
        },
        discounts=discounts,
    )


def price_column(purchase: Purchase) -> str:
    """The column of the offers table that holds the price of a purchase.

    >>> price_column(Purchase.SPOT)
    'spot_usd_h'
    """
    return f"{purchase}_usd_h"


def words_compared(expression: str) -> list[tuple[str, str]]:
    """Each (column, word) that an expression compares with = or IN, for columns of names.

    >>> words_compared("provider IN ('aws', 'gcp') AND accelerator = 'T4'")
    [('provider', 'aws'), ('provider', 'gcp'), ('accelerator', 'T4')]
    """
    word = r"'(?:[^']|'')*'"
    comparison = (
        rf"\b({'|'.join(NAMED)})\"?\s*(?:=|<>|!=|(?:not\s+)?in\s*\()\s*({word}(?:\s*,\s*{word})*)"
    )
    return [
        (column.lower(), text[1:-1].replace("''", "'"))
        for column, texts in re.findall(comparison, expression, re.IGNORECASE)
        for text in re.findall(word, texts)
    ]


def _hint(word: str, known: Iterable[str]) -> str:
    """The end of a sentence: the nearest known word and a few others."""
    names = sorted(known)
    nearest = next((n for n in names if n.lower() == word.lower()), None)
    hint = f"; did you mean '{nearest}'?" if nearest else did_you_mean(word, names)
    some = names[:: -(-len(names) // 12)]
    return f"{hint} Valid are for example {', '.join(some)}" if hint.endswith("?") else hint


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _table(folder: Path | None, name: str) -> Path:
    own = folder / name if folder else BUILT_IN / name
    return own if own.exists() else BUILT_IN / name


def read_offers_table(path: Path) -> pl.DataFrame:
    """The offers in a CSV table with the columns of OFFER_COLUMNS."""
    try:
        table = pl.read_csv(path, schema_overrides=OFFER_COLUMNS)
        missing = [name for name in MAY_BE_MISSING if name not in table.columns]
        return table.with_columns(
            pl.lit(None, OFFER_COLUMNS[name]).alias(name) for name in missing
        ).select(*OFFER_COLUMNS)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(
            f"{path} is no table of offers ({_first_line(error)}); "
            f"expected the columns {', '.join(OFFER_COLUMNS)}"
        ) from None


def _accelerator(row: Mapping[str, str]) -> Accelerator:
    def figure(name: str) -> float | None:
        return float(row[name]) if row[name] else None

    return Accelerator(
        name=row["name"],
        vendor=row["vendor"],
        kind=row["kind"],
        memory_gib=figure("memory_gib"),
        bandwidth_gb_s=figure("bandwidth_gb_s"),
        fp32_tflops=figure("fp32_tflops"),
        bf16_tflops=figure("bf16_tflops"),
        fp16_tflops=figure("fp16_tflops"),
        link_gb_s=figure("link_gb_s"),
        tdp_w=figure("tdp_w"),
        source=row["source"],
        as_of=row["as_of"],
    )


def _provider_facts(
    sellers: Iterable[str],
    facts: Iterable[Mapping[str, str]],
    hazards: Iterable[Mapping[str, str]],
) -> dict[str, ProviderFacts]:
    """One record per provider, each fact its own where there is one, else the pooled one."""
    single = {(row["provider"], row["fact"]): row for row in facts}
    bands = _by_provider(hazards)

    def of(provider: str) -> ProviderFacts:
        def fact(name: str) -> Mapping[str, str]:
            return single.get((provider, name)) or single[POOLED, name]

        def value(name: str) -> float:
            return float(fact(name)["value"])

        def delay(name: str) -> Delay:
            median = fact(f"{name}_median_s")
            return Delay(float(median["value"]), value(f"{name}_sigma"), median["source"])

        own_bands = bands.get(provider) or bands[POOLED]
        return ProviderFacts(
            provider=provider,
            billing=Billing(
                value("billing_granularity_s"),
                value("billing_minimum_s"),
                fact("billing_granularity_s")["source"],
            ),
            spot_hazard=tuple(
                HazardBand(float(r["from_h"]), float(r["to_h"]), float(r["per_h"]))
                for r in own_bands
            ),
            spot_notice_s=value("spot_notice_s"),
            provisioning=delay("provisioning"),
            stock_out=delay("stock_out"),
            node_failures_per_h=value("node_failures_per_h"),
            pue=value("pue"),
            sources={
                "billing": fact("billing_granularity_s")["source"],
                "spot_hazard": own_bands[0]["source"],
                "spot_notice": fact("spot_notice_s")["source"],
                "provisioning": fact("provisioning_median_s")["source"],
                "stock_out": fact("stock_out_median_s")["source"],
                "node_failures": fact("node_failures_per_h")["source"],
                "pue": fact("pue")["source"],
            },
        )

    return {p: of(p) for p in sorted({*sellers, *(provider for provider, _ in single)})}


def _by_provider(rows: Iterable[Mapping[str, str]]) -> dict[str, list[Mapping[str, str]]]:
    groups: dict[str, list[Mapping[str, str]]] = {}
    for row in rows:
        groups.setdefault(row["provider"], []).append(row)
    return groups
