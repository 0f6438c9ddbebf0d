"""SkyPilot's catalog, vms.csv of one provider, in our columns.

It lists a type zone by zone; ours is one row per region, with the median spot price of the zones.
Of Google Cloud it lists hosts and GPUs apart; ours is what one rents, a host with its GPUs.
"""

from collections.abc import Collection
from datetime import date

import polars as pl

from .names import accelerator_name, tpu_slice

TYPE = ("instance_type", "accelerator", "accelerator_count")
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
    table: pl.DataFrame,
    provider: str,
    as_of: date,
    file_name: str,
    types: pl.DataFrame,
) -> pl.DataFrame:
    """A table of text in our columns, with `line`.

    types: the provider's instance types that have accelerators, with the columns of TYPE.
    """
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
    if provider == "gcp":
        by_region = _with_gpus(by_region, types)
    return by_region.select(
        "line",
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


def _with_gpus(by_region: pl.DataFrame, types: pl.DataFrame) -> pl.DataFrame:
    """Hosts and GPUs put together: host price + price of the GPUs, for each known type.

    A type such as g2-standard-4 is its own host; that of n1-standard-8+t4x1 is n1-standard-8.
    """
    alone = pl.col("InstanceType").is_null() & pl.col("AcceleratorName").is_not_null()
    names = types["accelerator"].unique().to_list()
    gpus = by_region.filter(alone).select(
        "Region",
        pl.col("AcceleratorName")
        .map_elements(lambda name: accelerator_name(name, names) or name, return_dtype=pl.String)
        .alias("accelerator"),
        pl.col("AcceleratorCount").cast(pl.Float64, strict=False).alias("accelerator_count"),
        pl.col("Price").cast(pl.Float64, strict=False).alias("gpu_usd_h"),
        pl.col("spot_usd_h").cast(pl.Float64, strict=False).alias("gpu_spot_usd_h"),
    )
    hosts = by_region.filter(pl.col("InstanceType").is_not_null())
    whole = (
        types.select(TYPE)
        .unique(maintain_order=True)
        .with_columns(
            pl.col("accelerator_count").cast(pl.Float64),
            host=pl.col("instance_type").str.split("+").list.first(),
        )
        .join(hosts, left_on="host", right_on="InstanceType", maintain_order="left")
        .join(gpus, on=["Region", "accelerator", "accelerator_count"], maintain_order="left")
    )

    def added(host: str, gpu: str) -> pl.Expr:
        return (pl.col(host).cast(pl.Float64, strict=False) + pl.col(gpu)).cast(pl.String)

    composed = whole.with_columns(
        InstanceType=pl.col("instance_type"),
        AcceleratorName=pl.col("accelerator"),
        AcceleratorCount=pl.col("accelerator_count").cast(pl.String),
        Price=added("Price", "gpu_usd_h"),
        spot_usd_h=added("spot_usd_h", "gpu_spot_usd_h"),
    ).select(by_region.columns)
    ready = composed.select("Region", "InstanceType")
    return pl.concat([composed, hosts.join(ready, on=["Region", "InstanceType"], how="anti")])
