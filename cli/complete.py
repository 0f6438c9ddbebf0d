"""What shells complete: names that are known without reading more than a small table.

Each takes the word begun and returns the names it may become. Nothing here may fail or print: a
shell asks while a person types.
"""

import csv
from pathlib import Path

DATA = Path(__file__).parent.parent / "catalog" / "data"
BUILT_IN = ("cifar10_cnn", "resnet50", "transformer")
POLICIES = (
    *("fifo", "fifo-skip", "sjf", "sjf-skip", "srtf", "las", "las-queues", "isocost"),
    *("isolated", "fifo-perf", "max-min-fairness", "max-min-fairness-perf", "finish-time-fairness"),
    *("makespan", "max-throughput", "min-cost", "min-cost-slo", "min-total-duration", "allox"),
    *("shockwave", "tiresias", "optimus", "pollux"),
)


def _begun(names: "list[str] | tuple[str, ...]", incomplete: str) -> list[str]:
    return [name for name in names if name.lower().startswith(incomplete.lower())]


def models(incomplete: str) -> list[str]:
    """Built-in models."""
    return _begun(BUILT_IN, incomplete)


def accelerators(incomplete: str) -> list[str]:
    """Accelerators of the built-in catalog."""
    return _begun(_column("accelerators.csv", "name"), incomplete)


def providers(incomplete: str) -> list[str]:
    """Providers of the built-in offers."""
    return _begun(_column("offers.csv", "provider"), incomplete)


def regions(incomplete: str) -> list[str]:
    """Regions of the built-in offers."""
    return _begun(_column("offers.csv", "region"), incomplete)


def policies(incomplete: str) -> list[str]:
    """Scheduling policies, under the names that the help lists."""
    return _begun(POLICIES, incomplete)


def _column(file: str, name: str) -> list[str]:
    with (DATA / file).open(encoding="utf-8", newline="") as lines:
        return sorted({row[name] for row in csv.DictReader(lines)})
