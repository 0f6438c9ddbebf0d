"""A worker where an engine of its own kind places it: ``python -m isocost.execution.pod``.

Takes the contract from ISOCOST_WORK, finds the rank and the hosts, makes TF_CONFIG and starts the
worker; ends it when it hangs, when the deadline comes, or when it is asked to. Its exit code is
meant for schedulers, which restart what may succeed the next time:

0 done   2 refused: no restart mends it   4 out of time   143 anything else, start all again
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from ..catalog.files import InputError, write_whole
from ..profiles.worker import EXIT_REFUSED
from .engines.base import Launch, rank_environment
from .manifests.forms import REFUSED, STOPPED
from .manifests.order import GRACE_S, HOSTS, PORT, WORK, Contract
from .telemetry import BEFORE_STEPS, read_sign
from .worker import WorkSpec

AGAIN = 143
POLL_S = 0.5
# Patient: signs of life come through a network file system, which may hold them back for a minute.
STARTUP_TIMEOUT_S = 900.0
HANG_TIMEOUT_S = 240.0
RESULT_WAIT_S = 120.0  # for the chief's word after one's own worker has ended
RESULT_LINE = "isocost-result "


def main() -> int:
    try:
        contract = contract_of(os.environ)
        rank, addresses = place(os.environ, contract.workers)
        return Pod(contract, rank, addresses).run()
    except InputError as error:
        print(f"isocost: {error}", file=sys.stderr)
        return REFUSED


def contract_of(environment: Mapping[str, str]) -> Contract:
    """What this worker is to do; InputError where it is not told."""
    if WORK not in environment:
        raise InputError(f"{WORK} is not set; start workers by a manifest of isocost run --dry-run")
    try:
        content = json.loads(environment[WORK])
    except ValueError as error:
        raise InputError(f"{WORK} is no JSON: {error}") from None
    return Contract.model_validate(content)


def place(environment: Mapping[str, str], workers: int) -> tuple[int, tuple[str, ...]]:
    """This worker's rank and the address of every rank.

    Kubernetes: ISOCOST_HOSTS and the index of the pod in its Job. SkyPilot: the list of nodes.
    PAI-DLC: its own TF_CONFIG, of which hosts and index are taken. InputError where none is there,
    or where the hosts are not as many as the workers.

    >>> place({"ISOCOST_HOSTS": "a:1,b:1", "JOB_COMPLETION_INDEX": "1"}, 2)
    (1, ('a:1', 'b:1'))
    >>> place({"SKYPILOT_NODE_IPS": "10.0.0.1\\n10.0.0.2", "SKYPILOT_NODE_RANK": "0"}, 2)
    (0, ('10.0.0.1:2222', '10.0.0.2:2222'))
    """
    if HOSTS in environment:
        addresses = [part.strip() for part in environment[HOSTS].split(",")]
        given = environment.get("JOB_COMPLETION_INDEX", "")
    elif "SKYPILOT_NODE_IPS" in environment:
        addresses = [f"{host}:{PORT}" for host in environment["SKYPILOT_NODE_IPS"].split()]
        given = environment.get("SKYPILOT_NODE_RANK", "")
    elif "TF_CONFIG" in environment:
        config = json.loads(environment["TF_CONFIG"])
        addresses = list(config.get("cluster", {}).get("worker", ()))
        given = str(config.get("task", {}).get("index", ""))
    else:
        raise InputError(
            f"neither {HOSTS} nor SKYPILOT_NODE_IPS nor TF_CONFIG says who the other workers are"
        )
    if len(addresses) != workers:
        raise InputError(f"{len(addresses)} hosts are named for {workers} workers")
    if not given.isdigit() or int(given) >= workers:
        raise InputError(f"the rank '{given}' is none of 0 to {workers - 1}")
    return int(given), tuple(addresses)


class Pod:
    """One worker of the gang, from its start to its end."""

    def __init__(self, contract: Contract, rank: int, addresses: tuple[str, ...]) -> None:
        self._contract, self._rank = contract, rank
        folder = Path(str(contract.spec["folder"]))
        folder.mkdir(parents=True, exist_ok=True)
        self._began = _began(folder / "began")
        self._spec = WorkSpec.parse(
            contract.spec | {"began": self._began, "started": time.time()}, WORK
        )
        self._own = Path(tempfile.mkdtemp(prefix="isocost-"))
        self._spec.write(self._own / "spec.json")
        self._launch = Launch(
            name=folder.name,
            command=(
                "-m",
                "isocost.execution.worker",
                str(self._own / "spec.json"),
                str(self._result(rank)),
            ),
            tasks=contract.tasks or ("worker",) * contract.workers,
            folder=folder,
            cores=self._spec.cores,
        )
        self._addresses = addresses
        self._asked = self._overdue = False

    def run(self) -> int:
        """Start the worker, see it out, and say what its end means."""
        self._result(self._rank).unlink(missing_ok=True)
        self._spec.life_sign(self._rank).unlink(missing_ok=True)
        started = time.time()
        self._worker = subprocess.Popen(
            [sys.executable, *self._launch.command],
            env={**os.environ, **rank_environment(self._launch, self._addresses, self._rank)},
            stdin=subprocess.PIPE,  # held open: the worker ends when this process ends
            start_new_session=True,
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)
        why = self._watch(started)
        if why is not None:
            print(f"isocost: worker {self._rank}: {why}", file=sys.stderr)
            self._kill()
        code = self._worker.wait()
        return self._meaning(code, why, started)

    def _watch(self, started: float) -> str | None:
        """Wait for the worker's end: None when it came by itself, else why it has to be ended."""
        grace_s = min(GRACE_S, self._contract.deadline_s / 4)
        ends = self._began + self._contract.deadline_s - grace_s
        asked_at: float | None = None
        while self._worker.poll() is None:
            now = time.time()
            self._overdue = self._overdue or now > ends
            if self._asked or self._overdue:
                if asked_at is None:
                    asked_at = now
                    self._worker.send_signal(signal.SIGTERM)
                elif now - asked_at > 0.9 * grace_s:
                    return "did not end when asked to"
            sign, last = read_sign(self._spec.life_sign(self._rank))
            silent_s = now - max(started, last or started)
            if silent_s > (HANG_TIMEOUT_S if last else STARTUP_TIMEOUT_S):
                return f"gave no sign of life for {silent_s:.0f} s"
            if (
                sign is not None
                and sign.stage in BEFORE_STEPS
                and now - started > STARTUP_TIMEOUT_S
            ):
                return f"took no step within {now - started:.0f} s, {sign.stage} to the last"
            time.sleep(POLL_S)
        return None

    def _meaning(self, code: int, why: str | None, started: float) -> int:
        if self._overdue:
            print(
                f"isocost: the deadline of {self._contract.deadline_s} s has come", file=sys.stderr
            )
            return STOPPED
        if code == EXIT_REFUSED:
            print(f"isocost: {_refusal(self._result(self._rank))}", file=sys.stderr)
            return REFUSED
        if code != 0 or why is not None or self._asked:
            return AGAIN
        # All stop together when one of them is asked to: only the chief knows whether that is the end.
        result = self._chiefs_word(started)
        if result is None or result.get("status") == "interrupted":
            return AGAIN
        if self._rank == 0:
            print(RESULT_LINE + json.dumps(result), flush=True)
        return 0

    def _chiefs_word(self, started: float) -> dict[str, object] | None:
        path, until = self._result(0), time.time() + RESULT_WAIT_S
        while time.time() < until:
            with contextlib.suppress(OSError, ValueError):
                if path.stat().st_mtime >= started - 1:
                    return dict(json.loads(path.read_text(encoding="utf-8")))
            time.sleep(POLL_S)
        return None

    def _result(self, rank: int) -> Path:
        return Path(str(self._contract.spec["folder"])) / f"result-{rank}.json"

    def _ask(self, number: int, frame: object) -> None:
        self._asked = True

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._worker.pid, signal.SIGKILL)


def _began(path: Path) -> float:
    """When the run first began, for every worker and every start of it the same."""
    if not path.exists():
        write_whole(path, str(time.time()))
    return float(path.read_text(encoding="utf-8"))


def _refusal(result: Path) -> str:
    try:
        return str(json.loads(result.read_text(encoding="utf-8")).get("refused", "refused"))
    except (OSError, ValueError):
        return "the worker refused its task"


if __name__ == "__main__":
    sys.exit(main())
