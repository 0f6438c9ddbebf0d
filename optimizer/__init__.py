"""The plan that minimises L = alpha Performance + beta Cost + gamma Flexibility.

candidates   every way to run a job, as columns    generating   how they are made
durations    times and billed hours of settings    constraints  rules, limits, relaxations
reliability  expected wall time, in closed form    pricing      one job with all its scores
flexibility  regret when the world changes         losses       the three on one scale
pareto       exact fronts                          optimize     all of it, in order
model        jobs that share nothing, in PuLP      many         jobs that share limits
instance     what `many` solves, as columns        solver       PuLP with HiGHS or CBC, honestly
explain      why this plan                         weightmap    who wins at which weights
measuring    what to profile next                  describe     rows as the plan's records
deciding     one by one, together, or as pipeline  joint        of all jobs: prices of limits, front
front        which weights to try next             moving       what data and checkpoints cost
dag          pipelines, and what a choice costs    dag_model    their exact model
dag_columns  columns that cannot matter            schedule     the least objective, proven
"""

from .optimize import Infeasible, Job, optimize
from .plan import Plan, PlannedCandidate, PlannedJob

__all__ = ["Infeasible", "Job", "Plan", "PlannedCandidate", "PlannedJob", "optimize"]
