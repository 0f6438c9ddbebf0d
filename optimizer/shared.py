"""What several jobs of one plan share: quotas, a budget, shares of providers, machines of one's own."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..catalog.files import InputError, did_you_mean
from .constraints import Relaxation
from .instance import Instance, Limit
from .many import Answer, choose_many
from .pricing import Priced
from .solver import Status

Ints = NDArray[np.intp]

GAP = 1e-6  # relative, at which the plan is called optimal
STEPS = 4  # halvings when a largest share that is enough is sought
PATIENCE_S = 60.0  # for the plan; a choice that is not proven by then says so
QUOTA = "quota "  # before what is limited, the name of a limit
OWNED = "owned"  # the limit of one's own machines, this one among them
TRYING_S = 2.0  # for each halving


@dataclass(frozen=True, slots=True)
class Shared:
    """Limits over all jobs of a plan, as if they all ran at once.

    quotas: nodes by provider, provider:region or accelerator. budget_usd: mean cost of all jobs.
    hourly_usd: of all their nodes. max_share: of the mean cost that goes to one provider, 0 to 1.
    """

    quotas: Mapping[str, float] = field(default_factory=dict)
    budget_usd: float | None = None
    hourly_usd: float | None = None
    max_share: float | None = None

    def without(self, name: str) -> "Shared":
        """All but the limit of this name, as `as_instance` names them."""
        if name.startswith(QUOTA):
            left = {one: most for one, most in self.quotas.items() if QUOTA + one != name}
            return replace(self, quotas=left)
        return replace(
            self,
            budget_usd=None if name == "budget" else self.budget_usd,
            hourly_usd=None if name == "hourly" else self.hourly_usd,
            max_share=None if name == "share" else self.max_share,
        )


@dataclass(frozen=True, slots=True)
class Together:
    """The candidate of each job (a row of its own candidates), None without a plan, and the proof."""

    chosen: tuple[int, ...] | None
    status: Status
    answer: Answer | None  # None where it needed no solver
    columns: int


def quotas(texts: Sequence[str]) -> dict[str, float]:
    """From NAME=NODES; raises InputError for what is not of that form.

    >>> quotas(["aws=8", "gcp:us-central1=2"])
    {'aws': 8.0, 'gcp:us-central1': 2.0}
    """
    found: dict[str, float] = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        try:
            most = float(number)
        except ValueError:
            most = math.nan
        if not name or not 0 <= most < math.inf:
            raise InputError(
                f"--quota {text} is not NAME=NODES; write for example 'aws=8', 'aws:us-east-1=4' or "
                "'A100=2'"
            )
        found[name] = most
    return found


def together(priced: Sequence[Priced], shared: Shared, solver: str = "highs") -> Together:
    """The least sum of L within what is shared; every job needs an allowed candidate.

    Stopped after PATIENCE_S, with the gap that it has then.

    Raises InputError for a quota of what no offer has.
    """
    instance, rows = as_instance(priced, shared)
    if _too_few(instance):
        return Together(None, Status.INFEASIBLE, None, len(instance))
    answer = choose_many(instance, gap=GAP, solver=solver, time_limit_s=PATIENCE_S)
    chosen = None
    if answer.chosen is not None:
        own = answer.chosen - instance.start[:-1]
        chosen = tuple(int(kept[k]) for kept, k in zip(rows, own.tolist(), strict=True))
    return Together(chosen, answer.status, answer, len(instance))


def _too_few(instance: Instance) -> bool:
    """Whether fewer than 1 / share jobs, none of them free, make one provider's share too large."""
    free = any(limit.shares and (limit.amount <= 0).any() for limit in instance.limits)
    shares = [float(limit.at_most.max()) for limit in instance.limits if limit.shares]
    return not free and any(share * instance.jobs < 1 - 1e-9 for share in shares)


def as_instance(priced: Sequence[Priced], shared: Shared) -> tuple[Instance, list[Ints]]:
    """The jobs' allowed candidates as columns, and which candidates they are."""
    rows = [np.flatnonzero(one.allowed) for one in priced]
    offers = priced[0].catalog.offers
    offer = np.concatenate(
        [one.candidates.offer[kept] for one, kept in zip(priced, rows, strict=True)]
    )

    def column(of: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        return np.concatenate([values[kept] for values, kept in zip(of, rows, strict=True)])

    found = [one.candidates for one in priced]
    nodes = column([one.nodes.astype(float) for one in found])
    usd = column([one.cost_mean_usd for one in found])
    providers = offers["provider"].unique(maintain_order=True).to_list()
    number = {name: i for i, name in enumerate(providers)}
    provider = np.array([number[name] for name in offers["provider"].to_list()])[offer]
    everything = np.zeros(len(offer), np.int8)
    limits = []
    for name, most in shared.quotas.items():
        counts = _counted(name, priced[0])[offer]
        codes = np.where(counts, 0, -1).astype(np.int8)
        limits.append(Limit(f"{QUOTA}{name}", ("all",), codes, nodes, np.array([most])))
    if shared.budget_usd is not None:
        budget = np.array([shared.budget_usd])
        limits.append(Limit("budget", ("all",), everything, usd, budget))
    if shared.hourly_usd is not None:
        hourly = column([one.nodes * one.price_usd_h for one in found])
        limits.append(Limit("hourly", ("all",), everything, hourly, np.array([shared.hourly_usd])))
    if shared.max_share is not None:
        share = np.full(len(providers), shared.max_share)
        limits.append(Limit("share", tuple(providers), provider, usd, share, shares=True))
    count = machines(offers)
    if len(own := np.flatnonzero(np.isfinite(count))):
        names = tuple(
            f"{offers['provider'][int(i)]} {offers['instance_type'][int(i)]}" for i in own
        )
        which = np.full(len(count), -1)
        which[own] = np.arange(len(own))
        limits.append(Limit(OWNED, names, which[offer], nodes, count[own]))
    start = np.concatenate([[0], np.cumsum([len(kept) for kept in rows])])
    loss = column([one.losses.total for one in priced])
    return Instance(start, loss, tuple(limits)), rows


def machines(offers: pl.DataFrame) -> NDArray[np.float64]:
    """How many there are of each offer: of this machine one, of what one owns what was stated."""
    there_are = pl.when(pl.col("provider") == "local").then(1.0).otherwise(pl.col("nodes_owned"))
    found = offers.select(there_are.cast(pl.Float64).fill_null(math.inf)).to_series()
    return np.asarray(found.to_numpy())


def collide(priced: Sequence[Priced], chosen: Sequence[int]) -> bool:
    """Whether jobs that were planned one by one take more of one's own machines than there are."""
    count = machines(priced[0].catalog.offers)
    taken = np.zeros(len(count))
    for one, row in zip(priced, chosen, strict=True):
        taken[one.candidates.offer[row]] += one.candidates.nodes[row]
    return bool((taken > count).any())


def _counted(name: str, one: Priced) -> NDArray[np.bool_]:
    """Of which offers a quota by that name counts the nodes."""
    offers = one.catalog.offers
    place = offers["provider"] + ":" + offers["region"]
    for values in (offers["provider"], place, offers["accelerator"]):
        if (counts := (values == name).to_numpy()).any():
            return np.asarray(counts)
    known = {*offers["provider"].to_list(), *place.to_list(), *offers["accelerator"].to_list()}
    raise InputError(
        f"--quota: no offer is of the provider, provider:region or accelerator '{name}'"
        f"{did_you_mean(name, sorted(known))}"
    )


def remedies(priced: Sequence[Priced], shared: Shared) -> tuple[Relaxation, ...]:
    """The smallest change of each shared limit that is enough by itself, tried by solving again.

    A sum is made as small as the other limits admit (its amounts in the place of L); a share, which
    is no sum, is sought by trying smaller ones.
    """
    instance, _ = as_instance(priced, shared)
    found = []
    for limit in instance.limits:
        if limit.name == OWNED:
            continue
        others = tuple(one for one in instance.limits if one is not limit)
        free = replace(instance, limits=others)
        if limit.shares:
            least = _least_share(free, limit)
        else:
            counted = np.where(limit.codes >= 0, limit.amount, 0.0)
            answer = choose_many(replace(free, loss=counted), gap=0.0, time_limit_s=PATIENCE_S)
            least = None if answer.chosen is None else float(limit.used(answer.chosen)[0])
        if least is None:
            continue
        least = _up(least, 2)
        if not limit.shares:  # of shares, a choice was found that keeps it
            again = replace(limit, at_most=np.full(len(limit.at_most), least))
            solved = choose_many(
                replace(instance, limits=(*others, again)), gap=1e-2, time_limit_s=TRYING_S
            )
            if solved.chosen is None:
                continue
        words = f"{_words(limit, least)} instead of {_number(limit.at_most[0])}"
        found.append(Relaxation({limit.name: least}, (words,)))
    return tuple(found)


def _least_share(free: Instance, limit: Limit) -> float | None:
    """A largest share that is enough; the smallest but for what was not found in TRYING_S."""
    first = choose_many(free, gap=1e-2, time_limit_s=TRYING_S)
    if first.chosen is None:
        return None
    low, high = 1 / free.jobs, float(limit.used(first.chosen).max())
    for _ in range(STEPS):
        middle = low + (high - low) / 4
        capped = replace(limit, at_most=np.full(len(limit.at_most), middle))
        tried = replace(free, limits=(*free.limits, capped))
        answer = choose_many(tried, gap=1e-2, time_limit_s=TRYING_S)
        if answer.chosen is None:
            low = middle
        else:
            high = min(middle, float(limit.used(answer.chosen).max()))
    return high


def _up(value: float, digits: int) -> float:
    """Rounded up, so that the figure still suffices."""
    return float(math.ceil(round(value * 10**digits, 6)) / 10**digits)


def _words(limit: Limit, least: float) -> str:
    if limit.name == "budget":
        return f"a total budget of {least:.2f} USD"
    if limit.name == "hourly":
        return f"{least:.2f} USD an hour in all"
    if limit.shares:
        return f"a largest share of {least:g}"
    return f"a {limit.name} of {_number(least)} nodes"


def _number(value: float) -> str:
    return f"{float(value):g}"
