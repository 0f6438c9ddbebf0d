"""Workload files, the statistics of measuring, the step-time model, and real measurements."""

import itertools
import math
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isocost.catalog import Catalog, Offer, load
from isocost.catalog.files import InputError, seconds
from isocost.profiles import store
from isocost.profiles.compare import FEWEST_PAIRS, compare
from isocost.profiles.compare import interval as ratio_interval
from isocost.profiles.effects import predict as predict_settings
from isocost.profiles.effects import v_optimal
from isocost.profiles.evidence import of_model
from isocost.profiles.exchange import Point, measure_exchange
from isocost.profiles.exchange import fit as fit_exchange
from isocost.profiles.gang import Gang, free_ports, tf_config
from isocost.profiles.grid import design, grid
from isocost.profiles.measure import Progress, measure
from isocost.profiles.public import built_in_facts, efficiencies, measurements
from isocost.profiles.records import Knobs, ProcessSample, Profile, Setting
from isocost.profiles.steady import Spread, between_spread, estimate, steady
from isocost.profiles.table import Row
from isocost.profiles.throughput import (
    PRECISIONS,
    Basis,
    Fleet,
    StepTimeModel,
    interval,
    pool,
)
from isocost.profiles.words import parse_setting
from isocost.profiles.workload import Workload, read_workload

from .conftest import EXAMPLE

OWN_MODEL = """
import keras, numpy as np, tensorflow as tf

def make():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse")
    x = np.random.default_rng(0).normal(size=(256, 4)).astype("float32")
    return model, tf.data.Dataset.from_tensor_slices((x, x.sum(1, keepdims=True))){batched}

def broken():
    raise RuntimeError("the user's own mistake")  # line 11

def uncompiled():
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)]), make()[1]

def short():  # line 16
    model, data = make()
    return model, data.take(3)

def nan():  # line 20
    model, data = make()
    return model, data.map(lambda x, y: (x, y * float("nan")))

def generated(samples):
    spec = (tf.TensorSpec((4,)), tf.TensorSpec((1,)))
    return make()[0], tf.data.Dataset.from_generator(samples, output_signature=spec)

def raising():
    def samples():
        for i in range(10**9):
            if i == 500:
                raise ValueError("sample 500 is broken")  # line 32
            yield np.ones(4, "float32"), np.ones(1, "float32")
    return generated(samples)

def hanging():
    import time
    def samples():
        for i in range(10**9):
            if i == 500:
                time.sleep(3600)  # line 41
            yield np.ones(4, "float32"), np.ones(1, "float32")
    return generated(samples)

def leaking():
    kept = []
    def samples():
        for i in range(10**9):
            kept.append(np.ones(1_000))  # line 49
            yield np.ones(4, "float32"), np.ones(1, "float32")
    return generated(samples)

class Hungry(keras.layers.Layer):
    def call(self, x):  # 31 samples ask for more than all the memory, and use none of it
        import psutil
        shape = (tf.shape(x)[0], psutil.virtual_memory().total // 4 // 30)
        vast = tf.raw_ops.Empty(shape=shape, dtype=tf.float32)
        return x + tf.where(tf.math.is_finite(vast[:, :1]), 0.0, 0.0)

def hungry():
    model = keras.Sequential([keras.Input((4,)), Hungry(), keras.layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse")
    return model, make()[1]

class Sleepy(keras.layers.Layer):
    def call(self, x):
        import time
        with tf.control_dependencies([tf.py_function(lambda: time.sleep(0.02), [], [])]):
            return tf.identity(x)

def sleepy():
    model = keras.Sequential([keras.Input((4,)), Sleepy(), keras.layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse")
    return model, make()[1]

class Picky(keras.layers.Layer):
    def call(self, x):
        if x.shape[0] == 16:
            raise RuntimeError("sixteen")
        return x

def picky():
    model = keras.Sequential([keras.Input((4,)), Picky(), keras.layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse")
    return model, make()[1]
"""
OWN = """
schema: isocost/workload/v1
name: own
model: own_model:{function}
samples_per_epoch: 256
epochs: 2
per_device_batch: 8
"""


def own_workload(folder: Path, function: str = "make", batched: str = "") -> Path:
    (folder / "own_model.py").write_text(OWN_MODEL.format(batched=batched), encoding="utf-8")
    path = folder / "own.yaml"
    path.write_text(OWN.format(function=function), encoding="utf-8")
    return path


# Workload files


def test_the_example_reads_as_it_says() -> None:
    workload = read_workload(EXAMPLE)
    assert workload.constraints.deadline_s == 3600
    assert workload.per_device_batch == (32, 64, 128)
    assert workload.steps_to_target(32) == 15_625
    assert Workload.parse(workload.model_dump(by_alias=True, mode="json"), "again") == workload


@given(st.integers(1, 10_000), st.integers(1, 10_000))
def test_larger_batches_need_more_samples_and_fewer_steps(a: int, b: int) -> None:
    workload = read_workload(EXAMPLE)
    small, large = sorted((a, b))
    assert workload.samples_to_target(small) <= workload.samples_to_target(large)
    assert workload.steps_to_target(small) >= workload.steps_to_target(large)
    assert workload.samples_to_target(workload.reference_batch) == pytest.approx(500_000)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("90s", 90),
        ("1h30m", 5400),
        ("1d 12h", 129_600),
        ("45min", 2700),
        (3, 3),
    ],
)
def test_durations(text: object, words: float) -> None:
    assert seconds(text) == words


@pytest.mark.parametrize("text", ["", "h", "5 parsecs", "-3h", "1h-2m", "3"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        seconds(text)


# The statistics of measuring


def test_steady_leaves_out_compile_warm_up_and_disturbances() -> None:
    rng = np.random.default_rng(0)
    times = rng.normal(0.010, 0.0002, 500)
    times[0], times[1:40], times[300:320] = 2.0, 0.02, 0.5
    found = steady(times.tolist())
    assert found.step_s == pytest.approx(0.010, rel=0.01)
    assert found.discarded >= 100
    assert 0 < found.spread < 0.05


@given(st.lists(st.floats(1e-4, 10), min_size=2, max_size=200), st.floats(0.1, 10))
def test_steady_scales_with_the_unit_and_stays_within_the_data(
    times: list[float], unit: float
) -> None:
    found = steady(times)
    assert min(times[1:]) * (1 - 1e-9) <= found.step_s <= max(times[1:]) * (1 + 1e-9)
    assert steady([unit * t for t in times]).step_s == pytest.approx(unit * found.step_s)


def process(step_s: float) -> ProcessSample:
    return ProcessSample(
        step_s=step_s,
        spread=0.01,
        steps=100,
        discarded_steps=20,
        startup_s=3,
        wall_s=6,
        cpu_s=3,
    )


@pytest.mark.parametrize("processes", [2, 4, 5, 10])
def test_intervals_hold_the_truth_and_a_repeat_as_often_as_they_say(processes: int) -> None:
    rng = np.random.default_rng(1)
    held = np.zeros(2)
    tries = 600
    for _ in range(tries):
        spread = 0.12 * math.sqrt(3 / rng.chisquare(3))  # machines as the prior describes them
        groups = [
            [process(math.exp(rng.normal(math.log(0.01), spread))) for _ in range(processes)]
            for _ in range(6)
        ]
        found = estimate(groups[0], between_spread(groups))
        repeat = math.exp(rng.normal(math.log(0.01), spread))
        held += (
            found.ci95[0] <= 0.01 <= found.ci95[1],
            found.repeat95[0] <= repeat <= found.repeat95[1],
        )
    assert (held / tries > 0.92).all()
    assert (held / tries < 0.98).all()


def test_bad_moments_neither_move_nor_widen_a_figure_by_much() -> None:
    rng = np.random.default_rng(2)
    off, wide = [], []
    for _ in range(200):
        groups = [[process(math.exp(rng.normal(-4.6, 0.05))) for _ in range(10)] for _ in range(6)]
        calm = estimate(groups[0], between_spread(groups))
        groups[0][3] = process(2 * groups[0][3].step_s)
        disturbed = estimate(groups[0], between_spread(groups))
        off.append(disturbed.value / calm.value - 1)
        wide.append(math.log(disturbed.ci95[1] / calm.value) / math.log(calm.ci95[1] / calm.value))
    assert 0 <= np.mean(off) < 0.015  # the plain mean would be 7 % off
    assert np.median(wide) < 2


def test_more_processes_narrow_the_interval() -> None:
    one, four = ([process(0.01)] * k for k in (1, 4))
    spread = between_spread([one, four])
    narrow, wide = estimate(four, spread), estimate(one, spread)
    assert narrow.ci95[1] - narrow.ci95[0] < wide.ci95[1] - wide.ci95[0]


def test_the_design_spans_batches_xla_and_workers(workload: Workload) -> None:
    for batches in ((32,), (1,), (1024,), (16, 32, 64, 128, 256)):
        varied = workload.model_copy(update={"per_device_batch": batches})
        every = grid(varied)
        assert set(batches) <= {s.per_device_batch for s in every}
        settings = design(varied, every, 8)
        assert len(settings) == len(set(settings)) == 8
        assert len({s.per_device_batch for s in settings}) >= 3
        assert {s.workers for s in settings} == {1, 2}
        assert {s.knobs.xla for s in settings} == {True, False}
        assert {s.knobs.precision for s in settings} == {"float32", "mixed_bfloat16"}
        assert sorted(map(repr, design(varied, every, 99))) == sorted(map(repr, every))


# The step-time model


@pytest.fixture
def fleet(catalog: Catalog, local: Offer) -> Fleet:
    return Fleet.of(catalog.with_offer(local))


def test_a_measured_setting_is_predicted_as_measured(
    profile: Profile, fleet: Fleet, catalog: Catalog
) -> None:
    model = StepTimeModel.of(profile.facts, profile, catalog.accelerators)
    here = int(np.flatnonzero(fleet.local)[0])
    for one in profile.measurements:
        found = model.predict(
            fleet, catalog.accelerators, 1, one.setting.per_device_batch, one.setting.knobs
        )
        assert found.step_s[here] == one.step_time_s.value
        assert found.basis[here] == Basis.MEASURED
        low, high = interval(float(found.step_s[here]), float(found.sigma[here]), 0.95)
        assert (low, high) == pytest.approx(one.step_time_s.repeat95, rel=0.02)


def test_a_profile_of_a_gpu_serves_the_offers_that_have_it(
    profile: Profile, fleet: Fleet, catalog: Catalog
) -> None:
    """A recorded profile, not one that was measured here."""
    one_gpu = Setting(accelerator="T4", per_device_batch=32, knobs=Knobs(strategy="one_device"))
    step = profile.measurements[0].step_time_s
    one = profile.measurements[0].model_copy(update={"setting": one_gpu})
    of_gpu = profile.model_copy(update={"measurements": (one,)})
    model = StepTimeModel.of(profile.facts, of_gpu, catalog.accelerators)
    assert not model.curves  # this machine's processors were not profiled
    found = model.predict(fleet, catalog.accelerators, 1, 32, Knobs(strategy="one_device"))
    alone = np.flatnonzero((fleet.accelerator == "T4") & (fleet.devices == 1))
    assert found.step_s[alone] == pytest.approx(step.value, rel=1e-3)
    assert (found.basis[alone] == Basis.FITTED).all()
    several = np.flatnonzero((fleet.accelerator == "T4") & (fleet.devices > 1))
    assert (found.step_s[several] > step.value).all()
    assert (found.basis[several] == Basis.TRANSFERRED).all()
    unsure_s = found.sigma * found.step_s
    assert unsure_s[several].min() > unsure_s[alone].max() > 0.1 * step.value
    others = np.flatnonzero((fleet.accelerator == "V100") & (fleet.devices == 1))
    assert (found.basis[others] == Basis.TRANSFERRED).all()


def test_imported_steps_serve_the_offers_that_have_the_accelerator(
    fleet: Fleet, catalog: Catalog
) -> None:
    """On as many devices as were measured as imported; on several nodes with the sheet's exchange."""

    def row(model: str, devices: int, step_s: float, **cells: str) -> Row:
        given = {"model": model, "accelerator": "NVIDIA T4", "precision": "fp32", **cells}
        rate = 32 * devices / step_s
        return Row(2, given, 32.0, devices, 1, devices, rate)

    rows = [
        *(row("ResNet50", devices, step_s) for devices, step_s in ((1, 0.2), (4, 0.24))),
        row("resnet50", 1, 9.0, framework="PyTorch"),
        row("resnet50", 1, 9.0, unit="tokens/s"),
        row("vgg16", 1, 9.0),
    ]
    facts, plain = built_in_facts()["resnet50"], Knobs(strategy="one_device")
    known = of_model(rows, ("resnet50",))
    assert [each.devices for each in known] == [1, 4]
    model = StepTimeModel.of(facts, None, catalog.accelerators, measured=known)
    sheet = StepTimeModel.of(facts, None, catalog.accelerators)
    ours, plainly = (
        one.predict(fleet, catalog.accelerators, 1, 32, plain) for one in (model, sheet)
    )
    t4 = fleet.accelerator == "T4"
    for devices, step_s in ((1, 0.2), (4, 0.24)):
        here = t4 & (fleet.devices == devices)
        assert ours.step_s[here] == pytest.approx(step_s, rel=0.03)
        assert (ours.basis[here] == Basis.FITTED).all()
        assert (ours.sigma[here] < plainly.sigma[here]).all()
    other = np.isfinite(ours.step_s) & ~t4
    assert (ours.step_s[other] == plainly.step_s[other]).all()
    far = model.predict(fleet, catalog.accelerators, 4, 32, plain)
    four = t4 & (fleet.devices == 4)
    assert (far.step_s[four] > ours.step_s[four]).all()
    assert (far.basis[four] == Basis.TRANSFERRED).all()


@given(st.integers(1, 512), st.integers(1, 512))
def test_more_samples_a_step_never_take_less_time(a: int, b: int) -> None:
    catalog = load()
    model = StepTimeModel.of(built_in_facts()["resnet50"], None, catalog.accelerators)
    fleet = Fleet.of(catalog)
    knobs = Knobs(strategy="one_device")
    small, large = (
        model.predict(fleet, catalog.accelerators, 1, batch, knobs).step_s
        for batch in sorted((a, b))
    )
    fits, fits_large = np.isfinite(small), np.isfinite(large)
    assert fits.any()
    assert not (fits_large & ~fits).any()  # what holds more samples holds fewer
    assert (small[fits_large] <= large[fits_large]).all()


@pytest.mark.parametrize("batch", [1, 8, 32, 40, 100, 128, 200, 1024])
def test_the_profiled_curve_rises_and_says_what_it_rests_on(
    batch: int, profile: Profile, catalog: Catalog
) -> None:
    model = StepTimeModel.of(profile.facts, profile, catalog.accelerators)
    knobs = Knobs(strategy="multi_worker_mirrored")
    step, sigma, basis = model.here(batch, knobs)
    assert step <= model.here(batch + 1, knobs)[0]
    assert basis is (Basis.MEASURED if batch in (32, 64, 128) else Basis.FITTED)
    assert sigma >= model.here(64, knobs)[1]


def test_more_nodes_never_scale_better_than_linearly(catalog: Catalog) -> None:
    model = StepTimeModel.of(built_in_facts()["resnet50"], None, catalog.accelerators)
    fleet, knobs = Fleet.of(catalog), Knobs(strategy="multi_worker_mirrored")
    steps = [model.predict(fleet, catalog.accelerators, n, 32, knobs).step_s for n in (1, 2, 4, 8)]
    for fewer, more in itertools.pairwise(steps):
        assert (more[np.isfinite(more)] >= fewer[np.isfinite(more)]).all()


def test_transferred_intervals_hold_every_public_measurement_of_a_model_left_out(
    catalog: Catalog,
) -> None:
    """Calibrated without a model, its 90 % intervals hold 85 to 95 % of that model's figures."""
    fleet, held, tried = Fleet.of(catalog), 0, 0
    for name in sorted({row.model for row in measurements()}):
        known = efficiencies(catalog.accelerators, without_model=name)
        for row in measurements():
            places = np.flatnonzero((fleet.accelerator == row.accelerator) & (fleet.devices == 1))
            if row.model != name or row.devices > 1 or not len(places):
                continue
            # The table does not say how many bytes these models move.
            facts = built_in_facts()["resnet50"].model_copy(
                update={"flops_per_sample": row.train_flops_per_sample, "bytes_per_sample": 1.0}
            )
            model = replace(
                StepTimeModel.of(facts, None, catalog.accelerators),
                efficiency=known,
                pooled={p: pool(known, p) for p in PRECISIONS},
            )
            knobs = Knobs(strategy="one_device", precision=row.precision)
            found = model.predict(fleet, catalog.accelerators, 1, row.per_device_batch, knobs)
            step = float(found.step_s[places[0]])
            if math.isfinite(step):
                low, high = interval(step, float(found.sigma[places[0]]))
                held += low <= row.step_s <= high
                tried += 1
    assert tried > 100
    assert 0.85 <= held / tried <= 0.97


def test_calibrated_efficiencies_are_plausible(catalog: Catalog) -> None:
    found = efficiencies(catalog.accelerators)
    assert len(found) >= 8
    assert all(0.01 < one.share < 1.5 for one in found.values())


def test_lower_precision_is_never_slower_on_the_same_device(catalog: Catalog) -> None:
    model = StepTimeModel.of(built_in_facts()["resnet50"], None, catalog.accelerators)
    fleet = Fleet.of(catalog)
    single, half = (
        model.predict(fleet, catalog.accelerators, 1, 64, Knobs(precision=precision)).step_s
        for precision in ("float32", "mixed_bfloat16")
    )
    tpu = fleet.kind == "tpu"
    assert np.isfinite(single[tpu]).all()
    assert (half[tpu] <= single[tpu]).all()


# Where profiles lie


def test_the_newest_profile_of_the_model_is_found(
    tmp_path: Path, profile: Profile, workload: Workload
) -> None:
    newer = profile.model_copy(update={"created": profile.created + timedelta(days=1)})
    other = profile.model_copy(
        update={"created": profile.created + timedelta(days=2), "model": "resnet50"}
    )
    for one in (newer, profile, other):
        one.write(tmp_path / store.file_name(one))
    (tmp_path / "profile-garbage.json").write_bytes(b"\xff\x00")
    (tmp_path / "profile-list.json").write_text("[1]", encoding="utf-8")
    found = store.latest(workload, [tmp_path / "empty", tmp_path])
    assert found is not None
    assert found[1] == newer
    assert store.latest(workload, [tmp_path / "empty"]) is None


# Processes


def test_tf_config_and_ports() -> None:
    assert '"index": 1' in tf_config(["a:1", "b:2"], 1)
    assert len(set(free_ports(20))) == 20


def test_a_gang_dies_with_its_block(tmp_path: Path) -> None:
    sleeper = ["-c", "import time; time.sleep(600)"]
    with Gang([sleeper] * 2, [{}, {}], [tmp_path / "a", tmp_path / "b"]) as gang:
        assert gang.codes() == [None, None]
    assert all(code is not None for code in gang.codes())


# Real measurements


@pytest.mark.slow
def test_measuring_the_user_s_own_model(tmp_path: Path) -> None:
    for batched in ("", ".batch(16)"):
        workload = read_workload(own_workload(tmp_path, batched=batched))
        found = measure(
            workload, folder=tmp_path, max_seconds=1, usd_h=0.5, settings=grid(workload)[:1]
        )
        (one,) = found.measurements
        assert found.data == "own_model:make"
        assert found.facts.parameters == 5
        assert one.step_time_s.ci95[0] < one.step_time_s.value < one.step_time_s.ci95[1]
        assert one.processes[0].discarded_steps > one.processes[0].steps / 5
        assert found.profiling_usd == pytest.approx(found.profiling_s / 3600 * 0.5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("broken", r"own_model.py line 11 \(broken\) raised RuntimeError: the user's own mistake"),
        pytest.param("uncompiled", "not compiled", marks=pytest.mark.long),
        pytest.param(
            "short",
            r"own_model.py line 16 \(short\) has fewer samples than one batch",
            marks=pytest.mark.long,
        ),
        pytest.param("missing", "has no function missing", marks=pytest.mark.long),
        ("nan", r"not a number at step 2; .* own_model.py line 20 \(nan\)"),
        ("raising", r"own_model.py line 32 \(samples\) raised .*sample 500 is broken"),
        pytest.param(
            "hanging", r"hangs in own_model.py line 41 \(samples\)", marks=pytest.mark.long
        ),
        pytest.param(
            "leaking",
            r"own_model.py line 49 keeps .* MB of memory with every step",
            marks=pytest.mark.long,
        ),
    ],
)
def test_a_workload_at_fault_is_named_by_its_own_line(
    function: str, words: str, tmp_path: Path
) -> None:
    workload = read_workload(own_workload(tmp_path, function))
    if function == "leaking":
        workload = workload.model_copy(update={"samples_per_epoch": 100_000_000})
    with pytest.raises(InputError, match=words):
        measure(
            workload,
            folder=tmp_path,
            max_seconds=1,
            settings=grid(workload)[:1],
            step_seconds=2.0,
            stuck_s=15.0,
        )


@pytest.mark.long
def test_one_setting_at_fault_leaves_the_others_and_a_second_call_goes_on(tmp_path: Path) -> None:
    workload = read_workload(own_workload(tmp_path, "picky"))
    settings = [
        setting
        for setting in grid(workload)
        if setting.workers == 1 and not setting.knobs.xla and setting.knobs.precision == "float32"
    ]
    kept: list[Profile] = []

    def profiled(known: Profile | None, interrupted_after: int = 99) -> Profile:
        def stop(progress: Progress) -> None:
            if progress.done == interrupted_after:
                raise KeyboardInterrupt

        return measure(
            workload,
            folder=tmp_path,
            max_seconds=600,
            settings=settings,
            half_width=1.0,
            known=known,
            step_seconds=0.3,
            keep=kept.append,
            progress=stop,
        )

    found = profiled(None, interrupted_after=3)
    assert [one.setting.per_device_batch for one in found.failures] == [16]
    assert "own_model.py line" in found.failures[0].reason
    assert {one.setting.per_device_batch for one in found.measurements} == {8, 32}
    assert [len(one.measurements) for one in kept] == [1, 2, 2]
    again = profiled(found)
    assert [len(one.processes) for one in again.measurements] == [2, 2]
    assert again.measurements[0].processes[0] == found.measurements[0].processes[0]
    assert profiled(again).measurements == again.measurements  # nothing is left to do


@pytest.mark.long
def test_a_leak_that_does_no_harm_is_a_warning_with_its_line(tmp_path: Path) -> None:
    workload = read_workload(own_workload(tmp_path, "leaking"))
    found = measure(
        workload, folder=tmp_path, max_seconds=1, settings=grid(workload)[:1], step_seconds=1
    )
    (words,) = found.warnings
    assert "own_model.py line" in words
    assert "keeps" in words
    assert found.measurements


@pytest.mark.long
def test_the_largest_batch_that_fits_is_looked_for(tmp_path: Path) -> None:
    workload = read_workload(own_workload(tmp_path, "hungry"))
    small = grid(workload)[0]
    large = small.model_copy(update={"per_device_batch": 64})
    found = measure(
        workload,
        folder=tmp_path,
        max_seconds=120,
        settings=[small, large],
        step_seconds=0.1,
        half_width=1.0,
    )
    assert {one.kind for one in found.failures} == {"out_of_memory"}
    largest = max(one.setting.per_device_batch for one in found.measurements)
    smallest = min(one.setting.per_device_batch for one in found.failures)
    assert largest <= 30 < smallest
    assert smallest - largest <= 0.25 * smallest


@pytest.mark.slow
def test_the_faster_of_two_settings_is_told(tmp_path: Path) -> None:
    """A step that sleeps 20 ms whatever its batch: twice the batch trains twice as fast."""
    workload = read_workload(own_workload(tmp_path, "sleepy"))
    small, large = (parse_setting(text, workload) for text in ("batch=8", "batch=16"))
    found = compare(workload, small, large, folder=tmp_path, max_seconds=90, step_seconds=0.5)
    assert found.verdict == "faster"
    assert 1 < found.ci[0] <= found.ratio <= found.ci[1]
    assert found.ratio == pytest.approx(2, rel=0.1)
    with pytest.raises(InputError, match="the same"):
        compare(workload, small, small)
    broken = workload.model_copy(update={"model": "own_model:broken"})
    with pytest.raises(InputError, match=r"batch 8.*own_model.py line 11 \(broken\) raised"):
        compare(broken, small, large, folder=tmp_path)


def test_comparisons_are_right_as_often_as_they_say() -> None:
    """Looked at after every pair, the wrong one of two is called the faster in less than 1 of 200."""
    rng = np.random.default_rng(5)
    wrong = undecided = 0
    for _ in range(1000):
        ratios: list[float] = []
        while len(ratios) < 20:
            ratios.append(math.exp(rng.normal(math.log(1.1), 0.1)))
            if len(ratios) >= FEWEST_PAIRS and ratio_interval(ratios).verdict != "undecided":
                break
        wrong += ratio_interval(ratios).verdict in ("slower", "equal")
        undecided += ratio_interval(ratios).verdict == "undecided"
    assert wrong <= 5
    assert undecided < 150


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("btach=3", "did you mean 'batch'"),
        ("batch", "write key=value"),
        ("batch=0", "whole number above 0"),
        ("xla=maybe", "expected on"),
        ("xla=on,xla=off", "twice"),
        ("precision=bfloat61", "did you mean 'bfloat16'"),
    ],
)
def test_what_is_no_setting_is_refused(text: str, words: str, workload: Workload) -> None:
    with pytest.raises(InputError, match=words):
        parse_setting(text, workload)


def test_a_setting_says_what_it_leaves_out(workload: Workload) -> None:
    one = parse_setting("workers=2, xla=on", workload)
    assert (one.per_device_batch, one.workers, one.knobs.xla) == (64, 2, True)
    assert parse_setting("", workload) in grid(workload)


@pytest.mark.slow
def test_larger_messages_take_longer_to_exchange() -> None:
    hosts = {"a": "127.0.0.1", "b": "127.0.0.1"}
    found = measure_exchange(hosts, sizes=(4e3, 16e6))
    small, large = (point.seconds for point in found.points)
    assert 0 < small < large
    assert found.bandwidth_bytes_s > 1e6
    with pytest.raises(InputError, match="failed on a"):
        measure_exchange(hosts, launch="false {host}")
    with pytest.raises(InputError, match="takes two"):
        measure_exchange({"a": "127.0.0.1"})


@given(st.floats(1e-5, 1e-1), st.floats(1e6, 1e11), st.integers(2, 64))
def test_the_line_through_exact_exchanges_is_found(
    latency: float, bandwidth: float, workers: int
) -> None:
    points = [
        Point(message_bytes=size, seconds=seconds, quartiles=(seconds, seconds))
        for size in (4e3, 1e6, 64e6)
        for seconds in [latency + 2 * (workers - 1) / workers * size / bandwidth]
    ]
    found = fit_exchange(points, workers)
    for point in points:
        moved = 2 * (workers - 1) / workers * point.message_bytes
        assert found[0] + moved / found[1] == pytest.approx(point.seconds, rel=1e-6)


def test_effects_predict_what_was_left_out() -> None:
    rng = np.random.default_rng(3)
    every = grid(read_workload(EXAMPLE))
    held = total = 0
    for _ in range(40):
        mood = rng.normal(0, 0.2, 4).tolist()
        truth = {setting: _synthetic(setting, mood) for setting in every}
        chosen = v_optimal(every, 10, [1.0] * len(every))
        seen = {s: (truth[s] * math.exp(rng.normal(0, 0.05)), 1) for s in chosen}
        wanted = [s for s in every if s not in seen]
        for setting, step in zip(
            wanted, predict_settings(seen, wanted, Spread(0.05, 0.05, 30)), strict=True
        ):
            held += step.ci95[0] <= truth[setting] <= step.ci95[1]
            total += 1
    assert 0.85 < held / total <= 1


def _synthetic(setting: Setting, mood: list[float]) -> float:
    size = math.log(setting.per_device_batch / 64)
    xla, half = float(setting.knobs.xla), float(setting.knobs.precision != "float32")
    several = float(setting.workers > 1)
    effect = 0.8 * size + 0.7 * xla - 0.1 * half + 0.8 * several
    twists = mood[0] * xla * size / 2 + mood[1] * half * xla + mood[2] * several * xla
    return 0.01 * math.exp(effect + twists + mood[3] * half)
