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

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pulp
from scipy.linalg.lapack import dgesv

from ..rounds import Floats

MOST_STEPS = 60
CENTRING_STEPS = 300  # few are needed, but for damped ones from a point close to the boundary
EQUILIBRATIONS = 3
CENTRED = 1e-4
CLOSE, NEARLY = 1e-7, 1e-6  # relative gaps: aimed at, and accepted where digits run out
FEASIBLE = 1e-6  # relative violation
TO_THE_BOUNDARY = 0.99
LEAST_CENTRING = 1e-4


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


def central(program: Program) -> Solution:
    """The optimum by `interior`; a vertex where its numbers fail (`by_pulp` then also says if there is one)."""
    try:
        with np.errstate(all="ignore"):
            found = interior(program)
    except np.linalg.LinAlgError:
        return by_pulp(program)
    return found if found.optimal and np.isfinite(found.shares).all() else by_pulp(program)


def interior(program: Program) -> Solution:
    """An optimum near the middle of the optimal face, by an interior-point method.

    With y = (X, z) and the inequalities as rows of G: minimise c.y subject to G y + s = h, s >= 0, in the
    homogeneous self-dual embedding

        G'l + c tau = 0,  G y + s = h tau,  kappa = -(c.y + h.l),  s l = 0, tau kappa = 0

    with Mehrotra's predictor and corrector and one length for all steps, as CVXOPT and ECOS do (Domahidi,
    Chu, Boyd, 2013). From them also the start: least squares in equilibrated rows, shifted inside. tau
    falls to 0 where there is no solution.
    """
    rows = _Rows(program)
    h, c_x, c_z = rows.h, np.ascontiguousarray(-program.c.T), -program.d
    priced = bool(c_x.any())
    size_h, size_c = max(1.0, float(np.linalg.norm(h))), max(1.0, float(np.linalg.norm(c_x)), -c_z)
    right_x = np.stack([-c_x, np.zeros_like(c_x)])
    right_z = np.array([-c_z, 0.0])
    right_h = np.stack([h, h])

    scale = _equilibrated(rows)
    flat = np.zeros_like(h)
    starts_x, starts_z, starts = _Newton(rows, scale**-2).solve(
        right_x[::-1], right_z[::-1], np.stack([h, flat])
    )
    slack, duals = _inside(-starts[0] * scale) / scale, _inside(starts[1] / scale) * scale
    x, z = starts_x[0], float(starts_z[0])
    tau = kappa = 1.0
    good: tuple[Floats, float, float] | None = None
    for _ in range(MOST_STEPS):
        r_x, r_z = rows.transposed(duals)
        np.negative(r_x, out=r_x)
        r_z = -r_z - c_z * tau
        cost, shadow = c_z * z, float(h.dot(duals))
        if priced:
            r_x -= c_x * tau
            cost += float(np.vdot(c_x, x))
        r_h = h * tau
        r_h -= rows.times(x, z)
        r_h -= slack
        both = slack * duals
        gap = float(slack.dot(duals))
        near = gap / (tau * max(tau, abs(cost)))
        if near < NEARLY or good is not None:
            missed = max(_largest(r_h) / size_h, _largest(r_x.ravel()) / size_c, abs(r_z) / size_c)
            if missed < FEASIBLE * tau:
                if near < NEARLY:
                    good = x, z, tau
                if near < CLOSE:
                    break
            elif good is not None:
                break  # the last digits are used up; the step before was good
        if tau < 1e-6 * kappa and shadow < 0:
            break  # the multipliers prove that the rows contradict each other
        newton = _Newton(rows, slack / duals)
        mu = (gap + kappa * tau) / (len(h) + 1)
        right_x[1], right_z[1], right_h[1] = r_x, r_z, r_h + slack
        (x_1, x_2), (z_1, z_2), (l_1, l_2) = newton.solve(right_x, right_z, right_h)
        slope = c_z * z_1 + float(h.dot(l_1)) - kappa / tau
        if priced:
            slope += float(np.vdot(c_x, x_1))
        r_tau = -(kappa + cost + shadow)

        # Predictor: sigma = 0. As s dl + l ds = -s l, the slacks change by the part -1 - dl / l.
        change = r_tau + kappa - c_z * z_2 - float(h.dot(l_2))
        if priced:
            change -= float(np.vdot(c_x, x_2))
        d_tau = change / slope
        d_kappa = -kappa - kappa * d_tau / tau
        part = (l_2 + l_1 * d_tau) / duals  # the change of the duals, as a part of themselves
        length = _length(part.min(), -1 - part.max(), d_tau / tau, d_kappa / kappa)
        sigma = min(max((1 - length) ** 3, LEAST_CENTRING), 1.0)
        keep = 1 - sigma
        # Corrector: s dl + l ds = m, with the predictor's own ds dl taken off.
        m_tau = sigma * mu - kappa * tau - d_kappa * d_tau
        m_part = (part + 1) * part
        m_part -= 1
        m_part += sigma * mu / both
        many_x, many_z, many_l = newton.solve(
            keep * r_x[None], np.array([keep * r_z]), (keep * r_h - m_part * slack)[None]
        )
        x_2, z_2, l_2 = many_x[0], float(many_z[0]), many_l[0]
        change = keep * r_tau - m_tau / tau - c_z * z_2 - float(h.dot(l_2))
        if priced:
            change -= float(np.vdot(c_x, x_2))
        d_tau = change / slope
        d_kappa = (m_tau - kappa * d_tau) / tau
        part = (l_2 + l_1 * d_tau) / duals
        m_part -= part
        length = TO_THE_BOUNDARY * _length(part.min(), m_part.min(), d_tau / tau, d_kappa / kappa)
        x = x + length * (x_2 + d_tau * x_1)
        z += length * float(z_2 + d_tau * z_1)
        part *= length
        part += 1
        duals = duals * part
        m_part *= length
        m_part += 1
        slack = slack * m_part
        tau, kappa = tau + length * d_tau, kappa + length * d_kappa
    if good is None:
        return Solution(program.c, 0.0, False)
    x, z, tau = good
    return Solution((x.T / tau).clip(0, 1), z / tau, True)


def _largest(values: Floats) -> float:
    """The largest absolute value."""
    return max(float(values.max()), -float(values.min()))


def _length(*parts: float) -> float:
    """How far one can go, to 1 at most, until the first of several changes has taken all there is."""
    worst = min(parts)
    return 1.0 if worst >= -1 else float(-1 / worst)


def _inside(values: Floats) -> Floats:
    """The values, all raised alike where one is not above 0."""
    least = float(values.min())
    return values if least > 0 else values + (1 - least)


def centred(program: Program, shares: Floats, *, of_times: bool = False) -> Floats:
    """The analytic centre of a program without z, from any inner point: max sum of the slacks' logarithms.

    Where nothing is maximised, an interior-point method stops close to it. of_times: rows of rate bound a
    time t <= 1/r, and a conic solver is given t rate >= 1 as a cone of second order. CVXOPT's and ECOS's
    barrier counts that by half, log(t rate - 1)/2 + log(1/r - t); at its largest, t = (rate + 2r)/(3 r rate),
    it is 1.5 log(rate - r) - log(rate) but for a constant. There r > 0. Newton's method, damped so that
    every slack stays positive; shares come back as they are where they are not inside.
    """
    rows = _Rows(program)
    x = np.ascontiguousarray(shares.T)
    still = np.zeros((1, *x.shape))
    slack = rows.h - rows.times(x, 0.0)
    if float(slack.min()) <= 0:
        return shares

    def slope(at: Floats) -> Floats:
        found = 1 / at
        if of_times:
            found[rows.rate] = 1.5 / at[rows.rate] - 1 / (at[rows.rate] + program.r)
        return found

    for _ in range(CENTRING_STEPS):
        bend = slack**-2
        if of_times:
            bend[rows.rate] = 1.5 * bend[rows.rate] - (slack[rows.rate] + program.r) ** -2
        # The Newton step d of the sum of f(s), s = h - G y, f' the slope, f'' minus the bend:
        # G'(bend G d + slope) = 0.
        weights = 1 / bend
        right = -(slope(slack) * weights)[None]
        step = _Newton(rows, weights).solve(still, np.zeros(1), right)[0][0]
        change = -rows.times(step, 0.0)
        size = float(np.linalg.norm(change / slack))
        # Nearly to the boundary if the sum still rises there, so was below all the way; else damped.
        length = min(1.0, 0.9 / max(-float((change / slack).min()), 1e-9))
        if float(slope(slack + length * change) @ change) < 0:
            length = 1 / (1 + size)
        x = x + length * step
        slack = rows.h - rows.times(x, 0.0)
        if size < CENTRED or float(slack.min()) <= 0:
            break
    return x.T


class _Rows:
    """G y <= h: the rows -X <= 0, time, room and rate below each other in one vector.

    Here and below X and a lie as [accelerator, job]: there are many jobs and few accelerators, and NumPy is
    quick along the last axis. Its dot is twice as quick as @ on arrays so small, which is half of the time.
    """

    def __init__(self, program: Program) -> None:
        jobs, kinds = program.a.shape
        self.g, self.a, self.b = program.gpus, np.ascontiguousarray(program.a.T), program.b
        self.kinds, self.has_z = kinds, bool(program.b.any())
        self.ones, self.identity = np.ones(kinds), np.eye(kinds + 1)
        self.x = slice(0, jobs * kinds)
        self.time = slice(self.x.stop, self.x.stop + jobs)
        self.room = slice(self.time.stop, self.time.stop + kinds)
        self.rate = slice(self.room.stop, self.room.stop + jobs)
        self.h = np.concatenate([np.zeros(jobs * kinds), np.ones(jobs), program.there, -program.r])

    def times(self, x: Floats, z: float) -> Floats:
        """G y."""
        rate = self.b * z - self.ones.dot(self.a * x)
        return np.concatenate([-x.ravel(), self.ones.dot(x), x.dot(self.g), rate])

    def transposed(self, duals: Floats) -> tuple[Floats, float]:
        """G'l, for X and for z."""
        rate = duals[self.rate]
        down = duals[self.room, None] * self.g + duals[self.time]
        down -= self.a * rate
        down -= duals[self.x].reshape(down.shape)
        return down, float(self.b.dot(rate))


def _equilibrated(rows: _Rows) -> Floats:
    """Factors of the rows that, with some of the columns, bring the largest entries of G near 1 (Ruiz)."""
    a, b, g = np.abs(rows.a), np.abs(rows.b), rows.g
    kinds, jobs = a.shape
    x, time, room, rate = np.ones((kinds, jobs)), np.ones(jobs), np.ones((kinds, 1)), np.ones(jobs)
    column, last = np.ones((kinds, jobs)), 1.0
    for _ in range(EQUILIBRATIONS):
        in_x, in_time = x * column, time * column
        in_room, in_rate, in_z = g * room * column, a * rate * column, b * rate * last
        columns = np.maximum(np.maximum(in_x, in_time), np.maximum(in_room, in_rate))
        x /= _root(in_x)
        time /= _root(in_time.max(axis=0))
        room /= _root(in_room.max(axis=1, keepdims=True))
        rate /= _root(np.maximum(in_rate.max(axis=0), in_z))
        column /= _root(columns)
        last /= float(_root(in_z.max()))
    return np.concatenate([x.ravel(), time, room.ravel(), rate])


def _root(largest: Floats) -> Floats:
    return np.sqrt(np.where(largest > 1e-6, largest, 1.0))


class _Newton:
    """G'l = e, G y - W l = f for (y, l), with W diagonal.

    X and its multipliers are eliminated first, then two multipliers a job (of rate, and minus that of
    time) by pivots, which is stable where the inverse of the 2 x 2 matrix is not. One equation an
    accelerator and one for z are left.
    """

    def __init__(self, rows: _Rows, weights: Floats) -> None:
        a, b, ones, g, kinds = rows.a, rows.b, rows.ones, rows.g, rows.kinds
        w_x = weights[rows.x].reshape(a.shape)
        w_time, w_rate = weights[rows.time], weights[rows.rate]
        aw, gw = a * w_x, g * w_x
        total, cross, squares = ones.dot(w_x), ones.dot(aw), ones.dot(a * aw)
        k11 = squares + w_rate
        # squares total - cross^2, written as a variance: the difference would cancel near the optimum.
        spread = ones.dot(w_x * (a - cross / total) ** 2) * total
        pivot = (spread + w_rate * total + w_time * k11) / k11
        lower = cross / k11
        to_y = np.empty((kinds + 1, len(b)))
        to_y[:kinds], to_y[kinds] = g * aw, b
        to_p = np.zeros(to_y.shape)
        to_p[:kinds] = gw
        by_p = (to_p - lower * to_y) / pivot
        by_y = (to_y - cross * by_p) / k11
        border = to_y.dot(by_y.T) + to_p.dot(by_p.T)
        border.ravel()[: -1 : kinds + 2] -= gw.dot(g) + weights[rows.room]  # the diagonal but for z
        if not rows.has_z:
            border[kinds, kinds] = 1.0  # no z in the program
        *_, inverse, failed = dgesv(border, rows.identity)
        if failed:
            raise np.linalg.LinAlgError("singular border")
        self._rows, self._w_x = rows, w_x
        self._k11, self._cross, self._lower, self._pivot = k11, cross, lower, pivot
        self._to_y, self._to_p, self._by_y, self._by_p = to_y.T, to_p.T, by_y, by_p
        self._inverse = inverse.T

    def solve(self, e_x: Floats, e_z: Floats, f: Floats) -> tuple[Floats, Floats, Floats]:
        """(X, z, l) for several right sides at once: the first axis of all arrays."""
        rows, w_x, kinds = self._rows, self._w_x, self._rows.kinds
        f_x = f[:, rows.x].reshape(e_x.shape)
        base = w_x * e_x - f_x  # X = base + W_x (a rate - time - g room)
        to_time = f[:, rows.time] - rows.ones.dot(base)
        to_rate = -f[:, rows.rate] - rows.ones.dot(rows.a * base)
        minus_time = (to_time - self._lower * to_rate) / self._pivot
        rate = (to_rate - self._cross * minus_time) / self._k11
        right = -rate.dot(self._to_y) - minus_time.dot(self._to_p)
        right[:, :kinds] += f[:, rows.room] - base.dot(rows.g)
        right[:, kinds] += e_z
        last = right.dot(self._inverse)
        rate += last.dot(self._by_y)
        time = -minus_time - last.dot(self._by_p)
        room = last[:, :kinds]
        at_zero = room[:, :, None] * rows.g + time[:, None]
        at_zero -= rows.a * rate[:, None]
        at_zero -= e_x
        duals = np.concatenate([at_zero.reshape(len(f), -1), time, room, rate], axis=1)
        return -f_x - w_x * at_zero, last[:, kinds], duals
