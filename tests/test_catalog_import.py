"""Price lists of others: what is taken, what is refused and in which words, what is kept where."""

import csv
import gzip
import math
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isocost.catalog import catalog_of, load
from isocost.catalog.files import InputError
from isocost.catalog.importing import Imported, read_offers, untrainable
from isocost.catalog.shelf import newest, put, put_refusals, shelf, stored_sources
from isocost.catalog.store import OFFER_COLUMNS, OFFER_KEY

from .conftest import ROOT, Command, document

CATALOG = load()
SNAPSHOT = ROOT.parent / "shared" / "data" / "catalog" / "offers.csv.gz"
GOOD = {
    "provider": "aws",
    "region": "us-east-1",
    "zones": "us-east-1a us-east-1b",
    "instance_type": "g4dn.xlarge",
    "accelerator": "T4",
    "accelerator_count": "1",
    "vcpus": "4",
    "memory_gib": "16",
    "network_gbps": "5",
    "on_demand_usd_h": "0.526",
    "spot_usd_h": "0.2",
    "price_date": "2026-07-20",
    "source": "price list",
}


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOCOST_HOME", str(tmp_path / "home"))


def table(folder: Path, *rows: dict[str, str], name: str = "list.csv") -> Path:
    path = folder / name
    header = list(GOOD)
    lines = [",".join(header), *(",".join(row.get(c, "") for c in header) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def imported(folder: Path, *rows: dict[str, str]) -> Imported:
    return read_offers(table(folder, *rows), CATALOG)


def test_a_right_row_is_taken_as_it_is(tmp_path: Path) -> None:
    found = imported(tmp_path, GOOD)
    assert found.refused == found.doubts == ()
    row = found.offers.row(0, named=True)
    assert row["accelerator"] == "T4"
    assert row["on_demand_usd_h"] == 0.526
    assert row["price_date"] == row["spot_date"] == date(2026, 7, 20)
    assert found.offers.schema == pl.Schema(OFFER_COLUMNS)


WRONG = {
    "no price": ({"on_demand_usd_h": "", "spot_usd_h": ""}, "neither an on-demand nor a spot"),
    "price zero": ({"on_demand_usd_h": "0"}, "on_demand_usd_h is 0; a number above 0"),
    "price NaN": ({"on_demand_usd_h": "NaN"}, "on_demand_usd_h is NaN; a number above 0"),
    "price infinite": ({"spot_usd_h": "inf"}, "spot_usd_h is inf"),
    "price negative": ({"spot_usd_h": "-1"}, "spot_usd_h is -1; a number above 0"),
    "price a word": ({"on_demand_usd_h": "cheap"}, "on_demand_usd_h is 'cheap'; a number"),
    "a comma for a point": ({"spot_usd_h": "0.2$"}, "spot_usd_h is '0.2$'"),
    "spot above": ({"spot_usd_h": "0.6"}, "spot_usd_h 0.6 is above on_demand_usd_h 0.526"),
    "misspelt accelerator": ({"accelerator": "T44"}, "'T44' is not known; did you mean 'T4'?"),
    "accelerator without TensorFlow": ({"accelerator": "K80"}, "compute capability 3.7"),
    "no count": ({"accelerator_count": ""}, "accelerator_count is empty"),
    "half a device": ({"accelerator_count": "0.5"}, "a share of a device"),
    "no devices": ({"accelerator_count": "0"}, "accelerator_count is 0"),
    "no vCPU": ({"vcpus": "0"}, "vcpus is 0"),
    "no region": ({"region": ""}, "region is empty"),
    "no source": ({"source": " "}, "source is empty"),
    "a NUL": ({"region": "us\0east"}, "region holds a control character"),
    "an escape": ({"instance_type": "a\x1b[2J"}, "instance_type holds a control character"),
    "no date": ({"price_date": ""}, "price_date is ''; a date such as"),
    "wrong date": ({"price_date": "20.7.2026"}, "price_date is '20.7.2026'"),
    "date to come": ({"price_date": "2999-01-01"}, "a day after today"),
    "in cents": ({"on_demand_usd_h": "52.6", "spot_usd_h": ""}, "times the median of its accel"),
    "absurdly cheap": ({"spot_usd_h": "0.0002"}, "times the median of its accelerator"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_row_is_refused_with_line_and_reason_and_the_rest_kept(
    case: str, tmp_path: Path
) -> None:
    change, words = WRONG[case]
    other = {**GOOD, "region": "us-west-2"}
    found = imported(tmp_path, {**GOOD, **change}, other)
    assert [one.line for one in found.refused] == [2]
    assert words in found.refused[0].reason
    assert found.offers["region"].to_list() == ["us-west-2"]


def test_a_repeated_offer_is_refused_and_the_first_kept(tmp_path: Path) -> None:
    found = imported(tmp_path, GOOD, {**GOOD, "on_demand_usd_h": "0.6"})
    assert [(one.line, one.reason) for one in found.refused] == [(3, "repeats the offer of line 2")]
    assert found.offers["on_demand_usd_h"].to_list() == [0.526]


def test_lines_are_those_of_the_file_also_after_breaks_within_cells(tmp_path: Path) -> None:
    path = table(tmp_path, {**GOOD, "source": '"two\nlines"'}, {**GOOD, "vcpus": "x"})
    with path.open("a", encoding="utf-8") as file:
        file.write("\naws,short\n")
    found = read_offers(path, CATALOG)
    assert [(one.line, one.reason) for one in found.refused] == [
        (4, "vcpus is 'x'; a number is expected"),
        (6, "has 2 cells; the header has 13"),
    ]
    assert found.rows == 3


def test_an_unusual_price_is_kept_with_a_doubt(tmp_path: Path) -> None:
    found = imported(tmp_path, {**GOOD, "on_demand_usd_h": "8", "spot_usd_h": ""})
    assert found.offers.height == 1
    assert "times the median of its accelerator for each device" in found.doubts[0].reason


def test_no_accelerator_means_the_processors(tmp_path: Path) -> None:
    row = {**GOOD, "accelerator": "", "accelerator_count": "0", "instance_type": "c7i.xlarge"}
    found = imported(tmp_path, row)
    assert found.offers.select("accelerator", "accelerator_count").row(0) == ("CPU", 1)


def test_sizes_that_are_left_out_come_from_the_same_type_elsewhere(tmp_path: Path) -> None:
    bare = {**GOOD, "region": "eu-north-1", "vcpus": "", "memory_gib": ""}
    found = imported(tmp_path, bare)
    assert found.completed == 1
    assert found.offers.select("vcpus", "memory_gib").row(0) == (4.0, 16.0)
    found = imported(tmp_path, {**bare, "instance_type": "nobody.knows"})
    assert found.completed == 0
    assert found.refused[0].reason.startswith("vcpus is empty")


def test_a_spot_price_above_by_rounding_alone_is_the_on_demand_price(tmp_path: Path) -> None:
    found = imported(tmp_path, {**GOOD, "spot_usd_h": "0.52601"})
    assert found.offers["spot_usd_h"].to_list() == [0.526]


@given(
    st.floats(allow_nan=True, allow_infinity=True), st.floats(allow_nan=True, allow_infinity=True)
)
def test_no_price_that_is_kept_is_wrong(on_demand: float, spot: float) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        row = {**GOOD, "on_demand_usd_h": repr(on_demand), "spot_usd_h": repr(spot)}
        found = imported(Path(folder), row)
    assert found.rows == found.offers.height + len(found.refused) == 1
    for kept in found.offers.iter_rows(named=True):
        assert 0 < kept["spot_usd_h"] <= kept["on_demand_usd_h"] < math.inf


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\xff\xfe\x00", "is not text"),
        (b"\x1f\x8bbroken", "broken gzip"),
        (b"a,b\n1,2\n", "has no column 'provider'"),
        (b"provider,provider\n1,2\n", "the column 'provider' twice"),
        (",".join(GOOD).encode() + b"\n", "a header and no rows"),
        (",".join(GOOD).replace("vcpus", "vcpu").encode() + b"\n1\n", "'vcpus'; is it 'vcpu'?"),
    ],
)
def test_a_file_that_is_no_list_is_refused_in_one_sentence(
    content: bytes, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=words.replace("?", r"\?")) as refusal:
        read_offers(path, CATALOG)
    assert "\n" not in str(refusal.value)


cells = st.one_of(
    st.sampled_from([*GOOD.values(), "", "nan", "-1", "1e309", "T44", "2026-13-01", "A100", "0x1"]),
    st.text(max_size=6),
)


@given(st.lists(st.lists(cells, min_size=11, max_size=14), max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_file_holds_each_row_is_taken_or_refused(
    tmp_path: Path, rows: list[list[str]]
) -> None:
    path = tmp_path / "any.csv"
    with path.open("w", encoding="utf-8", errors="surrogatepass", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(GOOD)
        writer.writerows(rows)
    try:
        found = read_offers(path, CATALOG)
    except InputError:
        return  # such as a list without rows
    assert found.rows == found.offers.height + len(found.refused)
    assert len({one.line for one in found.refused}) == len(found.refused)
    assert set(found.offers["accelerator"]) <= set(CATALOG.accelerators)
    for column in ("vcpus", "memory_gib"):
        assert found.offers[column].is_finite().all()


def test_what_tensorflow_cannot_train_on_is_on_no_sheet() -> None:
    assert not set(untrainable()) & set(CATALOG.accelerators)


# -------------------------------------------------------------------------- SkyPilot's layout

SKYPILOT = """\
InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Price,SpotPrice,Region,AvailabilityZone
p3.2xlarge,V100,1.0,8.0,61.0,"{'Gpus': []}",3.06,0.9,us-east-1,us-east-1a
p3.2xlarge,V100,1.0,8.0,61.0,"{'Gpus': []}",3.06,1.1,us-east-1,us-east-1b
p3.2xlarge,V100,1.0,8.0,61.0,"{'Gpus': []}",3.06,1.3,us-east-1,us-east-1c
p4d.24xlarge,A100,8.0,96.0,1152.0,"{'Gpus': []}",32.77,,us-east-1,us-east-1a
c6i.large,,,2.0,4.0,,0.085,0.03,us-east-1,us-east-1a
,T4,1.0,,,,0.35,0.11,us-east-1,us-east-1a
x1.huge,Nonesuch,1.0,8.0,61.0,,1,,us-east-1,us-east-1a
"""


def test_skypilots_zones_become_one_offer_with_the_median_spot_price(tmp_path: Path) -> None:
    folder = tmp_path / "aws"
    folder.mkdir()
    path = folder / "vms.csv"
    path.write_text(SKYPILOT)
    found = read_offers(path, CATALOG, as_of=date(2026, 11, 1))
    assert found.rows == 7
    assert found.merged == 2
    assert found.rows == found.offers.height + found.merged + len(found.refused)
    v100 = found.offers.row(by_predicate=pl.col("accelerator") == "V100-16GB", named=True)
    assert (v100["spot_usd_h"], v100["zones"]) == (1.1, "us-east-1a us-east-1b us-east-1c")
    assert v100["spot_basis"] == "observed_median_of_zones"
    assert v100["price_date"] == date(2026, 11, 1)
    assert v100["provider"] == "aws"
    assert set(found.offers["accelerator"]) == {"V100-16GB", "A100-40GB", "CPU"}
    assert [(one.line, one.reason) for one in found.refused] == [
        (7, "instance_type is empty"),
        (8, "the accelerator 'Nonesuch' is not known" + found.refused[1].reason[39:]),
    ]


def test_skypilots_tpu_slices_are_counted_in_chips(tmp_path: Path) -> None:
    path = tmp_path / "vms.csv"
    path.write_text(
        SKYPILOT.splitlines()[0] + "\n,tpu-v2-8,1,,,,4.5,1.35,us-central1,us-central1-b\n"
    )
    found = read_offers(path, CATALOG, provider="gcp")
    row = found.offers.row(0, named=True)
    assert (row["instance_type"], row["accelerator"], row["accelerator_count"]) == (
        "tpu-v2-8",
        "TPU-v2",
        4,
    )


GCP = """\
InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Price,SpotPrice,Region,AvailabilityZone
g2-standard-4,,,4.0,16.0,,0.15,0.05,us-central1,us-central1-a
g2-standard-4,,,4.0,16.0,,0.15,0.05,us-central1,us-central1-b
g2-standard-4,,,4.0,16.0,,0.16,0.06,us-east4,us-east4-a
n1-standard-8,,,8.0,30.0,,0.38,0.08,us-central1,us-central1-a
,L4,1.0,,,,0.56,0.2,us-central1,us-central1-a
,T4,1.0,,,,0.35,0.11,us-central1,us-central1-a
,T4,2.0,,,,0.7,0.22,us-central1,us-central1-a
"""


def test_skypilots_hosts_and_gpus_of_google_are_put_together(tmp_path: Path) -> None:
    path = tmp_path / "vms.csv"
    path.write_text(GCP)
    found = read_offers(path, CATALOG, provider="gcp", as_of=date(2026, 11, 1))
    rows = {row["instance_type"]: row for row in found.offers.iter_rows(named=True)}
    assert set(rows) == {"g2-standard-4", "n1-standard-8", "n1-standard-8+t4x1"}
    assert rows["g2-standard-4"]["on_demand_usd_h"] == pytest.approx(0.15 + 0.56)
    assert rows["g2-standard-4"]["spot_usd_h"] == pytest.approx(0.05 + 0.2)
    assert rows["n1-standard-8+t4x1"]["on_demand_usd_h"] == pytest.approx(0.38 + 0.35)
    assert rows["n1-standard-8+t4x1"]["accelerator"] == "T4"
    assert rows["n1-standard-8"]["accelerator"] == "CPU"
    assert [(one.line, one.reason) for one in found.refused] == [
        (4, "names no accelerator, though its type has 1 x L4: the price may be of the host alone")
    ]


def test_dates_may_be_given_for_a_list_that_has_none(tmp_path: Path) -> None:
    path = table(tmp_path, GOOD)
    path.write_text(path.read_text().replace("price_date", "note"))
    found = read_offers(path, CATALOG, as_of=date(2026, 11, 1))
    assert found.offers["price_date"].to_list() == [date(2026, 11, 1)]
    with pytest.raises(ValueError, match="no column 'price_date'"):
        read_offers(path, CATALOG)


def test_a_skypilot_list_of_nobody_asks_for_the_provider(tmp_path: Path) -> None:
    path = tmp_path / "vms.csv"
    path.write_text(SKYPILOT)
    with pytest.raises(ValueError, match="add --provider"):
        read_offers(path, CATALOG)


# ------------------------------------------------------------------------- what is kept where


def offers(tmp_path: Path, **change: str) -> pl.DataFrame:
    return imported(tmp_path, {**GOOD, **change}).offers


def test_importing_again_replaces_the_same_source(tmp_path: Path) -> None:
    put("mine", offers(tmp_path))
    put("mine", offers(tmp_path, on_demand_usd_h="0.5"))
    assert stored_sources() == ["mine"]
    assert catalog_of("imported").offers["on_demand_usd_h"].to_list() == [0.5]
    assert catalog_of("built-in") is load()


def test_of_two_lists_the_newer_price_counts(tmp_path: Path) -> None:
    key = {c: GOOD[c] for c in OFFER_KEY}
    for day, price in (("2020-01-01", None), ("2026-11-01", 0.5)):
        put("mine", offers(tmp_path, price_date=day, on_demand_usd_h="0.5"))
        both = catalog_of("all").offers
        assert not both.select(OFFER_KEY).is_duplicated().any()
        assert both.height == CATALOG.offers.height
        row = both.filter(**key)
        built_in = CATALOG.offers.filter(**key)["on_demand_usd_h"][0]
        assert row["on_demand_usd_h"].to_list() == [price or built_in]


def test_the_newest_is_taken_whatever_the_order_of_the_lists(tmp_path: Path) -> None:
    old, new = offers(tmp_path, price_date="2026-01-01"), offers(tmp_path)
    assert newest([old, new]).equals(new)
    assert newest([new, old]).equals(new)


def test_nothing_imported_is_said(tmp_path: Path) -> None:
    assert catalog_of("all") is load()
    with pytest.raises(ValueError, match="nothing was imported yet"):
        catalog_of("imported")


def test_refusals_lie_beside_and_go_when_there_are_none(tmp_path: Path) -> None:
    found = imported(tmp_path, {**GOOD, "vcpus": "x"}, {**GOOD, "region": "us-west-2"})
    path = put_refusals("mine", found.refused)
    assert path is not None
    assert pl.read_csv(path)["line"].to_list() == [2]
    assert put_refusals("mine", ()) is None
    assert not path.exists()
    assert stored_sources() == []


# ------------------------------------------------------------------------------ the commands


def test_the_command_says_what_it_took_and_plans_with_it(isocost: Command, tmp_path: Path) -> None:
    wrong = {**GOOD, "instance_type": "g9.xlarge", "accelerator": "T44"}
    path = table(tmp_path, {**GOOD, "on_demand_usd_h": "0.11", "spot_usd_h": ""}, wrong)
    done = isocost("catalog", "import", path)
    assert done.returncode == 0, done.stderr
    assert "line 3: aws us-east-1 g9.xlarge: the accelerator 'T44' is not known" in done.stdout
    assert "2 rows read: 1 kept as offers, 1 refused" in done.stdout
    shown = isocost("catalog", "show", "--catalog", "imported", "provider = 'aws'", "--json")
    rows = document(shown.stdout)["offers"]
    assert isinstance(rows, list)
    assert [row["on_demand_usd_h"] for row in rows] == [0.11]
    example = ROOT / "examples" / "cifar10.yaml"
    plan = isocost("optimize", example, "--catalog", "imported", "--json")
    assert plan.returncode == 0, plan.stderr
    assert document(plan.stdout)["newest_price"] == "2026-07-20"


def test_lists_are_named_and_forgotten(isocost: Command, tmp_path: Path) -> None:
    assert "Nothing was imported yet" in isocost("catalog", "sources").stdout
    assert isocost("catalog", "import", table(tmp_path, GOOD), "--name", "mine").returncode == 0
    shown = isocost("catalog", "sources")
    assert "mine" in shown.stdout
    assert "2026-07-20" in shown.stdout
    wrong = isocost("catalog", "sources", "--forget", "mien")
    assert wrong.returncode == 2
    assert "did you mean 'mine'?" in wrong.stderr
    left = isocost("catalog", "sources", "--forget", "mine", "--json")
    assert document(left.stdout) == {"sources": []}


def test_a_dry_run_keeps_nothing(isocost: Command, tmp_path: Path) -> None:
    done = isocost("catalog", "import", table(tmp_path, GOOD), "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    assert document(done.stdout)["kept"] == 1
    assert not (tmp_path / "home").exists()


def test_a_list_of_wrong_rows_alone_takes_nothing(isocost: Command, tmp_path: Path) -> None:
    done = isocost("catalog", "import", table(tmp_path, {**GOOD, "vcpus": "x"}))
    assert done.returncode == 2
    assert "all 1 rows are wrong" in done.stderr
    assert not (tmp_path / "home").exists()


@pytest.mark.skipif(not SNAPSHOT.exists(), reason=f"{SNAPSHOT} is not there")
def test_the_large_snapshot_is_read_whole(tmp_path: Path) -> None:
    found = read_offers(SNAPSHOT, CATALOG)
    assert found.rows == 29_821
    assert found.offers.height + len(found.refused) == found.rows
    assert found.offers.height > 29_000
    with gzip.open(SNAPSHOT, "rt", encoding="utf-8") as file:
        lines = file.read().splitlines()
    for one in found.refused:
        assert one.offer.split()[-1] in lines[one.line - 1]
        assert one.reason
    spot = found.offers.drop_nulls("spot_usd_h").drop_nulls("on_demand_usd_h")
    assert (spot["spot_usd_h"] <= spot["on_demand_usd_h"]).all()
    assert set(found.offers["accelerator"]) <= set(CATALOG.accelerators)
    assert shelf().name == "catalog"
