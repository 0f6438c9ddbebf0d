"""Google Cloud Billing Catalog API: an API key; a machine's price is the sum of its parts.

price = vCPUs x core + GiB x RAM + devices x GPU, each a SKU of the region, on demand or preemptible.
https://cloud.google.com/billing/docs/reference/rest/v1/services.skus/list
"""

from collections.abc import Iterator
from typing import Any

from .quotes import Asked, Bought, Known, Quote
from .web import MOST_PAGES, RefreshError, Web

COMPUTE_ENGINE = "services/6F81-5844-456A"
# How descriptions of SKUs begin: "<words> Core running in Iowa", "<words> Ram running in Iowa".
WORDS = {
    "n1": "N1 Predefined Instance",
    "n2d": "N2D AMD Instance",
    "c2": "Compute optimized",
    "c2d": "C2D AMD Instance",
    "t2d": "T2D AMD Instance",
    "c3d": "C3D Instance",
}
DEVICES = {
    "T4": "Nvidia Tesla T4 GPU",
    "P4": "Nvidia Tesla P4 GPU",
    "P100": "Nvidia Tesla P100 GPU",
    "V100-16GB": "Nvidia Tesla V100 GPU",
    "L4": "Nvidia L4 GPU",
    "A100-40GB": "Nvidia Tesla A100 GPU",
    "A100-80GB": "Nvidia Tesla A100 80GB GPU",
    "H100": "Nvidia H100 80GB GPU",
}
USAGE: dict[str, tuple[str, Bought]] = {  # how the description begins, and what it buys
    "OnDemand": ("", "on_demand"),
    "Preemptible": ("Spot Preemptible ", "spot"),
}


def quotes(web: Web, asked: Asked) -> Iterator[Quote]:
    """Every type whose parts all have a price; TPUs and types priced otherwise are left out."""
    key = asked.setting("GOOGLE_API_KEY", "an API key that may read the Cloud Billing API")
    prices = _prices(web, key, asked)
    for region in asked.regions:
        for name, known in asked.types.items():
            if known.accelerator != "CPU" and known.accelerator not in DEVICES:
                continue
            for usage, (_, bought) in USAGE.items():
                price = _sum(prices, region, usage, name, known)
                if price is not None:
                    yield Quote(region, name, bought, round(price, 6), spot_basis="list")


def _prices(web: Web, key: str, asked: Asked) -> dict[tuple[str, str, str], float]:
    """(region, usage, beginning of the description) -> USD an hour."""
    found: dict[tuple[str, str, str], float] = {}
    wanted, token = set(asked.regions), ""
    for page in range(MOST_PAGES):
        asked.note(f"gcp page {page + 1}")
        answer = web.get(
            f"/v1/{COMPUTE_ENGINE}/skus",
            {"key": key, "pageSize": "5000", "currencyCode": "USD", "pageToken": token},
        )
        for sku in web.part(answer, "skus", list):
            usage = (sku.get("category") or {}).get("usageType", "")
            price = _hourly(sku) if usage in USAGE else None
            if price is not None:
                words = sku.get("description", "").split(" running in ")[0]
                for region in wanted & set(sku.get("serviceRegions", [])):
                    found.setdefault((region, usage, words.removeprefix(USAGE[usage][0])), price)
        token = answer.get("nextPageToken", "")
        if not token:
            return found
    raise RefreshError("gcp: the pages of the list do not end; try again later")


def _hourly(sku: dict[str, Any]) -> float | None:
    """The price of the last tier of a SKU's newest price; 0 and broken prices count as none."""
    try:
        rate = sku["pricingInfo"][-1]["pricingExpression"]["tieredRates"][-1]["unitPrice"]
        price = float(rate.get("units", 0)) + float(rate.get("nanos", 0)) / 1e9
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    return price or None


def _sum(
    prices: dict[tuple[str, str, str], float], region: str, usage: str, name: str, known: Known
) -> float | None:
    family = name.split("-")[0]
    words = WORDS.get(family, f"{family.upper()} Instance")
    parts = [(known.vcpus, f"{words} Core"), (known.memory_gib, f"{words} Ram")]
    if known.accelerator != "CPU":
        parts.append((known.accelerator_count, DEVICES[known.accelerator]))
    found = [prices.get((region, usage, part)) for _, part in parts]
    if any(price is None for price in found):
        return None
    return sum(count * price for (count, _), price in zip(parts, found, strict=True) if price)
