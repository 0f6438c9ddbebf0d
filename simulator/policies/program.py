"""The linear program behind sharing policies, stated once: in PuLP, and for an interior-point method.

    Given       there[t] GPUs, gpus[j] of a gang, a[j, t], b[j], r[j], c[j, t], d
    Choose      X[j, t] >= 0, z free
    Maximise    sum of c[j, t] X[j, t] + d z
    Subject to  time[j]:  sum over t of X[j, t] <= 1
                room[t]:  sum over j of gpus[j] X[j, t] <= there[t]
                rate[j]:  sum over t of a[j, t] X[j, t] >= r[j] + b[j] z

The optimum is seldom unique, and which optimal X is taken shows in the replay: completion times move by
up to 4 % between a vertex and the middle of the optimal face. `central` goes to the middle, as the
interior-point solvers do with which the policies were published; it treats jobs that are alike
alike, and solves a trace's thousands of programs in about a millisecond each.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pulp

from ..rounds import Floats

MOST_STEPS = 60
CENTRED = 1e-4
CLOSE = 1e-8  # relative gap
FEASIBLE = (
    1e-6  # relative violation; the elimination loses digits that refinement would cost time to keep
)
TO_THE_BOUNDARY = 0.99
LEAST_CENTERING = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """The data of the program; see the module. A row with a = 0, b = 0 and r = -1 asks nothing."""

    there: Floats
    gpus: Floats
    a: Floats
    b: Floats
    r: Floats
    c: Floats
    d: float


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """shares X, z, and whether an optimum was found (otherwise the program has none)."""

    shares: Floats
    z: float
    optimal: bool


Solve = Callable[[Program], Solution]


def by_pulp(program: Program) -> Solution:
    """A vertex of the optimal face, by HiGHS through PuLP."""
    model, x, z = stated(program)
    status = model.solve(pulp.HiGHS(msg=False))
    jobs, kinds = program.a.shape
    shares = np.array([[x[j, t].value() or 0.0 for t in range(kinds)] for j in range(jobs)])
    optimal = status == pulp.LpStatusOptimal
    return Solution(shares.clip(0, 1), z.value() or 0.0, optimal)


def stated(
    program: Program,
) -> tuple[pulp.LpProblem, dict[tuple[int, int], pulp.LpVariable], pulp.LpVariable]:
    """The program in PuLP, with its variables X and z."""
    jobs, kinds = program.a.shape
    a, c, b = program.a.tolist(), program.c.tolist(), program.b.tolist()
    model = pulp.LpProblem("shares", pulp.LpMaximize)
    x = {
        (j, t): model.add_variable(f"X_{j}_{t}", lowBound=0)
        for j in range(jobs)
        for t in range(kinds)
    }
    z = model.add_variable("z")
    model += pulp.LpAffineExpression([(x[j, t], c[j][t]) for j, t in x] + [(z, program.d)])
    for j in range(jobs):
        mine = [x[j, t] for t in range(kinds)]
        model += pulp.lpSum(mine) <= 1, f"time_{j}"
        terms = [*zip(mine, a[j], strict=True), (z, -b[j])]
        rate = pulp.LpAffineExpression(terms)
        model += rate >= float(program.r[j]), f"rate_{j}"
    for t in range(kinds):
        used = pulp.LpAffineExpression([(x[j, t], float(program.gpus[j])) for j in range(jobs)])
        model += used <= float(program.there[t]), f"room_{t}"
    return model, x, z


class Rows(NamedTuple):
    """A value for every inequality: X[j, t] >= 0, time[j], room[t] and rate[j]; slacks or multipliers."""

    x: Floats
    time: Floats
    room: Floats
    rate: Floats

    def dot(self, other: "Rows") -> float:
        return float(
            self.x.ravel() @ other.x.ravel()
            + self.time @ other.time
            + self.room @ other.room
            + self.rate @ other.rate
        )


class Point(NamedTuple):
    """X and z."""

    x: Floats
    z: float


def central(program: Program) -> Solution:
    """The optimum of `interior`; a vertex where its numbers fail (then `by_pulp` also says whether there is one)."""
    try:
        with np.errstate(all="ignore"):
            found = interior(program)
    except np.linalg.LinAlgError:
        return by_pulp(program)
    return found if found.optimal and np.isfinite(found.shares).all() else by_pulp(program)


def interior(program: Program) -> Solution:
    """An optimum near the middle of the optimal face, by an interior-point method.

    With y = (X, z): minimise c.y subject to G y + s = h, s >= 0, in the homogeneous self-dual embedding

        G'l + c tau = 0,  G y + s = h tau,  kappa = -(c.y + h.l),  s l = 0, tau kappa = 0

    with Mehrotra's predictor and corrector and one length for all steps, as in CVXOPT and ECOS (Domahidi et
    al., 2013), which also start from least squares. tau -> 0 says that there is no solution.
    """
    system, z_scale = _scaled(program)
    count = sum(part.size for part in system.h) + 1
    newton = _Newton(system, Rows(*(np.ones_like(part) for part in system.h)))
    # Least squares: primal with c = 0, dual with h = 0, both shifted inside.
    nothing = Rows(*(np.zeros_like(part) for part in system.h))
    point, missing = newton.solve(Point(nothing.x, 0.0), system.h)
    slack = _inside(Rows(*(-part for part in missing)))
    duals = _inside(newton.solve(system.minus_c, nothing)[1])
    tau = kappa = 1.0
    optimal = False
    for _ in range(MOST_STEPS):
        r_point = system.dual_residual(duals, tau)
        r_rows = system.primal_residual(point, slack, tau)
        cost, shadow = system.cost(point), system.h.dot(duals)
        r_tau = -(kappa + cost + shadow)
        gap = slack.dot(duals)
        missed = max(
            max(float(np.abs(part).max()) for part in r_rows) / system.size_h,
            max(float(np.abs(r_point.x).max()), abs(r_point.z)) / system.size_c,
        )
        if missed < FEASIBLE * tau and gap < CLOSE * tau * max(tau, abs(cost)):
            optimal = True
            break
        if tau < 1e-6 * kappa and shadow < 0:
            break  # a certificate that the rows contradict each other
        mu = (gap + kappa * tau) / count
        newton = _Newton(system, Rows(*(a / b for a, b in zip(slack, duals, strict=True))))
        point_1, duals_1 = newton.solve(system.minus_c, system.h)
        slope = system.cost(point_1) + system.h.dot(duals_1) - kappa / tau
        m_rows = Rows(*(-a * b for a, b in zip(slack, duals, strict=True)))
        m_tau = -kappa * tau
        keep = 1.0
        for corrector in (False, True):
            rows = Rows(*(keep * a - b / c for a, b, c in zip(r_rows, m_rows, duals, strict=True)))
            point_2, duals_2 = newton.solve(Point(keep * r_point.x, keep * r_point.z), rows)
            d_tau = (
                keep * r_tau - m_tau / tau - system.cost(point_2) - system.h.dot(duals_2)
            ) / slope
            d_point = Point(point_2.x + d_tau * point_1.x, point_2.z + d_tau * point_1.z)
            d_duals = Rows(*(a + d_tau * b for a, b in zip(duals_2, duals_1, strict=True)))
            d_slack = Rows(
                *((m - s * d) / l for m, s, d, l in zip(m_rows, slack, d_duals, duals, strict=True))
            )
            d_kappa = (m_tau - kappa * d_tau) / tau
            length = _longest(slack, d_slack, duals, d_duals, (tau, d_tau), (kappa, d_kappa))
            if corrector:
                break
            sigma = min(max((1 - min(length, 1.0)) ** 3, LEAST_CENTERING), 1.0)
            keep = 1 - sigma
            m_rows = Rows(
                *(m + sigma * mu - a * b for m, a, b in zip(m_rows, d_slack, d_duals, strict=True))
            )
            m_tau += sigma * mu - d_kappa * d_tau
        length = min(1.0, TO_THE_BOUNDARY * length)
        point = Point(point.x + length * d_point.x, point.z + length * d_point.z)
        slack = Rows(*(a + length * b for a, b in zip(slack, d_slack, strict=True)))
        duals = Rows(*(a + length * b for a, b in zip(duals, d_duals, strict=True)))
        tau, kappa = tau + length * d_tau, kappa + length * d_kappa
    return Solution((point.x / tau).clip(0, 1), point.z / tau / z_scale, optimal)


def centred(program: Program, shares: Floats) -> Floats:
    """The analytic centre of a program without z, from any inner point: max sum of the slacks' logarithms.

    Where nothing is maximised, an interior-point method stops close to it. Newton's method, damped so
    that every slack stays positive; shares come back as they are where they are not inside.
    """
    system, _ = _scaled(program)
    nothing = Rows(*(np.zeros_like(part) for part in system.h))
    point = Point(shares, 0.0)
    for _ in range(MOST_STEPS):
        slack = system.primal_residual(point, nothing, 1.0)
        if min(float(part.min()) for part in slack) <= 0:
            return shares
        newton = _Newton(system, Rows(*(part**2 for part in slack)))
        # G'(G d + s)/s^2 = 0 is the Newton step d of sum of log s, s = h - G y.
        step, _ = newton.solve(Point(np.zeros_like(shares), 0.0), Rows(*(-part for part in slack)))
        after = system.primal_residual(Point(point.x + step.x, 0.0), nothing, 1.0)
        change = [(b - a) / a for a, b in zip(slack, after, strict=True)]
        size = math.sqrt(sum(float((part**2).sum()) for part in change))
        point = Point(point.x + step.x / (1.0 + size), 0.0)
        if size < CENTRED:
            break
    return point.x


@dataclass(frozen=True, slots=True, eq=False)
class _System:
    """The program scaled, as a minimisation: G y <= h, c."""

    g: Floats
    a: Floats
    b: Floats
    h: Rows
    minus_c: Point
    size_h: float
    size_c: float

    def cost(self, point: Point) -> float:
        return -float(self.minus_c.x.ravel() @ point.x.ravel()) - self.minus_c.z * point.z

    def primal_residual(self, point: Point, slack: Rows, tau: float) -> Rows:
        """h tau - G y - s."""
        x, h = point.x, self.h
        return Rows(
            x - slack.x,
            h.time * tau - x.sum(axis=1) - slack.time,
            h.room * tau - self.g[:, 0] @ x - slack.room,
            h.rate * tau + (self.a * x).sum(axis=1) - self.b * point.z - slack.rate,
        )

    def dual_residual(self, duals: Rows, tau: float) -> Point:
        """-(G'l + c tau)."""
        x, time, room, rate = duals
        down = self.minus_c.x * tau + x - time[:, None] - self.g * room + self.a * rate[:, None]
        return Point(down, self.minus_c.z * tau - float(self.b @ rate))


def _scaled(program: Program) -> tuple[_System, float]:
    """Rate rows with a largest a of 1, room in clusters, z so that b is up to 1, c up to 1."""
    row = np.abs(program.a).max(axis=1)
    row = np.where(row > 0, row, 1.0)
    a, b, r = program.a / row[:, None], program.b / row, program.r / row
    z_scale = float(np.abs(b).max()) or 1.0
    c_scale = float(np.abs(program.c).max()) or 1.0
    h = Rows(np.zeros_like(a), np.ones(len(a)), program.there.astype(float), -r)
    c = Point(program.c / c_scale, 1.0 if program.d else 0.0)
    size_h = max(1.0, max(float(np.linalg.norm(part)) for part in h))
    size_c = max(1.0, float(np.linalg.norm(c.x)), abs(c.z))
    system = _System(program.gpus[:, None], a, b / z_scale, h, c, size_h, size_c)
    return system, z_scale


class _Newton:
    """G'l = e, G y - W l = f for (y, l), W diagonal.

    X and its multipliers are eliminated first, then two multipliers a job (rate, and minus time: by pivots,
    which is stable where the inverse of the 2 x 2 matrix is not). One equation an accelerator and one
    for z are left.
    """

    def __init__(self, system: _System, weights: Rows) -> None:
        self._system, self._weights = system, weights
        g, a, b = system.g, system.a, system.b
        jobs, kinds = a.shape
        free = weights.x
        af, gf = a * free, g * free
        total, cross, squares = free.sum(axis=1), af.sum(axis=1), (a * af).sum(axis=1)
        k11 = squares + weights.rate
        # squares total - cross^2, written as a variance: the difference would cancel near the optimum.
        spread = (free * (a - (cross / total)[:, None]) ** 2).sum(axis=1) * total
        det = spread + weights.rate * total + weights.time * squares + weights.rate * weights.time
        self._free, self._gf, self._gaf = free, gf, g * af
        self._k11, self._cross, self._lower, self._pivot = k11, cross, cross / k11, det / k11
        to_y = np.concatenate([self._gaf, b[:, None]], axis=1)
        to_p = np.concatenate([gf, np.zeros((jobs, 1))], axis=1)
        self._ps = (to_p - self._lower[:, None] * to_y) / self._pivot[:, None]
        self._ys = (to_y - cross[:, None] * self._ps) / k11[:, None]
        border = np.empty((kinds + 1, kinds + 1))
        border[:kinds] = self._gaf.T @ self._ys + gf.T @ self._ps
        border[range(kinds), range(kinds)] -= (g * gf).sum(axis=0) + weights.room
        border[kinds] = b @ self._ys
        if not b.any():
            border[kinds, kinds] = 1.0  # no z in the program
        self._inverse = np.linalg.inv(border)

    def solve(self, e: Point, f: Rows) -> tuple[Point, Rows]:
        g, a, b = self._system.g, self._system.a, self._system.b
        w = self._weights
        base = w.x * e.x - f.x  # X = base + W_x (a rate - time - g room)
        to_time = f.time - base.sum(axis=1)
        to_rate = -f.rate - (a * base).sum(axis=1)
        minus_time = (to_time - self._lower * to_rate) / self._pivot
        rate = (to_rate - self._cross * minus_time) / self._k11
        right = np.append(
            f.room - g[:, 0] @ base - rate @ self._gaf - minus_time @ self._gf, e.z - b @ rate
        )
        last = self._inverse @ right
        room, z = last[:-1], float(last[-1])
        rate = rate + self._ys @ last
        time = -(minus_time + self._ps @ last)
        at_zero = time[:, None] + g * room - a * rate[:, None] - e.x
        return Point(-f.x - w.x * at_zero, z), Rows(at_zero, time, room, rate)


def _inside(values: Rows) -> Rows:
    """The values, all raised alike where one is not above 0."""
    least = min(float(part.min()) for part in values)
    return values if least > 0 else Rows(*(part + (1 - least) for part in values))


def _longest(
    slack: Rows, d_slack: Rows, duals: Rows, d_duals: Rows, *pairs: tuple[float, float]
) -> float:
    """The longest step up to 1 / TO_THE_BOUNDARY along which all values stay positive."""
    worst = min(change / value for value, change in pairs)
    for values, changes in ((slack, d_slack), (duals, d_duals)):
        for value, change in zip(values, changes, strict=True):
            worst = min(worst, float((change / value).min()))
    return min(1 / TO_THE_BOUNDARY, -1 / worst) if worst < 0 else 1 / TO_THE_BOUNDARY
