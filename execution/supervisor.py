"""Owns all workers of a run: watches them, starts them again, ends them. Nothing outlives it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..catalog.files import InputError
from ..profiles.gang import POLL_S, last_words, refused
from . import checkpoints
from .engines import Engine, Launch, Placement, placed
from .record import Restart
from .telemetry import StepLine, last_step
from .worker import WorkResult, WorkSpec

STARTUP_TIMEOUT_S = 600.0  # import, build, compile and first step; ResNet-50 on two cores: 60 s
HANG_TIMEOUT_S = 120.0  # without a step, once steps were taken
GRACE_S = 60.0  # for a checkpoint after the wish to stop
BACKOFF_S = 1.0  # before the first restart; doubles


class RunFailed(Exception):
    """The run ended without reaching its end; the message is the sentence to show."""

    exit_code = 4


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the supervised work ended; result None where it was ended before it could report."""

    result: WorkResult | None
    recoveries: tuple[Restart, ...]


def supervise(
    spec: WorkSpec,
    launch: Launch,
    engine: Engine,
    *,
    max_restarts: int = 3,
    progress: Callable[[StepLine], None] = lambda _: None,
    note: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Run spec with the launch's workers on engine until it is done.

    A worker that dies, or all that fall silent, cost the gang its life: it is started again from
    the last good checkpoint, at most max_restarts times. On KeyboardInterrupt the workers save a
    checkpoint and end; a second one ends them at once. note: told why the workers do not run yet.
    Raises RunFailed, EngineFailed and InputError.
    """
    spec_path, result_path = spec.path, spec.result
    result_path.unlink(missing_ok=True)
    spec.write(spec_path)
    recoveries: list[Restart] = []
    while True:
        for worker in range(launch.ranks):
            spec.life_sign(worker).unlink(missing_ok=True)
        with placed(engine, launch) as gang:
            try:
                _await(gang, note)
                fault = _watch(gang, spec, launch.ranks, progress)
            except KeyboardInterrupt:
                _end_well(gang)
                return Outcome(_read(result_path), tuple(recoveries))
        refused(result_path)
        if fault is None:
            return Outcome(_read(result_path), tuple(recoveries))
        words = last_words(next((log for log in gang.logs if _size(log)), gang.logs[0]))
        if len(recoveries) >= max_restarts:
            raise RunFailed(f"{fault} and {max_restarts} restarts did not help: {words}")
        saved, newest = checkpoints.latest(spec.checkpoints), last_step(spec.step_log)
        from_step = saved.step if saved else 0
        if newest is None and saved is None:
            raise RunFailed(f"{fault} before the first step: {words}")
        recoveries.append(
            Restart(
                at_s=time.time() - spec.began,
                from_step=from_step,
                lost_steps=max(0, (newest.step if newest else 0) - from_step),
                reason=fault,
            )
        )
        time.sleep(BACKOFF_S * 2 ** (len(recoveries) - 1))


def _await(gang: Placement, note: Callable[[str], None]) -> None:
    """Wait until the engine has started the workers; a queue takes the time that it takes."""
    told = None
    while (why := gang.waiting()) is not None:
        if why != told:
            note(why)
            told = why
        time.sleep(POLL_S)


def _watch(
    gang: Placement, spec: WorkSpec, workers: int, progress: Callable[[StepLine], None]
) -> str | None:
    """Wait for the gang's end: None when all went well, else what went wrong."""
    began, shown = time.time(), -1
    while True:
        codes = gang.codes()
        if all(code == 0 for code in codes):
            return None
        bad = [rank for rank, code in enumerate(codes) if code not in (None, 0)]
        if bad:
            return gang.fault() or f"worker {bad[0]} ended with code {codes[bad[0]]}"
        newest = last_step(spec.step_log)
        if newest is not None and newest.step != shown:
            shown = newest.step
            progress(newest)
        signs = [_changed(spec.life_sign(rank)) for rank in range(workers)]
        silent = [
            rank
            for rank, sign in enumerate(signs)
            if time.time() - (sign or began) > (HANG_TIMEOUT_S if sign else STARTUP_TIMEOUT_S)
            and codes[rank] is None
        ]
        if silent:
            return f"worker {silent[0]} gave no sign of life"
        time.sleep(POLL_S)


def _changed(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _end_well(gang: Placement) -> None:
    """Ask the workers to save and end; what still runs after GRACE_S, or a second wish, is killed."""
    gang.terminate()
    try:
        deadline = time.monotonic() + GRACE_S
        while time.monotonic() < deadline and any(code is None for code in gang.codes()):
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        pass


def _read(path: Path) -> WorkResult | None:
    try:
        return WorkResult.read(path)
    except InputError:
        return None
