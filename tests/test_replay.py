"""Replay of a trace: the laws of queues, an independent FIFO and SJF, and what a user may get wrong."""

import gc
import gzip
import heapq
import json
import math
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isocost.catalog.files import InputError
from isocost.simulator import logs
from isocost.simulator.cluster import Cluster, Nodes, read_cluster
from isocost.simulator.metrics import Figures, figures, steady_mean
from isocost.simulator.policies import EVENT_POLICIES, policy_named, replay_under
from isocost.simulator.replay import Happened, Replay
from isocost.simulator.speeds import Durations, read_throughputs, tasks
from isocost.simulator.trace import Job, cut_off, read_trace

from .conftest import Command, command_line, document, environment

HEADER = "job_id,submit_time_s,num_gpus,duration_s\n"


def jobs_of(rows: Sequence[tuple[float, int, float]]) -> list[Job]:
    """Jobs from (submission, GPUs, duration)."""
    return [Job(f"j{i}", *row) for i, row in enumerate(sorted(rows, key=lambda row: row[0]))]


def run(
    jobs: Sequence[Job],
    policy: str,
    gpus: int = 1,
    listen: Callable[[Happened], None] | None = None,
) -> Replay:
    there = read_cluster(f"gpu={gpus}@3.6")
    speeds = Durations()
    made = tasks(jobs, there, speeds)
    return replay_under(policy_named(policy), made, there, speeds, listen=listen)


traces = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 40).map(float), st.floats(0, 1e4)),
        st.integers(1, 4),
        st.one_of(st.integers(1, 20).map(float), st.floats(0.01, 1e3)),
    ),
    min_size=1,
    max_size=40,
).map(jobs_of)


def test_a_replay_leaves_the_garbage_collector_as_it_was() -> None:
    before = gc.get_threshold()
    within: list[tuple[int, int, int]] = []
    run(jobs_of([(0, 1, 5)]), "fifo", listen=lambda happened: within.append(gc.get_threshold()))
    assert within
    assert all(one[0] > before[0] for one in within)
    assert gc.get_threshold() == before


@given(traces, st.sampled_from(sorted(EVENT_POLICIES)), st.integers(4, 7))
@settings(deadline=None)
def test_work_money_and_time_are_conserved_under_every_policy(
    jobs: list[Job], policy: str, gpus: int
) -> None:
    used = 0
    held: list[float] = []

    def listen(event: Happened) -> None:
        nonlocal used
        used += {"submit": 0, "start": 1}.get(event.kind, -1) * (event.grant or (0, 0))[1]
        assert 0 <= used <= gpus
        held.append(event.at_s)

    done = run(jobs, policy, gpus, listen)
    assert held == sorted(held)
    assert used == 0
    assert len(done.jobs) == len(jobs)
    work = sum(job.num_gpus * job.duration_s for job in jobs)
    shown = figures(done)
    assert shown.gpu_hours * 3600 == pytest.approx(work, rel=1e-9)
    assert shown.total_cost_usd == pytest.approx(work * 0.001, rel=1e-9)
    assert shown.utilization <= 1 + 1e-9
    for one in done.jobs:
        assert one.start_s >= one.task.job.submit_s
        assert one.jct_s >= one.task.job.duration_s - 1e-6


@given(traces, st.sampled_from(sorted(EVENT_POLICIES)))
@settings(deadline=None)
def test_littles_law_holds(jobs: list[Job], policy: str) -> None:
    shown = figures(run(jobs, policy, 4))
    rate = shown.jobs / shown.makespan_s
    assert shown.mean_jobs_in_system == pytest.approx(rate * shown.avg_jct_s, rel=1e-9)


@given(traces)
@settings(deadline=None)
def test_one_server_under_fifo_is_lindleys_recursion(jobs: list[Job]) -> None:
    alone = [Job(job.job_id, job.submit_s, 1, job.duration_s) for job in jobs]
    done = {one.task.index: one for one in run(alone, "fifo").jobs}
    wait, before = 0.0, None
    for index, job in enumerate(alone):
        if before is not None:
            wait = max(0.0, wait + before.duration_s - (job.submit_s - before.submit_s))
        assert done[index].wait_s == pytest.approx(wait, abs=1e-9, rel=1e-9)
        before = job


def independent(jobs: Sequence[Job], gpus: int, *, shortest: bool, skip: bool) -> dict[str, float]:
    """Finish times by a program that knows nothing of the other: one sorted list, walked anew."""
    waiting: list[tuple[float, int]] = []
    running: list[tuple[float, int]] = []
    finish: dict[str, float] = {}
    coming, now = 0, 0.0
    while len(finish) < len(jobs):
        now = min(
            running[0][0] if running else math.inf,
            jobs[coming].submit_s if coming < len(jobs) else math.inf,
        )
        while running and running[0][0] == now:
            gpus += jobs[heapq.heappop(running)[1]].num_gpus
        while coming < len(jobs) and jobs[coming].submit_s == now:
            waiting.append((jobs[coming].duration_s if shortest else 0.0, coming))
            coming += 1
        for key in sorted(waiting):
            job = jobs[key[1]]
            if job.num_gpus <= gpus:
                gpus -= job.num_gpus
                waiting.remove(key)
                finish[job.job_id] = now + job.duration_s
                heapq.heappush(running, (now + job.duration_s, key[1]))
            elif not skip:
                break
    return finish


@given(traces, st.integers(4, 7), st.booleans(), st.booleans())
@settings(deadline=None, max_examples=200)
def test_fifo_and_sjf_equal_an_independent_program(
    jobs: list[Job], gpus: int, shortest: bool, skip: bool
) -> None:
    name = ("sjf" if shortest else "fifo") + ("-skip" if skip else "")
    done = {one.task.job.job_id: one.finish_s for one in run(jobs, name, gpus).jobs}
    assert done == independent(jobs, gpus, shortest=shortest, skip=skip)


def test_the_same_trace_gives_the_same_events() -> None:
    draw = np.random.default_rng(5)
    jobs = jobs_of([(float(a), 1, float(s)) for a, s in draw.exponential(1, (200, 2)).cumsum(0)])
    told: list[list[Happened]] = [[], []]
    for events in told:
        run(jobs, "fifo-skip", 2, events.append)
    assert [(e.at_s, e.kind, e.grant) for e in told[0]] == [
        (e.at_s, e.kind, e.grant) for e in told[1]
    ]


def test_a_packed_gang_stays_on_one_node_and_a_spread_one_crosses_and_pays() -> None:
    nodes = (Nodes(accelerator="gpu", count=2, gpus_per_node=2),)
    took = {}
    for placement in ("packed", "spread"):
        there = Cluster.parse(
            {"nodes": nodes, "placement": placement, "crossing_slowdown": 1.5}, "test"
        )
        speeds = Durations(there.crossing_slowdown)
        made = tasks(jobs_of([(0.0, 2, 10.0)]), there, speeds)
        took[placement] = replay_under(policy_named("fifo"), made, there, speeds).jobs[0].jct_s
    assert took == {"packed": 10.0, "spread": 15.0}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,0,5,10\n", "line 2: the job asks for 5 GPUs, but the cluster has at most 4"),
        ("a,0,1,10\nb,-3,1,10\n", "line 3: submit_time_s is -3; expected 0 or more"),
        ("a,0,1,-1\n", "line 2: duration_s is -1; expected more than 0"),
        ("a,0,1,nan\n", "line 2: duration_s is 'nan'; expected a number"),
        ("a,0,1.5,1\n", "line 2: num_gpus is 1.5; expected a whole number"),
        ("a,0,0,1\n", "line 2: num_gpus is 0; expected 1 or more"),
        ("a,0,1,10\nb,0,1,1\na,5,1,1\n", "line 4: job_id 'a' is already on line 2"),
        ("a,0,1,10\nb,0,1\n", "line 3: 3 columns where the header has 4"),
        ("a,0,1,1e300\n", "line 2: duration_s is 1e300; expected 1e+15 or less"),
        ("", "has no jobs"),
    ],
)
def test_a_trace_that_cannot_be_right_is_refused_by_its_line(
    text: str, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(HEADER + text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        tasks(read_trace(path), read_cluster("gpu=4"), Durations(), str(path))
    assert words in str(caught.value)


def test_a_header_may_begin_with_a_byte_order_mark_but_names_no_column_twice(
    tmp_path: Path,
) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(HEADER + "jöb-☃,0,1,10\n", encoding="utf-8-sig")
    assert [job.job_id for job in read_trace(path)] == ["jöb-☃"]
    path.write_text(HEADER.strip() + ",num_gpus\na,0,1,10,2\n", encoding="utf-8")
    with pytest.raises(InputError, match="line 1: there are 2 columns 'num_gpus'"):
        read_trace(path)


def test_a_gzip_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    lines = "".join(f"{i},{i},1,{i * 7919 % 977 + 1}\n" for i in range(2000))
    path = tmp_path / "trace.csv.gz"
    path.write_bytes(gzip.compress((HEADER + lines).encode()))
    assert len(read_trace(path)) == 2000
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(InputError, match=r"after line \d+: the gzip stream ends too early"):
        read_trace(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gpu=-1", "--cluster has 'gpu=-1', which is not understood; write for example gpu=400"),
        ("gpu=0", "has no GPU at all"),
        ("gpu=4,", "--cluster has '', which is not understood"),
        ("gpu=4.5", "--cluster has 'gpu=4.5', which is not understood"),
        ("gpu=4x", "--cluster has 'gpu=4x', which is not understood"),
        (
            "gpu=99999999999",
            "--cluster has 'gpu=99999999999': count is 99999999999: input should be",
        ),
        ("gpu=4@1,gpu=4@2", "accelerator 'gpu' has two prices"),
        ("gpu", "there is no cluster file 'gpu'; check the path, or give words: gpu=400"),
        ("400", "write 'gpu=400' for 400 equal GPUs"),
        ("", "the cluster is empty; give a cluster file, or words: gpu=400"),
        (",".join(f"kind{i}=1" for i in range(99)) + ",", "--cluster has ''"),
        ("none.yaml", "there is no cluster file 'none.yaml'"),
    ],
)
def test_a_cluster_in_words_that_cannot_be_is_refused(text: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        read_cluster(text)
    assert words in str(caught.value)


def test_a_cluster_in_words_has_nodes_of_one_gpu_or_as_many_as_it_says() -> None:
    there = read_cluster("gpu=400, t4=16x4@0.53,none=0")
    assert [(one.accelerator, one.count, one.gpus_per_node) for one in there.nodes] == [
        ("gpu", 400, 1),
        ("t4", 16, 4),
    ]
    assert there.gpus == (400, 64)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("gpu,m,1.5,10,yes", "line 3: scale_factor is 1.5; expected a whole number of GPUs"),
        ("gpu,m,1,-10,yes", "line 3: steps_per_s is -10; expected 0 or more"),
        ("gpu,m,1,nan,yes", "line 3: steps_per_s is 'nan'; expected a number"),
        ("gpu,m,1,10,maybe", "line 3: consolidated is 'maybe'; expected yes or no"),
        ("gpu,m,2,10,yes", "line 3: m on 2 x gpu stands on line 2 already; keep one"),
        ("gpu,m,1,10", "line 3: 4 columns where the header has 5"),
    ],
)
def test_throughputs_that_cannot_be_are_refused_by_their_line(
    line: str, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "speeds.csv"
    header = "worker_type,job_type,scale_factor,steps_per_s,consolidated\n"
    path.write_text(header + "gpu,m,2,10,yes\n" + line + "\n", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_throughputs(path, read_cluster("gpu=4"))
    assert words in str(caught.value)


def test_a_trace_may_have_any_line_ends_and_its_last_line_is_missed(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_bytes((HEADER + "a,0,1,10\nb,1,1,20\n").replace("\n", "\r\n").encode())
    assert [(job.job_id, job.duration_s) for job in read_trace(path)] == [("a", 10), ("b", 20)]
    assert not cut_off(path)
    path.write_bytes((HEADER + "a,0,1,10\nb,1,1,2").encode())
    assert cut_off(path)


def test_the_command_replays_writes_its_files_and_refuses(isocost: Command, tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text(HEADER + "a,0,1,10\nb,1,2,5\nc,2,1,1\n", encoding="utf-8")
    done = isocost(
        *("simulate", trace, "--cluster", "gpu=2@3.6", "--policy", "FIFO-skip", "--json"),
        *("--jobs", "jobs.csv", "--events", "events.json"),
    )
    assert done.returncode == 0, done.stderr
    shown = Figures.parse(document(done.stdout), "stdout")
    assert (shown.avg_jct_s, shown.makespan_s, shown.jobs) == ((10 + 14 + 1) / 3, 15.0, 3)
    assert shown.total_cost_usd == pytest.approx(0.021)
    assert (tmp_path / "jobs.csv").read_text(encoding="utf-8").count("\n") == 4
    bars = [
        event
        for event in json.loads((tmp_path / "events.json").read_text(encoding="utf-8"))
        if event["ph"] == "X"
    ]
    assert [(bar["ts"], bar["dur"]) for bar in bars] == [(2e6, 1e6), (0, 1e7), (1e7, 5e6)]
    assert not list(tmp_path.glob("*.part"))
    wrong = isocost("simulate", trace, "--cluster", "gpu=1", "--json")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "line 3" in wrong.stderr
    both = isocost("simulate", "compare", trace, "--cluster", "gpu=2", "--policies", "fifo,sjf")
    assert both.returncode == 0, both.stderr
    assert "sjf" in both.stdout


@given(traces, st.integers(4, 7))
@settings(deadline=None, max_examples=30)
def test_one_gpu_of_srtf_never_waits_longer_than_fifo_on_average(
    jobs: list[Job], gpus: int
) -> None:
    alone = [Job(job.job_id, job.submit_s, 1, job.duration_s) for job in jobs]
    means = [figures(run(alone, policy, 1)).avg_jct_s for policy in ("srtf", "sjf", "fifo")]
    assert means[0] <= min(means[1:]) * (1 + 1e-9)


@pytest.mark.parametrize(
    ("kind", "load"), [("M/M/1", 0.6), ("M/M/4", 0.7), ("M/G/1", 0.5), ("M/D/1", 0.8)]
)
def test_mean_waits_of_queues_are_those_of_theory(kind: str, load: float) -> None:
    """All 80 cases with longer runs: benchmarks/queues.py."""
    servers = 4 if kind == "M/M/4" else 1
    chance = np.random.default_rng([3, servers, round(100 * load)])
    count = 15_000
    arrivals = chance.exponential(1 / (load * servers), count).cumsum().tolist()
    variation = {"M/M/1": 1.0, "M/M/4": 1.0, "M/G/1": 2.0, "M/D/1": 0.0}[kind]
    lengths = {
        0.0: np.ones(count),
        1.0: chance.exponential(1.0, count),
        2.0: chance.lognormal(-math.log(3) / 2, math.log(3) ** 0.5, count),
    }[variation].tolist()
    jobs = [Job(str(i), a, 1, s) for i, (a, s) in enumerate(zip(arrivals, lengths, strict=True))]
    done = sorted(run(jobs, "fifo", servers).jobs, key=lambda one: one.task.index)
    _, (low, high) = steady_mean(np.array([one.wait_s for one in done]), 0.999)
    if servers == 1:
        expected = load * (1 + variation) / (2 * (1 - load))
    else:
        a = load * servers
        waits = a**servers / math.factorial(servers) / (1 - load)
        waits /= waits + sum(a**k / math.factorial(k) for k in range(servers))
        expected = waits / (servers * (1 - load))
    assert low <= expected <= high


def test_the_interval_of_a_busy_queues_mean_wait_holds_the_truth_as_often_as_it_says() -> None:
    chance, load, inside = np.random.default_rng(8), 0.85, 0
    for _ in range(200):
        arrivals = chance.exponential(1 / load, 30_000).cumsum()
        steps = chance.exponential(1.0, 30_000)[:-1] - np.diff(arrivals)
        walk = np.concatenate([[0.0], steps]).cumsum()
        _, (low, high) = steady_mean(walk - np.minimum.accumulate(walk), 0.99)
        inside += low <= load / (1 - load) <= high
    assert inside >= 193  # 198 expected


@pytest.mark.parametrize("asked", [True, False])
def test_a_killed_replay_leaves_its_finished_part(tmp_path: Path, asked: bool) -> None:
    trace = tmp_path / "trace.csv"
    lines = "".join(f"{i},{i},1,{i * 7919 % 977 + 1}\n" for i in range(150_000))
    trace.write_text(HEADER + lines, encoding="utf-8")
    arguments: tuple[str | Path, ...] = ("simulate", trace, "--cluster", "gpu=500")
    arguments += ("--jobs", tmp_path / "jobs.csv") if asked else ()
    process = subprocess.Popen(
        command_line(arguments), cwd=tmp_path, env=environment(tmp_path), stderr=subprocess.PIPE
    )
    name = "jobs.csv" if asked else f"trace-fifo-{process.pid}.jobs.csv"
    part = tmp_path / f"{name}.part"
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        if part.exists() and part.stat().st_size > 100_000:
            break
        time.sleep(0.05)
    assert process.poll() is None, "it was over before it could be killed"
    process.kill()
    process.communicate()
    assert not (tmp_path / name).exists()
    whole = part.read_text(encoding="utf-8").splitlines()
    assert len(whole) > 500
    assert part.read_bytes().endswith(b"\n")
    assert all(line.count(",") == whole[0].count(",") for line in whole)


def test_what_is_written_of_an_event_log_at_any_time_is_whole_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "WRITE_CHARACTERS", 500)
    jobs = jobs_of([(float(i), 1, 5.0) for i in range(40)])
    read = []
    with logs.event_log(tmp_path / "events.json", read_cluster("gpu=2")) as happened:

        def listen(event: Happened) -> None:
            happened(event)
            text = (tmp_path / "events.json.part").read_text(encoding="utf-8")
            read.append(len(json.loads(text + "]")))

        run(jobs, "fifo", 2, listen)
    assert read == sorted(read)
    assert len(set(read)) > 20
    whole = json.loads((tmp_path / "events.json").read_text(encoding="utf-8"))
    assert len(whole) >= read[-1]


def test_the_part_of_a_long_trace_goes_when_it_is_done(tmp_path: Path, isocost: Command) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text(HEADER + "".join(f"{i},{i},1,5\n" for i in range(600)), encoding="utf-8")
    done = isocost("simulate", trace, "--cluster", "gpu=5", "--json", cwd=tmp_path)
    assert done.returncode == 0
    assert "Until it is done" in done.stderr
    assert json.loads(done.stdout)["jobs"] == 600
    assert [one.name for one in tmp_path.iterdir() if ".jobs.csv" in one.name] == []
