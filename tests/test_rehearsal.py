"""The rehearsal's wider world: replayed spot markets, shocks, spreads, enough futures, what-ifs."""

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from isocost.catalog.files import InputError
from isocost.optimizer.plan import DelayFacts, PlannedCandidate
from isocost.simulator import rehearse
from isocost.simulator.gang import stretched_s
from isocost.simulator.rehearsal import (
    TO_THE_LETTER,
    futures,
    looseness,
    run_futures,
)
from isocost.simulator.spot import (
    BLOCK_S,
    SpotMarket,
    SpotTrace,
    read_market,
    with_outages,
)
from isocost.simulator.whatif import failing, parse, scaled, scenario_world, what_if
from isocost.simulator.world import (
    OBSERVED,
    QUIET,
    BulkHazard,
    Conditions,
    Hazard,
    RandomWorld,
    Spreads,
    expected_largest_normal,
)

from .test_simulator import BANDS, candidate, constant, outcomes, plan

HOUR = 3600.0


def gang(nodes: int = 4, **known: Any) -> PlannedCandidate:
    """A spot gang of ten hours' work without any wait of its own."""
    facts: dict[str, Any] = {
        "work_s": 10 * HOUR,
        "checkpoint_s": 60.0,
        "checkpoint_interval_s": 1800.0,
        "spot_hazard": constant(0.0),
        "provisioning": DelayFacts(median_s=300, sigma=0),
    }
    return candidate(nodes, **(facts | known))


def market(*counts: tuple[float, int], nodes: int = 4, block_s: float = BLOCK_S) -> SpotMarket:
    """A market of one trace, from (hours, machines)."""
    starts = np.cumsum([0.0, *(hours * HOUR for hours, _ in counts)])
    trace = SpotTrace(
        "us-central1-a", nodes, tuple(starts[:-1]), tuple(k for _, k in counts), float(starts[-1])
    )
    return SpotMarket((trace,), block_s, "the test")


def replayed(rows: SpotTrace, start_s: float, one: PlannedCandidate) -> float:
    """The finish by stepping through the trace second by second of its rows: an oracle."""
    known, left, now, fresh = one.reliability, one.reliability.work_s, start_s, True
    interval, stall = known.checkpoint_interval_s, known.checkpoint_s
    up_since: float | None = None
    for lap in range(50):
        for row, begin in enumerate(rows.starts_s):
            end = rows.starts_s[row + 1] if row + 1 < len(rows.starts_s) else rows.end_s
            begin, end = begin + lap * rows.end_s, end + lap * rows.end_s
            if end <= start_s:
                continue
            begin = max(begin, start_s)
            if rows.counts[row] < one.nodes:
                if up_since is not None:
                    trains = begin - up_since - 300 - (0 if fresh else stall)
                    if begin - up_since > 300:
                        fresh = False
                    left -= max(math.floor(trains / (interval + stall)), 0) * interval
                up_since = None
                continue
            up_since = begin if up_since is None else up_since
            now = up_since + 300 + (0 if fresh else stall) + stretched_s(left, interval, stall)
            if now <= end:
                return now - start_s
    raise AssertionError


# ----------------------------------------------------------------------------- spot availability


@given(
    rows=st.lists(st.tuples(st.floats(0.2, 30), st.integers(0, 4)), min_size=1, max_size=8),
    share=st.floats(0, 1, exclude_max=True),
    length_h=st.floats(1, 200),
)
def test_a_block_walks_its_trace_in_a_circle(
    rows: list[tuple[float, int]], share: float, length_h: float
) -> None:
    trace = market(*rows).traces[0]
    start, length = share * trace.end_s, length_h * HOUR
    steps = list(trace.block(start, length))
    assert steps[0][0] == 0
    for (elapsed, row), (after, _) in pairwise(steps):
        assert elapsed < after < length
        where = start + (elapsed + after) / 2
        begin, end = (*trace.starts_s, trace.end_s)[row : row + 2]
        # On a circle: a hair before its end and its start are the same place.
        assert (where - begin + 1e-3) % trace.end_s <= end - begin + 2e-3


def test_a_gang_takes_what_there_is_and_a_larger_one_its_share() -> None:
    trace = market((1, 4), (1, 3), (1, 0)).traces[0]
    assert trace.available(2) == (2, 2, 0)
    assert trace.available(4) == (4, 3, 0)
    assert trace.available(8) == (8, 6, 0)


@given(st.lists(st.tuples(st.floats(1, 20), st.integers(0, 4)), min_size=2, max_size=6))
@settings(max_examples=30, deadline=None)
def test_one_block_as_long_as_the_job_is_the_trace_itself(rows: list[tuple[float, int]]) -> None:
    """The event simulation against stepping through the trace, from the same place."""
    there = market(*rows, (16.0, 4), block_s=1e9)
    one = gang(stock_out=DelayFacts(median_s=999, sigma=1))
    world = RandomWorld(one, np.random.SeedSequence(5, spawn_key=(0, 0)))
    shared = np.random.default_rng(np.random.SeedSequence(5, spawn_key=(0, 2**32 - 1)))
    start = shared.random(2)[1] * there.traces[0].end_s
    found = futures([one], replications=1, seed=5, conditions=Conditions(market=there))
    assert world.supply() is None
    assert found.finished.all()
    assert found.finish_s[0, 0] == pytest.approx(replayed(there.traces[0], start, one))


def test_a_market_that_is_always_full_is_no_market_at_all() -> None:
    one = gang(8)
    full = futures(
        [one], replications=5, seed=1, conditions=Conditions(market=market((9, 8), nodes=8))
    )
    assert full.finish_s == pytest.approx(300 + stretched_s(10 * HOUR, 1800, 60))
    assert full.losses.sum() == 0


def test_two_jobs_of_one_plan_meet_the_same_hours_of_the_market() -> None:
    there = Conditions(market=market((30, 4), (50, 0), (20, 4), (30, 1)))
    found = futures([gang(), gang()], replications=30, seed=2, conditions=there)
    assert found.finish_s[:, 0].tolist() == found.finish_s[:, 1].tolist()
    assert len(set(found.finish_s[:, 0].tolist())) > 5


def test_scarcer_markets_never_finish_sooner() -> None:
    means = []
    for down_h in (0.5, 2, 8, 20):
        there = Conditions(market=market((24, 4), (down_h, 2), (12, 4), (down_h, 0)))
        means.append(futures([gang()], replications=60, seed=3, conditions=there).finish_s.mean())
    assert means == sorted(means)


def test_on_demand_machines_do_not_stand_on_the_spot_market() -> None:
    there = Conditions(market=market((1, 0), (1, 4)))
    found = futures([candidate(4)], replications=3, seed=0, conditions=there)
    assert found.losses.sum() == 0


def test_bills_cover_only_machines_that_stand() -> None:
    there = Conditions(market=market((7, 4), (30, 0)))
    one = gang(billing_minimum_s=0.0)
    found = futures([one], replications=40, seed=3, conditions=there)
    spent = found.cost_usd[:, 0] - 0.6 - 0.4 / 4000 * found.finish_s[:, 0]
    up_h = found.finish_s[:, 0] / HOUR * 7 / 37 + 7
    assert (spent <= 4 * 2 * up_h + 1).all()
    assert found.finished.all()


def test_a_rehearsal_says_what_it_made_of_the_trace() -> None:
    there = Conditions(market=market((9, 4)))
    small, large, none = (
        " ".join(rehearse(plan(one), replications=2, conditions=there).basis)
        for one in (gang(4), gang(8), candidate(4))
    )
    assert "replayed in blocks of 240 h from 9 h observed in us-central1-a (the test)" in small
    assert "share of the count" not in small
    assert "larger than the 4 nodes observed get their share of the count" in large
    assert "plays no part" in none


HEADER = "trace_id,t_start_s,duration_s,available_nodes"


def test_a_trace_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(f"{HEADER}\nzone-a,100,60,4\nzone-a,160,40,0\nzone-b,0,10,2\n")
    read = read_market(path)
    assert read.traces[0] == SpotTrace("zone-a", 4, (0.0, 60.0), (4, 0), 100.0)
    assert [trace.name for trace in read_market(path, ["b"]).traces] == ["zone-b"]
    assert read.of_zones("nowhere", ("zone-b",)).traces == read.traces[1:]
    assert read.of_zones("nowhere", ()).traces == read.traces


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "no column 'trace_id'"),
        (f"{HEADER}\n", "no rows"),
        (f"{HEADER}\nz,0,sixty,4\n", "line 2: expected numbers"),
        (f"{HEADER}\nz,0,60,-1\n", "line 2: a count of -1"),
        (f"{HEADER}\nz,0,60,4\nz,90,60,4\n", "leave a gap at 60 s"),
        (f"{HEADER}\nz,0,60,4\nz,30,60,4\n", "overlap at 30 s"),
        (f"{HEADER}\nz,0,60,0\n", "never has a machine"),
    ],
)
def test_a_trace_that_cannot_be_gets_a_sentence(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_market(path)


def test_too_short_a_block_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="72 h or more"):
        read_market(tmp_path / "trace.csv", block_s=HOUR)


# -------------------------------------------------------------------------------------- shocks


@given(
    rates=st.lists(st.floats(0, 2), min_size=1, max_size=4),
    share=st.floats(0, 1),
    hit=st.floats(0.01, 1),
    age_h=st.floats(0, 40),
)
def test_shocks_and_lone_losses_add_up_to_the_hazard(
    rates: list[float], share: float, hit: float, age_h: float
) -> None:
    edges = [0.0, 1.0, 5.0, 20.0][: len(rates)]
    hazard = Hazard.stepwise(edges, rates)
    split = BulkHazard.of(hazard, share, hit)
    both = split.alone.at(age_h) + split.shocks_per_h * split.chance.at(age_h)
    assert both == pytest.approx(hazard.at(age_h), abs=1e-9)
    assert 0 <= split.chance.at(age_h) <= 1


def test_a_machine_lives_as_long_with_shocks_as_without() -> None:
    one = candidate(spot_hazard=BANDS)
    summed = []
    for seed in range(1500):
        world = RandomWorld(
            one,
            np.random.SeedSequence(seed),
            Conditions(spreads=Spreads(bulk_share=0.9, bulk_hit=0.2)),
        )
        age_h = world.life_s(0, 0, 1000.0) / HOUR
        edges, rates = (0, 0.25, 1, 6, math.inf), (0.36, 0.19, 0.05, 0.01)
        summed.append(
            sum(
                rate * max(min(age_h, high) - low, 0)
                for rate, low, high in zip(rates, edges, edges[1:], strict=False)
            )
        )
    assert stats.kstest(summed, "expon").pvalue > 0.01


def test_machines_lost_in_one_shock_go_together_and_come_back_together() -> None:
    one = candidate(
        12, spot_hazard=constant(0.1), stock_out=DelayFacts(median_s=600, sigma=1), work_s=9e5
    )
    world = RandomWorld(
        one,
        np.random.SeedSequence(4),
        Conditions(spreads=Spreads(bulk_share=1.0, bulk_hit=0.6)),
    )
    ends = [world.life_s(node, 0, 0.0) for node in range(12)]
    first = [node for node in range(12) if ends[node] == min(ends)]
    assert len(first) > 1
    assert len({world.stock_out_s(node, 1) for node in first}) == 1


def test_bulk_losses_interrupt_a_gang_less_often_than_as_many_single_ones() -> None:
    one = candidate(16, spot_hazard=constant(0.05), work_s=50_000)
    alone = futures([one], replications=200, seed=1)
    bulk = futures(
        [one],
        replications=200,
        seed=1,
        conditions=Conditions(spreads=Spreads(bulk_share=0.9, bulk_hit=0.5)),
    )
    assert bulk.finish_s.mean() < alone.finish_s.mean()


# ------------------------------------------------------------------------------------- spreads


def test_the_slowest_machine_sets_the_pace_and_its_average_is_the_plan() -> None:
    one = candidate(8)
    paces = [
        RandomWorld(
            one, np.random.SeedSequence(seed), Conditions(spreads=Spreads(slowness_sigma=0.06))
        ).stretch([0] * 8)
        for seed in range(2000)
    ]
    assert np.mean(paces) == pytest.approx(1.0, abs=0.004)
    assert expected_largest_normal(2) == pytest.approx(1 / math.sqrt(math.pi), abs=1e-3)
    assert RandomWorld(one, np.random.SeedSequence(0)).stretch([0] * 8) == 1.0


def test_an_uncertain_failure_rate_keeps_its_mean_and_widens_the_number_of_failures() -> None:
    one = candidate(8, node_failures_per_h=0.02, work_s=100_000)
    sure = futures([one], replications=600, seed=1)
    unsure = futures(
        [one],
        replications=600,
        seed=1,
        conditions=Conditions(spreads=Spreads(failure_rate_sigma=0.6)),
    )
    assert unsure.losses.mean() == pytest.approx(sure.losses.mean(), rel=0.1)
    assert unsure.losses.var() > 1.5 * sure.losses.var()


def test_what_was_observed_is_what_is_assumed_and_said() -> None:
    one = candidate(2, spot_hazard=BANDS, node_failures_per_h=1e-4)
    told = " ".join(rehearse(plan(one), replications=10).basis)
    for words in ("90% of the losses in shocks", "factor of 2.3", "3.8%", "6% slower"):
        assert words in told
    assert rehearse(plan(one), replications=10, conditions=TO_THE_LETTER).basis
    assert Spreads() == QUIET
    assert OBSERVED.bulk_share > 0


# ------------------------------------------------------------------------------- enough futures


def test_a_rehearsal_stops_when_it_is_tight_enough_and_is_the_start_of_a_longer_one() -> None:
    one = candidate(2, work_sigma=0.1, spot_hazard=constant(0.2))
    given = {"seed": 3, "conditions": TO_THE_LETTER}
    found = run_futures([one], replications=20_000, precision=0.02, **given)  # type: ignore[arg-type]
    assert 500 <= len(found.finish_s) < 20_000
    assert looseness(found) <= 0.02
    whole = futures([one], replications=len(found.finish_s), seed=3)
    assert whole.finish_s.tolist() == found.finish_s.tolist()


def test_the_number_of_workers_changes_nothing_where_it_stops_early() -> None:
    one = candidate(2, work_sigma=0.2, spot_hazard=BANDS)
    results = [
        run_futures([one], replications=4000, seed=1, jobs=jobs, precision=0.05).finish_s.tolist()
        for jobs in (1, 2)
    ]
    assert results[0] == results[1]


@pytest.mark.parametrize("precision", [0.0, 1.0, -0.1])
def test_a_precision_that_is_no_share_is_refused(precision: float) -> None:
    with pytest.raises(InputError, match=r"for example for 0\.01"):
        rehearse(plan(candidate()), precision=precision)


# ------------------------------------------------------------------------------------- what if


def asked(text: str, *chosen: PlannedCandidate, replications: int = 200) -> Any:
    """Scenarios of a plan."""
    given, one = plan(*chosen), list(chosen)
    base = futures(one, replications=replications, seed=0)
    return what_if(parse([text]), given.jobs, one, base, seed=0, conditions=TO_THE_LETTER)


def test_a_price_moves_the_cost_alone_and_the_paired_interval_is_exact() -> None:
    quiet = candidate(2, work_sigma=0.3)
    (dearer,) = asked("price*1.5", quiet)
    assert dearer.finish_s.difference == 0
    fixed = 0.6 + 0.4 / 4000 * dearer.finish_s.mean
    assert dearer.cost_usd.mean - fixed == pytest.approx(1.5 * (dearer.cost_usd.baseline - fixed))
    assert dearer.cost_usd.variance_ratio < 0.5


def test_common_random_numbers_narrow_the_difference() -> None:
    one = candidate(4, spot_hazard=constant(0.1), work_sigma=0.3)
    worse, slower = asked("spot_hazard*1.2, work*1.1", one, replications=600)
    assert worse.finish_s.variance_ratio < 0.5
    assert slower.finish_s.variance_ratio < 0.1
    low, high = slower.finish_s.difference_ci95
    assert 0 < low < slower.finish_s.difference < high


@given(st.floats(1.25, 4.0))  # closer to 1 a handful of losses decides, and 95 % is not enough
@settings(max_examples=8, deadline=None)
def test_more_hazard_or_more_failures_never_finish_sooner(factor: float) -> None:
    one = candidate(2, spot_hazard=constant(0.1), node_failures_per_h=0.05)
    for found in asked(f"spot_hazard*{factor:.3f}, failures*{factor:.3f}", one):
        assert found.finish_s.difference_ci95[1] >= 0


def test_nothing_changed_is_no_difference() -> None:
    (same,) = asked("price*1 and spot_hazard*1 and nodes+0", candidate(3, spot_hazard=BANDS))
    assert (same.finish_s.difference, same.cost_usd.difference) == (0, 0)


def test_a_failed_zone_costs_its_outage_and_the_work_since_the_checkpoint() -> None:
    one = candidate(2)  # ready after 300 s, a checkpoint after every 605 s
    (failed,) = asked("fail zone a at 1000s for 2h", one, replications=3)
    # 600 s are saved at 905, 95 s are lost; 7,200 s out, 300 s of provisioning, 5 s of reading back.
    assert failed.finish_s.difference == pytest.approx(95 + 7200 + 300 + 5)
    (late,) = asked("fail zone a at 5h", one, replications=3)
    assert late.finish_s.difference == 0


def test_zones_are_known_by_name_by_letter_or_by_their_order() -> None:
    def at(*zones: str) -> PlannedCandidate:
        one = candidate()
        return one.model_copy(update={"offer": one.offer.model_copy(update={"zones": zones})})

    jobs = [at("us-east1-c", "us-east1-d"), at("us-east1-b"), at()]
    assert failing("us-east1-c", jobs) == [True, False, False]
    assert failing("b", jobs) == [False, True, False]
    assert failing("a", jobs) == [True, False, False]
    assert failing("us-central1", jobs) == [False, False, True]
    with pytest.raises(InputError, match="stand in us-east1-c, us-east1-b, us-central1"):
        failing("z", jobs)


def test_more_nodes_share_the_work_and_pay_for_it() -> None:
    one = candidate(4, work_s=100_000.0)
    job = plan(one).jobs[0]
    twice = scaled(job, one, 8)
    assert (twice.nodes, twice.workers, twice.global_batch) == (8, 8, 256)
    assert (
        0.45 < twice.reliability.work_s / (one.reliability.work_s / one.steps * twice.steps) <= 1.1
    )
    assert scaled(job, one, 4).reliability.checkpoint_interval_s == 600
    wide = scaled(job, one, 40)  # 1,024 at most in all: 25 a device
    assert (wide.per_device_batch, wide.global_batch) == (25, 1000)
    with pytest.raises(InputError, match="above its max_global_batch 1024"):
        scaled(job, one, 2000)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prize*2", "did you mean 'price'"),
        ("price*", "is not understood; write"),
        ("fail zone a at noon", "no duration"),
        ("price*2,,nodes+1", "empty scenario"),
        ("", "empty scenario"),
        ("nodes-9", "whole number from 1"),
        ("nodes*1.3", "whole number from 1"),
        ("price-99", "must be 0 or more"),
    ],
)
def test_a_what_if_that_cannot_be_gets_a_sentence(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        asked(text, candidate(), replications=2)


def test_a_hazard_cannot_be_changed_where_a_trace_stands_for_it() -> None:
    one = gang()
    there = Conditions(market=market((1, 4)))
    with pytest.raises(InputError, match="leave out --spot-trace"):
        scenario_world(parse(["spot_hazard*2"])[0], plan(one).jobs, [one], there)


@given(
    at=st.lists(st.tuples(st.floats(0, 50), st.integers(0, 9)), max_size=5),
    out=st.lists(st.tuples(st.floats(0, 50), st.floats(0.1, 20)), max_size=3),
)
def test_an_outage_takes_everything_and_gives_back_what_there_was(
    at: list[tuple[float, int]], out: Sequence[tuple[float, float]]
) -> None:
    steps = [(0.0, 5), *sorted(at)]
    outages = [(begin, begin + lasts) for begin, lasts in out]
    found = list(with_outages(iter(steps), 9, outages))
    assert [time for time, _ in found] == sorted(time for time, _ in found)
    for time in np.linspace(0.05, 80, 60):
        held = [count for begin, count in steps if begin <= time][-1]
        now = [count for begin, count in found if begin <= time][-1]
        assert now == (0 if any(b <= time < e for b, e in outages) else held)


def test_an_undisturbed_outcome_is_the_plan_to_the_letter() -> None:
    (ended,) = outcomes(candidate(3), 1)
    assert ended.finish_s == pytest.approx(300 + stretched_s(3600, 600, 5))
