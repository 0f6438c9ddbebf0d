"""Sharing policies that are linear programs (Gavel, OSDI 2020, section 4): what each maximises.

T[j, t] is rates, g gpus, P[j] = sum over t of T[j, t] there[t] / sum of there: a job's speed if every
accelerator had its part in it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import brentq

from ..cluster import Cluster
from ..rounds import Floats, Jobs, Share
from .program import Program, Solve, central, centred
from .shares import isolated


@dataclass(frozen=True, slots=True)
class Optimal:
    """Shares by a function of the jobs and a solver."""

    name: str
    find: Callable[[Jobs, Solve], Floats]
    shuffles: bool = False
    solve: Solve = central
    fills: bool = True

    def share(self, cluster: Cluster) -> Share:
        return lambda jobs: self.find(jobs, self.solve)


def max_min(jobs: Jobs, solve: Solve) -> Floats:
    """Maximise the least of g[j] T X[j] / (weight[j] P[j]), heterogeneity-aware."""
    return _max_min(jobs, jobs.rates, solve)


def max_min_agnostic(jobs: Jobs, solve: Solve) -> Floats:
    """The same with T = 1 everywhere: fair in time, blind to speed."""
    return _max_min(jobs, np.ones_like(jobs.rates), solve)


def _max_min(jobs: Jobs, rates: Floats, solve: Solve) -> Floats:
    part = jobs.there / jobs.there.sum()
    scale = jobs.gpus / (jobs.weight * (rates @ part))
    n = len(jobs)
    a = rates * scale[:, None]
    program = Program(jobs.there, jobs.gpus, a, np.ones(n), np.zeros(n), np.zeros_like(rates), 1.0)
    return solve(program).shares


def steps_per_s(jobs: Jobs) -> Floats:
    """T in training steps, where all jobs' are known: a sum over jobs needs one unit, and seconds of the trace's
    own durations are worth the same for every job.
    """
    steps = [task.job.total_steps for task in jobs.tasks]
    if None in steps:
        return jobs.rates
    return jobs.rates * (np.array(steps) / [task.work for task in jobs.tasks])[:, None]


def max_sum(jobs: Jobs, solve: Solve) -> Floats:
    """Maximise the sum of T X, in steps per second."""
    return solve(_sum(jobs, steps_per_s(jobs))).shares


def per_dollar(jobs: Jobs, solve: Solve) -> Floats:
    """Maximise the sum of T X / price: steps for money."""
    return solve(_sum(jobs, steps_per_s(jobs) / _prices(jobs))).shares


def per_dollar_in_time(jobs: Jobs, solve: Solve) -> Floats:
    """The same, every job with a deadline at left / time left or faster; without it where impossible."""
    plain = _sum(jobs, steps_per_s(jobs) / _prices(jobs))
    hurry = np.isfinite(jobs.deadline_s) & (jobs.deadline_s > 0)
    if not hurry.any():
        return solve(plain).shares
    need = np.where(hurry, jobs.left / np.where(hurry, jobs.deadline_s, 1.0), -1.0)
    rates = np.where(hurry[:, None], jobs.rates, 0.0)
    none = np.zeros(len(jobs))
    # Whether the deadlines can be kept at all: the largest z with every rate at z times its need.
    most = solve(
        Program(
            jobs.there,
            jobs.gpus,
            rates,
            np.where(hurry, need, 0.0),
            np.where(hurry, 0.0, -1.0),
            np.zeros_like(rates),
            1.0,
        )
    )
    if most.z < 1.0:
        return solve(plain).shares
    return solve(Program(jobs.there, jobs.gpus, rates, none, need, plain.c, 0.0)).shares


def _prices(jobs: Jobs) -> Floats:
    return np.where(jobs.usd_per_gpu_h > 0, jobs.usd_per_gpu_h, 1.0)


def _sum(jobs: Jobs, value: Floats) -> Program:
    none = np.zeros(len(jobs))
    return Program(jobs.there, jobs.gpus, np.zeros_like(value), none, none - 1.0, value, 0.0)


def makespan(jobs: Jobs, solve: Solve) -> Floats:
    """Minimise the time D by which all are done: maximise z = 1/D with T X >= left z."""
    none = np.zeros(len(jobs))
    return solve(
        Program(jobs.there, jobs.gpus, jobs.rates, jobs.left, none, np.zeros_like(jobs.rates), 1.0)
    ).shares


SHORTEST_S, LONGEST_S, NEAR = 100.0, 1e6, 1.05
INSIDE = 1e-7  # keeps a share of 0 off the boundary
ROOM_FOR_CENTRE = 1e-4  # of rho; bisection knows it to 1e-5


def makespan_bisected(jobs: Jobs, solve: Solve) -> Floats:
    """Some X by which all are done in D, D within 5 % of the shortest, as published with Gavel.

    There D is bisected between 100 and 1e6 s until the bounds are a factor 1.05 apart, and the last D for
    which the program has a solution gives X. Which D these are follows from the shortest, 1/z.
    """
    none = np.zeros(len(jobs))
    flat = np.zeros_like(jobs.rates)
    best = solve(Program(jobs.there, jobs.gpus, jobs.rates, jobs.left, none, flat, 1.0))
    z = best.z
    low, high, taken = SHORTEST_S, LONGEST_S, 0.0
    while not taken:
        most = high
        while NEAR * low < high:
            middle = (low + high) / 2
            if middle * z >= 1:
                high = taken = middle
            else:
                low = middle
        low, high = most, 10 * most
    possible = Program(jobs.there, jobs.gpus, jobs.rates, none, jobs.left / taken, flat, 0.0)
    if solve is not central:
        return solve(possible).shares
    # The quickest shares, all a little shorter, meet a longer D with room to spare: an inner point.
    inner = best.shares / math.sqrt(max(taken * z, 1.0)) + INSIDE / jobs.rates.shape[1]
    return centred(possible, inner)


@dataclass(frozen=True, slots=True)
class FinishTimeFairness:
    """Minimise the largest rho[j] = (age[j] + left[j] / (T X[j])) / (alone so far + left[j] / alone rate).

    alone: with an equal split of the cluster among the jobs present (Themis' and Gavel's rho).
    For a given rho the rates must be left / (rho alone_s - age); the largest z by which they can be
    exceeded is a linear program, and rho is where it is 1.
    """

    name: str
    fills: bool = True
    shuffles: bool = False
    solve: Solve = central

    def share(self, cluster: Cluster) -> Share:
        return _FinishTimes(self.solve)


@dataclass(slots=True)
class _FinishTimes:
    """What the jobs would have had alone so far, by job. before: (work left, rate alone) last time."""

    solve: Solve
    alone_s: dict[int, float] = field(default_factory=dict)
    before: dict[int, tuple[float, float]] = field(default_factory=dict)

    def __call__(self, jobs: Jobs) -> Floats:
        kinds = range(jobs.rates.shape[1])
        rate = (jobs.rates * isolated(jobs, kinds)).sum(axis=1)
        so_far = {}
        for task, left in zip(jobs.tasks, jobs.left.tolist(), strict=True):
            had, alone = self.before.get(task.index, (left, 1.0))
            so_far[task.index] = self.alone_s.get(task.index, 0.0) + (had - left) / alone
        self.alone_s = so_far
        self.before = {
            task.index: pair
            for task, pair in zip(
                jobs.tasks, zip(jobs.left.tolist(), rate.tolist(), strict=True), strict=True
            )
        }
        alone_s = np.array(list(so_far.values())) + jobs.left / rate
        return self._fairest(jobs, alone_s, rate)

    def _fairest(self, jobs: Jobs, alone_s: Floats, rate: Floats) -> Floats:
        none = np.zeros(len(jobs))
        flat = np.zeros_like(jobs.rates)

        def excess(rho: float) -> float:
            need = jobs.left / (rho * alone_s - jobs.age_s)
            found = self.solve(Program(jobs.there, jobs.gpus, jobs.rates, need, none, flat, 1.0))
            last[0] = found.shares
            return found.z - 1.0

        last = [flat]
        possible = float(((jobs.age_s + jobs.left / rate) / alone_s).max()) * (1 + 1e-9)
        # Nobody can be quicker than alone on his fastest accelerator.
        ideal = jobs.age_s + jobs.left / jobs.rates.max(axis=1)
        least = float((ideal / alone_s).max())
        if least >= possible or excess(possible) <= 0:
            rho = possible
        elif excess(least) >= 0:
            rho = least
        else:
            rho = brentq(excess, least, possible, rtol=1e-5)
        if self.solve is not central:
            excess(rho)
            return last[0]
        # The optimum is seldom unique. Published with a conic solver, which stops near the centre of
        # the shares that reach rho; a little more leaves these an inside.
        rho *= 1 + ROOM_FOR_CENTRE
        excess(rho)
        need = jobs.left / (rho * alone_s - jobs.age_s)
        kinds = jobs.rates.shape[1]
        inner = (1 - INSIDE) * last[0] + INSIDE**2 / kinds
        found = Program(jobs.there, jobs.gpus, jobs.rates, none, need, flat, 0.0)
        return centred(found, inner, of_times=True)
