"""SkyPilot's catalog, vms.csv of one provider, in our columns.

It lists a type zone by zone; ours is one row per region, with the median spot price of the zones.
"""

from collections.abc import Collection
from datetime import date

import polars as pl

from .names import tpu_slice

NEEDED = ("InstanceType", "Price", "Region")
OPTIONAL = (
    "AcceleratorName",
    "AcceleratorCount",
    "vCPUs",
    "MemoryGiB",
    "SpotPrice",
    "AvailabilityZone",
)


def is_skypilot(header: Collection[str]) -> bool:
    """Whether a table with this header is SkyPilot's."""
    return set(NEEDED) <= set(header)


def ours_from_skypilot(
    table: pl.DataFrame, provider: str, as_of: date, file_name: str
) -> pl.DataFrame:
    """A table of text in our columns, with `line` and how many further rows were `merged` into it."""
    filled = table.with_columns(
        pl.lit(None, pl.String).alias(name) for name in OPTIONAL if name not in table.columns
    ).with_columns(pl.col(pl.String).str.strip_chars().replace("", None))
    chips = {
        name: found
        for name in filled["AcceleratorName"].drop_nulls().unique()
        if (found := tpu_slice(name))
    }
    slices = filled.with_columns(
        # A TPU slice has no instance type of its own: its name is what one asks for.
        InstanceType=pl.when(pl.col("AcceleratorName").is_in(list(chips)))
        .then("AcceleratorName")
        .otherwise("InstanceType"),
        AcceleratorCount=pl.when(pl.col("AcceleratorName").is_in(list(chips)))
        .then(
            pl.col("AcceleratorName").replace_strict(
                {name: str(count) for name, (_, count) in chips.items()}, default=None
            )
        )
        .otherwise("AcceleratorCount"),
        AcceleratorName=pl.col("AcceleratorName").replace(
            {name: tpu for name, (tpu, _) in chips.items()}
        ),
    )
    key = ["Region", "InstanceType", "AcceleratorName", "AcceleratorCount"]
    spot = pl.col("SpotPrice").cast(pl.Float64, strict=False)
    zone = pl.col("AvailabilityZone").drop_nulls().unique(maintain_order=True)
    by_region = slices.group_by(key, maintain_order=True).agg(
        pl.col("line").first(),
        (pl.len() - 1).alias("merged"),
        zone.str.join(" ").alias("zones"),
        pl.col("vCPUs", "MemoryGiB").drop_nulls().first(),
        pl.col("Price").drop_nulls().first(),
        # Several zones: the median. One price: its own text, so that a wrong one can be named.
        pl.when(pl.col("SpotPrice").count() > 1)
        .then(spot.median().cast(pl.String))
        .otherwise(pl.col("SpotPrice").drop_nulls().first())
        .alias("spot_usd_h"),
        (pl.col("SpotPrice").count() > 1).alias("several"),
    )
    return by_region.select(
        "line",
        "merged",
        "zones",
        "spot_usd_h",
        provider=pl.lit(provider),
        region="Region",
        instance_type="InstanceType",
        accelerator="AcceleratorName",
        accelerator_count="AcceleratorCount",
        vcpus="vCPUs",
        memory_gib="MemoryGiB",
        on_demand_usd_h="Price",
        price_date=pl.lit(str(as_of)),
        spot_date=pl.when(pl.col("spot_usd_h").is_not_null()).then(pl.lit(str(as_of))),
        spot_basis=pl.when(pl.col("spot_usd_h").is_not_null()).then(
            pl.when("several")
            .then(pl.lit("observed_median_of_zones"))
            .otherwise(pl.lit("observed"))
        ),
        source=pl.lit(f"SkyPilot catalog, {provider} {file_name}"),
    )
