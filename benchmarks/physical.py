"""Against a physical cluster: Shockwave's 120 jobs on 32 V100 at TACC (NSDI 2023).

    python benchmarks/physical.py [--policy NAME ...] [-o physical.json]

The trace is replayed on examples/tacc32.yaml, whose constants are the authors' own and the same for every
policy; run times are the measured GPU-seconds (mean of the runs: how long a job trains hardly depends on the
policy, 1.2 % between them). Bars: mean error of average JCT 4.6 %, of makespan 5.0 %, none above 9 %.
--policy replays the same jobs under any other policy, to be compared with runs that are not in the file.
"""

import argparse
import csv
import json
import os
import sys
from pathlib import Path
from statistics import mean
from typing import Any

from isocost.simulator.cluster import read_cluster
from isocost.simulator.policies import policy_named, replay_under
from isocost.simulator.replay import Replay
from isocost.simulator.rounds import RECOMPUTE_S, ROUND_S, Rules
from isocost.simulator.speeds import Durations, tasks
from isocost.simulator.trace import measured, read_trace

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("ISOCOST_DATA", ROOT.parent / "shared" / "data"))
TRACE = DATA / "traces" / "shockwave_tacc32_physical.csv"
MEASURED = ("allox", "min_total_duration", "shockwave")
JCT_BAR, MAKESPAN_BAR, WORST_BAR = 0.046, 0.050, 0.09


def replayed(policy: str) -> Replay:
    """The trace under a policy."""
    cluster = read_cluster(ROOT / "examples" / "tacc32.yaml")
    columns = [f"{name}_physical_gpu_s" for name in MEASURED]
    jobs = measured(read_trace(TRACE), columns, str(TRACE))
    speeds = Durations(cluster.crossing_slowdown)
    rules = Rules(cluster.round_s or ROUND_S, cluster.recompute_s or RECOMPUTE_S)
    made = tasks(jobs, cluster, speeds, str(TRACE))
    return replay_under(policy_named(policy), made, cluster, speeds, rules=rules)


def physical(policies: tuple[str, ...] = MEASURED) -> list[dict[str, Any]]:
    """A row a policy: ours, and where they are known the cluster's and the authors' simulator's."""
    with TRACE.open(encoding="utf-8", newline="") as file:
        truth = list(csv.DictReader(file))
    rows = []
    for policy in policies:
        jobs = replayed(policy).jobs
        row: dict[str, Any] = {
            "policy": policy,
            "avg_jct_s": mean(one.jct_s for one in jobs),
            "makespan_s": max(one.finish_s for one in jobs),
        }
        for kind in ("physical", "peer_sim"):
            column = f"{policy}_{kind}_jct_s"
            if column in truth[0]:
                jct = [float(one[column]) for one in truth]
                ends = [float(one["submit_time_s"]) + float(one[column]) for one in truth]
                row[f"{kind}_avg_jct_s"], row[f"{kind}_makespan_s"] = mean(jct), max(ends)
        rows.append(row)
    return rows


def errors(row: dict[str, Any], prefix: str = "") -> tuple[float, float]:
    """Relative errors of average JCT and makespan; prefix: "" for ours, "peer_sim_" for theirs."""
    jct, makespan = (
        row[f"{prefix}{name}"] / row[f"physical_{name}"] - 1 for name in ("avg_jct_s", "makespan_s")
    )
    return jct, makespan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policy", action="append", default=None)
    parser.add_argument("-o", "--output", type=Path, default=None)
    given = parser.parse_args()
    if not TRACE.exists():
        sys.exit(f"{TRACE} is missing; set ISOCOST_DATA to the folder of the data sets")
    rows = physical(tuple(given.policy or MEASURED))
    print(
        f"{'policy':<28}{'avg JCT':>9}{'error':>8}{'peer':>8}{'makespan':>11}{'error':>8}{'peer':>8}"
    )
    known = [row for row in rows if "physical_avg_jct_s" in row]
    for row in rows:
        words = [""] * 4
        if row in known:
            ours, peer = errors(row), errors(row, "peer_sim_")
            words = [f"{value:+.1%}" for pair in zip(ours, peer, strict=True) for value in pair]
        print(
            f"{row['policy']:<28}{row['avg_jct_s']:>9,.0f}{words[0]:>8}{words[1]:>8}"
            f"{row['makespan_s']:>11,.0f}{words[2]:>8}{words[3]:>8}"
        )
    result: dict[str, Any] = {"rows": rows}
    if known:
        both = [errors(row) for row in known]
        jct, makespan = (mean(abs(pair[i]) for pair in both) for i in (0, 1))
        worst = max(abs(value) for pair in both for value in pair)
        kept = jct <= JCT_BAR and makespan <= MAKESPAN_BAR and worst <= WORST_BAR
        print(
            f"mean error of JCT {jct:.1%} (bar {JCT_BAR:.1%}), of makespan {makespan:.1%} "
            f"(bar {MAKESPAN_BAR:.1%}), worst {worst:.1%} (bar {WORST_BAR:.0%}): "
            f"{'within' if kept else 'MISSED'}"
        )
        result |= {"jct_error": jct, "makespan_error": makespan, "worst": worst, "within": kept}
    if given.output is not None:
        given.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
