"""isocost run on somebody else's scheduler: print what would be submitted, or submit and watch it."""

import json
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from . import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from ..execution.manifests.order import Order
    from ..execution.manifests.ordering import Wishes
    from ..optimizer.plan import PlannedJob

SUBMITTED_BY_HAND = {
    "skypilot": "sky jobs launch task.yaml",
    "pai-dlc": "the CreateJob call of PAI-DLC (its console, SDK or command line)",
}


def elsewhere(
    job: "PlannedJob",
    engine: str,
    wishes: "Wishes",
    *,
    workspace: str | None,
    context: str | None,
    dry_run: bool,
    detach: bool,
    as_json: bool,
) -> None:
    """Order, check, and print or submit."""
    from ..catalog.files import InputError
    from ..execution.engines.kubernetes import Kubernetes
    from ..execution.manifests import read, text
    from ..execution.manifests.ordering import order_for

    order = order_for(job, engine, wishes)
    written = text(engine, order, workspace=workspace, folder=job.folder)
    if dry_run:
        _notes(order, job, engine, wishes)
        if as_json:
            documents = read(written, "the manifest")
            written = (
                json.dumps(documents[0] if len(documents) == 1 else documents, indent=2) + "\n"
            )
        sys.stdout.write(written)
        return
    if engine in SUBMITTED_BY_HAND:
        raise InputError(
            f"isocost does not submit to {engine} itself; write the file with --dry-run and give it "
            f"to {SUBMITTED_BY_HAND[engine]}"
        )
    if wishes.image is None:
        raise InputError(
            "no image is named; build one that holds isocost (docs/kubernetes.md), push it, and "
            "give --image NAME@sha256:..."
        )
    target = Kubernetes(engine, order, context)
    if (lacking := target.available()) is not None:
        raise InputError(lacking)
    _submit(target, order, detach=detach, as_json=as_json)


def _notes(order: "Order", job: "PlannedJob", engine: str, wishes: "Wishes") -> None:
    """What one should know of what is printed, on standard error."""
    from ..execution.manifests.places import GROUNDS
    from .output import err

    offer, notes = order.offer, []
    if offer != job.chosen.offer:
        notes.append(
            f"The plan's best offer, {job.chosen.offer.instance_type} at "
            f"{job.chosen.offer.provider}, is not for this engine; {offer.instance_type} at "
            f"{offer.provider} {offer.region} is the best that is."
        )
    if wishes.image is None:
        notes.append("No --image is named: the image is a place-holder that no cluster takes.")
    if wishes.claim is None:
        kept = {"skypilot": "bucket", "pai-dlc": "data set"}.get(engine, "volume claim")
        notes.append(f"No --claim is named: checkpoints go to the {kept} '{order.claim}'.")
    if engine in ("kubernetes", "jobset", "trainjob") and offer.provider not in GROUNDS:
        notes.append(
            f"No node labels of {offer.provider} are known: the manifest asks for resources alone."
        )
    notes.append(f"It ends after {order.deadline_s} s: {order.deadline_from}.")
    for note in notes:
        err.print(note, soft_wrap=True, markup=False)


def _submit(target: object, order: "Order", *, detach: bool, as_json: bool) -> None:
    import typer

    from ..execution.engines.base import EngineFailed
    from ..execution.engines.kubernetes import POLL_S, Kubernetes
    from ..execution.pod import RESULT_LINE
    from .output import ended_like_ctrl_c, err, out

    assert isinstance(target, Kubernetes)
    began = time.time()
    with ended_like_ctrl_c():
        placement = target.submit()
        watch = f"kubectl logs -f -l app.kubernetes.io/instance={order.name} --prefix"
        err.print(f"Submitted {order.name}; its logs: {watch}", soft_wrap=True, markup=False)
        if detach:
            return
        told = ""
        try:
            while (ended := placement.ended()) is None:
                words = placement.waiting() or f"{order.workers} workers run"
                if words != told:
                    err.print(words, soft_wrap=True, markup=False)
                    told = words
                time.sleep(POLL_S)
            log = placement.last_words().splitlines()
            fault = placement.fault()
        except KeyboardInterrupt:
            err.print("Ending the workers; they save a checkpoint first.", markup=False)
            placement.terminate()
            placement.kill()
            raise typer.Exit(EXIT_INTERRUPTED) from None
    if not ended:
        raise EngineFailed(f"{fault}: {' | '.join(log[-3:]) or 'the log is empty'}")
    result = _result(log, RESULT_LINE)
    hours = (time.time() - began) / 3600
    usd = hours * order.nodes * order.offer.price_usd_h
    if as_json:
        summary = {"name": order.name, "hours": hours, "cost_usd": usd, "result": result}
        sys.stdout.write(json.dumps(summary, indent=2) + "\n")
        return
    out.print(
        f"{order.name} is done: {result.get('step', '?')} steps in {hours:.2f} h, about ${usd:.2f}.",
        soft_wrap=True,
        markup=False,
    )


def _result(log: Sequence[str], opening: str) -> dict[str, object]:
    """What the chief said at its end."""
    for line in reversed(log):
        if line.startswith(opening):
            return dict(json.loads(line.removeprefix(opening)))
    return {}
