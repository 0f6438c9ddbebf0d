"""Choosing again is choosing anew: the same candidate, without pricing anything twice."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isocost.catalog import Catalog, load, this_machine
from isocost.optimizer.optimize import Infeasible, Job, optimize, price
from isocost.optimizer.replan import Points, Ready, replan, space
from isocost.profiles.workload import Weights, Workload, read_workload

from .conftest import EXAMPLE

# Large enough for the front to hold more than this machine.
WORKLOAD = read_workload(EXAMPLE).model_copy(
    update={"model": "resnet50", "samples_per_epoch": 1_281_167, "epochs": 20.0}
)
LOCAL = this_machine(0.02)


def small_catalog() -> Catalog:
    whole = load()
    return replace(whole, offers=whole.offers.sample(60, seed=3))


CATALOG = small_catalog()


def ready_for(workload: Workload) -> Ready:
    priced = price(Job(workload, EXAMPLE.parent), CATALOG.with_offer(LOCAL), workload.weights)
    return Ready.of(priced)


READY = {
    probability: ready_for(WORKLOAD.wishing(deadline_probability=probability))
    for probability in (0.9, 0.5)
}

weight = st.floats(0, 1)
weights = st.tuples(weight, weight, weight).filter(lambda w: sum(w) > 1e-3)
limits = st.none() | st.floats(0.02, 1.5)


@settings(max_examples=12, deadline=None)
@given(weights, limits, limits, st.sampled_from([0.9, 0.5]))
def test_choosing_again_is_choosing_anew(
    w: tuple[float, float, float],
    deadline_share: float | None,
    budget_share: float | None,
    probability: float,
) -> None:
    ready = READY[probability]
    there = space(ready)
    deadline = None if deadline_share is None else deadline_share * max(there.front.time_s)
    budget = None if budget_share is None else budget_share * max(there.front.cost_usd)
    asked = Weights(alpha=w[0], beta=w[1], gamma=w[2])
    found = replan(ready, asked, deadline, budget)
    kept = WORKLOAD.constraints.model_copy(
        update={
            "deadline_s": deadline,
            "budget_usd": budget,
            "deadline_probability": probability,
        }
    )
    job = Job(WORKLOAD.model_copy(update={"constraints": kept}), EXAMPLE.parent)
    if found.chosen is None:
        with pytest.raises(Infeasible) as refused:
            optimize([job], CATALOG, LOCAL, weights=asked)
        assert found.infeasible == str(refused.value)
        return
    plan = optimize([job], CATALOG, LOCAL, weights=asked)
    assert found.chosen.losses.total == pytest.approx(plan.jobs[0].chosen.losses.total, rel=1e-12)
    assert found.chosen == plan.jobs[0].chosen
    # Runners-up of equal L may come in another order.
    anew = [one.losses.total for one in plan.jobs[0].runners_up]
    assert [one.losses.total for one in found.runners_up] == pytest.approx(anew, rel=1e-12)
    assert found.gap is not None
    assert found.gap < 1e-9
    assert len(found.kept_s) == 1 + len(found.runners_up)


def test_the_picture_shows_the_front_within_its_limit() -> None:
    ready = READY[0.9]
    whole, few = space(ready, most=10_000), space(ready, most=7)
    assert len(whole.front.labels) == whole.size == len(ready.efficient)
    assert len(few.front.labels) <= 7
    assert len(few.others.labels) == 7
    assert list(whole.front.time_s) == sorted(whole.front.time_s)
    assert whole.deadline_s == WORKLOAD.constraints.deadline_s
    # Nothing in the picture beats a point of the front.
    every = np.concatenate([columns(whole.front), columns(whole.others)])
    for point in columns(whole.front):
        assert not ((every <= point).all(axis=1) & (every < point).any(axis=1)).any()


def columns(points: Points) -> np.ndarray:
    return np.column_stack([points.time_s, points.cost_usd, points.flexibility])


def test_rules_of_the_workload_stay() -> None:
    ready = ready_for(WORKLOAD.wishing(spot=False, providers=("aws",)))
    found = replan(ready, Weights(), None, None)
    assert found.chosen is not None
    for one in (found.chosen, *found.runners_up):
        assert one.offer.provider == "aws"
        assert one.purchase != "spot"
