"""Worker processes that live and die together, new ones or forks of a nursery."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol, Self

from ..catalog.files import InputError

POLL_S = 0.05
NURSERY_END_S = 5.0


class Member(Protocol):
    """One process of a gang."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...


class Gang:
    """One Python process for each command, in sessions of their own, so that Ctrl-C reaches only us.

    A command is what follows ``python``: ``-m MODULE ARGUMENT...``. The processes' standard input
    is a pipe from here: a worker that calls ``die_with_parent`` ends when this process ends,
    however it ends. Leaving the ``with`` block kills what still runs. nurseries: fork there, one
    for each command, instead of starting Python anew. launch: words before each command, such as
    ``ssh HOST`` or ``ip netns exec HOST``.
    """

    def __init__(
        self,
        commands: Sequence[Sequence[str]],
        environments: Sequence[Mapping[str, str]],
        logs: Sequence[Path],
        *,
        nurseries: "Sequence[Nursery]" = (),
        launch: Sequence[Sequence[str]] | None = None,
    ) -> None:
        self._commands, self._environments, self._logs = commands, environments, logs
        self._nurseries: Sequence[Nursery | None] = nurseries or [None] * len(commands)
        self._launch = launch or [()] * len(commands)
        self._pipes: list[IO[bytes]] = []
        self.processes: list[Member] = []

    def __enter__(self) -> Self:
        for command, environment, log, prefix, nursery in zip(
            self._commands,
            self._environments,
            self._logs,
            self._launch,
            self._nurseries,
            strict=True,
        ):
            log.parent.mkdir(parents=True, exist_ok=True)
            if nursery is not None:
                self.processes.append(nursery.fork(command, environment, log))
                continue
            with log.open("ab") as output:
                started = subprocess.Popen(
                    [*prefix, sys.executable, *command],
                    env={**os.environ, **environment},
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            assert started.stdin is not None
            self._pipes.append(started.stdin)
            self.processes.append(started)
        return self

    def __exit__(self, *raised: object) -> None:
        self.kill()

    def codes(self) -> list[int | None]:
        """Exit code of each process, None while it runs."""
        return [process.poll() for process in self.processes]

    def wait(self, timeout_s: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Wait until all ended, one failed, or until() holds; False where the time is up before."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            codes = self.codes()
            if all(code is not None for code in codes) or any(codes) or until():
                return True
            time.sleep(POLL_S)
        return False

    def terminate(self) -> None:
        """Ask every process to end in its own good order."""
        for process in self.processes:
            if process.poll() is None:
                os.kill(process.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End every process now, with whatever it started."""
        for process in self.processes:
            if process.poll() is None:
                # A frozen process takes no other signal.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        while any(process.poll() is None for process in self.processes):
            time.sleep(POLL_S / 10)
        for pipe in self._pipes:
            pipe.close()


class Nursery:
    """A process that has imported TensorFlow and forks workers from itself; see ``nursery``."""

    def __init__(self, log: Path, launch: Sequence[str] = ()) -> None:
        """launch: words before the command, as for a Gang."""
        self._log, self._launch = log, launch

    def __enter__(self) -> Self:
        life, self._alive = os.pipe()
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [*self._launch, sys.executable, "-m", "isocost.profiles.nursery", str(life)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                pass_fds=(life,),
                start_new_session=True,
                text=True,
            )
        os.close(life)
        return self

    def __exit__(self, *raised: object) -> None:
        os.close(self._alive)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        try:
            self._process.wait(NURSERY_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def fork(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> Member:
        """A worker that runs ``-m MODULE ARGUMENT...``."""
        dash_m, module, *arguments = command
        assert dash_m == "-m"
        asked = {
            "module": module,
            "arguments": arguments,
            "environment": dict(environment),
            "log": str(log),
        }
        return _Fork(self, int(self.ask(asked)["pid"]))

    def ask(self, question: Mapping[str, object]) -> dict[str, Any]:
        """The nursery's answer; InputError where it has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise InputError(f"TensorFlow cannot be imported: {last_words(self._log)}")
        return dict(json.loads(answer))


class _Fork:
    """A worker that a nursery forked."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self.pid = pid
        self._nursery = nursery
        self._code: int | None = None

    def poll(self) -> int | None:
        if self._code is None:
            (self._code,) = self._nursery.ask({"codes": [self.pid]})["codes"]
        return self._code


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


def tf_config(hosts: Sequence[str], rank: int, tasks: Sequence[str] | None = None) -> str:
    """TF_CONFIG of a rank among hosts (each ``address:port``); tasks: each rank's type, or workers.

    An index counts within its type in the order of the ranks, never in that of the hosts' names,
    by which TensorFlow's own resolvers go.

    >>> tf_config(["b:1", "a:1"], 1)
    '{"cluster": {"worker": ["b:1", "a:1"]}, "task": {"type": "worker", "index": 1}}'
    """
    types = ["worker"] * len(hosts) if tasks is None else list(tasks)
    cluster: dict[str, list[str]] = {}
    for host, kind in zip(hosts, types, strict=True):
        cluster.setdefault(kind, []).append(host)
    mine = {"type": types[rank], "index": types[:rank].count(types[rank])}
    return json.dumps({"cluster": cluster, "task": mine})


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
