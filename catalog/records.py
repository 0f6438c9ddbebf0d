"""What can be rented, and the facts that price it: frozen records, units in the names."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum


class Purchase(StrEnum):
    """How an offer is paid for."""

    ON_DEMAND = "on_demand"
    SPOT = "spot"
    OWNED = "owned"
    RESERVED_1Y = "reserved_1y"
    RESERVED_3Y = "reserved_3y"


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One device's data sheet; dense rates, None where no source was read.

    A host's processors count as one device named "CPU", as TensorFlow counts them; what they
    reach depends on their number, so the rates of "CPU" are None.
    """

    name: str
    vendor: str
    kind: str  # cpu, gpu, tpu, neuron, hpu
    memory_gib: float | None
    bandwidth_gb_s: float | None  # device memory
    fp32_tflops: float | None
    bf16_tflops: float | None
    fp16_tflops: float | None
    link_gb_s: float | None  # to its neighbours in the node, both directions together
    tdp_w: float | None
    source: str
    as_of: str


@dataclass(frozen=True, slots=True)
class Offer:
    """One thing one can rent: a node of one instance type in one region.

    accelerator_count: devices in one node; 1 for CPU types (see Accelerator).
    network_gbps: sustained, between nodes; None where the provider does not say.
    prices_usd_h: of one node, by purchase; only what is really offered.
    nodes_owned: how many there are of a machine one owns; None where they are rented.
    """

    provider: str
    region: str
    zones: tuple[str, ...]
    instance_type: str
    accelerator: str
    accelerator_count: int
    vcpus: float
    memory_gib: float
    network_gbps: float | None
    interconnect: str | None
    prices_usd_h: Mapping[Purchase, float]
    price_date: date
    source: str
    nodes_owned: int | None = None
    spot_date: date | None = None  # of the spot price, where it has a day of its own
    reserved_basis: str | None = None  # list, or usual_discount of the provider


@dataclass(frozen=True, slots=True)
class Billing:
    """A use of t seconds is billed as max(minimum_s, ceil(t / granularity_s) granularity_s)."""

    granularity_s: float
    minimum_s: float
    source: str

    def billed_s(self, used_s: float) -> float:
        """Seconds on the bill for used_s seconds of use.

        >>> Billing(60, 60, "doc").billed_s(61)
        120.0
        """
        steps = -(-used_s // self.granularity_s)
        return float(max(self.minimum_s, steps * self.granularity_s))


@dataclass(frozen=True, slots=True)
class EgressTier:
    """What a provider asks for data that leave it, between two monthly volumes."""

    from_gb: float
    to_gb: float  # inf in the last tier
    usd_per_gb: float


@dataclass(frozen=True, slots=True)
class StoragePrice:
    """USD for a GB (2^30 bytes) kept for a month."""

    product: str
    usd_per_gb_month: float
    source: str
    as_of: str


@dataclass(frozen=True, slots=True)
class HazardBand:
    """Spot losses per node-hour while a node's age lies within the band."""

    from_h: float
    to_h: float  # inf in the last band
    per_h: float


@dataclass(frozen=True, slots=True)
class Delay:
    """A lognormal delay: exp(mu + sigma z) seconds."""

    median_s: float
    sigma: float
    source: str


@dataclass(frozen=True, slots=True)
class ProviderFacts:
    """What holds for every offer of one provider; each part falls back on the pooled figure.

    spot_hazard: age bands from 0 to inf. stock_out: wait for spot capacity after a loss.
    node_failures_per_h: of one node with 8 devices, purchase other than spot included.
    """

    provider: str
    billing: Billing
    spot_hazard: tuple[HazardBand, ...]
    spot_notice_s: float
    provisioning: Delay
    stock_out: Delay
    node_failures_per_h: float
    pue: float  # energy of the data centre over energy of its machines
    sources: Mapping[str, str] = field(default_factory=dict)
