"""Machines that come and go under a replay: nothing changes where they do not, work and money are conserved
where they do, and what a user asks beside the baseline meets the same luck.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isocost.catalog.files import InputError
from isocost.simulator.cluster import Cluster, read_cluster, read_spot_market
from isocost.simulator.fleet import Outside
from isocost.simulator.fleet_replay import FleetEngine
from isocost.simulator.metrics import Figures, compared, estimates, figures, set_beside
from isocost.simulator.placed_rounds import PlacedRounds
from isocost.simulator.policies import EVENT_POLICIES, SHARE_POLICIES, replay_under
from isocost.simulator.replay import Happened, Replay, replay
from isocost.simulator.replay_whatif import Setting, changed, parse
from isocost.simulator.rounds import Rules, replay_rounds
from isocost.simulator.speeds import Durations, tasks
from isocost.simulator.trace import Job

from .conftest import ROOT, Command, document

HEADER = "job_id,submit_time_s,num_gpus,duration_s\n"
NODES = {"count": 3, "gpus_per_node": 2, "usd_per_gpu_h": 3.6}


def cluster(nodes: dict[str, Any] | None = None, **keys: Any) -> Cluster:
    return Cluster.parse({"nodes": [NODES | (nodes or {})], **keys}, "test")


def jobs_of(rows: Sequence[tuple[float, int, float]]) -> list[Job]:
    return [Job(f"j{i}", *row) for i, row in enumerate(sorted(rows, key=lambda row: row[0]))]


traces = st.lists(
    st.tuples(st.floats(0, 2e4), st.integers(1, 4), st.floats(10, 9e3)), min_size=1, max_size=12
).map(jobs_of)


def run(
    jobs: Sequence[Job],
    there: Cluster,
    policy: str = "fifo-skip",
    seed: int = 0,
    listen: Callable[[Happened], None] | None = None,
    outages: tuple[tuple[str, float, float], ...] = (),
) -> Replay:
    speeds = Durations(there.crossing_slowdown)
    rule = EVENT_POLICIES.get(policy) or SHARE_POLICIES[policy]
    outside = Outside(seed, outages=outages)
    made = tasks(jobs, there, speeds)
    return replay_under(rule, made, there, speeds, outside=outside, listen=listen)


def told(events: list[Happened]) -> list[tuple[float, str, str, object]]:
    return [(one.at_s, one.kind, one.job.job.job_id, one.grant) for one in events]


@given(
    traces, st.sampled_from(sorted(EVENT_POLICIES)), st.sampled_from(["pooled", "packed", "spread"])
)
@settings(deadline=None, max_examples=60)
def test_with_everything_off_the_events_are_those_of_the_plain_replay(
    jobs: list[Job], policy: str, placement: str
) -> None:
    there = cluster(placement=placement, crossing_slowdown=1.5, start_s=3, restart_s=7)
    speeds, rule = Durations(1.5), EVENT_POLICIES[policy]
    made = tasks(jobs, there, speeds)
    plain: list[Happened] = []
    moving: list[Happened] = []
    before = replay(made, there, rule, speeds, listen=plain.append)
    engine = FleetEngine(made, there, rule, speeds, Outside(), moving.append, None)
    after = engine.run()
    assert told(moving) == told(plain)
    assert after.jobs == before.jobs
    assert after.job_s == before.job_s
    assert after.bill is not None
    assert after.bill.usd == pytest.approx(figures(before).reserved_cost_usd, rel=1e-9)


@given(traces, st.sampled_from(["isolated", "fifo-perf", "max-min-fairness-perf", "shockwave"]))
@settings(deadline=None, max_examples=25)
def test_with_everything_off_rounds_are_those_without_places(jobs: list[Job], policy: str) -> None:
    there = cluster(start_s=3, restart_s=7)
    speeds, rule = Durations(), SHARE_POLICIES[policy]
    made = tasks(jobs, there, speeds)
    plain: list[Happened] = []
    moving: list[Happened] = []
    before = replay_rounds(made, there, rule, listen=plain.append)
    given_ = (made, there, rule, Rules(), 0, moving.append, None, speeds, Outside())
    after = PlacedRounds(*given_).run()
    assert told(moving) == told(plain)
    assert after.jobs == before.jobs


EVERY_POLICY = [
    *sorted(EVENT_POLICIES),
    "isolated",
    "fifo-perf",
    "max-min-fairness-perf",
    "shockwave",
]


@given(
    jobs=traces,
    policy=st.sampled_from(EVERY_POLICY),
    rate=st.floats(0.01, 2.0),
    kept=st.sampled_from([None, 60.0, 600.0]),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=60)
def test_work_and_money_are_conserved_under_failures(
    jobs: list[Job], policy: str, rate: float, kept: float | None, seed: int
) -> None:
    there = cluster(
        failures={"per_node_h": rate, "rate_sigma": 0.5, "repair": {"median_s": 600, "sigma": 0.5}},
        provisioning={"median_s": 100},
        **({} if kept is None else {"checkpoints": {"every_s": kept}}),
    )
    events: list[Happened] = []
    done = run(jobs, there, policy, seed, events.append)
    used = 0
    for event in events:
        gpus = 0 if event.grant is None else event.grant.gpus
        used += {"submit": 0, "start": gpus}.get(event.kind, -gpus)
        assert 0 <= used <= 6
    assert used == 0
    if policy in EVENT_POLICIES:
        assert [one.at_s for one in events] == sorted(one.at_s for one in events)
    assert len(done.jobs) + len(done.unfinished) == len(jobs)
    for one in done.jobs:
        job = one.task.job
        assert one.run_s == pytest.approx(job.duration_s + one.lost_s, rel=1e-9, abs=1e-6)
        assert sum(one.gpu_s) == pytest.approx(one.run_s * job.num_gpus, rel=1e-9)
        assert one.losses or one.lost_s == 0
    lost = [event.job.job.job_id for event in events if event.kind == "lost"]
    every = (*done.jobs, *done.unfinished)
    assert len(lost) == sum(one.losses for one in every)
    assert done.bill is not None
    if done.jobs:
        shown = figures(done)
        held = sum(sum(one.gpu_s) for one in every)
        assert shown.total_cost_usd == pytest.approx(held * 0.001, rel=1e-9)
        assert shown.reserved_cost_usd >= shown.total_cost_usd * (1 - 1e-9)
        assert done.bill.usd == pytest.approx(done.bill.gpu_s * 0.001, rel=1e-9)


@pytest.mark.parametrize("policy", ["fifo-skip", "srtf", "isolated"])
def test_more_failures_never_finish_sooner_on_average(policy: str) -> None:
    draw = np.random.default_rng(3)
    rows = zip(
        draw.uniform(0, 3e4, 20), draw.integers(1, 5, 20), draw.uniform(1e3, 2e4, 20), strict=True
    )
    jobs = jobs_of([(float(a), int(g), float(s)) for a, g, s in rows])
    means = []
    for rate in (0.0, 0.02, 0.1, 0.4):
        there = cluster(
            failures={"per_node_h": rate, "repair": {"median_s": 1800}},
            checkpoints={"every_s": 1800, "stall_s": 5},
        )
        shown = [figures(run(jobs, there, policy, seed)) for seed in range(12)]
        means.append(
            (
                np.mean([one.makespan_s for one in shown]),
                np.mean([one.avg_jct_s for one in shown]),
            )
        )
    assert means == sorted(means)
    assert [jct for _, jct in means] == sorted(jct for _, jct in means)


@given(
    jobs=traces,
    policy=st.sampled_from(EVERY_POLICY),
    budget=st.floats(0.01, 60),
    scaled=st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_a_budget_is_never_exceeded(
    jobs: list[Job], policy: str, budget: float, scaled: bool
) -> None:
    there = cluster({"least": 0} if scaled else {}, budget_usd=budget)
    done = run(jobs, there, policy)
    assert done.bill is not None
    assert done.bill.usd <= budget
    every = (*done.jobs, *done.unfinished)
    assert sorted(one.task.index for one in every) == list(range(len(jobs)))
    held = sum(sum(one.gpu_s) for one in every)
    assert held * 0.001 <= done.bill.usd * (1 + 1e-9)
    if done.unfinished:
        assert done.bill.usd == pytest.approx(budget, rel=1e-9)


@given(traces, st.sampled_from(["fifo", "sjf"]))
@settings(deadline=None, max_examples=40)
def test_machines_that_come_at_once_when_asked_for_delay_nobody_and_cost_less(
    jobs: list[Job], policy: str
) -> None:
    ones = {"count": 6, "gpus_per_node": 1}
    fixed = run(jobs, cluster(ones), policy)
    scaled = run(jobs, cluster(ones | {"least": 0}, idle_s=60), policy)
    assert [one.finish_s for one in scaled.jobs] == [one.finish_s for one in fixed.jobs]
    assert scaled.bill is not None
    held = sum(sum(one.gpu_s) for one in scaled.jobs) * 0.001
    assert held * (1 - 1e-9) <= scaled.bill.usd
    assert scaled.bill.usd <= figures(fixed).reserved_cost_usd * (1 + 1e-9)


def test_an_idle_machine_is_given_back_after_idle_s() -> None:
    jobs = jobs_of([(0.0, 2, 100.0), (5000.0, 2, 100.0)])
    there = cluster({"least": 0}, idle_s=50, provisioning={"median_s": 30})
    done = run(jobs, there)
    assert [one.wait_s for one in done.jobs] == [30.0, 30.0]
    assert done.bill is not None
    assert done.bill.gpu_s == 2 * ((30 + 100 + 50) + (30 + 100))


@pytest.mark.parametrize("policy", ["fifo", "srtf"])
@pytest.mark.parametrize(("kept", "finish_s"), [(None, 150 + 80), (20.0, 150 + 40)])
def test_an_outage_throws_a_job_back_to_its_last_checkpoint(
    policy: str, kept: float | None, finish_s: float
) -> None:
    keys: dict[str, Any] = {} if kept is None else {"checkpoints": {"every_s": kept}}
    there = cluster({"count": 1, "zone": "a"}, **keys)
    done = run(jobs_of([(0.0, 1, 80.0)]), there, policy, outages=(("a", 50.0, 150.0),))
    (one,) = done.jobs
    assert one.finish_s == pytest.approx(finish_s)
    assert (one.losses, one.lost_s) == (1, 50.0 if kept is None else pytest.approx(10.0))


def test_checkpoints_hold_up_a_job_as_in_the_rehearsal() -> None:
    there = cluster(checkpoints={"every_s": 30, "stall_s": 2})
    (one,) = run(jobs_of([(0.0, 1, 100.0)]), there).jobs
    assert one.finish_s == pytest.approx(108.0)


def test_a_gang_goes_at_the_pace_of_its_slowest_machine_and_keeps_it() -> None:
    jobs = jobs_of([(0.0, 2, 1000.0), (0.0, 6, 1000.0), (9000.0, 2, 1000.0)])
    there = cluster(straggling_sigma=0.3)
    took = []
    for seed in range(200):
        done = {one.task.job.job_id: one for one in run(jobs, there, "fifo", seed).jobs}
        took.append([done[name].run_s for name in ("j0", "j1", "j2")])
        assert took[-1][0] == pytest.approx(took[-1][2], rel=1e-9)  # the same node, as slow
    logs = np.log(np.array(took) / 1000)
    assert logs.mean(axis=0) == pytest.approx(0.0, abs=0.06)
    assert logs[:, 0].std() == pytest.approx(0.3, abs=0.05)
    assert logs[:, 1].std() == pytest.approx(0.3 * 0.748, abs=0.05)  # of the largest of three


def test_spot_nodes_follow_the_trace_that_names_their_zone(tmp_path: Path) -> None:
    rows = ["trace_id,t_start_s,duration_s,available_nodes,nodes_requested"]
    rows += [f"x-a,{t * 3600},3600,{count},2" for t, count in enumerate([2, 0] * 60)]
    rows += [f"x-b,{t * 3600},3600,{count},2" for t, count in enumerate([1, 1] * 60)]
    (tmp_path / "spot.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    nodes = [
        NODES | {"accelerator": name, "count": 2, "zone": name[-1], "purchase": "spot"}
        for name in ("in-a", "in-b")
    ]
    there = Cluster.parse({"nodes": nodes, "spot": {"trace": "spot.csv", "block_s": "72h"}}, "test")
    market = read_spot_market(there, tmp_path)
    speeds = Durations()
    long = tasks(jobs_of([(0.0, 4, 5 * 3600.0)]), there, speeds)
    done = replay_under(EVENT_POLICIES["fifo"], long, there, speeds, outside=Outside(1, market))
    # Zone a has both nodes for an hour at a time, b never has two: five hours are never in one piece.
    assert not done.jobs
    assert done.unfinished[0].losses > 10
    short = tasks(jobs_of([(0.0, 2, 1800.0), (0.0, 2, 9e4)]), there, speeds)
    done = replay_under(
        EVENT_POLICIES["fifo-skip"], short, there, speeds, outside=Outside(1, market)
    )
    assert len(done.jobs) == 2
    assert done.jobs[1].gpu_s[1] > 0


def test_shocks_take_several_spot_nodes_together() -> None:
    there = cluster(
        {"count": 20, "purchase": "spot"},
        spot={"losses_per_node_h": 0.5, "bulk_share": 1.0, "bulk_hit": 0.5},
        checkpoints={"every_s": 60},
    )
    events: list[Happened] = []
    jobs = jobs_of([(0.0, 2, 2e4)] * 20)
    done = run(jobs, there, "fifo", 3, events.append)
    times = [one.at_s for one in events if one.kind == "lost"]
    assert len(times) > 3 * len(set(times))
    assert done.bill is not None
    node_h = done.bill.gpu_s / 2 / 3600
    assert done.bill.lost / node_h == pytest.approx(0.5, rel=0.5)


def test_the_same_seed_gives_the_same_events_and_another_one_others() -> None:
    there = read_cluster(ROOT / "examples" / "cloud.yaml")
    draw = np.random.default_rng(1)
    rows = zip(
        draw.uniform(0, 1e5, 60), draw.integers(1, 9, 60), draw.uniform(1e3, 9e4, 60), strict=True
    )
    jobs = jobs_of([(float(a), int(g), float(s)) for a, g, s in rows])
    logs: list[list[Happened]] = [[], [], []]
    for seed, events in zip((4, 4, 5), logs, strict=True):
        run(jobs, there, "fifo-skip", seed, events.append)
    assert told(logs[0]) == told(logs[1])
    assert told(logs[0]) != told(logs[2])


def test_gangs_in_rounds_cross_nodes_and_pay() -> None:
    jobs = jobs_of([(0.0, 2, 1000.0)])
    took = {}
    for placement in ("pooled", "packed", "spread"):
        there = cluster({"count": 2}, placement=placement, crossing_slowdown=1.5)
        took[placement] = run(jobs, there, "max-min-fairness-perf").jobs[0].jct_s
    assert took == pytest.approx({"pooled": 1000.0, "packed": 1000.0, "spread": 1500.0}, abs=3)


def whats(text: str, there: Cluster, policy: str = "fifo-skip", seeds: int = 6) -> list[Any]:
    jobs = jobs_of([(600.0 * i, 1 + i % 4, 5000.0 + 700 * (i * 7 % 11)) for i in range(24)])

    def replays(setting: Setting) -> list[Replay]:
        return [
            run(setting.jobs, setting.cluster, policy, seed, outages=setting.outages)
            for seed in range(seeds)
        ]

    start = Setting(there, jobs)
    base = replays(start)
    found = [set_beside(what.words, base, replays(changed(what, start))) for what in parse([text])]
    return [{one.figure: one for one in scenario.figures} for scenario in found]


FAILING = {"failures": {"per_node_h": 0.1, "repair": {"median_s": 600}}}


def test_what_ifs_are_paired_with_the_same_luck() -> None:
    there = cluster(**FAILING, checkpoints={"every_s": 600})
    same, dearer, worse, more, shorter, out = whats(
        "price*1 and failures*1 and nodes+0, price*1.5, failures*4, nodes+3, work*0.5, fail zone a at 2h",
        there,
    )
    assert all(one.difference == 0 for one in same.values())
    assert dearer["total_cost_usd"].difference == pytest.approx(
        0.5 * dearer["total_cost_usd"].baseline
    )
    assert dearer["avg_jct_s"].difference == 0
    assert worse["losses"].difference > 0
    low, high = worse["avg_jct_s"].difference_ci95
    assert low < worse["avg_jct_s"].difference < high
    assert more["avg_jct_s"].difference < 0
    assert shorter["avg_jct_s"].difference < 0
    assert out["makespan_s"].difference > 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("spot_hazard*2", "the cluster has no 'spot'"),
        ("prize*2", "did you mean 'price'"),
        ("nodes-3", "whole number from 1"),
        ("fail zone q at 2h", "no node stands in zone 'q'; they stand in a"),
        ("budget*2", "the cluster has no budget_usd"),
        ("price-99", "must be 0 or more"),
    ],
)
def test_a_what_if_that_cannot_be_gets_a_sentence(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        whats(text, cluster(**FAILING), seeds=1)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"failure": {}}, "unknown key 'failure'; did you mean 'failures'"),
        (
            {"failures": {"per_node": 1}},
            "unknown key 'failures.per_node'; did you mean 'per_node_h'",
        ),
        ({"spot": {"losses_per_node_h": 0.1}}, "no nodes have 'purchase: spot'"),
        ({"checkpoints": {"every_s": 0}}, "greater than 0"),
        ({"budget_usd": -1}, "greater than 0"),
        ({"straggling_sigma": "x"}, "straggling_sigma is 'x'"),
        ({"provisioning": {"median_s": "soon"}}, "no duration"),
    ],
)
def test_a_cluster_that_cannot_be_gets_a_sentence(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        cluster(**keys)


def test_chance_what_ifs_and_estimates_from_the_command_line(
    isocost: Command, tmp_path: Path
) -> None:
    trace = tmp_path / "trace.csv"
    lines = "".join(f"{i},{i * 900},{1 + i % 4},{4000 + 100 * (i % 7)}\n" for i in range(30))
    trace.write_text(HEADER + lines, encoding="utf-8")
    common = ("simulate", trace, "--cluster", ROOT / "examples" / "cloud.yaml", "--json")
    done = isocost(
        *common,
        *("--what-if", "price*1.5, spot_hazard*2, nodes+4, fail zone a at 2h"),
        *("--replications", "3", "--policy", "fifo-skip", "--events", "events.json"),
    )
    assert done.returncode == 0, done.stderr
    shown = Figures.parse(document(done.stdout), "stdout")
    assert [one.change for one in shown.what_if] == [
        *("price*1.5", "spot_hazard*2", "nodes+4", "fail zone a at 2h"),
    ]
    assert {one.figure for one in shown.estimates} >= {"avg_jct_s", "total_cost_usd"}
    json.loads((tmp_path / "events.json").read_text(encoding="utf-8"))
    table = isocost(*common[:-1], "--what-if", "nodes+4", "--replications", "2")
    assert "What if nodes+4" in table.stdout
    assert max(map(len, table.stdout.splitlines())) <= 80
    wrong = isocost("simulate", trace, "--cluster", "gpu=8", "--replications", "5")
    assert wrong.returncode == 2
    assert "nothing in the cluster is left to chance" in wrong.stderr


def test_estimates_hold_the_mean_of_the_seeds() -> None:
    there = cluster(**FAILING)
    done = [run(jobs_of([(0.0, 2, 9000.0)] * 5), there, seed=seed) for seed in range(8)]
    found = {one.figure: one for one in estimates(done)}
    means = np.mean([figures(one).makespan_s for one in done])
    low, high = found["makespan_s"].mean_ci95
    assert found["makespan_s"].mean == pytest.approx(means)
    assert low <= means <= high


def test_policies_are_paired_seed_by_seed() -> None:
    there = cluster(**FAILING)
    jobs = jobs_of([(300.0 * i, 1 + i % 4, 3000.0) for i in range(20)])
    by_policy = [[run(jobs, there, name, seed) for seed in range(5)] for name in ("fifo", "srtf")]
    found = compared([one[0] for one in by_policy], more=[one[1:] for one in by_policy])
    (difference,) = found.differences
    means = [
        np.mean([one.jct_s for one in new.jobs]) - np.mean([one.jct_s for one in old.jobs])
        for old, new in zip(*by_policy, strict=True)
    ]
    assert found.seeds == 5
    assert difference.mean_s == pytest.approx(np.mean(means))
    assert difference.mean_ci95 is not None
    assert difference.mean_ci95[0] <= difference.mean_s <= difference.mean_ci95[1]
