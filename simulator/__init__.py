"""The future, many times over: a plan rehearsed under spot losses and failures.

`rehearse(plan)` gives a `Simulation`: distributions of finish and cost with their intervals.
`Gang` is one job's machines as SimPy processes; its clock, chance (`World`) and listener are
handed in.
"""

from .gang import Gang, GangSpec, Outcome
from .records import Distribution, JobRehearsal, Simulation, Timeline, TimelineEvent
from .rehearsal import rehearse
from .world import RandomWorld, World

__all__ = [
    "Distribution",
    "Gang",
    "GangSpec",
    "JobRehearsal",
    "Outcome",
    "RandomWorld",
    "Simulation",
    "Timeline",
    "TimelineEvent",
    "World",
    "rehearse",
]
