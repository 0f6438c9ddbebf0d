"""What a run tells while it runs: a line a step, and a sign of life from every worker."""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

SIGN_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class StepLine:
    """One committed step: its number from 1, seconds since the run began, its length, its loss."""

    step: int
    at_s: float
    seconds: float
    loss: float


class StepLog:
    """Appends steps to a file of JSON lines; a reader may see all but the last second."""

    def __init__(self, path: Path, from_step: int) -> None:
        """Steps after from_step, left from before a restart, are struck: they are done again."""
        kept = [line for line in read_steps(path) if line.step <= from_step]
        path.write_text("".join(_line(line) for line in kept), encoding="utf-8")
        self._path, self._flushed = path, time.monotonic()

    def __enter__(self) -> Self:
        self._file = self._path.open("a", encoding="utf-8")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def append(self, line: StepLine) -> None:
        self._file.write(_line(line))
        if time.monotonic() - self._flushed > SIGN_EVERY_S / 2:
            self._file.flush()
            self._flushed = time.monotonic()


def _line(line: StepLine) -> str:
    return json.dumps(asdict(line)) + "\n"


def read_steps(path: Path) -> list[StepLine]:
    """All whole lines of a step log; none where there is no file."""
    return list(_lines(path)) if path.exists() else []


def _lines(path: Path) -> Iterator[StepLine]:
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            yield StepLine(**json.loads(text))
        except (ValueError, TypeError):
            return  # cut short by a kill; what follows was never written


def last_step(path: Path) -> StepLine | None:
    """The newest whole line of a step log, without reading all of it."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 4096))
            tail = file.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for text in reversed(tail):
        try:
            return StepLine(**json.loads(text))
        except (ValueError, TypeError):
            continue
    return None


class LifeSign:
    """A file whose time of change says that its worker still takes steps."""

    def __init__(self, path: Path) -> None:
        self._path, self._given = path, 0.0

    def give(self) -> None:
        if time.monotonic() - self._given > SIGN_EVERY_S:
            self._path.touch()
            self._given = time.monotonic()
