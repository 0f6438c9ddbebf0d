"""What commands share: where they print, how figures read, how long work shows its progress."""

import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

if TYPE_CHECKING:
    from ..catalog.files import Document


def default_command(args: list[str], commands: Iterable[str], default: str) -> list[str]:
    """The words after a group, with the command that is meant where they begin with a file.

    A word that is nearly a command's name, and no file, is a mistake to be told.
    """
    if not args or args[0] in commands or args[0] == "--help":
        return args
    near = get_close_matches(args[0], list(commands), n=1, cutoff=0.75)
    if near and not Path(args[0]).exists():
        raise typer.BadParameter(f"no command and no file '{args[0]}'; did you mean '{near[0]}'?")
    return [default, *args]


CatalogChoice = Annotated[
    Literal["all", "built-in", "imported"],
    typer.Option("--catalog", help="Which offers: those built in, those you imported, or both."),
]

OwnedChoice = Annotated[
    Path | None,
    typer.Option(
        "--owned", help="File of machines you own; by default offers.yaml of your data directory."
    ),
]

FreshChoice = Annotated[
    tuple[int, int],
    typer.Option(
        "--fresh-days",
        metavar="SPOT LIST",
        help="Days for which a spot price and a list price are taken for fresh.",
    ),
]

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
    """Have SIGTERM, and a terminal that closes (SIGHUP), end the work in the same good order as Ctrl-C.

    SIGINT is set too: a shell that starts us in the background has it ignored. Who ignores SIGHUP,
    as under nohup, goes on.
    """

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    asked = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        asked.append(signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in asked}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def started_at() -> float:
    """The epoch second in which this process began: a user's clock runs from there."""
    import psutil

    return float(psutil.Process().create_time())


@contextmanager
def waiting(words: str) -> Iterator[None]:
    """A sign of life on standard error, with the time so far, while something takes some seconds."""
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    ) as bar:
        bar.add_task(words, total=None)
        yield


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
