"""What a job's data and checkpoints cost where they lie and on their way."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..catalog import Catalog
from ..catalog.records import EgressTier
from ..catalog.transfer import GIB, Place
from ..profiles.workload import ModelFacts, Workload

Floats = NDArray[np.float64]

CHECKPOINTS_KEPT = 3
HOURS_PER_MONTH = 730.0


def place_of(location: str) -> Place:
    """The provider and the region of provider:region."""
    provider, region = location.split(":", 1)
    return provider, region


def egress_of_offers(catalog: Catalog, workload: Workload) -> Floats:
    """USD for moving the data once from where they lie to each offer of the catalog."""
    if workload.data.location is None or workload.data.bytes == 0:
        return np.zeros(catalog.offers.height)
    usd = catalog.egress_usd(workload.data.bytes, place_of(workload.data.location))
    return np.asarray(usd.to_numpy())


def storage_usd_h(catalog: Catalog, workload: Workload, facts: ModelFacts) -> Floats:
    """USD an hour for keeping data at each offer, and checkpoints there or where they are kept."""
    prices = catalog.storage_usd_per_gb_month().to_numpy()
    data_gib = workload.data.bytes / GIB
    checkpoints_gib = CHECKPOINTS_KEPT * facts.checkpoint_bytes / GIB
    kept = prices
    if workload.checkpoint_location is not None:
        price = catalog.storage_price(*place_of(workload.checkpoint_location), "object")
        kept = np.full(len(prices), price.usd_per_gb_month)
    monthly: Floats = data_gib * prices + checkpoints_gib * kept
    return monthly / HOURS_PER_MONTH


def moved_usd(
    catalog: Catalog, kept: Place, offer: NDArray[np.integer], to_bytes: Floats, back_bytes: Floats
) -> Floats:
    """USD for moving bytes from the place of each offer to kept, and others back, within one month.

    offer: rows of the catalog; to_bytes, back_bytes: as many.
    """
    places = catalog.offers.select("provider", "region")
    usd = np.zeros(len(offer))
    for volume, tiers in (
        (to_bytes, [catalog.transfer.tiers(place, kept) for place in places.iter_rows()]),
        (back_bytes, [catalog.transfer.tiers(kept, place) for place in places.iter_rows()]),
    ):
        kinds = {tuple(one): k for k, one in enumerate(dict.fromkeys(map(tuple, tiers)))}
        kind = np.array([kinds[tuple(one)] for one in tiers])[offer]
        for prices, k in kinds.items():
            rows = np.flatnonzero(kind == k)
            usd[rows] += _tiered(prices, volume[rows] / GIB)
    return usd


def _tiered(tiers: Sequence[EgressTier], gib: Floats) -> Floats:
    """sum over tiers of (min(V, to) - from)+ price."""
    usd = np.zeros(len(gib))
    for tier in tiers:
        usd += np.clip(gib - tier.from_gb, 0.0, tier.to_gb - tier.from_gb) * tier.usd_per_gb
    return usd
