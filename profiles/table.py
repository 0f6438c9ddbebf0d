"""Measurement tables: CSV rows of anybody's throughput measurements, checked line by line.

Columns as in the documentation (docs/profiles.md); only `model` and `accelerator` must be there.
Unknown columns are kept and handed through.
"""

import csv
import gzip
import io
import math
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..catalog.files import InputError, did_you_mean
from .sheets import key as accelerator_key

COLUMNS = (
    "source",
    "source_path",
    "source_version",
    "license",
    "framework",
    "framework_version",
    "model",
    "dataset",
    "accelerator",
    "accelerators",
    "accelerators_per_node",
    "nodes",
    "precision",
    "xla",
    "per_device_batch",
    "global_batch",
    "unit",
    "throughput",
    "step_time_s",
    "sync_time_s",
    "n_runs",
    "rel_spread",
    "placement",
    "notes",
)
# What tells series apart besides model and accelerator, the most telling first.
KEYS = ("source", "unit", "framework", "precision", "dataset", "xla", "framework_version")
NODE_DEVICES = 8  # devices of a node where a table gives only their total
_LAYOUT = re.compile(r"\bper node:\s*(\d+(?:\+\d+)+)")
_TAG = re.compile(r"^\s*([a-z_]+)=(\S[^;]*?)\s*$")
_SWITCH = re.compile(r"^\s*([a-z][a-z _-]*?)\s+(on|off)\s*$", re.IGNORECASE)
# What is said not to be does not count; a number type counts before a way of mixing them.
_NOT = r"(?:no|non|not|without|un)[ _-]?(?:amp|mixed|half|fp16|tf32)"
_OFF = r"(?:amp|tf32)\s*[:=]?\s*(?:off|false|none|disabled)"
_DENIED = re.compile(f"{_NOT}|{_OFF}")
_TYPE = re.compile(
    r"(?<![a-z0-9])(?:mx|nv)?(bfloat|bf|tensorfloat|tf|float|fp|f|int)[-_ ]?(4|8|16|32|64)(?!\d)"
)
_KINDS = {"bf": "bfloat", "tf": "tensorfloat", "fp": "float", "f": "float"}
_NAMES = {
    "amp": "float16",
    "mixed": "float16",
    "half": "float16",
    "single": "float32",
    "double": "float64",
    "e4m3": "float8",
    "e5m2": "float8",
}
_NAMED = re.compile(rf"(?<![a-z])({'|'.join(_NAMES)})(?![a-z])")
_COUNTS = ("accelerators", "accelerators_per_node", "nodes")
_BATCHES = ("per_device_batch", "global_batch")
SHOWN_FAULTS = 20


@dataclass(frozen=True, slots=True)
class Row:
    """One configuration, and its throughput where that was measured.

    batch: samples a device and step; None where the table does not say. devices over nodes,
    fullest on the fullest node. cells: the row as it was given, by column.
    """

    line: int
    cells: Mapping[str, str]
    batch: float | None
    devices: int
    nodes: int
    fullest: int
    throughput: float | None

    def cell(self, column: str) -> str:
        return self.cells.get(column, "")

    @property
    def tags(self) -> dict[str, str]:
        """The name=value pairs in the notes whose value is no number.

        >>> row({"notes": "rack 3; system=DGX-1; mfu=0.4"}, 2).tags
        {'system': 'DGX-1'}
        """
        found = (_TAG.match(part) for part in self.cell("notes").split(";"))
        pairs = {match[1]: match[2] for match in found if match}
        return {name: value for name, value in pairs.items() if not _is_number(value)}

    @property
    def switches(self) -> dict[str, str]:
        """What the notes say is on or off.

        >>> row({"notes": "rack 3; input distortions on"}, 2).switches
        {'input distortions': 'on'}
        """
        found = (_SWITCH.match(part) for part in self.cell("notes").split(";"))
        return {match[1].lower(): match[2].lower() for match in found if match}

    @property
    def layout(self) -> float:
        """A number for the devices of each node in their order where the notes tell them, such as
        `gpus per node: 1+2+4`, and they fit the counts; else 0."""
        told = _LAYOUT.search(self.cell("notes"))
        if told is None:
            return 0.0
        each = [int(count) for count in told[1].split("+")]
        fits = (sum(each), len(each), max(each)) == (self.devices, self.nodes, self.fullest)
        return float(zlib.crc32(told[1].encode())) if fits else 0.0

    @property
    def work(self) -> float:
        """What one step does, in the unit of throughput: rates per chip count one chip's."""
        unit = self.cell("unit").lower()
        batch = 1.0 if unit.startswith("step") else self.batch or 1.0
        return batch * (1.0 if unit.endswith(("/chip", "/gpu", "/device")) else self.devices)

    @property
    def step_s(self) -> float:
        """Time of a step, in seconds where the unit counts samples; else in that unit's measure."""
        assert self.throughput is not None
        return self.work / self.throughput


def precision_family(word: str) -> str:
    """What a table's word for a precision multiplies in; the word itself where it names no type.

    >>> [precision_family(word) for word in ("fp32 (single)", "amp", "amp_bf16", "tf32", "int8", "")]
    ['float32', 'float16', 'bfloat16', 'tensorfloat32', 'int8', '']
    >>> [precision_family(word) for word in ("fp16 (no AMP)", "fp32 on Ampere", "amp=off")]
    ['float16', 'float32', 'amp=off']
    """
    said = _DENIED.sub(" ", word.lower())
    if typed := _TYPE.search(said):
        return _KINDS.get(typed[1], typed[1]) + typed[2]
    named = _NAMED.search(said)
    return _NAMES[named[1]] if named else word.lower()


def is_half(precision: str) -> bool:
    """Whether a precision as tables name it multiplies floats of 16 bit or fewer.

    >>> [is_half(word) for word in ("fp32", "amp", "mixed_bfloat16", "fp16 (use_fp16)", "no AMP")]
    [False, True, True, True, False]
    """
    return precision_family(precision) in ("float16", "bfloat16", "float8", "float4")


class Fault(ValueError):
    """What is wrong with one row; the message is a sentence without the line."""


def row(cells: Mapping[str, str], line: int, *, measured: bool = False) -> Row:
    """A row of a table from its cells.

    Raises Fault where a cell is no number, a count contradicts another, or, if measured, there is
    no throughput.
    """
    counts = {name: _count(cells, name) for name in _COUNTS}
    per_device, whole = (_number(cells, name) for name in _BATCHES)
    devices, fullest, nodes = (counts[name] for name in _COUNTS)
    devices, nodes, fullest = _placement(devices, nodes, fullest, cells.get("placement", ""))
    if per_device is None and whole is not None:
        per_device = whole / devices
    throughput = _number(cells, "throughput")
    if measured and throughput is None:
        step = _number(cells, "step_time_s")
        if step is None or per_device is None:
            raise Fault("has no throughput; expected a number above 0")
        throughput = per_device * devices / step
    return Row(line, cells, per_device, devices, nodes, fullest, throughput)


def _placement(
    devices: int | None, nodes: int | None, fullest: int | None, placement: str
) -> tuple[int, int, int]:
    if devices is None:
        devices = (nodes or 1) * (fullest or 1)
    if nodes is None and fullest is None:
        spread = placement == "unconsolidated"
        nodes = devices if spread else math.ceil(devices / NODE_DEVICES)
    elif nodes is None:
        assert fullest is not None
        nodes = math.ceil(devices / fullest)
    if fullest is None:
        fullest = math.ceil(devices / nodes)
    if not nodes <= devices <= nodes * fullest or fullest > devices:
        raise Fault(
            f"puts {devices} accelerators on {nodes} nodes with at most {fullest} on one, which "
            "cannot be; check accelerators, nodes and accelerators_per_node"
        )
    return devices, nodes, fullest


def _number(cells: Mapping[str, str], name: str) -> float | None:
    text = (cells.get(name) or "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        raise Fault(f"has {name} {text!r}; expected a number above 0 or an empty cell") from None
    if not (math.isfinite(value) and value > 0):
        raise Fault(f"has {name} {text}; expected a number above 0 or an empty cell")
    return value


def _count(cells: Mapping[str, str], name: str) -> int | None:
    value = _number(cells, name)
    if value is not None and value != int(value):
        raise Fault(f"has {name} {cells[name]}; expected a whole number or an empty cell")
    return None if value is None else int(value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Table:
    """A file's columns, its good rows, and a sentence for each bad one."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    faults: tuple[str, ...]

    def sound(self) -> "Table":
        """The table itself; InputError with a sentence a row where any is wrong."""
        if self.faults:
            shown = list(self.faults[:SHOWN_FAULTS])
            if len(self.faults) > SHOWN_FAULTS:
                shown.append(f"... and {len(self.faults) - SHOWN_FAULTS} rows more")
            raise InputError("\n".join(shown))
        return self


def read_table(path: Path, *, measured: bool) -> Table:
    """The table in a CSV file, compressed by gzip or not.

    measured: every row must have a throughput. Raises InputError where the file is none of that.
    """
    return parse_table(_text(path), str(path), measured=measured)


def parse_table(text: str, origin: str, *, measured: bool) -> Table:
    """The table in CSV text; origin is named in its sentences."""
    reader = csv.reader(io.StringIO(text))
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(header, origin, measured)
        rows: list[Row] = []
        faults: list[str] = []
        for fields in reader:
            line = reader.line_num
            if not any(field.strip() for field in fields):
                continue
            try:
                rows.append(_row(header, fields, line, measured))
            except Fault as fault:
                faults.append(f"{origin}, line {line} {fault}")
    except csv.Error as error:
        raise InputError(f"{origin}, line {reader.line_num} is not valid CSV: {error}") from None
    if not rows and not faults:
        raise InputError(f"{origin} has no rows; expected one configuration a line")
    return Table(tuple(header), tuple(rows), tuple(faults))


def _row(header: Sequence[str], fields: Sequence[str], line: int, measured: bool) -> Row:
    if len(fields) != len(header):
        raise Fault(f"has {len(fields)} cells; the header has {len(header)}")
    cells = {name: field.strip() for name, field in zip(header, fields, strict=True)}
    for name in ("model", "accelerator"):
        if not cells[name]:
            raise Fault(f"has no {name}; every row must name one")
    return row(cells, line, measured=measured)


def _check_header(header: Sequence[str], origin: str, measured: bool) -> None:
    if not header:
        raise InputError(f"{origin} is empty; expected CSV with a line of column names")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise InputError(f"{origin} has the column {twice[0]!r} twice; rename or remove one")
    needed = ["model", "accelerator"]
    if measured and "step_time_s" not in header:
        needed.append("throughput")
    for name in needed:
        if name not in header:
            raise InputError(
                f"{origin} has no column {name!r}{did_you_mean(name, header)}; expected the "
                "columns of `isocost profile export`"
            )


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        if raw[:2] == b"\x1f\x8b":
            raw = gzip.decompress(raw)
        return raw.decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; check the path") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is no text (no UTF-8); expected a CSV file") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path} is a damaged gzip file: {error}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None


def write_rows(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """CSV text of rows, a line each."""
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


DISAGREE = 1.1  # sources whose figures for one setting differ by more are in conflict


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two sources' figures for the same setting, the slower first; lines as in their tables."""

    slower: Row
    faster: Row

    @property
    def ratio(self) -> float:
        return (self.faster.throughput or 0.0) / (self.slower.throughput or 1.0)

    def describe(self) -> str:
        """The conflict in a sentence."""
        at = self.slower
        batch = f", batch {at.batch:g}" if at.batch else ""
        return (
            f"{at.cell('model')} on {at.devices} x {at.cell('accelerator')}{batch}, "
            f"{at.cell('precision') or 'precision not stated'}: {at.throughput:,.5g} by "
            f"{at.cell('source')}, {self.faster.throughput:,.5g} by {self.faster.cell('source')} "
            f"({self.ratio:.2f} times)"
        )


def conflicts(rows: Iterable[Row]) -> list[Conflict]:
    """Settings that two sources measured with results more than DISAGREE apart, the worst first."""
    found: dict[tuple[object, ...], list[Row]] = {}
    for each in rows:
        words = ("model", "dataset", "xla", "unit")
        mark = (
            *(each.cell(name).lower() for name in words),
            precision_family(each.cell("precision")),
            accelerator_key(each.cell("accelerator")),
            each.batch,
            each.devices,
            each.nodes,
        )
        found.setdefault(mark, []).append(each)
    pairs = []
    for members in found.values():
        members.sort(key=lambda each: each.throughput or 0.0)
        pair = Conflict(members[0], members[-1])
        if pair.ratio > DISAGREE and members[0].cell("source") != members[-1].cell("source"):
            pairs.append(pair)
    return sorted(pairs, key=lambda pair: -pair.ratio)
