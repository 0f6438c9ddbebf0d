"""Whether what is predicted before a run is what the run then does.

    python benchmarks/truth.py [--count 16] [--repeats 5] [--seed 0] [-o truth.json]

From a profile of six settings of the example, all on loopback, predicts a sample of all
configurations: batch, 1 to 4 workers, XLA, precision, and between the workers no limit, 1 Gbit/s
or 100 Mbit/s (network namespaces on this machine; see hosts.py). Only then runs each as the product
would, in fresh processes, one after the other and all of them again in another order. Measured is
the median of these. Then the runs of the first half of the configurations go into the profile, and
the second half is predicted once more. Last, the optimizer's choice among all of them, by the
first prediction, is held against the quickest in truth.

Links need root; without, the configurations on loopback are run alone, and that is said.
"""

import argparse
import itertools
import json
import math
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import hosts
import numpy as np
from scipy.optimize import minimize_scalar

from isocost.execution.engines import Launch, Local
from isocost.execution.supervisor import supervise
from isocost.execution.telemetry import read_steps
from isocost.execution.worker import Checkpointing, WorkSpec
from isocost.optimizer.losses import losses
from isocost.optimizer.model import Column, choose
from isocost.profiles.calibrate import calibrated
from isocost.profiles.gang import Nursery, cores
from isocost.profiles.grid import design, grid
from isocost.profiles.links import Link
from isocost.profiles.measure import measure
from isocost.profiles.records import Knobs, Precision, ProcessSample, Profile, Setting
from isocost.profiles.steady import steady
from isocost.profiles.workload import Weights, Workload, read_workload

EXAMPLE = Path(__file__).parent.parent / "examples" / "cifar10.yaml"
POINTS = 6
WORKERS = (1, 2, 3, 4)
PROFILED_WORKERS = (1, 2, 4)
RATES = ("none", "1gbit", "100mbit")
RUN_S = 4.0  # of steps in one run
LEAST_STEPS = 50
FACTOR_PRIOR = 0.3  # of ln factor: how far a link may be from the formula before runs told
PREDICTION_SIGMA = 0.05  # of a prediction on loopback, when a link is fitted to runs
BARS = {"median": 0.10, "p90": 0.25, "calibrated": 0.07, "choice": 0.05}


@dataclass(frozen=True)
class Configuration:
    batch: int
    workers: int
    xla: bool
    precision: Precision
    rate: str

    @property
    def setting(self) -> Setting:
        knobs = Knobs(
            xla=self.xla,
            precision=self.precision,
            strategy="multi_worker_mirrored",
            workers_per_node=self.workers,
        )
        return Setting(accelerator="CPU", per_device_batch=self.batch, knobs=knobs)

    def describe(self) -> str:
        return f"{self.setting.describe()}, {self.rate}"


def sampled(workload: Workload, rates: Sequence[str], count: int, seed: int) -> list[Configuration]:
    """A sample of all configurations that holds every number of workers on every link."""
    draw = random.Random(seed)
    places = [(k, rate) for k in WORKERS for rate in rates if k > 1 or rate == "none"]
    precisions: tuple[Precision, ...] = ("float32", "mixed_bfloat16")
    knobs = list(itertools.product(sorted(workload.per_device_batch), (False, True), precisions))
    chosen: list[Configuration] = []
    for k, rate in itertools.islice(itertools.cycle(places), count):
        free = [
            (batch, xla, precision)
            for batch, xla, precision in knobs
            if Configuration(batch, k, xla, precision, rate) not in chosen
        ]
        batch, xla, precision = draw.choice(free)
        chosen.append(Configuration(batch, k, xla, precision, rate))
    draw.shuffle(chosen)
    return chosen


def step_s(profile: Profile, links: Mapping[str, Link], one: Configuration) -> float:
    """Predicted step time: as on loopback, and what the link adds."""
    known = {each.setting: each.step_time_s.value for each in profile.predicted}
    known.update((each.setting, each.step_time_s.value) for each in profile.measurements)
    return known[one.setting] + _wire_s(profile, links, one)


def _wire_s(profile: Profile, links: Mapping[str, Link], one: Configuration) -> float:
    if one.rate == "none":
        return 0.0
    return links[one.rate].wire_s(one.workers, profile.facts.gradient_bytes)


@contextmanager
def nurseries(count: int, room: Path, networked: bool) -> Iterator[list[Nursery]]:
    """One process for each host that has imported TensorFlow, and forks fresh workers there."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(Nursery(room / f"nursery-{n}.log", launch=_into(n, networked)))
            for n in range(count)
        ]


def _into(number: int, networked: bool) -> tuple[str, ...]:
    return ("nsenter", f"--net=/run/netns/{hosts.name(number)}") if networked else ()


def run(
    one: Configuration,
    expected_s: float,
    workload: Workload,
    folder: Path,
    engine: Local,
) -> ProcessSample:
    """Train the configuration for some seconds by the product's own worker, in fresh processes."""
    folder.mkdir(parents=True)
    steps = max(LEAST_STEPS, round(RUN_S / expected_s))
    spec = WorkSpec(
        model=workload.model,
        model_folder=str(EXAMPLE.parent),
        knobs=one.setting.knobs,
        per_device_batch=one.batch,
        global_batch=one.setting.global_batch,
        seed=0,
        steps=10 * steps,
        stop_after=steps,
        checkpointing=Checkpointing(every_s=3600, write_s=0.1, mean_to_interruption_s=1e6),
        cores=max(1, cores() // one.workers),
        folder=str(folder),
        began=time.time(),
        started=time.time(),
    )
    began = time.monotonic()
    launch = Launch(
        name="truth",
        command=("-m", "isocost.execution.worker", str(spec.path), str(spec.result)),
        tasks=("worker",) * one.workers,
        folder=folder,
        cores=spec.cores,
    )
    supervise(spec, launch, engine, max_restarts=0)
    lines = read_steps(spec.step_log)
    found = steady([line.seconds for line in lines])
    return ProcessSample(
        step_s=found.step_s,
        spread=found.spread,
        steps=found.steps,
        discarded_steps=found.discarded,
        startup_s=lines[0].at_s,
        wall_s=time.monotonic() - began,
    )


def measured(
    wanted: Sequence[Configuration],
    predicted: Sequence[float],
    repeats: int,
    workload: Workload,
    room: Path,
) -> list[list[ProcessSample]]:
    """Every configuration so many times, in another order every time."""
    found: list[list[ProcessSample]] = [[] for _ in wanted]
    networked = any(one.rate != "none" for one in wanted)
    for turn in range(repeats):
        order = random.Random(turn).sample(range(len(wanted)), len(wanted))
        # Forks of one nursery share where libraries lie in memory: each turn has its own.
        with (
            nurseries(max(WORKERS), room, False) as together,
            nurseries(max(WORKERS) if networked else 0, room, True) as apart,
        ):
            for done, i in enumerate(order):
                one = wanted[i]
                if one.rate == "none":
                    engine = Local(nurseries=together[: one.workers])
                else:
                    hosts.shape(one.rate)
                    places = tuple(hosts.address(n) for n in range(one.workers))
                    engine = Local(nurseries=apart[: one.workers], hosts=places)
                sample = run(one, predicted[i], workload, room / f"{turn}-{i}", engine)
                found[i].append(sample)
                print(
                    f"  turn {turn + 1} of {repeats}, {done + 1:>2} of {len(order)}: "
                    f"{one.describe():<48} {sample.step_s * 1e3:>7.1f} ms",
                    file=sys.stderr,
                )
    return found


def learned(
    profile: Profile,
    links: Mapping[str, Link],
    runs: Mapping[Configuration, Sequence[ProcessSample]],
) -> tuple[Profile, dict[str, Link]]:
    """The profile and the links after these runs.

    A link's factor is the one under which the runs over it fit best what loopback predicts, with a
    lognormal prior of FACTOR_PRIOR around 1. Runs then count as processes of their setting, less
    what the link took.
    """
    noise = [statistics.stdev(math.log(one.step_s) for one in each) for each in runs.values()]
    error = math.sqrt(sum(s**2 for s in noise) / len(noise) / len(next(iter(runs.values()))))
    on_loopback = {one: each for one, each in runs.items() if one.rate == "none"}
    known = calibrated(profile, {one.setting: each for one, each in on_loopback.items()})
    better = {}
    for rate, link in links.items():
        over = {one: each for one, each in runs.items() if one.rate == rate}

        better[rate] = _fitted(link, rate, known, over, error)
    less: dict[Setting, list[ProcessSample]] = {}
    for one, each in runs.items():
        wire = _wire_s(profile, better, one)
        for sample in each:
            rest = max(sample.step_s - wire, 0.1 * sample.step_s)
            less.setdefault(one.setting, []).append(sample.model_copy(update={"step_s": rest}))
    return calibrated(profile, less), better


def _fitted(
    link: Link,
    rate: str,
    known: Profile,
    over: Mapping[Configuration, Sequence[ProcessSample]],
    error: float,
) -> Link:
    def distance(log_factor: float) -> float:
        tried = {rate: replace(link, factor=math.exp(log_factor))}
        misses = [math.log(middle(each) / step_s(known, tried, one)) for one, each in over.items()]
        far = sum(x**2 for x in misses) / (error**2 + PREDICTION_SIGMA**2)
        return far + (log_factor / FACTOR_PRIOR) ** 2

    best = minimize_scalar(distance, bounds=(-1.5, 1.5), method="bounded")
    return replace(link, factor=math.exp(float(best.x)))


def middle(samples: Sequence[ProcessSample]) -> float:
    return statistics.median(one.step_s for one in samples)


def chosen(workload: Workload, wanted: Sequence[Configuration], steps_s: Sequence[float]) -> int:
    """What the optimizer takes of them where time is what counts: all are on this machine."""
    time_s = np.array(
        [
            workload.steps_to_target(one.setting.global_batch) * step
            for one, step in zip(wanted, steps_s, strict=True)
        ]
    )
    total = losses(
        time_s, time_s / 3600, np.zeros(len(time_s)), Weights(alpha=1, beta=1, gamma=0)
    ).total
    picked = choose([Column(loss=total, use={})], {}).chosen
    assert picked is not None
    return picked[0]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=16, help="configurations (default 16)")
    parser.add_argument("--repeats", type=int, default=5, help="fresh runs of each (default 5)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample of configurations")
    parser.add_argument("--profile-seconds", type=float, default=240, help="for the six points")
    parser.add_argument("-o", "--output", type=Path, default=None)
    given = parser.parse_args()
    if given.repeats < 2:
        parser.error("--repeats must be 2 at least: one run tells nothing of noise")
    # Both precisions are asked about here, so both count where the six settings are chosen.
    example = read_workload(EXAMPLE)
    workload = example.model_copy(update={"precisions": ("float32", "mixed_bfloat16")})
    reason = hosts.missing()
    if reason is not None:
        print(f"Loopback alone: {reason}", file=sys.stderr)
    rates = RATES if reason is None else ("none",)
    wanted = sampled(workload, rates, given.count, given.seed)
    every = grid(workload, workers=PROFILED_WORKERS)
    profile = measure(
        workload,
        max_seconds=given.profile_seconds,
        settings=design(workload, every, POINTS),
        half_width=0.02,
        progress=lambda p: print(
            f"  profile {p.elapsed_s:>4.0f} s: {p.setting.describe()}", file=sys.stderr
        ),
    )
    # The design's six are all it may measure; all other configurations are predicted from them.
    known = {one.setting for one in profile.measurements}
    profile = calibrated(profile, {}, every=[one.setting for one in wanted])
    links = {rate: Link(hosts.bytes_s(rate), hosts.BURST_BYTES) for rate in rates[1:]}
    before = [step_s(profile, links, one) for one in wanted]
    for one, step in zip(wanted, before, strict=True):
        print(f"  predicted: {one.describe():<48} {step * 1e3:>7.1f} ms", file=sys.stderr)
    with ExitStack() as stack:
        room = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="isocost-truth-")))
        if len(rates) > 1:
            hosts.up(max(WORKERS), None)
            stack.callback(hosts.down)
        runs = measured(wanted, before, given.repeats, workload, room)
    half = len(wanted) // 2
    later, found = learned(profile, links, dict(zip(wanted[:half], runs[:half], strict=True)))
    after = [step_s(later, found, one) for one in wanted]
    rows = [
        {
            **asdict(one),
            "profiled": one.setting in known and one.rate == "none",
            "predicted_s": before[i],
            "measured_s": middle(runs[i]),
            "error": before[i] / middle(runs[i]) - 1,
            "noise": statistics.stdev(math.log(each.step_s) for each in runs[i]),
            "again_s": after[i] if i >= half else None,
            "again": after[i] / middle(runs[i]) - 1 if i >= half else None,
        }
        for i, one in enumerate(wanted)
    ]
    rate_of = [
        workload.steps_to_target(one.setting.global_batch) * middle(each)
        for one, each in zip(wanted, runs, strict=True)
    ]
    pick = chosen(workload, wanted, before)
    first = np.abs([row["error"] for row in rows])
    second = np.abs([row["again"] for row in rows[half:]])
    result = {
        "points": len(known),
        "median": float(np.median(first)),
        "p90": float(np.quantile(first, 0.9)),
        "uncalibrated": float(np.median(first[half:])),
        "calibrated": float(np.median(second)),
        "noise": statistics.median(row["noise"] for row in rows),
        "choice": rate_of[pick] / min(rate_of) - 1,
        "chosen": wanted[pick].describe(),
        "factors": {rate: link.factor for rate, link in found.items()},
    }
    show(rows, result, given.repeats)
    if given.output is not None:
        given.output.write_text(json.dumps({"rows": rows, **result}, indent=1), encoding="utf-8")
    sys.exit(any(result[name] > bar for name, bar in BARS.items()))


def show(rows: Sequence[Mapping[str, Any]], result: Mapping[str, Any], repeats: int) -> None:
    print(
        f"\n{'batch':>5} {'workers':>7} {'XLA':>4} {'precision':>9} {'link':>8} {'predicted':>10} "
        f"{'measured':>9} {'error':>7} {'noise':>6} {'again':>7}"
    )
    for row in sorted(rows, key=lambda row: -abs(row["error"])):
        again = "" if row["again"] is None else f"{row['again']:>+7.1%}"
        print(
            f"{row['batch']:>5} {row['workers']:>7} {'on' if row['xla'] else 'off':>4} "
            f"{row['precision'].removeprefix('mixed_')[:9]:>9} {row['rate']:>8} "
            f"{row['predicted_s'] * 1e3:>7.1f} ms {row['measured_s'] * 1e3:>6.1f} ms "
            f"{row['error']:>+7.1%} {row['noise']:>6.1%} {again}"
        )
    print(
        f"\nFrom {result['points']} profiled settings, against the median of {repeats} runs; one run "
        f"differs from the next by {result['noise']:.1%} (median standard deviation).\n"
        f"error: median {result['median']:.1%} (bar {BARS['median']:.0%}), p90 {result['p90']:.1%} "
        f"(bar {BARS['p90']:.0%})\n"
        f"second half: {result['uncalibrated']:.1%} before, {result['calibrated']:.1%} after the "
        f"first half's runs went into the profile (bar {BARS['calibrated']:.0%})\n"
        f"chosen: {result['chosen']}, {result['choice']:.1%} longer than the quickest in truth "
        f"(bar {BARS['choice']:.0%})"
    )


if __name__ == "__main__":
    main()
