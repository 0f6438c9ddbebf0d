"""Twenty runs that are struck at random, and what becomes of them.

    python benchmarks/chaos.py [--runs 20] [--seed 0] [-o chaos.json]

Each run trains a small network for 300 steps, in one or two worker processes. At a random moment of
its time, its start included, one worker (also the chief) is killed (SIGKILL), frozen (SIGSTOP) or has its
link cut for some seconds. A run passes if it finishes, each sample of every pass was trained exactly
once in the steps that count, no more than one checkpoint interval of work was lost, and its final
losses are within 1 % of an undisturbed run's: for one worker, 1e-6. Who is killed or frozen must have cost a
restart; a link that comes back may have been waited for. A strike that lands once all steps are taken
strikes nothing: its moment is drawn again, and the table says so. Then come a peer that never starts, a
hang in Python, a worker that ignores SIGTERM, and a checkpoint cut short on disk.

Workers stand in network namespaces (``benchmarks/hosts.py``), and a link is cut by taking it down; without
root or iproute2 that fault is left out, and said so. They are forked by processes that have imported
TensorFlow, so that a run's time goes into training and not into imports.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import hosts
from rich.console import Console
from rich.table import Table

from isocost.execution import checkpoints
from isocost.execution.engines import Launch, Local
from isocost.execution.engines.local import LocalPlacement
from isocost.execution.record import Run
from isocost.execution.run import execute
from isocost.execution.setup import Setup, set_up
from isocost.execution.supervisor import Patience
from isocost.execution.telemetry import StepLine, last_step, read_sign, read_steps
from isocost.optimizer.plan import Plan
from isocost.profiles.gang import Nursery

BATCH, PASSES, SAMPLES = 32, 10, 960
STEPS = SAMPLES * PASSES // BATCH
EVERY_S = 2.0  # from checkpoint to checkpoint
LINK_DOWN_S = 20.0  # longer than workers may be silent: a shorter cut is often outlasted in step
PATIENCE = Patience(arrive_s=10.0, startup_s=60.0, hang_s=8.0, grace_s=5.0)
SLACK_S = 5.0  # from the time-out to the end, on a machine that has other things to do
NETWORK = "10.78.0"
HEADS = ("", "workers", "fault", "of", "drawn", "at step", "restarts", "lost steps", "lost s",
         "took s", "each once", "loss off by", "")  # fmt: skip

MODEL = '''"""A small classifier whose steps take a while, and misbehave when a file says so."""

import json
import signal
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from isocost.profiles.worker import StopWish, rank

HERE, SAMPLES, STEP_S = Path(__file__).parent, %(samples)d, 0.02
taken = 0


def pause():
    global taken
    taken += 1
    time.sleep(STEP_S)
    hang = HERE / "hang.json"
    if hang.exists():
        wanted = json.loads(hang.read_text())
        if rank() == wanted["rank"] and taken >= wanted["step"]:
            hang.unlink()
            time.sleep(1e6)
    return np.int64(0)


@keras.saving.register_keras_serializable()
class Slow(keras.layers.Layer):
    def call(self, x):
        with tf.control_dependencies([tf.numpy_function(pause, [], tf.int64)]):
            return tf.identity(x)


def make():
    if (HERE / "deaf").exists():
        StopWish.listen = lambda self: signal.signal(signal.SIGTERM, signal.SIG_IGN)
    rng = np.random.default_rng(7)
    x = rng.normal(size=(SAMPLES + 256, 16)).astype("float32")
    y = (x[:, :4].sum(1) + 0.5 * rng.normal(size=len(x)) > 0).astype("int64")
    dense = keras.layers.Dense
    model = keras.Sequential(
        [keras.Input((16,)), dense(32, activation="tanh"), Slow(), dense(2)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.02, momentum=0.9), loss)
    data = [tf.data.Dataset.from_tensor_slices(part) for part in (
        (x[:SAMPLES], y[:SAMPLES]), (x[SAMPLES:], y[SAMPLES:])
    )]
    return model, *data
'''

WORKLOAD = f"""
schema: isocost/workload/v1
name: chaos
model: chaos_model:make
samples_per_epoch: {SAMPLES}
epochs: {PASSES}
per_device_batch: {BATCH}
max_global_batch: {BATCH}
facts: {{parameters: 610, gradient_bytes: 2440, flops_per_sample: 4000, bytes_per_sample: 4000,
  checkpoint_bytes: 5000}}
"""


@dataclass(frozen=True)
class Strike:
    """One fault to come: what happens to whom, at which share of the run's time, its start included."""

    workers: int
    kind: str
    victim: int
    at: float


@dataclass(frozen=True)
class Struck:
    """What became of a run; difference: relative, of the final losses from the undisturbed run's.

    drawn: how often its moment was, until it fell into the run.
    """

    strike: Strike
    finished: bool
    at_step: int
    restarts: int
    lost_steps: int
    lost_s: float
    seconds: float
    each_once: bool
    difference: float
    reasons: tuple[str, ...]
    drawn: int = 1

    @property
    def too_late(self) -> bool:
        """It struck when all was done: the last step may have been under way. Then it proves nothing."""
        return self._whole and self.at_step >= STEPS - 1 and not self.restarts

    @property
    def passed(self) -> bool:
        return self._whole and (self.restarts > 0 or self.strike.kind == "cut")

    @property
    def _whole(self) -> bool:
        near = 1e-6 if self.strike.workers == 1 else 0.01
        return (
            self.finished and self.each_once and self.lost_s <= EVERY_S and self.difference <= near
        )


class Watched(Local):
    """Local processes whose placement can be got at."""

    placement: LocalPlacement | None = None

    def submit(self, launch: Launch) -> LocalPlacement:
        self.placement = super().submit(launch)
        return self.placement


class LateOnce(Local):
    """Local processes, of which one never starts the first time."""

    gone = False

    def submit(self, launch: Launch) -> LocalPlacement:
        never = ("sh", "-c", "exec sleep 100000")
        prefixes = [()] * launch.ranks if self.gone else [*[()] * (launch.ranks - 1), never]
        self.gone = True
        return Local(prefixes).submit(launch)


class Bench:
    """A folder with the plan, hosts with a nursery each, and the runs' folders."""

    def __init__(self, folder: Path, hosts_up: bool, nurseries: list[Nursery]) -> None:
        self.folder, self.nurseries = folder, nurseries
        self.addresses = [hosts.address(number) for number in (0, 1)] if hosts_up else []
        self.plan = Plan.read(folder / "plan.json")
        self._runs = 0

    def engine(self, workers: int) -> Watched:
        return Watched(hosts=self.addresses[:workers], nurseries=self.nurseries[:workers])

    def setup(self, workers: int) -> Setup:
        return set_up(self.plan, workers=workers, strategy="multi_worker_mirrored", threads=1)

    def new_folder(self) -> Path:
        self._runs += 1
        return self.folder / f"run-{self._runs}"

    def undisturbed(self, workers: int) -> Run:
        return execute(
            self.setup(workers),
            self.new_folder(),
            plan_path="",
            engine=self.engine(workers),
            patience=PATIENCE,
            checkpoint_every_s=EVERY_S,
        )

    def struck(self, strike: Strike, calm: Run) -> Struck:
        """Run under a strike, and hold the result against the undisturbed run."""
        engine, folder = self.engine(strike.workers), self.new_folder()
        hit = _Hit(strike, engine, folder, start_s=_start_s(calm))
        hit.start()
        began = time.monotonic()
        run = execute(
            self.setup(strike.workers),
            folder,
            plan_path="",
            engine=engine,
            patience=PATIENCE,
            checkpoint_every_s=EVERY_S,
        )
        seconds = time.monotonic() - began
        hit.join()
        return Struck(
            strike,
            finished=run.status == "finished" and run.steps == STEPS,
            at_step=hit.step,
            restarts=run.restarts,
            lost_steps=sum(one.lost_steps for one in run.recoveries),
            lost_s=max((one.lost_s for one in run.recoveries), default=0.0),
            seconds=seconds,
            each_once=each_once(run),
            difference=difference(run, calm) if run.status == "finished" else 1.0,
            reasons=(
                *(one.reason for one in run.recoveries),
                *([run.reason] if run.reason else []),
            ),
        )


class _Hit(threading.Thread):
    """Strikes once, when its moment has come."""

    def __init__(self, strike: Strike, engine: Watched, folder: Path, start_s: float) -> None:
        super().__init__(daemon=True)
        self._strike, self._engine, self._folder, self._start_s = strike, engine, folder, start_s
        self.step = 0

    def run(self) -> None:
        while self._engine.placement is None:
            time.sleep(0.01)
        # A run's time is its start, and then its steps.
        whole_s = self._start_s + STEPS * 0.025
        moment_s = self._strike.at * whole_s
        if moment_s < self._start_s:
            # This start may be quicker than the undisturbed run's was: its first step ends the wait.
            until = time.monotonic() + moment_s
            while time.monotonic() < until and last_step(self._folder / "steps.jsonl") is None:
                time.sleep(0.01)
        else:
            wanted = (moment_s - self._start_s) / (whole_s - self._start_s) * STEPS
            while (line := last_step(self._folder / "steps.jsonl")) is None or line.step < wanted:
                time.sleep(0.01)
        if self._strike.kind == "cut":
            hosts.cut(self._strike.victim)
            self.step = self._steps()
            time.sleep(LINK_DOWN_S)
            hosts.cut(self._strike.victim, whole=True)
            return
        pid = self._engine.placement.gang.processes[self._strike.victim].pid
        with contextlib.suppress(ProcessLookupError):  # it has ended: too late
            os.kill(pid, signal.SIGKILL if self._strike.kind == "kill" else signal.SIGSTOP)
        self.step = self._steps()

    def _steps(self) -> int:
        """How many are taken; asked once the strike has fallen."""
        line = last_step(self._folder / "steps.jsonl")
        return line.step if line else 0


def _start_s(run: Run) -> float:
    lines = read_steps(Path(run.folder) / "steps.jsonl")
    return lines[0].at_s


def each_once(run: Run) -> bool:
    """Whether the committed steps are 1 ... STEPS, each once, and trained each sample once a pass."""
    lines = read_steps(Path(run.folder) / "steps.jsonl")
    seen = run.samples_seen
    return (
        [line.step for line in lines] == list(range(1, STEPS + 1))
        and all(line.samples == BATCH for line in lines)
        and seen is not None
        and seen.passes == seen.once == PASSES
        and sum(seen.per_worker) == STEPS * BATCH
    )


def difference(run: Run, calm: Run) -> float:
    """Relative, the larger of the final training loss's and the test loss's."""
    pairs = [(run.losses[-1].loss, calm.losses[-1].loss)]
    if run.test is not None and calm.test is not None:
        pairs.append((run.test.loss, calm.test.loss))
    return max(abs(a / b - 1) for a, b in pairs)


def strikes(count: int, seed: int, links: bool) -> list[Strike]:
    """Every fault on every kind of victim in turn, each at a random moment."""
    kinds = [
        (2, "kill", 0),
        (2, "freeze", 1),
        *([(2, "cut", 0)] if links else []),
        (1, "kill", 0),
        (2, "kill", 1),
        (2, "freeze", 0),
        *([(2, "cut", 1)] if links else []),
        (1, "freeze", 0),
    ]
    chance = random.Random(seed)
    return [Strike(*kinds[i % len(kinds)], chance.random()) for i in range(count)]


def never_starts(bench: Bench) -> dict[str, object]:
    """Two workers, of which one is not there the first time: noticed within arrive_s, and then done."""
    began = time.monotonic()
    noticed: list[float] = []
    run = execute(
        bench.setup(2),
        bench.new_folder(),
        plan_path="",
        engine=LateOnce(),
        patience=PATIENCE,
        checkpoint_every_s=EVERY_S,
        note=lambda words: noticed.append(time.monotonic() - began),
    )
    return {
        "case": "a peer that never starts",
        "timeout_s": PATIENCE.arrive_s,
        "took_s": noticed[0],
        "passed": run.status == "finished" and noticed[0] <= PATIENCE.arrive_s + SLACK_S,
        "said": run.recoveries[0].reason,
    }


def hangs(bench: Bench) -> dict[str, object]:
    """A worker that sleeps in its fortieth step: noticed within hang_s, or what its steps make of it."""
    (bench.folder / "hang.json").write_text(json.dumps({"rank": 1, "step": 40}))
    moved, noticed, folder = [0.0, 0.0], list[float](), bench.new_folder()

    def stepped(line: StepLine) -> None:
        if not noticed:
            signs = [read_sign(folder / f"alive-{rank}")[0] for rank in (0, 1)]
            moved[:] = time.monotonic(), max(map(PATIENCE.silence_s, signs))

    run = execute(
        bench.setup(2),
        folder,
        plan_path="",
        engine=bench.engine(2),
        patience=PATIENCE,
        checkpoint_every_s=EVERY_S,
        progress=stepped,
        note=lambda words: noticed.append(time.monotonic()),
    )
    took_s, allowed_s = noticed[0] - moved[0], moved[1]
    return {
        "case": "a hang in Python",
        "timeout_s": allowed_s,
        "took_s": took_s,
        "passed": run.status == "finished" and took_s <= allowed_s + SLACK_S,
        "said": run.recoveries[0].reason,
    }


def ignores_sigterm(bench: Bench) -> dict[str, object]:
    """A worker that ignores SIGTERM when the run is asked to stop: killed after its grace."""
    (bench.folder / "deaf").touch()
    asked: list[float] = []
    engine, folder = bench.engine(1), bench.new_folder()

    def ask(line: StepLine) -> None:
        if line.step >= 60 and not asked:
            asked[:] = time.monotonic(), PATIENCE.ending_s([read_sign(folder / "alive-0")[0]])
            signal.raise_signal(signal.SIGINT)

    try:
        run = execute(
            replace(bench.setup(1), steps=100 * STEPS),  # it does not end by itself meanwhile
            folder,
            plan_path="",
            engine=engine,
            patience=PATIENCE,
            checkpoint_every_s=1.0,
            progress=ask,
        )
    finally:
        (bench.folder / "deaf").unlink()
    took_s, grace_s = time.monotonic() - asked[0], asked[1]
    assert engine.placement is not None
    left = [code for code in engine.placement.codes() if code is None]
    return {
        "case": "a worker that ignores SIGTERM",
        "timeout_s": grace_s,
        "took_s": took_s,
        "passed": run.status == "interrupted"
        and run.steps > 0
        and not left
        and took_s <= grace_s + SLACK_S,
        "said": f"{run.status} with a checkpoint after step {run.steps}",
    }


def truncated(bench: Bench, calm: Run) -> dict[str, object]:
    """The newest checkpoint is cut short on disk: the one before is used, to the same end."""
    folder, setup = bench.new_folder(), bench.setup(1)
    common = {"plan_path": "", "patience": PATIENCE, "checkpoint_every_s": 1.0}
    execute(setup, folder, engine=bench.engine(1), max_steps=STEPS // 2, **common)  # type: ignore[arg-type]
    saved = checkpoints.all_saved(folder / "checkpoints")
    largest = max(saved[-1].folder.iterdir(), key=lambda file: file.stat().st_size)
    os.truncate(largest, largest.stat().st_size // 2)
    run = execute(setup, folder, engine=bench.engine(1), resume=True, **common)  # type: ignore[arg-type]
    return {
        "case": "a checkpoint cut short on disk",
        "timeout_s": None,
        "took_s": None,
        "passed": len(run.notes) == 1
        and f"after step {saved[-2].step} is used" in run.notes[0]
        and each_once(run)
        and difference(run, calm) <= 1e-6,
        "said": run.notes[0] if run.notes else "nothing",
    }


@contextlib.contextmanager
def prepared(links: bool) -> Iterator[Bench]:
    """The bench, and nothing left of it afterwards."""
    hosts.SWITCH, hosts.PREFIX, hosts.NETWORK = "isocost-x-sw", "isocost-x-h", NETWORK
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        (folder / "chaos_model.py").write_text(MODEL % {"samples": SAMPLES})
        (folder / "chaos.yaml").write_text(WORKLOAD)
        subprocess.run(
            [sys.executable, "-m", "isocost", "optimize", "chaos.yaml", "-o", "plan.json"],
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        if links:
            stack.callback(hosts.down)
            hosts.up(2, None)
        nurseries = [
            stack.enter_context(
                Nursery(
                    folder / f"nursery-{number}.log",
                    ("ip", "netns", "exec", hosts.name(number)) if links else (),
                )
            )
            for number in (0, 1)
        ]
        yield Bench(folder, links, nurseries)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    # A shell that starts us in the background has Ctrl-C ignored, and one case presses it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    began, console = time.monotonic(), Console(width=120)
    lacking = hosts.missing()
    print(f"Links: {lacking or 'taken down between network namespaces'}")
    with prepared(lacking is None) as bench:
        calm = {workers: bench.undisturbed(workers) for workers in (1, 2)}
        table = Table(*HEADS)
        done = []
        chance = random.Random(given.seed + 1)  # of moments that are drawn again
        for number, strike in enumerate(strikes(given.runs, given.seed, lacking is None), 1):
            one = bench.struck(strike, calm[strike.workers])
            while one.too_late:
                strike = replace(strike, at=chance.random())
                one = replace(bench.struck(strike, calm[strike.workers]), drawn=one.drawn + 1)
            done.append(one)
            row = (
                number, strike.workers, strike.kind, "chief" if strike.victim == 0 else "peer",
                one.drawn, one.at_step, one.restarts, one.lost_steps, f"{one.lost_s:.2f}",
                f"{one.seconds:.1f}", one.each_once, f"{one.difference:.1e}",
                "passed" if one.passed else "FAILED",
            )  # fmt: skip
            table.add_row(*map(str, row))
            figures = ", ".join(
                f"{name} {row[i]}" for i, name in enumerate(HEADS) if i > 3 and name
            )
            print(f"{number}/{given.runs} {row[2]} {row[3]}: {row[-1]}; {figures}; {'; '.join(one.reasons)}",
                  file=sys.stderr, flush=True)  # fmt: skip
        cases = [
            never_starts(bench),
            hangs(bench),
            ignores_sigterm(bench),
            truncated(bench, calm[1]),
        ]
    console.print(table)
    for case in cases:
        took = (
            "" if case["took_s"] is None else f", {case['took_s']:.1f} s of {case['timeout_s']:.1f}"
        )
        print(f"{case['case']}: {'passed' if case['passed'] else 'FAILED'}{took}: {case['said']}")
    passed = sum(one.passed for one in done)
    seconds = time.monotonic() - began
    print(f"{passed} of {len(done)} runs passed; {seconds:.0f} s in all")
    if given.output is not None:
        result = {
            "links": lacking or "namespaces",
            "checkpoint_every_s": EVERY_S,
            "patience": asdict(PATIENCE),
            "runs": [asdict(one) | {"passed": one.passed} for one in done],
            "cases": cases,
            "seconds": seconds,
        }
        given.output.write_text(json.dumps(result, indent=2), encoding="utf-8")
    return 0 if passed == len(done) and all(case["passed"] for case in cases) else 1


if __name__ == "__main__":
    sys.exit(main())
