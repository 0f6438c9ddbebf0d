"""gpuhunt's published catalogs (the extra `gpuhunt`): many providers, no keys, renewed often.

https://github.com/dstackai/gpuhunt
"""

import logging
import socket
from collections.abc import Iterator

from .quotes import Asked, Quote
from .web import TIMEOUT_S, RefreshError, Web


def quotes(web: Web, asked: Asked) -> Iterator[Quote]:
    """What gpuhunt lists of the provider; regions are those asked for, or all of its own."""
    try:
        import gpuhunt
    except ImportError:
        raise RefreshError(
            f"{web.name}: the package gpuhunt is missing; pip install 'isocost[gpuhunt]'"
        ) from None
    name = web.name.removeprefix("gpuhunt-")
    # What it would log of a failure is said in our one sentence.
    logging.getLogger("gpuhunt").addHandler(logging.NullHandler())
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_S[1])  # gpuhunt's own downloads have none
    try:
        catalog = gpuhunt.Catalog(balance_resources=False, auto_reload=False)
        catalog.load()
        items = catalog.query(provider=name)
    except (OSError, ValueError, gpuhunt.GPUHuntError) as error:
        raise RefreshError(
            f"{web.name}: gpuhunt could not load its catalog ({error}); without a network, import "
            "a price list with isocost catalog import FILE"
        ) from None
    finally:
        socket.setdefaulttimeout(before)
    if not items:
        raise RefreshError(
            f"{web.name}: gpuhunt's list of {name} could not be had; try again later"
        )
    for item in items:
        if item.gpu_vendor == "google":
            continue  # TPU slices: counted and named otherwise than ours
        region, kind = item.location, item.instance_name
        if name == "gcp":
            region = region.rsplit("-", 1)[0]
            if kind.startswith("n1-") and item.gpu_count:  # the GPU is not in the type's name
                kind = f"{kind}+{item.gpu_name.lower()}x{item.gpu_count}"
        if asked.regions and region not in asked.regions:
            continue
        device = f"{item.gpu_name}-{item.gpu_memory:g}GB" if item.gpu_memory else item.gpu_name
        yield Quote(
            region,
            kind,
            "spot" if item.spot else "on_demand",
            item.price,
            accelerator=device if item.gpu_count else "CPU",
            accelerator_count=item.gpu_count or 1,
            vcpus=item.cpu,
            memory_gib=item.memory,
        )
