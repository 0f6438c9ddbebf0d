"""The machines of a cluster over time: requested, ready, lost, missing, bought and given back.

A place in the cluster is filled by one machine after another, each with a life of its own, as in
the rehearsal of a plan (gang.py): ready after its provisioning delay, its pace drawn, lost at the
earliest of a failure, a spot loss and an outage of its zone, requested again when its repair is
done or stock is back. A group with `least` is filled as far as jobs ask, up to its count. The bill
runs from the request until the machine is gone.

Callbacks on the clock that is handed in, two or three a life. Every draw has a place of its own (purpose, group,
node, life), so that two clusters, or two rates, meet the same luck.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import simpy

from .cluster import Cluster, Nodes
from .risks import Failures, SpotMarketFacts, Wait
from .spot import SpotMarket

PURPOSES = (
    *("provisioning", "failure", "failure_rate", "repair", "pace"),
    *("spot", "stock_out", "shock", "hit", "together", "market"),
)
CLUSTER = 2**32 - 1  # in the place of a group's number: chance that all groups share


class Clock(Protocol):
    """Time, with calls at absolute times."""

    @property
    def now(self) -> float: ...

    def call_at(self, at_s: float, call: Callable[[Any], None], value: object) -> None: ...


@dataclass(frozen=True, slots=True)
class Outside:
    """The world beside the cluster file. outages: (zone, from, to) in seconds after the first submission."""

    seed: int = 0
    market: SpotMarket | None = None
    outages: tuple[tuple[str, float, float], ...] = ()


@dataclass(slots=True, eq=False)
class Machine:
    """One place in the cluster. life: machines that it has had before; log_pace: of the present one."""

    number: int
    group: int
    place: int
    accelerator: int
    gpus: int
    life: int = -1
    standing: bool = False
    ready: bool = False
    token: int = 0
    log_pace: float = 0.0
    missing_until_s: float = -math.inf
    idle_since_s: float = math.nan


class Listener(Protocol):
    """Who uses the machines."""

    def machine_came(self, machine: Machine) -> None: ...
    def machine_left(self, machine: Machine) -> None: ...
    def look_again(self) -> None: ...
    def money_is_spent(self) -> None: ...


class Luck:
    """Draws by purpose, group, node and life, whatever was drawn before."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._rows: dict[tuple[int, int, int], list[float]] = {}

    def at(self, purpose: str, how: str, group: int, node: int, life: int) -> float:
        """how: the distribution, as numpy's generator calls it."""
        key = (PURPOSES.index(purpose), group, life)
        row = self._rows.get(key, [])
        if len(row) <= node:
            count = max(8, 2 ** math.ceil(math.log2(node + 1)))
            row = getattr(self.generator(*key), how)(count).tolist()
            self._rows[key] = row
        return row[node]

    def generator(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=key))


@dataclass(slots=True)
class Bill:
    """What the machines that stood have cost, and their GPU-seconds, up to since_s."""

    usd: float = 0.0
    gpu_s: float = 0.0
    lost: int = 0
    usd_per_s: float = 0.0
    gpus: int = 0
    since_s: float = 0.0

    def change(self, now_s: float, usd_per_s: float, gpus: int) -> None:
        passed = now_s - self.since_s
        self.usd += self.usd_per_s * passed
        self.gpu_s += self.gpus * passed
        self.since_s = now_s
        self.usd_per_s += usd_per_s
        self.gpus += gpus


@dataclass(slots=True)
class _Group:
    """machines: by place; standing: in the order of their requests. wanted, allowed: how many may stand."""

    facts: Nodes
    machines: list[Machine]
    wanted: int
    allowed: int
    outages: int = 0
    standing: dict[int, Machine] = field(default_factory=dict)

    @property
    def spot(self) -> bool:
        return self.facts.purchase == "spot"


class Fleet:
    """See the module. Its listener is told of every machine that comes or goes."""

    def __init__(
        self, clock: Clock, cluster: Cluster, outside: Outside, listener: Listener
    ) -> None:
        self._clock, self._cluster, self._outside = clock, cluster, outside
        self._listener = listener
        self._luck = Luck(outside.seed)
        self._spot = cluster.spot or SpotMarketFacts()
        self._failures = cluster.failures or Failures(per_node_h=0.0)
        self._failures_per_s = self._fleet_rate() / 3600
        shocks = self._spot.losses_per_node_h * self._spot.bulk_share / self._spot.bulk_hit
        self._shocks_per_s = shocks / 3600
        alone = self._spot.losses_per_node_h * (1 - self._spot.bulk_share)
        self._alone_per_s = alone / 3600
        self._began_s = 0.0
        self._over = False
        self._spent_token = 0
        self.bill = Bill()
        self.groups: list[_Group] = []
        number = 0
        for index, facts in enumerate(cluster.nodes):
            kind = cluster.accelerators.index(facts.accelerator)
            places = range(facts.count)
            machines = [
                Machine(number + one, index, one, kind, facts.gpus_per_node) for one in places
            ]
            wanted = facts.count if facts.least is None else facts.least
            self.groups.append(_Group(facts, machines, wanted, facts.count))
            number += facts.count

    def _fleet_rate(self) -> float:
        """Failures an hour of a node: lognormal, per_node_h its mean."""
        sigma = self._failures.rate_sigma
        z = self._luck.at("failure_rate", "standard_normal", CLUSTER, 0, 0)
        return self._failures.per_node_h * math.exp(sigma * z - sigma**2 / 2)

    def begin(self) -> None:
        """The first machines stand at once; the rest of the world begins to happen."""
        now = self._began_s = self.bill.since_s = self._clock.now
        for zone, begins_s, ends_s in self._outside.outages:
            named = [group for group in self.groups if group.facts.zone == zone]
            self._clock.call_at(now + begins_s, self._out, (named, True))
            if math.isfinite(ends_s):
                self._clock.call_at(now + ends_s, self._out, (named, False))
        for group in self.groups:
            if group.spot and self._outside.market is not None:
                zone = group.facts.zone
                market = self._outside.market.of_zones("", (zone,))
                random = self._luck.generator(PURPOSES.index("market"), CLUSTER)
                supply = market.supply(group.facts.count, random)
                _, group.allowed = next(supply)
                self._await_supply(group, supply)
            self._fill(group, at_once=True)
        if self._shocks_per_s > 0:
            for zone in dict.fromkeys(one.facts.zone for one in self.groups if one.spot):
                self._await_shock(zone, 0, now)

    def end(self) -> None:
        """Nothing happens from now on; the bill is closed."""
        self._over = True
        self.bill.change(self._clock.now, 0.0, 0)
        if self._cluster.budget_usd is not None:  # to the last bit
            self.bill.usd = min(self.bill.usd, self._cluster.budget_usd)

    def scale(self, waiting: list[int], free: list[int], whole: Callable[[Machine], bool]) -> None:
        """Request machines for GPUs that jobs wait for, by accelerator, and give idle ones back.

        free: GPUs of each accelerator; whole: whether all GPUs of a ready machine are free.
        """
        now = self._clock.now
        for kind, needed in enumerate(waiting):
            scaled = [
                group
                for group in self.groups
                if group.facts.least is not None and group.machines[0].accelerator == kind
            ]
            coming = sum(
                machine.gpus
                for group in self.groups
                for machine in group.standing.values()
                if machine.accelerator == kind and not machine.ready
            )
            short = needed - free[kind] - coming
            for group in scaled:
                if not needed:
                    group.wanted = max(len(group.standing), group.facts.least or 0)
                per_node = group.facts.gpus_per_node
                more = min(math.ceil(short / per_node), group.facts.count - len(group.standing))
                if needed and more > 0:
                    group.wanted = len(group.standing) + more
                    self._fill(group)
                    short -= more * per_node
                for machine in [*group.standing.values()] if not needed else ():
                    self._idle(group, machine, now, whole(machine) if machine.ready else False)

    def _idle(self, group: _Group, machine: Machine, now: float, whole: bool) -> None:
        """Look again after idle_s, or give it back if that is over."""
        if not whole:
            machine.idle_since_s = math.nan
        elif math.isnan(machine.idle_since_s):
            machine.idle_since_s = now
            if self._cluster.idle_s > 0:
                ends_s = now + self._cluster.idle_s
                self._clock.call_at(ends_s, self._look, None)
                return
        least = group.facts.least or 0
        if (
            whole
            and now >= machine.idle_since_s + self._cluster.idle_s
            and len(group.standing) > least
        ):
            group.wanted = len(group.standing) - 1
            self._gone(group, machine, now)

    def _look(self, event: simpy.Event) -> None:
        if not self._over:
            self._listener.look_again()

    def _fill(self, group: _Group, *, at_once: bool = False) -> None:
        if self._over or group.outages:
            return
        now = self._clock.now
        goal = min(group.wanted, group.allowed)
        for machine in group.machines if len(group.standing) < goal else ():
            if len(group.standing) >= goal:
                return
            if not machine.standing and machine.missing_until_s <= now:
                self._request(group, machine, now, at_once)

    def _request(self, group: _Group, machine: Machine, now: float, at_once: bool) -> None:
        machine.standing, machine.life = True, machine.life + 1
        machine.idle_since_s = math.nan
        group.standing[machine.place] = machine
        self._account(now, group, +1)
        delay = 0.0 if at_once else self._wait(self._cluster.provisioning, "provisioning", machine)
        if delay > 0:
            self._clock.call_at(now + delay, self._provisioned, (group, machine, machine.token))
        else:
            self._ready(group, machine, now)

    def _provisioned(self, event: simpy.Event) -> None:
        group, machine, token = event._value
        if machine.token == token and not self._over:
            self._ready(group, machine, self._clock.now)

    def _ready(self, group: _Group, machine: Machine, now: float) -> None:
        machine.ready = True
        sigma = self._cluster.straggling_sigma
        machine.log_pace = sigma * self._draw("pace", "standard_normal", machine) if sigma else 0.0
        lasts, cause = math.inf, ""
        for rate, purpose in (
            (self._failures_per_s, "failure"),
            (self._alone_per_s if group.spot else 0.0, "spot"),
        ):
            if rate > 0:
                until = self._draw(purpose, "standard_exponential", machine) / rate
                if until < lasts:
                    lasts, cause = until, purpose
        if cause:
            self._clock.call_at(now + lasts, self._fails, (group, machine, machine.token, cause))
        self._listener.machine_came(machine)

    def _fails(self, event: simpy.Event) -> None:
        group, machine, token, cause = event._value
        if machine.token != token or self._over:
            return
        if cause == "failure":
            away = self._wait(self._failures.repair, "repair", machine)
        else:
            away = self._wait(self._spot.stock_out, "stock_out", machine)
        self._lost(group, machine, away)

    def _lost(self, group: _Group, machine: Machine, away_s: float) -> None:
        """The machine is gone, and its place can be filled after away_s."""
        now = self._clock.now
        self.bill.lost += 1
        machine.missing_until_s = now + away_s
        self._gone(group, machine, now)
        # Also after no time at all: whoever listens has to see the loss before the next one comes.
        self._clock.call_at(now + away_s, self._refill, group)

    def _refill(self, event: simpy.Event) -> None:
        self._fill(event._value)

    def _gone(self, group: _Group, machine: Machine, now: float) -> None:
        was_ready, machine.ready, machine.standing = machine.ready, False, False
        machine.token += 1
        del group.standing[machine.place]
        self._account(now, group, -1)
        if was_ready:
            self._listener.machine_left(machine)

    def _out(self, event: simpy.Event) -> None:
        groups, begins = event._value
        if self._over:
            return
        for group in groups:
            group.outages += 1 if begins else -1
            for machine in [*group.standing.values()] if begins else ():
                self._lost(group, machine, 0.0)
            self._fill(group)

    def _await_supply(self, group: _Group, supply: Iterator[tuple[float, int]]) -> None:
        at_s, count = next(supply)
        self._clock.call_at(self._began_s + at_s, self._supplied, (group, supply, count))

    def _supplied(self, event: simpy.Event) -> None:
        group, supply, group_allowed = event._value
        if self._over:
            return
        group.allowed = group_allowed
        for machine in [*group.standing.values()][group.allowed :]:
            self._lost(group, machine, 0.0)  # the latest to come
        self._fill(group)
        self._await_supply(group, supply)

    def _await_shock(self, zone: str, number: int, before_s: float) -> None:
        index = next(i for i, one in enumerate(self.groups) if one.facts.zone == zone)
        wait = self._luck.at("shock", "standard_exponential", index, 0, number)
        at_s = before_s + wait / self._shocks_per_s
        self._clock.call_at(at_s, self._shocked, (zone, index, number))

    def _shocked(self, event: simpy.Event) -> None:
        zone, index, number = event._value
        if self._over:
            return
        stock_out = self._spot.stock_out
        z = self._luck.at("together", "standard_normal", index, 0, number)
        away = stock_out.median_s * math.exp(stock_out.sigma * z)
        for place, group in enumerate(self.groups):
            if not group.spot or group.facts.zone != zone:
                continue
            for machine in [*group.standing.values()]:
                hit = self._luck.at("hit", "random", place, machine.place, number)
                if machine.ready and hit < self._spot.bulk_hit:
                    self._lost(group, machine, away)
        self._await_shock(zone, number + 1, self._clock.now)

    def _draw(self, purpose: str, how: str, machine: Machine) -> float:
        return self._luck.at(purpose, how, machine.group, machine.place, machine.life)

    def _wait(self, wait: Wait, purpose: str, machine: Machine) -> float:
        if wait.sigma == 0 or wait.median_s == 0:
            return wait.median_s
        z = self._draw(purpose, "standard_normal", machine)
        return wait.median_s * math.exp(wait.sigma * z)

    def _account(self, now: float, group: _Group, sign: int) -> None:
        gpus = sign * group.facts.gpus_per_node
        self.bill.change(now, gpus * group.facts.usd_per_gpu_h / 3600, gpus)
        budget = self._cluster.budget_usd
        if budget is not None:
            self._spent_token += 1
            if self.bill.usd_per_s > 0:
                lasts = max(budget - self.bill.usd, 0.0) / self.bill.usd_per_s
                self._clock.call_at(now + lasts, self._spent, self._spent_token)

    def _spent(self, event: simpy.Event) -> None:
        if event._value == self._spent_token and not self._over:
            self._listener.money_is_spent()
