"""A plan as a real run, and what became of its predictions."""

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..catalog.files import InputError, write_whole
from . import checkpoints
from .account import run_record
from .engines import Engine, Launch, Local
from .limits import Allowance, Ledger
from .record import Run
from .setup import Setup
from .supervisor import PATIENT, Patience, supervise
from .telemetry import StepLine
from .worker import RESULT, SPEC, Checkpointing, WorkSpec

SPENT, LOCK, FINISHED = "spent.json", "lock", "finished"


@contextmanager
def own_folder(folder: Path) -> Iterator[None]:
    """The folder for this run alone; InputError where another run is at work in it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise InputError(
                f"another run (process {lock.read().strip() or '?'}) is at work in {folder}; wait "
                "for it, or give another output"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def check_folder(folder: Path, *, resume: bool) -> None:
    """InputError where folder cannot be used for this. What an unfinished run left is never overwritten."""
    if resume:
        # A run of ours all of whose checkpoints are broken goes on from its beginning.
        began = (folder / SPEC).exists() and not (folder / FINISHED).exists()
        if checkpoints.latest(folder / "checkpoints") is None and not began:
            raise InputError(f"{folder} holds no usable checkpoint; start without --resume")
        return
    finished = (folder / FINISHED).exists()
    worth = any(saved.step for saved in checkpoints.all_saved(folder / "checkpoints"))
    if worth and not finished:
        raise InputError(
            f"{folder} holds the checkpoints of an unfinished run; go on with --resume {folder}, "
            "or give another output"
        )
    ours = finished or (folder / SPEC).exists()
    if not ours and folder.exists() and any(one.name != LOCK for one in folder.iterdir()):
        raise InputError(
            f"{folder} holds files that are no run of ours; give another output, for its folder is "
            "named after it"
        )


def open_folder(folder: Path, *, resume: bool) -> None:
    """Make folder ready for a run; see ``check_folder``."""
    check_folder(folder, resume=resume)
    if not resume:
        _clear(folder)
    folder.mkdir(parents=True, exist_ok=True)


def _clear(folder: Path) -> None:
    """Remove what a run of ours left in folder, and nothing else."""
    for saved in checkpoints.all_saved(folder / "checkpoints"):
        shutil.rmtree(saved.folder)
    for events in (folder / "tensorboard").glob("events.out.tfevents.*"):
        events.unlink()
    for name in (FINISHED, "steps.jsonl", RESULT, SPEC, SPENT):
        (folder / name).unlink(missing_ok=True)


def execute(
    setup: Setup,
    folder: Path,
    *,
    plan_path: str,
    engine: Engine | None = None,
    resume: bool = False,
    max_steps: int | None = None,
    seed: int | None = None,
    max_restarts: int = 3,
    patience: Patience = PATIENT,
    checkpoint_every_s: float | None = None,
    deadline_s: float | None = None,
    budget_usd: float | None = None,
    unlimited: bool = False,
    began: float | None = None,
    progress: Callable[[StepLine], None] = lambda _: None,
    note: Callable[[str], None] = lambda _: None,
) -> Run:
    """Train as set up, in folder, and compare with the prediction.

    engine: where the workers run, by default as processes here. max_steps: stop, in good order,
    once so many steps of the training are done. seed: by default the checkpoint's that is gone on
    with, else 0. checkpoint_every_s: instead of Daly's interval. deadline_s, budget_usd: of this
    session, by default what the workload leaves; unlimited: neither. began: the epoch second from
    which they count, by default now. note: told why the workers do not run yet, and what went wrong.
    A wish to stop (KeyboardInterrupt) gives a Run with status interrupted, and one that failed says so
    too. Raises InputError for what no restart mends.
    """
    engine, began = engine or Local(), began or time.time()
    if not (folder / LOCK).exists():  # nothing is made in a folder that is not ours
        check_folder(folder, resume=resume)
    with own_folder(folder):
        open_folder(folder, resume=resume)
        saved = checkpoints.latest(folder / "checkpoints")
        position = saved.position() if saved is not None else None
        if seed is None:
            seed = position.seed if position is not None else 0
        ledger = Ledger(folder / SPENT, began)
        spec = work_spec(setup, folder, seed, max_steps, checkpoint_every_s, ledger, began)
        if position is not None:
            checkpoints.check_same(position, spec.position())
        elif saved is None:
            # However early a run ends, there is something to go on from: weights follow from the seed.
            checkpoints.save(folder / "checkpoints", 0, lambda prefix: None, spec.position())
        allowance, words = _allowance(
            setup, ledger, Allowance(deadline_s, budget_usd, setup.usd_per_h), unlimited
        )
        if words:
            note(words)
        outcome = supervise(
            spec,
            launch_of(setup, folder),
            engine,
            patience=patience,
            max_restarts=max_restarts,
            allowance=allowance,
            ledger=ledger,
            progress=progress,
            note=note,
        )
        run = run_record(
            setup,
            spec,
            outcome,
            plan=plan_path,
            engine=engine.name,
            allowance=allowance,
            ledger=ledger,
        )
        if run.status == "finished":
            write_whole(folder / FINISHED, "")
    return run


def work_spec(
    setup: Setup,
    folder: Path,
    seed: int,
    max_steps: int | None,
    checkpoint_every_s: float | None,
    ledger: Ledger,
    began: float,
) -> WorkSpec:
    """What the workers are told; step times count on from what earlier sessions took."""
    known = setup.candidate.reliability
    return WorkSpec(
        model=setup.job.workload.model,
        model_folder=setup.job.folder,
        knobs=setup.knobs,
        per_device_batch=setup.per_device_batch,
        global_batch=setup.global_batch,
        devices=setup.devices,
        learning_rate_factor=setup.learning_rate_factor,
        seed=seed,
        steps=setup.steps,
        stop_after=setup.steps if max_steps is None else max_steps,
        checkpointing=Checkpointing(
            every_s=checkpoint_every_s,
            write_s=max(known.checkpoint_s, 1e-3),
            mean_to_interruption_s=setup.mean_to_interruption_s,
            restart_s=known.provisioning.median_s,
        ),
        cores=setup.cores,
        folder=str(folder),
        began=began - ledger.before_s,
        started=began,
    )


def _allowance(
    setup: Setup, ledger: Ledger, asked: Allowance, unlimited: bool
) -> tuple[Allowance, str]:
    """What this session may take, and what to say of it.

    What is asked for counts for the session; the workload's own limits for all sessions together.
    Whoever goes on with a run that the workload's limits ended goes on without them.
    """
    if unlimited:
        return Allowance(usd_per_h=asked.usd_per_h), ""
    wishes, words = setup.job.workload.constraints, []
    deadline_s, budget_usd = asked.deadline_s, asked.budget_usd
    if deadline_s is None and wishes.deadline_s is not None:
        deadline_s = wishes.deadline_s - ledger.before_s
        if deadline_s <= 0:
            words.append(f"the workload's deadline of {wishes.deadline_s:g} s has passed")
            deadline_s = None
    if budget_usd is None and wishes.budget_usd is not None:
        budget_usd = wishes.budget_usd - ledger.before_s / 3600 * asked.usd_per_h
        if budget_usd <= 0:
            words.append(f"the workload's budget of ${wishes.budget_usd:g} is spent")
            budget_usd = None
    said = f"{' and '.join(words)}; going on without" if words else ""
    return Allowance(deadline_s, budget_usd, asked.usd_per_h), said


def launch_of(setup: Setup, folder: Path) -> Launch:
    """The gang that an engine is to place for a run in folder."""
    offer = setup.candidate.offer
    processes = setup.workers // setup.devices
    return Launch(
        name=setup.job.name,
        command=("-m", "isocost.execution.worker", str(folder / SPEC), str(folder / RESULT)),
        tasks=setup.tasks,
        folder=folder,
        cores=setup.cores,
        environment=setup.environment,
        devices=0 if offer.accelerator == "CPU" else offer.accelerator_count // processes,
    )
