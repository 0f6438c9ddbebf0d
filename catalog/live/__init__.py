"""Prices as the providers state them today: one small file for each, behind one interface.

To add a provider, write `quotes(web, asked)` in a file of its own and list it in `SOURCES`.
"""

from .quotes import Asked, Quote, Refreshed, Source, refresh
from .sources import SOURCES
from .web import RefreshError, Web

__all__ = ["SOURCES", "Asked", "Quote", "RefreshError", "Refreshed", "Source", "Web", "refresh"]
