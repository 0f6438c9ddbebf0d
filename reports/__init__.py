"""Documents as one self-contained page: what was planned, rehearsed, run and measured.

`render(documents)` gives the HTML; `read_any(path)` reads whichever document a file holds.
"""

from .page import render
from .reading import read_any

__all__ = ["read_any", "render"]
