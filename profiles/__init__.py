"""What a training job does on a device: measuring it, and predicting it elsewhere.

workload    what is trained            measure     measuring it on this machine
records     what was measured          throughput  the step-time model
public      published measurements     store       where profiles lie

``models``, ``training`` and ``probe`` import TensorFlow and run in processes of their own.
"""

from .records import Estimate, Knobs, Measurement, Profile, Setting
from .workload import Constraints, ModelFacts, Weights, Workload, read_workload

__all__ = [
    "Constraints",
    "Estimate",
    "Knobs",
    "Measurement",
    "ModelFacts",
    "Profile",
    "Setting",
    "Weights",
    "Workload",
    "read_workload",
]
