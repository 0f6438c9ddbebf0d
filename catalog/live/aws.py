"""AWS price list, the bulk files: public, no key; one CSV per region, read line by line.

The same list as JSON must be held whole, several GB for us-east-1; the CSV streams.
https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-ppslong.html
Spot prices need an account; the Spot Advisor's savings are public and stand for them.
"""

import csv
from collections.abc import Iterator, Mapping
from itertools import dropwhile

from .quotes import Asked, Bought, Quote
from .web import Web, url_of

INDEX = "/offers/v1.0/aws/AmazonEC2/current/region_index.json"
ADVISOR = "https://spot-bid-advisor.s3.amazonaws.com"
LINUX = {
    "Tenancy": "Shared",
    "Operating System": "Linux",
    "Pre Installed S/W": "NA",
    "CapacityStatus": "Used",
    "Unit": "Hrs",
    "Currency": "USD",
}
PROCESSORS_ONLY = ("General purpose", "Compute optimized", "Memory optimized", "Storage optimized")
BURSTABLE = ("t1.", "t2.", "t3.", "t3a.", "t4g.")  # their price is of a share of the processors
TERMS: dict[str, Bought] = {"1yr": "reserved_1y", "3yr": "reserved_3y"}


def quotes(web: Web, asked: Asked) -> Iterator[Quote]:
    """Linux types on shared hardware: on demand, reserved with nothing upfront, spot by savings."""
    regions = web.part(web.get(INDEX), "regions", dict)
    advisor = Web("aws-spot", url_of("aws-spot", ADVISOR), web.timeout_s, web.backoff_s)
    savings = advisor.part(advisor.get("/spot-advisor-data.json"), "spot_advisor", dict)
    for region in asked.regions:
        if region not in regions:
            continue
        asked.note(f"aws {region}")
        url = web.part(regions[region], "currentVersionUrl", str)
        lines = web.lines(url.removesuffix("json") + "csv")
        # A few lines about the list come before its header.
        rows = csv.DictReader(dropwhile(lambda line: not line.startswith('"SKU"'), lines))
        linux = savings.get(region, {}).get("Linux", {})
        for row in rows:
            quote = _quote(row, region)
            if quote is None:
                continue
            yield quote
            saved = linux.get(quote.instance_type, {}).get("s")
            known = isinstance(saved, int | float) and 0 < saved < 100
            if known and quote.bought == "on_demand":
                yield Quote(
                    region,
                    quote.instance_type,
                    "spot",
                    round(quote.usd_h * (1 - saved / 100), 6),
                    spot_basis="advisor_savings",
                )


def _quote(row: Mapping[str, str | None], region: str) -> Quote | None:
    name = row.get("Instance Type")
    if not name or name.startswith(BURSTABLE):
        return None
    if any(row.get(key) != value for key, value in LINUX.items()):
        return None
    price = float(row.get("PricePerUnit") or "nan")
    if row.get("TermType") == "Reserved":
        term = TERMS.get(row.get("LeaseContractLength") or "")
        usual = ("No Upfront", "standard")
        if term is None or (row.get("PurchaseOption"), row.get("OfferingClass")) != usual:
            return None
        return Quote(region, name, term, price)
    memory = (row.get("Memory") or "").removesuffix(" GiB").replace(",", "")
    return Quote(
        region,
        name,
        "on_demand",
        price,
        # The list counts devices and does not name them: None leaves the name to what is known.
        accelerator="CPU" if row.get("Instance Family") in PROCESSORS_ONLY else None,
        vcpus=float(row.get("vCPU") or "nan"),
        memory_gib=float(memory) if memory.replace(".", "", 1).isdigit() else None,
    )
