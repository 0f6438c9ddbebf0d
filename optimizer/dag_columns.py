"""Columns of a pipeline that another of the same job beats wherever its neighbours are: lossless."""

import numpy as np
from numpy.typing import NDArray

from .dag import Pipeline

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


def worth_stating(pipeline: Pipeline) -> Ints:
    """The columns that no other of the same job beats whatever the others choose: lossless.

    Column k' at p' beats k at p where, in every group of limits and pool alike, no amount is larger and
        L[k'] + sum over edges of max over q of (e[p',q] - e[p,q]) <= L[k]
        t[k'] + max over edges in (s[p',q] - s[p,q])+ + the same over edges out <= t[k]
    q among the places that the neighbour still may have; fewer columns leave fewer places, so it
    goes round until nothing falls.
    """
    instance = pipeline.instance
    same = np.column_stack([instance.job, *(np.asarray(x.codes, np.intp) for x in instance.limits)])
    whole = np.zeros(len(instance), np.intp)
    more: list[Floats] = []
    for limit in instance.limits:
        if limit.shares:
            whole = whole * (len(instance) + 1) + np.unique(limit.amount, return_inverse=True)[1]
        else:
            more.append(limit.amount)
    more += [pool.nodes for pool in pipeline.pools]
    peak = instance.peak
    if peak is not None:
        same = np.column_stack([same, np.asarray(peak.codes, np.intp)])
        more.append(peak.amount)
    group = np.unique(np.column_stack([same, whole]), axis=0, return_inverse=True)[1].reshape(-1)
    spends = any(limit.name == "budget" for limit in instance.limits)
    amounts = np.column_stack([instance.loss, pipeline.time_s, *more])
    # Within one place first: there nothing depends on the neighbours.
    here = np.unique(np.column_stack([group, pipeline.place]), axis=0, return_inverse=True)[1]
    kept = _undominated(amounts, here.reshape(-1))
    while True:
        before = len(kept)
        places = [np.unique(pipeline.place[kept[instance.job[kept] == j]]) for j in pipeline.jobs]
        alive = []
        for j in pipeline.jobs:
            worse = _differences(pipeline, j, places, spends)
            own = kept[instance.job[kept] == j]
            for g in np.unique(group[own]):
                alive.append(_unbeaten(pipeline, own[group[own] == g], amounts, worse))
        kept = np.sort(np.concatenate(alive))
        if len(kept) == before:
            return kept


def _undominated(amounts: Floats, group: Ints) -> Ints:
    order = np.lexsort((*amounts.T[::-1], group))
    ends = np.flatnonzero(np.diff(group[order])) + 1
    found = []
    for part in np.split(order, ends):
        rows, alive = amounts[part], np.ones(len(part), bool)
        for i in range(len(part)):
            if alive[i]:
                alive[i + 1 :] &= (rows[i + 1 :] < rows[i]).any(axis=1)
        found.append(part[alive])
    return np.sort(np.concatenate(found))


def _differences(
    pipeline: Pipeline, job: int, places: list[Ints], spends: bool
) -> tuple[Floats, Floats, Floats]:
    """(p', p): the most that moving job from p to p' can add to price, seconds and dollars."""
    shape = (pipeline.places, pipeline.places)
    price, usd = np.zeros(shape), np.zeros(shape)
    into, out = np.zeros(shape), np.zeros(shape)
    for edge in pipeline.edges:
        if job not in (edge.before, edge.after):
            continue
        others = places[edge.after if job == edge.before else edge.before]

        def most(table: Floats, turned: bool, others: Ints = others) -> Floats:
            rows = (table.T if turned else table)[:, others]
            return np.asarray((rows[:, None, :] - rows[None, :, :]).max(axis=2))

        turned = job == edge.after
        price += most(edge.price, turned)
        if spends:
            usd += most(edge.usd, turned)
        longer = most(edge.seconds, turned)
        if turned:
            np.maximum(into, longer, out=into)
        else:
            np.maximum(out, longer, out=out)
    return price, into + out, usd


def _unbeaten(
    pipeline: Pipeline, rows: Ints, amounts: Floats, worse: tuple[Floats, Floats, Floats]
) -> Ints:
    """Those of rows that no other of them beats; of two that beat each other, the first stays."""
    price, seconds, usd = worse
    place = pipeline.place[rows]
    pair = (place[:, None], place[None, :])
    mine = amounts[rows]
    beats = mine[:, None, 0] + price[pair] <= mine[None, :, 0]
    beats &= mine[:, None, 1] + seconds[pair] <= mine[None, :, 1]
    for column in range(2, mine.shape[1]):
        beats &= mine[:, None, column] <= mine[None, :, column]
    if usd.any():
        # Dollars moved count in the budget: what is saved elsewhere must not be spent on the way.
        beats &= usd[pair] <= 0
    np.fill_diagonal(beats, False)
    mutual = beats & beats.T
    beats &= ~(mutual & (np.arange(len(rows))[:, None] > np.arange(len(rows))[None, :]))
    return rows[~beats.any(axis=0)]
