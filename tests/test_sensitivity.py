"""How wrong a figure may be: against pricing everything anew, and the laws of what wins when."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from isocost.catalog import Catalog, load, this_machine
from isocost.optimizer.considered import considered, kinds
from isocost.optimizer.explain import explain
from isocost.optimizer.plan import Sensitivity
from isocost.optimizer.pricing import Job, Priced, price
from isocost.optimizer.scaling import scaling
from isocost.optimizer.sensitivity import (
    INTERRUPTIONS,
    PRICE,
    _price,
    _same_price,
    _same_speed,
    _throughput,
    _winner,
    sensitivity,
)
from isocost.profiles.workload import Workload

from .documents import RESNET

RTOL, ATOL = 1e-9, 1e-12


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load().filtered("provider IN ('aws','gcp') AND accelerator IN ('T4','V100-16GB','CPU')")


@pytest.fixture(scope="module")
def one(catalog: Catalog) -> Priced:
    """A job that rents, within a deadline."""
    workload = Workload.parse(RESNET | {"constraints": {"deadline_s": "40h"}}, "resnet-50")
    job = Job(workload, Path("."))
    return price(job, catalog.with_offer(this_machine(0.02)), workload.weights)


@pytest.fixture(scope="module")
def chosen(one: Priced) -> int:
    rows = np.flatnonzero(one.allowed)
    return int(rows[np.argmin(one.losses.total[rows])])


def found(one: Priced, chosen: int) -> dict[str, Sensitivity]:
    return {each.key: each for each in sensitivity(one, chosen)}


def test_the_figures_that_are_varied_are_price_speed_interruptions_and_deadline(
    one: Priced, chosen: int
) -> None:
    assert list(found(one, chosen)) == ["price", "throughput", "interruptions", "deadline"]


def test_an_unchanged_figure_changes_nothing(one: Priced, chosen: int) -> None:
    every = one.candidates
    for rows, change in (
        (_same_price(one, chosen), _price(one)),
        (_same_speed(one, chosen), _throughput(one)),
    ):
        world = change(rows, 1.0)
        np.testing.assert_allclose(world.cost_usd, every.cost_mean_usd[rows], RTOL, ATOL)
        np.testing.assert_allclose(world.time_p90_s, every.time_p90_s[rows], RTOL, ATOL)
        np.testing.assert_allclose(world.loss, one.losses.total[rows], RTOL, ATOL)
        assert (world.allowed == one.allowed[rows]).all()


def test_a_price_is_as_if_the_catalog_had_it(one: Priced, chosen: int) -> None:
    """Of the provider and the purchase, cost by cost."""
    rows = _same_price(one, chosen)
    seller = one.catalog.offers["provider"][int(one.candidates.offer[chosen])]
    dearer = one.catalog.offers.with_columns(
        pl.when(pl.col("provider") == seller)
        .then(pl.col(name) * PRICE[1])
        .otherwise(pl.col(name))
        .alias(name)
        for name in ("on_demand_usd_h", "spot_usd_h")
    )
    anew = price(one.job, replace(one.catalog, offers=dearer), one.weights)
    world = _price(one)(rows, PRICE[1])
    np.testing.assert_allclose(world.cost_usd, anew.candidates.cost_mean_usd[rows], rtol=1e-9)


def test_interruptions_are_as_if_the_provider_had_them(one: Priced, chosen: int) -> None:
    seller = str(one.catalog.offers["provider"][int(one.candidates.offer[chosen])])
    known = one.catalog.facts(seller)
    worse = replace(
        known,
        spot_hazard=tuple(
            replace(band, per_h=INTERRUPTIONS[1] * band.per_h) for band in known.spot_hazard
        ),
        node_failures_per_h=INTERRUPTIONS[1] * known.node_failures_per_h,
    )
    anew = price(
        one.job,
        replace(one.catalog, providers={**one.catalog.providers, seller: worse}),
        one.weights,
    )
    swing = found(one, chosen)["interruptions"].high
    assert swing.stays_time_s == pytest.approx(anew.candidates.time_p90_s[chosen], rel=1e-9)
    assert swing.stays_cost_usd == pytest.approx(anew.candidates.cost_mean_usd[chosen], rel=1e-9)


def test_slower_steps_take_longer_and_cost_more(one: Priced, chosen: int) -> None:
    swing = found(one, chosen)["throughput"]
    assert swing.low.factor < 1 < swing.high.factor
    assert swing.low.stays_time_s > swing.high.stays_time_s
    assert swing.low.stays_cost_usd > swing.high.stays_cost_usd


@pytest.mark.parametrize("key", ["price", "throughput"])
def test_the_chosen_plan_wins_up_to_the_edge_and_not_beyond(
    one: Priced, chosen: int, key: str
) -> None:
    each = found(one, chosen)[key]
    rows, change = (
        (_same_price(one, chosen), _price(one))
        if key == "price"
        else (_same_speed(one, chosen), _throughput(one))
    )
    outside_rows = one.allowed.copy()
    outside_rows[rows] = False
    others = np.flatnonzero(outside_rows)
    outside = int(others[np.argmin(one.losses.total[others])])
    edges = [edge for edge in (each.wins_from, each.wins_to) if edge is not None]
    assert edges
    for edge in edges:
        inward, outward = (edge * 1.001, edge / 1.001) if edge < 1 else (edge / 1.001, edge * 1.001)
        assert _winner(one, change(rows, inward), chosen, outside) == chosen
        assert _winner(one, change(rows, outward), chosen, outside) != chosen


def test_the_deadline_fails_where_the_time_says_so(one: Priced, chosen: int) -> None:
    limit = next(limit for limit in one.limits if limit.key == "deadline_s")
    each = found(one, chosen)["deadline"]
    assert each.wins_from == pytest.approx(limit.use[chosen] / limit.limit)
    for swing in (each.low, each.high):
        rows = np.flatnonzero(one.permitted & (limit.use <= swing.factor * limit.limit))
        best = one.losses.total[rows].min()
        if swing.instead is None and swing.stays_allowed:
            assert one.losses.total[chosen] <= best + 1e-9
        elif swing.instead is not None:
            assert swing.instead.losses.total == pytest.approx(best)


def test_each_kind_of_offer_is_listed_once_at_its_best(one: Priced) -> None:
    listed, size = considered(one)
    kind = kinds(one)
    assert size == len(np.unique(kind)) == len(listed)
    names = [(each.provider, each.instance_type, each.purchase) for each in listed]
    assert len(names) == len(set(names))
    allowed = [not each.breaks for each in listed]
    assert allowed == sorted(allowed, reverse=True)
    losses = [each.loss for each in listed if not each.breaks]
    assert losses == sorted(losses)
    assert losses[0] == pytest.approx(one.losses.total[one.allowed].min())
    for each in (listed[0], listed[-1]):
        table = one.catalog.offers
        same = (
            (table["provider"] == each.provider) & (table["instance_type"] == each.instance_type)
        ).to_numpy()[one.candidates.offer]
        bought = [p for p in ("on_demand", "spot", "owned", "reserved_1y", "reserved_3y")]
        same &= one.candidates.purchase == bought.index(each.purchase.value)
        pool = same & one.allowed if not each.breaks else same
        assert each.loss == pytest.approx(one.losses.total[pool].min())
    few, whole = considered(one, 3)
    assert (few, whole) == (listed[:3], size)


def test_more_devices_are_never_more_than_so_many_times_as_quick(one: Priced, chosen: int) -> None:
    curve = scaling(one, [chosen])[0]
    first = curve.points[0]
    counts = [point.devices for point in curve.points]
    assert counts == sorted(set(counts))
    for point in curve.points:
        said = point.samples_per_s
        assert said.p05 < said.p50 < said.p95
        assert said.p50 <= first.samples_per_s.p50 * point.devices / first.devices * (1 + 1e-9)


def test_an_explanation_holds_them_all(one: Priced, chosen: int) -> None:
    why = explain(one, one.efficient(), chosen)
    assert len(why.sensitivity) == 4
    assert why.scaling[0].offer.instance_type in {each.instance_type for each in why.considered}
    assert why.considered_size == len(why.considered)
