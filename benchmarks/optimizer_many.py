"""Many jobs under shared limits: column generation against the model with all columns.

    python benchmarks/optimizer_many.py [--cases 20x500 1000x500 ...] [--against] [-o many.json]

Every case runs in a process of its own, so that CPU seconds (children included) and peak memory are
its own. The instances are synthetic, of the shape of ours: one fleet of offers in 8 providers, 40
regions and 12 families, jobs of lognormal size, L between time, cost and flexibility. Quotas of
nodes by provider, region and family stand at 60 % of what the unlimited optimum asks of the busiest,
the budget 40 % of the way from the cheapest plan to that optimum, and no provider gets more than
30 % of the money. A case with `+w` also pays w times the largest provider's share; how many jobs go
elsewhere for it, and the shares without and with it, are printed below. `#seed` makes another instance.
`dagJxK#seed` is a pipeline: J jobs over K offers in 40 regions of 4 providers, 20 to 30 edges with
data of 30 GB and more, moved at 1 to 12 cents a GB and 1 to 4 Gbit/s between regions; L weighs the
makespan 0.4, cost with what is moved 0.4, flexibility 0.2; solved to a gap of 1e-6.

--against adds, to the same gap: all columns in one model, given to HiGHS directly, to HiGHS by PuLP,
and to scipy.milp; each is stopped after --limit seconds, and says the gap that it had then. Shares are
stated there through one variable for all the money, which keeps those rows as sparse as the quotas.
Of one that was stopped, its CPU time is a lower bound: "at least 9 times".
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import highspy
import numpy as np
from numpy.typing import NDArray
from scipy import optimize, sparse

from isocost.optimizer.dag import Edge, Pipeline
from isocost.optimizer.instance import Instance, Limit, Peak, coupling
from isocost.optimizer.many import choose_many
from isocost.optimizer.schedule import schedule
from isocost.optimizer.solver import Milp, solve

PIPELINES = ("dag20x294", "dag20x294#1", "dag20x294#2", "dag20x1000")
CASES = (
    *PIPELINES,
    "20x500",
    "200x500",
    "1000x500",
    "200x5000",
    "1000x5000",
    "1000x500+100",
    "10000x500",
)
AGAINST = ("1000x500",)  # of CASES; of --cases all
PROVIDERS, REGIONS, FAMILIES = 8, 40, 12
GAP, PEAK_GAP = 1e-4, 1e-3
OVERRUN = "ended from outside"

Floats = NDArray[np.float64]


def instance(jobs: int, offers: int, weight: float, seed: int = 0) -> Instance:
    """The instance described at the top; every job may run on every offer."""
    rng = np.random.default_rng(seed)
    region = rng.integers(0, REGIONS, offers)
    provider, family = region % PROVIDERS, rng.integers(0, FAMILIES, offers)
    nodes = 2.0 ** rng.integers(0, 4, offers)
    fast = np.exp(rng.normal(0, 0.3, FAMILIES))[family] * rng.lognormal(0, 0.2, offers)
    speed = fast * nodes**0.9
    dear = np.exp(rng.normal(0, 0.1, PROVIDERS))[provider] * rng.lognormal(0, 0.25, offers)
    price = nodes * np.exp(rng.normal(0, 0.3, FAMILIES))[family] * dear
    flexibility = rng.uniform(0, 0.5, PROVIDERS)[provider] + rng.uniform(0, 0.5, offers)
    size = rng.lognormal(1, 1, jobs)
    hours = size[:, None] / speed * rng.lognormal(0, 0.2, (jobs, offers))
    usd = hours * price
    scaled = hours / hours.max(axis=1, keepdims=True) + usd / usd.max(axis=1, keepdims=True)
    loss = ((scaled + flexibility) / 3 + rng.uniform(0, 0.02, (jobs, offers))).reshape(-1)
    free = np.arange(jobs) * offers + loss.reshape(jobs, offers).argmin(axis=1)
    cost, amount = usd.reshape(-1), np.tile(nodes, jobs)
    limits = []
    for name, codes, count in (
        ("provider", provider, PROVIDERS),
        ("region", region, REGIONS),
        ("family", family, FAMILIES),
    ):
        each = np.tile(codes.astype(np.int32), jobs)
        used = np.bincount(each[free], amount[free], count)
        most = np.floor(np.maximum(0.6 * used, 1.5 * used.mean()))
        limits.append(Limit(name, _labels(count), each, amount, most))
    budget = 0.6 * usd.min(axis=1).sum() + 0.4 * cost[free].sum()
    everything = np.zeros(len(loss), np.int32)
    limits.append(Limit("budget", ("all",), everything, cost, np.array([budget])))
    providers = limits[0].codes
    shares = np.full(PROVIDERS, 0.3)
    limits.append(Limit("share", _labels(PROVIDERS), providers, cost, shares, shares=True))
    spent = float(cost[free].sum())
    peak = Peak(_labels(PROVIDERS), providers, cost, weight, spent) if weight else None
    return Instance(np.arange(jobs + 1) * offers, loss, tuple(limits), peak)


def pipeline(jobs: int, offers: int, seed: int) -> Pipeline:
    """The pipeline described at the top."""
    rng = np.random.default_rng(seed)
    regions, alpha, beta, gamma = 40, 0.4, 0.4, 0.2
    place, provider = rng.integers(0, regions, offers), np.arange(regions) % 4
    speed = rng.lognormal(0, 0.8, offers)
    price = speed * rng.lognormal(0, 0.35, offers)
    size = rng.lognormal(1, 0.7, jobs) * 3600
    seconds = size[:, None] / speed * rng.lognormal(0, 0.1, (jobs, offers))
    usd = seconds / 3600 * price
    flexibility = rng.uniform(0, 0.5, regions)[place] + rng.uniform(0, 0.3, offers)
    span, spent = seconds.mean(axis=1).sum() / 3, usd.mean(axis=1).sum()
    loss = beta * usd / spent + gamma * flexibility / jobs
    near = provider[:, None] == provider[None, :]
    here = np.eye(regions, dtype=bool)
    away = np.broadcast_to(rng.uniform(0.05, 0.12, 4)[provider][:, None], near.shape)
    rate = np.where(near, rng.choice([0.01, 0.02, 0.05], near.shape), away)
    rate = np.where(here, 0.0, rate)
    pace = np.where(here, 0.0, np.where(near, 2e-9, 8e-9))
    edges = []
    for j in range(1, jobs):
        sure = int(rng.integers(max(0, j - 4), j))
        for i in sorted({sure, *(i for i in range(j) if rng.random() < 0.45 / j)}):
            moved = 30e9 * rng.lognormal(0, 1.5)
            dollars = rate * moved / 1e9
            edges.append(Edge(i, j, beta * dollars / spent, dollars, pace * moved))
    return Pipeline(
        instance=Instance(np.arange(jobs + 1) * offers, loss.reshape(-1)),
        time_s=seconds.reshape(-1),
        place=np.tile(place, jobs),
        places=regions,
        edges=tuple(edges),
        per_second=alpha / span,
        waiting=np.zeros(jobs),
        latest_s=np.full(jobs, np.inf),
    )


def by_dag(given: Pipeline, gap: float, limit_s: float) -> dict[str, Any]:
    answer = schedule(given, gap=gap, time_limit_s=limit_s)
    return {
        "status": str(answer.status),
        "objective": answer.objective,
        "bound": answer.bound,
        "gap": answer.gap,
        "stated": answer.stated,
        "nodes": answer.nodes,
        "edges": len(given.edges),
    }


def _labels(count: int) -> tuple[str, ...]:
    return tuple(str(i) for i in range(count))


def all_columns(given: Instance) -> dict[str, Any]:
    """The whole model as arrays: cost, matrix, row bounds, upper bounds, which are whole."""
    rows = np.arange(len(given))
    capped = tuple(limit for limit in given.limits if not limit.shares)
    plain = Instance(given.start, given.loss, capped, given.peak)
    within, right, _ = coupling(plain, rows)
    n = len(given)
    one = sparse.csr_array((np.ones(n), (given.job, rows)), shape=(given.jobs, n))
    blocks = [sparse.csr_array(one), sparse.csr_array(within)]
    low = [np.ones(given.jobs), np.full(len(right), -np.inf)]
    high = [np.ones(given.jobs), right]
    extra: list[tuple[Floats, float]] = []  # a column's coefficients in all rows, and its cost
    shares = [limit for limit in given.limits if limit.shares]
    for limit in shares:
        size = limit.sizes[0]
        block = sparse.csr_array(
            (limit.amount / size, (limit.codes, rows)), shape=(len(limit.labels), n)
        )
        blocks += [block, sparse.csr_array(limit.amount[None, :] / size)]
        low += [np.full(len(limit.labels), -np.inf), np.zeros(1)]
        high += [np.zeros(len(limit.labels)), np.zeros(1)]
    height = sum(block.shape[0] for block in blocks)
    place = given.jobs + len(right)
    if given.peak is not None:
        column = np.zeros(height)
        column[place - len(given.peak.labels) : place] = -1
        extra.append((column, given.peak.weight))
    for limit in shares:
        column = np.zeros(height)
        column[place : place + len(limit.labels)] = -limit.at_most
        column[place + len(limit.labels)] = -1
        place += len(limit.labels) + 1
        extra.append((column, 0.0))
    matrix = sparse.vstack(blocks)
    if extra:
        matrix = sparse.hstack([matrix, sparse.csr_array(np.column_stack([c for c, _ in extra]))])
    return {
        "cost": np.concatenate([given.loss, [price for _, price in extra]]),
        "matrix": sparse.csc_array(matrix),
        "low": np.concatenate(low),
        "high": np.concatenate(high),
        "upper": np.concatenate([np.ones(n), np.full(len(extra), np.inf)]),
        "whole": np.concatenate([np.ones(n), np.zeros(len(extra))]),
    }


def by_columns(given: Instance, gap: float, limit_s: float) -> dict[str, Any]:
    answer = choose_many(given, gap=gap, time_limit_s=limit_s)
    assert answer.chosen is None or given.kept(answer.chosen)
    rows = answer.chosen if answer.chosen is not None else np.zeros(0, np.intp)
    binding = sum(
        int((limit.used(rows)[limit.bounded] > 0.98 * limit.at_most[limit.bounded]).sum())
        for limit in given.limits
    )
    share = max(float(limit.used(rows).max()) for limit in given.limits if limit.shares)
    return {
        "status": str(answer.status),
        "objective": answer.objective,
        "bound": answer.bound,
        "gap": answer.gap,
        "generated": answer.generated,
        "survivors": answer.survivors,
        "stated": answer.stated,
        "binding": binding,
        "largest_share": share,
        "nodes": answer.nodes,
        "chosen": rows.tolist(),
    }


def by_highs(given: Instance, gap: float, limit_s: float) -> dict[str, Any]:
    whole = all_columns(given)
    matrix = whole["matrix"]
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = matrix.shape[1], matrix.shape[0]
    model.col_cost_, model.col_upper_ = whole["cost"], whole["upper"]
    model.col_lower_ = np.zeros(matrix.shape[1])
    model.row_lower_, model.row_upper_ = whole["low"], whole["high"]
    model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    model.a_matrix_.start_ = matrix.indptr
    model.a_matrix_.index_, model.a_matrix_.value_ = matrix.indices, matrix.data
    kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
    model.integrality_ = [kinds[int(one)] for one in whole["whole"]]
    highs = highspy.Highs()
    for name, value in (
        ("output_flag", False),
        ("threads", 1),
        ("mip_rel_gap", gap),
        ("mip_abs_gap", 0.0),
        ("time_limit", limit_s),
    ):
        highs.setOptionValue(name, value)
    highs.passModel(model)
    highs.run()
    info = highs.getInfo()
    return {
        "status": highs.modelStatusToString(highs.getModelStatus()),
        "objective": info.objective_function_value,
        "bound": info.mip_dual_bound,
        "gap": info.mip_gap,
        "stated": len(given),
        "nodes": info.mip_node_count,
    }


def by_pulp(given: Instance, gap: float, limit_s: float) -> dict[str, Any]:
    whole = all_columns(given)
    matrix = sparse.csr_array(whole["matrix"])
    milp = Milp(
        cost=whole["cost"],
        lower=np.zeros(len(whole["cost"])),
        upper=whole["upper"],
        integer=whole["whole"] > 0,
        matrix=matrix,
        row_lower=whole["low"],
        row_upper=whole["high"],
        names=tuple(f"x_{k}" for k in range(matrix.shape[1])),
        row_names=tuple(f"row_{k}" for k in range(matrix.shape[0])),
    )
    found = solve(milp, gap=gap, time_limit_s=limit_s)
    return {
        "status": str(found.status),
        "objective": found.objective,
        "bound": found.bound,
        "gap": found.gap,
        "stated": len(given),
        "nodes": found.nodes,
    }


def by_scipy(given: Instance, gap: float, limit_s: float) -> dict[str, Any]:
    whole = all_columns(given)
    found = optimize.milp(
        whole["cost"],
        integrality=whole["whole"],
        bounds=optimize.Bounds(0, whole["upper"]),
        constraints=optimize.LinearConstraint(whole["matrix"], whole["low"], whole["high"]),
        options={"mip_rel_gap": gap, "time_limit": limit_s},
    )
    return {
        "status": {0: "optimal", 1: "time limit"}.get(found.status, found.message),
        "objective": found.fun,
        "bound": found.mip_dual_bound,
        "gap": found.mip_gap,
        "stated": len(given),
        "nodes": found.mip_node_count or 0,
    }


METHODS = {
    "isocost": by_columns,
    "HiGHS, all": by_highs,
    "PuLP, all": by_pulp,
    "scipy, all": by_scipy,
}


def measured(case: str, method: str, limit_s: float) -> dict[str, Any]:
    """One case by one method, in this process."""
    if case.startswith("dag"):
        size, _, seed = case.removeprefix("dag").partition("#")
        jobs, offers = (int(part) for part in size.split("x"))
        dag, before = pipeline(jobs, offers, int(seed or 0)), cpu_s()
        return _row(case, method, jobs, jobs * offers, before, by_dag(dag, 1e-6, limit_s))
    named, _, seed = case.partition("#")
    size, _, weight = named.partition("+")
    jobs, offers = (int(part) for part in size.split("x"))
    given = instance(jobs, offers, float(weight or 0), int(seed or 0))
    before = cpu_s()
    result = METHODS[method](given, PEAK_GAP if weight else GAP, limit_s)
    row = _row(case, method, jobs, len(given), before, result)
    if given.peak is not None and method == "isocost":
        row |= _without_weight(given, row.pop("chosen"))
    row.pop("chosen", None)
    return row


def _without_weight(given: Instance, chosen: list[int]) -> dict[str, Any]:
    """The plan without the price on the largest share against the one with it."""
    answer = choose_many(replace(given, peak=None), gap=GAP)
    assert answer.chosen is not None
    assert given.peak is not None
    part = given.peak.share(np.array(chosen)), given.peak.share(answer.chosen)
    money = [float(given.peak.amount[rows].sum()) for rows in (chosen, answer.chosen)]
    return {
        "differ": int((answer.chosen != np.array(chosen)).sum()),
        "share": part[0] * given.peak.reference / money[0],
        "share_without": part[1] * given.peak.reference / money[1],
    }


def _row(
    case: str, method: str, jobs: int, columns: int, before: float, result: dict[str, Any]
) -> dict[str, Any]:
    return {
        "case": case,
        "method": method,
        "jobs": jobs,
        "columns": columns,
        "cpu_s": cpu_s() - before,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        **result,
    }


def cpu_s() -> float:
    """CPU seconds of this process and of its children."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def apart(case: str, method: str, limit_s: float) -> dict[str, Any]:
    """The same in a process of its own; HiGHS looks at its clock rarely, and is ended soon after."""
    command = [sys.executable, __file__, "--one", case, method, "--limit", str(limit_s)]
    before = cpu_s()
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=limit_s + 30
        )
    except subprocess.TimeoutExpired:
        return {
            "case": case,
            "method": method,
            "cpu_s": cpu_s() - before,
            "gap": None,
            "status": OVERRUN,
        }
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def line(row: dict[str, Any]) -> str:
    """A row in words; a run that had to be ended tells its time alone."""
    gap = f"{row['gap']:.1e}" if row["gap"] is not None else "none"
    columns, stated, nodes, peak_mb = (
        f"{row[name]:,.0f}" if name in row else "-"
        for name in ("columns", "stated", "nodes", "peak_mb")
    )
    return (
        f"{row['case']:<12} {row['method']:<10} {columns:>9} {stated:>8} "
        f"{nodes:>6} {row['cpu_s']:>7.2f} {peak_mb:>5} {gap:>8} {row['status']}"
    )


def against(mine: dict[str, Any], other: dict[str, Any]) -> str:
    """The ratio of CPU times at one gap in words; a lower bound where the other had not got there."""
    who, spent = f"{mine['case']}: {other['method']}", f"{other['cpu_s']:.0f} CPU s"
    if mine["status"] != "optimal":
        return f"{who} took {spent}; no ratio: isocost itself is '{mine['status']}'"
    own = f"isocost proved {mine['gap']:.0e} in {mine['cpu_s']:.1f}"
    times = f"{other['cpu_s'] / mine['cpu_s']:.1f} times the CPU time"
    if str(other["status"]).lower() == "optimal":
        return f"{who} takes {times}: {spent} to a gap of {other['gap']:.0e}; {own}"
    gap = other["gap"]
    if other["status"] == OVERRUN:
        return f"{who} takes at least {times}: ended after {spent}, past its limit; {own}"
    left = "without a solution" if gap is None or gap > 1e9 else f"at a gap of {gap:.0e}"
    return f"{who} takes at least {times}: stopped after {spent} {left}; {own}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--cases", nargs="+")
    parser.add_argument("--against", action="store_true")
    parser.add_argument("--limit", type=float, default=100.0)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measured(given.one[0], given.one[1], given.limit)))
        return
    print(
        f"{'case':<12} {'method':<10} {'columns':>9} {'stated':>8} {'nodes':>6} {'CPU s':>7} {'MB':>5} {'gap':>8}"
    )
    rows = []
    cases, against_all = given.cases or list(CASES), given.cases or AGAINST
    for case in cases:
        many = given.against and case in against_all and not case.startswith("dag")
        methods = list(METHODS) if many else ["isocost"]
        for method in methods:
            rows.append(apart(case, method, given.limit))
            print(line(rows[-1]), flush=True)
    for row in rows:
        if "share" in row:
            print(
                f"{row['case']}: with the price on the largest share {row['differ']} of {row['jobs']} "
                f"jobs go elsewhere; it falls from {row['share_without']:.1%} to {row['share']:.1%}"
            )
    for case in cases:
        by_method = {row["method"]: row for row in rows if row["case"] == case}
        mine = by_method.pop("isocost")
        for row in by_method.values():
            print(against(mine, row))
    if given.output:
        given.output.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
