"""The step-time model: what one training step takes on any offer, how sure, and on which basis.

    T(n, m, b) = compute(b) + c_i 2(m-1)/m + l_i (m-1) + c_n 2(n-1)/n + l_n log2(n)

n nodes, m devices on a node, b samples a device; c = S / B, gradient bytes over bandwidth, within
and between nodes (DESIGN 3.1). compute(b) is

measured     a profiled setting on the machine that was profiled;
fitted       between profiled batches, piecewise linear; beyond them with the end's slope; and, on
             offers of an accelerator on which the model was profiled or imported rows have it, the
             `scaling` of those steps;
transferred  a + b max(F / (share P), Q / W): step cost a from the profile, F FLOPs and Q bytes a
             sample, P and W the data sheet's rates, share as the public measurements of that
             accelerator say, or of all where it has none.

Every prediction is lognormal about step_s with log-standard-deviation sigma. No I/O.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ..catalog import Accelerator, Catalog
from .evidence import Evidence, evidence
from .public import Efficiency, efficiencies, peak_flops
from .records import Knobs, Precision, Profile
from .table import Row
from .workload import ModelFacts

Floats = NDArray[np.float64]


class Basis(IntEnum):
    """What a prediction rests on, the surest first."""

    MEASURED = 0
    FITTED = 1
    TRANSFERRED = 2

    @property
    def word(self) -> str:
        return self.name.lower()


PRECISIONS: tuple[Precision, ...] = ("float32", "mixed_float16", "mixed_bfloat16")

# Spreads (log-standard-deviations) and constants that no measurement of ours replaces yet.
FIT_SIGMA = 0.06  # interpolation between batches; CIFAR CNN, leave one batch out, 2026-11
EXTRAPOLATION_SIGMA = 0.10  # for every doubling beyond the measured batches
STEP_COST_S = (
    6e-3  # without a profile: CIFAR CNN 2.5 ms, ResNet-50 20 to 60 ms (PROFET, V100 and T4)
)
STEP_COST_SIGMA = 0.5  # of a step cost taken to another device
UNKNOWN_STEP_COST_SIGMA = 2.0  # of one that was never measured: networks of 10 to 500 operations
EFFICIENCY_SIGMA = 0.5  # of another model on a calibrated accelerator, at least; see tests
TRAFFIC_SHARE = 0.7  # of counted bytes that reach memory; ResNet-50 in float16 on an A100: 0.8
CPU_FLOPS_PER_CORE = 100e9  # without a profile; AVX2 reaches 50 to 150 GFLOP/s on convolutions
CPU_SIGMA = 0.45  # one provider's vCPU against another's
CPU_SCALING = 0.85  # time falls as cores^-0.85
SHARING = 1.5  # two workers on two cores against one: 1.3 to 1.9 seen, CIFAR CNN, 2026-11
ACTIVATION_SHARE = 0.05  # of a sample's traffic that stays; ResNet-50, batch 128 in 11 GB: 0.045
USABLE_MEMORY = 0.9
LINK_SHARE = 0.6  # of a data sheet's link that an all-reduce reaches
PCIE_GB_S = 12.0
ETHERNET_GBPS = 10.0  # where a provider states no network
NETWORK_SHARE = 0.8
HOP_S = {"cpu": 5e-4, "gpu": 1e-4, "tpu": 2e-5}  # a ring step over gRPC, NCCL, ICI
DEVICE_S = 2e-5  # host contention, a further device on the node
OTHER_HOST_SIGMA = (
    0.1  # the same accelerator in another host; PROFET's T4 and V100 differ so from DLE's
)
COMMUNICATION_SIGMA = 0.6  # nothing was measured on that network


@dataclass(frozen=True, slots=True)
class Fleet:
    """The hardware side of a catalog's offers, one array element an offer."""

    accelerator: NDArray[np.str_]
    kind: NDArray[np.str_]
    devices: NDArray[np.int64]
    vcpus: Floats
    link_gb_s: Floats
    network_gbps: Floats
    network_known: NDArray[np.bool_]
    bandwidth_gb_s: Floats  # nan where unknown
    memory_gib: Floats  # of a device, of the node for processors; nan where unknown
    local: NDArray[np.bool_]

    @classmethod
    def of(cls, catalog: Catalog) -> "Fleet":
        offers = catalog.offers
        names = offers["accelerator"].to_numpy().astype(np.str_)
        sheets = [catalog.accelerators[str(name)] for name in names]
        network = offers["network_gbps"].cast(float).to_numpy().astype(float)
        return cls(
            accelerator=names,
            kind=np.array([sheet.kind for sheet in sheets], dtype=np.str_),
            devices=offers["accelerator_count"].to_numpy().astype(np.int64),
            vcpus=offers["vcpus"].to_numpy().astype(float),
            # The sheet's figure counts both directions.
            link_gb_s=np.array(
                [(sheet.link_gb_s or 2 * PCIE_GB_S) / 2 * LINK_SHARE for sheet in sheets]
            ),
            network_gbps=np.where(np.isnan(network), ETHERNET_GBPS, network),
            network_known=~np.isnan(network),
            bandwidth_gb_s=np.array([sheet.bandwidth_gb_s or math.nan for sheet in sheets]),
            memory_gib=np.array(
                [
                    node if sheet.kind == "cpu" else sheet.memory_gib or math.nan
                    for sheet, node in zip(sheets, offers["memory_gib"], strict=True)
                ],
                dtype=float,
            ),
            local=(offers["provider"] == "local").to_numpy(),
        )


@dataclass(frozen=True, slots=True)
class StepTimes:
    """One prediction an offer; step_s is nan where the setting cannot run or is unknown there."""

    step_s: Floats
    sigma: Floats
    basis: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Curve:
    """Step time over batch of one group of profiled settings that differ in batch alone."""

    batches: tuple[float, ...]
    step_s: tuple[float, ...]
    sigma: tuple[float, ...]
    basis: tuple[Basis, ...]

    def at(self, batch: int) -> tuple[float, float, Basis]:
        """Step time, sigma and basis at a batch."""
        if batch in self.batches:
            place = self.batches.index(batch)
            return self.step_s[place], self.sigma[place], self.basis[place]
        sigma = math.hypot(max(self.sigma), FIT_SIGMA)
        x, y = np.array(self.batches), np.array(self.step_s)
        if x[0] <= batch <= x[-1]:
            return float(np.interp(batch, x, y)), sigma, Basis.FITTED
        near = 0 if batch < x[0] else -1
        doublings = abs(math.log2(batch / x[near]))
        if len(x) == 1:
            slope = y[0] / x[0]
        else:
            i, j = (0, 1) if near == 0 else (-2, -1)
            slope = max(0.0, (y[j] - y[i]) / (x[j] - x[i]))
        value = y[near] + slope * (batch - x[near])
        # Fewer samples never take nothing: the line ends where it would cross a tenth.
        return (
            max(float(value), 0.1 * float(y[near])),
            math.hypot(sigma, EXTRAPOLATION_SIGMA * doublings),
            Basis.FITTED,
        )


@dataclass(frozen=True, slots=True)
class StepTimeModel:
    """Step times of one workload; see the module's text for the formula."""

    facts: ModelFacts
    step_cost_s: float
    step_cost_sigma: float
    sample_s: float | None  # on one core of the profiled machine; None without a profile
    profiled_cores: float
    curves: Mapping[Knobs, _Curve]
    evidence: Mapping[tuple[str, Precision], Evidence]
    efficiency: Mapping[tuple[str, Precision], Efficiency]
    pooled: Mapping[Precision, Efficiency]

    @classmethod
    def of(
        cls,
        facts: ModelFacts,
        profile: Profile | None,
        accelerators: Mapping[str, Accelerator],
        *,
        profiled_here: bool = True,
        measured: Sequence[Row] = (),
    ) -> "StepTimeModel":
        """The model of a workload from its profile, or from its facts alone.

        profiled_here: the profile's machine is the local offer; else it is only a source of
        transfer, as for every other offer. measured: a table's rows of the workload's model.
        """
        known = efficiencies(accelerators)
        curves = _curves(profile) if profile else {}
        cores = float(profile.host.cores) if profile else 1.0
        plain = (
            min(
                curves,
                key=lambda knobs: (knobs.workers_per_node, knobs.xla, knobs.precision != "float32"),
            )
            if curves
            else None
        )
        step_cost, slope = _line(curves[plain]) if plain else (STEP_COST_S, None)
        return cls(
            facts=facts,
            step_cost_s=step_cost,
            step_cost_sigma=STEP_COST_SIGMA if plain else UNKNOWN_STEP_COST_SIGMA,
            sample_s=None if slope is None else slope * cores**CPU_SCALING,
            profiled_cores=cores,
            curves=curves if profiled_here else {},
            evidence=evidence(profile, measured, accelerators),
            efficiency=known,
            pooled={precision: pool(known, precision) for precision in PRECISIONS},
        )

    def local_knobs(self) -> tuple[Knobs, ...]:
        """Knobs that were profiled on this machine; the plain ones where there is no profile."""
        return tuple(self.curves) or (Knobs(strategy="multi_worker_mirrored"),)

    def here(self, batch: int, knobs: Knobs) -> tuple[float, float, Basis]:
        """Step time, sigma and basis on the profiled machine itself.

        Workers that were not profiled share its processors: their step takes at least what one
        worker takes for the whole global batch; SHARING more is a guess, and its sigma says so.
        """
        if (curve := self.curves.get(knobs)) is not None:
            return curve.at(batch)
        alone = self.curves.get(knobs.model_copy(update={"workers_per_node": 1}))
        if alone is not None:
            whole, sigma, _ = alone.at(batch * knobs.workers_per_node)
        else:
            time, spread = self._cpu(np.array([self.profiled_cores]), batch)
            whole, sigma = float(time[0]), float(spread[0])
        shared = SHARING if knobs.workers_per_node > 1 else 1.0
        return whole * shared, math.hypot(sigma, COMMUNICATION_SIGMA), Basis.TRANSFERRED

    def predict(
        self,
        fleet: Fleet,
        accelerators: Mapping[str, Accelerator],
        nodes: int,
        batch: int,
        knobs: Knobs,
    ) -> StepTimes:
        """Step time on each offer of so many nodes; the local offer has one node only."""
        count = len(fleet.accelerator)
        step, sigma = np.full(count, np.nan), np.full(count, np.nan)
        basis = np.full(count, Basis.TRANSFERRED, dtype=np.uint8)
        local = np.flatnonzero(fleet.local)
        if len(local) and nodes == 1:
            if (curve := self.curves.get(knobs)) is not None:
                step[local], sigma[local], basis[local] = curve.at(batch)
            elif not self.curves and knobs.workers_per_node == 1 and not knobs.xla:
                value, spread = self._cpu(fleet.vcpus[local], batch)
                step[local], sigma[local] = value, spread
        if knobs.workers_per_node == 1 and not knobs.xla:
            self._transfer(fleet, accelerators, nodes, batch, knobs, step, sigma)
            self._from_devices(fleet, nodes, batch, knobs.precision, step, sigma, basis)
        need = memory_bytes(self.facts, batch, knobs)
        too_small = fleet.memory_gib * 2**30 * USABLE_MEMORY < need
        step[too_small & (basis != Basis.MEASURED)] = np.nan
        return StepTimes(step, sigma, basis)

    def _transfer(
        self,
        fleet: Fleet,
        accelerators: Mapping[str, Accelerator],
        nodes: int,
        batch: int,
        knobs: Knobs,
        step: Floats,
        sigma: Floats,
    ) -> None:
        for name in np.unique(fleet.accelerator[~fleet.local]):
            rows = np.flatnonzero((fleet.accelerator == name) & ~fleet.local)
            sheet = accelerators[str(name)]
            if sheet.kind == "cpu":
                if knobs.precision != "float32":
                    continue
                compute, compute_sigma = self._cpu(fleet.vcpus[rows], batch)
            else:
                # A TPU multiplies in bfloat16 whatever the variables' precision.
                precision = "mixed_bfloat16" if sheet.kind == "tpu" else knobs.precision
                peak = peak_flops(sheet, precision)
                if peak is None or (sheet.kind == "tpu" and knobs.precision == "mixed_float16"):
                    continue
                reached = self.efficiency.get((sheet.name, precision))
                share = reached or self.pooled[precision]
                flops_s = self.facts.flops_per_sample / (share.share * peak)
                width = fleet.bandwidth_gb_s[rows] * 1e9
                # Half-precision tensors take half the bytes.
                half = 1.0 if knobs.precision == "float32" else 0.5
                moved = TRAFFIC_SHARE * half * self.facts.bytes_per_sample
                traffic_s = np.nan_to_num(moved / width, nan=0.0)
                sample_s = np.maximum(flops_s, traffic_s)
                device = batch * sample_s
                compute = self.step_cost_s + device
                spread = max(EFFICIENCY_SIGMA, share.spread if math.isfinite(share.spread) else 0)
                if reached is None:
                    spread = math.hypot(spread, EFFICIENCY_SIGMA)
                compute_sigma = (
                    np.hypot(self.step_cost_sigma * self.step_cost_s, spread * device) / compute
                )
            exchange, exchange_sigma = self._exchange(fleet, rows, sheet.kind, nodes)
            total = compute + exchange
            step[rows] = total
            sigma[rows] = np.hypot(compute_sigma * compute, exchange_sigma * exchange) / total

    def _from_devices(
        self,
        fleet: Fleet,
        nodes: int,
        batch: int,
        precision: Precision,
        step: Floats,
        sigma: Floats,
        basis: NDArray[np.uint8],
    ) -> None:
        """Where the model was measured on this accelerator, that instead of the data sheet.

        Exchange that was not measured, among nodes or devices of a node, is the data sheet's: added
        to the measured step on one node of as many devices, else to one device's.
        """
        for (name, found), one in self.evidence.items():
            if found != precision:
                continue
            for count in np.unique(fleet.devices[fleet.accelerator == name]).tolist():
                rows = np.flatnonzero((fleet.accelerator == name) & (fleet.devices == count))
                if one.knows(nodes, count):
                    value, spread = one.step(batch, nodes, count)
                    rest, rest_sigma = np.zeros(len(rows)), np.zeros(len(rows))
                    basis[rows] = Basis.FITTED
                else:
                    within = one.knows(1, count)
                    value, spread = one.step(batch, 1, count if within else 1)
                    rest, rest_sigma = self._exchange(fleet, rows, "gpu", nodes)
                    if within:
                        rest = rest - self._exchange(fleet, rows, "gpu", 1)[0]
                step[rows] = value + rest
                sigma[rows] = (
                    np.hypot(math.hypot(spread, OTHER_HOST_SIGMA) * value, rest_sigma * rest)
                    / step[rows]
                )

    def _cpu(self, vcpus: Floats, batch: int) -> tuple[Floats, Floats]:
        """Seconds of one step on so many processors, scaled from the profiled machine's."""
        if self.sample_s is None:
            per_core = self.facts.flops_per_sample / CPU_FLOPS_PER_CORE
            spread = math.hypot(CPU_SIGMA, 0.5)
        else:
            per_core, spread = self.sample_s, CPU_SIGMA
        work = batch * per_core / vcpus**CPU_SCALING
        distance = np.abs(np.log2(vcpus / self.profiled_cores))
        return self.step_cost_s + work, np.hypot(spread, 0.1 * distance)

    def _exchange(
        self, fleet: Fleet, rows: NDArray[np.intp], kind: str, nodes: int
    ) -> tuple[Floats, Floats]:
        """Seconds of one all-reduce and their relative spread."""
        m = fleet.devices[rows] if kind != "cpu" else np.ones(len(rows))
        size = self.facts.gradient_bytes
        within = size / (fleet.link_gb_s[rows] * 1e9) * 2 * (m - 1) / m + DEVICE_S * (m - 1)
        if nodes == 1:
            return within, np.full(len(rows), COMMUNICATION_SIGMA)
        width = fleet.network_gbps[rows] * 1e9 / 8 * NETWORK_SHARE
        hop = HOP_S.get(kind, HOP_S["gpu"])
        between = size / width * 2 * (nodes - 1) / nodes + hop * math.log2(nodes)
        unknown = np.where(fleet.network_known[rows], 0.0, 0.5)
        return within + between, np.hypot(COMMUNICATION_SIGMA, unknown)


def _curves(profile: Profile) -> dict[Knobs, _Curve]:
    """A curve for every set of knobs that was measured, or predicted, on the machine's processors.

    Processors split into logical devices are no offer: they are left out.
    """
    groups: dict[Knobs, dict[int, tuple[float, float, Basis]]] = {}
    for basis, points in (
        (Basis.FITTED, profile.predicted),
        (Basis.MEASURED, profile.measurements),
    ):
        for one in points:
            setting = one.setting
            if setting.accelerator != "CPU" or setting.devices_per_node > 1:
                continue
            low, high = one.step_time_s.repeat95
            point = one.step_time_s.value, math.log(high / low) / (2 * 1.96), basis
            groups.setdefault(setting.knobs, {})[setting.per_device_batch] = point
    curves = {}
    for knobs, found in groups.items():
        batches = sorted(found)
        curves[knobs] = _Curve(
            tuple(float(batch) for batch in batches),
            *zip(*(found[batch] for batch in batches), strict=True),
        )
    return curves


def _line(curve: _Curve) -> tuple[float, float]:
    """Step cost and seconds a sample: least squares on relative error, both not negative."""
    x, y = np.array(curve.batches), np.array(curve.step_s)
    if len(x) == 1:
        return min(STEP_COST_S, 0.5 * float(y[0])), max(
            float(y[0]) - STEP_COST_S, 0.5 * float(y[0])
        ) / float(x[0])
    from scipy.optimize import nnls

    (cost, slope), _ = nnls(np.column_stack([1 / y, x / y]), np.ones(len(x)))
    return max(float(cost), 1e-5), max(float(slope), 1e-9)


def pool(known: Mapping[tuple[str, Precision], Efficiency], precision: Precision) -> Efficiency:
    """The middle efficiency of all calibrated accelerators at a precision."""
    same = [found for (_, each), found in known.items() if each == precision]
    same = same or list(known.values())
    shares = np.log([found.share for found in same])
    inner = [found.spread for found in same if math.isfinite(found.spread)]
    spread = math.hypot(float(np.std(shares)), float(np.median(inner)) if inner else 0.5)
    return Efficiency(float(np.exp(np.median(shares))), spread, sum(f.points for f in same))


def interval(step_s: float, sigma: float, probability: float = 0.9) -> tuple[float, float]:
    """The central interval of a prediction."""
    z = float(stats.norm.ppf((1 + probability) / 2))
    return step_s * math.exp(-z * sigma), step_s * math.exp(z * sigma)


def memory_bytes(facts: ModelFacts, batch: int, knobs: Knobs) -> float:
    """Device memory that training needs: weights, optimizer state, gradients, activations."""
    half = 1.0 if knobs.precision == "float32" else 0.5
    activations = ACTIVATION_SHARE * half * facts.bytes_per_sample * batch
    return facts.checkpoint_bytes + facts.gradient_bytes + activations


def knob_sets(kind: str, devices: int, nodes: int, precisions: Sequence[Precision]) -> list[Knobs]:
    """The knobs to consider on rented hardware: its strategy, in each precision asked for.

    Processors run MultiWorkerMirrored whatever their number: the same program, and one worker under
    it is no slower than under OneDevice.
    """
    if kind == "tpu":
        strategy = "tpu"
    elif nodes > 1 or kind == "cpu":
        strategy = "multi_worker_mirrored"
    else:
        strategy = "mirrored" if devices > 1 else "one_device"
    return [Knobs(precision=precision, strategy=strategy) for precision in precisions]  # type: ignore[arg-type]
