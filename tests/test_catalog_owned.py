"""Owned machines: what an hour costs, what a file may say; and how old a price may be."""

from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isocost.catalog import Freshness, Purchase, load, stale_words, with_owned
from isocost.catalog.age import price_day, stale_shares
from isocost.catalog.owned import hour_usd, owned_offers

from .conftest import EXAMPLE, ROOT, Command, document

CATALOG = load()
OWNED = ROOT / "examples" / "owned.yaml"
TODAY = date(2026, 11, 24)
FIGURES = {
    "life_years": 4.0,
    "utilisation": 0.5,
    "maintenance_per_year": 0.05,
    "watts": 1000.0,
    "pue": 1.5,
    "usd_per_kwh": 0.1,
    "staff_usd_per_year": 876.0,
}


def changed(**change: float) -> float:
    return hour_usd(10_000, **{**FIGURES, **change})


def test_an_hour_by_hand() -> None:
    used_h = 8760 * 0.5
    assert changed() == pytest.approx(
        10_000 / (4 * used_h) + 0.05 * 10_000 / used_h + 876 / used_h + 1.0 * 1.5 * 0.1
    )


@given(st.floats(1.01, 10))
def test_an_hour_costs_more_with_every_cost_and_less_with_use_and_years(more: float) -> None:
    for name in ("maintenance_per_year", "watts", "pue", "usd_per_kwh", "staff_usd_per_year"):
        assert changed(**{name: FIGURES[name] * more}) > changed()
    assert changed(life_years=FIGURES["life_years"] * more) < changed()
    assert changed(utilisation=FIGURES["utilisation"] / more) > changed()


def test_the_example_becomes_offers() -> None:
    dgx, station = owned_offers(OWNED, CATALOG)
    assert (dgx.provider, dgx.region, dgx.accelerator, dgx.accelerator_count) == (
        "own",
        "basement",
        "A100-80GB",
        8,
    )
    assert dgx.nodes_owned == 2
    used_h = 8760 * 0.6
    by_hand = 150_000 / (4 * used_h) + (0.05 * 150_000 + 9000) / used_h + 5.5 * 1.4 * 0.1
    assert dgx.prices_usd_h == {Purchase.OWNED: pytest.approx(by_hand)}
    # The workstation's power is that of the data sheets.
    watts = 450 + 32 * 3.97 + 128 * 0.392
    used_h = 8760 * 0.5
    by_hand = 4500 / (3 * used_h) + 0.05 * 4500 / used_h + watts / 1000 * 1.58 * 0.12
    assert station.prices_usd_h == {Purchase.OWNED: pytest.approx(by_hand)}
    more = with_owned(CATALOG, OWNED)
    assert more.offers.height == CATALOG.offers.height + 2
    assert more.offer(more.offers.height - 2) == dgx
    assert more.facts("own").billing.billed_s(1.5) == 2
    assert more.transfer.usd(1e15, ("own", "basement"), ("aws", "us-east-1")) == 0
    assert more.storage_price("own", "basement").usd_per_gb_month == 0


def test_machines_in_the_data_directory_are_always_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISOCOST_HOME", str(tmp_path))
    assert with_owned(CATALOG) is CATALOG
    (tmp_path / "offers.yaml").write_text(OWNED.read_text())
    assert with_owned(CATALOG).offers.height == CATALOG.offers.height + 2


MACHINE = "{name: a, nodes: 1, vcpus: 8, memory_gib: 32, capex_usd: 2000}"


@pytest.mark.parametrize(
    ("machines", "words"),
    [
        ("[]", "machines is"),
        (f"[{MACHINE}, {MACHINE}]", "'a' at 'here' is listed twice"),
        (f"[{MACHINE.replace('nodes: 1', 'nodes: 0')}]", r"machines.0.nodes is 0"),
        (f"[{MACHINE.replace('capex', 'capx')}]", "did you mean 'capex_usd'?"),
        (f"[{MACHINE.replace('name: a', 'name: a, utilisation: 1.5')}]", "utilisation is 1.5"),
        (f"[{MACHINE.replace('name: a', 'name: a, accelerator: A10O')}]", "did you mean 'A10"),
        (f"[{MACHINE.replace('name: a', 'name: a, accelerator: TPU-v5p')}]", "add watts"),
        (f"[{MACHINE.replace('name: a', 'name: a, accelerators: 2')}]", "is one device"),
    ],
)
def test_a_wrong_file_is_one_sentence(machines: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "offers.yaml"
    path.write_text(f"schema: isocost/owned/v1\nmachines: {machines}\n")
    with pytest.raises(ValueError, match=words.replace("?", r"\?")) as refusal:
        owned_offers(path, CATALOG)
    assert "\n" not in str(refusal.value)


def test_owned_machines_are_planned_with(isocost: Command) -> None:
    only = ("--offers", "provider = 'own'", "--owned", OWNED)
    done = isocost("optimize", EXAMPLE, *only, "--json")
    assert done.returncode == 0, done.stderr
    plan = document(done.stdout)
    jobs = plan["jobs"]
    assert isinstance(jobs, list)
    chosen = jobs[0]["chosen"]
    assert (chosen["offer"]["provider"], chosen["purchase"]) == ("own", "owned")
    shown = isocost("catalog", "show", "--owned", OWNED, "provider = 'own'")
    assert "dgx-a100" in shown.stdout


def test_no_more_machines_are_planned_than_there_are(isocost: Command, tmp_path: Path) -> None:
    """With time alone counting, several are taken where there are several, and never more."""
    most = {}
    for there_are in (2, 6):
        path = tmp_path / "machines.yaml"
        path.write_text(
            OWNED.read_text().replace("nodes: 5 ", "").replace("nodes: 5", f"nodes: {there_are}")
        )
        only = ("--owned", path, "--offers", "instance_type = 'workstation'")
        done = isocost("optimize", EXAMPLE, "--alpha", "1", *only, "--json")
        assert done.returncode == 0, done.stderr
        jobs = document(done.stdout)["jobs"]
        assert isinstance(jobs, list)
        every = [jobs[0]["chosen"], *jobs[0]["frontier"], *jobs[0]["runners_up"]]
        most[there_are] = max(one["nodes"] for one in every)
    assert most[2] <= 2 < most[6] <= 6


# ------------------------------------------------------------------------------------- age


def test_a_stale_price_is_flagged_in_the_plan(isocost: Command) -> None:
    only = ("--offers", "provider = 'alibaba'", "--alpha", "1")
    done = isocost("optimize", EXAMPLE, *only)
    assert done.returncode == 0, done.stderr
    assert "Note for cifar10-cnn: the " in done.stdout
    assert "isocost catalog refresh may know a newer" in done.stdout
    fresh = isocost("optimize", EXAMPLE, *only, "--fresh-days", "9999", "9999", "--json")
    assert document(fresh.stdout)["stale_prices"] == []


@given(st.integers(0, 3000), st.sampled_from([p for p in Purchase if p is not Purchase.OWNED]))
def test_a_price_is_stale_exactly_past_its_limit(days: int, purchase: Purchase) -> None:
    said = stale_words(purchase, TODAY - timedelta(days), TODAY)
    assert (said is not None) == (days > (90 if purchase is Purchase.SPOT else 365))
    wider = Freshness(spot_days=days, list_days=days)
    assert stale_words(purchase, TODAY - timedelta(days), TODAY, wider) is None


def test_what_one_owns_is_never_stale() -> None:
    assert stale_words(Purchase.OWNED, date(1990, 1, 1), TODAY) is None


def test_the_day_is_that_of_the_price_paid() -> None:
    on_demand, spot = date(2026, 1, 1), date(2026, 2, 2)
    assert price_day(Purchase.SPOT, on_demand, spot) == spot
    assert price_day(Purchase.SPOT, on_demand, None) == on_demand
    assert price_day(Purchase.ON_DEMAND, on_demand, spot) == on_demand


def test_shares_of_stale_prices_are_those_row_by_row() -> None:
    shares = stale_shares(CATALOG.offers, TODAY)
    rows = CATALOG.offers.filter(pl.col("spot_usd_h").is_not_null()).iter_rows(named=True)
    by_row = [
        stale_words(Purchase.SPOT, price_day(Purchase.SPOT, r["price_date"], r["spot_date"]), TODAY)
        for r in rows
    ]
    assert shares[Purchase.SPOT] == pytest.approx(
        sum(said is not None for said in by_row) / len(by_row)
    )
    assert 0 < shares[Purchase.ON_DEMAND] < 1
