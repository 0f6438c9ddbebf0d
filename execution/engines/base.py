"""What every engine is given and gives back: one gang of workers to place, watch and stop."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol

from pydantic import Field

from ...catalog.files import Document
from ...profiles.gang import tf_config


class EngineFailed(Exception):
    """The engine did not do what it was asked to; the message is the sentence to show."""

    exit_code = 4


class Launch(Document):
    """One gang of workers, whatever places it.

    name: of the job, for people. command: what follows ``python``. tasks: TF_CONFIG's type of each
    rank, rank 0 first, such as worker, worker or chief, worker, ps. folder: the run's, under the
    same path on every host (a shared file system). cores: processors of each rank. devices: GPUs
    of each rank. nodes: hosts, filled rank after rank; None leaves that to the engine.
    environment: beside TF_CONFIG. time_limit_s: after which the engine may end the gang by itself.
    orphaned_s: without a sign from whoever submitted it, the gang saves and ends; only for engines
    whose workers would not notice otherwise.
    """

    schema_id: Literal["isocost/launch/v1"] = Field(alias="schema", default="isocost/launch/v1")
    name: str
    command: tuple[str, ...]
    tasks: tuple[str, ...] = Field(min_length=1)
    folder: Path
    cores: int = Field(ge=1)
    devices: int = Field(default=0, ge=0)
    nodes: int | None = Field(default=None, ge=1)
    environment: Mapping[str, str] = {}
    time_limit_s: float | None = Field(default=None, gt=0)
    orphaned_s: float = Field(default=300.0, gt=0)

    @property
    def ranks(self) -> int:
        return len(self.tasks)

    @property
    def ranks_per_node(self) -> int:
        """On the fullest host."""
        return -(-self.ranks // (self.nodes or self.ranks))

    @property
    def slug(self) -> str:
        """The name as every scheduler takes it.

        >>> Launch(name="My job_2", command=(), tasks=("worker",), folder=Path(), cores=1).slug
        'my-job-2'
        """
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")[:40] or "isocost"

    def log(self, rank: int) -> Path:
        return self.folder / f"worker-{rank}.log"


class Placement(Protocol):
    """A gang that was submitted: watch it, and stop it."""

    @property
    def logs(self) -> Sequence[Path]:
        """What each rank prints."""

    def hosts(self) -> tuple[str, ...]:
        """Where each rank runs; empty until all are placed."""

    def waiting(self) -> str | None:
        """Why the workers have not started yet; None once they have."""

    def codes(self) -> list[int | None]:
        """Exit code of each rank, None while it runs or waits."""

    def fault(self) -> str | None:
        """What the engine itself knows of a bad end: a lost host, a preemption, a time limit."""

    def terminate(self) -> None:
        """Ask every worker to save and end (SIGTERM); returns at once."""

    def kill(self) -> None:
        """End everything now: nothing of the gang runs when this returns. May be called again."""


class Engine(Protocol):
    """Where gangs can run. here: takes the plan's candidate for this machine, not the chosen offer."""

    @property
    def name(self) -> str: ...

    @property
    def here(self) -> bool: ...

    def available(self) -> str | None:
        """What this machine lacks to use the engine, and the remedy, in a sentence; else None."""

    def describe(self, launch: Launch) -> str:
        """Exactly what ``submit`` would hand over; needs nothing of what ``available`` asks for."""

    def submit(self, launch: Launch) -> Placement:
        """Place the gang. InputError for what can never run, EngineFailed where the engine fails."""


@contextmanager
def placed(engine: Engine, launch: Launch) -> Iterator[Placement]:
    """The gang of a ``with`` block: nothing of it runs afterwards."""
    placement = engine.submit(launch)
    try:
        yield placement
    finally:
        placement.kill()


def rank_environment(launch: Launch, addresses: Sequence[str], rank: int) -> dict[str, str]:
    """What a rank's process needs beside what its host gives it."""
    hosts = dict.fromkeys(address.rpartition(":")[0] for address in addresses)
    direct = ",".join(dict.fromkeys([*hosts, "127.0.0.1", "localhost"]))
    return {
        **launch.environment,
        "TF_CONFIG": tf_config(addresses, rank, launch.tasks),
        "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2"),
        # Workers talk to each other, never through a proxy.
        "no_proxy": direct,
    }
