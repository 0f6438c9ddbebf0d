"""Documents as the tabs of a page, in the order of the work."""

from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Any

from ..catalog.files import Document, InputError
from ..execution.record import Run
from ..optimizer.plan import Plan
from ..profiles.records import Profile
from ..simulator.metrics import Comparison, Figures
from ..simulator.records import Simulation
from .content import Tab
from .planned_page import plan_tab
from .profiled_page import profile_tab
from .ran_page import run_tab
from .rehearsed_page import simulation_tab
from .replayed_page import comparison_tab, replay_tab

Names = Callable[[Any], Sequence[str]]


def _file(trace: str) -> str:
    return PurePath(trace).name or "a trace"


# What a page can show, in the order of its tabs, and the names of the jobs that each is about.
PAGES: dict[type[Document], tuple[Callable[[Any], Tab], Names]] = {
    Plan: (plan_tab, lambda plan: [job.name for job in plan.jobs]),
    Simulation: (simulation_tab, lambda found: [job.name for job in found.jobs]),
    Comparison: (comparison_tab, lambda found: [f"Policies on {_file(found.trace)}"]),
    Figures: (replay_tab, lambda found: [f"{_file(found.trace)} under {found.policy}"]),
    Run: (run_tab, lambda run: [run.job]),
    Profile: (profile_tab, lambda profile: [profile.workload]),
}


def tabs_of(documents: Sequence[Document]) -> tuple[Tab, ...]:
    """A tab for each document; InputError where there is none, or for one that has no page."""
    if not documents:
        raise InputError("there is nothing to report; give a plan, simulation, run or profile")
    for document in documents:
        if type(document) not in PAGES:
            raise InputError(
                f"a {type(document).__name__.lower()} has no page; "
                "give plans, simulations, replays, runs or profiles"
            )
    return tuple(
        make(document)
        for kind, (make, _) in PAGES.items()
        for document in documents
        if isinstance(document, kind)
    )


def title_of(documents: Sequence[Document]) -> str:
    """The jobs' names, as the first kind of document that is there says them."""
    for kind, (_, names_of) in PAGES.items():
        found = [name for one in documents if isinstance(one, kind) for name in names_of(one)]
        if found:
            names = list(dict.fromkeys(found))
            if len(names) <= 3:
                return ", ".join(names)
            return f"{', '.join(names[:2])} and {len(names) - 2} more"
    raise InputError("there is nothing to report")
