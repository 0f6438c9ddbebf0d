"""One job over a catalog: its candidates with times, costs, flexibility, losses and constraints."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..catalog import Catalog
from ..catalog.files import InputError, did_you_mean
from ..catalog.residency import places_meant
from ..profiles.evidence import of_model
from ..profiles.public import built_in_facts
from ..profiles.records import Profile
from ..profiles.table import Row
from ..profiles.throughput import StepTimeModel
from ..profiles.workload import ModelFacts, Weights, Workload
from .candidates import Candidates
from .constraints import Constraint, Limit, Rule, admitted, constraints_of
from .flexibility import Flexibility, score
from .generating import NoCandidate, generate
from .losses import LossColumns, Objective, losses
from .moving import place_of
from .pareto import front

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be planned: a workload, where its files are, and its profile if there is one.

    profiled_here: this machine measured it; otherwise its figures are transferred here as well.
    measured: rows of tables that the user imported, of any model.
    """

    workload: Workload
    folder: Path
    profile: Profile | None = None
    profile_path: Path | None = None
    profiled_here: bool = True
    measured: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True)
class Priced:
    """All candidates of one job with their scores, and what its constraints admit.

    unrestricted: flexibility with every answer allowed, which settles the scale of L. permitted:
    by the rules; allowed: by the limits as well.
    """

    job: Job
    facts: ModelFacts
    catalog: Catalog
    weights: Weights
    candidates: Candidates
    unrestricted: Flexibility
    flexibility: Flexibility
    losses: LossColumns
    rules: tuple[Rule, ...]
    limits: tuple[Limit, ...]
    permitted: NDArray[np.bool_]
    allowed: NDArray[np.bool_]

    @property
    def here(self) -> NDArray[np.bool_]:
        """The candidates on this machine."""
        local = (self.catalog.offers["provider"] == "local").to_numpy()
        return local[self.candidates.offer]

    @property
    def constraints(self) -> tuple[Constraint, ...]:
        return (*self.rules, *self.limits)

    @property
    def points(self) -> Floats:
        """p90 time, mean cost and F of each candidate: what L never falls with."""
        found = self.candidates
        return np.column_stack([found.time_p90_s, found.cost_mean_usd, self.flexibility.total])

    def efficient(self) -> NDArray[np.intp]:
        """The candidates that a model must state: the allowed ones that no allowed one dominates.

        Lossless: neither form of L falls with time, cost or flexibility, and each constraint of one
        job holds for a candidate or not whatever else is chosen, so that a dominated candidate can
        always be exchanged for the one that dominates it.
        """
        rows = np.flatnonzero(self.allowed)
        return rows[front(self.points[rows])]

    def weighing(self, weights: Weights) -> "Priced":
        """The same job with other weights; L is their weighted sum."""
        losses = replace(self.losses, objective="weighted")
        weighed = losses.with_flexibility(losses.flexibility, weights)
        return replace(self, weights=weights, losses=weighed)

    def without(self, key: str) -> "Priced":
        """The same job without one of its constraints, F with the answers that this allows."""
        rules = tuple(one for one in self.rules if one.key != key)
        limits = tuple(one for one in self.limits if one.key != key)
        return judged(replace(self, rules=rules, limits=limits))


def price(
    job: Job,
    catalog: Catalog,
    weights: Weights,
    offers: Catalog | None = None,
    objective: Objective = "weighted",
) -> Priced:
    """All candidates of one job with times, costs, flexibility and losses.

    offers: the part of the catalog that may be chosen, all by default. Raises InputError for what
    cannot be planned.
    """
    workload, facts = job.workload, model_facts(job)
    _check_locations(workload, catalog)
    model = step_time_model(job, facts, catalog)
    try:
        found = generate(
            workload, facts, catalog, model, job.profile if job.profiled_here else None
        )
    except NoCandidate as error:
        raise InputError(str(error)) from None
    rules, limits = constraints_of(workload, catalog, found, offers)
    unrestricted = score(found, catalog, workload.flexibility)
    scored = losses(found.time_p90_s, found.cost_mean_usd, unrestricted.total, weights, objective)
    every = np.ones(len(found), bool)
    return judged(
        Priced(
            job=job,
            facts=facts,
            catalog=catalog,
            weights=weights,
            candidates=found,
            unrestricted=unrestricted,
            flexibility=unrestricted,
            losses=scored,
            rules=tuple(rules),
            limits=tuple(limits),
            permitted=every,
            allowed=every,
        )
    )


def judged(one: Priced) -> Priced:
    """With what the constraints admit: P and C on the scale of all candidates, F of the permitted."""
    found = one.candidates
    permitted = admitted(one.rules, len(found))
    allowed = permitted & admitted(one.limits, len(found))
    if permitted.all():
        flexible = one.unrestricted
    else:
        wishes = one.job.workload.flexibility
        flexible = score(found, one.catalog, wishes, permitted, one.unrestricted)
    return replace(
        one,
        permitted=permitted,
        allowed=allowed,
        flexibility=flexible,
        losses=one.losses.with_flexibility(flexible.total, one.weights),
    )


def step_time_model(job: Job, facts: ModelFacts, catalog: Catalog) -> StepTimeModel:
    """The model by which the job's steps are predicted."""
    workload = job.workload
    return StepTimeModel.of(
        facts,
        job.profile,
        catalog.accelerators,
        profiled_here=job.profiled_here,
        measured=of_model(job.measured, (workload.model, workload.name)),
    )


def model_facts(job: Job) -> ModelFacts:
    """What a step needs: from the profile, the workload file, or the table of built-in models."""
    if job.profile is not None:
        return job.profile.facts
    known = job.workload.facts or built_in_facts().get(job.workload.model)
    if known is None:
        raise InputError(
            f"{job.workload.name} has no profile, and what one step of {job.workload.model} needs is "
            "not known; run 'isocost profile' on the workload first, or give its facts in the file"
        )
    return known


def _check_locations(workload: Workload, catalog: Catalog) -> None:
    """Data at a misspelt place would be priced as far away."""
    places = catalog.offers.select("provider", "region").unique()
    known = [f"{provider}:{region}" for provider, region in places.iter_rows()]
    for what, location in (
        ("data's", workload.data.location),
        ("checkpoints'", workload.checkpoint_location),
    ):
        if location is not None and location not in known:
            raise InputError(
                f"{workload.name}: no offer is at the {what} location "
                f"'{location}'{did_you_mean(location, known)}"
            )
    kept, wishes = workload.checkpoint_location, workload.constraints
    if kept and wishes.residency and place_of(kept) not in places_meant(wishes.residency):
        raise InputError(
            f"{workload.name}: checkpoint_location '{kept}' is outside of residency "
            f"{list(wishes.residency)}; keep checkpoints inside, or leave the key out"
        )
