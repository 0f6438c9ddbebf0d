"""The same training whatever places its workers: the example on local, Ray and Slurm, loss by loss.

    python benchmarks/engines.py [--engines ray slurm] [--workers 2] [--steps 50] [-o engines.json]

Plans the example, trains it on each engine and prints the losses beside those of local. Slurm is a
real one with a node for each worker on this machine (see slurm_cluster.py). Exit code 1 where losses
differ by more than 1e-5 over the first 8 steps, before rounding grows, or 2 % over all.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import slurm_cluster

EXAMPLE = Path(__file__).parent.parent / "examples" / "cifar10.yaml"
EARLY, EARLY_APART, APART = 8, 1e-5, 0.02


def isocost(*arguments: object) -> None:
    words = [sys.executable, "-m", "isocost", *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)} ended with code {done.returncode}:\n{done.stderr}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engines", nargs="+", default=["ray", "slurm"])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("-o", "--output", type=Path, default=None)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        isocost("optimize", EXAMPLE, "-o", room / "plan.json")
        losses, seconds = {}, {}
        for engine in ["local", *given.engines]:
            began = time.monotonic()
            losses[engine] = trained(engine, room, given.workers, given.steps)
            seconds[engine] = time.monotonic() - began
    apart = {engine: differences(losses[engine], losses["local"]) for engine in given.engines}
    shown = [step for step in (1, 2, 4, 8, 20, given.steps) if step <= given.steps]
    print(f"Loss by step, {given.workers} workers of {EXAMPLE.name}")
    print("engine  " + "".join(f"{step:>10}" for step in shown) + "   seconds")
    for engine, found in losses.items():
        row = "".join(f"{found[step - 1]:>10.6f}" for step in shown)
        print(f"{engine:<8}{row}{seconds[engine]:>10.1f}")
    bad = []
    for engine, (early, all_of_them) in apart.items():
        print(
            f"{engine}: apart from local by at most {early:.1e} over {EARLY} steps, "
            f"{all_of_them:.1e} over {given.steps}"
        )
        if early > EARLY_APART or all_of_them > APART:
            bad.append(engine)
    if given.output is not None:
        record = {"losses": losses, "apart": apart, "seconds": seconds}
        given.output.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    if bad:
        sys.exit(f"{', '.join(bad)} trained otherwise than local")


def trained(engine: str, room: Path, workers: int, steps: int) -> list[float]:
    """The loss of each step."""
    output = room / f"{engine}.json"
    asked = ("--workers", workers, "--max-steps", steps, "--engine", engine, "-o", output)
    if engine == "slurm":
        if (lacking := slurm_cluster.missing()) is not None:
            sys.exit(lacking)
        slurm_cluster.up(room / "cluster", nodes=workers, cpus=max(1, cores() // workers))
        os.environ["SLURM_CONF"] = f"{room}/cluster/slurm.conf"
    try:
        isocost("run", room / "plan.json", *asked)
    finally:
        if engine == "slurm":
            slurm_cluster.down(room / "cluster")
    run = json.loads(output.read_text(encoding="utf-8"))
    assert (run["engine"], run["workers"], run["steps"]) == (engine, workers, steps)
    lines = (room / engine / "steps.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["loss"] for line in lines]


def cores() -> int:
    return len(os.sched_getaffinity(0))


def differences(found: list[float], expected: list[float]) -> tuple[float, float]:
    """Largest relative difference over the first steps, and over all."""
    apart = [abs(a / b - 1) for a, b in zip(found, expected, strict=True)]
    return max(apart[:EARLY]), max(apart)


if __name__ == "__main__":
    main()
