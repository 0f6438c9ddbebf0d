"""From a plan to the order that an engine elsewhere takes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from ...catalog import load
from ...catalog.files import InputError
from ...optimizer.plan import PlannedCandidate, PlannedJob
from ..setup import mean_to_interruption_s
from ..worker import Checkpointing, WorkSpec
from . import dlc, sky
from .code import code_of
from .order import (
    CODE_PATH,
    NO_IMAGE,
    Contract,
    Order,
    checked_image,
    deadline,
    restarts,
    slug,
)
from .places import Kind, gke_tpu, topology


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a plan does not say. image None: a place-holder that no cluster takes."""

    image: str | None = None
    name: str | None = None
    namespace: str | None = None
    claim: str | None = None
    data_claim: str | None = None
    code_path: str | None = None
    seed: int = 0
    max_steps: int | None = None
    checkpoint_every_s: float | None = None


def order_for(job: PlannedJob, engine: str, wishes: Wishes) -> Order:
    """The order for the best candidate of the job that the engine can place.

    Raises InputError where there is none, with what kept the chosen one from it.
    """
    candidate = candidate_for(job, engine)
    name = slug(wishes.name or job.name)
    accelerator = load().accelerators[candidate.offer.accelerator]
    seconds, words = deadline(job, candidate)
    own = ":" in job.workload.model
    code: Mapping[str, str] = {}
    if own and wishes.code_path is None:
        code = code_of(job.workload.model, Path(job.folder))
    kind: Kind = (
        "cpu" if accelerator.kind == "cpu" else "tpu" if accelerator.kind == "tpu" else "gpu"
    )
    return Order(
        name=name,
        image=NO_IMAGE if wishes.image is None else checked_image(wishes.image),
        offer=candidate.offer,
        kind=kind,
        vendor=accelerator.vendor,
        purchase=candidate.purchase,
        nodes=candidate.nodes,
        tasks=("worker",) * candidate.workers,
        deadline_s=seconds,
        deadline_from=words,
        restarts=restarts(candidate),
        spec=_spec(job, candidate, kind, wishes),
        code=code,
        code_path=wishes.code_path or CODE_PATH,
        claim=wishes.claim or "isocost",
        data_claim=wishes.data_claim,
        namespace=wishes.namespace,
    )


def _spec(
    job: PlannedJob, candidate: PlannedCandidate, kind: Kind, wishes: Wishes
) -> dict[str, JsonValue]:
    """The worker's file; where its folders lie, and when it began, is known there alone."""
    per_node, known = candidate.knobs.workers_per_node, candidate.reliability
    spec = WorkSpec(
        model=job.workload.model,
        model_folder=CODE_PATH,
        knobs=candidate.knobs,
        per_device_batch=candidate.per_device_batch,
        global_batch=candidate.global_batch,
        devices=max(1, candidate.offer.accelerator_count // per_node) if kind == "gpu" else 1,
        seed=wishes.seed,
        steps=candidate.steps,
        stop_after=min(candidate.steps, wishes.max_steps or candidate.steps),
        checkpointing=Checkpointing(
            every_s=wishes.checkpoint_every_s,
            write_s=max(known.checkpoint_s, 1e-3),
            mean_to_interruption_s=mean_to_interruption_s(candidate),
            restart_s=known.provisioning.median_s,
        ),
        cores=max(1, int(candidate.offer.vcpus) // per_node),
        folder="",
        began=0.0,
        started=0.0,
    )
    dumped: dict[str, JsonValue] = spec.model_dump(mode="json")
    return dumped


def contract_for(job: PlannedJob, documents: Sequence[Mapping[str, Any]]) -> Contract:
    """What the job's plan promises of a manifest of that kind."""
    first = documents[0]
    if "JobType" in first:
        engine = dlc.SERVICE
    elif "kind" not in first:
        engine = sky.SERVICE
    else:
        # An Indexed Job says in its contract whether it is Alibaba Cloud's.
        engine = "ack" if '"provider":"alibaba"' in str(documents) else "kubernetes"
    return order_for(job, engine, Wishes(code_path=CODE_PATH)).contract


def candidate_for(job: PlannedJob, engine: str) -> PlannedCandidate:
    """The chosen candidate where the engine can place it, else the next best of the plan."""
    others = sorted((*job.runners_up, *job.frontier), key=lambda one: one.losses.total)
    why = _unfit(job.chosen, engine)
    for candidate in (job.chosen, *others):
        if _unfit(candidate, engine) is None:
            return candidate
    raise InputError(f"no candidate of '{job.name}' can run there: {why}")


def _unfit(candidate: PlannedCandidate, engine: str) -> str | None:
    """Why the engine cannot place the candidate, and what to do; None where it can."""
    return FITS[engine](candidate)


def _kubernetes(candidate: PlannedCandidate) -> str | None:
    offer = candidate.offer
    if offer.accelerator.startswith("TPU"):
        try:
            gke_tpu(offer.accelerator)
            topology(offer.accelerator, offer.accelerator_count, candidate.workers)
        except InputError as error:
            return str(error)
    return None


def _alibaba(candidate: PlannedCandidate) -> str | None:
    if candidate.offer.provider == "alibaba":
        return None
    return (
        f"the plan's offer is at {candidate.offer.provider}, and this engine is Alibaba Cloud's; plan "
        "with --offers \"provider = 'alibaba'\""
    )


def _skypilot(candidate: PlannedCandidate) -> str | None:
    if candidate.offer.provider in sky.CLOUDS and candidate.nodes == candidate.workers:
        return None
    known = ", ".join(sky.CLOUDS)
    return (
        f"the plan's offer is at {candidate.offer.provider}; isocost writes SkyPilot tasks for "
        f"{known}; plan with --offers \"provider = 'aws'\" or so"
    )


FITS: dict[str, Callable[[PlannedCandidate], str | None]] = {
    "kubernetes": _kubernetes,
    "jobset": _kubernetes,
    "trainjob": _kubernetes,
    "ack": _alibaba,
    dlc.SERVICE: _alibaba,
    sky.SERVICE: _skypilot,
}
