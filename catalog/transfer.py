"""What moving data costs: by the pair of places and the volume, tier by tier.

A price list's GB is 2^30 bytes, as its tiers of 10,240 GB show. A tier is of a month's volume; the
volume of one move is taken as that of its month.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from .records import EgressTier

GIB = 2**30
POOLED = "pooled"
ANY = "*"

Place = tuple[str, str]  # provider, region
Scope = Literal["within", "out"]  # to another region of the provider; to anywhere else
Rule = tuple[str, Scope, str, str]  # provider, scope, leaves, enters: a region, an area, or ANY


@dataclass(frozen=True, slots=True)
class Region:
    """Where a region lies: area is a part of the world over which providers price transfer alike."""

    place: str
    area: str
    grid_g_per_kwh: float | None  # of the local grid; None where it was not read
    source: str
    as_of: str


@dataclass(frozen=True, slots=True, eq=False)
class Transfer:
    """Tiers of every rule; the most exact rule for a pair of places counts."""

    rules: Mapping[Rule, Sequence[EgressTier]]
    regions: Mapping[Place, Region]

    def tiers(self, source: Place, target: Place) -> Sequence[EgressTier]:
        """The tiers for data that leave source for target; none where they stay in one region."""
        if source == target:
            return ()
        provider, scope = source[0], "within" if source[0] == target[0] else "out"
        for name in (provider, POOLED):
            for leaves in self._names(source):
                for enters in self._names(target):
                    found = self.rules.get((name, scope, leaves, enters))  # type: ignore[arg-type]
                    if found is not None:
                        return found
        raise KeyError(f"no rule for {scope} of {POOLED}")

    def usd(self, volume_bytes: float, source: Place, target: Place) -> float:
        """USD for moving so many bytes from source to target within one month.

        sum over tiers of (min(V, to) - from) price, V in GiB; 0 within one region.
        """
        gib = volume_bytes / GIB
        return math.fsum(
            (min(gib, tier.to_gb) - tier.from_gb) * tier.usd_per_gb
            for tier in self.tiers(source, target)
            if gib > tier.from_gb
        )

    def _names(self, place: Place) -> tuple[str, ...]:
        """What a rule may call a place: its region, its area, anywhere."""
        known = self.regions.get(place)
        return (place[1], known.area, ANY) if known else (place[1], ANY)


def transfer(rows: Iterable[Mapping[str, str]], regions: Mapping[Place, Region]) -> Transfer:
    """The rules of a table with one row per tier; tiers must join from 0 to inf."""
    rules: dict[Rule, list[EgressTier]] = {}
    for row in rows:
        scope: Scope = "within" if row["scope"] == "within" else "out"
        rule = (row["provider"], scope, row["leaves"], row["enters"])
        tier = EgressTier(float(row["from_gb"]), float(row["to_gb"]), float(row["usd_per_gb"]))
        rules.setdefault(rule, []).append(tier)
    for rule, tiers in rules.items():
        joined = all(a.to_gb == b.from_gb for a, b in pairwise(tiers))
        if not joined or tiers[0].from_gb != 0 or tiers[-1].to_gb != math.inf:
            raise ValueError(f"the tiers of {rule} do not join from 0 to inf")
    return Transfer(rules, regions)


def region(row: Mapping[str, str]) -> Region:
    """One row of the table of regions."""
    grid = row["grid_g_per_kwh"]
    return Region(
        row["place"], row["area"], float(grid) if grid else None, row["source"], row["as_of"]
    )
