"""How far the prediction is from reality: profile, plan, then run the planned setting again and again.

    python benchmarks/loop.py [--runs 3] [--steps 3000] [-o loop.json]

Profiles the example on this machine, plans it, runs the best local candidate several times in fresh
processes, and prints measured against predicted throughput with the machine's own noise beside it.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

EXAMPLE = Path(__file__).parent.parent / "examples" / "cifar10.yaml"


def isocost(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "isocost", *map(str, arguments)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("-o", "--output", type=Path, default=None)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        isocost("profile", EXAMPLE, "--max-seconds", "75", "-o", room)
        isocost("optimize", EXAMPLE, "-o", room / "plan.json")
        shared = [] if given.workers is None else ["--workers", str(given.workers)]
        rows = []
        for turn in range(given.runs):
            output = room / f"run-{turn}.json"
            isocost(
                *("run", room / "plan.json", "--max-steps", str(given.steps)),
                *("--seed", str(turn), "-o", output, *shared),
            )
            rows.append(json.loads(output.read_text(encoding="utf-8")))
    table = [
        {
            "predicted_samples_per_s": row["predicted"]["samples_per_s"],
            "measured_samples_per_s": row["measured"]["samples_per_s"],
            "error": row["measured"]["samples_per_s"] / row["predicted"]["samples_per_s"] - 1,
        }
        for row in rows
    ]
    noise = rows[0]["repeat_noise"]
    measured = [row["measured_samples_per_s"] for row in table]
    own = statistics.stdev(measured) / statistics.mean(measured) if len(measured) > 1 else 0.0
    print(f"\n{'run':>4} {'predicted/s':>12} {'measured/s':>12} {'error':>8}")
    for turn, row in enumerate(table):
        print(
            f"{turn:>4} {row['predicted_samples_per_s']:>12,.0f} "
            f"{row['measured_samples_per_s']:>12,.0f} {row['error']:>+8.1%}"
        )
    median = statistics.median(row["error"] for row in table)
    print(
        f"median error {median:+.1%}; noise between processes {noise:.1%} (profile), {own:.1%} (runs)"
    )
    if given.output is not None:
        result = {"runs": table, "median_error": median, "profile_noise": noise, "run_noise": own}
        given.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
