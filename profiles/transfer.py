"""Carries step times over to an accelerator on which a model was not measured. No I/O.

    log T(e, a) = size_e - w_e . x_a + u_a + v_ea,     x_a = (log P_a, log W_a)

e a workload (model, precision, ... at a batch), a an accelerator with the data sheet's rate P (at
the workload's precision, of the lanes that are fed) and memory bandwidth W: the roofline between
its two slopes. w_e is about (1/2, 1/2), shared by all workloads but for what they differ by, more
so the less alike they are in step time and batch; u_a is what every workload finds on an accelerator beyond its sheet; v_ea is
the pair's own. All are Gaussian with the spreads below, so the prediction and its sigma are the
conditional normal given every measurement of the table. An accelerator that no workload was
measured on is predicted from its sheet, with the spread of u as its uncertainty. How far sigma
reaches is set right by leaving out each model on each accelerator, and each accelerator.

Exchange between devices does not depend on the accelerator: its time is kept.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace

import numpy as np
from scipy import stats
from scipy.linalg import cho_factor, cho_solve

from ..catalog import Accelerator
from .law import Floats
from .likely import Readings, likeliest
from .scaling import Z95
from .series import Series
from .sheets import Sheet, sheet

ALIKE = 40  # the most alike workloads that take part in one prediction
BATCH_REACH = 1.5  # a series is read so far beyond its measured batches
SIZE_REACH = 2.0  # workloads are alike whose log sizes and log batches differ by no more
PRECISION_APART = 6.0  # and in precision, as far as so much in size
OTHER_PRECISION = 0.3  # how alike float32 and 16 bit are
READING = 0.03  # relative error of a measured step
FLAT = 5.0  # of a workload's size: nothing is known before it is measured
PRIOR_SHEETS = 2  # accelerators that the guesses are worth
LEARN_FROM = 40  # workloads that the spreads are fitted on
PRIOR_SPREAD = 0.7  # of the logarithm of each spread
PRIOR_LEFT_OUT = 6.0  # models or accelerators left out that sigma as it stands is worth
HELD = 0.9


@dataclass(frozen=True, slots=True)
class Spreads:
    """Standard deviations of w (slope) and of log step time: of what all workloads share on an
    accelerator, and on those of one architecture, what those alike share, what one model's settings share, and each workload's own.

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
    log_rates: tuple[float, float]
    architecture: str
    noise: float


@dataclass(frozen=True, slots=True)
class _Workload:
    """Series of one model on several accelerators, alike in all keys."""

    model: str
    half: bool
    placement: tuple[float, float, float]
    steps: Mapping[float, Mapping[str, float]]  # log step time by batch and accelerator


@dataclass(frozen=True, slots=True)
class Transfer:
    """The workloads of a table that were measured on several accelerators, and the spreads.

    reach: what sigma is multiplied by on an accelerator that others were measured on, and on one
    that nothing was measured on.
    """

    readings: tuple[tuple["_Reading", ...], ...]  # of a workload at a batch, by accelerator
    sheets: Mapping[str, Sheet]
    spreads: Spreads
    reach: tuple[float, float]

    @classmethod
    def of(cls, series: Sequence[Series], accelerators: Mapping[str, Accelerator]) -> "Transfer":
        names = {each.accelerator for each in series}
        known = {name: sheet(name, accelerators) for name in names}
        sheets = {name: each for name, each in known.items() if each is not None}
        found: dict[tuple[str, ...], list[Series]] = {}
        for each in series:
            if each.rows[0].batch is not None and each.accelerator in sheets:
                found.setdefault((each.model, *each.keys.values()), []).append(each)
        workloads = tuple(
            _workload(members)
            for members in found.values()
            if len({each.accelerator for each in members}) > 1
        )
        settings = [(workload, batch) for workload in workloads for batch in workload.steps]
        readings = tuple(
            tuple(_readings(number, workload, batch, workload.steps[batch], sheets))
            for number, (workload, batch) in enumerate(settings)
        )
        used = _some([each for group in readings for each in group])
        spreads = _learned(used)
        reach = _reaches(used, spreads, _heavier(len(sheets)))
        return cls(readings, sheets, spreads, reach)

    def step_s(
        self,
        model: str,
        half: bool,
        batch: float,
        target: Sheet,
        sources: Mapping[str, tuple[float, float]],
    ) -> tuple[float, float]:
        """Step time and its log-standard-deviation on target, from those on source accelerators.

        sources: step seconds at that batch and their own log-standard-deviation, by accelerator; each must
        have a sheet.
        """
        sheets = {**self.sheets, target.name: target}
        logs = {name: math.log(step_s) for name, (step_s, _) in sources.items()}
        asked = _Workload(model, half, (1, 1, 1), {batch: logs})
        readings = _readings(-1, asked, batch, logs, sheets)
        readings = [
            replace(each, noise=math.hypot(READING, sources[each.accelerator][1]))
            for each in readings
        ]
        mine = readings[0]

        def apart(others: tuple[_Reading, ...]) -> float:
            other = others[0]
            distance = abs(other.log_size - mine.log_size) + abs(other.log_batch - mine.log_batch)
            return distance + PRECISION_APART * (other.half != half)

        for others in sorted(self.readings, key=apart)[:ALIKE]:
            readings += others
        query = _reading(-1, model, target.name, 0.0, mine.log_size, batch, half, target)
        step_s, sigma = _conditional([*readings, query], self.spreads)
        reach = self.reach[target.name not in self.sheets]
        return step_s, sigma * _heavier(len(self.sheets)) * reach


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
    return _Workload(first.model, is_half(first.rows[0].cell("precision")), placement, steps)


def is_half(precision: str) -> bool:
    """Whether a precision as tables name it multiplies at 16 bit.

    >>> [is_half(word) for word in ("fp32", "amp", "mixed_bfloat16", "fp16 (use_fp16)", "")]
    [False, True, True, True, False]
    """
    return any(word in precision.lower() for word in ("16", "amp", "half", "mixed"))


def _readings(
    number: int,
    workload: _Workload,
    batch: float,
    steps: Mapping[str, float],
    sheets: Mapping[str, Sheet],
) -> list[_Reading]:
    rates = [_log_rates(sheets[name], workload.half) for name in steps]
    size = float(
        np.mean([log + sum(rate) / 2 for log, rate in zip(steps.values(), rates, strict=True)])
    )
    return [
        _reading(number, workload.model, name, log, size, batch, workload.half, sheets[name])
        for name, log in steps.items()
    ]


def _reading(
    number: int,
    model: str,
    name: str,
    log_step: float,
    log_size: float,
    batch: float,
    half: bool,
    at: Sheet,
) -> _Reading:
    rates = _log_rates(at, half)
    return _Reading(
        number,
        model,
        name,
        log_step,
        log_size,
        math.log(batch),
        half,
        rates,
        at.architecture,
        READING,
    )


def _log_rates(at: Sheet, half: bool) -> tuple[float, float]:
    return math.log(at.fed_rate(half)), math.log(at.bytes_s)


# Scales of log rates: a middling accelerator, about which slopes turn.
_MIDDLE = (math.log(20e12), math.log(700e9))


def _covariances(readings: Sequence[_Reading]) -> tuple[Floats, list[Floats], Floats]:
    """The mean of each log step but for the size, the matrices that Spreads weigh, and the rest."""
    rates = np.array([each.log_rates for each in readings]) - _MIDDLE
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
        all_ * same_accelerator,
        _same([each.architecture for each in readings]),
        *(
            matrix
            for share in (alike, alike * same_model, own)
            for matrix in (share * slopes, share * same_accelerator)
        ),
    ]
    noise = np.diag([each.noise**2 for each in readings])
    return -rates.sum(axis=1) / 2, terms, FLAT**2 * own + noise


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


def _heavier(sheets: int) -> float:
    """The spreads rest on few accelerators: an interval is Student's, not the normal's."""
    return float(stats.t.ppf(0.95, sheets + PRIOR_SHEETS)) / Z95


def _some(readings: Sequence[_Reading]) -> list[_Reading]:
    """Those of LEARN_FROM workloads, evenly chosen."""
    numbers = sorted({each.workload for each in readings})
    stride = max(1, len(numbers) // LEARN_FROM)
    chosen = set(numbers[::stride][:LEARN_FROM])
    return [each for each in readings if each.workload in chosen]


def _reaches(used: Sequence[_Reading], spreads: Spreads, heavier: float) -> tuple[float, float]:
    """By what sigma holds HELD of the readings of a model on an accelerator, left out, where others
    were measured there; and of an accelerator, left out.

    With K the covariance of y, the left-out rows B have the errors inv(inv(K)_BB) (inv(K) y)_B of
    covariance inv(inv(K)_BB) (Rasmussen and Williams, 5.4.2). Rows left out together count as one.
    """
    if len({each.workload for each in used}) < 2:
        return 1.0, 1.0
    mean, terms, rest = _covariances(used)
    covariance = Readings(mean, terms, rest).covariance(np.array(astuple(spreads)))
    inverse = np.linalg.inv(covariance)
    y = np.array([each.log_step for each in used]) - mean
    weighed = inverse @ (y - y.mean())

    def reach(marks: Sequence[tuple[str, ...]]) -> float:
        ratios, shares = [], []
        for mark in dict.fromkeys(marks):
            rows = np.array([i for i, other in enumerate(marks) if other == mark])
            open_ = np.linalg.inv(inverse[np.ix_(rows, rows)])
            error = np.abs(open_ @ weighed[rows])
            ratios.append(error / np.sqrt(np.diag(open_)))
            shares.append(np.full(len(rows), 1 / len(rows)))
        held = np.quantile(
            np.concatenate(ratios), HELD, weights=np.concatenate(shares), method="inverted_cdf"
        )
        weight = len(ratios) / (len(ratios) + PRIOR_LEFT_OUT)
        return float((held / Z95 / heavier) ** weight)

    models: dict[str, set[str]] = {}
    for each in used:
        models.setdefault(each.accelerator, set()).add(each.model)
    others = all(len(found) > 1 for found in models.values())
    seen = reach([(each.model, each.accelerator) for each in used]) if others else 1.0
    return seen, reach([(each.accelerator,) for each in used])


def _learned(used: Sequence[_Reading]) -> Spreads:
    """The spreads most likely given a table's workloads, and the guesses as prior."""
    if len({each.workload for each in used}) < 2:
        return Spreads()
    mean, terms, rest = _covariances(used)
    y = np.array([each.log_step for each in used]) - mean
    guess = np.array(astuple(Spreads()))
    return Spreads(*likeliest([Readings(y - y.mean(), terms, rest)], guess, PRIOR_SPREAD).tolist())
