"""Two lists of offers side by side: what changed, and which plans come out otherwise."""

import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isocost.catalog import load
from isocost.catalog.changes import changes, offers_of, side_by_side
from isocost.catalog.store import OFFER_COLUMNS, OFFER_KEY

from .conftest import EXAMPLE, Command, document

CATALOG = load()
OFFERS = CATALOG.offers


def repriced(offers: pl.DataFrame, factor: float, column: str = "on_demand_usd_h") -> pl.DataFrame:
    return offers.with_columns((pl.col(column) * factor).alias(column))


def test_a_list_does_not_differ_from_itself() -> None:
    found = changes(OFFERS, OFFERS)
    assert found.prices.is_empty()
    assert found.added.is_empty()
    assert found.removed.is_empty()


@given(
    st.integers(0, 1000),
    st.integers(0, 1000),
    st.floats(0.1, 10).filter(lambda f: abs(f - 1) > 0.01),
)
def test_what_was_changed_is_found_and_the_way_back_is_its_mirror(
    a: int, b: int, factor: float
) -> None:
    first, last = sorted((a, b))
    old, new = OFFERS.slice(0, last), repriced(OFFERS.slice(first), factor)
    there, back = changes(old, new), changes(new, old)
    assert there.removed.height == back.added.height == min(first, old.height)
    assert there.added.height == back.removed.height == OFFERS.height - last
    assert there.prices.height == back.prices.height == max(0, last - first)
    assert there.prices["change"].to_list() == pytest.approx([factor - 1] * (last - first))


def test_the_largest_change_comes_first_and_rounding_is_none() -> None:
    new = pl.concat(
        [repriced(OFFERS.head(1), 1.1), repriced(OFFERS[1:2], 3), repriced(OFFERS[2:], 1 + 1e-6)]
    )
    found = changes(OFFERS, new)
    assert found.prices["change"].to_list() == pytest.approx([2.0, 0.1])


def test_lists_stand_in_the_place_of_their_own_offers_only() -> None:
    old, new = OFFERS.head(10), repriced(OFFERS[5:15], 2)
    before, after = side_by_side(CATALOG, old, new)
    untouched = OFFERS[15:]
    for catalog, listed in ((before, old), (after, new)):
        assert catalog.offers.height == untouched.height + listed.height
        assert catalog.offers.head(untouched.height).equals(untouched)
    key = {name: OFFERS[7][name][0] for name in OFFER_KEY}
    price = [c.offers.filter(**key)["on_demand_usd_h"][0] for c in (before, after)]
    assert price[1] == pytest.approx(2 * price[0])


def test_a_list_is_known_by_name_or_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOCOST_HOME", str(tmp_path))
    assert offers_of("built-in").equals(OFFERS)
    path = tmp_path / "some.csv"
    OFFERS.head(4).write_csv(path)
    assert offers_of(str(path)).select(OFFER_KEY).equals(OFFERS.head(4).select(OFFER_KEY))
    with pytest.raises(ValueError, match=r"'biult-in' is no file .*; did you mean 'built-in'"):
        offers_of("biult-in")


def test_a_plan_is_altered_exactly_where_its_choice_is_priced_out(
    isocost: Command, tmp_path: Path
) -> None:
    only = "provider = 'aws' AND accelerator = 'T4' AND region = 'us-east-1'"
    wishes = ("--alpha", "1", "--budget", "2", "--offers", only)
    made = isocost("optimize", EXAMPLE, *wishes, "-o", "plan.json")
    assert made.returncode == 0, made.stderr
    chosen = json.loads((tmp_path / "plan.json").read_text())["jobs"][0]["chosen"]["offer"]
    listed = OFFERS.filter(
        provider=chosen["provider"], region=chosen["region"], instance_type=chosen["instance_type"]
    ).select(
        pl.col(*OFFER_COLUMNS).exclude("reserved_1y_usd_h", "reserved_3y_usd_h", "owned_usd_h")
    )
    listed.write_csv(tmp_path / "old.csv")

    def reprice(factor: float) -> None:
        both = repriced(repriced(listed, factor), factor, "spot_usd_h")
        both.write_csv(tmp_path / "new.csv")

    reprice(0.9)
    done = isocost("catalog", "diff", "old.csv", "new.csv", "--json")
    assert done.returncode == 0, done.stderr
    plans = document(done.stdout)["plans"]
    assert isinstance(plans, list)
    (job,) = plans
    assert job["altered"] is False, job
    assert job["old_cost_usd"] > job["new_cost_usd"]
    assert job["old"]["instance_type"] == chosen["instance_type"]
    reprice(8.0)
    shown = isocost("catalog", "diff", "old.csv", "new.csv")
    assert "plan.json: cifar10-cnn would change from" in shown.stdout
    assert "+700.0" in shown.stdout
    assert "1 offers against 1: 2 prices changed (2 up, 0 down)" in shown.stdout
    alone = isocost("catalog", "diff", "old.csv", "new.csv", "--no-plans")
    assert "would change" not in alone.stdout
