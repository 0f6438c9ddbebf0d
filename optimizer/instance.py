"""Many jobs that share limits, as columns: the instance that every method here solves.

Given       L[k] loss of column k, one way to run one job; columns of a job stand together
            a[l,k] >= 0 what column k uses of limit l, g[l,k] the group in which it counts, or none
            b[l,g] at most so much of a group;  s[l,g] at most this share of the whole (or none)
            w weight, c[k] amounts and C a reference: the price of the largest group's share
Choose      x[k] in {0, 1};  m[l], the whole of a limit by shares
Minimise    sum over k of L[k] x[k]  +  w z
Subject to  one_of_<j>:      sum over k of job j of x[k] = 1
            <l>_<g>:         sum over k in g of a[l,k] x[k] <= b[l,g]
         or <l>_<g>:         sum over k in g of a[l,k] x[k] <= s[l,g] m[l]
            whole_<l>:       sum over all k of a[l,k] x[k] = m[l]
            largest_<g>:     sum over k in g of c[k] x[k] / C <= z

With m[l] each column is in one share's row instead of in all, and where another limit (the budget) is on
the same amounts it is m[l] <= b: solvers find their cuts in such rows, and prove fifty times as fast.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from .solver import Milp

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

TOLERANCE = 1e-9  # of a limit, relative: what floats add up to


@dataclass(frozen=True)
class Limit:
    """At most b of every group; with shares, at most s of the sum over all columns instead.

    labels: of the G groups. codes: N, a column's group, -1 where it counts in none. amount: N, not
    negative. at_most: G, inf where there is no limit; ignored where shares is given.
    """

    name: str
    labels: tuple[str, ...]
    codes: NDArray[np.integer]
    amount: Floats
    at_most: Floats
    shares: bool = False

    @cached_property
    def bounded(self) -> Ints:
        """The groups that have a limit."""
        return np.flatnonzero(np.isfinite(self.at_most))

    @cached_property
    def sizes(self) -> Floats:
        """G: the largest amount that can count in each group; 1 where there is none."""
        largest = np.zeros(len(self.at_most))
        if self.shares:
            largest[:] = self.amount.max(initial=0.0)
        else:
            inside = self.codes >= 0
            np.maximum.at(largest, self.codes[inside], self.amount[inside])
        return np.where(largest > 0, largest, 1.0)

    def take(self, rows: Ints) -> "Limit":
        return replace(self, codes=self.codes[rows], amount=self.amount[rows])

    def used(self, rows: Ints) -> Floats:
        """G: what the columns in rows use of each group; with shares, their part of the whole."""
        counted = rows[self.codes[rows] >= 0]
        sums: Floats = np.bincount(
            self.codes[counted], self.amount[counted], len(self.at_most)
        ).astype(float)
        if self.shares:
            return sums / max(float(self.amount[rows].sum()), 1e-300)
        return sums

    def kept(self, rows: Ints) -> bool:
        """Whether the columns in rows together keep the limit."""
        used, most = self.used(rows)[self.bounded], self.at_most[self.bounded]
        return bool((used <= most + TOLERANCE * np.maximum(np.abs(most), 1e-12)).all())


@dataclass(frozen=True)
class Peak:
    """w times the largest group's sum of amounts over the reference is added to the objective."""

    labels: tuple[str, ...]
    codes: NDArray[np.integer]
    amount: Floats
    weight: float
    reference: float

    def take(self, rows: Ints) -> "Peak":
        return replace(self, codes=self.codes[rows], amount=self.amount[rows])

    def share(self, rows: Ints) -> float:
        """z: the largest group's share of the reference."""
        counted = rows[self.codes[rows] >= 0]
        sums = np.bincount(self.codes[counted], self.amount[counted], len(self.labels))
        return float(sums.max(initial=0.0)) / self.reference


@dataclass(frozen=True)
class Instance:
    """start: J + 1, job j has the columns start[j] to start[j + 1], at least one. loss: N."""

    start: Ints
    loss: Floats
    limits: tuple[Limit, ...] = ()
    peak: Peak | None = None

    def __post_init__(self) -> None:
        if not (np.diff(self.start) > 0).all():
            raise ValueError("every job needs at least one column")

    @property
    def jobs(self) -> int:
        return len(self.start) - 1

    def __len__(self) -> int:
        return len(self.loss)

    @cached_property
    def job(self) -> Ints:
        """N: the job of each column."""
        return np.repeat(np.arange(self.jobs), np.diff(self.start))

    def take(self, rows: Ints) -> "Instance":
        """The instance with only the columns in rows (ascending, some of every job)."""
        counts = np.bincount(self.job[rows], minlength=self.jobs)
        return Instance(
            np.concatenate([[0], np.cumsum(counts)]),
            self.loss[rows],
            tuple(limit.take(rows) for limit in self.limits),
            None if self.peak is None else self.peak.take(rows),
        )

    def objective(self, chosen: Ints) -> float:
        """The objective of one column a job."""
        total = float(self.loss[chosen].sum())
        return total + (self.peak.weight * self.peak.share(chosen) if self.peak else 0.0)

    def kept(self, chosen: Ints) -> bool:
        """Whether the chosen columns keep every limit."""
        return all(limit.kept(chosen) for limit in self.limits)


def coupling(instance: Instance, rows: Ints) -> tuple[sparse.csc_array, Floats, tuple[str, ...]]:
    """The constraints <l>_<g>, then largest_<g>, over the columns in rows: A, b and names.

    Each is divided by its size, so that a solver's absolute tolerance is relative.
    """
    blocks: list[sparse.csr_array] = []
    right: list[float] = []
    names: list[str] = []
    columns = np.arange(len(rows))
    for limit in instance.limits:
        size, most = limit.sizes[limit.bounded], limit.at_most[limit.bounded]
        amount = limit.amount[rows]
        place = np.full(len(limit.at_most) + 1, -1)
        place[limit.bounded] = np.arange(len(limit.bounded))
        row = place[limit.codes[rows]]  # code -1 is the last: no row
        inside = row >= 0
        block = sparse.csr_array(
            (amount[inside] / size[row[inside]], (row[inside], columns[inside])),
            shape=(len(size), len(rows)),
        )
        if limit.shares:
            # As few rows as there are providers, but each touches every column.
            block = block - sparse.csr_array(np.outer(most / size, amount))
            most = np.zeros(len(size))
        blocks.append(block)
        right += (most / size).tolist()
        names += [f"{limit.name}_{limit.labels[g]}" for g in limit.bounded]
    if instance.peak is not None:
        peak, codes = instance.peak, instance.peak.codes[rows]
        inside = codes >= 0
        blocks.append(
            sparse.csr_array(
                (
                    peak.amount[rows][inside] / peak.reference,
                    (codes[inside].astype(np.intp), columns[inside]),
                ),
                shape=(len(peak.labels), len(rows)),
            )
        )
        right += [0.0] * len(peak.labels)
        names += [f"largest_{label}" for label in peak.labels]
    if not blocks:
        return sparse.csc_array((0, len(rows))), np.zeros(0), ()
    return sparse.csc_array(sparse.vstack(blocks)), np.array(right), tuple(names)


def stated(instance: Instance, rows: Ints | None = None) -> Milp:
    """The model at the top over the columns in rows (all of them), as a mixed-integer program."""
    rows = np.arange(len(instance)) if rows is None else rows
    shares = [limit for limit in instance.limits if limit.shares]
    bounds = [_same_sum(instance, share, rows) for share in shares]
    summed = [limit for limit in instance.limits if not limit.shares]
    plain = tuple(limit for limit in summed if not any(limit is bound for bound in bounds))
    within, right, names = coupling(replace(instance, limits=plain), rows)
    job, count = instance.job[rows], len(rows)
    one = sparse.csr_array((np.ones(count), (job, np.arange(count))), shape=(instance.jobs, count))
    place = rows - instance.start[job]
    labels = [f"x_{j}_{k}" for j, k in zip(job.tolist(), place.tolist(), strict=True)]
    blocks = [sparse.csr_array(one), sparse.csr_array(within)]
    low = [np.ones(instance.jobs), np.full(len(right), -np.inf)]
    high = [np.ones(instance.jobs), right]
    cost, most = [instance.loss[rows]], [np.ones(count)]
    height = instance.jobs + len(right)
    extra: list[tuple[Ints, Floats]] = []  # the rows and values of each further column
    if instance.peak is not None:
        groups = len(instance.peak.labels)
        extra.append((np.arange(height - groups, height), -np.ones(groups)))
        cost.append(np.array([instance.peak.weight]))
        most.append(np.array([np.inf]))
        labels.append("z")
    for share, bound in zip(shares, bounds, strict=True):
        size, amount = share.sizes[0], share.amount[rows]
        place = np.full(len(share.at_most) + 1, -1)
        place[share.bounded] = np.arange(len(share.bounded))
        row = place[share.codes[rows]]
        inside = np.flatnonzero(row >= 0)
        groups = len(share.bounded)
        at = np.concatenate([row[inside], np.full(count, groups)])
        values = np.concatenate([amount[inside], amount]) / size
        columns = np.concatenate([inside, np.arange(count)])
        blocks.append(sparse.csr_array((values, (at, columns)), shape=(groups + 1, count)))
        low += [np.full(groups, -np.inf), np.zeros(1)]
        high += [np.zeros(groups), np.zeros(1)]
        parts = np.append(share.at_most[share.bounded], 1.0)
        extra.append((np.arange(height, height + groups + 1), -parts))
        height += groups + 1
        cost.append(np.zeros(1))
        most.append(np.array([np.inf if bound is None else bound.at_most.min() / size]))
        labels.append(f"m_{share.name}")
        names += (
            *(f"{share.name}_{share.labels[g]}" for g in share.bounded),
            f"whole_{share.name}",
        )
    further = sparse.csr_array(
        (
            np.concatenate([values for _, values in extra] or [np.zeros(0)]),
            (
                np.concatenate([at for at, _ in extra] or [np.zeros(0, np.intp)]),
                np.repeat(np.arange(len(extra)), [len(at) for at, _ in extra]),
            ),
        ),
        shape=(height, len(extra)),
    )
    whole = np.arange(count + len(extra)) < count
    return Milp(
        cost=np.concatenate(cost),
        lower=np.zeros(len(whole)),
        upper=np.concatenate(most),
        integer=whole,
        matrix=sparse.csr_array(sparse.hstack([sparse.vstack(blocks), further])),
        row_lower=np.concatenate(low),
        row_upper=np.concatenate(high),
        names=tuple(_plain(labels)),
        row_names=(*(f"one_of_{j}" for j in range(instance.jobs)), *_plain(names)),
    )


def _same_sum(instance: Instance, share: Limit, rows: Ints) -> Limit | None:
    """The limit on the sum of the same amounts of all columns in rows, if there is one."""
    for limit in instance.limits:
        if limit.shares or len(limit.at_most) != 1 or not len(limit.bounded):
            continue
        if (limit.codes[rows] == 0).all() and np.array_equal(
            limit.amount[rows], share.amount[rows]
        ):
            return limit
    return None


def _plain(names: Sequence[str]) -> list[str]:
    """Names that every file format of a solver takes, still one for one."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        plain = "".join(letter if letter.isalnum() and letter.isascii() else "_" for letter in name)
        seen[plain] = seen.get(plain, 0) + 1
        found.append(plain if seen[plain] == 1 else f"{plain}__{seen[plain]}")
    return found


def chosen_by(instance: Instance, x: Floats, rows: Ints | None = None) -> Ints:
    """The column of each job that a solution of `stated(instance, rows)` takes."""
    rows = np.arange(len(instance)) if rows is None else rows
    marked = rows[np.flatnonzero(x[: len(rows)] > 0.5)]
    if not np.array_equal(instance.job[marked], np.arange(instance.jobs)):
        raise ValueError("the solution does not take one column of each job")
    return marked


def undominated(instance: Instance) -> Ints:
    """The columns that can be in an optimum: lossless under every limit.

    Dropped is a column that another of its job equals in every group and is nowhere worse in L
    and in every amount; of equals the first stays. Under shares an amount also counts in the
    whole, where more is better, so it must be equal there. A plain Pareto filter of a job would
    be wrong: it drops the dearer column that another provider's quota still admits. Dominance is
    tried against each group's columns in order of L, O(n m) with m survivors of a group.
    """
    less, same = [], [instance.job]
    for limit in instance.limits:
        same.append(np.asarray(limit.codes, np.intp))
        if limit.shares:
            same.append(np.unique(limit.amount, return_inverse=True)[1].reshape(-1))
        else:
            # What no limit touches is no reason to keep a column.
            touched = np.isin(limit.codes, limit.bounded)
            less.append(np.where(touched, limit.amount, 0.0))
    if instance.peak is not None:
        same.append(np.asarray(instance.peak.codes, np.intp))
        less.append(instance.peak.amount)
    group = np.unique(np.column_stack(same), axis=0, return_inverse=True)[1].reshape(-1)
    costs = np.column_stack([instance.loss, *less])
    order = np.lexsort((*costs.T[::-1], group))
    ends = np.flatnonzero(np.diff(group[order])) + 1
    kept = [part[_front(costs[part])] for part in np.split(order, ends)]
    return np.sort(np.concatenate(kept))


def _front(costs: Floats) -> Ints:
    """The undominated rows of costs, which are in lexicographic order."""
    alive = np.ones(len(costs), bool)
    found = []
    for i in range(len(costs)):
        if not alive[i]:
            continue
        found.append(i)
        alive[i + 1 :] &= (costs[i + 1 :] < costs[i]).any(axis=1)
    return np.array(found, np.intp)
