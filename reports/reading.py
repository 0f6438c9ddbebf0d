"""Any document that a page can show, told by what its file says it is."""

from pathlib import Path

from ..catalog.files import Document, InputError, did_you_mean, read_mapping
from ..execution.record import Run
from ..optimizer.plan import Plan
from ..profiles.records import Profile
from ..simulator.metrics import Comparison, Figures
from ..simulator.records import Simulation

KINDS: dict[str, type[Document]] = {
    "isocost/plan/v1": Plan,
    "isocost/simulation/v1": Simulation,
    "isocost/replay/v1": Figures,
    "isocost/comparison/v1": Comparison,
    "isocost/run/v1": Run,
    "isocost/profile/v1": Profile,
}


def read_any(path: Path) -> Document:
    """The plan, simulation, replay, run or profile at path; InputError in a sentence for anything else."""
    mapping = read_mapping(path)
    schema = mapping.get("schema")
    if schema is None:
        raise InputError(
            f"{path}: the key 'schema' is missing, so it is no document of ours; "
            f"known are {', '.join(KINDS)}"
        )
    if str(schema).startswith("isocost/workload/"):
        raise InputError(
            f"{path} is a workload, which has nothing to show yet; plan it with 'isocost optimize' first"
        )
    kind = KINDS.get(str(schema))
    if kind is None:
        raise InputError(
            f"{path}: no page for the schema '{schema}'{did_you_mean(str(schema), KINDS)}"
        )
    return kind.parse(mapping, str(path))
