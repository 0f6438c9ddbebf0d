"""Azure Retail Prices API: public, no key; pages of items, each one price of one type.

https://learn.microsoft.com/rest/api/cost-management/retail-prices/azure-retail-prices
"""

from collections.abc import Iterator
from typing import Any

from .quotes import Asked, Bought, Quote
from .web import MOST_PAGES, RefreshError, Web

TERMS: dict[str, tuple[Bought, int]] = {  # and their hours: a reservation's price is of all of them
    "1 Year": ("reserved_1y", 8760),
    "3 Years": ("reserved_3y", 3 * 8760),
}


def quotes(web: Web, asked: Asked) -> Iterator[Quote]:
    """Linux virtual machines: on demand, spot, and reservations spread over their hours."""
    for region in asked.regions:
        asked.note(f"azure {region}")
        for kind in ("Consumption", "Reservation"):
            for item in _items(web, region, kind):
                quote = _quote(item, region)
                if quote is not None:
                    yield quote


def _items(web: Web, region: str, kind: str) -> Iterator[dict[str, Any]]:
    query = (
        f"serviceName eq 'Virtual Machines' and armRegionName eq '{region}' "
        f"and priceType eq '{kind}'"
    )
    path, params = "/api/retail/prices", {"api-version": "2023-01-01-preview", "$filter": query}
    seen = set[str]()
    while True:
        page = web.get(path, params)
        yield from web.part(page, "Items", list)
        path, params = page.get("NextPageLink") or "", {}
        if not path:
            return
        if path in seen or len(seen) > MOST_PAGES:
            raise RefreshError(
                f"azure: the pages of {region} go round in a circle; try again later"
            )
        seen.add(path)


def _quote(item: dict[str, Any], region: str) -> Quote | None:
    """None for what is no ordinary Linux machine by the hour: Windows, Low Priority, dedicated."""
    name, product, sku = (item.get(k) or "" for k in ("armSkuName", "productName", "skuName"))
    price, unit = item.get("retailPrice"), item.get("unitOfMeasure")
    if not name or unit != "1 Hour" or not isinstance(price, int | float):
        return None
    if item.get("currencyCode") != "USD" or "Low Priority" in sku:
        return None
    if "Windows" in product or "Dedicated" in product or "Cloud Services" in product:
        return None
    if item.get("type") == "Reservation":
        term = TERMS.get(item.get("reservationTerm") or "")
        return Quote(region, name, term[0], price / term[1]) if term else None
    return Quote(region, name, "spot" if "Spot" in sku else "on_demand", price)
