"""A planned job in sentences, and the rows of which its figures and tables are made."""

from dataclasses import dataclass
from typing import Literal

from ..optimizer.plan import PlannedCandidate, PlannedJob
from ..profiles.records import Knobs
from . import words

Mark = Literal["chosen", "here", "runner-up", "front"]
Identity = tuple[str, str, str, str, int, int, Knobs]

SCENARIO_WORDS = {
    "grow": "the work doubles",
    "lose_zone": "the zone is lost",
    "leave": "the provider must be left",
    "cancel": "the job is cancelled half-way",
    "price": "this provider's prices rise by half",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One candidate with what it is in this plan, such as 'chosen, on this machine'."""

    role: str
    mark: Mark
    candidate: PlannedCandidate


def identity(candidate: PlannedCandidate) -> Identity:
    """What makes two candidates the same way to run a job."""
    offer = candidate.offer
    return (
        offer.provider,
        offer.region,
        offer.instance_type,
        candidate.purchase,
        candidate.nodes,
        candidate.per_device_batch,
        candidate.knobs,
    )


def rows(job: PlannedJob) -> tuple[Row, ...]:
    """The chosen candidate, the best on this machine and the runners-up, each once."""
    chosen, here = identity(job.chosen), job.runnable_here and identity(job.runnable_here)
    found = [Row("chosen, this machine" if chosen == here else "chosen", "chosen", job.chosen)]
    if job.runnable_here is not None and here != chosen:
        found.append(Row("best on this machine", "here", job.runnable_here))
    for k, candidate in enumerate(job.runners_up, 1):
        if identity(candidate) not in (chosen, here):
            found.append(Row(f"runner-up {k}", "runner-up", candidate))
    return tuple(found)


# --------------------------------------------------------------------------------- sentences


def train_sentence(job: PlannedJob) -> str:
    """What to do, how long it will take and what it will cost."""
    best, predicted = job.chosen, job.chosen.predicted
    return (
        f"Train {words.name(job.name)} on {_machine(best)} with {words.batch(best)}: "
        f"it will take about {words.duration(predicted.time_s.p50)} "
        f"(90 % sure under {words.duration(predicted.time_s.p90)}) "
        f"and cost about {words.usd(predicted.cost_usd.mean)} "
        f"(90 % sure under {words.usd(predicted.cost_usd.p90)})."
    )


def here_sentence(job: PlannedJob) -> str:
    """What this machine could do instead."""
    here = job.runnable_here
    if here is None:
        return "This machine cannot train it."
    if identity(here) == identity(job.chosen):
        return "That is the machine at hand: nothing that can be rented scores better under these weights."
    predicted = here.predicted
    sentence = (
        f"On this machine the best is {words.batch(here)}: "
        f"about {words.duration(predicted.time_s.p50)} "
        f"(90 % sure under {words.duration(predicted.time_s.p90)}) "
        f"for about {words.usd(predicted.cost_usd.mean)}"
    )
    if job.runnable_here_keeps_constraints:
        return sentence + "."
    return f"{sentence}; that does not keep what was asked for ({limits(job) or 'which offers'})."


def limits(job: PlannedJob) -> str:
    """The job's own constraints in words, '' where it has none."""
    wishes, said = job.workload.constraints, []
    if wishes.deadline_s is not None:
        sure = words.share(wishes.deadline_probability)
        said.append(f"done in {words.duration(wishes.deadline_s)} with {sure} probability")
    if wishes.budget_usd is not None:
        said.append(f"at most {words.usd(wishes.budget_usd)}")
    said += [
        f"only {' or '.join(names)}"
        for names in (wishes.providers, wishes.regions, wishes.accelerators)
        if names
    ]
    if not wishes.spot:
        said.append("no spot")
    return ", ".join(said)


def basis_warning(job: PlannedJob) -> str | None:
    """What must be said where nothing was measured on the chosen hardware."""
    if job.chosen.basis != "transferred":
        return None
    return (
        f"Nothing was measured on {words.hardware(job.chosen.offer)}. Its speed is transferred from "
        "the model's operation counts, data sheets and public measurements, and may be off by a "
        "third or more; the intervals say so. A short profile there would settle it."
    )


def _machine(candidate: PlannedCandidate) -> str:
    offer = candidate.offer
    nodes = "" if candidate.nodes == 1 else f"{candidate.nodes} × "  # noqa: RUF001
    if offer.provider == "local":
        return f"this machine ({words.name(offer.instance_type)})"
    name = f"{nodes}{words.hardware(offer)}"
    return f"{name} ({words.place(offer)}, {candidate.purchase.replace('_', ' ')})"
