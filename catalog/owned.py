"""Machines the user owns: a file that lists them, and what an hour of each costs."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from .files import Document, InputError, Record, did_you_mean
from .home import home
from .names import accelerator_name
from .records import Accelerator, Offer, Purchase
from .store import Assumption, Catalog

HOURS_PER_YEAR = 8760
PROVIDER = "own"

Positive = Annotated[float, Field(gt=0)]


class OwnedMachines(Record):
    """Some machines of one kind at one site; every figure is of one machine.

    accelerators: devices in one, 1 for a machine of processors alone. utilisation: the share of its
    life in which it is in use. watts: under load; from the data sheets where it is left out.
    """

    name: str = Field(min_length=1)
    nodes: int = Field(gt=0)
    site: str = Field(min_length=1, default="here")
    accelerator: str = "CPU"
    accelerators: int = Field(gt=0, default=1)
    vcpus: Positive
    memory_gib: Positive
    network_gbps: Positive | None = None
    interconnect: str | None = None
    capex_usd: float = Field(ge=0)
    life_years: Positive | None = None
    utilisation: Annotated[float, Field(gt=0, le=1)] | None = None
    maintenance_per_year: float | None = Field(ge=0, default=None)
    watts: Positive | None = None
    pue: Annotated[float, Field(ge=1)] | None = None
    usd_per_kwh: float | None = Field(ge=0, default=None)
    staff_usd_per_year: float = Field(ge=0, default=0)

    @model_validator(mode="after")
    def _processors_are_one_device(self) -> Self:
        if self.accelerator == "CPU" and self.accelerators != 1:
            raise ValueError("a machine of processors alone is one device; leave accelerators out")
        return self


class OwnedFile(Document):
    """The file offers.yaml: what one owns."""

    schema_id: Literal["isocost/owned/v1"] = Field(alias="schema", default="isocost/owned/v1")
    machines: tuple[OwnedMachines, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        seen = set[tuple[str, str]]()
        for one in self.machines:
            if (one.site, one.name) in seen:
                raise ValueError(f"'{one.name}' at '{one.site}' is listed twice; add their nodes")
            seen.add((one.site, one.name))
        return self


def hour_usd(
    capex_usd: float,
    *,
    life_years: float,
    utilisation: float,
    maintenance_per_year: float,
    watts: float,
    pue: float,
    usd_per_kwh: float,
    staff_usd_per_year: float = 0.0,
) -> float:
    """USD for one hour of use of an owned machine (DESIGN 3.3).

    capex/(L 8760 u) + (m capex + staff)/(8760 u) + kW PUE USD/kWh, with L years of service, u the
    share of them in use, m the yearly maintenance as a share of capex.
    """
    used_h_per_year = HOURS_PER_YEAR * utilisation
    yearly = capex_usd / life_years + maintenance_per_year * capex_usd + staff_usd_per_year
    return yearly / used_h_per_year + watts / 1000 * pue * usd_per_kwh


def owned_offers(path: Path, catalog: Catalog) -> list[Offer]:
    """The machines in a file as offers of the provider "own".

    Raises InputError for an accelerator that is not known.
    """
    day = datetime.now(UTC).date()
    listed = OwnedFile.read(path).machines
    return [_offer(one, catalog, f"stated in {path.name}", day, path) for one in listed]


def with_owned(catalog: Catalog, path: Path | None = None) -> Catalog:
    """The catalog with the machines in a file; by default those in offers.yaml of the user's data."""
    if path is None:
        path = home() / "offers.yaml"
        if not path.exists():
            return catalog
    for offer in owned_offers(path, catalog):
        catalog = catalog.with_offer(offer)
    return catalog


def _offer(one: OwnedMachines, catalog: Catalog, source: str, day: date, path: Path) -> Offer:
    device = accelerator_name(one.accelerator, catalog.accelerators)
    if device is None:
        hint = did_you_mean(one.accelerator, catalog.accelerators)
        raise InputError(f"{path}: {one.name}: accelerator '{one.accelerator}' is not known{hint}")
    usual = catalog.assumptions
    watts = one.watts or sheet_watts(one, catalog.accelerators[device], usual)

    def given(value: float | None, name: str) -> float:
        return usual[name].value if value is None else value

    price = hour_usd(
        one.capex_usd,
        life_years=given(one.life_years, "service_life_years"),
        utilisation=given(one.utilisation, "utilisation"),
        maintenance_per_year=given(one.maintenance_per_year, "maintenance_per_year"),
        watts=watts,
        pue=given(one.pue, "onprem_pue"),
        usd_per_kwh=given(one.usd_per_kwh, "electricity_usd_per_kwh"),
        staff_usd_per_year=one.staff_usd_per_year,
    )
    return Offer(
        provider=PROVIDER,
        region=one.site,
        zones=(),
        instance_type=one.name,
        accelerator=device,
        accelerator_count=one.accelerators,
        vcpus=one.vcpus,
        memory_gib=one.memory_gib,
        network_gbps=one.network_gbps,
        interconnect=one.interconnect,
        prices_usd_h={Purchase.OWNED: price},
        price_date=day,
        source=source,
        nodes_owned=one.nodes,
    )


def sheet_watts(one: OwnedMachines, device: Accelerator, usual: Mapping[str, Assumption]) -> float:
    """Watts under load by the data sheets: devices x TDP + vCPUs x W/vCPU + GiB x W/GiB.

    Raises InputError where the device's power is not known.
    """
    if device.kind != "cpu" and device.tdp_w is None:
        raise InputError(
            f"{one.name}: the power of {device.name} is not on its data sheet here; add watts"
        )
    return (
        one.accelerators * (device.tdp_w or 0.0)
        + one.vcpus * usual["watts_per_vcpu"].value
        + one.memory_gib * usual["watts_per_gib"].value
    )
