"""Whether the same training comes out whatever strategy and number of workers share it.

    python benchmarks/strategies.py [--workload examples/cifar10.yaml] [--seed 0] [--fast] [-o FILE]

Trains the example at one global batch with one worker, then with 1, 2 and 4 workers under each strategy, and
compares the loss of every step: the first 8 within 1e-5 of one worker's, all 50 within 2 %, and the test
loss after them within 2 %.

Sums of floating-point numbers differ in the last digit with their order. A network with ReLU and
max-pooling now and then takes that digit for the other side of a kink, and from there two runs part
for good, three times farther with every step. So the runs here are ``--reproducible``: each sample is
computed alike whatever share it came in, and only the sums over the batch differ. --fast shows them
as they are by default, with oneDNN and all threads. Processes are forked by one that has imported
TensorFlow.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from isocost.execution.engines import Local
from isocost.execution.record import Run
from isocost.execution.run import execute
from isocost.execution.setup import set_up
from isocost.execution.telemetry import read_steps
from isocost.optimizer.plan import Plan
from isocost.profiles.gang import Nursery

EXAMPLE = Path(__file__).parent.parent / "examples" / "cifar10.yaml"
EARLY_STEPS, EARLY, LATER = 8, 1e-5, 0.02
WAYS = [("mirrored", 1), ("mirrored", 2), ("mirrored", 4),
        ("multi_worker_mirrored", 2), ("multi_worker_mirrored", 4),
        ("parameter_server", 1), ("parameter_server", 2)]  # fmt: skip


def losses(run: Run) -> list[float]:
    return [line.loss for line in read_steps(Path(run.folder) / "steps.jsonl")]


def off(mine: list[float], theirs: list[float]) -> float:
    """The largest relative difference."""
    return max(abs(a / b - 1) for a, b in zip(mine, theirs, strict=True))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workload", type=Path, default=EXAMPLE)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fast", action="store_true", help="not --reproducible")
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    if not given.fast:
        os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"  # of the nursery, too
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run(
            [
                sys.executable,
                "-m",
                "isocost",
                "optimize",
                given.workload.resolve(),
                "-o",
                "plan.json",
            ],
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        plan = Plan.read(folder / "plan.json")
        with Nursery(folder / "nursery.log") as nursery:

            def trained(strategy: str, workers: int, steps: int) -> Run:
                setup = set_up(
                    plan,
                    strategy=strategy,  # type: ignore[arg-type]
                    workers=workers,
                    reproducible=not given.fast,
                )
                print(
                    f"{strategy}, {workers} worker(s), {steps} steps", file=sys.stderr, flush=True
                )
                return execute(
                    setup,
                    folder / f"{strategy}-{workers}-{steps}",
                    plan_path="",
                    engine=Local(nurseries=[nursery] * len(setup.tasks)),
                    max_steps=steps,
                    seed=given.seed,
                    unlimited=True,
                )

            alone = trained("multi_worker_mirrored", 1, given.steps)
            one = losses(alone)
            assert alone.test is not None
            for strategy, workers in WAYS:
                run = trained(strategy, workers, given.steps)
                found = losses(run)
                early = off(found[:EARLY_STEPS], one[:EARLY_STEPS])
                later = off(found, one)
                assert run.test is not None
                final = run.test.loss / alone.test.loss - 1
                rows.append(
                    {
                        "strategy": strategy,
                        "workers": workers,
                        "early": early,
                        "later": later,
                        "test": final,
                        "samples": run.samples_seen and run.samples_seen.per_worker,
                        "passed": early <= EARLY and max(later, abs(final)) <= LATER,
                    }
                )
    table = Table("strategy", "workers", "first 8 steps", "all steps", "test loss", "")
    for row in rows:
        figures = [
            f"{row[key]:{form}}" if key in row else "-"
            for key, form in (
                ("early", ".1e"),
                ("later", ".1e"),
                ("test", "+.2%"),
            )
        ]
        passed = "passed" if row["passed"] else "FAILED"
        table.add_row(row["strategy"], str(row["workers"]), *figures, passed)
    Console(width=100).print(table)
    print("Relative to one worker at the same global batch; test loss after the last step.")
    if given.output is not None:
        given.output.write_text(json.dumps(rows, indent=2), encoding="utf-8")
    return 0 if all(row["passed"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
