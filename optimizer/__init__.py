"""The plan that minimises L = alpha Performance + beta Cost + gamma Flexibility.

candidates   every way to run a job, as columns    flexibility  regret when the world changes
reliability  expected wall time, in closed form    losses       the three on one scale
pareto       exact fronts                          model        the choice, stated in PuLP
plan         the plan's records                    optimize     all of it, in order
"""

from .optimize import Infeasible, Job, optimize
from .plan import Plan, PlannedCandidate, PlannedJob

__all__ = ["Infeasible", "Job", "Plan", "PlannedCandidate", "PlannedJob", "optimize"]
