"""From quotes to offers: what a provider says of a price, joined with what is known of the type."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import date
from typing import Literal

import polars as pl

from ..importing import Imported, judge
from ..store import OFFER_KEY, Catalog
from .web import RefreshError, Web, url_of

TEXTS = ("region", "instance_type", "bought", "zone", "accelerator", "spot_basis")
SIZES = ("accelerator", "accelerator_count", "vcpus", "memory_gib", "network_gbps", "interconnect")


Bought = Literal["on_demand", "spot", "reserved_1y", "reserved_3y"]


@dataclass(frozen=True, slots=True)
class Quote:
    """What a provider asks for an hour of one node, bought in one way.

    accelerator and sizes: None where the API does not say; then those of the known type count.
    """

    region: str
    instance_type: str
    bought: Bought
    usd_h: float
    zone: str | None = None
    accelerator: str | None = None
    accelerator_count: int | None = None
    vcpus: float | None = None
    memory_gib: float | None = None
    spot_basis: str = "observed"


@dataclass(frozen=True, slots=True)
class Known:
    """What the catalog knows of an instance type."""

    accelerator: str
    accelerator_count: int
    vcpus: float
    memory_gib: float


@dataclass(frozen=True, slots=True)
class Asked:
    """What to ask a provider for: regions, the types the catalog knows, and where it saw them.

    settings: keys and the like, from the environment.
    """

    provider: str
    regions: tuple[str, ...]
    types: Mapping[str, Known]
    offers: frozenset[tuple[str, str]]  # region, instance type
    settings: Mapping[str, str]
    note: Callable[[str], None] = lambda text: None

    def setting(self, name: str, what: str) -> str:
        """A setting that is needed; RefreshError with what it is where it is missing."""
        value = self.settings.get(name, "")
        if not value:
            raise RefreshError(f"{self.provider}: set {name} to {what}")
        return value


@dataclass(frozen=True, slots=True)
class Source:
    """An API that tells prices: quotes(web, asked) yields them.

    about: what stands as the source of each offer. needs: settings without which it cannot be asked.
    """

    name: str
    provider: str
    url: str
    about: str
    quotes: Callable[[Web, Asked], Iterable[Quote]]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Refreshed:
    """Offers of one provider at today's prices; unknown: types nobody described, left out."""

    found: Imported
    regions: tuple[str, ...]
    unknown: tuple[str, ...]


def refresh(
    source: Source,
    catalog: Catalog,
    *,
    regions: Iterable[str],
    settings: Mapping[str, str],
    today: date,
    note: Callable[[str], None] = lambda text: None,
    web: Web | None = None,
) -> Refreshed:
    """Today's offers of a source. Raises RefreshError where they cannot be had.

    regions: those to ask for; empty means all in which the catalog has offers of the provider.
    """
    known = catalog.offers.filter(pl.col("provider") == source.provider)
    wanted = tuple(regions) or tuple(known["region"].unique(maintain_order=True))
    asked = Asked(
        source.provider,
        wanted,
        {
            name: Known(*sizes)
            for name, *sizes in known.unique("instance_type", maintain_order=True)
            .select("instance_type", *SIZES[:4])
            .iter_rows()
        },
        frozenset(known.filter(pl.col("region").is_in(wanted)).select(OFFER_KEY[1:]).iter_rows()),
        settings,
        note,
    )
    used = web or Web(source.name, url_of(source.name, source.url))
    try:
        quotes = list(source.quotes(used, asked))
    except RefreshError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        # An adapter reads many answers: one of another shape is the API's doing, said in one place.
        raise RefreshError(
            f"{source.name}: {used.base_url} answered in another shape than expected "
            f"({type(error).__name__}: {error}); its API may have changed"
        ) from error
    if not quotes:
        raise RefreshError(
            f"{source.name}: no price came back for {', '.join(wanted) or 'any region'}; "
            "check the names of the regions"
        )
    return offers_from(quotes, source, catalog, wanted, today)


def offers_from(
    quotes: Iterable[Quote], source: Source, catalog: Catalog, regions: tuple[str, ...], today: date
) -> Refreshed:
    """One offer per region and type: prices brought together, spot the median of the zones."""
    table = pl.DataFrame(
        [asdict(quote) for quote in quotes],
        schema={f.name: pl.String if f.name in TEXTS else pl.Float64 for f in fields(Quote)},
    )
    spot = pl.col("bought") == "spot"
    one = table.group_by("region", "instance_type", maintain_order=True).agg(
        pl.col(*SIZES[:4]).drop_nulls().first(),
        *(
            pl.col("usd_h").filter(pl.col("bought") == bought).first().alias(f"{bought}_usd_h")
            for bought in ("on_demand", "reserved_1y", "reserved_3y")
        ),
        pl.col("usd_h").filter(spot).median().alias("spot_usd_h"),
        pl.col("spot_basis").filter(spot).first(),
        pl.col("zone").drop_nulls().unique(maintain_order=True).str.join(" ").alias("zones"),
    )
    types = (
        catalog.offers.filter(pl.col("provider") == source.provider)
        .unique("instance_type", maintain_order=True)
        .select("instance_type", *SIZES, "arch")
    )
    joined = one.join(types, on="instance_type", how="left", suffix="_known", maintain_order="left")
    described = joined.with_columns(
        # A device that the API names counts, and one it does not name is the known type's.
        *(pl.coalesce(name, f"{name}_known").alias(name) for name in SIZES[:4]),
    )
    nameless = pl.col("accelerator").is_null() & pl.col("accelerator_count").fill_null(1).gt(0)
    unknown = described.filter(nameless | pl.col("vcpus").is_null())["instance_type"].unique()
    rows = described.filter(~pl.col("instance_type").is_in(unknown.implode())).with_columns(
        provider=pl.lit(source.provider),
        price_date=pl.lit(today),
        spot_date=pl.when(pl.col("spot_usd_h").is_not_null()).then(pl.lit(today)),
        source=pl.lit(source.about),
    )
    texts = rows.with_columns(pl.all().exclude(pl.String).cast(pl.String)).with_columns(
        line=pl.int_range(1, pl.len() + 1, dtype=pl.Int64)
    )
    found = judge(texts, catalog, rows=texts.height, today=today)
    return Refreshed(found, regions, tuple(sorted(unknown)))
