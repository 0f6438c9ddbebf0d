"""What can be rented and what it costs: offers, accelerators, providers' rules, this machine.

`load()` gives the built-in tables as one `Catalog`, `catalog_of("all")` with the offers the user
imported; `this_machine()` the machine one sits at.
"""

from .age import Freshness, price_day, stale_words
from .local import owned_usd_h, this_machine
from .owned import with_owned
from .records import (
    Accelerator,
    Billing,
    Delay,
    EgressTier,
    HazardBand,
    Offer,
    ProviderFacts,
    Purchase,
)
from .shelf import Which, catalog_of
from .store import Assumption, Catalog, load, price_column

__all__ = [
    "Accelerator",
    "Assumption",
    "Billing",
    "Catalog",
    "Delay",
    "EgressTier",
    "Freshness",
    "HazardBand",
    "Offer",
    "ProviderFacts",
    "Purchase",
    "Which",
    "catalog_of",
    "load",
    "owned_usd_h",
    "price_column",
    "price_day",
    "stale_words",
    "this_machine",
    "with_owned",
]
