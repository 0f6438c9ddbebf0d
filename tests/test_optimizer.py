"""The optimum against brute force, and the laws of its parts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from isocost.catalog import Catalog, Delay, HazardBand, Offer, Purchase
from isocost.catalog.files import InputError
from isocost.optimizer.losses import losses
from isocost.optimizer.model import Column, choose
from isocost.optimizer.optimize import Infeasible, Job, Priced, optimize, price
from isocost.optimizer.pareto import front
from isocost.optimizer.plan import Plan
from isocost.optimizer.reliability import (
    expected_losses,
    gang_delay,
    hazard_integral,
    lognormal_quantile,
    wall_time,
    young_interval,
)
from isocost.profiles.records import Profile
from isocost.profiles.workload import Constraints, ModelFacts, Weights, Workload

coarse = arrays(
    np.float64,
    st.tuples(st.integers(1, 60), st.just(3)),
    elements=st.integers(0, 6).map(float),  # few values: many ties
)
fine = arrays(np.float64, st.tuples(st.integers(1, 60), st.just(3)), elements=st.floats(0, 1))


def brute_force_front(points: np.ndarray) -> set[tuple[float, ...]]:
    return {
        tuple(a)
        for a in points.tolist()
        if not any(
            all(x <= y for x, y in zip(b, a, strict=True)) and b != a for b in points.tolist()
        )
    }


@given(st.one_of(coarse, fine))
def test_the_front_has_no_dominated_point_and_misses_none(points: np.ndarray) -> None:
    found = front(points)
    assert {tuple(row) for row in points[found].tolist()} == brute_force_front(points)
    assert len({tuple(row) for row in points[found].tolist()}) == len(found)  # of equals, one


@settings(max_examples=60)
@given(
    st.lists(
        st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=5),
        min_size=1,
        max_size=4,
    ),
    st.floats(0.2, 4),
)
def test_the_model_finds_what_brute_force_finds(
    jobs: list[list[tuple[float, float]]], limit: float
) -> None:
    columns = [
        Column(np.array([a for a, _ in job]), {"budget": np.array([b for _, b in job])})
        for job in jobs
    ]
    solution = choose(columns, {"budget": limit})
    best = np.inf
    for choice in np.ndindex(*[len(job) for job in jobs]):
        spent = sum(job[k][1] for job, k in zip(jobs, choice, strict=True))
        if spent <= limit:
            best = min(best, sum(job[k][0] for job, k in zip(jobs, choice, strict=True)))
    if solution.chosen is not None:
        spent = sum(job[k][1] for job, k in zip(jobs, solution.chosen, strict=True))
        assert spent <= limit * (1 + 2e-6)  # the solver's own tolerance
        assert solution.status == "optimal"
    if np.isinf(best):
        assert solution.chosen is None or spent > limit
        assert solution.chosen is not None or solution.status == "infeasible"
        return
    assert solution.chosen is not None
    found = sum(float(job[k][0]) for job, k in zip(jobs, solution.chosen, strict=True))
    assert found == pytest.approx(best, abs=2e-6)


@pytest.fixture(params=["profiled", "unprofiled"])
def priced(
    request: pytest.FixtureRequest,
    workload: Workload,
    profile: Profile,
    catalog: Catalog,
    local: Offer,
) -> Priced:
    job = Job(workload, Path(), profile if request.param == "profiled" else None)
    return price(job, catalog.with_offer(local), Weights())


def planned(workload: Workload, catalog: Catalog, local: Offer, weights: Weights | None) -> Plan:
    return optimize([Job(workload, Path())], catalog, local, weights=weights)


@pytest.mark.parametrize(
    ("weights", "what"),
    [((1, 0, 0), "time"), ((0, 1, 0), "cost"), ((0, 0, 1), "flexibility")],
)
def test_with_one_weight_the_chosen_candidate_is_the_best_of_all(
    weights: tuple[float, float, float],
    what: str,
    workload: Workload,
    profile: Profile,
    catalog: Catalog,
    local: Offer,
) -> None:
    w = Weights(alpha=weights[0], beta=weights[1], gamma=weights[2])
    for given_profile in (None, profile):
        job = Job(workload, Path(), given_profile)
        every = price(job, catalog.with_offer(local), w)
        chosen = optimize([job], catalog, local, weights=w).jobs[0].chosen.predicted
        everything = {
            "time": (every.candidates.time_p90_s, chosen.time_s.p90),
            "cost": (every.candidates.cost_mean_usd, chosen.cost_usd.mean),
            "flexibility": (every.flexibility.total, chosen.flexibility),
        }
        values, found = everything[what]
        assert len(values) > 10_000
        assert every.allowed.all() or values[every.allowed].min() <= values.min() * 1.001 + 1e-12
        assert found == pytest.approx(float(values[every.allowed].min()), rel=1e-12)


@given(st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 1)))
@settings(max_examples=15, deadline=None)
def test_the_plan_has_the_least_loss_of_all_allowed(weights: tuple[float, float, float]) -> None:
    from isocost.catalog import load, this_machine
    from isocost.profiles.workload import read_workload

    from .conftest import EXAMPLE

    w = Weights(alpha=weights[0], beta=weights[1], gamma=weights[2])
    job = Job(read_workload(EXAMPLE), Path())
    some = load().filtered("provider IN ('aws', 'lambda') AND accelerator <> 'CPU'")
    every = price(job, some.with_offer(this_machine(0.02)), w)
    plan = optimize([job], some, this_machine(0.02), weights=w)
    least = float(every.losses.total[every.allowed].min())
    assert plan.jobs[0].chosen.losses.total == pytest.approx(least, abs=1e-9)
    assert plan.solver.status == "optimal"
    assert plan.solver.gap <= 1e-6
    assert plan.solver.columns <= plan.solver.candidates


def test_scaling_all_weights_changes_nothing(
    workload: Workload, catalog: Catalog, local: Offer
) -> None:
    one = planned(workload, catalog, local, Weights(alpha=0.2, beta=0.3, gamma=0.1))
    ten = planned(workload, catalog, local, Weights(alpha=2, beta=3, gamma=1))
    assert [
        c.model_dump(include={"offer", "purchase", "nodes", "knobs"}) for c in one.jobs[0].frontier
    ] == [
        c.model_dump(include={"offer", "purchase", "nodes", "knobs"}) for c in ten.jobs[0].frontier
    ]
    assert one.jobs[0].chosen.offer == ten.jobs[0].chosen.offer
    assert one.jobs[0].chosen.losses.total == pytest.approx(ten.jobs[0].chosen.losses.total)


def test_duplicated_and_dominated_offers_never_change_the_plan(
    workload: Workload, catalog: Catalog, local: Offer
) -> None:
    before = planned(workload, catalog, local, Weights(alpha=1, beta=1, gamma=0)).jobs[0].chosen
    some = catalog.offer(0)
    dearer = {purchase: 3 * usd for purchase, usd in some.prices_usd_h.items()}
    for other in (
        replace(some, instance_type="twin"),
        replace(some, instance_type="dearer", prices_usd_h=dearer),
    ):
        after = planned(
            workload, catalog.with_offer(other), local, Weights(alpha=1, beta=1, gamma=0)
        )
        assert after.jobs[0].chosen.losses.total == pytest.approx(before.losses.total, abs=1e-12)


def test_constraints_never_lower_the_loss_and_never_move_the_scale(
    workload: Workload, catalog: Catalog, local: Offer
) -> None:
    free = workload.model_copy(update={"constraints": Constraints()})
    gpus = workload.model_copy(
        update={"constraints": Constraints(accelerators=("T4", "A100-40GB"), max_nodes=2)}
    )
    whole = catalog.with_offer(local)
    loose, tight = (price(Job(w, Path()), whole, Weights()) for w in (free, gpus))
    assert (loose.losses.performance == tight.losses.performance).all()
    assert (loose.losses.cost == tight.losses.cost).all()
    # Answers are lost, so F may rise; hindsight keeps all, so that it never falls.
    assert (tight.losses.flexibility >= loose.losses.flexibility).all()
    assert tight.losses.total[tight.allowed].min() >= loose.losses.total.min()
    chosen = planned(gpus, catalog, local, Weights()).jobs[0].chosen
    assert chosen.offer.accelerator in {"T4", "A100-40GB"}
    assert chosen.nodes <= 2


def test_wishes_are_kept(workload: Workload, catalog: Catalog, local: Offer) -> None:
    wishes = Constraints(providers=("aws", "gcp"), spot=False, max_nodes=2, deadline_s=3600)
    plan = planned(workload.model_copy(update={"constraints": wishes}), catalog, local, None)
    for one in (plan.jobs[0].chosen, *plan.jobs[0].runners_up, *plan.jobs[0].frontier):
        assert one.offer.provider in {"aws", "gcp"}
        assert one.purchase is Purchase.ON_DEMAND
        assert one.nodes <= 2
        assert one.predicted.time_s.p90 <= 3600
        assert one.global_batch <= workload.max_global_batch
    here = plan.jobs[0].runnable_here
    assert here is not None
    assert here.offer.provider == "local"
    assert not plan.jobs[0].runnable_here_keeps_constraints  # local is no provider asked for


def test_infeasible_says_the_smallest_relaxation_and_it_suffices(
    workload: Workload, catalog: Catalog, local: Offer
) -> None:
    wishes = Constraints(deadline_s=5, providers=("aws",))
    hasty = workload.model_copy(update={"constraints": wishes})
    with pytest.raises(Infeasible, match=r"a deadline of (\d+) s instead of 5 s") as error:
        planned(hasty, catalog, local, None)
    seconds = float(str(error.value).split("a deadline of ")[1].split(" s")[0])
    enough = wishes.model_copy(update={"deadline_s": seconds})
    planned(workload.model_copy(update={"constraints": enough}), catalog, local, None)
    less = wishes.model_copy(update={"deadline_s": seconds - 2})
    with pytest.raises(Infeasible):
        planned(workload.model_copy(update={"constraints": less}), catalog, local, None)

    poor = workload.model_copy(
        update={"constraints": Constraints(budget_usd=1e-4, providers=("aws",))}
    )
    with pytest.raises(Infeasible, match=r"a budget of ([\d.]+) USD") as error:
        planned(poor, catalog, local, None)
    usd = float(str(error.value).split("a budget of ")[1].split(" USD")[0])
    enough = Constraints(budget_usd=usd, providers=("aws",))
    planned(workload.model_copy(update={"constraints": enough}), catalog, local, None)


def test_a_misspelt_accelerator_is_refused_with_the_nearest(
    workload: Workload, catalog: Catalog, local: Offer
) -> None:
    wrong = workload.model_copy(update={"constraints": Constraints(accelerators=("A10O",))})
    with pytest.raises(InputError, match="did you mean 'A10'"):
        planned(wrong, catalog, local, None)


def test_an_unknown_model_without_profile_is_refused(
    workload: Workload, catalog: Catalog, local: Offer
) -> None:
    own = workload.model_copy(update={"model": "train:make"})
    with pytest.raises(InputError, match="isocost profile"):
        planned(own, catalog, local, None)


def test_every_candidate_is_sane(priced: Priced) -> None:
    c, flexible = priced.candidates, priced.flexibility
    for column in (c.time_mean_s, c.time_p50_s, c.time_p90_s, c.compute_usd, c.step_s):
        assert np.isfinite(column).all()
        assert (column > 0).all()
    assert (c.time_p50_s <= c.time_p90_s).all()
    assert (c.time_mean_s >= c.work_s * (1 - 1e-12)).all()
    assert (c.cost_p50_usd <= c.cost_p90_usd * (1 + 1e-12)).all()
    assert (c.cost_mean_usd >= c.compute_usd).all()
    assert (c.batch * c.replicas <= priced.job.workload.max_global_batch).all()
    assert ((flexible.total >= 0) & (flexible.total <= 1)).all()
    every = np.arange(len(c), dtype=np.intp)
    for regret in flexible.scenarios(every).values():
        assert ((regret.score >= 0) & (regret.score <= 1)).all()


def test_spot_is_slower_on_average_than_on_demand_on_the_same_nodes(priced: Priced) -> None:
    c = priced.candidates
    key = np.column_stack([c.offer, c.nodes, c.batch, c.knobs])
    spot, demand = c.purchase == 1, c.purchase == 0
    on_demand = {
        tuple(k): t for k, t in zip(key[demand].tolist(), c.time_mean_s[demand], strict=True)
    }
    pairs = [
        (t, on_demand[tuple(k)])
        for k, t in zip(key[spot].tolist(), c.time_mean_s[spot], strict=True)
        if tuple(k) in on_demand
    ]
    assert len(pairs) > 1000
    assert all(a >= b for a, b in pairs)


@given(st.floats(10, 1e6), st.floats(60, 1e7), st.floats(0, 2000), st.floats(0.01, 100))
def test_wall_time_is_at_least_the_work_and_falls_with_reliability(
    work: float, mtti: float, restart: float, stall: float
) -> None:
    one = wall_time(work, 0.1, mtti, restart, 0.0, stall)
    better = wall_time(work, 0.1, 2 * mtti, restart, 0.0, stall)
    assert float(one.mean_s) >= work
    assert float(better.mean_s) <= float(one.mean_s) * (1 + 1e-9)
    assert float(young_interval(stall, mtti, work)) <= max(work, stall)


def test_a_replacement_is_as_young_as_the_first_machine() -> None:
    bands = (HazardBand(0, 1, 1.0), HazardBand(1, float("inf"), 0.05))
    hours = np.array([0.01, 0.5, 1.0, 5.0, 50.0, 300.0])
    lost = expected_losses(bands, hours)
    assert (lost >= hazard_integral(bands, hours) - 2e-2).all()
    assert (np.diff(lost) > 0).all()
    rng = np.random.default_rng(0)
    # Lives by inverting the integrated hazard: H(t) = -ln U.
    need = rng.exponential(size=(4000, 400))
    lives = np.where(need < 1.0, need, 1 + (need - 1.0) / 0.05)
    counted = (lives.cumsum(axis=1) <= 50.0).sum(axis=1).mean()
    assert float(lost[4]) == pytest.approx(float(counted), rel=0.03)


def test_rare_interruptions_agree_with_the_design_s_first_order_formula() -> None:
    work, mtti, restart, stall = 1e5, 1e6, 100.0, 5.0
    tau = float(young_interval(stall, mtti, work))
    ettr = (1 - (restart + tau / 2) / mtti) / (1 + stall / tau)
    exact = float(wall_time(work, 0.0, mtti, restart - stall, 0.0, stall).mean_s)
    assert exact == pytest.approx(work / ettr, rel=1e-3)


def test_the_slowest_of_more_nodes_is_slower() -> None:
    delay = Delay(60.0, 0.6, "test")
    means = [gang_delay(delay, nodes)[0] for nodes in (1, 2, 4, 8, 16)]
    assert means == sorted(means)
    assert means[0] == pytest.approx(60 * np.exp(0.18), rel=2e-3)
    assert gang_delay(Delay(60.0, 0.0, "test"), 8)[0] == pytest.approx(60.0)


def test_the_hazard_integral_adds_up_its_bands() -> None:
    bands = (HazardBand(0, 1, 0.3), HazardBand(1, 4, 0.1), HazardBand(4, float("inf"), 0.01))
    assert hazard_integral(bands, [0.5, 1, 3, 14]).tolist() == pytest.approx([0.15, 0.3, 0.5, 0.7])


@given(st.floats(1, 1e6), st.floats(0, 1e10))
@settings(deadline=None)
def test_quantiles_ascend(mean: float, variance: float) -> None:
    low, high = (
        float(lognormal_quantile(np.array(mean), np.array(variance), p)) for p in (0.5, 0.9)
    )
    # A heavy tail pulls both far below the mean, and p90 below p50 nowhere.
    assert low <= high * (1 + 1e-12)


def test_losses_are_zero_and_one_at_the_ends_of_the_front() -> None:
    time, cost, flex = np.array([1.0, 2, 4, 9]), np.array([8.0, 3, 2, 9]), np.zeros(4)
    found = losses(time, cost, flex, Weights(alpha=1, beta=1, gamma=1))
    assert found.performance[:3].tolist() == pytest.approx([0, 1 / 3, 1])
    assert found.cost[:3].tolist() == pytest.approx([1, 1 / 6, 0])
    assert found.performance[3] > 1  # dominated: beyond the nadir
    assert set(found.front.tolist()) == {0, 1, 2}


def test_a_price_of_nothing_and_answers_that_are_forbidden(
    workload: Workload, catalog: Catalog
) -> None:
    from isocost.catalog import this_machine

    free = price(Job(workload, Path()), catalog.with_offer(this_machine(0.0)), Weights())
    assert np.isfinite(free.flexibility.total).all()
    mine = np.flatnonzero(free.here)
    assert np.isfinite(free.flexibility.scenarios(mine)["lose_zone"].usd).all()  # one can move away
    only = workload.model_copy(update={"constraints": Constraints(providers=("aws",), spot=False)})
    bound = price(Job(only, Path()), catalog.with_offer(this_machine(0.02)), Weights())
    left = bound.flexibility.scenarios(np.flatnonzero(bound.permitted))["leave"]
    assert (left.score == 1).all()


def test_data_at_a_misspelt_place_are_refused(
    workload: Workload, catalog: Catalog, local: Offer
) -> None:
    for place in ("awss:us-east-1", "aws:us-est-1"):
        data = workload.data.model_copy(update={"location": place})
        with pytest.raises(InputError, match="did you mean 'aws:us-east-1'"):
            planned(workload.model_copy(update={"data": data}), catalog, local, None)


def test_what_does_not_fit_into_a_device_is_no_candidate(
    workload: Workload, catalog: Catalog, local: Offer
) -> None:
    large = workload.model_copy(
        update={"model": "resnet50", "per_device_batch": (32, 2048), "max_global_batch": 65536}
    )
    found = price(Job(large, Path()), catalog.with_offer(local), Weights())
    table = found.catalog.offers[found.candidates.offer]
    small = (table["accelerator"] == "T4").to_numpy()
    assert (found.candidates.batch[small] == 32).any()
    assert not (found.candidates.batch[small] == 2048).any()


def test_a_profile_of_another_machine_is_only_transferred_here(
    workload: Workload, profile: Profile, catalog: Catalog, local: Offer
) -> None:
    job = Job(workload, Path(), profile, None, profiled_here=False)
    here = optimize([job], catalog, local).jobs[0].runnable_here
    assert here is not None
    assert here.basis == "transferred"
    same = optimize([Job(workload, Path(), profile)], catalog, local).jobs[0].runnable_here
    assert same is not None
    assert same.basis in ("measured", "fitted")


def test_each_bill_is_a_bill(priced: Priced) -> None:
    """The mean of a bill with a long minimum is that bill, not more."""
    c = priced.candidates
    oci = (priced.catalog.offers["provider"][c.offer] == "oci").to_numpy()
    short = oci & (c.time_p90_s < 1200) & (c.purchase == 0)
    assert short.any()
    hour = c.nodes[short] * c.price_usd_h[short]
    assert np.allclose(c.compute_usd[short], hour, rtol=0.02)


def test_checkpoints_kept_elsewhere_pay_for_their_way_tier_by_tier(
    workload: Workload, catalog: Catalog, local: Offer
) -> None:
    facts = ModelFacts(
        parameters=10**10,
        gradient_bytes=4e10,
        flops_per_sample=1e12,
        bytes_per_sample=1e9,
        checkpoint_bytes=1.2e11,
    )
    changes = {"facts": facts, "model": "own:model", "epochs": 90.0, "constraints": Constraints()}
    here = workload.model_copy(update=changes)
    there = here.model_copy(update={"checkpoint_location": "gcp:us-central1"})
    whole = catalog.with_offer(local)
    one, other = (price(Job(job, Path()), whole, Weights()) for job in (here, there))
    a, b = one.candidates, other.candidates
    assert (a.checkpoints_usd == 0).all()
    offers = whole.offers
    for k in np.random.default_rng(0).choice(len(b), 200).tolist():
        place = offers["provider"][int(b.offer[k])], offers["region"][int(b.offer[k])]
        saved = max(1.0, b.work_s[k] / b.checkpoint_interval_s[k])
        usd = catalog.transfer.usd(saved * 1.2e11, place, ("gcp", "us-central1"))
        usd += catalog.transfer.usd(b.interruptions[k] * 1.2e11, ("gcp", "us-central1"), place)
        assert b.checkpoints_usd[k] == pytest.approx(usd, rel=1e-9, abs=1e-9)
        kept_there = b.storage_usd[k] - a.storage_usd[k]
        assert b.cost_mean_usd[k] - a.cost_mean_usd[k] == pytest.approx(usd + kept_there, rel=1e-6)
        assert b.cancelled_usd[k] <= b.cost_p90_usd[k]
    assert (b.checkpoints_usd > 0).mean() > 0.5
    chosen = optimize([Job(there, Path())], catalog, local).jobs[0].chosen
    lines = chosen.predicted.cost_lines
    parts = (lines.compute, lines.storage, lines.egress, lines.licence, lines.labour)
    assert sum(parts) == pytest.approx(chosen.predicted.cost_usd.mean)


def test_checkpoints_at_a_wrong_place_are_refused(
    workload: Workload, catalog: Catalog, local: Offer
) -> None:
    astray = workload.model_copy(update={"checkpoint_location": "gcp:us-centrl1"})
    with pytest.raises(
        InputError, match=r"checkpoints' location .* did you mean 'gcp:us-central1'"
    ):
        planned(astray, catalog, local, None)
    abroad = workload.model_copy(
        update={
            "checkpoint_location": "gcp:us-central1",
            "constraints": Constraints(residency=("EU",)),
        }
    )
    with pytest.raises(InputError, match="outside of residency"):
        planned(abroad, catalog, local, None)
