"""The list of whom to ask."""

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module

from .quotes import Asked, Quote, Source
from .web import Web


def _later(module: str) -> Callable[[Web, Asked], Iterable[Quote]]:
    """The function quotes of a module beside this one, imported when it is called."""

    def quotes(web: Web, asked: Asked) -> Iterable[Quote]:
        found: Iterable[Quote] = import_module(f".{module}", __package__).quotes(web, asked)
        return found

    return quotes


_ALL = (
    Source(
        "aws",
        "aws",
        "https://pricing.us-east-1.amazonaws.com",
        "AWS price list; spot by the Spot Advisor's savings",
        _later("aws"),
    ),
    Source(
        "azure",
        "azure",
        "https://prices.azure.com",
        "Azure Retail Prices API",
        _later("azure"),
    ),
    Source(
        "gcp",
        "gcp",
        "https://cloudbilling.googleapis.com",
        "Google Cloud Billing Catalog API",
        _later("gcp"),
        needs=("GOOGLE_API_KEY",),
    ),
    Source(
        "alibaba",
        "alibaba",
        "https://ecs.aliyuncs.com",
        "Alibaba Cloud ECS DescribePrice and DescribeSpotPriceHistory",
        _later("alibaba"),
        needs=("ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET"),
    ),
    Source(
        "lambda",
        "lambda",
        "https://cloud.lambda.ai",
        "Lambda Cloud API, instance types",
        _later("lambda_cloud"),
        needs=("LAMBDA_API_KEY",),
    ),
    *(
        Source(
            f"gpuhunt-{name}",
            provider,
            "https://dstack-gpu-pricing.s3.eu-west-1.amazonaws.com/v3",
            f"gpuhunt's catalog of {provider}",
            _later("gpuhunt_catalog"),
        )
        for name, provider in (
            ("aws", "aws"),
            ("azure", "azure"),
            ("gcp", "gcp"),
            ("lambdalabs", "lambda"),
            ("nebius", "nebius"),
            ("oci", "oci"),
            ("runpod", "runpod"),
            ("verda", "verda"),
        )
    ),
)
SOURCES: Mapping[str, Source] = {source.name: source for source in _ALL}
