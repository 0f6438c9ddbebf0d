"""Every kind of offer at its best: what was looked at, and why it was not chosen."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .candidates import PURCHASES
from .constraints import constraint_words
from .plan import Considered
from .pricing import Priced

MOST = 400


def kinds(one: Priced) -> NDArray[np.int64]:
    """A number for each candidate, equal for those of one provider, instance type and purchase."""
    table = one.catalog.offers
    types = table.select(pl.struct("provider", "instance_type").rank("dense")).to_series()
    number: NDArray[np.int64] = types.to_numpy().astype(np.int64)[one.candidates.offer] * 64
    return number + one.candidates.purchase


def considered(one: Priced, most: int = MOST) -> tuple[list[Considered], int]:
    """The candidate of least L of each kind, an allowed one where there is any; and of how many kinds.

    The allowed ones come first, by L; at most so many are described.
    """
    total, allowed = one.losses.total, one.allowed
    kind = kinds(one)
    order = np.lexsort((total, ~allowed, kind))
    best = order[np.unique(kind[order], return_index=True)[1]]
    best = best[np.lexsort((total[best], ~allowed[best]))]
    rows = best[:most]
    wishes = one.job.workload.constraints
    broken = [(constraint_words(rule, wishes), ~rule.kept[rows]) for rule in one.constraints]
    found = one.candidates.take(rows)
    batch, nodes, p50, p90 = found.batch, found.nodes, found.time_p50_s, found.time_p90_s
    basis = [("measured", "fitted", "transferred")[value] for value in found.basis.tolist()]
    table = one.catalog.offers
    column = {
        name: table[name].to_list()
        for name in ("provider", "region", "instance_type", "accelerator", "accelerator_count")
    }
    described = [
        Considered(
            **{name: values[offer] for name, values in column.items()},
            purchase=PURCHASES[int(found.purchase[k])],
            nodes=int(nodes[k]),
            per_device_batch=int(batch[k]),
            price_usd_h=float(found.price_usd_h[k]),
            time_p50_s=float(p50[k]),
            time_p90_s=float(p90[k]),
            cost_usd=float(found.cost_mean_usd[k]),
            flexibility=float(one.flexibility.total[row]),
            loss=float(total[row]),
            basis=basis[k],  # type: ignore[arg-type]
            breaks=tuple(words for words, where in broken if where[k]),
        )
        for k, (row, offer) in enumerate(zip(rows.tolist(), found.offer.tolist(), strict=True))
    ]
    return described, len(best)
