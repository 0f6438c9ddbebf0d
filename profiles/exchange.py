"""All-reduce on its own: between processes on this machine, or between hosts.

``python -m isocost.profiles.exchange ORDER`` is one worker; ORDER is a base64 JSON document, so that it
comes whole through ``ssh`` and its shell. The chief prints what it measured as its last line.
"""

import base64
import json
import math
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field
from scipy.optimize import nnls

from ..catalog.files import Document, InputError, Record
from .gang import Gang, free_ports, last_words, tf_config
from .links import ring_bytes
from .worker import die_with_parent, end_if_stuck, rank

SIZES = (4e3, 64e3, 1e6, 4e6, 16e6, 64e6)
TIMES = 15
STUCK_S = 120.0
PORT = 51713


class Point(Record):
    """One message size: median seconds and the quartiles of TIMES exchanges."""

    message_bytes: float
    seconds: float
    quartiles: tuple[float, float]


class Exchange(Document):
    """All-reduce times between workers, and the line through them.

    T(S) = latency_s + 2 (n - 1)/n S / bandwidth_bytes_s, fitted on relative error.
    """

    schema_id: Literal["isocost/exchange/v1"] = Field(alias="schema", default="isocost/exchange/v1")
    workers: int
    hosts: tuple[str, ...]
    points: tuple[Point, ...] = Field(min_length=1)
    latency_s: float
    bandwidth_bytes_s: float


def fit(points: Sequence[Point], workers: int) -> tuple[float, float]:
    """Latency in seconds and bandwidth in bytes/s, both not negative, least squares on relative error."""
    seconds = np.array([point.seconds for point in points])
    moved = np.array([ring_bytes(workers, point.message_bytes) for point in points])
    (latency, per_byte), _ = nnls(
        np.column_stack([1 / seconds, moved / seconds]), np.ones(len(points))
    )
    return float(latency), math.inf if per_byte == 0 else 1 / float(per_byte)


def measure_exchange(
    hosts: Mapping[str, str],
    *,
    launch: str | None = None,
    sizes: Sequence[float] = SIZES,
    progress: Callable[[float], None] = lambda _: None,
) -> Exchange:
    """Time all-reduce between one worker on each host.

    hosts: name to address; several may have the loopback address. launch: how to start a program on
    a host, with {host} for its name, such as "ssh {host}"; None on this machine. isocost must be
    installed at the same path everywhere. progress: seconds so far. Raises InputError.
    """
    if len(hosts) < 2:
        raise InputError(f"{len(hosts)} host given; an exchange takes two at least")
    local = free_ports(len(hosts))
    addresses = [
        f"{address}:{port if address.startswith('127.') else PORT + number}"
        for number, (address, port) in enumerate(zip(hosts.values(), local, strict=True))
    ]
    prefixes = [shlex.split((launch or "").replace("{host}", name)) for name in hosts]
    with tempfile.TemporaryDirectory(prefix="isocost-exchange-") as name:
        logs = [Path(name) / f"{number}.log" for number in range(len(hosts))]
        orders = [
            {"hosts": addresses, "rank": number, "sizes": list(sizes)}
            for number in range(len(hosts))
        ]
        commands = [["-m", "isocost.profiles.exchange", _encoded(order)] for order in orders]
        start = time.monotonic()
        with Gang(commands, [{}] * len(hosts), logs, launch=prefixes) as gang:

            def over() -> bool:
                progress(time.monotonic() - start)
                return False

            ended = gang.wait(2 * STUCK_S, over)
            codes = gang.codes()
        if not ended or any(codes):
            failed = next((n for n, code in enumerate(codes) if code not in (0, None)), 0)
            raise InputError(
                f"the exchange between {', '.join(hosts)} failed on {list(hosts)[failed]}: "
                f"{last_words(logs[failed])}"
            )
        lines = logs[0].read_text(encoding="utf-8", errors="replace").splitlines()
    found = [Point.model_validate(one) for one in json.loads(lines[-1])]
    latency, bandwidth = fit(found, len(hosts))
    return Exchange(
        workers=len(hosts),
        hosts=tuple(hosts),
        points=tuple(found),
        latency_s=latency,
        bandwidth_bytes_s=bandwidth,
    )


def main() -> int:
    order = json.loads(base64.urlsafe_b64decode(sys.argv[1]))
    die_with_parent()
    end_if_stuck(STUCK_S)
    os.environ["TF_CONFIG"] = tf_config(order["hosts"], order["rank"])
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["no_proxy"] = ",".join(host.rsplit(":", 1)[0] for host in order["hosts"])
    from .records import Knobs
    from .training import make_strategy, timed_all_reduce, use_threads

    use_threads(1)
    strategy = make_strategy(Knobs(strategy="multi_worker_mirrored"), len(order["hosts"]))
    points = []
    for size in order["sizes"]:
        once = timed_all_reduce(strategy, size)
        once()
        times = [once() for _ in range(TIMES)]
        end_if_stuck(STUCK_S)
        low, middle, high = (float(q) for q in np.quantile(times, (0.25, 0.5, 0.75)))
        points.append({"message_bytes": size, "seconds": middle, "quartiles": (low, high)})
    if rank() == 0:
        print(json.dumps(points), flush=True)
    return 0


def _encoded(order: Mapping[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(order).encode()).decode()


if __name__ == "__main__":
    sys.exit(main())
