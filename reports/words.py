"""Numbers and records in the words a person would use: rounded, and with their unit."""

import math
import unicodedata
from collections.abc import Callable
from typing import Protocol

from ..optimizer.plan import PlannedCandidate, PlannedOffer
from ..profiles.records import Knobs

MINUTE_S, HOUR_S, DAY_S = 60, 3_600, 86_400


def duration(seconds: float) -> str:
    """Seconds in the two units that matter.

    >>> [duration(s) for s in (0.0063, 6.5, 73.1, 114.6, 4320, 183_600)]
    ['6.3 ms', '6.5 s', '73 s', '1 min 55 s', '1 h 12 min', '2 d 3 h']
    """
    if seconds < 0:
        return f"-{duration(-seconds)}"
    if seconds == 0:
        return "0 s"
    for unit_s, unit in ((1e-6, "µs"), (1e-3, "ms")):
        if seconds < 999.5 * unit_s:
            return f"{_significant(seconds / unit_s, 2)} {unit}"
    if seconds < 99.5:
        return f"{_significant(seconds, 2)} s"
    if round(seconds) < HOUR_S:
        return _two(round(seconds), MINUTE_S, "min", "s")
    if seconds < 2 * DAY_S:
        return _two(round(seconds / MINUTE_S), 60, "h", "min")
    return _two(round(seconds / HOUR_S), 24, "d", "h")


def usd(dollars: float) -> str:
    """Dollars, with cents from ten cents on and two digits that count below.

    >>> [usd(d) for d in (0, 0.00043583, 0.0311, 0.34, 2.5567, 12_345.6)]
    ['$0', '$0.00044', '$0.031', '$0.34', '$2.56', '$12,346']
    """
    if dollars < 0:
        return f"-{usd(-dollars)}"
    if dollars == 0:
        return "$0"
    if dollars < 1e-6:
        return "under $0.000001"
    if dollars < 0.0995:
        return f"${_decimals(dollars, 2)}"
    return f"${dollars:,.2f}" if dollars < 999.995 else f"${dollars:,.0f}"


def share(probability: float) -> str:
    """A share in per cent; only what is exactly all or nothing is called 100 % or 0 %."""
    percent = 100 * probability
    if 0 < percent < 0.1:
        return "under 0.1 %"
    if 99.9 < percent < 100:
        return "over 99.9 %"
    return f"{percent:.1f}".removesuffix(".0") + " %"


def rate(samples_per_s: float) -> str:
    return f"{_grouped(samples_per_s)} samples/s"


def count(number: float, noun: str, plural: str | None = None) -> str:
    """A count with its noun: 1 node, 15,625 steps, 0.021 losses."""
    return f"{number:,.10g} {noun if number == 1 else plural or f'{noun}s'}"


def change(ratio: float, more: str, less: str) -> str:
    """How far a ratio is from 1: '12 % more', '3 % less', 'as predicted'."""
    percent = round(100 * abs(ratio - 1))
    if percent == 0:
        return "as predicted"
    return f"{percent:,} % {more if ratio > 1 else less}"


def size(number_of_bytes: float) -> str:
    """Bytes in decimal units.

    >>> size(1_470_852), size(0)
    ('1.47 MB', '0 B')
    """
    return _prefixed(number_of_bytes, "B")


def operations(number: float) -> str:
    return _prefixed(number, "FLOP")


def name(given: str) -> str:
    """A name for a sentence: where it runs from right to left, or steers the direction, set apart.

    >>> name("resnet-50"), name("a\u202eb") == "\u2068a\u202eb\u2069"
    ('resnet-50', True)
    """
    steers = {"R", "AL", "AN", "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    if any(unicodedata.bidirectional(letter) in steers for letter in given):
        return f"\u2068{given}\u2069"
    return given


class Spreading(Protocol):
    """A predicted or rehearsed quantity."""

    @property
    def mean(self) -> float: ...
    @property
    def p50(self) -> float: ...
    @property
    def p90(self) -> float: ...


def time(found: Spreading) -> tuple[str, str]:
    """The median time, and what nine of ten stay under."""
    return duration(found.p50), f"90 % under {duration(found.p90)}"


def cost(found: Spreading) -> tuple[str, str]:
    """The mean cost, which is what many runs pay, and what nine of ten stay under."""
    return usd(found.mean), f"90 % under {usd(found.p90)}"


def place(offer: PlannedOffer) -> str:
    if offer.provider == "local":
        return "this machine"
    return f"{name(offer.provider)} {name(offer.region)}"


def hardware(offer: PlannedOffer) -> str:
    """The instance type, with its accelerators where it has any."""
    if offer.accelerator == "CPU":
        return name(offer.instance_type)
    return f"{name(offer.instance_type)}, {offer.accelerator_count} × {name(offer.accelerator)}"  # noqa: RUF001


def terms(candidate: PlannedCandidate) -> str:
    """How many nodes on which terms: '2 nodes, spot'."""
    return f"{count(candidate.nodes, 'node')}, {candidate.purchase.replace('_', ' ')}"


def batch(candidate: PlannedCandidate) -> str:
    if candidate.global_batch == candidate.per_device_batch:
        return f"batch {candidate.global_batch}"
    return f"batch {candidate.global_batch}, {candidate.per_device_batch} a device"


def knobs(setting: Knobs) -> str:
    """The knobs in a line: 'float32, XLA, multi worker mirrored, 2 workers a node'."""
    return ", ".join(
        [
            setting.precision.replace("_", " "),
            *(["XLA"] if setting.xla else []),
            setting.strategy.replace("_", " "),
            *(
                [f"{setting.workers_per_node} workers a node"]
                if setting.workers_per_node > 1
                else []
            ),
        ]
    )


def percent_change(factor: float) -> str:
    """A factor as the change that it is.

    >>> [percent_change(f) for f in (0.75, 1.0, 1.37, 8.0)]
    ['-25 %', '0 %', '+37 %', '+700 %']
    """
    percent = round(100 * (factor - 1))
    return f"{percent:+,d} %" if percent else "0 %"


def signed(value: float, say: Callable[[float], str]) -> str:
    """A difference with its sign: '+$1.20', '-3 min'; what rounds to nothing has none."""
    text = say(abs(value))
    return text if value == 0 else f"{'-' if value < 0 else '+'}{text}"


def plan(candidate: PlannedCandidate) -> str:
    """A candidate in a line: '2 × p3.2xlarge, 1 × V100 (aws us-east-1), spot, batch 64'."""  # noqa: RUF002
    many = f"{candidate.nodes} × " if candidate.nodes > 1 else ""  # noqa: RUF001
    bought = candidate.purchase.value.replace("_", " ")
    return f"{many}{hardware(candidate.offer)} ({place(candidate.offer)}), {bought}, {batch(candidate)}"


def _significant(value: float, digits: int) -> str:
    """The value to so many digits that count, without idle zeros: 6.5, 7, 123."""
    text = _decimals(value, digits)
    return text.rstrip("0").rstrip(".") if "." in text else text


def _decimals(value: float, digits: int) -> str:
    """The value to so many digits that count, never in powers of ten."""
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(value)))}f}"


def _grouped(value: float) -> str:
    """Three digits that count, or every whole one: 0.123, 45.6, 5,062."""
    return f"{value:,.0f}" if value >= 99.95 else f"{value:.3g}"


def _prefixed(value: float, unit: str) -> str:
    for prefix, factor in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= 0.9995 * factor:
            return f"{_grouped(value / factor)} {prefix}{unit}"
    return f"{_grouped(value)} {unit}"


def _two(total: int, per: int, large: str, small: str) -> str:
    whole, rest = divmod(total, per)
    return f"{whole:,} {large} {rest} {small}" if rest else f"{whole:,} {large}"
