"""What-ifs in the user's words: "price*1.5, spot_hazard*2 and nodes+4, fail zone a at 2h for 6h"."""

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ..catalog.files import InputError, did_you_mean, seconds

ASSUMED_OUTAGE_S = 4 * 3600.0  # assumed; the user may say "for 12h"
FIGURE = re.compile(r"([a-z_]+)\s*([*+\-=])\s*(\d+(?:\.\d+)?)")
ZONE = re.compile(r"fail\s+zone\s+(\S+)\s+at\s+(.+?)(?:\s+for\s+(.+))?")


@dataclass(frozen=True, slots=True)
class Figure:
    """One change of one figure, as price*1.5."""

    name: str
    operator: str
    by: float

    def of(self, value: float, least: float = 0.0) -> float:
        """The figure after the change. Raises InputError where that is below least.

        >>> Figure("price", "*", 1.5).of(2.0)
        3.0
        """
        by = self.by
        new = {"*": value * by, "+": value + by, "-": value - by, "=": by}[self.operator]
        if new < least:
            what = self.name.replace("_", " ")
            raise InputError(
                f"--what-if would make the {what} {new:g}; it must be {least:g} or more"
            )
        return new

    def count(self, value: int, whose: str) -> int:
        """The same of a whole number from 1."""
        new = self.of(value, -math.inf)
        if new != round(new) or new < 1:
            raise InputError(
                f"--what-if would give {whose} {new:g} {self.name}; expected a whole number from 1"
            )
        return round(new)


@dataclass(frozen=True, slots=True)
class WhatIf:
    """One scenario: what the user wrote, the figures it changes, and the zones that fail (from, to in seconds)."""

    words: str
    figures: tuple[Figure, ...] = ()
    outages: tuple[tuple[str, float, float], ...] = ()


def allowed(known: Collection[str]) -> str:
    """What can be written, for help and errors."""
    return (
        f"{', '.join(known)} with *, +, - or = and a number, as 'price*1.5' or 'nodes+4', or 'fail zone a at "
        "2h for 6h'; commas separate scenarios, 'and' joins changes into one"
    )


def parsed(texts: Sequence[str], known: Collection[str]) -> list[WhatIf]:
    """Scenarios in what the user wrote: commas between scenarios, "and" within one.

    known: names of the figures that can be changed. Raises InputError.

    >>> [one.words for one in parsed(["price*1.5, nodes+4 and work*0.9"], ["price", "nodes", "work"])]
    ['price*1.5', 'nodes+4 and work*0.9']
    """
    words = [part.strip().strip("\"'").strip() for text in texts for part in text.split(",")]
    if not words or not all(words):
        raise InputError(f"--what-if has an empty scenario; write {allowed(known)}")
    return [_scenario(part, known) for part in words]


def _scenario(words: str, known: Collection[str]) -> WhatIf:
    figures, outages = [], []
    for part in re.split(r"\s+and\s+|\s*&\s*", words):
        zone, figure = ZONE.fullmatch(part), FIGURE.fullmatch(part)
        if zone:
            at, lasts = _duration(zone[2], words), _duration(zone[3], words, ASSUMED_OUTAGE_S)
            outages.append((zone[1], at, at + lasts))
        elif figure and figure[1] in known:
            figures.append(Figure(figure[1], figure[2], float(figure[3])))
        elif figure:
            raise InputError(
                f"--what-if '{words}': '{figure[1]}' cannot be changed{did_you_mean(figure[1], known)}"
            )
        else:
            raise InputError(f"--what-if '{words}' is not understood; write {allowed(known)}")
    return WhatIf(words, tuple(figures), tuple(outages))


def _duration(text: str | None, words: str, default: float = math.nan) -> float:
    if text is None:
        return default
    try:
        return float(seconds(text.strip()))  # type: ignore[arg-type]
    except ValueError as error:
        raise InputError(f"--what-if '{words}': {error}") from None


def in_zone(zone: str, stand: Sequence[str], who: str) -> list[bool]:
    """Which of those stand in the zone: by its name, its last letter, or counted a, b, c in order.

    stand: the zone of each; who: they, for the error.
    """
    named = [place == zone for place in stand]
    if not any(named):
        named = [
            len(zone) == 1 and place[-2:-1].isdigit() and place.endswith(zone) for place in stand
        ]
    if any(named):
        return named
    distinct = list(dict.fromkeys(stand))
    number = ord(zone) - ord("a") if len(zone) == 1 else -1
    if 0 <= number < len(distinct):
        return [place == distinct[number] for place in stand]
    raise InputError(f"--what-if: no {who} in zone '{zone}'; they stand in {', '.join(distinct)}")
