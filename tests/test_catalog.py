"""The built-in tables row by row, the laws of billing and egress, and the words of refusals."""

import csv
import math
from datetime import date
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isocost import catalog
from isocost.catalog import ProviderFacts, Purchase, load, this_machine
from isocost.catalog.importing import read_offers
from isocost.catalog.local import usable_cpus, usable_memory_bytes
from isocost.catalog.store import BUILT_IN, OFFER_KEY, words_compared

from .conftest import ROOT

SNAPSHOT = ROOT.parent / "shared" / "data" / "catalog" / "offers.csv.gz"
CATALOG = load()
OFFERS = CATALOG.offers
PRICES = ("on_demand_usd_h", "spot_usd_h")
TABLES = sorted(BUILT_IN.glob("*.csv"))
FACTS = [pytest.param(facts, id=name) for name, facts in CATALOG.providers.items()]

# How far a price per device (per vCPU for CPU types) may lie from the median of its accelerator.
FACTOR = {"on_demand_usd_h": 4.0, "spot_usd_h": 6.0}
FAR_FROM_MEDIAN = {
    ("cudo", "H100"): "sold with 4 to 8 vCPU and 8 GiB per GPU",
    ("cudo", "V100-16GB"): "old hosts at a small provider; the large clouds still ask 3 USD/h",
    ("verda", "V100-16GB"): "old hosts at a small provider; the large clouds still ask 3 USD/h",
    ("verda", "CPU"): "a GPU cloud's cheap companion machines",
}


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# ------------------------------------------------------------------- every row of every table


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_row_names_its_source_and_a_date_that_has_passed(table: Path) -> None:
    dated = "price_date" if table.name == "offers.csv" else "as_of"
    for row in rows(table):
        assert row["source"].strip(), row
        assert date.fromisoformat(row[dated]) <= date.today(), row


def test_every_offer_is_a_whole_record() -> None:
    for row in range(OFFERS.height):
        offer = CATALOG.offer(row)
        assert all((offer.provider, offer.region, offer.instance_type, offer.source))
        assert offer.accelerator in CATALOG.accelerators
        assert offer.accelerator_count >= 1
        assert (offer.accelerator_count == 1) or (offer.accelerator != "CPU")
        assert offer.vcpus > 0
        assert offer.memory_gib > 0
        assert offer.network_gbps is None or offer.network_gbps > 0
        assert Purchase.ON_DEMAND in offer.prices_usd_h
        assert Purchase.OWNED not in offer.prices_usd_h
        assert all(math.isfinite(p) and p > 0 for p in offer.prices_usd_h.values())
        assert offer.provider in CATALOG.providers


def test_spot_is_cheaper_than_on_demand_and_says_how_it_is_known() -> None:
    spot = OFFERS.filter(pl.col("spot_usd_h").is_not_null())
    assert (spot["spot_usd_h"] <= spot["on_demand_usd_h"]).all()
    assert spot["spot_date"].null_count() == 0
    assert set(spot["spot_basis"]) == {
        "list",
        "observed",
        "observed_median_of_zones",
        "advisor_savings",
    }


def test_no_two_offers_have_the_same_key() -> None:
    assert not OFFERS.select(OFFER_KEY).is_duplicated().any()


def test_offers_stand_in_a_stable_order() -> None:
    order = ["provider", "accelerator", "accelerator_count", "region", "instance_type"]
    assert OFFERS.equals(OFFERS.sort(order))


@pytest.mark.parametrize("price", PRICES)
def test_prices_are_plausible_against_their_neighbours(price: str) -> None:
    devices = pl.when(pl.col("accelerator") == "CPU").then("vcpus").otherwise("accelerator_count")
    each = OFFERS.filter(pl.col(price).is_not_null()).with_columns(each=pl.col(price) / devices)
    ratio = pl.col("each") / pl.col("each").median().over("accelerator")
    far = each.filter(~ratio.is_between(1 / FACTOR[price], FACTOR[price]))
    found = set(far.select("provider", "accelerator").iter_rows())
    assert found <= set(FAR_FROM_MEDIAN), far
    if price == "on_demand_usd_h":
        assert found == set(FAR_FROM_MEDIAN), "an exception is listed that is none any more"


def test_larger_types_of_a_kind_cost_more() -> None:
    """Within a provider, region and accelerator the least price rises with the count."""
    by = ["provider", "region", "accelerator", "accelerator_count"]
    gpus = OFFERS.filter(pl.col("accelerator") != "CPU")
    least = gpus.group_by(by).agg(pl.col("on_demand_usd_h").min()).sort(by)
    rises = pl.col("on_demand_usd_h").diff().over(by[:3]).fill_null(1) > 0
    assert least.filter(~rises).is_empty()


def test_the_large_clouds_gpu_clouds_and_all_kinds_are_there() -> None:
    providers = set(OFFERS["provider"])
    assert {"aws", "gcp", "azure", "alibaba"} <= providers
    assert len({"lambda", "runpod", "nebius", "oci", "verda", "cudo"} & providers) >= 3
    assert {CATALOG.accelerators[a].kind for a in OFFERS["accelerator"]} == {"cpu", "gpu", "tpu"}
    assert OFFERS.filter(pl.col("region").str.starts_with("cn-"))[
        "provider"
    ].unique().to_list() == ["alibaba"]
    assert OFFERS.height > 900


# Sold, and not built in: what their type consists of was read only in a CC BY-SA table, the
# provider retired them, or they have a spot price alone.
NOT_BUILT_IN = {
    *(("alibaba", "A100-40GB", count) for count in (1, 4, 8)),
    *(("azure", name, 8) for name in ("H200", "MI300X")),
    *(("aws", "V100-16GB", count) for count in (1, 4, 8)),
    *(("verda", "B200", count) for count in (2, 4, 8)),
    ("verda", "B300", 2),
    ("verda", "RTX-PRO-6000", 8),
}


@pytest.mark.skipif(not SNAPSHOT.exists(), reason=f"{SNAPSHOT} is not there")
def test_every_accelerator_and_count_a_provider_sells_is_built_in() -> None:
    key = ("provider", "accelerator", "accelerator_count")
    sold = set(read_offers(SNAPSHOT, CATALOG).offers.select(key).iter_rows())
    assert sold - set(OFFERS.select(key).iter_rows()) == NOT_BUILT_IN


def test_every_offered_accelerator_is_on_the_sheet_and_each_there_has_a_rate() -> None:
    assert set(OFFERS["accelerator"]) <= set(CATALOG.accelerators)
    for accelerator in CATALOG.accelerators.values():
        rates = (accelerator.fp32_tflops, accelerator.bf16_tflops, accelerator.fp16_tflops)
        if accelerator.kind == "cpu":
            assert rates == (None, None, None)
        else:
            assert accelerator.memory_gib
            assert any(rates)
            assert all(rate is None or rate > 0 for rate in rates)


def test_assumed_figures_say_so() -> None:
    assert {a.status for a in CATALOG.assumptions.values()} <= {"measured", "published", "assumed"}
    assert all(math.isfinite(a.value) and a.value > 0 for a in CATALOG.assumptions.values())
    unsure = CATALOG.providers["pooled"].sources
    assert unsure["billing"].startswith("assumed: ")


# ----------------------------------------------------------------------- facts of the providers


@pytest.mark.parametrize("facts", FACTS)
def test_hazard_bands_cover_every_age_once(facts: ProviderFacts) -> None:
    bands = facts.spot_hazard
    assert bands[0].from_h == 0
    assert bands[-1].to_h == math.inf
    assert all(a.to_h == b.from_h for a, b in pairwise(bands))
    assert all(0 <= band.per_h < 1 for band in bands)


def test_hazards_are_losses_over_exposure() -> None:
    for row in rows(BUILT_IN / "hazards.csv"):
        losses, exposure = float(row["losses"]), float(row["exposure_h"])
        assert float(row["per_h"]) == pytest.approx(losses / exposure if exposure else 0, abs=1e-5)


@pytest.mark.parametrize("facts", FACTS)
def test_delays_and_rates_are_sane(facts: ProviderFacts) -> None:
    for delay in (facts.provisioning, facts.stock_out):
        assert 0 < delay.median_s < 6 * 3600
        assert 0 <= delay.sigma < 2
    assert 0 <= facts.spot_notice_s <= 600
    assert 0 < facts.node_failures_per_h < 0.01
    assert 1 <= facts.pue < 2
    assert all(facts.sources.values())


used = st.floats(0, 1e7)
any_facts = st.sampled_from(list(CATALOG.providers.values()))


@given(any_facts, used, used)
def test_the_bill_never_covers_less_than_the_use_and_grows_with_it(
    facts: ProviderFacts, a: float, b: float
) -> None:
    less, more = sorted((a, b))
    bill = facts.billing.billed_s
    assert bill(less) >= less
    assert bill(less) <= bill(more)
    assert bill(less) >= facts.billing.minimum_s
    assert bill(more) <= max(facts.billing.minimum_s, more + facts.billing.granularity_s)


def test_an_unknown_provider_gets_the_pooled_facts() -> None:
    facts, pooled = CATALOG.facts("a cloud of one's own"), CATALOG.providers["pooled"]
    assert facts.provider == "a cloud of one's own"
    assert facts.billing == pooled.billing


# ----------------------------------------------------------------------------------- filtering


def test_a_filter_keeps_what_it_says() -> None:
    some = CATALOG.filtered("provider IN ('aws', 'gcp') AND accelerator = 'T4' AND spot_usd_h < 1")
    assert set(some.offers["provider"]) == {"aws", "gcp"}
    assert set(some.offers["accelerator"]) == {"T4"}
    assert some.accelerators is CATALOG.accelerators


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("provider = 'awz'", "no offer has the provider 'awz'; did you mean 'aws'?"),
        ("accelerator IN ('T4', 't4')", "the accelerator 't4'; did you mean 'T4'?"),
        ("region = 'us-east-11'", "did you mean 'us-east-1'?"),
        ("instance_type <> 'g4dn.xlarg'", "did you mean 'g4dn.xlarge'?"),
        ("acelerator = 'T4'", "no column 'acelerator'; did you mean 'accelerator'?"),
        ("provider = aws", "write 'aws', not aws"),
        ("provider =", "is no SQL condition"),
        ("", "is no SQL condition"),
        ("vcpus", "does not give true or false"),
        ("price_date > '2026-01-01'", "dates as DATE '2026-07-01'"),
        ("spot_usd_h < 0", r"none of the \d+ offers matches .*; spot_usd_h is 0.\d+ to"),
        ("owned_usd_h > 0", "no offer has owned_usd_h; loosen a condition"),
    ],
)
def test_a_filter_that_cannot_be_used_is_refused_in_one_sentence(
    expression: str, words: str
) -> None:
    with pytest.raises(ValueError, match=words) as refusal:
        CATALOG.filtered(expression)
    assert "\n" not in str(refusal.value)


def test_words_are_found_in_every_form_of_comparison() -> None:
    assert words_compared("Provider NOT IN ('a','b''s') or \"region\"!= 'c' AND vcpus = '8'") == [
        ("provider", "a"),
        ("provider", "b's"),
        ("region", "c"),
    ]


# ---------------------------------------------------------------------- own tables and machine


def test_a_table_in_a_folder_replaces_the_built_in_one(tmp_path: Path) -> None:
    (tmp_path / "offers.csv").write_text(OFFERS.head(3).write_csv())
    own = load(tmp_path)
    assert own.offers.equals(OFFERS.head(3))
    assert own.accelerators == CATALOG.accelerators


def test_wrong_folders_and_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no folder; give a folder with tables"):
        load(tmp_path / "none")
    (tmp_path / "offers.csv").write_text("provider,price\naws,1\n")
    with pytest.raises(
        ValueError, match=r"is no table of offers .*; expected the columns provider"
    ):
        load(tmp_path)


def test_an_added_offer_comes_back_as_it_was_and_only_once() -> None:
    offer = this_machine()
    more = CATALOG.with_offer(offer).with_offer(offer)
    assert more.offers.height == OFFERS.height + 1
    assert more.offer(OFFERS.height) == offer
    assert more.offers.head(OFFERS.height).equals(OFFERS)


def test_this_machine_is_what_this_process_may_use() -> None:
    offer = this_machine()
    assert (offer.provider, offer.region, offer.accelerator) == ("local", "here", "CPU")
    assert offer.vcpus > 0
    assert offer.memory_gib > 0
    assert set(offer.prices_usd_h) == {Purchase.OWNED}
    assert CATALOG.facts("local").billing.billed_s(1.5) == 2


def test_the_cost_of_an_owned_machine_by_hand() -> None:
    """Two vCPU at 100 USD and 10 W each, 3 years, half used, 5 % maintenance, PUE 1.58."""
    used_h = 8760 * 0.5
    by_hand = 200 / (3 * used_h) + 0.05 * 200 / used_h + 0.02 * 1.58 * 0.12
    assert catalog.owned_usd_h(2, CATALOG.assumptions) == pytest.approx(by_hand)


def test_the_user_may_say_what_the_machine_costs() -> None:
    offer = this_machine(0.5)
    assert offer.prices_usd_h == {Purchase.OWNED: 0.5}
    assert offer.source == "stated by the user"


@pytest.mark.parametrize("price", [-1, math.nan, math.inf])
def test_a_price_that_is_none_is_refused(price: float) -> None:
    with pytest.raises(ValueError, match="give a number that is 0 or above"):
        this_machine(price)


def test_the_limits_of_a_container_are_respected(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "memory.max").write_text("1048576\n")
    assert usable_cpus(tmp_path) == 0.5
    assert usable_memory_bytes(tmp_path) == 2**20
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert usable_cpus(tmp_path) >= 1
    assert usable_memory_bytes(tmp_path) > 2**20


def test_the_package_offers_what_it_says() -> None:
    assert all(hasattr(catalog, name) for name in catalog.__all__)
