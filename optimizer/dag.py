"""Jobs that depend on each other, and jobs that share owned machines over time: one exact model.

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
why it needs little search. Before it is stated, columns go that another of the same job beats wherever
its neighbours are: `worth_stating`.
"""

import math
import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from .instance import Instance, chosen_by, coupling
from .solver import Milp, Status, relative_gap, solve

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


class Cycle(ValueError):
    """Jobs wait for each other; `jobs` names them in order, the first once more at the end."""

    def __init__(self, jobs: tuple[int, ...]) -> None:
        super().__init__("jobs wait for each other")
        self.jobs = jobs


@dataclass(frozen=True)
class Edge:
    """Job `after` starts when `before` has ended and its data are there. price, usd, seconds: P x P."""

    before: int
    after: int
    price: Floats
    usd: Floats
    seconds: Floats


@dataclass(frozen=True)
class Pool:
    """count machines of one's own. nodes: N, what a column takes of them while it runs."""

    name: str
    nodes: Floats
    count: float


@dataclass(frozen=True)
class Pipeline:
    """time_s, place: N. waiting: J. latest_s: J, inf without. places: P, their number."""

    instance: Instance
    time_s: Floats
    place: Ints
    places: int
    edges: tuple[Edge, ...]
    per_second: float
    waiting: Floats
    latest_s: Floats
    pools: tuple[Pool, ...] = ()

    def order(self) -> list[int]:
        """The jobs, each behind those that it waits for. Raises Cycle."""
        after = [[edge.before for edge in self.edges if edge.after == j] for j in self.jobs]
        found: list[int] = []
        path: list[int] = []

        def visit(job: int) -> None:
            if job in path:
                raise Cycle((*path[path.index(job) :], job))
            if job not in found:
                path.append(job)
                for before in after[job]:
                    visit(before)
                found.append(path.pop())

        for job in self.jobs:
            visit(job)
        return found

    @property
    def jobs(self) -> range:
        return range(self.instance.jobs)


@dataclass(frozen=True, slots=True)
class Schedule:
    """chosen: a column of each job, None without an answer; start_s: J; moved_usd along all edges."""

    status: Status
    chosen: Ints | None
    start_s: Floats
    makespan_s: float
    moved_usd: float
    objective: float
    bound: float
    stated: int
    seconds: float
    solver: str

    @property
    def gap(self) -> float:
        return math.inf if self.chosen is None else relative_gap(self.objective, self.bound)


def timed(
    pipeline: Pipeline, chosen: Ints, handed: tuple[tuple[int, int], ...] = ()
) -> tuple[Floats, float]:
    """Earliest starts (J) and the objective, where one job also waits for another as in `handed`."""
    t, place = pipeline.time_s[chosen], pipeline.place[chosen]
    lag = {(i, j): 0.0 for i, j in handed}
    price = 0.0
    for edge in pipeline.edges:
        p, q = place[edge.before], place[edge.after]
        key = (edge.before, edge.after)
        lag[key] = max(lag.get(key, 0.0), float(edge.seconds[p, q]))
        price += float(edge.price[p, q])
    start = np.zeros(pipeline.instance.jobs)
    for _ in pipeline.jobs:  # longest paths, as many rounds as a path has jobs at most
        before = start.copy()
        for (i, j), moving in lag.items():
            start[j] = max(start[j], start[i] + t[i] + moving)
        if np.array_equal(before, start):
            break
    end = start + t
    total = pipeline.instance.objective(chosen) + price
    total += pipeline.per_second * float(end.max()) + float(pipeline.waiting @ start)
    return start, total


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


def schedule(
    pipeline: Pipeline,
    *,
    gap: float = 0.0,
    solver: str = "highs",
    time_limit_s: float | None = None,
) -> Schedule:
    """The exact optimum of the model above. Raises Cycle where jobs wait for each other."""
    begun = time.perf_counter()
    pipeline.order()
    rows = worth_stating(pipeline)
    model, orders = _stated(pipeline, rows)
    if solver == "highs" and not pipeline.pools and not pipeline.waiting.any():
        rows, model, orders = _fixed(pipeline, rows, model, orders)
    solved = solve(model, solver=solver, gap=gap, time_limit_s=time_limit_s)
    status = solved.status
    chosen: Ints | None = None
    handed: tuple[tuple[int, int], ...] = ()
    if solved.x is not None:
        chosen = chosen_by(pipeline.instance, solved.x, rows)
        handed = tuple(pair for pair, place in orders.items() if solved.x[place] > 0.5)
    if chosen is None:
        start, objective, makespan, moved = np.zeros(0), math.inf, math.inf, 0.0
    else:
        start, objective = timed(pipeline, chosen, handed)
        makespan = float((start + pipeline.time_s[chosen]).max())
        place = pipeline.place[chosen]
        moved = sum(float(e.usd[place[e.before], place[e.after]]) for e in pipeline.edges)
    return Schedule(
        status=status,
        chosen=chosen,
        start_s=start,
        makespan_s=makespan,
        moved_usd=moved,
        objective=objective,
        bound=min(solved.bound, objective),
        stated=len(rows),
        seconds=time.perf_counter() - begun,
        solver=solved.solver,
    )


def _fixed(
    pipeline: Pipeline, rows: Ints, model: Milp, orders: dict[tuple[int, int], int]
) -> tuple[Ints, Milp, dict[tuple[int, int], int]]:
    """The model without what the relaxation rules out: exact.

    A variable at 0 whose reduced cost d lies above the distance from the relaxation's value to a known
    plan's is 0 in every better plan. The known plan: what the relaxation leans to, improved job by job.
    """
    relaxed = solve(replace(model, integer=np.zeros(len(model.cost), bool)))
    if relaxed.status is not Status.OPTIMAL or relaxed.x is None:
        return rows, model, orders
    job, x = pipeline.instance.job[rows], relaxed.x[: len(rows)]
    leaning = np.array([rows[job == j][np.argmax(x[job == j])] for j in pipeline.jobs])
    known = improved(pipeline, rows, leaning)
    if not keeps(pipeline, known):
        return rows, model, orders
    reach = timed(pipeline, known)[1] - relaxed.objective + 1e-9
    out = (relaxed.reduced > reach) & (model.lower == 0)
    left = np.union1d(rows[~out[: len(rows)]], known)
    again, orders = _stated(pipeline, left)
    # Pairs of places that are out stay variables, held at 0, for HiGHS's presolve to drop.
    gone = {name for name, no in zip(model.names, out.tolist(), strict=True) if no}
    held = np.array([name in gone and name[0] == "y" for name in again.names])
    return left, replace(again, upper=np.where(held, 0.0, again.upper)), orders


def keeps(pipeline: Pipeline, chosen: Ints) -> bool:
    """Whether the choice keeps every limit and deadline, what is moved counted in the budget."""
    place = pipeline.place[chosen]
    moved = sum(float(e.usd[place[e.before], place[e.after]]) for e in pipeline.edges)
    for limit in pipeline.instance.limits:
        spent = limit.name == "budget" and limit.used(chosen)[0] + moved > limit.at_most[0]
        if spent or not limit.kept(chosen):
            return False
    end = timed(pipeline, chosen)[0] + pipeline.time_s[chosen]
    return bool((end <= pipeline.latest_s).all())


def improved(pipeline: Pipeline, rows: Ints, chosen: Ints) -> Ints:
    """The choice with one job after the other at its best given the others, until nothing changes.

    With job j out, head[p] is when its data are at place p, tail[p] what follows from there; then
    the makespan with column k is max(that without j, head + t[k] + tail).
    """
    best, value = chosen.copy(), timed(pipeline, chosen)[1]
    order, job = pipeline.order(), pipeline.instance.job[rows]
    own = [rows[job == j] for j in pipeline.jobs]
    feasible = keeps(pipeline, best)
    while True:
        before = value
        for j in pipeline.jobs:
            trial = best.copy()
            for k in own[j][np.argsort(_with_each(pipeline, order, best, j, own[j]))[:5]]:
                trial[j] = k
                reached = timed(pipeline, trial)[1]
                kept = keeps(pipeline, trial)
                if (kept and not feasible) or (kept >= feasible and reached < value - 1e-12):
                    best, value, feasible = trial.copy(), reached, kept
        if value >= before - 1e-12:
            return best


def _with_each(
    pipeline: Pipeline, order: list[int], chosen: Ints, job: int, columns: Ints
) -> Floats:
    """The objective's part that depends on job's column, for each of columns."""
    place, t = pipeline.place[chosen], pipeline.time_s[chosen].copy()
    end, tail = np.zeros(len(chosen)), np.zeros(len(chosen))
    head, rest, price = (np.zeros(pipeline.places) for _ in range(3))
    for j in order:
        for edge in pipeline.edges:
            if edge.after == j and edge.before != job:
                arrives = end[edge.before] + edge.seconds[place[edge.before]]
                if j == job:
                    np.maximum(head, arrives, out=head)
                    price += edge.price[place[edge.before]]
                else:
                    end[j] = max(end[j], float(arrives[place[j]]))
        end[j] += t[j]
    for j in reversed(order):
        for edge in pipeline.edges:
            if edge.before == j and edge.after != job:
                follows = edge.seconds[:, place[edge.after]] + t[edge.after] + tail[edge.after]
                if j == job:
                    np.maximum(rest, follows, out=rest)
                    price += edge.price[:, place[edge.after]]
                else:
                    tail[j] = max(tail[j], float(follows[place[j]]))
    at = pipeline.place[columns]
    others = max((float(end[j]) for j in pipeline.jobs if j != job), default=0.0)
    span = np.maximum(others, head[at] + pipeline.time_s[columns] + rest[at])
    return np.asarray(pipeline.instance.loss[columns] + price[at] + pipeline.per_second * span)


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


def _stated(pipeline: Pipeline, rows: Ints) -> tuple[Milp, dict[tuple[int, int], int]]:
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
