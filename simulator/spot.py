"""Spot availability as it was observed: traces of whole zones, read, and replayed in blocks.

Spot capacity is not memoryless: machines of a zone are lost together, and are missing together for
hours or days. Exponential fits of up and down times miss the finish of a large gang by a factor of
two, so what was observed is replayed itself (a circular block bootstrap, Politis and Romano 1992).
"""

import csv
import io
import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from ..catalog.files import InputError, did_you_mean, read_text

COLUMNS = ("trace_id", "t_start_s", "duration_s", "available_nodes")
SHORTEST_BLOCK_S = 72 * 3600.0
BLOCK_S = 240 * 3600.0  # ten days: spells of scarce stock, outage upon outage, last over a week
TOUCHES_S = 1e-3  # rows this close follow each other

Supply = Iterator[tuple[float, int]]  # (from when on, machines that can stand at most)


@dataclass(frozen=True, slots=True)
class SpotTrace:
    """Machines available in one zone over time, of `nodes` that were asked for.

    starts_s: when each count begins, from 0; the last one ends at end_s.
    """

    name: str
    nodes: int
    starts_s: tuple[float, ...]
    counts: tuple[int, ...]
    end_s: float

    def available(self, nodes: int) -> tuple[int, ...]:
        """Machines that a gang of `nodes` would hold at each start.

        A gang within what was asked for takes what there is; a larger one gets its share of it,
        rounded down: nobody observed more.
        """
        if nodes <= self.nodes:
            return tuple(min(nodes, count) for count in self.counts)
        return tuple(nodes * count // self.nodes for count in self.counts)

    def block(self, from_s: float, length_s: float) -> Iterator[tuple[float, int]]:
        """(seconds into the block, row) of each count within it; the trace is a circle."""
        row = bisect_right(self.starts_s, from_s) - 1
        elapsed, last = 0.0, len(self.starts_s) - 1
        position = from_s
        while elapsed < length_s:
            yield elapsed, row
            until = self.end_s if row == last else self.starts_s[row + 1]
            elapsed += until - position
            row = 0 if row == last else row + 1
            position = self.starts_s[row]


@dataclass(frozen=True, slots=True)
class SpotMarket:
    """Traces to draw blocks from, and the length of a block."""

    traces: tuple[SpotTrace, ...]
    block_s: float = BLOCK_S
    origin: str = ""

    def of_zones(self, region: str, zones: Sequence[str]) -> "SpotMarket":
        """The traces whose names hold a zone of the offer, else its region; all where none does."""
        for names in (zones, (region,)):
            found = tuple(t for t in self.traces if any(name and name in t.name for name in names))
            if found:
                return SpotMarket(found, self.block_s, self.origin)
        return self

    def supply(self, nodes: int, random: np.random.Generator) -> Supply:
        """Machines that a gang of `nodes` can hold, block after block, for ever.

        A future begins where its first block begins, uniform over every hour observed; so do all
        further blocks. Each takes two uniform numbers, the trace (in proportion to its length) and
        the place in it: gangs that share `random` meet the same hours, whichever zone they stand in.
        """
        available = [trace.available(nodes) for trace in self.traces]
        ends = np.cumsum([trace.end_s for trace in self.traces])
        began_s = 0.0
        while True:
            pick, place = random.random(2).tolist()
            index = int(np.searchsorted(ends, pick * ends[-1], side="right"))
            trace = self.traces[index]
            for elapsed, row in trace.block(place * trace.end_s, self.block_s):
                yield began_s + elapsed, available[index][row]
            began_s += self.block_s

    def describe(self) -> str:
        hours = sum(trace.end_s for trace in self.traces) / 3600
        names = ", ".join(trace.name for trace in self.traces[:3])
        more = f" and {len(self.traces) - 3} more" if len(self.traces) > 3 else ""
        return (
            f"spot capacity replayed in blocks of {self.block_s / 3600:g} h from {hours:,.0f} h "
            f"observed in {names}{more} ({self.origin})"
        )


def read_market(path: Path, names: Sequence[str] = (), block_s: float = BLOCK_S) -> SpotMarket:
    """The traces in a CSV file with the columns of COLUMNS (run lengths, one row a count).

    nodes: an optional column nodes_requested says how many were asked for, else the largest count
    seen. names: keep traces whose trace_id holds one of them. Raises InputError in a sentence.
    """
    if block_s < SHORTEST_BLOCK_S:
        raise InputError(
            f"a block of {block_s / 3600:g} h forgets the longest outages; "
            f"ask for {SHORTEST_BLOCK_S / 3600:g} h or more"
        )
    rows: dict[str, list[tuple[float, float, int, int]]] = {}
    reader = csv.DictReader(io.StringIO(read_text(path)))
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise InputError(
            f"{path} has no column '{missing[0]}'; a spot trace has {', '.join(COLUMNS)}"
        )
    for row in reader:
        rows.setdefault(row["trace_id"], []).append(_row(path, reader.line_num, row))
    if not rows:
        raise InputError(f"{path} holds no rows below its header; is it cut off?")
    wanted = {
        name: part for name, part in rows.items() if not names or any(n in name for n in names)
    }
    if not wanted:
        raise InputError(f"{path} has no trace like '{names[0]}'{did_you_mean(names[0], rows)}")
    return SpotMarket(
        tuple(_trace(path, name, part) for name, part in wanted.items()), block_s, path.name
    )


def _row(path: Path, line: int, row: dict[str, str | None]) -> tuple[float, float, int, int]:
    try:
        start, lasts = float(row["t_start_s"] or ""), float(row["duration_s"] or "")
        count = int(row["available_nodes"] or "")
        asked = int(row.get("nodes_requested") or 0)
    except ValueError:
        raise InputError(
            f"{path}, line {line}: expected numbers in {', '.join(COLUMNS[1:])}; "
            f"found {[row[name] for name in COLUMNS[1:]]}"
        ) from None
    if not (math.isfinite(start) and 0 < lasts < math.inf and start >= 0 and count >= 0):
        raise InputError(
            f"{path}, line {line}: a count of {count} for {lasts:g} s from {start:g} s cannot be; "
            "times are finite and not negative, durations and counts neither"
        )
    return start, lasts, count, asked


def _trace(path: Path, name: str, rows: list[tuple[float, float, int, int]]) -> SpotTrace:
    rows = sorted(rows)
    for (start, lasts, _, _), (following, *_) in pairwise(rows):
        if abs(start + lasts - following) > TOUCHES_S:
            what = "overlap" if start + lasts > following else "leave a gap"
            raise InputError(
                f"{path}: rows of {name} {what} at {min(start + lasts, following):g} s; "
                "each row must begin where the one before it ends"
            )
    nodes = max(max(count, asked) for _, _, count, asked in rows)
    if nodes == 0:
        raise InputError(f"{path}: {name} never has a machine; nothing can be rehearsed on it")
    first, (last, lasts, *_) = rows[0][0], rows[-1]
    return SpotTrace(
        name=name,
        nodes=nodes,
        starts_s=tuple(start - first for start, *_ in rows),
        counts=tuple(count for _, _, count, _ in rows),
        end_s=last + lasts - first,
    )


def with_outages(
    supply: Supply | None, nodes: int, outages: Sequence[tuple[float, float]]
) -> Supply:
    """A supply (None: enough) with nothing between each outage's two times.

    >>> list(with_outages(None, 4, [(10.0, 20.0)]))
    [(0.0, 4), (10.0, 0), (20.0, 4)]
    """
    edges = sorted({edge for outage in outages for edge in outage if math.isfinite(edge)})
    source = iter([(0.0, nodes)]) if supply is None else supply
    held, at = 0, 0.0
    following = next(source, None)
    while following is not None or edges:
        if following is not None and (not edges or following[0] <= edges[0]):
            at, held = following
            following = next(source, None)
            if edges and edges[0] == at:
                edges.pop(0)
        else:
            at = edges.pop(0)
        out = any(begin <= at < end for begin, end in outages)
        yield at, 0 if out else held
