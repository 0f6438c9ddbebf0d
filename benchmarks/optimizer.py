"""How fast and how surely the optimizer plans: one job over every offer.

    python benchmarks/optimizer.py [--against] [-o figures.json] [--offers offers.csv.gz]

One job: 1,000 to all offers of the full price list, where it lies beside the checkout, else the
built-in ones; CPU seconds of one process after start-up (imports, and reading the catalog), the
memory at its peak, the proven gap, and the distance from the least L of all candidates that keep
every constraint (brute force). Each size in a process of its own.

Then many jobs and pipelines, as optimizer_many.py describes them; --against solves some of them with
all columns given to HiGHS and to scipy.milp as well, which takes many minutes.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
LIST = ROOT.parent / "shared" / "data" / "catalog" / "offers.csv.gz"
SIZES = (1_000, 3_000, 10_000, 30_000)
FRONT_SIZES = (20_000, 1_000_000)


def one_job(size: int, offers: Path | None) -> dict[str, float]:
    """Plan the example over so many offers; times in CPU seconds."""
    from isocost.catalog import load, this_machine
    from isocost.catalog.importing import read_offers
    from isocost.optimizer.optimize import Job, optimize, price
    from isocost.profiles.workload import read_workload

    workload = read_workload(ROOT / "examples" / "cifar10.yaml")
    catalog = load()
    if offers is not None:
        catalog = replace(catalog, offers=read_offers(offers, catalog).offers)
    if size < catalog.offers.height:
        catalog = replace(catalog, offers=catalog.offers.sample(size, seed=1))
    local, job = this_machine(0.02), Job(workload, ROOT / "examples")
    started = time.process_time()
    plan = optimize([job], catalog, local)
    planned = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    every = price(job, catalog.with_offer(local), workload.weights)
    least = float(every.losses.total[every.allowed].min())
    started = time.process_time()
    optimize([job], catalog, local, explained=True)
    explained = time.process_time() - started
    return {
        "offers": catalog.offers.height,
        "candidates": plan.solver.candidates,
        "cpu_s": planned,
        "explained_cpu_s": explained,
        "peak_gb": peak / 1e9,
        "gap": plan.solver.gap,
        "above_brute_force": plan.jobs[0].chosen.losses.total - least,
        "columns": plan.solver.columns,
    }


def fronts() -> list[dict[str, float | str]]:
    """CPU seconds of the exact three-dimensional front: random points, and none dominated at all."""
    import numpy as np

    from isocost.optimizer.pareto import front

    rng = np.random.default_rng(0)
    found: list[dict[str, float | str]] = []
    for size in FRONT_SIZES:
        for kind, points in (
            ("cube", rng.random((size, 3))),
            ("no point dominated", rng.dirichlet([1, 1, 1], size)),
        ):
            spent = []
            for _ in range(3):
                started = time.process_time()
                kept = front(points)
                spent.append(time.process_time() - started)
            found.append({"points": size, "kind": kind, "kept": len(kept), "cpu_s": min(spent)})
    return found


def many_jobs(against: bool) -> list[dict[str, Any]]:
    """The rows of optimizer_many.py, which prints them as they come."""
    script = Path(__file__).with_name("optimizer_many.py")
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "many.json"
        command = [sys.executable, str(script), "-o", str(rows)]
        subprocess.run([*command, *(["--against"] if against else [])], check=True)
        found: list[dict[str, Any]] = json.loads(rows.read_text(encoding="utf-8"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--offers", type=Path, default=LIST if LIST.exists() else None)
    parser.add_argument("--against", action="store_true", help="many jobs by other methods too")
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)  # one size, in this process
    given = parser.parse_args()
    if given.size:
        print(json.dumps(one_job(given.size, given.offers)))
        return
    rows: list[dict[str, float]] = []
    print("one job: offers, candidates, CPU s, with --explain, peak GB, gap, above brute force")
    for size in SIZES:
        command = [sys.executable, __file__, "--size", str(size)]
        command += ["--offers", str(given.offers)] if given.offers else []
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        row = json.loads(said.splitlines()[-1])
        if rows and row["offers"] == rows[-1]["offers"]:
            break
        rows.append(row)
        print(
            f"{row['offers']:>8,.0f} {row['candidates']:>10,.0f} {row['cpu_s']:7.2f} "
            f"{row['explained_cpu_s']:7.2f} {row['peak_gb']:6.2f} {row['gap']:8.1e} "
            f"{row['above_brute_force']:8.1e}",
            flush=True,
        )
    shown = fronts()
    print("front: points, kept, CPU ms")
    for one in shown:
        print(
            f"{one['points']:>10,} {one['kept']:>10,} {1e3 * float(one['cpu_s']):8.1f}  {one['kind']}"
        )
    print("many jobs and pipelines", flush=True)
    many = many_jobs(given.against)
    if given.output:
        figures = {"one_job": rows, "fronts": shown, "many_jobs": many}
        given.output.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
