"""What commands share: where they print, how figures read, how long work shows its progress."""

import math
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from ..catalog.files import Document

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


@contextmanager
def only_ours_on_stdout() -> Iterator[None]:
    """Send what libraries print on standard output to standard error meanwhile, C code's included."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


@contextmanager
def ended_like_ctrl_c() -> Iterator[None]:
    """Have SIGTERM end the work in the same good order as Ctrl-C."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def print_json(document: "Document") -> None:
    """The document as the one JSON text on standard output."""
    sys.stdout.write(document.to_json())
    sys.stdout.flush()


def figures(title: str | None, *columns: str, words: int = 1) -> Table:
    """An empty table that fits 80 columns: the first ``words`` columns left, the others right."""
    table = Table(title=title, box=SIMPLE_HEAD, pad_edge=False, padding=0, title_justify="left")
    for index, name in enumerate(columns):
        if index < words:
            table.add_column(name, overflow="fold")
        else:
            table.add_column(name, justify="right", no_wrap=True)
    return table


def progress_bar() -> Progress:
    """A bar on standard error; nothing where that is no terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:g}/{task.total:g}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=err,
        disable=not err.is_terminal,
    )


def dollars(usd: float) -> str:
    """USD with the digits that matter.

    >>> dollars(1234.5), dollars(0.000412), dollars(0.0)
    ('$1,234.50', '$0.00041', '$0.00')
    """
    if usd == 0 or abs(usd) >= 0.1:
        return f"${usd:,.2f}"
    return f"${usd:.{1 - math.floor(math.log10(abs(usd)))}f}"


def duration(seconds: float) -> str:
    """Seconds as a person says them.

    >>> duration(0.0063), duration(73.2), duration(4320), duration(200_000)
    ('6.3 ms', '73 s', '1 h 12 min', '2 d 8 h')
    """
    if seconds < 1:
        return f"{seconds * 1000:.2g} ms"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} d {hours} h"


def rate(samples_per_s: float) -> str:
    """Samples per second, three digits.

    >>> rate(5062.4), rate(12.34)
    ('5,060 samples/s', '12.3 samples/s')
    """
    digits = max(0, 2 - math.floor(math.log10(max(samples_per_s, 1e-9))))
    rounded = round(samples_per_s, 2 - math.floor(math.log10(max(samples_per_s, 1e-9))))
    return f"{rounded:,.{digits}f} samples/s"
