"""One job on its gang of machines, as SimPy processes: the core of every simulation.

The environment (the clock), the world (chance) and the listener are handed in; nothing lives in
the module. Work between two interruptions is one event: how many checkpoints it held is
arithmetic (see `progress`), so a job takes a few events per machine and loss.
"""

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, NamedTuple

import simpy

from ..catalog import Billing
from ..optimizer.plan import PlannedCandidate
from .records import Happening
from .spot import Supply
from .world import World

Events = Generator[Any, Any, None]
Tell = Callable[[Happening, int | None], None]

HOPELESS = 100.0  # times the undisturbed time, waits for one loss included
MOST_WAIT_S = 100 * 24 * 3600.0  # and so long on top where the supply of machines is limited
MOST_LOSSES = 2_000  # a job that has lost so many machines is not given another
SMALLEST_INTERVAL_S = 1e-9


class Bill(NamedTuple):
    """One machine's bill."""

    node: int
    from_s: float
    to_s: float
    usd: float


@dataclass(frozen=True, slots=True)
class GangSpec:
    """What a gang is and what it costs, apart from chance."""

    nodes: int
    checkpoint_s: float
    checkpoint_interval_s: float
    price_usd_h: float
    billing: Billing
    storage_usd_s: float
    egress_usd: float
    hopeless_s: float

    @classmethod
    def of(cls, candidate: PlannedCandidate, limited: bool = False) -> "GangSpec":
        """The gang of a planned candidate; storage is kept for as long as the job runs.

        limited: its machines may be missing for long, so that it is given up later.
        """
        known, predicted = candidate.reliability, candidate.predicted
        lines = predicted.cost_lines
        interval = max(known.checkpoint_interval_s, SMALLEST_INTERVAL_S)
        waits = sum(
            delay.median_s * math.exp(delay.sigma**2 / 2)
            for delay in (known.provisioning, known.stock_out)
        )
        undisturbed = stretched_s(known.work_s, interval, known.checkpoint_s) + waits
        return cls(
            nodes=candidate.nodes,
            checkpoint_s=known.checkpoint_s,
            checkpoint_interval_s=interval,
            price_usd_h=candidate.offer.price_usd_h,
            billing=Billing(known.billing_granularity_s, known.billing_minimum_s, "the plan"),
            # Storage, licences and people are all paid by the time that the job takes.
            storage_usd_s=(lines.storage + lines.licence + lines.labour) / predicted.time_s.mean,
            egress_usd=lines.egress,
            hopeless_s=HOPELESS * undisturbed + (MOST_WAIT_S if limited else 0.0),
        )

    def bill(self, node: int, from_s: float, to_s: float) -> Bill:
        usd = self.price_usd_h * self.billing.billed_s(to_s - from_s) / 3600
        return Bill(node, from_s, to_s, usd)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one job ended; where it did not finish, finish_s is when it was given up."""

    finished: bool
    finish_s: float
    work_s: float
    lost_work_s: float
    losses: int
    bills: tuple[Bill, ...]
    storage_usd: float
    egress_usd: float

    @property
    def cost_usd(self) -> float:
        return sum(bill.usd for bill in self.bills) + self.storage_usd + self.egress_usd


def stretched_s(work_s: float, interval_s: float, stall_s: float, pace: float = 1.0) -> float:
    """pace work + ceil(work / interval) stall: the last checkpoint is the result.

    pace: time over average time of a step on these machines.

    >>> stretched_s(100.0, 30.0, 2.0)
    108.0
    """
    return work_s * pace + segments(work_s, interval_s) * stall_s


def segments(work_s: float, interval_s: float) -> int:
    """Checkpoints to write; a remainder that is only rounding is none."""
    return math.ceil(work_s / interval_s - 1e-9)


def progress(
    elapsed_s: float, work_s: float, interval_s: float, stall_s: float, pace: float = 1.0
) -> tuple[float, float]:
    """(work saved, work lost) after elapsed_s of training that had work_s before it.

    k = floor(elapsed / (pace interval + stall)) checkpoints are written, and hold k interval of work.

    >>> progress(70.0, 100.0, 30.0, 2.0)
    (60.0, 6.0)
    """
    whole_s = interval_s * pace + stall_s
    written = min(math.floor(elapsed_s / whole_s), max(segments(work_s, interval_s) - 1, 0))
    saved = written * interval_s
    since = (elapsed_s - written * whole_s) / pace
    return saved, max(min(since, interval_s, work_s - saved), 0.0)


def silent(happening: Happening, node: int | None) -> None:
    """Tell nobody."""


class Gang:
    """The machines of one job and their common work.

    Every place is filled by itself: requested, ready, lost, waiting for stock, requested again.
    The work goes on while all places are filled; a loss throws it back to the last checkpoint,
    and it is read back once the gang is whole again. The survivors wait, are billed, and age.
    Where the world's supply is limited, no more machines stand than it allows: when it falls, the
    latest to come go at once, and places are filled again as it rises.
    """

    def __init__(
        self, env: simpy.Environment, spec: GangSpec, world: World, tell: Tell = silent
    ) -> None:
        self._env, self._spec, self._world, self._tell = env, spec, world, tell
        self._ready = 0
        self._whole = env.event()
        self._training: Any = None
        self._interruptible = False
        self._over = False
        self._lives = [0] * spec.nodes
        self._places: list[Any] = []
        self._allowed: int | None = None  # machines that the supply lets stand; None: any number
        self._more = env.event()
        self._opened_s: dict[int, float] = {}  # in the order of their requests
        self._bills: list[Bill] = []
        self._losses = 0
        self._lost_work_s = 0.0

    def run(self) -> Generator[Any, Any, Outcome]:
        """The job from its request to its target, as a process that returns the outcome."""
        env, spec, start = self._env, self._spec, self._env.now
        work = self._world.work_s()
        supply = self._world.supply()
        if supply is not None:
            self._allowed = 0
            env.process(self._follow(supply))
        self._places = [env.process(self._place(node)) for node in range(spec.nodes)]
        self._training = env.process(self._train(work))
        yield self._training | env.timeout(spec.hopeless_s)
        self._over = True
        finished = bool(self._training.triggered)
        self._tell("finished" if finished else "given_up", None)
        self._tell = silent
        for node in sorted(self._opened_s):
            self._close(node)
        took = env.now - start
        return Outcome(
            finished=finished,
            finish_s=took,
            work_s=work,
            lost_work_s=self._lost_work_s,
            losses=self._losses,
            bills=tuple(self._bills),
            storage_usd=spec.storage_usd_s * took,
            egress_usd=spec.egress_usd,
        )

    def _place(self, node: int) -> Events:
        env, world, life = self._env, self._world, 0
        while not self._over:
            while self._allowed is not None and len(self._opened_s) >= self._allowed:
                yield self._more
            if self._over:
                return
            self._open(node)
            self._lives[node], joined = life, False
            try:
                yield env.timeout(world.provisioning_s(node, life))
                if self._over:
                    return
                self._join(node)
                joined = True
                lasts = world.life_s(node, life, env.now)
                yield env.event() if math.isinf(lasts) else env.timeout(lasts)
            except simpy.Interrupt:
                pass  # the supply has fallen; the loss itself is the same
            if self._over:
                return
            self._lose(node, joined)
            if self._losses >= MOST_LOSSES:
                return
            life += 1
            yield env.timeout(world.stock_out_s(node, life))

    def _follow(self, supply: Supply) -> Events:
        """Keep the machines that stand within the supply."""
        env, began = self._env, self._env.now
        for at_s, machines in supply:
            if began + at_s > env.now:
                yield env.timeout(began + at_s - env.now)
            if self._over:
                return
            rises, self._allowed = machines > (self._allowed or 0), machines
            for node in list(self._opened_s)[machines:]:
                self._places[node].interrupt()
            if rises:
                self._more.succeed()
                self._more = env.event()

    def _train(self, work_s: float) -> Events:
        env, spec, left, begun = self._env, self._spec, work_s, False
        interval, stall = spec.checkpoint_interval_s, spec.checkpoint_s
        while True:
            while self._ready < spec.nodes:
                yield self._whole
            pace = self._world.stretch(self._lives)
            self._interruptible, since = True, math.inf
            try:
                if begun:
                    yield env.timeout(stall)
                self._tell("restored" if begun else "work", None)
                begun, since = True, env.now
                yield env.timeout(stretched_s(left, interval, stall, pace))
                self._interruptible = False
                return
            except simpy.Interrupt:
                elapsed = max(env.now - since, 0.0)
                saved, lost = progress(elapsed, left, interval, stall, pace)
                left -= saved
                self._lost_work_s += lost

    def _join(self, node: int) -> None:
        self._tell("ready", node)
        self._ready += 1
        if self._ready == self._spec.nodes:
            self._whole.succeed()

    def _lose(self, node: int, joined: bool) -> None:
        self._tell("lost", node)
        self._close(node)
        self._losses += 1
        if not joined:
            return
        if self._ready == self._spec.nodes:
            self._whole = self._env.event()
        self._ready -= 1
        if self._interruptible and self._training is not None:
            self._interruptible = False
            self._training.interrupt()

    def _open(self, node: int) -> None:
        self._tell("provision", node)
        self._opened_s[node] = self._env.now

    def _close(self, node: int) -> None:
        self._bills.append(self._spec.bill(node, self._opened_s.pop(node), self._env.now))
