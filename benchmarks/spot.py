"""Spot gangs against what really happened: the rehearsal beside direct replay of availability traces.

    python benchmarks/spot.py [--replications 2000] [-o spot.json]

A rigid gang of 16 nodes with 12 h of checkpointed work starts at every hour of each 16-node trace
in $ISOCOST_DATA/spot/availability_traces.csv (the trace goes on at its beginning where it ends).
Truth is a replay by a function of this file that shares no code with the simulator. Beside it: the
rehearsal on the same trace, by blocks of ten days and of 72 h, and an exponential model of up and
down times fitted to the trace. Bars: mean and p95 of the finish within 10 % of the replay.
"""

import argparse
import csv
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isocost.optimizer.plan import DelayFacts, Plan, PlannedCandidate, Reliability
from isocost.simulator.rehearsal import futures
from isocost.simulator.spot import BLOCK_S, SHORTEST_BLOCK_S, read_market
from isocost.simulator.world import Conditions

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("ISOCOST_DATA", ROOT.parent / "shared" / "data"))
NODES, WORK_S = 16, 12 * 3600.0
INTERVAL_S, STALL_S, READY_S = 1800.0, 60.0, 300.0
BAR = 0.10

Floats = NDArray[np.float64]


def direct_replay(rows: list[tuple[float, float, int]], start_s: float) -> float:
    """Finish of the job that starts at start_s, from whole-gang up times alone.

    The gang trains from READY_S after the last of its machines has come until one of them goes.
    """
    total = rows[-1][0] + rows[-1][1]
    left, training, up_since = WORK_S, False, -1.0
    for lap in range(1000):
        for begin, lasts, count in rows:
            low = max(begin + lap * total, start_s)
            high = begin + lasts + lap * total
            if high <= start_s:
                continue
            if count < NODES:
                up_since = -1.0
                continue
            if up_since < 0:
                up_since, fresh = low + READY_S + (STALL_S if training else 0.0), left
            done = fresh + math.ceil(fresh / INTERVAL_S - 1e-9) * STALL_S
            if up_since + done <= high:
                return up_since + done - start_s
            if high > up_since:
                training = True
                left = fresh - math.floor((high - up_since) / (INTERVAL_S + STALL_S)) * INTERVAL_S
            elif high > up_since - STALL_S:
                training = True
    raise RuntimeError("the gang is never whole for long enough")


def spells(rows: list[tuple[float, float, int]]) -> tuple[Floats, Floats]:
    """Up and down times of the whole gang, without the cut-off first and last."""
    lengths: list[tuple[bool, float]] = []
    for _, lasts, count in rows:
        up = count >= NODES
        if lengths and lengths[-1][0] == up:
            lengths[-1] = (up, lengths[-1][1] + lasts)
        else:
            lengths.append((up, lasts))
    inner = lengths[1:-1]
    return np.array([s for up, s in inner if up]), np.array([s for up, s in inner if not up])


def exponential(rows: list[tuple[float, float, int]], replications: int) -> Floats:
    """Finishes if up and down times were exponential with the trace's own means."""
    ups, downs = spells(rows)
    up_s, down_s = float(ups.mean()), float(downs.mean())
    random = np.random.default_rng(0)
    found = []
    for _ in range(replications):
        up = bool(random.random() < up_s / (up_s + down_s))
        now, left, begun = 0.0, WORK_S, False
        while True:
            if up:
                spell = random.exponential(up_s) - READY_S - (STALL_S if begun else 0.0)
                done = left + math.ceil(left / INTERVAL_S - 1e-9) * STALL_S
                if done <= spell:
                    found.append(now + READY_S + (STALL_S if begun else 0.0) + done)
                    break
                now += spell + READY_S + (STALL_S if begun else 0.0)
                if spell > 0:
                    begun = True
                    left -= math.floor(spell / (INTERVAL_S + STALL_S)) * INTERVAL_S
            else:
                now += random.exponential(down_s)
            up = not up
    return np.array(found)


def gang(zone: str) -> PlannedCandidate:
    """A planned spot gang of 16 nodes with 12 h of work, made from the example's plan."""
    with tempfile.TemporaryDirectory() as room:
        path = Path(room) / "plan.json"
        subprocess.run(
            [
                *(sys.executable, "-m", "isocost", "optimize"),
                *(str(ROOT / "examples" / "cifar10.yaml"), "-o", str(path)),
            ],
            check=True,
            capture_output=True,
        )
        one = Plan.read(path).jobs[0].chosen
    known = Reliability(
        work_s=WORK_S,
        work_sigma=0.0,
        checkpoint_s=STALL_S,
        checkpoint_interval_s=INTERVAL_S,
        spot_hazard=(),
        node_failures_per_h=0.0,
        provisioning=DelayFacts(median_s=READY_S, sigma=0.0),
        stock_out=DelayFacts(median_s=0.0, sigma=0.0),
        billing_granularity_s=1.0,
        billing_minimum_s=60.0,
        interruptions=0.0,
    )
    offer = one.offer.model_copy(update={"provider": "aws", "region": zone, "zones": (zone,)})
    changes = {"nodes": NODES, "purchase": "spot", "offer": offer, "reliability": known}
    return one.model_copy(update=changes)


def read_rows(path: Path) -> dict[str, list[tuple[float, float, int]]]:
    """Rows of the 16-node traces, read without the simulator's reader."""
    found: dict[str, list[tuple[float, float, int]]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if f"-{NODES}-node-" in row["trace_id"]:
                values = (float(row["t_start_s"]), float(row["duration_s"]))
                found.setdefault(row["trace_id"], []).append((*values, int(row["available_nodes"])))
    return found


def figures(finishes: Floats) -> tuple[float, float]:
    return float(finishes.mean()) / 3600, float(np.quantile(finishes, 0.95)) / 3600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replications", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, default=None)
    given = parser.parse_args()
    path = DATA / "spot" / "availability_traces.csv"
    if not path.exists():
        sys.exit(f"{path} is missing; set ISOCOST_DATA to the folder of the data sets")
    rows = read_rows(path)
    one = gang("us-west-2")
    table: list[dict[str, Any]] = []
    start = time.process_time()
    print(
        "12 h of work on 16 spot nodes, started at every hour: finish in h, error to the replay\n"
    )
    print(f"{'trace':<22}{'model':<22}{'mean':>8}{'':>8}{'p95':>9}{'':>8}")

    def show(trace: str, model: str, finishes: Floats, truth: tuple[float, float] | None) -> None:
        mean, p95 = figures(finishes)
        errors = (0.0, 0.0) if truth is None else (mean / truth[0] - 1, p95 / truth[1] - 1)
        words = ["", ""] if truth is None else [f"{error:+.1%}" for error in errors]
        print(f"{trace:<22}{model:<22}{mean:>8.1f}{words[0]:>8}{p95:>9.1f}{words[1]:>8}")
        table.append(
            {"trace": trace, "model": model, "mean_h": mean, "p95_h": p95}
            | {"mean_error": errors[0], "p95_error": errors[1], "futures": len(finishes)}
        )

    replayed, rehearsed, modelled = [], {BLOCK_S: [], SHORTEST_BLOCK_S: []}, []  # type: ignore[var-annotated]
    for trace, part in rows.items():
        name = trace.split("-2023-")[1]
        hours = int((part[-1][0] + part[-1][1]) // 3600)
        truth = np.array([direct_replay(part, 3600.0 * hour) for hour in range(hours)])
        replayed.append(truth)
        show(name, "direct replay", truth, None)
        for block_s in (BLOCK_S, SHORTEST_BLOCK_S):
            market = read_market(path, [trace], block_s)
            found = futures(
                [one],
                replications=given.replications,
                seed=given.seed,
                conditions=Conditions(market=market),
            ).finish_s[:, 0]
            # Traces count in the pool as they do in the replay: by their hours.
            rehearsed[block_s].append(found[: given.replications * hours // 400])
            show("", f"blocks of {block_s / 3600:g} h", found, figures(truth))
        memoryless = exponential(part, given.replications)
        modelled.append(memoryless[: given.replications * hours // 400])
        show("", "exponential", memoryless, figures(truth))
    pooled = np.concatenate(replayed)
    show("all", "direct replay", pooled, None)
    for block_s, parts in rehearsed.items():
        show("", f"blocks of {block_s / 3600:g} h", np.concatenate(parts), figures(pooled))
    show("", "exponential", np.concatenate(modelled), figures(pooled))
    ours = [row for row in table if row["model"] == f"blocks of {BLOCK_S / 3600:g} h"]
    worst = max(max(abs(row["mean_error"]), abs(row["p95_error"])) for row in ours)
    cpu_s = time.process_time() - start
    print(
        f"\nworst error of the rehearsal {worst:.1%} (bar {BAR:.0%}): "
        f"{'within' if worst <= BAR else 'MISSED'}; {cpu_s:.0f} CPU s"
    )
    if given.output is not None:
        result = {"rows": table, "worst": worst, "bar": BAR, "cpu_s": cpu_s}
        given.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
