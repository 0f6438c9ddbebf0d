"""What `profiles/spread.py` takes for granted before a table says otherwise: factors by kind.

Learned by leaving measurements out, as there, from sources that no task of `prediction.py` judges
such predictions on; each source counts as much as another. How steps grow with the batch is much
alike everywhere; how they grow with devices depends on what exchanges: that is asked of those whose
all-reduce is NCCL's, as TensorFlow's is.

    python benchmarks/spreads.py
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys

import numpy as np
from prediction import DATA, rows_of

from isocost.profiles.series import group, shared_keys
from isocost.profiles.spread import Kind, factors, left_out_errors
from isocost.profiles.table import Row, read_table

OVER_BATCHES = ("gavel-osdi20", "nvidia-dle", "llm-foundry", "zeus-nsdi23", "dlperf")
OVER_DEVICES = ("nvidia-dle", "dlperf")


FEWEST = 20  # errors of a kind that make a source count


def _judged(row: Row) -> bool:
    """DLPerf's TensorFlow rows are asked about by a task."""
    return row.cell("source").startswith("dlperf") and "TensorFlow" in row.cell("framework")


def main() -> None:
    path = DATA / "throughput" / "measurements.csv.gz"
    if not path.exists():
        sys.exit(f"{path} is not there; set ISOCOST_DATA to the folder of public data")
    table = read_table(path, measured=True).rows
    found = {}
    for source in OVER_BATCHES:
        rows = [row for row in rows_of(table, source) if not _judged(row)]
        series = group(rows, shared_keys(rows, rows))
        found[source] = left_out_errors([(each.points, each.step_s) for each in series])
    for kinds, sources in (
        ((Kind.BATCH, Kind.BATCH_BEYOND), OVER_BATCHES),
        ((Kind.SCALE, Kind.NODE_BEYOND, Kind.SCALE_BEYOND), OVER_DEVICES),
    ):
        for kind in kinds:
            of_kind = {name: found[name][kind] for name in sources}
            every = {name: np.concatenate(one) for name, one in of_kind.items() if one}
            errors = {name: each for name, each in every.items() if len(each) >= FEWEST}
            share = np.concatenate([np.full(len(each), 1 / len(each)) for each in errors.values()])
            all_ = factors(kind, np.concatenate(list(errors.values())), share)
            print(f"{kind.name:<13} fit {all_.fit:.2f}  reach {all_.reach:.3f}")
            for name, each in errors.items():
                one = factors(kind, each, np.ones(len(each)))
                print(
                    f"  {name:<12} {len(each):4} points  fit {one.fit:.2f}  reach {one.reach:.3f}"
                )


if __name__ == "__main__":
    main()
