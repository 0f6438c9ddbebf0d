"""Job traces: read line by line, every impossible one refused in a sentence that names its line."""

import csv
import gzip
import math
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TextIO

from ..catalog.files import InputError, did_you_mean

NEEDED = ("job_id", "submit_time_s", "num_gpus", "duration_s")
OPTIONAL = ("job_type", "total_steps", "priority", "deadline_s")
MOST_GPUS = 1e9
MOST = 1e15  # 30 million years, beyond which seconds lose their fractions


@dataclass(frozen=True, slots=True)
class Job:
    """One line of a trace.

    duration_s: on the GPUs it asks for, without queueing. priority: its weight among the jobs
    of a fair policy. deadline_s: seconds after the submission by which it should be done.
    more: the columns that only some policies know.
    """

    job_id: str
    submit_s: float
    num_gpus: int
    duration_s: float
    job_type: str | None = None
    total_steps: float | None = None
    priority: float = 1.0
    deadline_s: float | None = None
    line: int = 0
    more: Mapping[str, str] = field(default_factory=dict)


def read_trace(path: Path) -> list[Job]:
    """The jobs of a CSV file (``.gz`` too), by submission; equal times in the order of the file.

    Columns job_id, submit_time_s, num_gpus, duration_s, and optionally job_type, total_steps,
    priority, deadline_s; others are kept in ``Job.more``. Raises InputError.
    """
    jobs: list[Job] = []
    lines: dict[str, int] = {}
    for job in _jobs(path):
        if job.job_id in lines:
            raise InputError(
                f"{path} line {job.line}: job_id '{job.job_id}' is already on line "
                f"{lines[job.job_id]}; every job needs an id of its own"
            )
        lines[job.job_id] = job.line
        jobs.append(job)
    if not jobs:
        raise InputError(f"{path} has no jobs; expected a line for each below the header")
    jobs.sort(key=lambda job: job.submit_s)
    return jobs


def cut_off(path: Path) -> bool:
    """Whether the last line of a plain file has no end, as where a copy was broken off within it."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(-1, os.SEEK_END)
        return not packed and file.read(1) not in (b"\n", b"\r")


def measured(jobs: Sequence[Job], columns: Sequence[str], origin: str) -> list[Job]:
    """The jobs with the run time that was measured: mean of these columns' GPU-seconds / num_gpus.

    total_steps change in proportion, so that steps per second stay those of the trace.
    Raises InputError, naming the line, where one has no such figure.
    """
    found = []
    for job in jobs:
        where = f"{origin} line {job.line}"
        for name in columns:
            if name not in job.more:
                raise InputError(
                    f"{where}: there is no column '{name}'{did_you_mean(name, job.more)}"
                )
        gpu_s = [number(job.more[name], name, where, above=0.0) for name in columns]
        run_s = sum(gpu_s) / len(gpu_s) / job.num_gpus
        steps = None if job.total_steps is None else job.total_steps * run_s / job.duration_s
        found.append(replace(job, duration_s=run_s, total_steps=steps))
    return found


def rows(path: Path, needed: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, columns) of a CSV file with a header, plain or gzip.

    Raises InputError, also where the file ends within a line or a gzip stream.
    """
    number = 1
    try:
        with _opened(path) as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, None)
            if header is None:
                raise InputError(f"{path} is empty; expected a header with {', '.join(needed)}")
            for name in header:
                if header.count(name) > 1:
                    raise InputError(
                        f"{path} line 1: there are {header.count(name)} columns '{name}'; keep one"
                    )
            for name in needed:
                if name not in header:
                    raise InputError(
                        f"{path} line 1: the column '{name}' is missing{did_you_mean(name, header)}"
                    )
            width = len(header)
            for row in reader:
                number = reader.line_num
                if len(row) == width:
                    yield number, dict(zip(header, row, strict=True))
                elif row:
                    raise InputError(
                        f"{path} line {number}: {len(row)} columns where the header has {width}; "
                        "the line is broken, or the file was cut off here"
                    )
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; check the path") from None
    except (EOFError, zlib.error):
        raise InputError(
            f"{path} after line {number}: the gzip stream ends too early or is damaged; "
            "copy or download the file again"
        ) from None
    except gzip.BadGzipFile as error:
        raise InputError(f"{path} after line {number}: not a sound gzip file ({error})") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} after line {number}: not text (no UTF-8)") from None
    except csv.Error as error:
        raise InputError(f"{path} after line {number}: not sound CSV ({error})") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None


def _opened(path: Path) -> TextIO:
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a file")
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    if packed:
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open("r", encoding="utf-8-sig", newline="")


def _jobs(path: Path) -> Iterator[Job]:
    known = {*NEEDED, *OPTIONAL}
    extra: list[str] | None = None
    for line, row in rows(path, NEEDED):
        if extra is None:
            extra = [name for name in row if name not in known]
        where = f"{path} line {line}"
        if not row["job_id"]:
            raise InputError(f"{where}: job_id is empty; every job needs an id of its own")
        yield Job(
            job_id=row["job_id"],
            submit_s=number(row["submit_time_s"], "submit_time_s", where, least=0.0),
            num_gpus=whole(row["num_gpus"], "num_gpus", where),
            duration_s=number(row["duration_s"], "duration_s", where, above=0.0),
            job_type=row.get("job_type") or None,
            total_steps=_if_given(row.get("total_steps"), "total_steps", where),
            priority=_if_given(row.get("priority"), "priority", where) or 1.0,
            deadline_s=_if_given(row.get("deadline_s"), "deadline_s", where),
            line=line,
            more={name: row[name] for name in extra},
        )


def number(
    text: str,
    name: str,
    where: str,
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = MOST,
) -> float:
    """A finite number within bounds; InputError otherwise."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{where}: {name} is '{text}'; expected a number")
    if value < least:
        raise InputError(f"{where}: {name} is {text}; expected {least:g} or more")
    if value > most:
        raise InputError(f"{where}: {name} is {text}; expected {most:g} or less")
    if value <= above:
        raise InputError(f"{where}: {name} is {text}; expected more than {above:g}")
    return value


def _if_given(text: str | None, name: str, where: str) -> float | None:
    return number(text, name, where, above=0.0) if text else None


def whole(text: str, name: str, where: str) -> int:
    """A whole number of GPUs from 1; InputError otherwise."""
    value = number(text, name, where, least=1.0, most=MOST_GPUS)
    if value != int(value):
        raise InputError(f"{where}: {name} is {text}; expected a whole number of GPUs")
    return int(value)
