"""Whether a second profile says the same as the first, and whether comparisons are right.

    python benchmarks/repeating.py [--max-seconds 900] [--repeats 20] [-o repeating.json]

Profiles the example twice, anew, and counts how many settings of the second fall into the first one's
intervals. Then asks twenty times which of two settings is faster, for each of two questions, and
holds the answers against the mean over all pairs of all repeats.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

EXAMPLE = Path(__file__).parent.parent / "examples" / "cifar10.yaml"
QUESTIONS = (("batch=32,xla=off", "batch=32,xla=on"), ("batch=32", "batch=64"))


def isocost(*arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-m", "isocost", *map(str, arguments), "--json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout))


def profiles(max_seconds: float) -> dict[str, Any]:
    """The share of the second profile's settings within the first one's intervals."""
    with tempfile.TemporaryDirectory() as name:
        first, second = (
            isocost("profile", EXAMPLE, "--fresh", "--max-seconds", max_seconds, "-o", name)
            for _ in range(2)
        )
    again = {
        json.dumps(one["setting"]): one["step_time_s"]["value"] for one in second["measurements"]
    }
    rows = []
    for one in first["measurements"]:
        value = again.get(json.dumps(one["setting"]))
        if value is None:
            continue
        step = one["step_time_s"]
        rows.append(
            {
                "setting": one["setting"],
                "first_s": step["value"],
                "second_s": value,
                "held": step["repeat95"][0] <= value <= step["repeat95"][1],
                "half_width": math.log(step["ci95"][1] / step["ci95"][0]) / 2,
                "noise": one["noise"],
                "processes": len(one["processes"]),
            }
        )
    tight = [row["half_width"] <= 0.10 for row in rows]
    for row in rows:
        knobs = row["setting"]["knobs"]
        print(
            f"batch {row['setting']['per_device_batch']:>4}, {knobs['workers_per_node']} workers, "
            f"{knobs['precision']:<14} XLA {knobs['xla']!s:<5} {1e3 * row['first_s']:7.2f} "
            f"{1e3 * row['second_s']:7.2f} ms  +-{row['half_width']:.1%} "
            f"{'' if row['held'] else 'outside'} {', '.join(row['noise'])}"
        )
    print(
        f"{len(rows)} settings; within the first one's repeat intervals: "
        f"{sum(row['held'] for row in rows)}; interval within 10 %: {sum(tight)}; of the others "
        f"{sum(bool(row['noise']) for row, fine in zip(rows, tight, strict=True) if not fine)} say why"
    )
    return {"settings": rows}


def comparisons(repeats: int) -> list[dict[str, Any]]:
    """How often each question was answered as all pairs together answer it."""
    table = []
    for first, second in QUESTIONS:
        found = [isocost("profile", "compare", EXAMPLE, first, second) for _ in range(repeats)]
        pairs = [math.log(ratio) for one in found for ratio in one["pairs"]]
        truth = math.exp(statistics.fmean(pairs))
        answer = "faster" if truth > 1 else "slower"
        right = sum(one["verdict"] == answer for one in found)
        seconds = statistics.median(one["seconds"] for one in found)
        print(
            f"{second} against {first}: {truth:.3f} times over {len(pairs)} pairs; {right} of {repeats} "
            f"say {answer}, in {seconds:.0f} s each (median)"
        )
        table.append({"first": first, "second": second, "ratio": truth, "right": right})
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--max-seconds", type=float, default=900)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("-o", "--output", type=Path, default=None)
    given = parser.parse_args()
    result: dict[str, Any] = {}
    if given.max_seconds > 0:
        result["profiles"] = profiles(given.max_seconds)
    if given.repeats > 0:
        result["comparisons"] = comparisons(given.repeats)
    if given.output is not None:
        given.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
