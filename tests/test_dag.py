"""Pipelines and shared owned machines: against brute force, and the laws of the model."""

from dataclasses import replace
from itertools import combinations, permutations, product

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isocost.optimizer.dag import Cycle, Edge, Pipeline, Pool, timed
from isocost.optimizer.dag_columns import worth_stating
from isocost.optimizer.instance import Instance, Limit
from isocost.optimizer.schedule import schedule
from isocost.optimizer.solver import Status

CHECKED = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
PLACES = 3


@st.composite
def pipelines(draw: st.DrawFn, *, pools: bool = False) -> Pipeline:
    """Up to four jobs of up to four columns in three places, any DAG, a budget, deadlines, a pool."""
    sizes = draw(st.lists(st.integers(1, 3 if pools else 4), min_size=2, max_size=4))
    count, jobs = sum(sizes), len(sizes)

    def numbers(low: int, high: int, size: int = count) -> np.ndarray:
        drawn = draw(st.lists(st.integers(low, high), min_size=size, max_size=size))
        return np.array(drawn, float)

    edges = []
    for i, j in combinations(range(jobs), 2):
        if draw(st.booleans()):
            usd = numbers(0, 6, PLACES**2).reshape(PLACES, PLACES)
            seconds = numbers(0, 9, PLACES**2).reshape(PLACES, PLACES)
            edges.append(Edge(i, j, usd / 100, usd, seconds))
    usd = numbers(0, 20)
    limits = []
    if draw(st.booleans()):
        budget = np.array([float(draw(st.integers(0, 15 * jobs)))])
        limits.append(Limit("budget", ("all",), np.zeros(count, int), usd, budget))
    if draw(st.booleans()):
        quota = np.array([float(draw(st.integers(0, 3))), np.inf])
        codes = numbers(0, 1).astype(int)
        limits.append(Limit("provider", ("a", "b"), codes, np.ones(count), quota))
    latest = np.full(jobs, np.inf)
    if draw(st.booleans()):
        latest[draw(st.integers(0, jobs - 1))] = draw(st.integers(1, 40))
    return Pipeline(
        Instance(np.cumsum([0, *sizes]), usd / 100 + numbers(0, 9) / 1000, tuple(limits)),
        numbers(1, 12),
        numbers(0, PLACES - 1).astype(int),
        PLACES,
        tuple(edges),
        draw(st.sampled_from([0.0, 0.001, 0.02])),
        numbers(0, 3, jobs) / 1000,
        latest,
        (Pool("own", numbers(0, 2), 2.0),) if pools else (),
    )


def serial(pipeline: Pipeline, chosen: np.ndarray, order: tuple[int, ...]) -> np.ndarray | None:
    """Starts when the jobs are placed one by one, each as early as it can; None against the edges."""
    t, place = pipeline.time_s[chosen], pipeline.place[chosen]
    start: dict[int, float] = {}
    for j in order:
        ready = 0.0
        for edge in pipeline.edges:
            if edge.after == j:
                if edge.before not in start:
                    return None
                moving = edge.seconds[place[edge.before], place[j]]
                ready = max(ready, start[edge.before] + t[edge.before] + float(moving))
        for at in sorted({ready, *(s + t[i] for i, s in start.items() if s + t[i] > ready)}):
            # Usage rises only where something starts.
            moments = [at, *(s for s in start.values() if at < s < at + t[j])]
            if all(
                pool.nodes[chosen[j]]
                + sum(pool.nodes[chosen[i]] for i, s in start.items() if s <= m < s + t[i])
                <= pool.count
                or pool.nodes[chosen[j]] == 0
                for pool in pipeline.pools
                for m in moments
            ):
                start[j] = at
                break
        else:
            return None
    return np.array([start[j] for j in pipeline.jobs])


def brute_force(pipeline: Pipeline) -> float:
    """The least objective over all choices and all orders in which machines may be handed on."""
    instance, best = pipeline.instance, np.inf
    ranges = [range(a, b) for a, b in zip(instance.start[:-1], instance.start[1:], strict=True)]
    orders = list(permutations(pipeline.jobs)) if pipeline.pools else [tuple(pipeline.order())]
    budget = next((one for one in instance.limits if one.name == "budget"), None)
    for choice in product(*ranges):
        chosen = np.array(choice)
        place = pipeline.place[chosen]
        pairs = [(e, place[e.before], place[e.after]) for e in pipeline.edges]
        moved = sum(float(e.usd[p, q]) for e, p, q in pairs)
        if budget and budget.used(chosen)[0] + moved > budget.at_most[0] + 1e-9:
            continue
        if not instance.kept(chosen):
            continue
        fixed = instance.objective(chosen) + sum(float(e.price[p, q]) for e, p, q in pairs)
        for order in orders:
            start = serial(pipeline, chosen, order)
            if start is None:
                continue
            end = start + pipeline.time_s[chosen]
            if (end <= pipeline.latest_s + 1e-9).all():
                waits = float(pipeline.waiting @ start)
                best = min(best, fixed + pipeline.per_second * float(end.max()) + waits)
    return best


def agrees(pipeline: Pipeline) -> None:
    best, found = brute_force(pipeline), schedule(pipeline)
    if np.isinf(best):
        assert found.status is Status.INFEASIBLE
        return
    assert found.status is Status.OPTIMAL
    assert found.chosen is not None
    assert found.objective == pytest.approx(best, abs=1e-7)
    assert found.bound <= best + 1e-7
    end = found.start_s + pipeline.time_s[found.chosen]
    assert (end <= pipeline.latest_s + 1e-5).all()
    for pool in pipeline.pools:
        for moment in found.start_s:
            running = (found.start_s <= moment + 1e-7) & (end > moment + 1e-7)
            assert pool.nodes[found.chosen][running].sum() <= pool.count


@CHECKED
@given(pipelines())
def test_a_pipeline_is_planned_as_brute_force_would(pipeline: Pipeline) -> None:
    agrees(pipeline)


@settings(CHECKED, max_examples=100)
@given(pipelines(pools=True))
def test_owned_machines_are_handed_on_as_brute_force_would(pipeline: Pipeline) -> None:
    agrees(pipeline)


@settings(CHECKED, max_examples=100)
@given(pipelines())
def test_what_is_not_stated_is_in_no_better_plan(pipeline: Pipeline) -> None:
    kept = worth_stating(pipeline)
    less = replace(
        pipeline,
        instance=pipeline.instance.take(kept),
        time_s=pipeline.time_s[kept],
        place=pipeline.place[kept],
    )
    assert brute_force(less) == pytest.approx(brute_force(pipeline))


def chain() -> Pipeline:
    """Two jobs, each quick at place 0 or cheap at place 1; moving costs 5 USD and 10 s."""
    apart = 1 - np.eye(2)
    instance = Instance(np.array([0, 2, 4]), np.array([0.06, 0.03, 0.06, 0.04]))
    edge = Edge(0, 1, apart * 0.05, apart * 5.0, apart * 10.0)
    place = np.array([0, 1, 0, 1])
    none = np.zeros(2)
    latest = np.full(2, np.inf)
    return Pipeline(instance, np.array([5.0, 9, 5, 9]), place, 2, (edge,), 0.0, none, latest)


def test_data_keep_jobs_together_and_haste_moves_both() -> None:
    cheap = schedule(chain())
    assert cheap.chosen is not None
    assert cheap.chosen.tolist() == [1, 3]
    quick = schedule(replace(chain(), per_second=0.01))
    assert quick.chosen is not None
    assert quick.chosen.tolist() == [0, 2]
    assert quick.makespan_s == pytest.approx(10)
    assert timed(chain(), np.array([0, 3]))[0].tolist() == [0.0, 15.0]


def test_jobs_that_wait_for_each_other_are_named() -> None:
    one = chain()
    back = replace(one.edges[0], before=1, after=0)
    with pytest.raises(Cycle) as caught:
        schedule(replace(one, edges=(*one.edges, back)))
    assert set(caught.value.jobs) == {0, 1}
