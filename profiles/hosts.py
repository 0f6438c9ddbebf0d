"""What all series measured on one machine tell about it: its shared bus, and its input pipeline.

A machine is what the rows call it (`system=` in the notes) with one source, accelerator and
dataset. Both figures speak only of what a series has not measured itself. No I/O.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .sheets import key as accelerator_key
from .table import Row

# Exchange that lasts as long as compute is as likely a bus that all devices share as a ring. One
# machine of Lambda's has more, and its steps at eight devices agree; how steeply is a guess.
STEEPNESS = 4.0
SATURATED = 0.75  # a device's speed among others over alone, below which its devices wait

Mark = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Reading:
    """A step's seconds, and the samples/s of all its devices."""

    step_s: float
    rate: float


@dataclass(frozen=True, slots=True)
class Hosts:
    """By machine: contention's share of exchange, and the samples/s that its input delivers."""

    shares: Mapping[Mark, float]
    rates: Mapping[Mark, float]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "Hosts":
        """From measured rows; those on several nodes are passed over."""
        machines: dict[Mark, dict[Mark, list[Row]]] = {}
        for row in rows:
            mark = _machine(row)
            if mark is not None and row.batch is not None and row.nodes == 1:
                machines.setdefault(mark, {}).setdefault(_setting(row), []).append(row)
        shares, rates = {}, {}
        for mark, settings in machines.items():
            ends = [each for each in map(_alone_and_most, settings.values()) if each is not None]
            if not ends:
                continue
            added = sum(most.step_s / alone.step_s - 1 for alone, most in ends) / len(ends)
            power = max(added, 0.0) ** STEEPNESS
            shares[mark] = power / (1 + power)
            alone, most = max(ends, key=lambda pair: pair[1].rate)
            if _has_input(mark) and alone.step_s / most.step_s < SATURATED:
                rates[mark] = most.rate
        return cls(shares, rates)

    def contention(self, row: Row) -> float | None:
        """The share of exchange on the row's machine that a shared bus explains, in [0, 1); None
        where nothing tells."""
        return self.shares.get(_machine(row) or ())

    def input_s(self, row: Row) -> float:
        """What the input of one step takes at least, seconds; 0 where nothing tells.

        The fastest series of a machine whose devices wait for each other shows what the host reads
        and decodes in a second: no model on that data gets more.
        """
        rate = self.rates.get(_machine(row) or ())
        if rate is None or row.nodes > 1 or row.batch is None:
            return 0.0
        return row.batch * row.devices / rate


def _machine(row: Row) -> Mark | None:
    system = row.tags.get("system")
    if not system:
        return None
    accelerator = accelerator_key(row.cell("accelerator"))
    return (system, row.cell("source"), accelerator, row.cell("dataset"), row.cell("unit"))


def _setting(row: Row) -> Mark:
    names = ("model", "precision", "xla", "framework", "framework_version")
    return (*(row.cell(name) for name in names), str(row.batch))


def _alone_and_most(rows: Sequence[Row]) -> tuple[_Reading, _Reading] | None:
    """One setting's mean readings on one device and on the most; None where either is missing."""
    steps: dict[int, list[float]] = {}
    for row in rows:
        steps.setdefault(row.devices, []).append(math.log(row.step_s))
    most = max(steps)
    if most == 1 or 1 not in steps:
        return None
    batch = rows[0].batch or 1.0
    alone_s, most_s = (math.exp(sum(logs) / len(logs)) for logs in (steps[1], steps[most]))
    return _Reading(alone_s, batch / alone_s), _Reading(most_s, batch * most / most_s)


def _has_input(machine: Mark) -> bool:
    dataset = machine[3].lower()
    return bool(dataset) and "synthetic" not in dataset
