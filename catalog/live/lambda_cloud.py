"""Lambda Cloud API: an API key; all types in one answer, at one price everywhere.

https://docs.lambda.ai/api/cloud
"""

from collections.abc import Iterator

from .quotes import Asked, Quote
from .web import Web


def quotes(web: Web, asked: Asked) -> Iterator[Quote]:
    """Every type in every region asked for: stock changes by the hour, prices do not."""
    key = asked.setting("LAMBDA_API_KEY", "a key of your Lambda account")
    answer = web.get("/api/v1/instance-types", headers={"Authorization": f"Bearer {key}"})
    for name, entry in web.part(answer, "data", dict).items():
        kind = web.part(entry, "instance_type", dict)
        specs = web.part(kind, "specs", dict)
        cents = web.part(kind, "price_cents_per_hour", int)
        with_stock = {r["name"] for r in entry.get("regions_with_capacity_available", [])}
        for region in {*asked.regions, *with_stock}:
            yield Quote(
                region,
                name,
                "on_demand",
                cents / 100,
                vcpus=specs.get("vcpus"),
                memory_gib=specs.get("memory_gib"),
            )
