"""Predicts throughput of configurations from a table of measurements: measured, fitted, transferred.

Rows are grouped into series by model, accelerator and every key that both tables give. Each series
has its own `Scaling`; how far its intervals reach is learned by leaving measurements out, over all
series of the table together. Configurations of an accelerator on which the model was not measured
are carried over from those on which it was (`transfer`). No I/O.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import stats
from scipy.optimize import isotonic_regression

from ..catalog import Accelerator
from ..catalog.files import did_you_mean
from .hosts import Hosts
from .law import Floats, Points, points
from .scaling import Z95, Scaling
from .series import Series, group, row_points, shared_keys, value_of
from .sheets import key as accelerator_key
from .sheets import sheet
from .spread import Spread
from .table import Row, is_half
from .transfer import Transfer, least_fixed_s

MISMATCH_SIGMA = 0.3  # of a series that differs in one key from what is asked, e.g. the precision

# The background's series differ by more than what a table and a question may share.
BACKGROUND_KEYS = ("dataset", "framework", "precision", "source", "unit", "xla")
UNKNOWN_SIGMA = 1.0  # of an accelerator without a data sheet
PRIOR_EXCHANGES = 3.0  # that EXCHANGE_SIGMA is worth
MOST_CARRIED = 12  # batches of a curve that is carried over
EXCHANGE_SIGMA = 0.5  # of exchange that was measured on one accelerator and is kept on another


@dataclass(frozen=True, slots=True)
class Prediction:
    """Throughput in the row's unit with its 90 % interval; basis says what it rests on."""

    throughput: float
    p05: float
    p95: float
    basis: str


@dataclass
class Predictor:
    """Predictions from measured rows, for configurations that name `keys`."""

    series: list[Series]
    keys: tuple[str, ...]
    accelerators: Mapping[str, Accelerator]
    spread: Spread
    transfer: Transfer
    hosts: Hosts
    _fits: dict[tuple[int, ...], Scaling] = field(default_factory=dict)
    _looked_up: dict[tuple[str, ...], tuple[list[int], int]] = field(default_factory=dict)
    _curves: dict[tuple[object, ...], "_Curve"] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        measured: Sequence[Row],
        wanted: Sequence[Row],
        accelerators: Mapping[str, Accelerator],
        background: Sequence[Row] = (),
        progress: Callable[[str], None] = lambda _: None,
    ) -> "Predictor":
        """background: measurements of others that tell what accelerators reach."""
        keys = shared_keys(measured, wanted)
        series = group(measured, keys)
        progress(f"{len(measured)} measurements in {len(series)} series")
        return cls(
            series,
            keys,
            accelerators,
            Spread.learned([(each.points, each.step_s) for each in series]),
            Transfer.of(series, accelerators, group(background, BACKGROUND_KEYS)),
            Hosts.of(measured),
        )

    def predict(self, rows: Sequence[Row]) -> list[Prediction | None]:
        """A prediction of each configuration; None where its model was never measured."""
        found: list[Prediction | None] = [None] * len(rows)
        together: dict[tuple[int, ...], list[tuple[int, int]]] = {}
        for place, row in enumerate(rows):
            near, differing = self._nearest(row, accelerator_key(row.cell("accelerator")))
            if near:
                together.setdefault(tuple(near), []).append((place, differing))
            else:
                found[place] = self._transferred(row)
        for near_, places in together.items():
            fit = self._fit(near_)
            at = row_points([rows[place] for place, _ in places])
            steps, (sigmas, measured) = fit.step_s(at), self.spread.sigma(fit, at)
            for (place, differing), step, sigma, seen in zip(
                places, steps, sigmas, measured, strict=True
            ):
                basis = "measured" if seen and not differing else "fitted"
                if not seen:
                    step = max(float(step), self.hosts.input_s(rows[place]))
                reach = math.hypot(float(sigma), MISMATCH_SIGMA * differing)
                found[place] = _prediction(rows[place], float(step), reach, basis)
        return found

    def unknown(self, row: Row, origin: str) -> str:
        """Why a configuration has no prediction."""
        models = {each.rows[0].cell("model") for each in self.series}
        model = row.cell("model")
        if model.lower() in {name.lower() for name in models}:
            return (
                f"{origin}, line {row.line}: {model} was measured, but not in the unit "
                f"{row.cell('unit')!r}" + (" nor with a batch" if row.batch else "")
            )
        return f"{origin}, line {row.line}: {model!r} was not measured{did_you_mean(model, models)}"

    def _nearest(self, row: Row, accelerator: str) -> tuple[list[int], int]:
        """Series of the model on the accelerator that differ in the least telling keys, and in how
        many of them."""
        model = row.cell("model").lower()
        known = row.batch is not None
        asked = [(name, value_of(row, name)) for name in self.keys]
        mark = (model, accelerator, str(known), *(value for _, value in asked))
        if mark not in self._looked_up:
            self._looked_up[mark] = self._look_up(model, accelerator, known, asked)
        return self._looked_up[mark]

    def _look_up(
        self, model: str, accelerator: str, known: bool, asked: Sequence[tuple[str, str]]
    ) -> tuple[list[int], int]:
        best: tuple[bool, ...] | None = None
        found: list[int] = []
        for index, each in enumerate(self.series):
            if each.model != model or each.accelerator != accelerator:
                continue
            if (each.rows[0].batch is not None) != known:
                continue
            differs = tuple(bool(value) and each.keys[name] != value for name, value in asked)
            if "unit" in self.keys and differs[self.keys.index("unit")]:
                continue
            if best is None or differs < best:
                best, found = differs, [index]
            elif differs == best:
                found.append(index)
        return found, sum(best or ())

    def _fit(self, members: Sequence[int]) -> Scaling:
        mark = tuple(members)
        if mark not in self._fits:
            rows = [row for index in members for row in self.series[index].rows]
            steps = np.array([row.step_s for row in rows])
            contention = self.hosts.contention(rows[0])
            self._fits[mark] = Scaling.fit(row_points(rows), steps, contention=contention)
        return self._fits[mark]

    def _transferred(self, row: Row) -> Prediction | None:
        """From the accelerators the model was measured on: on the curve that is carried over from the
        batches measured there, with their shape between."""
        near = []
        for accelerator in dict.fromkeys(each.accelerator for each in self.series):
            members, differing = self._nearest(row, accelerator)
            if members:
                near.append((accelerator, tuple(members), differing))
        if not near:
            return None
        fits = [(accelerator, self._fit(members)) for accelerator, members, _ in near]
        at = row_points([row])
        half = is_half(row.cell("precision"))
        mark = (tuple(near), accelerator_key(row.cell("accelerator")), half, at.places()[0])
        if mark not in self._curves:
            self._curves[mark] = self._carried_over(row, at, fits)
        step, sigma = self._curves[mark].at(float(at.batch[0]), float(_typical_s(fits, at)[0]))
        return _prediction(
            row,
            step,
            math.hypot(sigma, MISMATCH_SIGMA * min(each[2] for each in near)),
            "transferred",
        )

    def _carried_over(self, row: Row, at: Points, fits: Sequence[tuple[str, Scaling]]) -> "_Curve":
        """The curve at a row's placement: compute by `transfer`, exchange kept, made to rise."""
        batches = np.unique(np.concatenate([fit.knots for _, fit in fits]))
        some = np.unique(np.linspace(0, len(batches) - 1, MOST_CARRIED).round().astype(int))
        batches = batches[some] if len(batches) > MOST_CARRIED else batches
        rungs = replace(at.at(np.zeros(len(batches), dtype=int)), batch=batches)
        compute, open_ = self._alone_there(row, rungs.alone(), fits)
        exchanges = np.array([fit.step_s(rungs) - fit.step_s(rungs.alone()) for _, fit in fits])
        # More devices that were quicker than one, somewhere else, promise nothing here.
        exchange = np.maximum(np.median(exchanges, axis=0), 0.0)
        apart = [
            deviation_of_another(found, EXCHANGE_SIGMA * middle)
            for found, middle in zip(exchanges.T, exchange, strict=True)
        ]
        total = compute + exchange
        # The reading it is compared with is as noisy as those elsewhere.
        noise = float(np.median([fit.deviation.noise for _, fit in fits]))
        sigma = np.sqrt((open_ * compute / total) ** 2 + (apart / total) ** 2 + noise**2)
        return _Curve(batches, _typical_s(fits, rungs), isotonic_regression(total).x, sigma)

    def _alone_there(
        self, row: Row, rungs: Points, fits: Sequence[tuple[str, Scaling]]
    ) -> tuple[Floats, Floats]:
        """Steps of one device on the row's accelerator, and their log-standard-deviations."""
        target = sheet(row.cell("accelerator"), self.accelerators)
        known = [each for each in fits if each[0] in self.transfer.sheets]
        if target is None or not known:
            return _typical_s(fits, rungs), np.full(len(rungs), UNKNOWN_SIGMA)
        model, half = row.cell("model").lower(), is_half(row.cell("precision"))
        fixed = least_fixed_s([_alone(fit) for _, fit in known])
        steps = [fit.step_s(rungs) for _, fit in known]
        sigmas = [self.spread.sigma(fit, rungs)[0] for _, fit in known]
        found = []
        for k, batch in enumerate(rungs.batch):
            sources = {
                name: (float(step[k]), float(sigma[k]))
                for (name, _), step, sigma in zip(known, steps, sigmas, strict=True)
            }
            found.append(self.transfer.step_s(model, half, float(batch), target, sources, fixed))
        compute, open_ = np.array(found).T
        return compute, open_


@dataclass(frozen=True, slots=True)
class _Curve:
    """Steps and their log-standard-deviations at batches, and what the sources typically take there;
    all but the deviations rising."""

    batch: Floats
    typical_s: Floats
    step_s: Floats
    sigma: Floats

    def at(self, batch: float, typical_s: float) -> tuple[float, float]:
        """Between them in the sources' shape, beyond them in their proportion."""
        inside = float(np.clip(typical_s, self.typical_s[0], self.typical_s[-1]))
        step = float(np.interp(inside, self.typical_s, self.step_s)) * typical_s / inside
        return step, float(np.interp(math.log(batch), np.log(self.batch), self.sigma))


def _typical_s(fits: Sequence[tuple[str, Scaling]], at: Points) -> Floats:
    """The geometric mean of what the sources take, shape (points,)."""
    return np.asarray(np.exp(np.mean([np.log(fit.step_s(at)) for _, fit in fits], axis=0)))


def deviation_of_another(found: Sequence[float] | Floats, guess: float) -> float:
    """The deviation that makes a normal's 90 % interval as wide as Student's of one more of the found,
    whose own deviation is guessed beforehand as if from PRIOR_EXCHANGES of them."""
    count, freedom = len(found), PRIOR_EXCHANGES + len(found) - 1
    squares = PRIOR_EXCHANGES * guess**2 + len(found) * float(np.var(found))
    wider = float(stats.t.ppf(0.95, freedom)) / Z95
    return wider * math.sqrt(squares / freedom * (1 + 1 / count))


def _alone(fit: Scaling) -> tuple[list[float], Floats]:
    """The batches that a series was measured at, and their step seconds on one device."""
    batches = fit.knots.tolist()
    return batches, fit.step_s(points([(batch, 1, 1, 1) for batch in batches]))


def predicted_cells(one: Prediction | None) -> dict[str, str]:
    """The columns that a prediction adds to its row, empty where there is none."""
    if one is None:
        return dict.fromkeys(("throughput_pred", "p05", "p95", "basis"), "")
    return {
        "throughput_pred": f"{one.throughput:.6g}",
        "p05": f"{one.p05:.6g}",
        "p95": f"{one.p95:.6g}",
        "basis": one.basis,
    }


def _prediction(row: Row, step_s: float, sigma: float, basis: str) -> Prediction:
    middle = row.work / step_s
    reach = math.exp(Z95 * sigma)
    return Prediction(middle, middle / reach, middle * reach, basis)
