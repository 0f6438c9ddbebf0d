"""What a physical cluster adds to rounds, and the policies that plan them: AlloX and Shockwave."""

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isocost.catalog.files import InputError
from isocost.simulator.cluster import Cluster, Nodes, read_cluster
from isocost.simulator.policies import policy_named, replay_under
from isocost.simulator.policies.allox import AlloX
from isocost.simulator.policies.program import Program, central, centred
from isocost.simulator.policies.shockwave import BASES, LEAST, best_rounds
from isocost.simulator.replay import Replay
from isocost.simulator.rounds import Rules
from isocost.simulator.speeds import Durations, tasks
from isocost.simulator.trace import Job, measured, read_trace

from .conftest import ROOT

DATA = Path(os.environ.get("ISOCOST_DATA", ROOT.parent / "shared" / "data"))
TACC = DATA / "traces" / "shockwave_tacc32_physical.csv"


def replayed(
    policy: str, jobs: Sequence[Job], gpus: int = 4, round_s: float = 100.0, **cluster: float
) -> Replay:
    made = Cluster(nodes=(Nodes(gpus_per_node=gpus),), newcomers_run=True, **cluster)  # type: ignore[arg-type]
    trace = tasks(sorted(jobs, key=lambda job: job.submit_s), made, Durations())
    return replay_under(
        policy_named(policy), trace, made, Durations(), rules=Rules(round_s, 10 * round_s)
    )


def some_jobs(
    shapes: Sequence[tuple[float, int, float]],
) -> list[Job]:
    return [Job(str(i), at, gpus, lasts) for i, (at, gpus, lasts) in enumerate(shapes)]


shapes = st.lists(
    st.tuples(st.integers(0, 500), st.integers(1, 4), st.integers(1, 900)), min_size=1, max_size=12
)
POLICIES = ["allox", "shockwave", "max-min-fairness", "min-total-duration", "finish-time-fairness"]


@given(shapes=shapes, policy=st.sampled_from(POLICIES), start=st.integers(0, 40))
@settings(deadline=None, max_examples=40)
def test_every_job_does_its_work_and_pays_for_every_start(
    shapes: list[tuple[float, int, float]], policy: str, start: int
) -> None:
    done = replayed(policy, some_jobs(shapes), start_s=float(start), restart_s=float(start))
    assert len(done.jobs) == len(shapes)
    for one in done.jobs:
        job = one.task.job
        least = job.duration_s + start * (1 + one.preemptions)
        assert one.run_s == pytest.approx(least)
        assert sum(one.gpu_s) == pytest.approx(job.num_gpus * one.run_s)
        assert one.jct_s >= one.run_s - 1e-6


@pytest.mark.parametrize("policy", POLICIES)
def test_a_job_alone_runs_from_its_first_round_on(policy: str) -> None:
    (one,) = replayed(policy, some_jobs([(0, 2, 950)]), start_s=20.0, restart_s=30.0).jobs
    assert (one.jct_s, one.preemptions) == (970, 0)


def test_a_restart_costs_its_part_of_the_round() -> None:
    jobs = some_jobs([(0, 4, 500), (0, 4, 500)])
    free, dear = (
        replayed("max-min-fairness", jobs, start_s=cost, restart_s=cost) for cost in (0.0, 20.0)
    )
    assert max(one.finish_s for one in free.jobs) == 1000
    switches = sum(1 + one.preemptions for one in dear.jobs)
    assert max(one.finish_s for one in dear.jobs) == pytest.approx(1000 + 20 * switches)


# ---------------------------------------------------------------------------------------- AlloX


def test_allox_keeps_running_jobs_and_takes_the_shortest_of_the_oldest() -> None:
    jobs = [(0, 1, 1000)] * 4 + [(1, 1, 5000), (2, 1, 300), (3, 1, 400)]
    done = replayed("allox", some_jobs(jobs))
    start = {one.task.job.job_id: one.start_s for one in done.jobs}
    assert all(one.preemptions == 0 for one in done.jobs)
    assert [start[str(i)] for i in range(4)] == [0] * 4
    # Four GPUs come free together, three wait: each has its own.
    assert {start["4"], start["5"], start["6"]} == {1000}
    assert AlloX().alpha == 0.2


@given(st.lists(st.integers(1, 50), min_size=1, max_size=5), st.integers(1, 2))
@settings(deadline=None, max_examples=30)
def test_allox_finds_the_least_sum_of_completion_times(lengths: list[int], gpus: int) -> None:
    """Everything waits from the start; the order on each GPU against all orders by brute force."""

    def total(order: Sequence[int]) -> float:
        free = [0.0] * gpus
        ends = 0.0
        for length in order:
            at = min(range(gpus), key=free.__getitem__)
            free[at] += length
            ends += free[at]
        return ends

    jobs = some_jobs([(0, 1, length) for length in lengths])
    made = Cluster(nodes=(Nodes(gpus_per_node=gpus),), newcomers_run=True)
    trace = tasks(jobs, made, Durations())
    done = replay_under(AlloX(alpha=1.0), trace, made, Durations(), rules=Rules(1.0, 0.0))
    best = min(total(order) for order in itertools.permutations(lengths))
    assert sum(one.finish_s for one in done.jobs) == pytest.approx(best, abs=len(lengths))


# ------------------------------------------------------------------------------------ Shockwave


@given(
    jobs=st.lists(
        st.tuples(st.floats(1, 9), st.floats(10, 500), st.floats(0, 0.9)), min_size=1, max_size=3
    ),
    k=st.sampled_from([0.0, 1e-4, 1e-2]),
)
@settings(deadline=None, max_examples=40)
def test_shockwaves_rounds_are_the_best_there_are(
    jobs: list[tuple[float, float, float]], k: float
) -> None:
    weight, work = np.array([w for w, _, _ in jobs]), np.array([s for _, s, _ in jobs])
    left = work * (1 - np.array([share for _, _, share in jobs]))
    gpus, there, round_s, future = np.ones(len(jobs)), 1.0, 50.0, 4

    def value(rounds: Sequence[int]) -> float:
        run = np.minimum(np.array(rounds) * round_s, left)
        logs = np.interp((work - left + run) / work, BASES, np.log(np.maximum(BASES, LEAST)))
        late = np.maximum(left - np.array(rounds) * round_s, 0).max()
        return float((weight * logs).sum() / (len(jobs) * future) - k * late)

    found = best_rounds(weight, left, work, gpus, there=there, round_s=round_s, future=future, k=k)
    assert found.sum() <= there * future
    best = max(
        value(rounds)
        for rounds in itertools.product(range(future + 1), repeat=len(jobs))
        if sum(rounds) <= there * future
    )
    # Bounds on the largest time left are tried 1/12 of four rounds apart.
    assert value(found.tolist()) >= best - k * future * round_s / 12 - 1e-9


# ------------------------------------------------------------------------------- the programs


@given(
    st.lists(st.tuples(st.integers(1, 4), st.floats(0.05, 0.5)), min_size=2, max_size=8),
    st.booleans(),
)
@settings(deadline=None, max_examples=30)
def test_the_analytic_centre_is_inside_and_no_neighbour_has_a_larger_product(
    jobs: list[tuple[int, float]], of_times: bool
) -> None:
    gpus = np.array([g for g, _ in jobs], float)
    need = np.array([r for _, r in jobs])
    there = np.array([float(gpus @ need) * 1.2 + 0.1])
    none = np.zeros(len(jobs))
    ones = np.ones((len(jobs), 1))
    program = Program(there, gpus, ones, none, need, 0 * ones, 0.0)
    centre = centred(program, (need + 1e-3)[:, None], of_times=of_times)

    def product(x: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
        rows = [x, 1 - x[:, 0], there - gpus @ x, x[:, 0] - need]
        slack = np.concatenate([part.ravel() for part in rows])
        if (slack <= 0).any():
            return -np.inf
        if not of_times:
            return float(np.log(slack).sum())
        # With t <= 1/need, t x >= 1 as variables of their own, t the best of a grid.
        t = 1 / x + (1 / need[:, None] - 1 / x) * (np.arange(1, 3000) / 3000)
        cone = (np.log(t * x - 1) / 2 + np.log(1 / need[:, None] - t)).max(axis=1)
        return float(np.log(np.concatenate([part.ravel() for part in rows[:3]])).sum() + cone.sum())

    best = product(centre)
    assert np.isfinite(best)
    random = np.random.default_rng(0)
    for _ in range(30):
        assert product(centre + 1e-3 * random.normal(size=centre.shape)) <= best + 1e-6
    assert central(program).shares.shape == centre.shape


# ---------------------------------------------------------------------------------- the trace


def test_measured_gpu_seconds_stand_for_the_duration(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("job_id,submit_time_s,num_gpus,duration_s,one,two\na,0,2,9,100,300\n")
    (job,) = measured(read_trace(path), ["one", "two"], str(path))
    assert job.duration_s == 100
    with pytest.raises(InputError, match="no column 'tow'; did you mean 'two'"):
        measured(read_trace(path), ["tow"], str(path))
    path.write_text("job_id,submit_time_s,num_gpus,duration_s,one\na,0,2,9,0\n")
    with pytest.raises(InputError, match="line 2: one is 0; expected more than 0"):
        measured(read_trace(path), ["one"], str(path))


@pytest.mark.skipif(not TACC.exists(), reason=f"{TACC} is missing")
def test_the_physical_cluster_is_met() -> None:
    cluster = read_cluster(ROOT / "examples" / "tacc32.yaml")
    names = ("allox", "min_total_duration", "shockwave")
    jobs = measured(read_trace(TACC), [f"{name}_physical_gpu_s" for name in names], str(TACC))
    trace = tasks(jobs, cluster, Durations())
    rules = Rules(cluster.round_s or 0, cluster.recompute_s or 0)
    errors = []
    for name in names:
        done = replay_under(policy_named(name), trace, cluster, Durations(), rules=rules).jobs
        truth = [float(job.more[f"{name}_physical_jct_s"]) for job in jobs]
        ends = [job.submit_s + jct for job, jct in zip(jobs, truth, strict=True)]
        jct = float(np.mean([one.jct_s for one in done]) / np.mean(truth)) - 1
        errors.append((jct, max(one.finish_s for one in done) / max(ends) - 1))
    mean_jct, mean_makespan = np.abs(errors).mean(axis=0)
    assert mean_jct <= 0.046
    assert mean_makespan <= 0.050
    assert np.abs(errors).max() <= 0.09
