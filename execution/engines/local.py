"""Processes on this machine, or on hosts that words before a command reach."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ...profiles.gang import Gang, Nursery, free_ports
from .base import Launch, rank_environment

LOOPBACK = "127.0.0.1"


class Local:
    """The default engine: it needs no service.

    prefixes: words before each rank's command, such as ``ip netns exec h1``. hosts: the address of
    each rank; all on loopback where none are given. nurseries: one for each rank, to fork it there.
    """

    name, here = "local", True

    def __init__(
        self,
        prefixes: Sequence[Sequence[str]] = (),
        hosts: Sequence[str] = (),
        nurseries: Sequence[Nursery] = (),
    ) -> None:
        self._prefixes, self._hosts, self._nurseries = prefixes, hosts, nurseries

    def available(self) -> str | None:
        return None

    def describe(self, launch: Launch) -> str:
        lines = []
        for rank, environment in enumerate(self._environments(launch, ["PORT"] * launch.ranks)):
            prefix = self._prefixes[rank] if self._prefixes else ()
            given = [f"{name}={value}" for name, value in environment.items()]
            lines.append(shlex.join([*prefix, "env", *given, sys.executable, *launch.command]))
        return "\n".join(lines)

    def submit(self, launch: Launch) -> "LocalPlacement":
        environments = self._environments(launch, free_ports(launch.ranks))
        logs = [launch.log(rank) for rank in range(launch.ranks)]
        gang = Gang(
            [launch.command] * launch.ranks,
            environments,
            logs,
            nurseries=self._nurseries[: launch.ranks],
            launch=self._prefixes or None,
        )
        return LocalPlacement(gang, tuple(self._hosts or [LOOPBACK] * launch.ranks), logs)

    def _environments(self, launch: Launch, ports: Sequence[object]) -> list[dict[str, str]]:
        hosts = self._hosts or [LOOPBACK] * launch.ranks
        addresses = [f"{host}:{port}" for host, port in zip(hosts, ports, strict=True)]
        return [rank_environment(launch, addresses, rank) for rank in range(launch.ranks)]


class LocalPlacement:
    """A gang of processes; ``gang`` has them one by one."""

    def __init__(self, gang: Gang, hosts: tuple[str, ...], logs: Sequence[Path]) -> None:
        self.gang, self.logs, self._hosts = gang, logs, hosts
        try:
            gang.__enter__()
        except BaseException:
            gang.kill()  # what had started before one could not
            raise

    def hosts(self) -> tuple[str, ...]:
        return self._hosts

    def waiting(self) -> str | None:
        return None

    def codes(self) -> list[int | None]:
        return self.gang.codes()

    def fault(self) -> str | None:
        return None

    def terminate(self) -> None:
        self.gang.terminate()

    def kill(self) -> None:
        self.gang.kill()
