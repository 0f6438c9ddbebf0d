"""What a cluster file may say beside its nodes: how machines fail, come back, differ and are paid.

All of it is off by default, and a replay is then exact. Its draws come from the seed (fleet.py).
"""

from typing import Literal

from pydantic import Field, model_validator

from ..catalog.files import Record, Seconds
from .spot import BLOCK_S, SHORTEST_BLOCK_S

Purchase = Literal["on_demand", "reserved", "owned", "spot"]
IDLE_S = 600.0  # Kubernetes' cluster autoscaler gives a node back after 10 idle minutes


class Wait(Record):
    """A lognormal delay: median exp(sigma z)."""

    median_s: Seconds = Field(default=0.0, ge=0)
    sigma: float = Field(default=0.0, ge=0, le=5)


class Failures(Record):
    """Nodes that break.

    per_node_h: failures an hour of one node, the mean of what the fleet's own rate may be; rate_sigma: the
    log-sd of that rate, drawn once (0.51: three fleets, see docs/simulation.md). repair: from the failure
    until the node, or another in its place, can be requested.
    """

    per_node_h: float = Field(ge=0, le=100)
    rate_sigma: float = Field(default=0.0, ge=0, le=5)
    repair: Wait = Wait()


class SpotMarketFacts(Record):
    """Losses of nodes whose purchase is spot: a trace of what was available, or rates.

    trace: CSV with trace_id, t_start_s, duration_s, available_nodes (relative to the cluster file): each zone
    reads the trace that names it, all zones the same hours, in blocks of block_s; it holds losses and stock-out.
    Without it losses_per_node_h, of which bulk_share in shocks of a zone that take each node with the
    chance bulk_hit; stock_out: from a loss until another can be requested, the same for one shock.
    """

    trace: str | None = None
    block_s: Seconds = Field(default=BLOCK_S, ge=SHORTEST_BLOCK_S)
    losses_per_node_h: float = Field(default=0.0, ge=0, le=100)
    bulk_share: float = Field(default=0.0, ge=0, le=1)
    bulk_hit: float = Field(default=1.0, gt=0, le=1)
    stock_out: Wait = Wait()

    @model_validator(mode="after")
    def _one_of_both(self) -> "SpotMarketFacts":
        if self.trace is not None and (self.losses_per_node_h or self.stock_out.median_s):
            raise ValueError(
                "a trace holds losses and stock-out already; leave out losses_per_node_h and "
                "stock_out, or the trace"
            )
        return self


class Checkpoints(Record):
    """A job keeps what it has done by its last checkpoint; without them a loss costs all since its start.

    every_s: run time between two; stall_s: how long one holds up the job.
    """

    every_s: Seconds = Field(gt=0)
    stall_s: Seconds = Field(default=0.0, ge=0)
