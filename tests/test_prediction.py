"""Laws of the step-time model and its predictions from tables of measurements."""

import csv
import json
import math
import os
import random
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from isocost.catalog import load
from isocost.catalog.files import InputError
from isocost.profiles.design import v_optimal
from isocost.profiles.law import Points, points
from isocost.profiles.predict import Prediction, Predictor
from isocost.profiles.public import public_rows
from isocost.profiles.scaling import Scaling
from isocost.profiles.table import COLUMNS, Row, is_half, parse_table, precision_family
from isocost.profiles.workload import read_workload

from .conftest import EXAMPLE, ROOT, Command

# Shrinking a failure of a fit takes minutes and explains little.
QUICK = settings(deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
ACCELERATORS = load().accelerators
DATA = Path(os.environ.get("ISOCOST_DATA", ROOT.parent / "shared" / "data"))
EFFICIENCY = DATA / "convergence" / "pollux_efficiency_measured.csv"
HEADER = (
    "source,model,accelerator,accelerators,nodes,accelerators_per_node,per_device_batch,throughput"
)

placement = st.sampled_from(
    [
        (1, 1, 1),
        (2, 1, 2),
        (4, 1, 4),
        (8, 1, 8),
        (2, 2, 1),
        (3, 2, 2),
        (8, 2, 4),
        (6, 3, 2),
        (16, 4, 4),
    ]
)
batch = st.sampled_from([4.0, 8.0, 16.0, 24.0, 64.0, 256.0])


@st.composite
def measured(draw: st.DrawFn) -> tuple[Points, np.ndarray]:
    """Steps of a true law with up to a fifth of noise, at a few of the configurations above."""
    where = draw(st.lists(st.tuples(batch, placement), min_size=1, max_size=10, unique=True))
    at = points([(b, *place) for b, place in where])
    fixed, slope, exchange = (
        draw(st.floats(low, high)) for low, high in ((0, 1), (0.001, 1), (0, 3))
    )
    noise = draw(st.lists(st.floats(-0.2, 0.2), min_size=len(at), max_size=len(at)))
    true = 0.01 + fixed + slope * at.batch + exchange * np.log2(at.devices)
    return at, true * np.exp(np.array(noise))


@settings(QUICK, max_examples=12)
@given(measured(), placement)
def test_more_samples_never_take_less_time(
    given_: tuple[Points, np.ndarray], where: tuple[int, int, int]
) -> None:
    fit = Scaling.fit(*given_)
    steps = fit.step_s(points([(float(b), *where) for b in np.geomspace(1, 1024, 60)]))
    assert (steps > 0).all()
    assert (np.diff(steps) >= -1e-9 * steps[1:]).all()


@settings(QUICK, max_examples=12)
@given(measured(), batch)
def test_scaling_is_never_superlinear_unless_measured_so(
    given_: tuple[Points, np.ndarray], b: float
) -> None:
    at, step_s = given_
    fit = Scaling.fit(at, step_s)
    seen = {(K, n, m) for K, n, m in zip(at.devices, at.nodes, at.fullest, strict=True)}
    for place in [(2, 1, 2), (8, 1, 8), (3, 3, 1), (32, 4, 8), (64, 16, 4)]:
        if place in seen:
            continue
        alone, together = fit.step_s(points([(b, 1, 1, 1), (b, *place)]))
        assert 0 < alone / together <= 1 + 1e-9


@settings(QUICK, max_examples=12)
@given(measured())
def test_a_measured_point_lies_in_its_own_interval(given_: tuple[Points, np.ndarray]) -> None:
    at, step_s = given_
    rows = [_row(at, i, at.batch[i] * at.devices[i] / step_s[i]) for i in range(len(at))]
    for row, one in zip(rows, _predict(rows, rows), strict=True):
        assert one.basis == "measured"
        assert row.throughput is not None
        assert one.p05 <= row.throughput <= one.p95


@settings(QUICK, max_examples=10)
@given(measured(), st.randoms(use_true_random=False), st.floats(1e-3, 1e3))
def test_order_and_units_change_nothing(
    given_: tuple[Points, np.ndarray], chance: random.Random, scale: float
) -> None:
    at, step_s = given_
    asked = points([(12.0, 1, 1, 1), (48.0, 4, 1, 4), (16.0, 32, 4, 8)])
    plain = Scaling.fit(at, step_s)
    order = list(range(len(at)))
    chance.shuffle(order)
    shuffled = Scaling.fit(at.at(np.array(order)), step_s[order])
    assert shuffled.step_s(asked) == pytest.approx(plain.step_s(asked), rel=2e-2)
    scaled = Scaling.fit(at, step_s * scale)
    assert scaled.step_s(asked) == pytest.approx(plain.step_s(asked) * scale, rel=2e-2)
    assert scaled.sigma(asked) == pytest.approx(plain.sigma(asked), rel=5e-2)


def _row(at: Points, i: int, throughput: float | None) -> Row:
    return Row(
        i + 2,
        {"model": "net", "accelerator": "T4"},
        float(at.batch[i]),
        int(at.devices[i]),
        int(at.nodes[i]),
        int(at.fullest[i]),
        throughput,
    )


def _predict(known: list[Row], wanted: list[Row]) -> list[Prediction]:
    predictor = Predictor.of(known, wanted, ACCELERATORS)
    found = predictor.predict(wanted)
    assert all(found)
    return [one for one in found if one]


def _line_law(b: float, devices: int, nodes: int) -> float:
    """Throughput of a made-up law, samples/s."""
    step = 0.05 + 0.002 * b + 0.02 * math.log2(devices) + 0.03 * math.log2(nodes)
    return b * devices / step


def test_a_law_is_recovered_where_it_was_not_measured(tmp_path: Path, isocost: Command) -> None:
    lines = [HEADER]
    for b in (16, 64, 256):
        for devices, nodes in ((1, 1), (2, 1), (4, 1), (4, 2), (8, 2), (12, 3)):
            value = _line_law(b, devices, nodes)
            lines.append(f"own,net,T4,{devices},{nodes},{math.ceil(devices / nodes)},{b},{value}")
    (tmp_path / "known.csv").write_text("\n".join(lines))
    asked = ["source,model,accelerator,accelerators,nodes,global_batch,note"]
    asked += [
        "own,net,T4,16,4,2048,far",
        "own,net,NVIDIA T4,1,1,32,between",
        "own,net,T4,4,1,64,here",
    ]
    asked += ["own,net,V100,1,1,64,elsewhere"]
    (tmp_path / "asked.csv").write_text("\n".join(asked))
    done = isocost(
        "profile", "predict", "--measurements", "known.csv", "--at", "asked.csv", "-o", "out.csv"
    )
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["basis"] for row in rows] == ["fitted", "fitted", "measured", "transferred"]
    assert [row["note"] for row in rows] == ["far", "between", "here", "elsewhere"]
    truth = [_line_law(128, 16, 4), _line_law(32, 1, 1), _line_law(16, 4, 1)]
    for row, true in zip(rows, truth, strict=False):
        assert float(row["throughput_pred"]) == pytest.approx(true, rel=0.1)
        assert float(row["p05"]) <= true <= float(row["p95"])
    carried = rows[3]
    assert float(carried["throughput_pred"]) > _line_law(64, 1, 1)
    assert float(carried["p95"]) / float(carried["p05"]) > 1.5


def _on_a_machine(model: str, steps: dict[int, float], dataset: str = "synthetic") -> list[Row]:
    """Rows of batch 64 on one node of the machine `box`: step seconds by devices."""
    cells = {"model": model, "accelerator": "T4", "dataset": dataset, "notes": "system=box"}
    return [
        Row(i + 2, cells, 64.0, k, 1, k, 64 * k / step) for i, (k, step) in enumerate(steps.items())
    ]


def test_exchange_that_outlasts_compute_leaves_a_shared_bus_to_be_expected() -> None:
    """Where 1 and 4 devices leave it open: 8 take what a ring takes, or what contention adds."""
    steps = {}
    for name, added in (("easy", 0.2), ("hard", 3.0)):
        known = [
            *_on_a_machine("net", {1: 0.1, 4: 0.12}),
            *_on_a_machine("other", {1: 0.1, 4: 0.1 * (1 + added)}),
            *(Row(r.line, {**r.cells, "notes": "system=else"}, *_rest(r)) for r in _pair()),
        ]
        steps[name] = 64 * 8 / _predict(known, _on_a_machine("net", {8: 1.0}))[0].throughput
    ring, contention = 0.1 + 0.02 * 7 / 6, 0.1 + 0.02 * 7 / 3
    assert steps["easy"] == pytest.approx(ring, rel=0.02)
    # A little more than either, as a part of the members hides exchange behind compute.
    assert contention < steps["hard"] < 1.1 * contention


def _pair() -> list[Row]:
    return _on_a_machine("net", {1: 0.1, 4: 0.12})


def _rest(row: Row) -> tuple[float | None, int, int, int, float | None]:
    return row.batch, row.devices, row.nodes, row.fullest, row.throughput


def test_no_model_gets_more_samples_than_its_host_reads() -> None:
    quick = {1: 0.01, 4: 0.04}  # four devices wait: 6,400 samples/s is all the host reads
    for dataset, most in (("imagenet", 6400.0), ("imagenet (synthetic)", 12000.0)):
        known = [
            *_on_a_machine("quick", quick, dataset),
            *_on_a_machine("net", {1: 0.04, 4: 0.0408}, dataset),
            *(Row(r.line, {**r.cells, "notes": "system=else"}, *_rest(r)) for r in _pair()),
        ]
        found = _predict(known, _on_a_machine("net", {8: 1.0}, dataset))[0].throughput
        assert found <= 6400.0 + 1e-6 if most == 6400.0 else found > most
        measured = _predict(known, _on_a_machine("net", {4: 1.0}, dataset))[0].throughput
        assert measured == pytest.approx(64 * 4 / 0.0408, rel=0.02)


def test_devices_that_wait_for_input_get_no_more_samples_when_there_are_more_of_them() -> None:
    """Four get four fifths of what they get on synthetic data: eight get no more than those."""
    known = [
        *_on_a_machine("net", {1: 0.1, 4: 0.125}, "imagenet"),
        *_on_a_machine("net", {1: 0.1, 4: 0.1}, "synthetic"),
        *(Row(r.line, {**r.cells, "notes": "system=else"}, *_rest(r)) for r in _pair()),
    ]
    found = [_predict(known, _on_a_machine("net", {8: 1.0}, name))[0] for name in ("imagenet", "")]
    assert found[0].throughput <= 64 * 4 / 0.125 * (1 + 1e-9)
    assert found[0].throughput > 64 * 4 / 0.125 * 0.9


def test_a_reading_far_off_its_neighbours_hardly_moves_them() -> None:
    batches = (8.0, 16.0, 32.0, 64.0)
    at = points([(b, n, n, 1) for b in batches for n in (1, 2, 4, 8)])
    true = 0.02 + 0.001 * at.batch + 0.004 * np.log2(at.devices)
    ripple = 1 + 0.01 * np.cos(np.arange(len(at)))
    struck = (at.batch == 16.0) & (at.devices == 4)
    neighbours = at.at(~struck & (at.devices == 4))
    alone = Scaling.fit(at, true * ripple).step_s(neighbours)
    moved = [
        np.log(Scaling.fit(at, true * ripple * np.where(struck, slower, 1)).step_s(neighbours))
        for slower in (1.3, 3.0)
    ]
    assert np.abs(moved[0] - np.log(alone)).max() < 0.05
    assert np.abs(moved[1] - np.log(alone)).max() < 0.05


@pytest.mark.parametrize(
    ("family", "words"),
    [
        ("float32", "fp32 | float32 | fp32 (single) | fp32 (tf32 off) | fp32; batch 16 | FP-32"),
        ("float32", "fp32 on Ampere | fp32, fp16 optimizer state | fp32 (no AMP flag)"),
        ("float16", "amp | fp16/amp | mixed_float16 | 16-mixed | pure half | fp16 (no AMP)"),
        (
            "bfloat16",
            "bf16 | amp_bf16 | mixed_bfloat16 | bf16-mixed | bfloat 16 | bf16 (not mixed)",
        ),
        ("tensorfloat32", "tf32 | tensorfloat32 | TF-32, no amp"),
        ("float8", "amp_fp8 | mxfp8 | e4m3"),
        ("float64", "fp64 | double"),
        ("int8", "INT8 | int-8"),
    ],
)
def test_precisions_are_known_by_many_words(family: str, words: str) -> None:
    assert {precision_family(word) for word in words.split(" | ")} == {family}


@pytest.mark.parametrize(
    "word",
    ["", "no amp", "without AMP", "AMP=off", "amp: none", "no_amp", "non-mixed", "w8a16", "O1"],
)
def test_a_word_that_names_no_precision_stands_for_itself(word: str) -> None:
    assert precision_family(word) == word.lower()
    assert not is_half(word)


def test_a_precision_by_another_word_is_the_same_series() -> None:
    def row(precision: str, throughput: float | None) -> Row:
        cells = {"model": "net", "accelerator": "A100", "precision": precision}
        return Row(2, cells, 8.0, 1, 1, 1, throughput)

    known = [row("amp_bf16", 100.0), row("float32", 40.0), row("int8", 300.0)]
    same, single, other = _predict(known, [row(word, None) for word in ("bf16", "fp32", "fp64")])
    assert (same.basis, single.basis, other.basis) == ("measured", "measured", "fitted")
    assert same.throughput == pytest.approx(100, rel=0.01)
    assert single.throughput == pytest.approx(40, rel=0.01)
    assert other.p95 / other.p05 > same.p95 / same.p05


def test_what_is_on_in_the_notes_is_another_series_than_what_is_silent() -> None:
    def rows(notes: str, step_s: float, batches: tuple[float, ...] = (16.0, 64.0)) -> list[Row]:
        cells = {"model": "net", "accelerator": "T4", "notes": f"rack 3{notes}"}
        return [Row(i, cells, b, 1, 1, 1, b / step_s) for i, b in enumerate(batches, 2)]

    known = [*rows("", 0.1), *rows("; input distortions on", 0.3)]
    for notes, step_s in (("", 0.1), ("; Input distortions on", 0.3)):
        one = _predict(known, rows(notes, 1.0, (32.0,)))[0]
        assert one.throughput == pytest.approx(32 / step_s, rel=0.05)


def test_the_same_counts_on_other_nodes_are_other_runs() -> None:
    """Each run's readings at two batches tell what the third takes there."""

    def rows(layout: str, factor: float, batches: tuple[float, ...]) -> list[Row]:
        cells = {"model": "net", "accelerator": "T4", "notes": f"gpus per node: {layout}"}
        return [
            Row(i, cells, b, 6, 3, 3, 6 * b / (factor * (0.1 + b / 100)))
            for i, b in enumerate(batches, 2)
        ]

    runs = {"1+2+3": 1.0, "2+1+3": 1.1, "3+2+1": 0.9, "3+1+2": 1.05}
    known = [row for layout, f in runs.items() for row in rows(layout, f, (16.0, 64.0))]
    asked = [row for layout, f in runs.items() for row in rows(layout, f, (32.0,))]
    for row, one in zip(asked, _predict(known, asked), strict=True):
        assert row.throughput is not None
        assert one.throughput == pytest.approx(row.throughput, rel=0.04)
    elsewhere = rows("1+2+3", 1.0, (64.0,))[0]
    assert rows("1+1+4", 1.0, (64.0,))[0].layout == 0.0 != elsewhere.layout


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("own,net,T4,1,1,1,32,fast", "line 2 has throughput 'fast'; expected a number above 0"),
        ("own,net,T4,1,1,1,32,-3", "line 2 has throughput -3; expected a number above 0"),
        ("own,net,T4,1,1,1,32,", "line 2 has no throughput"),
        ("own,,T4,1,1,1,32,9", "line 2 has no model"),
        ("own,net,T4,1.5,1,1,32,9", "line 2 has accelerators 1.5; expected a whole number"),
        ("own,net,T4,9,2,4,32,9", "line 2 puts 9 accelerators on 2 nodes with at most 4"),
        ("own,net,T4,1,1,1,9", "line 2 has 7 cells; the header has 8"),
        ("own,net,T4,1,1,1,nan,9", "line 2 has per_device_batch nan"),
    ],
)
def test_a_wrong_row_gets_a_sentence(line: str, words: str) -> None:
    with pytest.raises(InputError, match=r"t\.csv") as caught:
        parse_table(f"{HEADER}\n{line}\n", "t.csv", measured=True).sound()
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "t.csv is empty"),
        ("model,accelerator\n", "has no column 'throughput'"),
        ("modle,accelerator,throughput\n", "no column 'model'; did you mean 'modle'?"),
        (HEADER + "\n", "has no rows"),
        ("model,model,accelerator,throughput\n", "has the column 'model' twice"),
    ],
)
def test_a_wrong_table_gets_a_sentence(text: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_table(text, "t.csv", measured=True).sound()
    assert words in str(caught.value)


def test_an_unknown_model_is_named_and_the_others_are_written(
    tmp_path: Path, isocost: Command
) -> None:
    (tmp_path / "known.csv").write_text(f"{HEADER}\nown,net,T4,1,1,1,32,100\n")
    (tmp_path / "asked.csv").write_text(
        "model,accelerator,per_device_batch\nnet,T4,32\nnett,T4,32\n"
    )
    done = isocost(
        "profile", "predict", "--measurements", "known.csv", "--at", "asked.csv", "-o", "out.csv"
    )
    assert done.returncode == 2
    assert "asked.csv, line 3: 'nett' was not measured; did you mean 'net'?" in done.stderr
    assert "net,T4,32,100" in (tmp_path / "out.csv").read_text()


def test_every_public_row_is_a_fact_with_a_source_and_a_date() -> None:
    assert len(public_rows()) > 1000
    for row in public_rows():
        assert row.cell("source")
        assert re.fullmatch(r"20[12]\d(-[01]\d)?", row.cell("as_of"))
        assert "TensorFlow" in row.cell("framework")
        assert row.cell("unit") in {"samples/s", "tokens/s"}
        assert "BY-SA" not in row.cell("source")
    models = {row.cell("model") for row in public_rows()}
    assert {"resnet50", "bert-base", "mask-rcnn", "unet-medical", "ncf"} <= models
    assert {"K80", "T4", "V100-16GB", "A100-40GB", "TPU-v3"} <= {
        row.cell("accelerator") for row in public_rows()
    }


def test_imports_are_kept_once_shown_exported_and_set_against_others(
    tmp_path: Path, isocost: Command
) -> None:
    line = "me,mynet,T4,1,1,1,32,100"
    other = "you,mynet,T4,1,1,1,32,150"
    (tmp_path / "runs.csv").write_text(f"{HEADER}\n{line}\nme,mynet,T4,1,1,1,32,none\n{other}\n")
    done = isocost("profile", "import", "runs.csv")
    assert done.returncode == 2
    assert "2 measurements imported" in done.stdout
    assert "runs.csv, line 3 has throughput 'none'" in done.stderr
    assert "1 of 3 rows were refused" in done.stderr
    again = isocost("profile", "import", "runs.csv")
    assert "0 measurements imported, 2 were there already" in again.stdout
    shown = isocost("profile", "show", "mynet")
    assert shown.returncode == 0, shown.stderr
    assert "mynet on 1 x T4, batch 32" in shown.stdout
    assert max(len(text) for text in shown.stdout.splitlines()) <= 80
    as_json = json.loads(isocost("profile", "show", "mynet", "--json").stdout)
    assert as_json["found"] == 2
    assert as_json["conflicts"][0]["ratio"] == pytest.approx(1.5)
    out = isocost("profile", "export", "-o", "mine.csv")
    assert out.returncode == 0, out.stderr
    back = parse_table((tmp_path / "mine.csv").read_text(), "mine.csv", measured=True).sound()
    assert [row.throughput for row in back.rows] == [100, 150]
    assert back.columns == COLUMNS


def test_nothing_to_export_is_said(isocost: Command) -> None:
    done = isocost("profile", "export")
    assert done.returncode == 2
    assert "there is nothing to export" in done.stderr


def test_a_design_has_a_half_filled_node_and_three_nodes() -> None:
    where = [
        (b, K, n, m)
        for b in (8, 32, 128)
        for K, n, m in (
            (1, 1, 1),
            (2, 1, 2),
            (4, 1, 4),
            (2, 2, 1),
            (8, 2, 4),
            (3, 3, 1),
            (12, 3, 4),
        )
    ]
    at = points(where)
    for count in (3, 5, 9):
        chosen = at.at(v_optimal(at, at, count))
        assert (
            len(
                {
                    tuple(row)
                    for row in np.column_stack([chosen.batch, chosen.devices, chosen.nodes])
                }
            )
            == count
        )
        assert ((chosen.nodes == 1) & (chosen.fullest == 2)).any()
        assert (chosen.nodes >= 3).any()


@pytest.mark.skipif(not EFFICIENCY.exists(), reason=f"{EFFICIENCY} is not there")
def test_samples_to_target_follow_pollux_measured_efficiencies() -> None:
    """E(B0) / E(B) is the measured statistical efficiency, with phi as the critical batch."""
    with (EFFICIENCY.parent / "pollux_phi_effective.csv").open() as file:
        fitted = {row["app"]: row for row in csv.DictReader(file)}
    with EFFICIENCY.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 40
    plain = read_workload(EXAMPLE)
    for row in rows:
        known = fitted[row["app"]]
        job = plain.model_copy(
            update={
                "reference_batch": int(known["m0"]),
                "critical_batch": float(known["phi_eff_samples"]),
            }
        )
        ratio = job.samples_to_target(int(known["m0"])) / job.samples_to_target(int(row["batch"]))
        off = float(known["max_rel_err"]) + 1e-3
        assert ratio == pytest.approx(float(row["efficiency_measured"]), rel=off)
        assert 0 < ratio <= 1
