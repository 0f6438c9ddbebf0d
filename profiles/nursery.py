"""A process that imports TensorFlow once and forks clean workers: ``python -m isocost.profiles.nursery LIFE``.

Importing TensorFlow takes longer than most measurements. Importing starts no session, no device and
no thread pool, so a fork of a process that has only imported is as clean as a new one: its threads,
flags, memory and devices are its own. What forks do share is where libraries lie in memory; a
measuring session therefore takes a new nursery for every round.

The nursery reads one JSON document a line from its standard input and answers each with one:

    {"module": M, "arguments": [...], "environment": {...}, "log": FILE}  ->  {"pid": N}
    {"codes": [N, ...]}                                                   ->  {"codes": [C or null, ...]}

A worker's standard input is the pipe LIFE, which closes when the asking process ends, however it ends.
Its own end of life: standard input closes.
"""

import importlib
import json
import os
import sys
import time
from collections.abc import Mapping
from typing import Any, NoReturn

IMPORT_S = "ISOCOST_IMPORT_S"  # what the imports took, for the worker's own account of its start


def main() -> None:
    life = int(sys.argv[1])
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    start = time.monotonic()
    for module in ("tensorflow", "keras", "isocost.profiles.probe"):
        importlib.import_module(module)
    os.environ[IMPORT_S] = f"{time.monotonic() - start:.3f}"
    ended: dict[int, int] = {}
    for line in iter(sys.stdin.readline, ""):
        asked = json.loads(line)
        if "codes" in asked:
            answer: dict[str, Any] = {"codes": [_code(pid, ended) for pid in asked["codes"]]}
        else:
            pid = os.fork()
            if pid == 0:
                _become(asked, life)
            answer = {"pid": pid}
        print(json.dumps(answer), flush=True)


def _code(pid: int, ended: dict[int, int]) -> int | None:
    """The exit code of a worker as subprocess gives it, minus the signal that ended it; None: runs."""
    if pid not in ended:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            ended[pid] = os.waitstatus_to_exitcode(status)
    return ended.get(pid)


def _become(asked: Mapping[str, Any], life: int) -> NoReturn:
    """Turn this fork into the worker that was asked for."""
    os.setsid()
    log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for target, source in ((0, life), (1, log), (2, log)):
        os.dup2(source, target)
    os.close(life)
    os.close(log)
    os.environ.update(asked["environment"])
    sys.argv = [asked["module"], *asked["arguments"]]
    # The interpreter's orderly end, by which workers wait for each other, and not os._exit.
    sys.exit(importlib.import_module(asked["module"]).main())


if __name__ == "__main__":
    main()
