"""Speed of the simulator, in CPU seconds.

python benchmarks/simulation.py [-o simulation.json]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def rehearsal(replications: int = 10_000) -> list[dict[str, Any]]:
    """Futures of the example's plan: the chosen candidate, and every runner-up. Bar: 10 CPU s."""
    from isocost.optimizer.plan import Plan
    from isocost.simulator.rehearsal import ASSUMED, run_futures

    with tempfile.TemporaryDirectory() as room:
        path = Path(room) / "plan.json"
        command = [sys.executable, "-m", "isocost", "optimize"]
        example = str(ROOT / "examples" / "cifar10.yaml")
        subprocess.run([*command, example, "-o", str(path)], check=True, capture_output=True)
        job = Plan.read(path).jobs[0]
    rows = []
    for one in (job.chosen, *job.runners_up):
        start = time.process_time()
        found = run_futures([one], replications=replications, seed=0, conditions=ASSUMED)
        used = time.process_time() - start
        rows.append(
            {
                "what": f"{one.offer.instance_type}, {one.purchase}, {one.nodes} nodes",
                "count": len(found.finish_s),
                "cpu_s": used,
                "bar_cpu_s": 10.0 * replications / 10_000,
            }
        )
    return rows


SECTIONS = {"rehearsal of the example plan, futures": rehearsal}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=None)
    given = parser.parse_args()
    result = {}
    for name, section in SECTIONS.items():
        result[name] = rows = section()
        print(f"\n{name}\n{'':<48}{'count':>9}{'CPU s':>9}{'bar':>7}")
        for row in rows:
            print(
                f"{row['what'][:47]:<48}{row['count']:>9,}{row['cpu_s']:>9.2f}{row['bar_cpu_s']:>7g}"
            )
    if given.output is not None:
        given.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
