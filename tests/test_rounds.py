"""Replay in rounds: the programs behind the shares, and Gavel's own results job by job."""

import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isocost.simulator.cluster import read_cluster
from isocost.simulator.metrics import figures
from isocost.simulator.policies import SHARE_POLICIES, policy_named, replay_under
from isocost.simulator.policies.program import Program, by_pulp, central
from isocost.simulator.speeds import Durations, read_throughputs, tasks
from isocost.simulator.trace import Job, read_trace

from .conftest import ROOT

DATA = Path(os.environ.get("ISOCOST_DATA", ROOT.parent / "shared" / "data")) / "traces"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no traces in {DATA}")
PRICES = {"v100": 0.74, "p100": 0.43, "k80": 0.135}


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Programs that have a solution: fair ones, sums, and sums with rates that can be kept."""
    n, k = draw(st.integers(1, 12)), draw(st.integers(1, 4))
    chance = np.random.default_rng(draw(st.integers(0, 10_000)))
    rates = chance.lognormal(0, 1.5, (n, k))
    rates[:, 1:][chance.random((n, k - 1)) < 0.2] = 0.0
    gpus = chance.choice([1.0, 2.0, 4.0], n)
    there = chance.integers(4, 20, k).astype(float)
    none = np.zeros(n)
    kind = draw(st.sampled_from(["fair", "sum", "sum with rates"]))
    if kind == "fair":
        return Program(there, gpus, rates, none + 1, none, np.zeros_like(rates), 1.0)
    if kind == "sum":
        return Program(there, gpus, np.zeros_like(rates), none, none - 1, rates, 0.0)
    even = there / n / gpus[:, None]
    even = even / np.maximum(even.sum(axis=1, keepdims=True), 1)
    return Program(there, gpus, rates, none, 0.7 * (rates * even).sum(axis=1), rates, 0.0)


@given(programs())
@settings(deadline=None, max_examples=60)
def test_the_interior_method_finds_the_optimum_of_the_pulp_model(program: Program) -> None:
    found, exact = central(program), by_pulp(program)
    values = [float((program.c * one.shares).sum()) + program.d * one.z for one in (found, exact)]
    assert found.optimal
    assert values[0] == pytest.approx(values[1], rel=1e-5, abs=1e-6)
    x = found.shares
    assert x.sum(axis=1).max() <= 1 + 1e-5
    assert ((program.gpus @ x) <= program.there * (1 + 1e-5)).all()
    needed = program.r + program.b * found.z
    short = needed - (program.a * x).sum(axis=1)
    assert (short <= 1e-5 * np.maximum(1, np.abs(program.a).max(axis=1))).all()


def test_alike_jobs_get_alike_shares() -> None:
    rates = np.array([[2.0, 1.0], [2.0, 1.0], [1.0, 3.0]])
    none = np.zeros(3)
    program = Program(
        np.array([2.0, 1.0]), np.ones(3), rates, none + 1, none, np.zeros((3, 2)), 1.0
    )
    shares = central(program).shares
    assert shares[0] == pytest.approx(shares[1], abs=1e-7)


def test_rates_that_contradict_each_other_have_no_optimum() -> None:
    rates = np.array([[1.0], [1.0]])
    none = np.zeros(2)
    program = Program(np.array([1.0]), np.ones(2), rates, none, none + 0.9, rates, 0.0)
    assert not central(program).optimal
    assert not by_pulp(program).optimal


jobs_in_rounds = st.lists(
    st.tuples(st.floats(0, 2e4), st.integers(1, 4), st.floats(60, 2e4)), min_size=1, max_size=12
).map(lambda rows: [Job(f"j{i}", *row) for i, row in enumerate(sorted(rows))])


@given(jobs_in_rounds, st.sampled_from(sorted(SHARE_POLICIES)))
@settings(deadline=None, max_examples=40)
def test_work_and_money_are_conserved_in_rounds(jobs: list[Job], policy: str) -> None:
    there = read_cluster("a=4@3.6,b=5@3.6")
    speeds = Durations()
    done = replay_under(policy_named(policy), tasks(jobs, there, speeds), there, speeds)
    shown = figures(done)
    assert shown.jobs == len(jobs)
    work = sum(job.num_gpus * job.duration_s for job in jobs)
    assert shown.gpu_hours * 3600 == pytest.approx(work, rel=1e-6)
    assert shown.total_cost_usd == pytest.approx(work * 0.001, rel=1e-6)
    assert shown.utilization <= 1 + 1e-9
    assert shown.mean_jobs_in_system * shown.makespan_s == pytest.approx(
        shown.jobs * shown.avg_jct_s, rel=1e-9
    )


def test_most_throughput_is_counted_in_steps_where_the_trace_has_them() -> None:
    there, speeds = read_cluster("gpu=1"), Durations()
    jobs = [Job(name, 0.0, 1, 3600.0, total_steps=steps) for name, steps in (("a", 9), ("b", 900))]
    done = replay_under(policy_named("max-throughput"), tasks(jobs, there, speeds), there, speeds)
    assert [one.task.job.job_id for one in done.jobs] == ["b", "a"]


@needs_data
@pytest.mark.parametrize("policy", ["isolated", "fifo_perf"])
@pytest.mark.parametrize("table", ["simulation", "physical_cluster"])
def test_gavels_static_trace_comes_out_job_by_job(policy: str, table: str) -> None:
    there = read_cluster(f"v100=8@{PRICES['v100']},p100=16@{PRICES['p100']},k80=24@{PRICES['k80']}")
    speeds = read_throughputs(DATA / "gavel_throughputs.csv.gz", there, table)
    trace = tasks(read_trace(DATA / "gavel_static100.csv"), there, speeds)
    done = replay_under(policy_named(policy), trace, there, speeds)
    peer = pl.read_csv(
        DATA / "gavel_results_jobs.csv.gz", schema_overrides={"job_id": pl.String}
    ).filter(
        (pl.col("trace") == "gavel_static100")
        & (pl.col("policy") == policy)
        & (pl.col("throughput_table") == table)
    )
    expected = dict(peer.select("job_id", "jct_s").iter_rows())
    assert len(expected) == 100
    for one in done.jobs:
        assert one.jct_s == pytest.approx(expected[one.task.job.job_id], abs=0.01)
    assert figures(done).total_cost_usd == pytest.approx(float(peer["cost_usd"].sum()), rel=1e-4)
