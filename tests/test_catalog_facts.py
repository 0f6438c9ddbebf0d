"""Transfer, storage, discounts, energy and carbon: every row, and the laws of the figures."""

import csv
import math
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isocost.catalog import load
from isocost.catalog.discounts import YEARS, sustained_use_multiplier
from isocost.catalog.footprint import grams_co2e_per_h, node_watts
from isocost.catalog.store import BUILT_IN
from isocost.catalog.transfer import GIB, Place

from .conftest import ROOT

CATALOG = load()
OFFERS = CATALOG.offers
TIB = 2**40
GRID = ROOT.parent / "shared" / "data" / "cost" / "egress_usd_per_gb_regions_2022-05.csv"
AREAS = {"us", "ca", "sa", "eu", "asia", "id", "au", "cn", "me", "af"}

places = st.sampled_from([*sorted(CATALOG.regions), ("local", "here"), ("own", "cloud")])
volumes = st.floats(0, 1e15)
usd = CATALOG.transfer.usd


def rows(name: str) -> list[dict[str, str]]:
    with (BUILT_IN / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# ------------------------------------------------------------------------------------ regions


def test_every_offer_lies_in_a_known_region() -> None:
    found = set(OFFERS.select("provider", "region").iter_rows())
    assert found <= set(CATALOG.regions)


def test_regions_have_an_area_and_a_plausible_grid() -> None:
    for place, region in CATALOG.regions.items():
        assert region.area in AREAS, place
        assert region.place
        assert region.grid_g_per_kwh is None or 0 < region.grid_g_per_kwh < 1000, place
    read = [r for r in CATALOG.regions.values() if r.grid_g_per_kwh is not None]
    assert len(read) > 0.7 * len(CATALOG.regions)


# ----------------------------------------------------------------------------------- transfer


@pytest.mark.parametrize("rule", CATALOG.transfer.rules, ids="-".join)
def test_tiers_of_every_rule_join_and_are_plausible(rule: tuple[str, str, str, str]) -> None:
    tiers = CATALOG.transfer.rules[rule]  # type: ignore[index]
    assert tiers[0].from_gb == 0
    assert tiers[-1].to_gb == math.inf
    assert all(a.to_gb == b.from_gb for a, b in pairwise(tiers))
    assert all(0 <= tier.usd_per_gb < 0.25 for tier in tiers)
    assert {rule[2], rule[3]} <= {"*"} | AREAS | {r for p, r in CATALOG.regions if p == rule[0]}


@given(places, places, volumes, volumes)
def test_moving_more_never_costs_less_nor_above_the_dearest_tier(
    source: Place, target: Place, a: float, b: float
) -> None:
    rate = max((t.usd_per_gb for t in CATALOG.transfer.tiers(source, target)), default=0)
    together = usd(a + b, source, target)
    assert together >= usd(a, source, target) - 1e-6
    assert together - usd(a, source, target) <= rate * b / GIB * (1 + 1e-9) + 1e-6


@given(places, volumes)
def test_staying_in_a_region_is_free_and_so_is_moving_nothing(place: Place, volume: float) -> None:
    assert usd(volume, place, place) == 0
    assert usd(0, place, ("aws", "us-east-1")) == 0


@given(places, places)
def test_the_cost_does_not_jump_at_a_tier(source: Place, target: Place) -> None:
    for tier in CATALOG.transfer.tiers(source, target)[1:]:
        edge = tier.from_gb * GIB
        assert usd(edge + 1, source, target) == pytest.approx(usd(edge, source, target), abs=1e-5)


def test_twenty_and_sixty_tib_from_aws_by_hand() -> None:
    start, end = ("aws", "us-east-1"), ("gcp", "us-central1")
    to_20 = 10_239 * 0.09 + 10_240 * 0.085
    to_60 = 10_239 * 0.09 + 40_960 * 0.085 + 10_240 * 0.07
    assert usd(20 * TIB, start, end) == pytest.approx(to_20)
    assert usd(60 * TIB, start, end) == pytest.approx(to_60)
    assert usd(60 * TIB, start, end) > usd(20 * TIB, start, end) > usd(TIB, start, end) > 0


def test_the_pair_of_places_counts() -> None:
    def tib(source: str, target: str) -> float:
        a, b = source.split(":"), target.split(":")
        return usd(TIB, (a[0], a[1]), (b[0], b[1]))

    assert tib("aws:us-east-1", "aws:us-east-2") == pytest.approx(10.24)
    assert tib("aws:us-east-1", "aws:eu-west-1") == pytest.approx(20.48)
    assert tib("aws:sa-east-1", "aws:us-east-1") == pytest.approx(0.138 * 1024)
    assert tib("gcp:us-central1", "gcp:us-west1") == pytest.approx(10.24)
    assert tib("gcp:us-central1", "gcp:australia-southeast1") == pytest.approx(0.15 * 1024)
    assert tib("gcp:us-central1", "aws:ap-southeast-2") == pytest.approx(0.19 * 1024)
    assert tib("gcp:us-central1", "alibaba:cn-beijing") == pytest.approx(0.23 * 1024)
    assert tib("azure:westeurope", "azure:uksouth") == pytest.approx(20.48)
    assert tib("lambda:us-east-1", "aws:us-east-1") == 0
    assert tib("nobody:here", "aws:us-east-1") == pytest.approx(0.12 * 1024)


@pytest.mark.skipif(not GRID.exists(), reason=f"{GRID} is not there")
def test_the_rules_give_back_the_grid_they_were_read_from() -> None:
    """Each pair of regions of 2022, between providers the first paid GiB; GCP's list is newer."""

    def place(text: str) -> Place:
        provider, name = text.split(":")
        return provider, name.rsplit("-", 1)[0] if provider == "gcp" else name

    compared = 0
    with GRID.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            source, target = place(row["src"]), place(row["dst"])
            if source == target or (source[0] == "gcp" and target[0] != "gcp"):
                continue
            between = usd(2 * GIB, source, target) - usd(GIB, source, target)
            assert between == pytest.approx(float(row["usd_per_gb"])), row
            compared += 1
    assert compared > 2900


def test_what_the_plan_pays_for_a_move_is_what_the_rules_say() -> None:
    moved = CATALOG.egress_usd(20 * TIB, ("aws", "us-east-1"))
    assert len(moved) == OFFERS.height
    for row in range(0, OFFERS.height, 97):
        offer = CATALOG.offer(row)
        assert moved[row] == usd(20 * TIB, ("aws", "us-east-1"), (offer.provider, offer.region))


# ----------------------------------------------------------------------- storage and discounts


def test_storage_is_priced_everywhere_and_plausible() -> None:
    for kind, dearest in (("object", 0.05), ("disk", 0.3)):
        prices = CATALOG.storage_usd_per_gb_month(kind)
        assert len(prices) == OFFERS.height
        assert prices.is_between(0.005, dearest).all()
    assert CATALOG.storage_price("aws", "eu-west-1").product == "S3 Standard"
    assert CATALOG.storage_price("local", "here").usd_per_gb_month == 0
    assert CATALOG.storage_price("nobody", "here").source.startswith("assumed: ")


def test_reserved_prices_fall_with_the_term() -> None:
    known = OFFERS.drop_nulls("reserved_1y_usd_h")
    assert set(known["provider"]) == {"aws", "gcp", "azure", "oci"}
    assert (known["reserved_1y_usd_h"] < known["on_demand_usd_h"]).all()
    assert (known["reserved_3y_usd_h"] < known["reserved_1y_usd_h"]).all()
    assert (known["reserved_3y_usd_h"] > 0.2 * known["on_demand_usd_h"]).all()
    assert YEARS == (1, 3)
    assert set(known.filter(reserved_basis="list")["provider"]) == {"gcp"}
    assert set(known["reserved_basis"]) == {"list", "usual_discount"}
    others = OFFERS.filter(OFFERS["reserved_1y_usd_h"].is_null())
    assert others["reserved_basis"].is_null().all()


@given(st.floats(0, 1), st.floats(0, 1))
def test_sustained_use_lowers_the_rate_and_never_the_bill(a: float, b: float) -> None:
    less, more = sorted((a, b))

    def rate(fraction: float) -> float:
        return sustained_use_multiplier(CATALOG.discounts, "gcp", "n1-standard-8", fraction)

    assert 0.7 - 1e-9 <= rate(more) <= rate(less) + 1e-9 <= 1 + 2e-9
    assert rate(more) * more >= rate(less) * less - 1e-9


def test_sustained_use_by_hand_and_only_where_it_is_given() -> None:
    given_ = CATALOG.discounts
    assert sustained_use_multiplier(given_, "gcp", "n1-standard-8", 1) == pytest.approx(0.7)
    assert sustained_use_multiplier(given_, "gcp", "n1-standard-8", 0.5) == pytest.approx(0.9)
    assert sustained_use_multiplier(given_, "gcp", "a2-highgpu-1g", 1) == 1
    assert sustained_use_multiplier(given_, "aws", "n1-standard-8", 1) == 1
    with pytest.raises(ValueError, match="between 0 and 1"):
        sustained_use_multiplier(given_, "gcp", "n1-standard-8", 2)


# -------------------------------------------------------------------------- energy and carbon


def test_every_node_draws_plausible_power() -> None:
    watts = node_watts(CATALOG)
    assert len(watts) == OFFERS.height
    assert watts.is_between(10, 20_000).all()
    row = OFFERS.with_row_index().filter(instance_type="g4dn.xlarge")["index"][0]
    assert watts[row] == pytest.approx(70 + 4 * 3.97 + 16 * 0.392)


def test_carbon_follows_the_grid() -> None:
    grams = grams_co2e_per_h(CATALOG)
    assert grams.is_finite().all()
    assert (grams > 0).all()
    rows = OFFERS.with_row_index().filter(provider="gcp", instance_type="n2-highcpu-8")
    by_region = {row["region"]: grams[row["index"]] for row in rows.iter_rows(named=True)}
    if {"us-west1", "us-central1"} <= set(by_region):
        assert by_region["us-west1"] / by_region["us-central1"] == pytest.approx(79.23 / 412.72)


@pytest.mark.parametrize("table", ["regions.csv", "egress.csv", "storage.csv", "discounts.csv"])
def test_no_row_stands_twice(table: str) -> None:
    key = [tuple(v for k, v in row.items() if k not in ("source", "as_of")) for row in rows(table)]
    assert len(key) == len(set(key))
    assert isinstance(BUILT_IN, Path)
