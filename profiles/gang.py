"""Worker processes on this machine that live and die together."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from ..catalog.files import InputError

POLL_S = 0.05


class Gang:
    """One Python process for each command, in sessions of their own, so that Ctrl-C reaches only us.

    The processes' standard input is a pipe from here: a worker that calls ``die_with_parent`` ends
    when this process ends, however it ends. Leaving the ``with`` block kills what still runs.
    """

    def __init__(
        self,
        commands: Sequence[Sequence[str]],
        environments: Sequence[Mapping[str, str]],
        logs: Sequence[Path],
    ) -> None:
        self._commands, self._environments, self._logs = commands, environments, logs
        self.processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        for command, environment, log in zip(
            self._commands, self._environments, self._logs, strict=True
        ):
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("ab") as output:
                self.processes.append(
                    subprocess.Popen(
                        [sys.executable, *command],
                        env={**os.environ, **environment},
                        stdin=subprocess.PIPE,
                        stdout=output,
                        stderr=output,
                        start_new_session=True,
                    )
                )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def codes(self) -> list[int | None]:
        """Exit code of each process, None while it runs."""
        return [process.poll() for process in self.processes]

    def wait(self, timeout_s: float) -> bool:
        """Wait until all ended or one failed; False where the time is up before."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            codes = self.codes()
            if all(code is not None for code in codes) or any(codes):
                return True
            time.sleep(POLL_S)
        return False

    def terminate(self) -> None:
        """Ask every process to end in its own good order."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End every process now, with whatever it started."""
        for process in self.processes:
            if process.poll() is None:
                # A frozen process takes no other signal.
                try:
                    os.killpg(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    process.kill()
        for process in self.processes:
            process.wait()
            if process.stdin is not None:
                process.stdin.close()


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


def tf_config(hosts: Sequence[str], rank: int) -> str:
    """TF_CONFIG of worker ``rank`` among hosts (each ``address:port``).

    >>> tf_config(["a:1", "b:1"], 1)
    '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}'
    """
    return json.dumps(
        {"cluster": {"worker": list(hosts)}, "task": {"type": "worker", "index": rank}}
    )


def local_environments(workers: int) -> list[dict[str, str]]:
    """What each of so many workers on this machine needs to find the others."""
    hosts = [f"127.0.0.1:{port}" for port in free_ports(workers)]
    return [
        {
            "TF_CONFIG": tf_config(hosts, rank),
            "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2"),
            # The other workers are on this machine: a proxy has no part in it.
            "no_proxy": "127.0.0.1,localhost",
        }
        for rank in range(workers)
    ]


def cores() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def last_words(log: Path, lines: int = 3) -> str:
    """The end of a worker's log, for an error's sentence."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "it left no log"
    kept = [line.strip() for line in text.splitlines() if line.strip()][-lines:]
    return " | ".join(kept)[-400:] or "its log is empty"


def refused(result: Path) -> None:
    """Raise the InputError that a worker wrote before it ended, if it wrote one."""
    try:
        content = json.loads(result.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if isinstance(content, dict) and "refused" in content:
        raise InputError(str(content["refused"]))
