"""Which of two settings trains faster: their processes alternate every quarter of a second.

Two fresh gangs build side by side; then one steps while the other sleeps, turn by turn. So whatever
slows the machine for longer than a turn slows both, and their ratio stays. Pairs of fresh gangs are
added until the ratio's interval leaves no doubt, or the time is up.
"""

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field
from scipy import stats

from ..catalog.files import Document, InputError
from .bench import STEP_SECONDS, Bench
from .gang import POLL_S
from .records import Setting
from .steady import steady
from .workload import Workload

CONFIDENCE = (
    0.998  # of the interval that decides: looked at after every pair, and rightly 20 times in 20
)
SAME = 0.03  # two settings nearer than this are called equal
SPREAD_PRIOR = 0.07  # of one pair's ratio; CIFAR CNN on two shared cores, 2026-11
SPREAD_PRIOR_DF = 3
FEWEST_PAIRS = 3
PAIRS_A_NURSERY = 4


class Comparison(Document):
    """How many times as many samples a second the second setting trains as the first.

    ratio: geometric mean over pairs; ci: its interval at the stated confidence; pairs: each pair's
    ratio. verdict: of the second against the first.
    """

    schema_id: Literal["isocost/comparison/v1"] = Field(
        alias="schema", default="isocost/comparison/v1"
    )
    workload: str
    first: Setting
    second: Setting
    ratio: float = Field(gt=0)
    ci: tuple[float, float]
    confidence: float
    verdict: Literal["faster", "slower", "equal", "undecided"]
    pairs: tuple[float, ...]
    seconds: float


@dataclass(frozen=True)
class Interval:
    """A ratio with its interval."""

    ratio: float
    low: float
    high: float

    @property
    def verdict(self) -> Literal["faster", "slower", "equal", "undecided"]:
        if self.low > 1:
            return "faster"
        if self.high < 1:
            return "slower"
        near = self.low > 1 / (1 + SAME) and self.high < 1 + SAME
        return "equal" if near else "undecided"


def interval(ratios: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Student's interval of the geometric mean; the spread has a prior worth SPREAD_PRIOR_DF pairs."""
    logs = np.log(ratios)
    mean, df = float(logs.mean()), SPREAD_PRIOR_DF + len(logs) - 1
    squares = SPREAD_PRIOR_DF * SPREAD_PRIOR**2 + float(((logs - mean) ** 2).sum())
    half = float(stats.t.ppf((1 + confidence) / 2, df)) * math.sqrt(squares / df / len(logs))
    return Interval(math.exp(mean), math.exp(mean - half), math.exp(mean + half))


def compare(
    workload: Workload,
    first: Setting,
    second: Setting,
    *,
    folder: Path | None = None,
    max_seconds: float = 180.0,
    step_seconds: float = STEP_SECONDS,
    progress: Callable[[Interval, int, float], None] = lambda *_: None,
) -> Comparison:
    """Compare two settings on this machine. progress: interval so far, pairs, seconds.

    Raises InputError where one of them does not train, or does not fit into memory.
    """
    if first == second:
        raise InputError(f"both settings are the same: {first.describe()}")
    start, ratios = time.monotonic(), list[float]()
    longest = 0.0
    with Bench(workload, folder, step_seconds=step_seconds) as bench:
        while True:
            began = time.monotonic()
            if len(ratios) % PAIRS_A_NURSERY == 0:
                bench.new_round()
            # Either goes first as often as the other.
            order = (first, second) if len(ratios) % 2 == 0 else (second, first)
            speeds = dict(zip(order, _alternate(bench, *order), strict=True))
            ratios.append(speeds[second] / speeds[first])
            found, spent = interval(ratios), time.monotonic() - start
            progress(found, len(ratios), spent)
            longest = max(longest, time.monotonic() - began)
            decided = len(ratios) >= FEWEST_PAIRS and found.verdict != "undecided"
            if decided or spent + longest > max_seconds:
                break
    return Comparison(
        workload=workload.name,
        first=first,
        second=second,
        ratio=found.ratio,
        ci=(found.low, found.high),
        confidence=CONFIDENCE,
        verdict=found.verdict,
        pairs=tuple(ratios),
        seconds=time.monotonic() - start,
    )


def _alternate(bench: Bench, first: Setting, second: Setting) -> tuple[float, float]:
    """Samples a second of both, from one pair of gangs."""
    with bench.pipe() as (mine, token), bench.pipe() as (other, _):
        os.write(token, b"x")  # the first has the first turn
        specs = [
            bench.spec(setting, parts=False, turns=turns)
            for setting, turns in (
                (first, (mine, other)),
                (second, (other, mine)),
            )
        ]
        with bench.started(specs[0]) as one, bench.started(specs[1]) as two:
            deadline = time.monotonic() + 2 * specs[0].stuck_s + 20 * specs[0].seconds
            trials = {first: one, second: two}
            while time.monotonic() < deadline and not one.failed() and not two.failed():
                if one.told() and two.told():
                    break
                time.sleep(POLL_S)
            speeds = {}
            # The one that failed is to tell why; the other only waits for it.
            for setting, trial in sorted(trials.items(), key=lambda pair: not pair[1].failed()):
                try:
                    probed = trial.result()
                except MemoryError:
                    raise InputError(f"{setting.describe()} does not fit into memory") from None
                except InputError as error:
                    raise InputError(f"{setting.describe()}: {error}") from None
                step_s = steady(probed.step_seconds, probed.settled_after).step_s
                speeds[setting] = setting.global_batch / step_s
    return speeds[first], speeds[second]
