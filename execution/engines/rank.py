"""One rank on its own host: starts its worker, passes on the wish to end, sees it out."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence

from .base import Launch, rank_environment


def free_address(host: str) -> str:
    """``host:port`` with a port that nobody listens on here now; host is how others reach us."""
    with socket.socket() as one:
        one.bind(("", 0))
        return f"{host}:{one.getsockname()[1]}"


class Rank:
    """A worker process in a session of its own.

    Its standard input is a pipe from here: the worker ends when this process ends, however it ends.
    """

    def __init__(
        self, launch: Launch, rank: int, addresses: Sequence[str], *, prefix: Sequence[str] = ()
    ) -> None:
        """Started at once; prefix: words before its command."""
        with launch.log(rank).open("ab") as output:
            self._process = subprocess.Popen(
                [*prefix, sys.executable, *launch.command],
                env={**os.environ, **rank_environment(launch, addresses, rank)},
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def code(self) -> int | None:
        """The worker's exit code, None while it runs; minus the signal's number where one ended it."""
        return self._process.poll()

    def wait(self) -> int:
        """Its exit code, once it has one."""
        return self._process.wait()

    def terminate(self) -> None:
        """Ask the worker to save and end."""
        self._process.terminate()

    def kill(self) -> None:
        """End the worker with whatever it started, also where it is frozen."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
