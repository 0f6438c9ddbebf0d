"""Documents as one self-contained page: what was planned, rehearsed, replayed, run and measured.

`render(documents)` gives the HTML; `read_any(path)` reads whichever document a file holds;
`export(documents, folder, formats)` writes the figures as image files.
"""

from .exporting import export
from .page import render
from .reading import read_any

__all__ = ["export", "read_any", "render"]
