"""The exact model of a pipeline of jobs, and of owned machines that are shared over time.

Given       of each column k of `instance`: L[k] all that it adds but for waiting; t[k] s; its place
            edges i -> j with price e[p,q] (in L) and s[p,q] seconds to move the data from p to q
            A price of a second of the makespan, a[j] of a second until job j starts (in L)
            d[j] latest finish;  pools of c machines, of which column k takes n[k] while it runs
Choose      x[k] in {0, 1};  y[i,j,p,q] >= 0;  start[j] >= 0, T;  o[i,j] in {0, 1};  f[i,j] >= 0
Minimise    sum L[k] x[k] + sum e y + A T + sum a[j] start[j]
Subject to  one_of_<j>, the limits of `instance`, with what is moved counted in the budget
            out_<i>_<j>_<p>:   sum over q of y[i,j,p,q] = sum over k of i at p of x[k]
            into_<i>_<j>_<q>:  sum over p of y[i,j,p,q] = sum over k of j at q of x[k]
            after_<i>_<j>:     start[j] >= start[i] + sum t[k] x[k] + sum s y
            ends_<j>, due_<j>: start[j] + sum t[k] x[k] <= T and <= d[j]
            a pool's machines flow from job to job: into_pool_<j>, out_of_pool_<j>, pool;
            handed_<i>_<j>:    f[i,j] <= c o[i,j];   start[j] >= end of i where o[i,j] = 1

With x whole, out and into leave y only the pair of places that is chosen; with them the relaxation is
as strong as the best prices of time along all paths (max-flow duality of the longest path), which is
why it needs little search.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from .dag import Pipeline
from .instance import coupling
from .solver import Milp

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


class _Rows:
    """Rows of a model as they are written down, one after the other."""

    def __init__(self) -> None:
        self.row: list[Ints] = []
        self.column: list[Ints] = []
        self.value: list[Floats] = []
        self.low: list[float] = []
        self.high: list[float] = []
        self.names: list[str] = []

    def add(
        self, name: str, low: float, high: float, *terms: tuple[Ints | list[int], Floats | float]
    ) -> None:
        for columns, values in terms:
            at = np.asarray(columns, np.intp)
            self.column.append(at)
            self.value.append(np.broadcast_to(np.asarray(values, float), at.shape))
            self.row.append(np.full(len(at), len(self.names)))
        self.low.append(low)
        self.high.append(high)
        self.names.append(name)

    def matrix(self, columns: int) -> sparse.csr_array:
        at = (np.concatenate(self.row), np.concatenate(self.column))
        shape = (len(self.names), columns)
        return sparse.csr_array((np.concatenate(self.value), at), shape=shape)


def stated(pipeline: Pipeline, rows: Ints) -> tuple[Milp, dict[tuple[int, int], int]]:
    """The model over the columns in rows, and where o[i,j] stands in it."""
    instance, jobs = pipeline.instance, pipeline.instance.jobs
    job, place, count = instance.job[rows], pipeline.place[rows], len(rows)
    unit = float(pipeline.time_s[rows].max(initial=0.0)) or 1.0
    t = pipeline.time_s[rows] / unit
    cost: list[Floats] = [instance.loss[rows]]
    names = [
        f"x_{j}_{k}"
        for j, k in zip(job.tolist(), (rows - instance.start[job]).tolist(), strict=True)
    ]
    upper: list[Floats] = [np.ones(count)]
    size = count
    written = _Rows()
    own = [np.flatnonzero(job == j) for j in pipeline.jobs]
    for j in pipeline.jobs:
        written.add(f"one_of_{j}", 1, 1, (own[j], 1.0))

    def new(label: list[str], price: Floats, most: Floats) -> Ints:
        nonlocal size
        names.extend(label)
        cost.append(price)
        upper.append(most)
        size += len(label)
        return np.arange(size - len(label), size)

    longest = [float(t[own[j]].max()) for j in pipeline.jobs]
    horizon = sum(longest) + sum(float(e.seconds.max()) / unit for e in pipeline.edges)
    latest = np.minimum(pipeline.latest_s / unit, horizon)
    start = new(
        [f"start_{j}" for j in pipeline.jobs], pipeline.waiting * unit, np.full(jobs, horizon)
    )
    last = new(["T"], np.array([pipeline.per_second * unit]), np.array([horizon]))
    peak = instance.peak
    z = new(["z"], np.array([peak.weight]), np.array([np.inf])) if peak else None
    moved: list[tuple[Ints, Floats]] = []
    for edge in pipeline.edges:
        i, j = edge.before, edge.after
        p, q = np.unique(place[own[i]]), np.unique(place[own[j]])
        grid = np.ix_(p, q)
        label = [f"y_{i}_{j}_{a}_{b}" for a in p.tolist() for b in q.tolist()]
        y = new(label, edge.price[grid].reshape(-1), np.ones(len(label))).reshape(len(p), len(q))
        for a, one in enumerate(p.tolist()):
            mine = own[i][place[own[i]] == one]
            written.add(f"out_{i}_{j}_{one}", 0, 0, (y[a], 1.0), (mine, -1.0))
        for b, one in enumerate(q.tolist()):
            mine = own[j][place[own[j]] == one]
            written.add(f"into_{i}_{j}_{one}", 0, 0, (y[:, b], 1.0), (mine, -1.0))
        written.add(
            f"after_{i}_{j}",
            0,
            math.inf,
            ([int(start[j])], 1.0),
            ([int(start[i])], -1.0),
            (own[i], -t[own[i]]),
            (y.reshape(-1), -edge.seconds[grid].reshape(-1) / unit),
        )
        moved.append((y.reshape(-1), edge.usd[grid].reshape(-1)))
    for j in pipeline.jobs:
        end = (([int(start[j])], 1.0), (own[j], t[own[j]]))
        written.add(f"ends_{j}", -math.inf, 0, *end, (last, -1.0))
        if np.isfinite(pipeline.latest_s[j]):
            written.add(f"due_{j}", -math.inf, float(pipeline.latest_s[j]) / unit, *end)
    limits, right, limit_names = coupling(instance, rows)
    by_row = sparse.csr_array(limits)
    for r, name in enumerate(limit_names):
        span = slice(by_row.indptr[r], by_row.indptr[r + 1])
        terms: list[tuple[Ints | list[int], Floats | float]] = [
            (by_row.indices[span].astype(np.intp), by_row.data[span])
        ]
        if name == "budget_all":
            limit = next(one for one in instance.limits if one.name == "budget")
            terms += [(at, usd / limit.sizes[0]) for at, usd in moved]
        if z is not None and name.startswith("largest_"):
            terms.append((z, -1.0))
        written.add(name, -math.inf, float(right[r]), *terms)
    whole = [np.ones(count, bool), np.zeros(size - count, bool)]
    orders: dict[tuple[int, int], int] = {}
    for pool in pipeline.pools:
        nodes = pool.nodes[rows]
        users = [j for j in pipeline.jobs if nodes[own[j]].any()]
        flows: dict[tuple[int, int], int] = {}
        pairs = [(i, j) for i in users for j in users if i != j]
        source = new(
            [f"{pool.name}_to_{j}" for j in users],
            np.zeros(len(users)),
            np.full(len(users), pool.count),
        )
        before = size
        for pair, place_of in zip(
            pairs,
            new(
                [f"f_{pool.name}_{i}_{j}" for i, j in pairs],
                np.zeros(len(pairs)),
                np.full(len(pairs), pool.count),
            ).tolist(),
            strict=True,
        ):
            flows[pair] = place_of
        whole.append(np.zeros(size - before + len(users), bool))
        missing = [pair for pair in pairs if pair not in orders]
        placed = new(
            [f"o_{i}_{j}" for i, j in missing], np.zeros(len(missing)), np.ones(len(missing))
        )
        whole.append(np.ones(len(missing), bool))
        orders |= dict(zip(missing, placed.tolist(), strict=True))
        for a, j in enumerate(users):
            taken = (own[j], -nodes[own[j]])
            arriving = [flows[i, j] for i in users if i != j]
            leaving = [flows[j, i] for i in users if i != j]
            written.add(
                f"into_pool_{pool.name}_{j}", 0, 0, (arriving, 1.0), ([int(source[a])], 1.0), taken
            )
            written.add(f"out_of_pool_{pool.name}_{j}", -math.inf, 0, (leaving, 1.0), taken)
        written.add(f"pool_{pool.name}", -math.inf, pool.count, (source, 1.0))
        for pair in pairs:
            handed = ([flows[pair]], 1.0), ([orders[pair]], -pool.count)
            written.add(f"handed_{pool.name}_{pair[0]}_{pair[1]}", -math.inf, 0, *handed)
    for (i, j), at in orders.items():
        # start[j] >= start[i] + t - horizon (1 - o)
        gone = float(latest.max())
        written.add(
            f"behind_{i}_{j}",
            -gone,
            math.inf,
            ([int(start[j])], 1.0),
            ([int(start[i])], -1.0),
            (own[i], -t[own[i]]),
            ([at], -gone),
        )
        if i < j:
            written.add(f"either_{i}_{j}", -math.inf, 1, ([at, orders[j, i]], 1.0))
    milp = Milp(
        cost=np.concatenate(cost),
        lower=np.zeros(size),
        upper=np.concatenate(upper),
        integer=np.concatenate(whole),
        matrix=written.matrix(size),
        row_lower=np.array(written.low),
        row_upper=np.array(written.high),
        names=tuple(names),
        row_names=tuple(written.names),
    )
    return milp, orders
