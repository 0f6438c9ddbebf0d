"""Runs that are asked to stop, run out of time or money, lose workers, or are set otherwise than planned."""

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isocost.catalog.files import InputError
from isocost.cli.run import _seconds as seconds_of
from isocost.execution import checkpoints
from isocost.execution.checkpoints import Position, check_same, daly_interval_s
from isocost.execution.engines import Launch, Local
from isocost.execution.engines.local import LocalPlacement
from isocost.execution.limits import Allowance, Ledger, spent_s
from isocost.execution.run import execute, own_folder
from isocost.execution.setup import set_up
from isocost.execution.supervisor import Patience
from isocost.execution.supervisor import _worked_s as worked_s
from isocost.execution.telemetry import LifeSign, Sign, StepLine, read_sign, read_steps
from isocost.optimizer.plan import Plan
from isocost.profiles.gang import Nursery
from isocost.profiles.marks import passes_seen_once, whole_pass

from .conftest import Command, command_line, environment, recorded_profile
from .test_execution import SHORT_AT_32, orphans, record


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A plan of 400 steps of batch 32, as text."""
    folder = tmp_path_factory.mktemp("plan")
    (folder / "short.yaml").write_text(SHORT_AT_32, encoding="utf-8")
    recorded_profile().write(folder / "profile.json")
    done = subprocess.run(
        command_line(["optimize", "short.yaml", "--profile", "profile.json", "-o", "plan.json"]),
        cwd=folder,
        env=environment(folder),
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return (folder / "plan.json").read_text(encoding="utf-8")


@pytest.fixture
def plan(made: str, tmp_path: Path) -> Path:
    (tmp_path / "plan.json").write_text(made, encoding="utf-8")
    return tmp_path / "plan.json"


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """A process that has imported TensorFlow, for workers that start at once."""
    with Nursery(tmp_path_factory.mktemp("nursery") / "log") as found:
        yield found


class Watched(Local):
    """Local workers, forked, that a test can get at."""

    placement: LocalPlacement

    def __init__(self, nursery: Nursery) -> None:
        super().__init__(nurseries=[nursery] * 4)

    def submit(self, launch: Launch) -> LocalPlacement:
        self.placement = super().submit(launch)
        return self.placement

    def pid(self, rank: int) -> int:
        return self.placement.gang.processes[rank].pid


def at_step(number: int, act: Any) -> Any:
    """A progress callback that acts once, at the first step seen from number on."""
    done: list[int] = []

    def progress(line: StepLine) -> None:
        if line.step >= number and not done:
            done.append(line.step)
            act()

    return progress


# Whole runs


@pytest.mark.slow
def test_a_frozen_worker_a_notice_and_a_broken_checkpoint_cost_no_step(
    plan: Path, tmp_path: Path, nursery: Nursery
) -> None:
    """Three things that go wrong, one after the other, in one folder; the losses stay the same."""
    setup = set_up(Plan.read(plan), threads=1)
    quick = Patience(arrive_s=20, startup_s=120, hang_s=4, grace_s=10)
    common: dict[str, Any] = {"plan_path": "", "patience": quick, "checkpoint_every_s": 0.5}
    calm = execute(setup, tmp_path / "calm", engine=Watched(nursery), plan_path="", max_steps=150)
    engine, folder = Watched(nursery), tmp_path / "struck"
    frozen = execute(
        setup,
        folder,
        engine=engine,
        max_steps=60,
        progress=at_step(20, lambda: os.kill(engine.pid(0), signal.SIGSTOP)),
        **common,
    )
    assert (frozen.steps, frozen.restarts) == (60, 1)
    assert "gave no sign of life" in frozen.recoveries[0].reason
    assert frozen.recoveries[0].lost_s <= 0.5
    warned = execute(
        setup,
        folder,
        engine=engine,
        max_steps=110,
        resume=True,
        progress=at_step(75, lambda: os.kill(engine.pid(0), signal.SIGTERM)),
        **common,
    )
    assert (warned.steps, warned.restarts) == (110, 1)
    assert "asked to end (SIGTERM)" in warned.recoveries[0].reason
    assert warned.recoveries[0].lost_steps == 0
    saved = checkpoints.all_saved(folder / "checkpoints")
    data = next(saved[-1].folder.glob("state.data*"))
    os.truncate(data, data.stat().st_size // 2)
    ended = execute(setup, folder, engine=engine, max_steps=150, resume=True, **common)
    assert ended.notes == (
        (
            f"the checkpoint after step 110 is broken ({data.name} is not what was written); "
            f"the one after step {saved[-2].step} is used"
        ),
    )
    lines = read_steps(folder / "steps.jsonl")
    assert [line.step for line in lines] == list(range(1, 151))
    expected = [line.loss for line in read_steps(tmp_path / "calm" / "steps.jsonl")]
    assert [line.loss for line in lines] == pytest.approx(expected, rel=1e-6)
    for run in (calm, ended):
        assert run.samples_seen is not None
        assert run.samples_seen.per_worker == (150 * 32,)
        assert run.samples_seen.passes == run.samples_seen.once == 150 * 32 // 1437
        assert run.breakdown is not None
        assert run.breakdown.compute_s > 0
    assert list((folder / "tensorboard").glob("events.out.tfevents.*"))


@pytest.mark.slow
def test_a_deadline_and_a_budget_stop_in_time_and_resuming_finishes(
    plan: Path, isocost: Command, tmp_path: Path, nursery: Nursery
) -> None:
    done = isocost("run", plan, "--deadline", "1s", "-o", "late.json")
    assert done.returncode == 4, done.stderr
    assert "Stopped by its deadline after 0 of 400 steps" in done.stderr
    assert "Go on with: isocost run" in done.stdout
    late = record(tmp_path / "late.json")
    assert (late["status"], late["steps"]) == ("deadline", 0)
    first = checkpoints.latest(tmp_path / "late" / "checkpoints")
    assert first is not None
    assert first.step == 0
    setup = replace(set_up(Plan.read(plan), usd_per_h=2.0), steps=10**6)
    common: dict[str, Any] = {"plan_path": "", "engine": Watched(nursery)}
    poor = execute(setup, tmp_path / "run", budget_usd=0.01, **common)
    assert poor.status == "budget"
    assert poor.limits is not None
    assert poor.limits.spent_usd == pytest.approx(poor.limits.spent_s / 3600 * 2.0)
    assert 0.005 < poor.limits.spent_usd <= 0.0102
    saved = checkpoints.latest(tmp_path / "run" / "checkpoints")
    assert saved is not None
    assert saved.step == poor.steps > 0
    rest = replace(setup, steps=poor.steps + 20)
    rich = execute(rest, tmp_path / "run", resume=True, budget_usd=0.1, **common)
    assert (rich.status, rich.steps) == ("finished", poor.steps + 20)
    assert rich.limits is not None
    assert rich.limits.spent_s > poor.limits.spent_s


@pytest.mark.slow
def test_a_run_that_ends_before_its_first_step_is_finished_by_resuming(
    plan: Path, tmp_path: Path, nursery: Nursery
) -> None:
    setup, folder = set_up(Plan.read(plan), threads=1), tmp_path / "run"
    common: dict[str, Any] = {"plan_path": "", "engine": Watched(nursery), "max_steps": 20}
    calm = execute(setup, tmp_path / "calm", seed=5, **common)
    early = execute(setup, folder, seed=5, deadline_s=1.2, **common)
    assert (early.status, early.steps, early.samples) == ("deadline", 0, 0)
    assert early.limits is not None
    assert 0 < early.limits.spent_s <= 1.2
    saved = checkpoints.latest(folder / "checkpoints")
    assert saved is not None
    position = saved.position()
    assert position is not None
    assert (position.step, position.seed) == (0, 5)
    with pytest.raises(InputError, match="give --seed 5"):
        execute(setup, folder, resume=True, seed=6, **common)
    rest = execute(setup, folder, resume=True, **common)
    assert (rest.seed, rest.steps, rest.restarts) == (5, 20, 0)
    assert [point.loss for point in rest.losses] == pytest.approx(
        [point.loss for point in calm.losses], rel=1e-6
    )


@pytest.mark.slow
def test_a_worker_that_is_frozen_before_its_first_step_is_noticed_by_its_heart(
    plan: Path, tmp_path: Path, nursery: Nursery
) -> None:
    """Peers are waited for with Python's lock held: they still beat, and are not taken for frozen."""
    engine, folder = Watched(nursery), tmp_path / "run"
    patience = Patience(arrive_s=60, startup_s=600, hang_s=4, grace_s=10)

    def freeze() -> None:
        while (read_sign(folder / "alive-1")[0]) is None:
            time.sleep(0.005)
        os.kill(engine.pid(1), signal.SIGSTOP)

    striker = threading.Thread(target=freeze)
    striker.start()
    run = execute(
        set_up(Plan.read(plan), workers=2, threads=1),
        folder,
        engine=engine,
        plan_path="",
        patience=patience,
        max_steps=10,
    )
    striker.join()
    assert (run.steps, run.restarts) == (10, 1)
    assert run.recoveries[0].reason.startswith("worker 1 gave no sign of life for")
    assert "before its first step" in run.recoveries[0].reason
    assert run.recoveries[0].at_s < 15


def test_a_run_that_fails_leaves_a_record(plan: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    run = execute(
        set_up(Plan.read(plan), usd_per_h=3.6),
        tmp_path / "run",
        plan_path="",
        engine=Local(prefixes=[["false"]]),
        max_restarts=1,
        note=notes.append,
    )
    assert (run.status, run.steps, run.restarts) == ("failed", 0, 1)
    assert run.reason == (
        "worker 0 ended with code 1, and 1 restarts in a row did not get beyond step 0: its log is "
        "empty"
    )
    assert run.limits is not None
    assert run.limits.spent_s > 1  # the pause before the restart
    assert run.limits.spent_usd == pytest.approx(run.limits.spent_s / 1000)
    assert notes == ["worker 0 ended with code 1; going on after step 0"]


def test_a_run_whose_engine_fails_says_so_and_exits_with_4(plan: Path, isocost: Command) -> None:
    (plan.parent / "broken.py").write_text(
        "from isocost.execution.engines import EngineFailed, Local\n"
        "class Broken(Local):\n"
        "    def submit(self, launch):\n"
        "        raise EngineFailed('the cluster is gone')\n",
        encoding="utf-8",
    )
    done = isocost("run", plan, "--engine", "broken:Broken", "--json")
    assert done.returncode == 4
    assert "isocost: the cluster is gone" in done.stderr
    assert "The run failed; the last good checkpoint is after step 0." in done.stderr
    run = record(plan.parent / "run.json")
    assert run == json.loads(done.stdout)
    assert (run["status"], run["reason"]) == ("failed", "the cluster is gone")


@pytest.mark.slow
@pytest.mark.parametrize("moment_s", [1.0, 4.0])
def test_ctrl_c_during_the_start_ends_at_once(plan: Path, tmp_path: Path, moment_s: float) -> None:
    running = subprocess.Popen(
        command_line(["run", plan, "--workers", "2", "-o", "early.json"]),
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(moment_s)
    began = time.monotonic()
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert time.monotonic() - began < 15
    assert running.returncode == 130, err
    assert "Traceback" not in err
    assert orphans(tmp_path / "early") == []


OWN = """
import keras, numpy as np, tensorflow as tf

def make():
    one, two = keras.Input((4,), name="one"), keras.Input((2, 3), name="two")
    joined = keras.layers.Concatenate()([one, keras.layers.Flatten()(two)])
    model = keras.Model({"one": one, "two": two}, keras.layers.Dense(2)(joined))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01, clipnorm=0.1), loss)
    rng = np.random.default_rng(0)
    x = {
        "one": rng.normal(size=(64, 4)).astype("float32"),
        "two": rng.normal(size=(64, 2, 3)).astype("float32"),
    }
    data = tf.data.Dataset.from_tensor_slices((x, (x["one"][:, 0] > 0).astype("int64")))
    return model, data, data.batch(16)

def broken():
    model, data, _ = make()
    def fails(x, y):
        raise ValueError("this is my own mistake")
    return model, data.map(fails)
"""
WORKLOAD = """
schema: isocost/workload/v1
name: own
model: own:make
samples_per_epoch: 64
epochs: 8
reference_batch: 4
per_device_batch: 16
learning_rate: sqrt
facts: {parameters: 22, gradient_bytes: 88, flops_per_sample: 100, bytes_per_sample: 100,
  checkpoint_bytes: 300}
"""


@pytest.mark.slow
def test_a_model_of_several_inputs_trains_alike_on_one_device_two_and_in_parts(
    isocost: Command, tmp_path: Path, nursery: Nursery
) -> None:
    (tmp_path / "own.py").write_text(OWN, encoding="utf-8")
    (tmp_path / "own.yaml").write_text(WORKLOAD, encoding="utf-8")
    assert isocost("optimize", "own.yaml").returncode == 0
    found = Plan.read(tmp_path / "plan.json")
    ways: dict[str, dict[str, Any]] = {
        "one": {},
        "two": {"strategy": "mirrored", "workers": 2},
        "two processes": {"strategy": "multi_worker_mirrored", "workers": 2},
        "served": {"strategy": "parameter_server", "workers": 2},
        "parts": {"accumulate": 4},
    }
    losses, tests = {}, {}
    for name, asked in ways.items():
        run = execute(
            set_up(found, **asked), tmp_path / name, plan_path="", engine=Watched(nursery)
        )
        assert (run.status, run.steps) == ("finished", 32)
        assert run.samples_seen is not None
        assert run.samples_seen.once == run.samples_seen.passes == 8
        assert sum(run.samples_seen.per_worker) == 512
        losses[name] = [point.loss for point in run.losses]
        assert run.test is not None
        tests[name] = run.test
    for name in ways:
        assert losses[name] == pytest.approx(losses["one"], rel=1e-5)
        assert tests[name].loss == pytest.approx(tests["one"].loss, rel=1e-5)
        assert tests[name].accuracy == tests["one"].accuracy


RATES = """
import keras
from isocost.profiles.training import scale_learning_rate

kinds = [
    keras.optimizers.SGD(0.1),
    keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)),
    keras.optimizers.SGD(lambda: 0.1),
    keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1)),
]
for optimizer in kinds:
    optimizer.build([keras.Variable(1.0)])
    scale_learning_rate(optimizer, 3.0)
    print(float(getattr(optimizer, "inner_optimizer", optimizer).learning_rate))
"""


@pytest.mark.slow
def test_every_kind_of_learning_rate_is_scaled() -> None:
    done = subprocess.run(
        [sys.executable, "-c", RATES], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert [float(rate) for rate in done.stdout.split()] == pytest.approx([0.3] * 4)


@pytest.mark.slow
def test_a_model_that_raises_is_the_users_own_fault(
    isocost: Command, tmp_path: Path, nursery: Nursery
) -> None:
    (tmp_path / "own.py").write_text(OWN, encoding="utf-8")
    (tmp_path / "own.yaml").write_text(WORKLOAD.replace("own:make", "own:broken"), encoding="utf-8")
    assert isocost("optimize", "own.yaml").returncode == 0
    setup = set_up(Plan.read(tmp_path / "plan.json"))
    with pytest.raises(InputError, match=r"own\.py line \d+ .*this is my own mistake"):
        execute(setup, tmp_path / "run", plan_path="", engine=Watched(nursery))


@pytest.mark.long
def test_every_strategy_trains_as_one_worker_does(tmp_path: Path) -> None:
    from .conftest import ROOT

    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "strategies.py", "-o", tmp_path / "found.json"],
        env=environment(tmp_path),
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert len(rows) == 7


@pytest.mark.long
def test_runs_that_are_struck_pass(tmp_path: Path) -> None:
    from .conftest import ROOT

    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "chaos.py", "--runs", "8"],
        env=environment(tmp_path),
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# Which samples


@given(
    size=st.integers(1, 60),
    batch=st.integers(1, 20),
    steps=st.integers(0, 60),
    seed=st.integers(0, 2**16),
    slip=st.none() | st.integers(0, 2**16),
)
def test_a_pass_counts_only_if_it_saw_each_sample_once(
    size: int, batch: int, steps: int, seed: int, slip: int | None
) -> None:
    rng = np.random.default_rng(seed)
    passes = steps * batch // size + 1
    order = np.concatenate([rng.permutation(size) for _ in range(passes)])[: steps * batch]
    place = None
    if slip is not None and size > 1 and len(order):
        place = slip % len(order)
        order[place] = (order[place] + 1) % size  # one left out, another trained twice
    digest = np.array([whole_pass(k + 1) - whole_pass(k) for k in range(size)])
    marks = []
    for step in range(steps):
        at = np.arange(step * batch, (step + 1) * batch)
        odd = (at // size) % 2 == 1
        values = digest[order[at]]
        marks.append((step + 1, float(values[~odd].sum()), float(values[odd].sum())))
    complete, once = passes_seen_once(marks, size, batch)
    if batch > size:
        assert (complete, once) == (0, 0)
        return
    assert complete == steps * batch // size
    spoilt = place is not None and place // size < complete
    assert once == complete - spoilt


def test_workers_share_each_batch_without_overlap_whatever_their_number() -> None:
    import tensorflow as tf

    from isocost.profiles.batches import pass_size, worker_batches
    from isocost.profiles.models import ArrayData, StreamData

    size, batch, steps = 23, 4, 18
    x, y = np.arange(size, dtype=np.float32)[:, None], np.arange(size)
    arrays = ArrayData("a", x, y, x, y)
    stream = StreamData("s", tf.data.Dataset.from_tensor_slices((x, y)), None)
    for data in (arrays, stream):
        assert pass_size(data) == size
        seen: dict[int, list[list[int]]] = {}
        for workers in (1, 2, 4):
            each, marks = [], np.zeros((steps, 3))
            for rank in range(workers):
                found = worker_batches(
                    data, batch // workers, rank=rank, workers=workers, replicas=workers,
                    first_step=0, seed=3,
                )  # fmt: skip
                for step, (_, labels, mark) in enumerate(found.take(steps)):
                    each.append((step, labels.numpy().tolist()))
                    marks[step] += mark.numpy()
            seen[workers] = [
                sorted(label for at, labels in each for label in labels if at == step)
                for step in range(steps)
            ]
            assert marks[:, 0].tolist() == [batch] * steps
            lines = [(step + 1, even, odd) for step, (_, even, odd) in enumerate(marks.tolist())]
            assert passes_seen_once(lines, size, batch) == (3, 3)
        assert seen[1] == seen[2] == seen[4]
        later = worker_batches(data, batch, rank=0, workers=1, replicas=1, first_step=7, seed=3)
        assert sorted(next(iter(later))[1].numpy().tolist()) == seen[1][7]


# Settings


def test_another_batch_or_strategy_is_set_up_as_asked(plan: Path) -> None:
    planned = Plan.read(plan)
    usual = set_up(planned)
    assert (usual.global_batch, usual.steps, usual.learning_rate_factor) == (32, 400, 1.0)
    larger = set_up(planned, workers=2, per_device_batch=32, accumulate=2, learning_rate="sqrt")
    assert (larger.global_batch, larger.steps) == (128, 100)
    assert larger.learning_rate_factor == 2.0
    assert larger.tasks == ("worker", "worker")
    mirrored = set_up(planned, workers=4, strategy="mirrored", global_batch=64)
    assert (mirrored.devices, mirrored.per_device_batch, mirrored.tasks) == (4, 16, ("worker",))
    servers = set_up(planned, workers=2, strategy="parameter_server")
    assert servers.tasks == ("chief", "worker", "worker", "ps")
    assert (servers.per_device_batch, servers.global_batch) == (16, 32)
    assert set_up(planned, accumulate=4).step_s >= usual.step_s
    dear = set_up(planned, usd_per_h=3.6).predicted(10)
    assert dear.time_s is not None
    assert dear.cost_usd == pytest.approx(dear.time_s / 1000)
    for asked, words in (
        ({"global_batch": 4096}, "above the workload's max_global_batch of 1024"),
        ({"strategy": "one_device", "workers": 2}, "trains on one device"),
        ({"workers": 3}, "does not divide among 3 workers"),
        ({"accumulate": 5}, "does not divide into 5 parts"),
        ({"per_device_batch": 8, "global_batch": 64}, "makes a global batch of 8, not 64"),
    ):
        with pytest.raises(InputError, match=words):
            set_up(planned, **asked)


def test_a_plan_edited_by_hand_is_checked(plan: Path, isocost: Command) -> None:
    text = plan.read_text(encoding="utf-8")
    for key, value, words in (
        ("steps", 1e300, "steps"),
        ("steps", -1, "greater than or equal to 1"),
        ("per_device_batch", 10**12, "less than or equal to"),
        ("global_batch", 33, "is not made of 1 worker"),
        ("nodes", 0, "nodes"),
    ):
        content = json.loads(text)
        content["jobs"][0]["runnable_here"][key] = value
        plan.write_text(json.dumps(content), encoding="utf-8")
        with pytest.raises(InputError, match=words):
            set_up(Plan.read(plan))
    done = isocost("run", plan)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)


def test_a_bad_option_of_run_is_one_sentence(plan: Path, isocost: Command) -> None:
    done = isocost("run", plan, "--strategy", "mirored")
    assert done.returncode == 2, done.stdout
    assert len(done.stderr.strip().splitlines()) == 1
    assert "did you mean 'mirrored'?" in done.stderr
    for option, text, words in (
        ("--deadline", "soon", "no duration"),
        ("--deadline", "0s", "give a time above 0"),
        ("--grace", "1000000d", "below 10 years"),
    ):
        with pytest.raises(InputError, match=f"{option}.*{words}"):
            seconds_of(option, text)


# Small laws


@given(st.floats(1e-3, 1e3), st.floats(1, 1e8), st.floats(0, 1e4), st.floats(1, 10))
def test_checkpoints_are_rarer_the_dearer_they_and_the_rarer_interruptions_are(
    write_s: float, between_s: float, restart_s: float, more: float
) -> None:
    tau = daly_interval_s(write_s, between_s, restart_s)
    assert tau >= write_s
    assert tau == max(write_s, math.sqrt(2 * write_s * (between_s + restart_s)))
    assert daly_interval_s(write_s * more, between_s, restart_s) >= tau
    assert daly_interval_s(write_s, between_s * more, restart_s) >= tau
    assert daly_interval_s(write_s, between_s, restart_s * more) >= tau


def test_what_comes_first_ends_a_run() -> None:
    assert Allowance().ends() is None
    assert Allowance(deadline_s=20, usd_per_h=1).ends() == ("deadline", 20)
    found = Allowance(20, 0.01, 3.6).ends()
    assert found is not None
    assert found[0] == "budget"
    assert found[1] == pytest.approx(10)
    assert Allowance(20, 0.01, 0.36).ends() == ("deadline", 20)
    assert Allowance(budget_usd=0.01).ends() is None  # what costs nothing spends nothing


def test_spending_is_kept_over_sessions(tmp_path: Path) -> None:
    path = tmp_path / "spent.json"
    assert spent_s(path) == 0
    Ledger(path, time.time() - 100).keep(now=True)
    assert Ledger(path, time.time()).spent_s() == pytest.approx(100, abs=1)
    path.write_text("{", encoding="utf-8")
    assert spent_s(path) == 0


@given(st.floats(0, 1e4), st.floats(0, 1e4))
def test_patience_grows_with_what_a_worker_needs(first_s: float, longest_s: float) -> None:
    patience = Patience()
    allowed = patience.silence_s(Sign("training", 7, first_s, longest_s))
    if first_s == 0:
        assert allowed == patience.hang_s
    else:
        assert allowed >= max(patience.hang_s, 10 * longest_s, 3 * first_s)
    assert patience.silence_s(None) == patience.arrive_s


def test_a_life_sign_tells_of_the_longest_silence(tmp_path: Path) -> None:
    path = tmp_path / "alive-0"
    assert read_sign(path) == (None, None)
    sign = LifeSign(path)
    sign.give("starting")
    time.sleep(0.12)
    sign.give("training", 1)
    time.sleep(0.2)
    sign.give("saving", 2)
    found, at = read_sign(path)
    assert found is not None
    assert at == pytest.approx(time.time(), abs=1)
    assert (found.stage, found.step) == ("saving", 2)
    assert 0.1 < found.first_s < found.longest_s
    assert found.save_s == found.longest_s
    path.write_text("{", encoding="utf-8")
    assert read_sign(path)[0] is None


def test_a_folder_serves_one_run_at_a_time(tmp_path: Path) -> None:
    with own_folder(tmp_path):
        refused: list[str] = []

        def second() -> None:
            try:
                with own_folder(tmp_path):
                    pass
            except InputError as error:
                refused.append(str(error))

        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
        assert f"another run (process {os.getpid()}) is at work" in refused[0]
    with own_folder(tmp_path):
        pass


def test_a_checkpoint_of_another_training_is_refused() -> None:
    had = Position(step=10, model="a", seed=3, global_batch=64)
    check_same(had, had.model_copy(update={"step": 0, "samples": (1, 2)}))
    for change, words in (
        ({"seed": 0}, "give --seed 3"),
        ({"global_batch": 32}, "give --global-batch 64"),
        ({"model": "b"}, "model a, and b is asked for"),
        ({"learning_rate_factor": 2.0}, "--learning-rate"),
    ):
        with pytest.raises(InputError, match=words):
            check_same(had, had.model_copy(update=change))


def test_broken_checkpoints_are_set_aside_and_said(tmp_path: Path) -> None:
    def write(prefix: str) -> None:
        Path(prefix + ".data").write_text("weights", encoding="utf-8")

    for step in (10, 20, 30):
        checkpoints.save(
            tmp_path, step, write, Position(step=step, model="m", seed=0, global_batch=1)
        )
    assert checkpoints.set_broken_aside(tmp_path) == ()
    os.truncate(tmp_path / "step-000000030" / "state.data", 3)
    (tmp_path / "step-000000020" / "state.data").unlink()
    assert checkpoints.set_broken_aside(tmp_path) == (
        (
            "the checkpoint after step 30 is broken (state.data is not what was written); the one after "
            "step 10 is used"
        ),
        "the checkpoint after step 20 is broken (state.data is missing); the one after step 10 is used",
    )
    assert [saved.step for saved in checkpoints.all_saved(tmp_path)] == [10]
    saved = checkpoints.latest(tmp_path)
    assert saved is not None
    position = saved.position()
    assert position is not None
    assert position.step == 10


@pytest.mark.parametrize("closed", ["| head -n 1", ">&-", "2>&-", "| true"])
def test_a_reader_that_leaves_is_no_error(closed: str, tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m isocost catalog show {closed}"],
        env=environment(tmp_path),
        check=False,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_compiling_again_is_starting_and_not_lost_work() -> None:
    lines = [StepLine(step, float(step), seconds, 1.0) for step, seconds in ((1, 9.0), (2, 0.5))]
    assert worked_s(lines, went_on=0) == 1.0
    assert worked_s(lines[:1], went_on=0) == 0.0
    assert worked_s(lines[1:], went_on=0) == 0.5  # the first was saved
    assert worked_s([], went_on=0) == 0.0
