"""This machine as an offer: what it has, and what an hour of it costs its owner."""

import math
import os
import platform
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import psutil

from .files import InputError
from .owned import hour_usd
from .records import Offer, Purchase
from .store import Assumption, load

CGROUP = Path("/sys/fs/cgroup")  # version 2, as a container sees its own limits


def this_machine(usd_h: float | None = None) -> Offer:
    """The offer "local": the processors and memory this process may use, at its owner's cost.

    usd_h: what an hour costs, if the user knows better than the assumptions.
    """
    if usd_h is not None and not (math.isfinite(usd_h) and usd_h >= 0):
        raise InputError(
            f"the price of this machine is {usd_h} USD/h; give a number that is 0 or above"
        )
    vcpus = usable_cpus()
    price = owned_usd_h(vcpus, load().assumptions) if usd_h is None else usd_h
    return Offer(
        provider="local",
        region="here",
        zones=(),
        instance_type=f"{vcpus:.3g}-core {platform.machine()}",
        accelerator="CPU",
        accelerator_count=1,
        vcpus=vcpus,
        memory_gib=round(usable_memory_bytes() / 2**30, 2),
        network_gbps=None,
        interconnect=None,
        prices_usd_h={Purchase.OWNED: price},
        price_date=date.today(),
        source="assumed: cost of an owned workstation" if usd_h is None else "stated by the user",
    )


def owned_usd_h(vcpus: float, assumptions: Mapping[str, Assumption]) -> float:
    """USD for one hour of use of an ordinary workstation with so many logical processors."""
    a = {name: assumption.value for name, assumption in assumptions.items()}
    return hour_usd(
        vcpus * a["workstation_capex_usd_per_vcpu"],
        life_years=a["service_life_years"],
        utilisation=a["utilisation"],
        maintenance_per_year=a["maintenance_per_year"],
        watts=vcpus * a["workstation_watts_per_vcpu"],
        pue=a["onprem_pue"],
        usd_per_kwh=a["electricity_usd_per_kwh"],
    )


def usable_cpus(cgroup: Path = CGROUP) -> float:
    """Logical processors this process may use: those it may run on, or the container's quota."""
    if hasattr(os, "sched_getaffinity"):
        visible = len(os.sched_getaffinity(0))
    else:
        visible = psutil.cpu_count() or 1
    quota, _, period = _read(cgroup / "cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit():
        return min(float(visible), int(quota) / int(period))
    return float(visible)


def usable_memory_bytes(cgroup: Path = CGROUP) -> int:
    """Bytes of memory this process may use: the host's, or the container's limit."""
    limit = _read(cgroup / "memory.max")
    total = psutil.virtual_memory().total
    return min(total, int(limit)) if limit.isdigit() else total


def _read(path: Path) -> str:
    """The text of a file of the kernel, empty where there is none."""
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
