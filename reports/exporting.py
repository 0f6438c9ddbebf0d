"""The figures of documents as image files, drawn by kaleido in a browser of this machine."""

import re
import shutil
import unicodedata
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from ..catalog.files import Document, InputError
from .content import Drawing
from .drawing import PAPER
from .tabs import tabs_of

Format = Literal["png", "svg", "pdf"]

WIDTH_PX = 900
SCALE = 2  # pixels of a PNG for one of the layout: sharp on paper
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def missing_for_export() -> str | None:
    """What keeps figures from being exported, in a sentence; None where nothing does."""
    if find_spec("kaleido") is None:
        return (
            "figures are exported by kaleido, which is not installed; install it with "
            "'pip install \"isocost[export]\"'"
        )
    if browser() is None:
        return (
            "figures are exported by a browser, and neither Chromium nor Chrome was found; install one, "
            "for example with 'apt-get install chromium'"
        )
    return None


def browser() -> str | None:
    """The path of a browser that kaleido can drive."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def named_drawings(documents: Sequence[Document]) -> Iterator[tuple[str, Drawing]]:
    """Every figure of the documents' page, with a name for its file: '01-plan-time-against-cost'."""
    drawings = [(tab.name, one) for tab in tabs_of(documents) for one in tab.drawings()]
    for number, (tab, one) in enumerate(drawings, 1):
        yield f"{number:02d}-{_slug(tab)}-{_slug(one.title)}"[:80].rstrip("-"), one


def export(documents: Sequence[Document], folder: Path, formats: Sequence[Format]) -> list[Path]:
    """Write each figure to folder in each format, and say where.

    Raises InputError where kaleido, a browser or the folder is missing, or there is no figure.
    """
    if (missing := missing_for_export()) is not None:
        raise InputError(missing)
    import plotly.graph_objects as go
    import plotly.io

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made: {error.strerror}") from None
    found = [
        (go.Figure(one.figure).update_layout(paper_bgcolor=PAPER), folder / f"{name}.{kind}", kind)
        for name, one in named_drawings(documents)
        for kind in formats
    ]
    if not found:
        raise InputError("these documents have no figure to export")
    plotly.io.write_images(
        fig=[figure for figure, _, _ in found],
        file=[path for _, path, _ in found],
        format=[kind for _, _, kind in found],
        width=WIDTH_PX,
        height=[int(figure.layout.height) for figure, _, _ in found],
        scale=[SCALE if kind == "png" else 1 for _, _, kind in found],
    )
    return [path for _, path, _ in found]


def _slug(text: str) -> str:
    """Lower-case letters and digits with hyphens between."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-") or "figure"
