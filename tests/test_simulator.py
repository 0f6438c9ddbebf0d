"""Laws of the rehearsal: exact where nothing is random, the closed form where it holds, and the
promises of the intervals."""

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from isocost import simulator
from isocost.catalog import Delay, HazardBand
from isocost.catalog.files import InputError
from isocost.optimizer.plan import (
    CostLines,
    DelayFacts,
    HazardFacts,
    Losses,
    Plan,
    PlannedCandidate,
    PlannedJob,
    PlannedOffer,
    Prediction,
    Reliability,
    Solver,
    Spread,
    Throughput,
)
from isocost.optimizer.reliability import gang_delay, hazard_integral, wall_time, young_interval
from isocost.profiles.records import Knobs
from isocost.profiles.workload import ModelFacts, Weights, Workload
from isocost.simulator import Gang, GangSpec, Outcome, Simulation, rehearse
from isocost.simulator.estimates import distribution, mean_interval, quantile_interval, share
from isocost.simulator.gang import MOST_LOSSES, progress, segments, stretched_s
from isocost.simulator.rehearsal import TO_THE_LETTER, futures, replicate
from isocost.simulator.spot import Supply
from isocost.simulator.world import Hazard, RandomWorld

TODAY = date(2026, 11, 24)
BANDS = (  # as on GCP: young machines are lost most often
    HazardFacts(from_h=0, to_h=0.25, per_h=0.36),
    HazardFacts(from_h=0.25, to_h=1, per_h=0.19),
    HazardFacts(from_h=1, to_h=6, per_h=0.05),
    HazardFacts(from_h=6, to_h=None, per_h=0.01),
)


def constant(per_h: float) -> tuple[HazardFacts, ...]:
    return (HazardFacts(from_h=0, to_h=None, per_h=per_h),)


def candidate(nodes: int = 1, price_usd_h: float = 2.0, **known: Any) -> PlannedCandidate:
    """A candidate of one hour's work; known: what differs in its reliability record."""
    reliability = Reliability.model_validate(
        {
            "work_s": 3600.0,
            "work_sigma": 0.0,
            "checkpoint_s": 5.0,
            "checkpoint_interval_s": 600.0,
            "spot_hazard": (),
            "node_failures_per_h": 0.0,
            "provisioning": DelayFacts(median_s=300, sigma=0),
            "stock_out": DelayFacts(median_s=0, sigma=0),
            "billing_granularity_s": 1.0,
            "billing_minimum_s": 60.0,
            "interruptions": 0.0,
        }
        | known
    )
    return PlannedCandidate(
        offer=PlannedOffer(
            provider="gcp",
            region="us-central1",
            zones=(),
            instance_type="n1-standard-8+t4x1",
            accelerator="T4",
            accelerator_count=1,
            vcpus=8,
            memory_gib=30,
            network_gbps=16,
            price_usd_h=price_usd_h,
            price_date=TODAY,
            source="the test",
        ),
        purchase="spot" if reliability.spot_hazard else "on_demand",  # type: ignore[arg-type]
        nodes=nodes,
        workers=nodes,
        per_device_batch=32,
        global_batch=32 * nodes,
        steps=1000,
        knobs=Knobs(
            precision="float32", xla=False, strategy="multi_worker_mirrored", workers_per_node=1
        ),
        basis="transferred",
        predicted=Prediction(
            time_s=Spread(mean=4000, p50=4000, p90=4000),
            cost_usd=Spread(mean=3, p50=3, p90=3),
            flexibility=0.5,
            samples_per_s=Throughput(p50=1, p05=1, p95=1),
            cost_lines=CostLines(compute=2, storage=0.4, egress=0.6),
            scenarios={},
        ),
        reliability=reliability,
        losses=Losses(performance=0, cost=0, flexibility=0.5, total=0.1),
    )


def plan(*chosen: PlannedCandidate, here: PlannedCandidate | None = None, **wishes: Any) -> Plan:
    """A plan with one job for each candidate; wishes: constraints of every job."""
    return Plan(
        created=datetime(2026, 11, 24, tzinfo=UTC),
        version="",
        command="",
        weights=Weights(),
        jobs=tuple(
            PlannedJob(
                name=f"job{number}",
                workload=Workload(
                    schema="isocost/workload/v1",
                    name=f"job{number}",
                    model="cifar10_cnn",
                    samples_per_epoch=50_000,
                    epochs=10,
                    constraints=wishes,  # type: ignore[arg-type]
                ),
                weights=Weights(),
                frontier_size=0,
                folder=".",
                facts=ModelFacts(
                    parameters=1,
                    gradient_bytes=1,
                    flops_per_sample=1,
                    bytes_per_sample=1,
                    checkpoint_bytes=1,
                ),
                facts_basis="stated",
                profile=None,
                chosen=one,
                runnable_here=here,
                runnable_here_keeps_constraints=True,
                frontier=(),
                runners_up=(),
            )
            for number, one in enumerate(chosen)
        ),
        solver=Solver(
            name="", status="", gap=0, candidates=1, columns=1, generate_s=0, build_s=0, solve_s=0
        ),
        oldest_price=TODAY,
        newest_price=TODAY,
    )


def outcomes(one: PlannedCandidate, replications: int, seed: int = 0) -> list[Outcome]:
    specs = [GangSpec.of(one)]
    return [replicate([one], specs, seed, number)[0] for number in range(replications)]


def finishes(one: PlannedCandidate, replications: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return futures([one], replications=replications, seed=seed).finish_s[:, 0]


# ------------------------------------------------------------------------- nothing is random


@given(
    nodes=st.integers(1, 8),
    work=st.floats(1, 1e6),
    interval=st.floats(10, 1e5),
    stall=st.floats(0, 100),
    ready=st.floats(0, 1000),
)
@settings(deadline=None)
def test_an_undisturbed_job_takes_exactly_provisioning_work_and_stalls(
    nodes: int, work: float, interval: float, stall: float, ready: float
) -> None:
    one = candidate(
        nodes,
        work_s=work,
        checkpoint_interval_s=interval,
        checkpoint_s=stall,
        provisioning=DelayFacts(median_s=ready, sigma=0),
    )
    (ended,) = outcomes(one, 1)
    checkpoints = math.ceil(work / interval - 1e-9)
    assert ended.finished
    assert ended.finish_s == pytest.approx(ready + work + checkpoints * stall, rel=1e-12)
    assert (ended.losses, ended.lost_work_s, len(ended.bills)) == (0, 0, nodes)


def test_the_gang_waits_for_its_slowest_machine() -> None:
    delay = DelayFacts(median_s=300, sigma=0.6)
    waits = finishes(candidate(8, provisioning=delay), 4000) - stretched_s(3600, 600, 5)
    mean, variance = gang_delay(Delay(300, 0.6, ""), 8)
    assert waits.mean() == pytest.approx(mean, abs=3 * math.sqrt(variance / 4000))


@given(
    share_done=st.floats(0, 1, exclude_max=True),
    work=st.floats(1, 1e6),
    interval=st.floats(1, 1e5),
    stall=st.floats(0, 100),
)
def test_progress_is_saved_in_whole_intervals_and_never_exceeds_the_time_or_the_work(
    share_done: float, work: float, interval: float, stall: float
) -> None:
    elapsed = share_done * stretched_s(work, interval, stall)
    saved, lost = progress(elapsed, work, interval, stall)
    assert saved == pytest.approx(round(saved / interval) * interval)
    assert 0 <= saved < work or segments(work, interval) == 0
    assert 0 <= lost <= interval
    assert saved + lost <= min(elapsed, work) * (1 + 1e-9)


def test_one_loss_costs_the_work_since_the_checkpoint_the_wait_and_the_reading_back() -> None:
    class Once:
        """Node 1 is lost 1,000 s after it is ready, then never again."""

        def work_s(self) -> float:
            return 3600.0

        def provisioning_s(self, node: int, life: int) -> float:
            return 300.0

        def life_s(self, node: int, life: int, at_s: float) -> float:
            return 1000.0 if (node, life) == (1, 0) else math.inf

        def stock_out_s(self, node: int, life: int) -> float:
            return 50.0

        def stretch(self, lives: Sequence[int]) -> float:
            return 1.0

        def supply(self) -> Supply | None:
            return None

    env, heard = simpy.Environment(), []
    gang = Gang(
        env,
        GangSpec.of(candidate(2)),
        Once(),
        lambda happening, node: heard.append((env.now, happening, node)),
    )
    ended = env.run(env.process(gang.run()))
    # 600 s are saved after 605; 395 are lost; 50 + 300 of waiting, 5 of reading back.
    assert ended.lost_work_s == pytest.approx(395)
    assert ended.finish_s == pytest.approx(300 + 1000 + 350 + 5 + stretched_s(3000, 600, 5))
    assert heard == [
        (0, "provision", 0),
        (0, "provision", 1),
        (300, "ready", 0),
        (300, "ready", 1),
        (300, "work", None),
        (1300, "lost", 1),
        (1350, "provision", 1),
        (1650, "ready", 1),
        (1655, "restored", None),
        (ended.finish_s, "finished", None),
    ]
    assert [(bill.node, bill.from_s, bill.to_s) for bill in ended.bills] == [
        (1, 0, 1300),
        (0, 0, ended.finish_s),
        (1, 1350, ended.finish_s),
    ]


# ---------------------------------------------------------------------------- laws of a future


@given(
    nodes=st.integers(1, 6),
    per_h=st.floats(0, 3),
    sigma=st.floats(0, 0.5),
    seed=st.integers(0, 2**64),
    granularity=st.sampled_from([1.0, 60.0, 3600.0]),
    minimum=st.sampled_from([0.0, 60.0, 3600.0]),
)
@settings(deadline=None, max_examples=60)
def test_every_future_keeps_the_laws_of_time_and_money(
    nodes: int, per_h: float, sigma: float, seed: int, granularity: float, minimum: float
) -> None:
    one = candidate(
        nodes,
        work_sigma=sigma,
        spot_hazard=constant(per_h),
        stock_out=DelayFacts(median_s=60, sigma=1),
        billing_granularity_s=granularity,
        billing_minimum_s=minimum,
    )
    (ended,) = outcomes(one, 1, seed)
    assert ended.finish_s >= ended.work_s or not ended.finished
    assert len(ended.bills) - nodes <= ended.losses <= len(ended.bills)
    assert sum(bill.usd for bill in ended.bills) == pytest.approx(
        ended.cost_usd - ended.storage_usd - ended.egress_usd
    )
    for bill in ended.bills:
        used = bill.to_s - bill.from_s
        steps = bill.usd * 3600 / 2.0 / granularity
        assert used <= bill.usd * 3600 / 2.0 + 1e-6
        assert steps == pytest.approx(round(steps)) or bill.usd == pytest.approx(2 * minimum / 3600)
    for node in range(nodes):
        mine = sorted(bill for bill in ended.bills if bill.node == node)
        assert all(a.to_s <= b.from_s for a, b in pairwise(mine))
    machine_s = sum(bill.to_s - bill.from_s for bill in ended.bills)
    assert machine_s <= nodes * ended.finish_s * (1 + 1e-9)


def test_the_same_seed_gives_the_same_future_event_for_event() -> None:
    rough = plan(candidate(4, spot_hazard=constant(0.5), work_sigma=0.2), candidate(2))

    def told(seed: int) -> dict[str, Any]:
        return rehearse(rough, replications=60, seed=seed).model_dump(exclude={"created"})

    assert told(7) == told(7)
    assert told(7) != told(8)


def test_a_future_does_not_depend_on_the_jobs_beside_it() -> None:
    one = candidate(3, spot_hazard=BANDS, work_sigma=0.2)
    alone = futures([one], replications=20, seed=3)
    beside = futures([one, candidate(5, node_failures_per_h=0.2)], replications=20, seed=3)
    assert beside.finish_s[:, 0].tolist() == alone.finish_s[:, 0].tolist()


def test_several_processes_give_the_same_result_bit_for_bit() -> None:
    rough = plan(candidate(4, spot_hazard=constant(0.5), work_sigma=0.2))
    seen: list[int] = []
    serial = rehearse(rough, replications=120, progress=seen.append)
    parallel = rehearse(rough, replications=120, jobs=2)
    assert parallel.model_copy(update={"created": serial.created}) == serial
    assert seen == [50, 100, 120]


def test_two_candidates_meet_the_same_world() -> None:
    seeds = np.random.SeedSequence(5, spawn_key=(2, 0))
    slow = RandomWorld(candidate(2, work_s=2000, work_sigma=0.3, spot_hazard=BANDS), seeds)
    fast = RandomWorld(candidate(4, work_s=1000, work_sigma=0.3, spot_hazard=BANDS), seeds)
    assert slow.life_s(1, 0, 0.0) == fast.life_s(1, 0, 0.0)
    assert slow.work_s() == pytest.approx(2 * fast.work_s())
    first = fast.life_s(0, 3, 0.0)
    assert fast.life_s(2, 1, 0.0) != fast.life_s(3, 1, 0.0)
    assert fast.life_s(0, 3, 0.0) == first


def test_the_streams_of_one_world_are_independent() -> None:
    """Delays, spot losses and failures of 2,000 machines, as ranks."""
    delay = DelayFacts(median_s=60, sigma=1)
    failing = candidate(2000, node_failures_per_h=1.0, provisioning=delay)
    spot = candidate(2000, spot_hazard=constant(1.0), stock_out=delay)
    seeds = np.random.SeedSequence(1, spawn_key=(0, 0))
    worlds = RandomWorld(failing, seeds), RandomWorld(spot, seeds)
    draws = [
        [worlds[0].provisioning_s(node, 0) for node in range(2000)],
        [worlds[0].life_s(node, 0, 0.0) for node in range(2000)],
        [worlds[1].stock_out_s(node, 0) for node in range(2000)],
        [worlds[1].life_s(node, 0, 0.0) for node in range(2000)],
    ]
    correlation = np.asarray(stats.spearmanr(np.array(draws), axis=1).statistic)
    assert np.abs(correlation[np.triu_indices(4, 1)]).max() < 0.1


def test_only_spot_machines_wait_for_stock() -> None:
    seeds, scarce = np.random.SeedSequence(1), DelayFacts(median_s=600, sigma=1)
    assert RandomWorld(candidate(stock_out=scarce), seeds).stock_out_s(0, 1) == 0
    spot = candidate(stock_out=scarce, spot_hazard=BANDS)
    assert RandomWorld(spot, seeds).stock_out_s(0, 1) > 0


@pytest.mark.parametrize("nodes", [1, 4])
def test_more_hazard_never_lowers_the_mean_finish(nodes: int) -> None:
    means = [
        finishes(candidate(nodes, spot_hazard=constant(per_h), work_sigma=0.1), 800).mean()
        for per_h in (0.0, 0.05, 0.1, 0.2, 0.4, 0.8)
    ]
    assert means == sorted(means)


def test_cost_in_events_a_quiet_gang_takes_a_few_per_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps = 0
    step = simpy.Environment.step

    def counted(self: simpy.Environment) -> None:
        nonlocal steps
        steps += 1
        step(self)

    monkeypatch.setattr(simpy.Environment, "step", counted)
    outcomes(candidate(8, work_s=1e6, checkpoint_interval_s=10), 1)
    assert steps <= 4 * 8 + 10  # and none for its 100,000 checkpoints


# ------------------------------------------------------------------------------ the closed form


def exact_wall_s(
    work: float, interval: float, mtti: float, wait: float, stall: float, nodes: int = 1
) -> float:
    """E[T] = (M + D) e^(C/M) (e^((tau + C)/M) - 1) W / tau,   M + D = M (1 + R / (n M))^n.

    Machines lost independently at a constant rate, 1/M all together, each refilled after a wait
    of mean R, are all there with probability (1 + R / (n M))^-n whatever the law of the wait. So
    D = M ((1 + R / (n M))^n - 1) is the mean time until the gang is whole again; only then is it
    interrupted in reading back (C) and in training.
    """
    whole_again = mtti * (1 + wait / (nodes * mtti)) ** nodes
    segment = math.exp(stall / mtti) * math.expm1((interval + stall) / mtti)
    return whole_again * segment * work / interval


@pytest.mark.parametrize(
    ("nodes", "mtti_h", "wait_s", "sigma", "interval"),
    [
        pytest.param(1, 10, 300, 0.0, 900, id="rare"),
        pytest.param(1, 2, 300, 0.5, 600, id="now and then"),
        pytest.param(1, 0.5, 600, 0.8, 300, id="often"),
        pytest.param(1, 0.2, 60, 0.0, 450, id="in most segments"),
        pytest.param(8, 1, 1800, 0.0, 300, id="gang"),
        pytest.param(16, 0.5, 2000, 0.8, 200, id="gang, rarely whole"),
    ],
)
def test_a_gang_agrees_with_the_exact_expectation(
    nodes: int, mtti_h: float, wait_s: float, sigma: float, interval: float
) -> None:
    one = candidate(
        nodes,
        work_s=7200,
        checkpoint_interval_s=interval,
        spot_hazard=constant(1 / mtti_h / nodes),
        provisioning=DelayFacts(median_s=30, sigma=0),
        stock_out=DelayFacts(median_s=wait_s, sigma=sigma),
    )
    wait = 30 + wait_s * math.exp(sigma**2 / 2)
    truth = 30 + exact_wall_s(7200, interval, 3600 * mtti_h, wait, 5, nodes)
    sample = finishes(one, 3000)
    error = 3.5 * sample.std() / math.sqrt(len(sample))
    assert error < 0.05 * truth
    assert sample.mean() == pytest.approx(truth, abs=error)


@pytest.mark.parametrize(
    ("nodes", "work_h", "mtti_h", "ready_s", "stall_s"),
    [(1, 5, 50, 300, 5), (1, 20, 10, 600, 20), (8, 10, 5, 300, 10), (16, 4, 1, 60, 5)],
)
def test_agrees_with_the_optimizers_closed_form_where_waits_are_short(
    nodes: int, work_h: float, mtti_h: float, ready_s: float, stall_s: float
) -> None:
    wall = wall_time(3600 * work_h, 0.0, 3600 * mtti_h, ready_s, 0.0, stall_s, nodes)
    one = candidate(
        nodes,
        work_s=3600 * work_h,
        checkpoint_s=stall_s,
        checkpoint_interval_s=float(wall.interval_s),
        node_failures_per_h=1 / mtti_h / nodes,
        provisioning=DelayFacts(median_s=ready_s, sigma=0),
    )
    found = futures([one], replications=1500, seed=1)
    predicted = float(wall.mean_s) + ready_s
    low, high = mean_interval(found.finish_s[:, 0])
    assert low - 0.02 * predicted <= predicted <= high + 0.02 * predicted
    assert found.losses.mean() == pytest.approx(
        float(wall.interruptions), rel=0.03, abs=4 * found.losses.std() / math.sqrt(1500)
    )


def test_the_mean_interval_holds_the_truth_as_often_as_it_says() -> None:
    one = candidate(node_failures_per_h=0.3)
    truth = 300 + exact_wall_s(3600, 600, 12_000, 300, 5)
    held = sum(
        low <= truth <= high
        for low, high in (mean_interval(finishes(one, 60, seed)) for seed in range(200))
    )
    assert stats.binomtest(held, 200, 0.95).pvalue > 0.001


# ------------------------------------------------------------------------------------- hazards


def test_lives_follow_the_summed_hazard() -> None:
    hazard = Hazard.of(BANDS)
    bands = tuple(
        HazardBand(band.from_h, math.inf if band.to_h is None else band.to_h, band.per_h)
        for band in BANDS
    )
    draws = np.random.default_rng(1).standard_exponential(20_000)
    ages_h = np.array([hazard.age_s(float(draw)) for draw in draws]) / 3600
    summed = hazard_integral(bands, ages_h)
    assert summed == pytest.approx(draws)
    assert stats.kstest(summed, "expon").pvalue > 0.01


@given(st.floats(0, 50), st.floats(0, 50))
def test_the_age_of_loss_never_falls_with_the_summed_hazard(first: float, second: float) -> None:
    low, high = sorted((first, second))
    hazard = Hazard.of(BANDS)
    assert hazard.age_s(low) <= hazard.age_s(high)


def test_a_machine_without_hazard_is_never_lost() -> None:
    assert Hazard.of(()).age_s(0.1) == math.inf
    ended = Hazard.of((HazardFacts(from_h=1, to_h=2, per_h=1),))
    assert ended.age_s(0.5) == 1.5 * 3600
    assert ended.age_s(1.5) == math.inf


def test_spot_losses_by_age_are_as_many_as_the_integral_says() -> None:
    lives = [
        RandomWorld(candidate(500, spot_hazard=BANDS), np.random.SeedSequence(seed)).life_s(
            node, 0, 0.0
        )
        for seed in range(2)
        for node in range(500)
    ]
    expected = 1 - math.exp(-(0.25 * 0.36 + 0.75 * 0.19 + 5 * 0.05))
    lost = sum(life <= 6 * 3600 for life in lives)
    assert stats.binomtest(lost, 1000, expected).pvalue > 0.001


# ----------------------------------------------------------------------------- hopeless plans


@pytest.mark.parametrize(
    "known",
    [
        pytest.param({"nodes": 1, "checkpoint_interval_s": 3600.0}, id="no checkpoint in time"),
        pytest.param({"nodes": 64}, id="never whole"),
    ],
)
def test_a_hopeless_plan_ends_and_says_so(known: dict[str, Any]) -> None:
    one = candidate(spot_hazard=constant(20.0), **known)
    ends = outcomes(one, 3)
    assert not any(ended.finished for ended in ends)
    assert all(ended.losses <= MOST_LOSSES + one.nodes for ended in ends)
    result = rehearse(plan(one, deadline_s=1e9, budget_usd=1e9), replications=3)
    assert result.unfinished == 3
    assert result.finish_s.p50 == pytest.approx(result.jobs[0].hopeless_after_s)
    assert (result.p_deadline, result.p_budget) == (0, 0)
    assert result.example[0].events[-1].kind == "given_up"


# ------------------------------------------------------------------------------- the rehearsal


def test_the_chance_to_keep_a_deadline_never_falls_with_the_deadline() -> None:
    one = candidate(4, spot_hazard=constant(0.2), work_sigma=0.2)
    chances = [
        rehearse(plan(one, deadline_s=hours * 3600), replications=200).p_deadline
        for hours in (0.5, 1, 1.25, 1.5, 2, 50)
    ]
    assert chances == sorted(chances, key=lambda chance: chance or 0.0)
    assert (chances[0], chances[-1]) == (0, 1)


def test_nothing_wished_nothing_said() -> None:
    result = rehearse(plan(candidate()), replications=2)
    assert (result.p_deadline, result.p_deadline_ci95) == (None, None)
    assert (result.p_budget, result.p_budget_ci95) == (None, None)


def test_a_plan_ends_with_its_last_job_and_costs_the_sum() -> None:
    both = plan(candidate(), candidate(2, work_s=7200))
    result = rehearse(both, replications=5, conditions=TO_THE_LETTER)
    slow, jobs = result.jobs[1], result.jobs
    assert result.finish_s == slow.finish_s
    assert result.cost_usd.mean == pytest.approx(sum(job.cost_usd.mean for job in jobs))
    storage_usd = 0.4 * (300 + 3600 + 6 * 5) / 4000
    assert jobs[0].cost_usd.mean == pytest.approx(2 * 3930 / 3600 + storage_usd + 0.6)


def test_the_example_is_the_replication_at_the_ninetieth_percentile() -> None:
    one = candidate(2, spot_hazard=constant(0.5))
    result = rehearse(plan(one), replications=101)
    (timeline,) = result.example
    assert timeline.events[-1].at_s == pytest.approx(result.finish_s.p90)
    assert [event.at_s for event in timeline.events] == sorted(
        event.at_s for event in timeline.events
    )


def test_either_the_chosen_or_the_local_candidate_is_rehearsed() -> None:
    both = plan(candidate(), here=candidate(work_s=36_000))
    assert rehearse(both, replications=2, which="runnable_here").finish_s.mean > 36_000
    with pytest.raises(InputError, match="job0 cannot be trained on this machine"):
        rehearse(plan(candidate()), replications=2, which="runnable_here")


@pytest.mark.parametrize(
    ("asked", "words"),
    [({"replications": 1}, "2 or more"), ({"seed": -1}, "0 or more"), ({"jobs": 0}, "1 or more")],
)
def test_what_cannot_be_rehearsed_is_refused_in_a_sentence(
    asked: dict[str, int], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        rehearse(plan(candidate()), **asked)  # type: ignore[arg-type]


def test_a_simulation_survives_its_file(tmp_path: Path) -> None:
    result = rehearse(plan(candidate(2, spot_hazard=BANDS), deadline_s=4000), replications=10)
    result.write(tmp_path / "simulation.json")
    assert Simulation.read(tmp_path / "simulation.json") == result
    assert '"schema": "isocost/simulation/v1"' in (tmp_path / "simulation.json").read_text()


# ----------------------------------------------------------------------------------- intervals


@pytest.mark.parametrize("probability", [0.5, 0.9])
@pytest.mark.parametrize("n", [60, 500])
def test_the_interval_of_a_quantile_holds_it_as_often_as_it_says(
    probability: float, n: int
) -> None:
    random = np.random.default_rng(0)
    truth = float(stats.lognorm.ppf(probability, 0.8))
    held = 0
    for _ in range(600):
        low, high = quantile_interval(np.sort(random.lognormal(0, 0.8, n)), probability)
        held += low <= truth <= high
    assert held / 600 > 0.93


@given(st.integers(0, 40), st.integers(1, 40))
def test_the_interval_of_a_share_holds_the_share(true: int, false: int) -> None:
    estimate, (low, high) = share(np.array([True] * true + [False] * false))
    assert 0 <= low <= estimate <= high <= 1


@given(st.lists(st.floats(1e-3, 1e9), min_size=2, max_size=300))
def test_a_distribution_is_ordered(values: list[float]) -> None:
    found = distribution(np.array(values))
    assert list(found.quantiles) == sorted(found.quantiles)
    assert found.quantiles[0] == min(values)
    assert found.quantiles[100] == max(values)
    assert found.mean_ci95[0] <= found.mean <= found.mean_ci95[1]
    for low, high in (found.p50_ci95, found.p90_ci95):
        assert min(values) <= low <= high <= max(values)


def test_an_interval_of_zero_as_where_nothing_stalls_is_not_divided_by() -> None:
    assert float(young_interval(0.0, 1000.0, 100.0)) < 0.01
    (ended,) = outcomes(candidate(checkpoint_s=0.0, checkpoint_interval_s=0.0), 1)
    assert ended.finish_s == pytest.approx(3900)


def test_the_face_is_what_it_promises() -> None:
    assert sorted(simulator.__all__) == list(simulator.__all__)
    assert all(hasattr(simulator, name) for name in simulator.__all__)
