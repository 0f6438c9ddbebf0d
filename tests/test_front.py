"""The front of all jobs: laws against all plans of small instances, and through the command."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isocost.catalog import Catalog, Offer
from isocost.optimizer.front import LEAST_WEIGHT, Solved, refined
from isocost.optimizer.joint import front_of_jobs
from isocost.optimizer.optimize import Job, Priced, price
from isocost.optimizer.pareto import front
from isocost.optimizer.plan import Front, LimitPrice
from isocost.optimizer.shared import Shared, together
from isocost.profiles.workload import Weights, Workload

from .conftest import EXAMPLE, Command, document

plans: st.SearchStrategy[np.ndarray] = st.lists(
    st.tuples(*[st.integers(0, 20).map(lambda k: k / 20)] * 3), min_size=1, max_size=14
).map(np.array)


def by_trying_all(points: np.ndarray, slack: float = 0.0):  # type: ignore[no-untyped-def]
    """A solver that knows all plans, and proves the least L but for slack."""

    def solve(weights: Weights) -> Solved[int]:
        value = points @ np.array([weights.alpha, weights.beta, weights.gamma])
        k = int(np.argmin(value))
        return Solved(weights, tuple(points[k].tolist()), float(value[k]) - slack, k)

    return solve


def some_weights(count: int) -> np.ndarray:
    share = np.random.default_rng(0).dirichlet(np.ones(3), count)
    return share * (1 - 3 * LEAST_WEIGHT) + LEAST_WEIGHT


@settings(max_examples=150, deadline=None)
@given(plans)
def test_at_all_weights_a_plan_found_is_the_best_of_all(points: np.ndarray) -> None:
    found = refined(by_trying_all(points), most=500, near=1e-9)
    kept = np.array([one.losses for one in found.points])
    assert found.within <= 1e-9
    w = some_weights(200)
    assert (w @ kept.T).min(axis=1) == pytest.approx((w @ points.T).min(axis=1), abs=1e-9)
    # No plan found is beaten, by another found or by one that was not.
    for one in kept:
        assert not ((points <= one).all(axis=1) & (points < one).any(axis=1)).any()
    assert len(front(kept)) == len(kept)


@settings(max_examples=150, deadline=None)
@given(plans, st.integers(3, 8), st.sampled_from([0.0, 0.02]))
def test_what_is_left_open_is_a_bound(points: np.ndarray, most: int, slack: float) -> None:
    found = refined(by_trying_all(points, slack), most=most, near=1e-9)
    assert found.solves <= most
    kept = np.array([one.losses for one in found.points])
    w = some_weights(200)
    over = (w @ kept.T).min(axis=1) - (w @ points.T).min(axis=1)
    assert over.max() <= found.within + 1e-9


@pytest.fixture
def jobs(workload: Workload, catalog: Catalog, local: Offer) -> list[Priced]:
    """The example twice, on one provider's offers."""
    some = replace(catalog, offers=catalog.offers.filter(catalog.offers["provider"] == "aws"))
    whole = some.with_offer(local)
    return [price(Job(workload, Path()), whole, Weights()) for _ in range(2)]


def test_the_front_of_jobs_that_share_a_quota_holds_at_other_weights(jobs: list[Priced]) -> None:
    shared = Shared(quotas={"aws": 3})
    told: list[int] = []
    found = front_of_jobs(jobs, (), shared, most=12, solved=told.append)
    assert told == list(range(1, found.solves + 1))
    assert len(found.points) > 1
    losses = np.array([[one.performance, one.cost, one.flexibility] for one in found.points])
    assert len(front(losses)) == len(losses)
    for w in some_weights(6):
        weights = Weights(alpha=w[0], beta=w[1], gamma=w[2])
        answer = together([one.weighing(weights) for one in jobs], shared).answer
        assert answer is not None
        over = float((losses @ w).min()) - answer.objective / 2
        assert -1e-6 <= over <= found.within + 1e-6
    for one in found.points:
        assert sum(choice.nodes for choice in one.choices if choice.provider == "aws") <= 3


def test_the_command_shows_the_front_and_the_price_of_every_shared_limit(
    isocost: Command, tmp_path: Path
) -> None:
    names = []
    for name in ("one", "two"):
        text = re.sub(r"(?m)^name:.*$", f"name: {name}", EXAMPLE.read_text(encoding="utf-8"))
        names.append(tmp_path / f"{name}.yaml")
        names[-1].write_text(text, encoding="utf-8")
    arguments = (*names, "--alpha", "1", "--offers", "provider = 'aws'", "--total-budget", "1000")
    free = document(isocost("optimize", *arguments, "--json").stdout)
    both = free["jobs"]
    assert isinstance(both, list)
    wanted = both[0]["chosen"]["offer"]["accelerator"]
    more = ("--quota", f"{wanted}=1", "--explain", "--front", "6", "-o", "plan.json")
    done = isocost("optimize", *arguments, *more)
    assert done.returncode == 0, done.stderr
    assert "Whatever the weights" in done.stdout
    assert f"the quota of {wanted}" in done.stdout
    assert max(len(line) for line in done.stdout.splitlines() if "+0." in line) <= 80
    plan = document((tmp_path / "plan.json").read_text(encoding="utf-8"))
    listed = plan["limits"]
    assert isinstance(listed, list)
    quota, budget = (LimitPrice.model_validate(one) for one in listed)
    assert quota.binds
    assert quota.p90_hours > 0
    assert not budget.binds

    def p90_h(plan: dict[str, object]) -> float:
        jobs = plan["jobs"]
        assert isinstance(jobs, list)
        return sum(float(job["chosen"]["predicted"]["time_s"]["p90"]) for job in jobs) / 3600

    assert quota.p90_hours == pytest.approx(p90_h(plan) - p90_h(free), rel=1e-6)
    assert len(Front.model_validate(plan["front"]).points) > 1
