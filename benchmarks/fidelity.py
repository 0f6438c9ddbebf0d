"""How close a replay comes to other simulators on the same traces, worst case first.

    python benchmarks/fidelity.py [--part gavel|philly|physical|pollux ...] [--only TEXT] [-o fidelity.json]

Gavel's own simulator (41 runs, per-job completion times), Alibaba's PAI simulator on the Philly trace
(per-job too), a physical cluster (physical.py) and Pollux's simulator (pollux.py); see docs/simulation.md
for the semantics. All parts without --part. `of bar` is the largest error as a part of the
error allowed for it: up to 1.00 is good; empty where the row is shown beside and not judged.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import physical
import polars as pl
import pollux

from isocost.simulator.cluster import Cluster, read_cluster
from isocost.simulator.metrics import figures
from isocost.simulator.policies import policy_named, replay_under
from isocost.simulator.replay import Replay
from isocost.simulator.speeds import Durations, read_throughputs, tasks
from isocost.simulator.trace import Job, read_trace

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("ISOCOST_DATA", ROOT.parent / "shared" / "data")) / "traces"
PRICES = {"v100": 0.74, "p100": 0.43, "k80": 0.135}
EXACT = ("isolated", "fifo_perf")
# Broken or random in Gavel itself (plain fifo, the V100-blind base versions), or packing, which is another model.
LEFT_OUT = {"fifo", "finish_time_fairness", "min_total_duration", "gandiva", "allox"}
LEFT_OUT |= {"max_min_fairness_water_filling_perf"}


@dataclass(frozen=True)
class Row:
    """Errors of one run, as fractions of the peer's figure; None is not judged. close: jobs within 5 s."""

    trace: str
    policy: str
    table: str
    avg_jct: float
    makespan: float | None
    cost: float | None
    close: float | None
    of_bar: float | None
    cpu_s: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="runs whose trace or policy contains this")
    parser.add_argument("--part", action="append", choices=PARTS, help="only this part; repeatable")
    parser.add_argument("-o", "--output", type=Path, default=None)
    given = parser.parse_args()
    if not DATA.is_dir():
        sys.exit(f"no traces in {DATA}; set ISOCOST_DATA to the folder that holds traces/")
    rows = [row for part in given.part or PARTS for row in PARTS[part](given.only)]
    rows.sort(key=lambda row: -1.0 if row.of_bar is None else row.of_bar, reverse=True)
    print(
        f"{'trace':<17} {'policy':<31} {'table':<5} {'avg JCT':>8} {'makespan':>8} {'cost':>7} "
        f"{'<=5 s':>6} {'of bar':>6} {'CPU s':>6}"
    )
    for row in rows:
        policy = row.policy.replace("throughput", "tput").replace("normalized_by_cost", "per_usd")
        print(
            f"{row.trace.removeprefix('gavel_'):<17} {policy:<31.31} {row.table[:4]:<5} "
            f"{row.avg_jct:>+8.3%} {_percent(row.makespan):>8} {_percent(row.cost):>7} "
            f"{_filled(row.close, '.1%'):>6} {_filled(row.of_bar, '.2f'):>6} {row.cpu_s:>6.2f}"
        )
    if given.output is not None:
        text = json.dumps([asdict(row) for row in rows], indent=2)
        given.output.write_text(text + "\n", encoding="utf-8")


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:+.2%}"


def _filled(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def gavel(only: str) -> Iterator[Row]:
    peers = pl.read_csv(DATA / "gavel_results_jobs.csv.gz", schema_overrides={"job_id": pl.String})
    for run in pl.read_csv(DATA / "gavel_results_summary.csv").iter_rows(named=True):
        trace, policy, table = run["trace"], run["policy"], run["throughput_table"]
        if policy in LEFT_OUT or only not in trace + " " + policy:
            continue
        peer = peers.filter(
            (pl.col("trace") == trace)
            & (pl.col("policy") == policy)
            & (pl.col("throughput_table") == table)
        )
        there = _cluster(run["cluster_v100:p100:k80"])
        jobs = _jobs(trace.split("+")[0])
        if "+SLO" in trace:
            until = dict(peer.select("job_id", "slo_deadline_s").iter_rows())
            jobs = [replace(job, deadline_s=until[job.job_id] - job.submit_s) for job in jobs]
        begin = time.process_time()
        speeds = read_throughputs(DATA / "gavel_throughputs.csv.gz", there, table)
        made = tasks(jobs, there, speeds, trace)
        done = replay_under(policy_named(policy), made, there, speeds)
        shown = figures(done)
        took = time.process_time() - begin
        expected = dict(peer.select("job_id", "jct_s").iter_rows())
        # A job that Gavel counts as failed is in neither of its averages, so it is left out of ours.
        both = [one for one in done.jobs if expected[one.task.job.job_id] is not None]
        jct = float(np.mean([one.jct_s for one in both])) / run["avg_jct_s"] - 1
        makespan = shown.makespan_s / run["makespan_s"] - 1
        counted = peer.filter(pl.col("jct_s").is_not_null())["cost_usd"].sum()
        cost = sum(one.cost_usd(there) for one in both) / float(counted) - 1
        close = _close(done, expected)
        parts = [abs(jct) / (0.001 if policy in EXACT else 0.04)]
        if policy in EXACT:
            if None not in expected.values():  # Gavel counts a job as failed and frees its GPUs
                parts.append((1 - close) / 0.01)
        elif policy == "min_total_duration_perf":
            parts = [abs(makespan) / 0.01]
        else:
            parts.append(abs(makespan) / (0.04 if "max_sum" in policy else 0.01))
            parts.append(abs(cost) / 0.015)
        yield Row(trace, policy, table, jct, makespan, cost, close, max(parts), took)


def philly(only: str) -> Iterator[Row]:
    peers = pl.read_csv(
        DATA / "philly_expected_jobs.csv.gz", schema_overrides={"job_id": pl.String}
    )
    jobs = read_trace(DATA / "philly_2017.csv.gz")
    for run in pl.read_csv(DATA / "philly_expected.csv").iter_rows(named=True):
        policy, count, gpus = run["policy"], run["first_n_jobs"], run["gpus"]
        if only not in "philly " + policy:
            continue
        # The peer counts in whole seconds, at least one.
        whole = [replace(one, duration_s=max(1.0, round(one.duration_s))) for one in jobs[:count]]
        there = read_cluster(f"gpu={gpus}")
        begin = time.process_time()
        done = replay_under(
            policy_named(policy), tasks(whole, there, Durations()), there, Durations()
        )
        took = time.process_time() - begin
        shown = figures(done)
        # The peer's clock stops one second after the last finish, and its figures have four decimals.
        jct = round(shown.avg_jct_s, 4) / run["avg_jct_s"] - 1
        makespan = (shown.makespan_s + 1) / run["makespan_s"] - 1
        peer = peers.filter(pl.col("policy") == policy)
        expected = dict(peer.select("job_id", "jct_s").iter_rows())
        same = _close(done, expected, 0.0) if count == len(expected) else float(not jct)
        wrong = float(bool(jct or makespan or same < 1))
        yield Row(f"philly {count}", policy, f"{gpus}", jct, makespan, None, same, wrong, took)


def on_machines(only: str) -> Iterator[Row]:
    """Shockwave's physical runs; the bar is 9 % for each (physical.py also judges the means)."""
    for policy in physical.MEASURED:
        if only not in "tacc32 " + policy:
            continue
        begin = time.process_time()
        (row,) = physical.physical((policy,))
        jct, makespan = physical.errors(row)
        took = time.process_time() - begin
        part = max(abs(jct), abs(makespan)) / physical.WORST_BAR
        yield Row("tacc32", policy, "", jct, makespan, None, None, part, took)


def adaptive(only: str) -> Iterator[Row]:
    """Pollux's workloads at load 1.0; close: jobs equal to the second."""
    for row in pollux.pollux():
        name, policy = f"pollux {row['workload']}", row["policy"]
        if only in f"{name} {policy}":
            part = abs(row["error"]) / pollux.BAR if policy in pollux.EXACT else None
            equal = row["jobs_equal"]
            yield Row(name, policy, "", row["error"], None, None, equal, part, row["cpu_s"])


PARTS: dict[str, Callable[[str], Iterator[Row]]] = {
    "gavel": gavel,
    "philly": philly,
    "physical": on_machines,
    "pollux": adaptive,
}


def _cluster(counts: str) -> Cluster:
    pairs = zip(PRICES.items(), counts.split(":"), strict=True)
    return read_cluster(",".join(f"{name}={count}@{price}" for (name, price), count in pairs))


def _jobs(trace: str) -> list[Job]:
    path = DATA / f"{trace}.csv"
    return read_trace(path if path.exists() else DATA / f"{trace}.csv.gz")


def _close(done: Replay, expected: dict[str, float | None], within_s: float = 5.0) -> float:
    """The share of the peer's jobs whose completion time is within so many seconds of it."""
    apart = [
        abs(one.jct_s - peer)
        for one in done.jobs
        if (peer := expected[one.task.job.job_id]) is not None
    ]
    return float(np.mean(np.array(apart) <= within_s))


if __name__ == "__main__":
    main()
