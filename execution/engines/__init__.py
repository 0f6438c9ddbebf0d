"""Where a plan's workers run: each engine submits, watches and stops one gang.

base    what all share      local   processes here           rank   a worker on its own host
ray     actors of Ray       slurm   a batch job of Slurm
"""

import importlib
import sys
from pathlib import Path

from ...catalog.files import InputError, did_you_mean
from ...profiles.gang import tf_config
from .base import Engine, EngineFailed, Launch, Placement, placed
from .local import Local

# Imported when asked for: an engine may need a package that is not there.
KNOWN = {"local": "local:Local", "ray": "ray:Ray", "slurm": "slurm:Slurm"}
# These take a file that says everything (execution/manifests), not a gang of this machine's.
ELSEWHERE = ("kubernetes", "jobset", "trainjob", "ack", "pai-dlc", "skypilot")

__all__ = [
    "ELSEWHERE",
    "KNOWN",
    "Engine",
    "EngineFailed",
    "Launch",
    "Local",
    "Placement",
    "engine",
    "placed",
    "tf_config",
]


def engine(name: str) -> Engine:
    """The engine of that name, or ``module:factory`` of one's own, found from the current folder.

    Raises InputError where there is none.
    """
    if name in KNOWN:
        module, factory = KNOWN[name].split(":")
        return _made(importlib.import_module(f".{module}", __package__), factory, name)
    module, colon, factory = name.partition(":")
    if not colon:
        raise InputError(f"there is no engine '{name}'{did_you_mean(name, [*KNOWN, *ELSEWHERE])}")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"engine '{name}': {error}; give module:factory of a Python file in the current folder"
        ) from None
    return _made(found, factory, name)


def _made(module: object, factory: str, name: str) -> Engine:
    make = getattr(module, factory, None)
    if not callable(make):
        raise InputError(f"engine '{name}': its module has no callable '{factory}'")
    made: Engine = make()
    return made
