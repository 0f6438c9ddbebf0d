"""Carries step times over to an accelerator on which a model was not measured. No I/O.

    log T(e, a) = size_e + (1 - FIXED_SLOWER s_e) (R_a - w_e . x_a) + u_a + s_e h_a + v_ea

    R_a = 2 log(P_a^(-1/2) + (I W_a)^(-1/2)),     x_a = (log P_a, log W_a)

e a workload (model, precision, ... at a batch), a an accelerator with the FLOP/s P that it holds (at
the workload's precision; see `sheets`) and memory bandwidth W: R the roofline at the INTENSITY I,
passing slowly from one limit to the other because a step's operations lie decades apart in intensity.
s_e is the share of the step that does not grow with the batch, launches above all, which a quicker
accelerator hastens less. w_e is about 0, shared by all workloads but for what they differ by, more so
the less alike they are in step time and batch; u_a is what every workload finds on an accelerator
beyond its sheet, h_a what fixed shares find; v_ea is the pair's own. All are Gaussian with the
spreads below, so the prediction and its sigma are the conditional normal given every measurement of
the table. An accelerator that no workload was measured on is predicted from its sheet, with the
spread of u as its uncertainty. How far sigma reaches is set right by leaving out each model on each
accelerator, and each accelerator.

Exchange between devices does not depend on the accelerator: its time is kept.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import nnls

from ..catalog import Accelerator
from .law import Floats
from .likely import Readings, likeliest
from .scaling import Z95
from .series import Series
from .sheets import Sheet, sheet
from .table import is_half

# FLOPs for each byte of a typical operation: large products have hundreds, normalisation and the
# optimiser a few. Public sources tell 30 from 400 hardly at all.
INTENSITY = 100.0
FIXED_SLOWER = 0.5  # a fixed cost differs between accelerators less than a sample's by that part
ALIKE = 40  # the most alike workloads that take part in one prediction
BATCH_REACH = 1.5  # a series is read so far beyond its measured batches
SIZE_REACH = 2.0  # workloads are alike whose log sizes and log batches differ by no more
SHEET_REACH = 0.15  # accelerators are one chip's whose log rates differ by no more
PRECISION_APART = 6.0  # and in precision, as far as so much in size
OTHER_PRECISION = 0.3  # how alike float32 and 16 bit are
READING = 0.03  # relative error of a measured step
FLAT = 5.0  # of a workload's size: nothing is known before it is measured
LEARN_FROM = 40  # workloads that the spreads are fitted on
PRIOR_SPREAD = 0.7  # of the logarithm of each spread
HELD = 0.9
# What sigma is multiplied by before anything is left out, on an accelerator that others were measured on
# and on one that none was: the middles of what eight public sources ask (0.6 to 1.7, 0.4 to 0.9).
PRIOR_REACH = (1.0, 0.65)
PRIOR_LEFT_OUT = 1.0  # units left out that it is worth


@dataclass(frozen=True, slots=True)
class Spreads:
    """Standard deviations of w (slope) and of log step time: of what all workloads share on an
    accelerator, and on those of one architecture, what those alike share, what one model's settings
    share, and each workload's own.

    The defaults are the guesses that a table's measurements then correct.
    """

    all_slope: float = 0.2
    all_shift: float = 0.2
    all_architecture: float = 0.15
    alike_slope: float = 0.15
    alike_shift: float = 0.12
    model_slope: float = 0.2
    model_shift: float = 0.2
    own_slope: float = 0.1
    own_shift: float = 0.06
    fixed_shift: float = 0.3


@dataclass(frozen=True, slots=True)
class _Reading:
    """One workload's log step time at a batch on one accelerator."""

    workload: int
    model: str
    accelerator: str
    log_step: float
    log_size: float
    log_batch: float
    half: bool
    log_rates: tuple[float, float]  # at the workload's precision
    log_sheet: tuple[float, float]  # in float32
    architecture: str
    noise: float
    fixed_share: float


@dataclass(frozen=True, slots=True)
class _Workload:
    """Series of one model on several accelerators, alike in all keys."""

    model: str
    half: bool
    placement: tuple[float, float, float]
    steps: Mapping[float, Mapping[str, float]]  # log step time by batch and accelerator
    fixed_s: float  # of a step, whatever the batch


@dataclass(frozen=True, slots=True)
class Transfer:
    """The workloads of a table that were measured on several accelerators, and the spreads.

    reach: what sigma is multiplied by on an accelerator that alike workloads were measured on, and on
    one that none was.
    """

    readings: tuple[tuple["_Reading", ...], ...]  # of a workload at a batch, by accelerator
    sheets: Mapping[str, Sheet]
    spreads: Spreads
    reach: tuple[float, float]

    @classmethod
    def of(
        cls,
        series: Sequence[Series],
        accelerators: Mapping[str, Accelerator],
        background: Sequence[Series] = (),
    ) -> "Transfer":
        """background: others' series, which tell what accelerators find; how far to trust any of it,
        the table's own series say where they can."""
        names = {each.accelerator for each in (*series, *background)}
        known = {name: sheet(name, accelerators) for name in names}
        sheets = {name: each for name, each in known.items() if each is not None}
        workloads = _workloads(series, sheets)
        own = [(each, batch) for each in workloads for batch in each.steps]
        others = [(each, batch) for each in _workloads(background, sheets) for batch in each.steps]
        readings = tuple(
            tuple(_readings(number, workload, batch, workload.steps[batch], sheets))
            for number, (workload, batch) in enumerate([*own, *others])
        )
        # One workload tells no more than its own, however many batches it has.
        telling = readings[: len(own)] if len(workloads) > 1 else readings
        some = telling[:: max(1, len(telling) // LEARN_FROM)][:LEARN_FROM]
        spreads = _learned([each for group in some for each in group])
        return cls(readings, sheets, spreads, _reaches(telling, some, spreads))

    def step_s(
        self,
        model: str,
        half: bool,
        batch: float,
        target: Sheet,
        sources: Mapping[str, tuple[float, float]],
        fixed_s: float = 0.0,
    ) -> tuple[float, float]:
        """Step time and its log-standard-deviation on target, from those on source accelerators.

        sources: step seconds at that batch and their own log-standard-deviation, by accelerator; each must
        have a sheet. fixed_s: what of them does not grow with the batch.
        """
        sheets = {**self.sheets, target.name: target}
        logs = {name: math.log(step_s) for name, (step_s, _) in sources.items()}
        asked = _Workload(model, half, (1, 1, 1), {batch: logs}, fixed_s)
        readings = _readings(-1, asked, batch, logs, sheets)
        readings = [
            replace(each, noise=math.hypot(READING, sources[each.accelerator][1]))
            for each in readings
        ]
        mine = readings[0]
        for others in _alike(self.readings, mine):
            readings += others
        query = replace(
            mine,
            accelerator=target.name,
            log_rates=_log_rates(target, half),
            log_sheet=_log_rates(target, False),
            architecture=target.architecture,
            noise=READING,
        )
        step_s, sigma = _conditional([*readings, query], self.spreads)
        unseen = all(each.accelerator != target.name for each in readings)
        return step_s, sigma * self.reach[unseen]


def _workloads(series: Sequence[Series], sheets: Mapping[str, Sheet]) -> list[_Workload]:
    """Those that several accelerators with sheets measured."""
    found: dict[tuple[str, ...], list[Series]] = {}
    for each in series:
        if each.rows[0].batch is not None and each.accelerator in sheets:
            found.setdefault((each.model, *each.keys.values()), []).append(each)
    return [
        _workload(members)
        for members in found.values()
        if len({each.accelerator for each in members}) > 1
    ]


def _workload(members: Sequence[Series]) -> _Workload:
    """One workload at the placement that most accelerators measured, the smallest of those."""
    placed: dict[tuple[float, float, float], dict[str, dict[float, list[float]]]] = {}
    for each in members:
        for row in each.rows:
            here = placed.setdefault((row.devices, row.nodes, row.fullest), {})
            here.setdefault(each.accelerator, {}).setdefault(row.batch or 1.0, []).append(
                math.log(row.step_s)
            )
    placement = min(placed, key=lambda place: (-len(placed[place]), place))
    curves = {
        name: {batch: float(np.mean(logs)) for batch, logs in sorted(found.items())}
        for name, found in placed[placement].items()
    }
    steps: dict[float, dict[str, float]] = {}
    for batch in sorted({batch for curve in curves.values() for batch in curve}):
        here2 = {name: curve[batch] for name, curve in curves.items() if batch in curve}
        if len(here2) > 1:
            steps[batch] = here2
    first = members[0]
    half = is_half(first.rows[0].cell("precision"))
    fixed = least_fixed_s([(list(c), np.exp(list(c.values()))) for c in curves.values()])
    return _Workload(first.model, half, placement, steps, fixed)


def least_fixed_s(curves: Iterable[tuple[Sequence[float], Floats]]) -> float:
    """The least cost a, of batches and step seconds each, in T = a + c b by relative error, neither
    negative; 0 where no curve has two batches."""
    found = []
    for batches, step_s in curves:
        if len(batches) > 1:
            terms = np.column_stack([1 / step_s, np.asarray(batches) / step_s])
            found.append(float(nnls(terms, np.ones(len(step_s)))[0][0]))
    return min(found, default=0.0)


def _readings(
    number: int,
    workload: _Workload,
    batch: float,
    steps: Mapping[str, float],
    sheets: Mapping[str, Sheet],
) -> list[_Reading]:
    rates = {name: _log_rates(sheets[name], workload.half) for name in steps}
    middle = float(np.mean(list(steps.values())))
    size = middle - float(np.mean([_roofline(np.array(rate)) for rate in rates.values()]))
    share = min(workload.fixed_s / math.exp(middle), 1.0)
    return [
        _Reading(
            number,
            workload.model,
            name,
            log,
            size,
            math.log(batch),
            workload.half,
            rates[name],
            _log_rates(sheets[name], False),
            sheets[name].architecture,
            READING,
            share,
        )
        for name, log in steps.items()
    ]


def _log_rates(at: Sheet, half: bool) -> tuple[float, float]:
    return math.log(at.held_rate(half)), math.log(at.bytes_s)


def _roofline(log_rates: Floats) -> Floats:
    """R of log rates, shape (..., 2)."""
    compute, memory = log_rates[..., 0], log_rates[..., 1] + math.log(INTENSITY)
    return np.asarray(2 * np.logaddexp(-compute / 2, -memory / 2))


# Scales of log rates: a middling accelerator, about which slopes turn.
_MIDDLE = np.array([math.log(20e12), math.log(700e9)])


def _covariances(readings: Sequence[_Reading]) -> tuple[Floats, list[Floats], Floats]:
    """The mean of each log step but for the size, the matrices that Spreads weigh, and the rest."""
    rates = np.array([each.log_rates for each in readings])
    share = np.array([each.fixed_share for each in readings])
    hastened = 1 - FIXED_SLOWER * share
    mean = hastened * (_roofline(rates) - _roofline(_MIDDLE))
    sheets = np.array([each.log_sheet for each in readings])
    apart = ((sheets[:, None, :] - sheets[None, :, :]) ** 2).sum(axis=2)
    rates = (rates - _MIDDLE) * hastened[:, None]
    size = np.array([each.log_size for each in readings])
    batch = np.array([each.log_batch for each in readings])
    half = np.array([each.half for each in readings])
    alike = np.exp(
        -(
            (np.subtract.outer(size, size) / SIZE_REACH) ** 2
            + (np.subtract.outer(batch, batch) / SIZE_REACH) ** 2
        )
        / 2
    ) * np.where(np.equal.outer(half, half), 1.0, OTHER_PRECISION)
    same_accelerator = _same([each.accelerator for each in readings])
    same_model = _same([each.model for each in readings])
    own = _same([each.workload for each in readings])
    slopes = rates @ rates.T
    all_ = np.ones_like(alike)
    terms = [
        all_ * slopes,
        np.exp(-apart / SHEET_REACH**2 / 2),
        _same([each.architecture for each in readings]),
        *(
            matrix
            for near in (alike, alike * same_model, own)
            for matrix in (near * slopes, near * same_accelerator)
        ),
        np.outer(share, share) * same_accelerator,
    ]
    noise = np.diag([each.noise**2 for each in readings])
    return mean, terms, FLAT**2 * own + noise


def _same(names: Sequence[object]) -> Floats:
    numbers = np.unique([str(name) for name in names], return_inverse=True)[1]
    return np.equal.outer(numbers, numbers).astype(float)


def _conditional(readings: Sequence[_Reading], spreads: Spreads) -> tuple[float, float]:
    """Step time and sigma of the last reading, given the others."""
    mean, terms, rest = _covariances(readings)
    cov = Readings(mean, terms, rest).covariance(np.array(astuple(spreads)))
    y = np.array([each.log_step for each in readings[:-1]]) - mean[:-1]
    middle = float(y.mean())
    factor = cho_factor(cov[:-1, :-1])
    gain = cho_solve(factor, cov[:-1, -1])
    log = middle + float(gain @ (y - middle)) + float(mean[-1])
    variance = float(cov[-1, -1] - gain @ cov[:-1, -1])
    return math.exp(log), math.sqrt(max(variance, 0.0))


def _alike(readings: Iterable[tuple[_Reading, ...]], mine: _Reading) -> list[tuple[_Reading, ...]]:
    """Those of the ALIKE workloads that are most alike."""

    def apart(others: tuple[_Reading, ...]) -> float:
        other = others[0]
        distance = abs(other.log_size - mine.log_size) + abs(other.log_batch - mine.log_batch)
        return distance + PRECISION_APART * (other.half != mine.half)

    return sorted(readings, key=apart)[:ALIKE]


def _reaches(
    readings: Sequence[tuple[_Reading, ...]],
    some: Sequence[tuple[_Reading, ...]],
    spreads: Spreads,
) -> tuple[float, float]:
    """By what sigma holds HELD of the readings of a model on an accelerator, left out, where others
    were measured there; and of an accelerator, left out. some: the workloads it is tried on.

    With K the covariance of y, the left-out rows B have the errors inv(inv(K)_BB) (inv(K) y)_B of
    covariance inv(inv(K)_BB) (Rasmussen and Williams, 5.4.2). Rows left out together count as one.
    """
    if len(readings) < 2:
        return PRIOR_REACH
    seen: dict[tuple[str, str], list[float]] = {}
    unseen: dict[str, list[float]] = {}
    for group in some:
        used = [each for others in _alike(readings, group[0]) for each in others]
        mean, terms, rest = _covariances(used)
        covariance = Readings(mean, terms, rest).covariance(np.array(astuple(spreads)))
        inverse = np.asarray(np.linalg.inv(covariance), dtype=np.float64)
        y = np.array([each.log_step for each in used]) - mean
        weighed = inverse @ (y - y.mean())
        accelerators = np.array([each.accelerator for each in used])
        mine = np.array([each.model == group[0].model for each in used])
        own = np.array([each.workload == group[0].workload for each in used])
        for name in dict.fromkeys(accelerators[own]):
            there = accelerators == name
            if (there & ~mine).any():
                ratio = _ratio(inverse, weighed, there & mine, there & own)
                seen.setdefault((group[0].model, name), []).append(ratio)
            unseen.setdefault(name, []).append(_ratio(inverse, weighed, there, there & own))
    return _reach(list(seen.values()), PRIOR_REACH[0], 1), _reach(
        list(unseen.values()), PRIOR_REACH[1], 0
    )


def _ratio(
    inverse: Floats, weighed: Floats, out: NDArray[np.bool_], asked: NDArray[np.bool_]
) -> float:
    """The error of the asked one of the rows left out, over its sigma."""
    rows = np.flatnonzero(out)
    open_ = np.linalg.inv(inverse[np.ix_(rows, rows)])
    place = int(np.flatnonzero(asked[rows])[0])
    return float(abs(open_[place] @ weighed[rows]) / math.sqrt(open_[place, place]))


def _reach(units: Sequence[Sequence[float]], prior: float, last: int) -> float:
    """From errors over sigma of each unit left out, mixed with the prior: of k units, k - 1 differ.

    last: 1 where one more unit is to keep the bound as often (the conformal level, Vovk et al.), 0 where
    units are too few for that.
    """
    if not units:
        return prior
    count = len(units)
    shares = np.concatenate([np.full(len(each), 1 / len(each)) for each in units])
    level = min(HELD * (count + last) / count, 1.0)
    held = np.quantile(np.concatenate(units), level, weights=shares, method="inverted_cdf")
    weight = (count - 1) / (count - 1 + PRIOR_LEFT_OUT)
    return float((held / Z95) ** weight * prior ** (1 - weight))


def _learned(used: Sequence[_Reading]) -> Spreads:
    """The spreads most likely given a table's workloads, and the guesses as prior."""
    if len({each.workload for each in used}) < 2:
        return Spreads()
    mean, terms, rest = _covariances(used)
    y = np.array([each.log_step for each in used]) - mean
    guess = np.array(astuple(Spreads()))
    return Spreads(*likeliest([Readings(y - y.mean(), terms, rest)], guess, PRIOR_SPREAD).tolist())
