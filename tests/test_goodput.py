"""Pollux's policy: laws of goodput, the exact count of GPUs, packing near the optimum, and the command line."""

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pulp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isocost.catalog.files import InputError
from isocost.simulator.adaptive import AdaptiveJob, Nodes, State, read_adaptive, replay_adaptive
from isocost.simulator.applications import STEP_TIMES, read_applications
from isocost.simulator.cluster import read_cluster
from isocost.simulator.metrics import figures
from isocost.simulator.policies.adaptive import replay_named
from isocost.simulator.policies.pollux import Packing, Pollux, Wanted, most_worth, together

from .conftest import Command
from .test_adaptive import job, made_up

NODES, PER_NODE = 2, 4
noises = st.floats(1e-3, 1e6)


@given(noises, st.integers(0, 2))
@settings(deadline=None, max_examples=40)
def test_goodput_is_never_negative_and_more_gpus_never_lower_it(noise: float, epoch: int) -> None:
    policy, app = Pollux(NODES, PER_NODE, 30.0), made_up(noise=noise)
    one = State(AdaptiveJob("a", 0.0, app, 1, 32), epoch=epoch, noise=app.noise(32, epoch))
    found = policy.goodputs(one)
    assert found[0] == 0
    assert (found[1:] > 0).all()
    assert (np.diff(found) >= 0).all()


@given(
    st.lists(st.lists(st.floats(-10, 10), min_size=1, max_size=5), min_size=1, max_size=4),
    st.integers(1, 8),
)
def test_counts_are_the_best_of_all(scores: list[list[float]], gpus: int) -> None:
    counts = most_worth([np.array(score) for score in scores], gpus)
    assert sum(counts) <= gpus
    best = max(
        sum(score[n] for score, n in zip(scores, some, strict=True))
        for some in itertools.product(*(range(len(score)) for score in scores))
        if sum(some) <= gpus
    )
    found = sum(score[n] for score, n in zip(scores, counts, strict=True))
    assert found == pytest.approx(best, abs=1e-9)


def standing(one: State, most: int, free: Packing) -> list[Nodes]:
    """Every way to stand on the fewest nodes of the empty cluster."""
    ways: list[Nodes] = [()]
    for gpus in range(1, most + 1):
        sizes = together(gpus, free.per_node)
        for chosen in itertools.permutations(range(len(free.free)), len(sizes)):
            way = tuple(n for n, size in zip(chosen, sizes, strict=True) for _ in range(size))
            ways.append(way)
    return [*ways, one.nodes] if one.nodes else ways


def optimum(wanted: Sequence[Wanted], nodes: int, per_node: int) -> float:
    """The most that all allocations can be worth, by mixed-integer programming."""
    problem = pulp.LpProblem("pollux", pulp.LpMaximize)
    terms: list[pulp.LpAffineExpression] = []
    used: list[list[pulp.LpAffineExpression]] = [[] for _ in range(nodes)]
    crossing: list[list[pulp.LpAffineExpression]] = [[] for _ in range(nodes)]
    for i, one in enumerate(wanted):
        ways = set(standing(one.job, len(one.moving) - 1, Packing(nodes, per_node)))
        chosen = {
            way: problem.add_variable(f"x{i}_{k}", 0, 1, pulp.LpInteger)
            for k, way in enumerate(ways)
        }
        problem += pulp.lpSum(chosen.values()) == 1
        for way, x in chosen.items():
            terms.append(one.worth(way) * x)
            for node in set(way):
                used[node].append(way.count(node) * x)
                if len(set(way)) > 1:
                    crossing[node].append(x)
    problem.setObjective(pulp.lpSum(terms))
    for node in range(nodes):
        problem += pulp.lpSum(used[node]) <= per_node
        problem += pulp.lpSum(crossing[node]) <= 1
    problem.solve(pulp.HiGHS(msg=False))
    return float(pulp.value(problem.objective))


def power_mean(worth: float, jobs: int) -> float:
    return jobs / -worth


def test_the_allocation_is_near_the_optimum_of_mixed_integer_programming() -> None:
    draw, ratios = np.random.default_rng(5), []
    for _ in range(25):
        policy, jobs = Pollux(NODES, PER_NODE, 30.0), []
        taken = Packing(NODES, PER_NODE)
        for index in range(int(draw.integers(2, 7))):
            app = made_up(noise=float(10 ** draw.uniform(-2, 4)))
            one = State(AdaptiveJob(str(index), float(draw.uniform(0, 500)), app, 1, 32))
            one.noise, one.most_had = app.noise(32, 0), int(draw.integers(1, 5))
            one.moves = int(draw.integers(0, 5))
            one.nodes = taken.fit(int(draw.integers(0, 4))) or ()
            taken.put(one, one.nodes)
            jobs.append(one)
        found = policy(600.0, jobs, NODES * PER_NODE)
        fair = -(-NODES * PER_NODE // len(jobs))
        wanted = [policy._wanted(one, 600.0, fair) for one in jobs]
        got = sum(one.worth(found[one.job]) for one in wanted)
        best = optimum(wanted, NODES, PER_NODE)
        assert got <= best + 1e-6
        ratios.append(power_mean(got, len(jobs)) / power_mean(best, len(jobs)))
    assert np.mean(ratios) >= 0.98
    assert min(ratios) >= 0.85


jobs_given = st.lists(
    st.tuples(st.integers(0, 900), st.integers(1, 4), st.sampled_from([32, 64, 128])),
    min_size=1,
    max_size=8,
)


@given(jobs_given)
@settings(deadline=None, max_examples=20)
def test_allocations_fit_the_cluster_and_all_work_is_done(
    given_jobs: list[tuple[int, int, int]],
) -> None:
    trace = [job(str(i), *shape) for i, shape in enumerate(given_jobs)]
    policy, seen = Pollux(NODES, PER_NODE, 30.0), dict[str, State]()

    def watched(now_s: float, present: Sequence[State], gpus: int) -> Mapping[State, Nodes]:
        seen.update({one.job.job_id: one for one in present})
        found = policy(now_s, present, gpus)
        assert set(found) == set(present)
        for node in range(NODES):
            on = [nodes for nodes in found.values() if node in nodes]
            assert sum(nodes.count(node) for nodes in on) <= PER_NODE
            assert sum(len(set(nodes)) > 1 for nodes in on) <= 1
        return found

    cluster = read_cluster(f"t4={NODES}x{PER_NODE}@1")
    done = replay_adaptive(trace, watched, cluster, tune=policy.tune)
    assert {one.task.job.job_id for one in done.jobs} == {one.job_id for one in trace}
    for one in seen.values():
        assert one.progress == one.job.application.progress_after(one.job.application.epochs)
    shown = figures(done)
    assert 0 < shown.utilization <= 1
    assert shown.total_cost_usd == pytest.approx(shown.gpu_hours)
    assert shown.mean_jobs_in_system * shown.makespan_s == pytest.approx(
        shown.avg_jct_s * shown.jobs
    )


def test_a_job_alone_is_given_more_and_more() -> None:
    app = made_up(epochs=60)
    trace = [AdaptiveJob("a", 0.0, app, 1, 32)]
    cluster = read_cluster("t4=1x4")
    alone = replay_named("pollux", trace, cluster).jobs[0]
    rigid = replay_named("tiresias", trace, cluster).jobs[0]
    assert alone.jct_s < rigid.jct_s
    assert alone.preemptions >= 1


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """A trace of two workloads and its tables, as options."""
    (tmp_path / "jobs.csv").write_text(
        "workload,job_id,submit_time_s,num_gpus,job_type,batch_size\n"
        "1,a,0,1,cnn,32\n1,b,70,2,cnn,64\n2,a,0,1,cnn,32\n"
    )
    lines = [",".join(STEP_TIMES)]
    for gpus in (1, 2, 3, 4):
        lines += [f"cnn,{gpus},1,{gpus},{local},{local / 320},0.001" for local in (8, 64, 256)]
    (tmp_path / "times.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "curves.csv").write_text(
        "app,batch_size,epoch,progress,iteration,grad_sqr,grad_var\n"
        "cnn,32,1,500,500,1,9\ncnn,32,2,1000,1000,1,9\n"
        "cnn,256,1,500,100,1,9\ncnn,256,2,1000,200,1,9\n"
    )
    return [
        *("simulate", str(tmp_path / "jobs.csv"), "--cluster", "t4=1x4@0.5"),
        *("--throughputs", str(tmp_path / "times.csv"), "--curves", str(tmp_path / "curves.csv")),
    ]


@pytest.mark.parametrize("policy", ["tiresias", "optimus", "pollux"])
def test_the_command_line_replays_adaptive_jobs(
    isocost: Command, files: list[str], policy: str
) -> None:
    shown = json.loads(
        isocost(*files, "--policy", policy, "--where", "workload=1", "--json").stdout
    )
    assert (shown["policy"], shown["jobs"]) == (policy, 2)
    assert 0 < shown["median_jct_s"] <= shown["p99_jct_s"] <= shown["makespan_s"]
    assert 0 < shown["utilization"] <= 1
    assert shown["total_cost_usd"] == pytest.approx(0.5 * shown["gpu_hours"])


def test_bad_adaptive_input_is_refused_in_a_sentence(isocost: Command, files: list[str]) -> None:
    for more, words in (
        (["--policy", "pollux"], "already on line 2"),
        (["--policy", "pollux", "--where", "workload=7"], "no jobs with workload = 7"),
        (["--policy", "sjf"], "--curves and --where are for adaptive jobs"),
    ):
        found = isocost(*files, *more)
        assert found.returncode == 2
        assert words in " ".join(found.stderr.split())
    found = isocost(*files[:4], "--policy", "optimus")
    assert found.returncode == 2
    assert "--throughputs is missing" in found.stderr


def test_wrong_lines_are_named(files: list[str], tmp_path: Path) -> None:
    known = read_applications(tmp_path / "times.csv", tmp_path / "curves.csv")
    header = "job_id,submit_time_s,num_gpus,job_type,batch_size\n"
    for line, words in (
        ("a,0,1,cmn,32", "no step times of job_type 'cmn'; did you mean 'cnn'"),
        ("a,0,1,cnn,8", "line 2: batch_size is 8"),
        ("a,-1,1,cnn,32", "submit_time_s is -1"),
        ("a,0,1.5,cnn,32", "expected whole numbers"),
    ):
        (tmp_path / "bad.csv").write_text(header + line + "\n")
        with pytest.raises(InputError, match=words):
            read_adaptive(tmp_path / "bad.csv", known)
    (tmp_path / "bad.csv").write_text(",".join(STEP_TIMES) + "\ncnn,4+2,1,6,8,1,0\n")
    with pytest.raises(InputError, match="line 2: placement is '4\\+2'"):
        read_applications(tmp_path / "bad.csv", tmp_path / "curves.csv")
