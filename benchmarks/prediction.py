"""How well throughput is predicted, against Ernest, Optimus, Pollux, perfect scaling and FLOPs ratio.

Every method is fitted on the same points of ../shared/data/throughput; each line gives mean absolute
percentage error of throughput and its 90 % quantile, how many held-out points the stated 90 % interval holds,
and its median half-width. Methods that cannot be fitted on so few points still are: least
squares with coefficients not negative has an answer everywhere.

    python benchmarks/prediction.py -o prediction.json
    python benchmarks/prediction.py --vary     # other batches and points than the standard ones
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy.optimize import minimize, nnls
from scipy.stats import binom

from isocost.catalog import load
from isocost.profiles.design import v_optimal
from isocost.profiles.law import Floats, Points
from isocost.profiles.predict import Predictor
from isocost.profiles.series import group, row_points, shared_keys, value_of
from isocost.profiles.sheets import key, sheet
from isocost.profiles.table import Row, is_half, read_table

DATA = Path(os.environ.get("ISOCOST_DATA", Path(__file__).parent.parent.parent / "shared" / "data"))
FEWEST = 15  # measured points of the last scaling task
FAR = 8  # devices from which it is judged
ACCELERATORS = load().accelerators

Method = Callable[[Points, Floats, Points], Floats]


@dataclass(frozen=True)
class Split:
    """Series whose known rows predict the asked ones."""

    known: list[Row]
    asked: list[Row]


@dataclass
class Outcome:
    """Errors of each method on one task's asked rows, and the intervals of ours."""

    name: str
    series: int
    errors: dict[str, list[float]] = field(default_factory=dict)
    held: list[bool] = field(default_factory=list)
    width: list[float] = field(default_factory=list)
    by_series: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    keys: tuple[str, ...] = ()


def ernest(at: Points, step_s: Floats, asked: Points) -> Floats:
    """T = t0 + t1 b + t2 log K + t3 K, not negative (Venkataraman et al., NSDI 2016)."""
    return _nonnegative(
        lambda p: [np.ones(len(p)), p.batch, np.log(p.devices), p.devices], at, step_s, asked
    )


def optimus(at: Points, step_s: Floats, asked: Points) -> Floats:
    """T = t0 b + t1 + t2 w/p + t3 w + t4 p, w workers on p servers, here nodes (Peng et al.,
    EuroSys 2018, synchronous training)."""
    return _nonnegative(
        lambda p: [p.batch, np.ones(len(p)), p.devices / p.nodes, p.devices, p.nodes],
        at,
        step_s,
        asked,
    )


def _nonnegative(
    terms: Callable[[Points], list[Floats]], at: Points, step_s: Floats, asked: Points
) -> Floats:
    x = np.column_stack(terms(at))
    scale = np.maximum(x.max(axis=0), 1e-12)
    found, _ = nnls(x / scale / step_s[:, None], np.ones(len(at)))
    return np.asarray(np.column_stack(terms(asked)) / scale @ found)


def pollux(at: Points, step_s: Floats, asked: Points) -> Floats:
    """T = (Tg^g + Ts^g)^(1/g), Tg = ac + bc b, Ts = a + c max(K - 2, 0) within or between nodes, 0
    alone; root mean squared log error as in adaptdl (Qiao et al., OSDI 2021)."""
    scale = float(at.batch.max())

    def step(parameters: Floats, p: Points) -> Floats:
        ac, bc, an, bn, al, bl = np.exp(parameters[:6])
        gamma = 1 + 9 / (1 + np.exp(-parameters[6]))
        compute = ac + bc * p.batch / scale
        more = np.maximum(p.devices - 2, 0)
        sync = np.where(p.nodes > 1, an + bn * more, al + bl * more)
        sync = np.where(p.devices > 1, sync, 1e-12)
        return np.asarray((compute**gamma + sync**gamma) ** (1 / gamma))

    def loss(parameters: Floats) -> float:
        return float(np.mean(np.log(step(parameters, at) / step_s) ** 2))

    typical = float(np.log(np.median(step_s)))
    starts = [
        np.array([typical - 2, typical, typical + a, typical + b, typical + a, typical + b, g])
        for a, b in ((-1, -4), (-3, -6))
        for g in (-2.0, 0.0)
    ]
    best = min(
        (
            minimize(loss, start, bounds=[(typical - 14, typical + 3)] * 6 + [(-6, 6)])
            for start in starts
        ),
        key=lambda found: found.fun,
    )
    return step(best.x, asked)


def perfect(at: Points, step_s: Floats, asked: Points) -> Floats:
    """As many samples/s from each device as at the nearest batch on the fewest devices."""
    fewest = at.devices == at.devices.min()
    batch, rate = at.batch[fewest], (at.batch / step_s)[fewest]
    near = np.abs(np.log(asked.batch[:, None] / batch[None, :])).argmin(axis=1)
    return np.asarray(asked.batch / rate[near])


METHODS: dict[str, Method] = {
    "Ernest": ernest,
    "Optimus": optimus,
    "Pollux": pollux,
    "perfect": perfect,
}


def rows_of(table: Sequence[Row], source: str) -> list[Row]:
    return [row for row in table if row.cell("source").startswith(source) and row.batch]


def judge(name: str, split: Split) -> Outcome:
    """Ours through the Predictor that the command uses; the others series by series."""
    keys = shared_keys(split.known, split.asked)
    known = {(s.model, s.accelerator, *s.keys.values()): s for s in group(split.known, keys)}
    asked = group(split.asked, keys)
    outcome = Outcome(name, len(asked), keys=keys)
    predictor = Predictor.of(split.known, split.asked, ACCELERATORS)
    for series in asked:
        mark = (series.model, series.accelerator, *series.keys.values())
        source = known[mark]
        truth = series.step_s
        found = {
            method: np.abs(truth / run(source.points, source.step_s, series.points) - 1)
            for method, run in METHODS.items()
        }
        ours = []
        for row, one in zip(series.rows, predictor.predict(series.rows), strict=True):
            assert one is not None
            assert row.throughput is not None
            ours.append(abs(one.throughput / row.throughput - 1))
            outcome.held.append(one.p05 <= row.throughput <= one.p95)
            outcome.width.append((one.p95 / one.p05) ** 0.5 - 1)
        found["ours"] = np.array(ours)
        for method, errors in found.items():
            outcome.errors.setdefault(method, []).extend(float(e) for e in errors)
            outcome.by_series.setdefault(series.model, {}).setdefault(method, []).extend(
                float(e) for e in errors
            )
    return outcome


def three_batches(rows: Sequence[Row], between: int) -> Split:
    """Smallest, largest and one batch between of each placement of each series.

    between: which of those between, counted from the middle, modulo their number.
    """
    known: list[Row] = []
    asked: list[Row] = []
    for members in _placements(rows):
        batches = sorted({row.batch for row in members if row.batch})
        if len(batches) < 4:
            continue
        inner = batches[1:-1]
        chosen = {batches[0], batches[-1], inner[(len(batches) // 2 - 1 + between) % len(inner)]}
        for row in members:
            (known if row.batch in chosen else asked).append(row)
    return Split(known, asked)


def in_turn(rows: Sequence[Row], first: int) -> Split:
    """As three_batches, but the batch between changes from one placement to the next."""
    splits = [three_batches(members, first + i) for i, members in enumerate(_placements(rows))]
    return Split([r for s in splits for r in s.known], [r for s in splits for r in s.asked])


def _placements(rows: Sequence[Row]) -> list[list[Row]]:
    found: dict[tuple[Any, ...], list[Row]] = {}
    for series in group(rows, shared_keys(rows, rows)):
        for row in series.rows:
            place = (series.model, series.accelerator, *series.keys.values())
            found.setdefault((*place, row.devices, row.nodes, row.fullest), []).append(row)
    return list(found.values())


def more_devices(rows: Sequence[Row], known: Callable[[int], bool], asked: int) -> Split:
    """Series with rows of known device counts (two different ones at least) and of asked."""
    split = Split([], [])
    for series in group(rows, shared_keys(rows, rows)):
        mine = [row for row in series.rows if known(row.devices)]
        far = [row for row in series.rows if row.devices == asked]
        counts: dict[float | None, set[int]] = {}
        for row in mine:
            counts.setdefault(row.batch, set()).add(row.devices)
        far = [
            row for row in far if 1 in counts.get(row.batch, set()) and len(counts[row.batch]) > 1
        ]
        if len({row.devices for row in mine}) > 1 and far:
            split.known.extend(mine)
            split.asked.extend(far)
    return split


def few_points(rows: Sequence[Row], chance: np.random.Generator | None) -> Split:
    """FEWEST points of fewer than FAR devices a model; from a random three quarters, if chance."""
    split = Split([], [])
    for series in group(rows, shared_keys(rows, rows)):
        near = [row for row in series.rows if row.devices < FAR]
        if chance is not None:
            near = [near[i] for i in chance.permutation(len(near))[: 3 * len(near) // 4]]
        chosen = v_optimal(row_points(near), row_points(series.rows), FEWEST)
        split.known.extend(near[i] for i in chosen)
        split.asked.extend(row for row in series.rows if row.devices >= FAR)
    return split


def elsewhere(rows: Sequence[Row], shared: bool) -> Iterator[tuple[str, Split]]:
    """For each accelerator and model: predict the model there from the other accelerators.

    shared: the other models' rows on the accelerator are known; else nothing is known of it but
    its sheet.
    """
    models = sorted({row.cell("model") for row in rows})
    for target in sorted({key(row.cell("accelerator")) for row in rows}):
        if sheet(target, ACCELERATORS) is None:
            continue
        there = [row for row in rows if key(row.cell("accelerator")) == target]
        away = [row for row in rows if key(row.cell("accelerator")) != target]
        if shared:
            for model in models:
                asked = [row for row in there if row.cell("model") == model]
                others = [row for row in there if row.cell("model") != model]
                yield target, Split(away + others, asked)
        else:
            yield target, Split(away, there)


def judge_transfer(name: str, rows: Sequence[Row], shared: bool) -> Outcome:
    """Rows whose very configuration was measured on another accelerator, against FLOPs ratio."""
    outcome = Outcome(name, 0)
    keys = [k for k in shared_keys(rows, rows) if k not in ("system", "framework_version")]

    def mark(row: Row) -> tuple[Any, ...]:
        return (
            row.cell("model"),
            *(value_of(row, k) for k in keys if k in row.cells),
            row.batch,
            row.devices,
            row.nodes,
        )

    for target, split in elsewhere(rows, shared):
        logs: dict[tuple[Any, ...], dict[str, list[float]]] = {}
        for row in split.known:
            where = key(row.cell("accelerator"))
            if where != target and sheet(where, ACCELERATORS) is not None:
                logs.setdefault(mark(row), {}).setdefault(where, []).append(np.log(row.step_s))
        asked = [row for row in split.asked if mark(row) in logs]
        if not asked:
            continue
        outcome.series += 1
        plain = [_without_system(row) for row in split.known]
        predictor = Predictor.of(plain, [_without_system(row) for row in asked], ACCELERATORS)
        there = sheet(target, ACCELERATORS)
        assert there is not None
        predictions = predictor.predict([_without_system(row) for row in asked])
        for row, one in zip(asked, predictions, strict=True):
            half = is_half(row.cell("precision"))
            assert one is not None
            assert row.throughput is not None
            guesses = []
            for where, found in logs[mark(row)].items():
                here = sheet(where, ACCELERATORS)
                assert here is not None
                guesses.append(np.mean(found) + np.log(here.rate(half) / there.rate(half)))
            ratio = float(np.exp(np.mean(guesses)))
            outcome.errors.setdefault("ours", []).append(abs(one.throughput / row.throughput - 1))
            outcome.errors.setdefault("FLOPs", []).append(abs(row.step_s / ratio - 1))
            outcome.held.append(one.p05 <= row.throughput <= one.p95)
            outcome.width.append((one.p95 / one.p05) ** 0.5 - 1)
    return outcome


def _without_system(row: Row) -> Row:
    """The row without what names the machine: another accelerator is in another machine."""
    cells = {k: v for k, v in row.cells.items() if k not in ("notes", "framework_version")}
    return Row(row.line, cells, row.batch, row.devices, row.nodes, row.fullest, row.throughput)


def coverage_holds(held: Sequence[bool]) -> bool:
    """85 to 95 %; with fewer than 200 points, within the binomial 95 % error of 90 %."""
    count, inside = len(held), sum(held)
    if count >= 200:
        return bool(0.85 <= inside / count <= 0.95)
    low, high = binom.interval(0.95, count, 0.9)
    return bool(low <= inside <= high)


def summary(outcome: Outcome) -> dict[str, Any]:
    held = float(np.mean(outcome.held))
    return {
        "task": outcome.name,
        "series": outcome.series,
        "keys": outcome.keys,
        "points": len(outcome.held),
        "mape": {m: float(np.mean(e)) for m, e in outcome.errors.items()},
        "p90": {m: float(np.quantile(e, 0.9)) for m, e in outcome.errors.items()},
        "mean_of_models": {
            m: float(np.mean([np.mean(each[m]) for each in outcome.by_series.values()]))
            for m in outcome.errors
            if outcome.by_series
        },
        "held": held,
        "held_as_claimed": coverage_holds(outcome.held),
        "half_width": float(np.median(outcome.width)),
    }


def show(line: dict[str, Any]) -> None:
    print(f"\n{line['task']}: {line['series']} series, {line['points']} held-out points")
    if line["keys"]:
        print(f"  a series: one model, accelerator, {', '.join(line['keys'])}")
    for method in sorted(line["mape"], key=lambda m: m != "ours"):
        models = line["mean_of_models"].get(method)
        mean = f"  mean of models {models:7.1%}" if models is not None else ""
        print(
            f"  {method:<8} mean {line['mape'][method]:7.1%}  p90 {line['p90'][method]:7.1%}{mean}"
        )
    claim = "as claimed" if line["held_as_claimed"] else "NOT as claimed"
    print(
        f"  90 % interval holds {line['held']:.1%} ({claim}), half-width {line['half_width']:.1%}"
    )


SHARED, ALONE = "others measured there", "nothing measured there"
TRANSFER_SOURCES = (
    "profet",
    "gavel-osdi20",
    "lambda-tf",
    "zeus-nsdi23",
    "neusight",
    "ryujaehun",
    "nvidia-dle",
    "llm-foundry",
)


def tasks(table: Sequence[Row], vary: int) -> Iterator[tuple[str, Callable[[str], Outcome]]]:
    """Names of all tasks and what judges them; vary counts other choices of batches and points, 0
    the standard ones."""
    profet = rows_of(table, "profet")
    pollux_ = rows_of(table, "pollux-osdi21")
    lambda_ = rows_of(table, "lambda-tf")
    made_up = [row for row in lambda_ if "synthetic" in row.cell("dataset")]
    dlperf = [r for r in rows_of(table, "dlperf") if r.cell("framework").startswith("TensorFlow")]
    chance = np.random.default_rng(vary) if vary else None

    def of(split: Callable[[], Split]) -> Callable[[str], Outcome]:
        return lambda name: judge(name, split())

    yield "batch, from 3 (PROFET)", of(lambda: three_batches(profet, vary))
    yield "batch, from 3 (Pollux T4)", of(lambda: three_batches(pollux_, vary))
    yield (
        "batch, from 3 that differ by placement (Pollux T4)",
        of(lambda: in_turn(pollux_, vary)),
    )
    yield (
        "1, 4 -> 8 devices (Lambda)",
        of(lambda: more_devices(lambda_, lambda k: k in (1, 4), 8)),
    )
    yield (
        "1, 4 -> 8 devices, synthetic data (Lambda)",
        of(lambda: more_devices(made_up, lambda k: k in (1, 4), 8)),
    )
    yield (
        "<= 16 -> 32 devices (DLPerf TF)",
        of(lambda: more_devices(dlperf, lambda k: k <= 16, 32)),
    )
    yield (
        f"{FEWEST} points -> {FAR} and more devices (Pollux T4)",
        of(lambda: few_points(pollux_, chance)),
    )
    for shared in (True, False):
        how = SHARED if shared else ALONE
        for source in TRANSFER_SOURCES:
            yield (
                f"unseen accelerator, {how} ({source})",
                lambda name, source=source, shared=shared: judge_transfer(  # type: ignore[misc]
                    name, rows_of(table, source), shared
                ),
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--vary", type=int, default=0, metavar="N", help="N-th other choice of points"
    )
    parser.add_argument("--only", default="", help="only tasks whose name contains this")
    parser.add_argument("-o", "--output", type=Path, default=None)
    given = parser.parse_args()
    path = DATA / "throughput" / "measurements.csv.gz"
    if not path.exists():
        sys.exit(f"{path} is not there; set ISOCOST_DATA to the folder of public data")
    table = read_table(path, measured=True).rows
    lines = []
    for name, run in tasks(table, given.vary):
        if given.only not in name or (given.vary and "unseen" in name):
            continue
        line = summary(run(name))
        lines.append(line)
        show(line)
        sys.stdout.flush()
    for how in (SHARED, ALONE):
        means = [line["mape"] for line in lines if how in line["task"]]
        if means:
            ours, ratio = (float(np.mean([mean[m] for mean in means])) for m in ("ours", "FLOPs"))
            print(
                f"\nunseen accelerator, {how}, mean of sources: ours {ours:.1%}, FLOPs {ratio:.1%}"
            )
    if given.output is not None:
        given.output.write_text(json.dumps({"tasks": lines, "vary": given.vary}, indent=2) + "\n")


if __name__ == "__main__":
    main()
