"""Series: the rows of measurement tables that one step-time model is fitted to. No I/O.

A series is one model on one accelerator whose rows share every key that measured and wanted tables
both give: columns, and what the notes name, such as `system=DGX-1` or `input distortions on`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .law import Floats, Points, points
from .sheets import key as accelerator_key
from .table import KEYS, Row, precision_family


@dataclass(frozen=True, slots=True)
class Series:
    """Measured rows of one model on one accelerator that share their keys."""

    model: str
    accelerator: str
    keys: Mapping[str, str]
    rows: tuple[Row, ...]

    @property
    def points(self) -> Points:
        return row_points(self.rows)

    @property
    def step_s(self) -> Floats:
        return np.array([row.step_s for row in self.rows])


def row_points(rows: Sequence[Row]) -> Points:
    return points(
        [(row.batch or 1.0, row.devices, row.nodes, row.fullest, row.layout) for row in rows]
    )


def shared_keys(measured: Sequence[Row], wanted: Sequence[Row]) -> tuple[str, ...]:
    """The keys that both tables give, tags and switches of the `notes` included."""
    plain = [
        name
        for name in KEYS
        if any(row.cell(name) for row in measured) and any(row.cell(name) for row in wanted)
    ]
    return (*plain, *sorted((_tags(measured) & _named(wanted)) | _switches(measured, wanted)))


def _tags(rows: Sequence[Row]) -> set[str]:
    """Names of tags that sort the rows into groups; one with a value a row is no key."""
    values: dict[str, list[str]] = {}
    for row in rows:
        for name, value in row.tags.items():
            values.setdefault(name, []).append(value)
    return {name for name, all_ in values.items() if 1 < len(set(all_)) <= len(all_) // 2}


def _named(rows: Sequence[Row]) -> set[str]:
    return {name for row in rows for name in row.tags}


def _switches(measured: Sequence[Row], wanted: Sequence[Row]) -> set[str]:
    """Names of switches, with a question mark, that some measured rows have otherwise than others;
    a row that is silent about one has it off. Where none of the wanted rows has notes, nobody asks.
    """
    if not any(row.cell("notes") for row in wanted):
        return set()
    names = {f"{name}?" for row in measured for name in row.switches}
    return {name for name in names if len({value_of(row, name) for row in measured}) > 1}


def value_of(row: Row, name: str) -> str:
    """A key's value, in lower case: a column's (a precision's family), a tag's or a switch's."""
    if name == "precision":
        return precision_family(row.cell(name))
    if name in KEYS:
        return row.cell(name).lower()
    if name.endswith("?"):
        return row.switches.get(name[:-1], "off")
    return row.tags.get(name, "").lower()


def group(rows: Iterable[Row], keys: Sequence[str]) -> list[Series]:
    """The series of rows, in the order in which each first appears."""
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        known = "" if row.batch is not None else "no batch"
        mark = (
            row.cell("model").lower(),
            accelerator_key(row.cell("accelerator")),
            known,
            *(value_of(row, name) for name in keys),
        )
        found.setdefault(mark, []).append(row)
    return [
        Series(mark[0], mark[1], dict(zip(keys, mark[3:], strict=True)), tuple(members))
        for mark, members in found.items()
    ]
