"""The plan as a real run that survives.

run          set up, execute, compare        worker       the one program that trains
supervisor   owns the workers of a run       checkpoints  whole, checked, the last few
telemetry    a line a step, signs of life    record       what really happened
"""

from .record import Run

__all__ = ["Run"]
