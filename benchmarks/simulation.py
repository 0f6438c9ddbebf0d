"""Speed of the simulator, in CPU seconds.

python benchmarks/simulation.py [-o simulation.json]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("ISOCOST_DATA", ROOT.parent / "shared" / "data")) / "traces"


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


def traces() -> list[dict[str, Any]]:
    """Traces replayed, reading and figures included. Bars: 4.4 CPU s for the LP policy, a tenth of Gavel's;
    100,000 micro-tasks and 20,000 jobs a CPU second; nothing dearer a job at 82k than at 1k.
    """
    from isocost.simulator.cluster import read_cluster
    from isocost.simulator.metrics import figures
    from isocost.simulator.policies import policy_named, replay_under
    from isocost.simulator.speeds import Durations, read_throughputs, tasks
    from isocost.simulator.trace import read_trace

    if not DATA.is_dir():
        print(f"no traces in {DATA}: set ISOCOST_DATA to measure them", file=sys.stderr)
        return []
    rows = []
    there = read_cluster("v100=24@0.74,p100=24@0.43,k80=24@0.135")
    for policy in ("max_min_fairness_perf", "isolated"):
        start = time.process_time()
        speeds = read_throughputs(DATA / "gavel_throughputs.csv.gz", there)
        made = tasks(read_trace(DATA / "gavel_msr_0e4a51.csv.gz"), there, speeds)
        done = replay_under(policy_named(policy), made, there, speeds)
        figures(done)
        used = time.process_time() - start
        bar = 4.4 if policy == "max_min_fairness_perf" else done.micro_tasks / 100_000
        what = f"msr/0e4a51, {policy}, micro-tasks"
        rows.append({"what": what, "count": done.micro_tasks, "cpu_s": used, "bar_cpu_s": bar})
    pool = read_cluster("gpu=1200")
    for policy in ("fifo", "fifo-skip"):
        start = time.process_time()
        made = tasks(read_trace(DATA / "philly_2017.csv.gz"), pool, Durations())
        figures(replay_under(policy_named(policy), made, pool, Durations()))
        used = time.process_time() - start
        what = f"Philly, 1,200 GPUs, {policy}, jobs"
        rows.append(
            {"what": what, "count": len(made), "cpu_s": used, "bar_cpu_s": len(made) / 20_000}
        )
    jobs = read_trace(DATA / "philly_2017.csv.gz")
    per_job = 0.0
    for count in (1_000, 10_000, len(jobs)):
        part = jobs[:count]
        start = time.process_time()
        for _ in range(max(1, 20_000 // count)):
            figures(
                replay_under(
                    policy_named("fifo"), tasks(part, pool, Durations()), pool, Durations()
                )
            )
        used = (time.process_time() - start) / max(1, 20_000 // count)
        per_job = per_job or used / count
        what = f"Philly, first {count:,} jobs, {1e6 * used / count:.1f} us a job"
        rows.append(
            {"what": what, "count": count, "cpu_s": used, "bar_cpu_s": 1.5 * per_job * count}
        )
    return rows


SECTIONS = {"traces replayed": traces, "rehearsal of the example plan, futures": rehearsal}


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
                f"{row['what'][:47]:<48}{row['count']:>9,}{row['cpu_s']:>9.2f}{row['bar_cpu_s']:>7.3g}"
            )
    if given.output is not None:
        given.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
