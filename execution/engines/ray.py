"""Actors on a Ray cluster: one a rank, placed by a placement group; each runs the worker program.

The cluster is the one that RAY_ADDRESS names, or one that lives here as long as the gang.
"""

import importlib.util
import json
import logging
import os
import shlex
import signal
import socket
from collections.abc import Sequence
from typing import Any

from ...catalog.files import InputError
from ...profiles.gang import cores
from .base import Launch
from .rank import Rank, free_address

ANSWER_S = 10.0  # for a cluster's first answer
KILL_S = 20.0  # for an actor to end its worker; then the actor itself is ended
OBJECT_STORE_BYTES = 100 * 1024**2  # no data goes through it; Ray's least is 75 MiB


class Ray:
    """Submits to Ray; needs the package ``ray`` here, and isocost on every node."""

    name, here = "ray", True

    def available(self) -> str | None:
        if importlib.util.find_spec("ray") is None:
            return "the package ray is not installed; pip install 'isocost[ray]'"
        address = os.environ.get("RAY_ADDRESS", "")
        host, _, port = address.rpartition(":")
        # Ray itself would ask for minutes.
        if host and port.isdigit() and not answers(host, int(port)):
            return (
                f"nobody answers at RAY_ADDRESS {address} within {ANSWER_S:.0f} s; check it (ray "
                "status), or unset it to start Ray on this machine"
            )
        return None

    def describe(self, launch: Launch) -> str:
        group, command = bundles(launch), shlex.join(["python", *launch.command])
        asked = {
            "address": os.environ.get("RAY_ADDRESS") or "local",
            "placement_group": {"bundles": group, "strategy": strategy(launch)},
            "actors": [
                {"rank": rank, "bundle": bundle_of(launch, rank), "task": task, "runs": command}
                for rank, task in enumerate(launch.tasks)
            ],
            "environment": dict(launch.environment),
        }
        return json.dumps(asked, indent=2)

    def submit(self, launch: Launch) -> "RayPlacement":
        if launch.nodes not in (None, 1) and not os.environ.get("RAY_ADDRESS"):
            raise InputError(
                f"the plan wants {launch.nodes} hosts, and Ray started here has one; set RAY_ADDRESS "
                "to a cluster (ray start --head; ray start --address=... on each host)"
            )
        return RayPlacement(launch)


def answers(host: str, port: int) -> bool:
    """Whether somebody listens there."""
    try:
        with socket.create_connection((host.removeprefix("ray://"), port), timeout=ANSWER_S):
            return True
    except (OSError, OverflowError):
        return False


def bundles(launch: Launch) -> list[dict[str, float]]:
    """What is reserved together on one host: all its ranks, or each rank where hosts are not named."""
    ranks = [launch.ranks_per_node] * (launch.nodes or launch.ranks)
    ranks[-1] -= sum(ranks) - launch.ranks
    kinds = {"CPU": launch.cores, "GPU": launch.devices}
    return [{kind: float(n * count) for kind, n in kinds.items() if n} for count in ranks]


def strategy(launch: Launch) -> str:
    """How Ray lays out the bundles: named hosts are really different ones."""
    return "SPREAD" if launch.nodes is None else "STRICT_SPREAD"


def bundle_of(launch: Launch, rank: int) -> int:
    return rank // launch.ranks_per_node


class RankActor:
    """A rank inside Ray. ``run`` takes until the worker has ended; meanwhile others may be called."""

    def __init__(self, launch: str, rank: int) -> None:
        self._launch, self._rank = Launch.model_validate_json(launch), rank
        self._worker: Rank | None = None

    def address(self) -> str:
        import ray

        return free_address(ray.util.get_node_ip_address())

    def run(self, addresses: Sequence[str]) -> int:
        self._worker = Rank(self._launch, self._rank, addresses)
        return self._worker.wait()

    def terminate(self) -> None:
        if self._worker is not None:
            self._worker.terminate()

    def kill(self) -> None:
        if self._worker is not None:
            self._worker.kill()


class RayPlacement:
    """The gang's actors. Each look takes it a step further: reserved, addressed, running."""

    def __init__(self, launch: Launch) -> None:
        self.logs = [launch.log(rank) for rank in range(launch.ranks)]
        self._launch = launch
        self._actors: list[Any] = []
        self._asked: list[Any] = []  # for their addresses
        self._addresses: tuple[str, ...] = ()
        self._runs: list[Any] = []
        self._codes: list[int | None] = [None] * launch.ranks
        self._fault: str | None = None
        self._ended = False
        self._ray, self._ours = connected(launch)
        try:
            from ray.util import placement_group

            self._group = placement_group(bundles(launch), strategy(launch))
            self._ready = self._group.ready()
        except BaseException:
            self._leave()
            raise

    def hosts(self) -> tuple[str, ...]:
        self._look()
        return tuple(address.rpartition(":")[0] for address in self._addresses)

    def waiting(self) -> str | None:
        self._look()
        if self._runs or self._ended or any(code is not None for code in self._codes):
            return None
        if self._actors:
            return "Ray starts the workers"
        asked, has = bundles(self._launch), self._ray.cluster_resources()
        total = {kind: sum(each.get(kind, 0.0) for each in asked) for kind in asked[0]}
        wanted = ", ".join(f"{amount:g} {kind}" for kind, amount in total.items())
        there = ", ".join(f"{has.get(kind, 0.0):g} {kind}" for kind in total)
        return f"Ray is asked for {wanted} by {strategy(self._launch)}; the cluster has {there}"

    def codes(self) -> list[int | None]:
        self._look()
        return list(self._codes)

    def fault(self) -> str | None:
        self._look()
        return None if self._ended else self._fault

    def terminate(self) -> None:
        self._look()
        if not self._runs:
            self.kill()  # no worker has anything to save yet
        for actor in self._actors:
            actor.terminate.remote()

    def kill(self) -> None:
        if self._ended:
            return
        self._ended = True
        try:
            ends = [actor.kill.remote() for actor in self._actors]
            if ends:
                self._ray.wait(ends, num_returns=len(ends), timeout=KILL_S)
            for actor in self._actors:
                self._ray.kill(actor)  # its worker, if it still runs, ends with it
            self._ray.util.remove_placement_group(self._group)
        finally:
            self._codes = [-signal.SIGKILL if code is None else code for code in self._codes]
            self._leave()

    def _look(self) -> None:
        if self._ended:
            return
        if not self._actors:
            if not self._there([self._ready]):
                return
            self._actors = [self._actor(rank) for rank in range(self._launch.ranks)]
            self._asked = [actor.address.remote() for actor in self._actors]
        elif not self._runs:
            if not self._there(self._asked):
                return
            found = [self._result(rank, asked) for rank, asked in enumerate(self._asked)]
            if self._fault is None:
                self._addresses = tuple(str(address) for address in found)
                self._runs = [actor.run.remote(self._addresses) for actor in self._actors]
        else:
            for rank, run in enumerate(self._runs):
                if self._codes[rank] is None and self._there([run]):
                    self._codes[rank] = self._result(rank, run)

    def _there(self, asked: Sequence[Any]) -> bool:
        return len(self._ray.wait(asked, num_returns=len(asked), timeout=0)[0]) == len(asked)

    def _result(self, rank: int, asked: Any) -> Any:
        try:
            return self._ray.get(asked)
        except self._ray.exceptions.RayError as error:
            words = str(error).strip().splitlines() or [type(error).__name__]
            self._fault = self._fault or f"Ray lost worker {rank} ({words[0]})"
            self._codes[rank] = -signal.SIGKILL
            return -signal.SIGKILL

    def _actor(self, rank: int) -> Any:
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        place = PlacementGroupSchedulingStrategy(
            self._group, placement_group_bundle_index=bundle_of(self._launch, rank)
        )
        kind = self._ray.remote(RankActor).options(
            num_cpus=self._launch.cores,
            num_gpus=self._launch.devices,
            scheduling_strategy=place,
            max_concurrency=3,
        )
        return kind.remote(self._launch.to_json(), rank)

    def _leave(self) -> None:
        if self._ours:
            self._ray.shutdown()


def connected(launch: Launch) -> tuple[Any, bool]:
    """The package ``ray`` joined to its cluster, and whether that is ours to leave again."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    if ray.is_initialized():
        return ray, False
    address = os.environ.get("RAY_ADDRESS") or "local"
    ours = {
        # As the local engine does, more workers than processors may share this machine.
        "num_cpus": max(cores(), launch.ranks * launch.cores),
        "object_store_memory": OBJECT_STORE_BYTES,
        "include_dashboard": False,
    }
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(
            address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            **(ours if address == "local" else {}),
        )
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        words = " ".join(str(error).split())[:200]
        raise InputError(
            f"Ray at {address} does not answer ({words}); check RAY_ADDRESS, or unset it to start "
            "Ray on this machine"
        ) from None
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)  # Ray takes SIGTERM for itself
    return ray, True
