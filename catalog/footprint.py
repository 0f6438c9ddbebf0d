"""Energy and carbon of a node-hour: what the machines draw, the data centre adds, the grid emits."""

from statistics import median

import polars as pl

from .store import Catalog
from .transfer import Place


def node_watts(catalog: Catalog) -> pl.Series:
    """Watts one node of each offer draws at full load, in the order of the offers.

    devices x TDP + vCPUs x W/vCPU + GiB x W/GiB. A device whose power was not read draws the median
    of its kind.
    """
    sheet = pl.DataFrame(
        [(a.name, a.kind, a.tdp_w) for a in catalog.accelerators.values()],
        schema={"accelerator": pl.String, "kind": pl.String, "tdp_w": pl.Float64},
        orient="row",
    ).with_columns(pl.col("tdp_w").fill_null(pl.col("tdp_w").median().over("kind")).fill_null(0.0))
    per_vcpu = catalog.assumptions["watts_per_vcpu"].value
    per_gib = catalog.assumptions["watts_per_gib"].value
    return (
        catalog.offers.join(sheet, on="accelerator", how="left", maintain_order="left")
        .select(
            watts=pl.col("accelerator_count") * pl.col("tdp_w")
            + pl.col("vcpus") * per_vcpu
            + pl.col("memory_gib") * per_gib
        )
        .to_series()
    )


def grams_co2e_per_h(catalog: Catalog) -> pl.Series:
    """Grams of CO2 equivalent for an hour of one node of each offer: kW x PUE x g/kWh.

    The grid of a region that was not read is the median of those that were.
    """
    read = [r.grid_g_per_kwh for r in catalog.regions.values() if r.grid_g_per_kwh is not None]
    usual = median(read)

    def grams_per_kwh(place: Place) -> float:
        known = catalog.regions.get(place)
        grid = known.grid_g_per_kwh if known else None
        return catalog.facts(place[0]).pue * (usual if grid is None else grid)

    return node_watts(catalog) / 1000 * catalog.by_place(grams_per_kwh)
