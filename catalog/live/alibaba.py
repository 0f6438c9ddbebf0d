"""Alibaba Cloud ECS: an access key; one question for each type's price and one for its spot price.

Requests are signed: HMAC-SHA1 over the sorted parameters (the RPC style, signature version 1.0).
https://www.alibabacloud.com/help/en/ecs/developer-reference/api-ecs-2014-05-26-describeprice
"""

import base64
import hashlib
import hmac
import time
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote as percent

from .quotes import Asked, Quote
from .web import RETRIES, RefreshError, Web

NOT_SOLD = ("InvalidInstanceType", "PriceNotFound", "InvalidResourceType", "OperationDenied")
KEY, SECRET, RATE = (
    "ALIBABA_CLOUD_ACCESS_KEY_ID",
    "ALIBABA_CLOUD_ACCESS_KEY_SECRET",
    "ISOCOST_CNY_PER_USD",
)


def quotes(web: Web, asked: Asked) -> Iterator[Quote]:
    """Pay-as-you-go and the newest spot price of each zone, of the offers the catalog knows."""
    key = asked.setting(KEY, "an access key that may call ecs:DescribePrice")
    secret = asked.setting(SECRET, "the secret of that access key")
    for region, name in sorted(asked.offers):
        asked.note(f"alibaba {region} {name}")
        common = {"RegionId": region, "InstanceType": name}
        wanted = {**common, "ResourceType": "instance", "PriceUnit": "Hour"}
        answer = _call(web, "DescribePrice", wanted, key, secret)
        if answer is None:
            continue
        price = web.part(web.part(answer, "PriceInfo", dict), "Price", dict)
        usd = _usd(price.get("Currency", ""), asked)
        # The list price: what is traded at is this account's own discount.
        yield Quote(region, name, "on_demand", _number(web, price, "OriginalPrice") / usd)
        answer = _call(
            web, "DescribeSpotPriceHistory", {**common, "NetworkType": "vpc"}, key, secret
        )
        if answer is None:
            continue
        prices = web.part(web.part(answer, "SpotPrices", dict), "SpotPriceType", list)
        newest = {p["ZoneId"]: p for p in sorted(prices, key=lambda p: p["Timestamp"])}
        usd = _usd(answer.get("Currency", price.get("Currency", "")), asked)
        for zone, spot in newest.items():
            yield Quote(
                region,
                name,
                "spot",
                _number(web, spot, "SpotPrice") / usd,
                zone=zone,
                spot_basis="observed_median_of_zones",
            )


def _call(
    web: Web, action: str, parameters: Mapping[str, str], key: str, secret: str
) -> dict[str, Any] | None:
    """The answer to an action; None where the type is not sold in the region."""
    for attempt in range(RETRIES + 1):
        answer = web.get("/", signed(action, parameters, key, secret), errors_are_answers=True)
        code = str(answer.get("Code", ""))
        if not code:
            return answer
        if code.startswith(NOT_SOLD):
            return None
        if not code.startswith("Throttling"):
            break
        time.sleep(web.backoff_s * 2**attempt)
    raise RefreshError(f"alibaba: {action} was refused: {code}: {answer.get('Message', '')}")


def signed(action: str, parameters: Mapping[str, str], key: str, secret: str) -> dict[str, str]:
    """The parameters of a request with its signature."""
    whole = {
        **parameters,
        "Action": action,
        "Version": "2014-05-26",
        "Format": "JSON",
        "AccessKeyId": key,
        "SignatureMethod": "HMAC-SHA1",
        "SignatureVersion": "1.0",
        "SignatureNonce": uuid.uuid4().hex,
        "Timestamp": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
    }
    return {**whole, "Signature": signature(whole, secret)}


def signature(parameters: Mapping[str, str], secret: str) -> str:
    """base64(HMAC-SHA1(secret + "&", "GET&%2F&" + percent(sorted query)))."""
    query = "&".join(
        f"{percent(name, safe='~')}={percent(value, safe='~')}"
        for name, value in sorted(parameters.items())
    )
    text = f"GET&%2F&{percent(query, safe='~')}"
    digest = hmac.new(f"{secret}&".encode(), text.encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode()


def _number(web: Web, answer: Mapping[str, Any], key: str) -> float:
    value = answer.get(key)
    return float(value) if isinstance(value, int | float) else float(web.part(answer, key, float))


def _usd(currency: str, asked: Asked) -> float:
    """How much of a currency is one dollar."""
    if currency == "USD":
        return 1.0
    if currency != "CNY":
        raise RefreshError(f"alibaba: prices came in {currency!r}; only USD and CNY are read")
    given = asked.setting(RATE, "the yuan for one dollar, for example 7.1, as prices come in CNY")
    try:
        rate = float(given)
    except ValueError:
        rate = 0.0
    if not 1 < rate < 100:
        raise RefreshError(f"alibaba: {RATE} is {given!r}; expected yuan for one dollar, about 7")
    return rate
