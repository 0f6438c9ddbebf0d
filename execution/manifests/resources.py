"""Checks of what the workers ask of their machines: processors, memory, devices."""

import re
from collections.abc import Iterator
from decimal import Decimal

from .findings import Finding, shown
from .gang import Gang
from .order import Contract

DEVICES = re.compile(
    r"^(nvidia\.com/.+|amd\.com/gpu|google\.com/tpu|aliyun\.com/.*gpu.*|gpu\.intel\.com/.+)$"
)
SCALE = {"": 0, "n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
LEAST_SHARE = Decimal("0.1")  # of a machine: lowered by hand it may be, given away not
BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}


def quantity(text: str | float) -> Decimal:
    """A Kubernetes quantity as a number.

    >>> quantity("1500m"), quantity("2Gi"), quantity(3)
    (Decimal('1.500'), Decimal('2147483648'), Decimal('3'))
    """
    match = re.fullmatch(r"([+-]?[\d.]+)(?:[eE]([+-]?\d+)|([A-Za-z]*))", str(text))
    assert match is not None, text
    number, exponent, suffix = match.groups()
    if exponent is not None:
        return Decimal(number).scaleb(int(exponent))
    if suffix in BINARY:
        return Decimal(number) * Decimal(1024 ** BINARY[suffix])
    return Decimal(number).scaleb(SCALE[suffix or ""])


def stated(gang: Gang) -> Iterator[Finding]:
    """Processors and memory are asked for, and no request is above its limit."""
    given, where = gang.container.resources, gang.where_resources
    for name in ("cpu", "memory"):
        if name not in given.requests and name not in given.limits:
            yield Finding(
                f"{where}.requests.{name}",
                "nothing",
                "the worker's share of its node",
                "without it the worker is the first to be put on a full node, or off it: add it",
            )
    for kind, values in (("requests", given.requests), ("limits", given.limits)):
        for name, value in values.items():
            if quantity(value) <= 0 and not DEVICES.match(name):
                yield Finding(f"{where}.{kind}.{name}", shown(value), "more than 0", "write so")
    for name, request in given.requests.items():
        limit = given.limits.get(name)
        if limit is not None and quantity(request) > quantity(limit) and not DEVICES.match(name):
            yield Finding(
                f"{where}.requests.{name}",
                f"{request}, above the limit of {limit}",
                "a request within its limit",
                "lower it",
            )


def devices(gang: Gang, held: Contract) -> Iterator[Finding]:
    given, where = gang.container.resources, gang.where_resources
    named = {name for name in (*given.requests, *given.limits) if DEVICES.match(name)}
    for name in sorted(named - {held.device}):
        yield Finding(
            where,
            f"the device {name}",
            f"{held.device}" if held.device else "no device: the plan trains on processors",
            "remove it",
        )
    if held.device is None:
        return
    for kind, values in (("requests", given.requests), ("limits", given.limits)):
        got = values.get(held.device)
        if got is None or quantity(got) != held.devices:
            yield Finding(
                f"{where}.{kind}.{held.device}",
                shown(got),
                f"'{held.devices}', the devices of each worker",
                "devices cannot be shared: requests and limits are both that number",
            )


def share(gang: Gang, held: Contract) -> Iterator[Finding]:
    """Processors and memory: no more than the worker's share of its machine, and not next to none."""
    share = -(-held.workers // held.nodes)
    there = {"cpu": Decimal(str(held.vcpus)), "memory": Decimal(str(held.memory_gib)) * 2**30}
    for name, whole in there.items():
        text = gang.container.resources.requests.get(name)
        if text is None:
            continue
        asked = quantity(text)
        if not LEAST_SHARE * whole / share <= asked <= whole / share:
            most = whole / share if name == "cpu" else whole / share / 2**30
            yield Finding(
                f"{gang.where_resources}.requests.{name}",
                shown(text),
                f"at most {most:.4g}{'' if name == 'cpu' else ' GiB'}, the worker's share of its "
                f"machine, and at least {float(LEAST_SHARE):.0%} of it",
                "more never starts, less is shared with others: correct it",
            )
