"""What all series measured on one machine tell about it: its shared bus, and its input pipeline.

A machine is what the rows call it (`system=` in the notes) with one source, accelerator and
dataset, read in one way. Both figures speak only of what a series has not measured itself. No I/O.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .sheets import key as accelerator_key
from .table import Row, precision_family

# Exchange that lasts as long as compute is as likely a bus that all devices share as a ring. One
# machine of Lambda's has more, and its steps at eight devices agree; how steeply is a guess.
STEEPNESS = 4.0
# Devices wait for input where they get so much less than on synthetic data: a tenth is more than
# runs differ by. Without such a run, where each gets so much less than alone.
STARVED = 0.9
SATURATED = 0.75

Mark = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Reading:
    """A step's seconds, and the samples/s of all its devices."""

    step_s: float
    rate: float


@dataclass(frozen=True, slots=True)
class _Ends:
    """One setting's readings on one device and on the most."""

    alone: _Reading
    most: _Reading
    devices: int

    @property
    def efficiency(self) -> float:
        return self.alone.step_s / self.most.step_s


@dataclass(frozen=True, slots=True)
class Hosts:
    """By machine: contention's share of exchange, and the samples/s that its input delivers; the
    latter by setting, too, where that one was itself seen to wait."""

    shares: Mapping[Mark, float]
    rates: Mapping[Mark, float]
    own_rates: Mapping[tuple[Mark, Mark], float]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "Hosts":
        """From measured rows; those on several nodes are passed over."""
        settings: dict[tuple[Mark, Mark], list[Row]] = {}
        for row in rows:
            mark = _machine(row)
            if mark is not None and row.batch is not None and row.nodes == 1:
                settings.setdefault((mark, _setting(row)), []).append(row)
        found = {marks: _ends(members) for marks, members in settings.items()}
        ends = {marks: each for marks, each in found.items() if each is not None}
        fed = {
            (_box(mark), setting): each
            for (mark, setting), each in ends.items()
            if not _has_input(mark)
        }
        machines: dict[Mark, dict[Mark, _Ends]] = {}
        for (mark, setting), each in ends.items():
            machines.setdefault(mark, {})[setting] = each
        shares: dict[Mark, float] = {}
        rates: dict[Mark, float] = {}
        own_rates: dict[tuple[Mark, Mark], float] = {}
        for mark, all_ in machines.items():
            added = sum(1 / each.efficiency - 1 for each in all_.values()) / len(all_)
            power = max(added, 0.0) ** STEEPNESS
            shares[mark] = power / (1 + power)
            if not _has_input(mark):
                continue
            fastest = max(each.most.rate for each in all_.values())
            for setting, each in all_.items():
                twin = fed.get((_box(mark), setting))
                if twin is not None and twin.devices == each.devices:
                    waits = each.most.rate < STARVED * twin.most.rate
                else:
                    waits = each.most.rate == fastest and each.efficiency < SATURATED
                if waits:
                    own_rates[mark, setting] = each.most.rate
                    rates[mark] = max(rates.get(mark, 0.0), each.most.rate)
        return cls(shares, rates, own_rates)

    def contention(self, row: Row) -> float | None:
        """The share of exchange on the row's machine that a shared bus explains, in [0, 1); None
        where nothing tells."""
        return self.shares.get(_machine(row) or ())

    def input_s(self, row: Row) -> float:
        """What the input of one step takes at least, seconds; 0 where nothing tells.

        A series whose devices were seen to wait gets no more samples than then, whatever their
        number; any other no more than the fastest that was seen to wait on that machine.
        """
        mark = _machine(row) or ()
        rate = self.own_rates.get((mark, _setting(row)), self.rates.get(mark))
        if rate is None or row.nodes > 1 or row.batch is None:
            return 0.0
        return row.batch * row.devices / rate


def _machine(row: Row) -> Mark | None:
    system = row.tags.get("system")
    if not system:
        return None
    accelerator = accelerator_key(row.cell("accelerator"))
    read = " ".join(sorted(name for name, value in row.switches.items() if value == "on"))
    return (system, row.cell("source"), accelerator, row.cell("unit"), row.cell("dataset"), read)


def _box(machine: Mark) -> Mark:
    """The machine whatever it reads."""
    return machine[:4]


def _setting(row: Row) -> Mark:
    names = ("model", "xla", "framework", "framework_version")
    precision = precision_family(row.cell("precision"))
    return (*(row.cell(name) for name in names), precision, str(row.batch))


def _ends(rows: Sequence[Row]) -> _Ends | None:
    """One setting's mean readings on one device and on the most; None where either is missing."""
    steps: dict[int, list[float]] = {}
    for row in rows:
        steps.setdefault(row.devices, []).append(math.log(row.step_s))
    most = max(steps)
    if most == 1 or 1 not in steps:
        return None
    batch = rows[0].batch or 1.0
    alone_s, most_s = (math.exp(sum(logs) / len(logs)) for logs in (steps[1], steps[most]))
    return _Ends(_Reading(alone_s, batch / alone_s), _Reading(most_s, batch * most / most_s), most)


def _has_input(machine: Mark) -> bool:
    dataset = machine[4].lower()
    return bool(dataset) and "synthetic" not in dataset
