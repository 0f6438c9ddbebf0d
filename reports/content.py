"""What a page is made of before it is HTML: tabs of sections of notes, tables and drawings."""

from dataclasses import dataclass

import plotly.graph_objects as go


@dataclass(frozen=True, slots=True)
class Cell:
    """What matters, then what is said smaller below it. key: by what a number sorts; None: its text."""

    lines: tuple[str, ...]
    key: float | None = None


def cell(*lines: str, key: float | None = None) -> Cell:
    return Cell(lines, key)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under heads; the first cell of a row names it, the row of index marked stands out.

    title: heading above, '' for none. choices: heads by whose values one can narrow the rows down;
    with any, the rows can also be searched and sorted. folded: to be opened by who wants it.
    """

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    marked: int | None = None
    title: str = ""
    choices: tuple[str, ...] = ()
    folded: bool = False


def table_of(caption: str, heads: tuple[str, ...], rows: "list[tuple[str, ...]]") -> Table:
    """A table of plain words."""
    return Table(caption, heads, tuple(tuple(cell(text) for text in row) for row in rows))


@dataclass(frozen=True, slots=True)
class Note:
    """A paragraph. warning: what must not be missed."""

    text: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure with its words: title, how to read it, and what it shows for who cannot see it.

    label: in a sentence; data: its numbers as a table.
    """

    title: str
    caption: str
    label: str
    figure: go.Figure
    data: Table


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and values, such as where something comes from."""

    title: str
    rows: tuple[tuple[str, str], ...]


def facts(title: str, *rows: tuple[str, str]) -> Facts:
    """Without the rows that have nothing to say."""
    return Facts(title, tuple((name, value) for name, value in rows if value))


Block = Note | Table | Drawing | Facts


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands below it."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Tab:
    """One document. lead: it in a sentence or two; name: on the tab."""

    name: str
    lead: tuple[str, ...]
    sections: tuple[Section, ...]

    def drawings(self) -> tuple[Drawing, ...]:
        return tuple(
            block
            for section in self.sections
            for block in section.blocks
            if isinstance(block, Drawing)
        )
