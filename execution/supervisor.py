"""Owns all workers of a run: watches them, starts them again, ends them. Nothing outlives it."""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

from ..catalog.files import InputError
from ..profiles.gang import POLL_S, last_words, refused
from . import checkpoints
from .engines import Engine, EngineFailed, Launch, Placement, placed
from .limits import Allowance, Ledger, Limit
from .record import Restart
from .telemetry import BEFORE_STEPS, Sign, StepLine, last_step, read_sign, read_steps
from .worker import ASKED_TO_END, Checkpointing, WorkResult, WorkSpec

BACKOFF_S = 1.0  # before the first restart; doubles
LONGEST_BACKOFF_S = 60.0
LEAVING_S = 5.0  # from the chief's report to the end of all processes
ENDING_S = 1.0  # to end all processes and write the record, once the checkpoint is whole, on an idle machine
FIRST_SAVE_S = 5.0  # at most, to trace what writes the first checkpoint of a gang
SLOWEST = 5.0  # times an idle machine's time; who is slower still is late


class RunFailed(Exception):
    """The run ended without reaching its end; the message is the sentence to show."""

    exit_code = 4


@dataclass(frozen=True, slots=True)
class Patience:
    """How long workers may be silent before all are ended and started again.

    arrive_s: from the start of a process to its first sign. startup_s: to its first step; importing,
    building and compiling ResNet-50 takes 60 s on two cores. Once a gang of the run took its first
    step, the next has five times as long as that, and at least arrive_s. hang_s: between two signs:
    heartbeats before the first step, then the work's own, and longer where the run's own steps,
    checkpoints or compiling are slow: see ``silence_s``. grace_s: from the wish to end to a checkpoint
    and the end, else SIGKILL.
    """

    arrive_s: float = 60.0
    startup_s: float = 600.0
    hang_s: float = 20.0
    grace_s: float = 30.0

    def silence_s(self, sign: Sign | None) -> float:
        """The longest silence of a worker that is no hang: once it took steps, ten times its longest
        one so far, or three times its first step, which compiles as the first test batch does."""
        if sign is None:
            return self.arrive_s
        if not sign.first_s:
            return self.hang_s
        return max(self.hang_s, 10 * sign.longest_s, 3 * sign.first_s)

    def ending_s(self, signs: "list[Sign | None]") -> float:
        """The grace of workers that end: at least five times the longest silence."""
        return max([self.grace_s, *(5 * sign.longest_s for sign in signs if sign is not None)])


Ending = Literal["done", "interrupted", "failed"] | Limit
PATIENT, UNLIMITED = Patience(), Allowance()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the supervised work ended.

    ended: done (as the result says), interrupted (asked to), failed (reason says why), or the limit
    that came. result: None where the workers were ended before they could report. notes: what else
    was done, in sentences.
    """

    ended: Ending
    result: WorkResult | None
    recoveries: tuple[Restart, ...] = ()
    notes: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What watching came to: all done, a fault, workers that were asked to end, or a limit."""

    kind: Literal["done", "fault", "notice", "limit"]
    words: str = ""


def supervise(
    spec: WorkSpec,
    launch: Launch,
    engine: Engine,
    *,
    patience: Patience = PATIENT,
    max_restarts: int = 3,
    allowance: Allowance = UNLIMITED,
    ledger: Ledger | None = None,
    progress: Callable[[StepLine], None] = lambda _: None,
    note: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Run spec with the launch's workers on engine until it is done, or its allowance is.

    A worker that dies, or falls silent beyond patience, costs the gang its life: it is started
    again from the last good checkpoint, at most max_restarts times in a row without getting
    further: then, or where the engine itself fails, the run has failed. A worker that is asked to
    end (SIGTERM: a preemption notice) has all save first. On KeyboardInterrupt the workers save and
    end, where they have taken a step; a second one ends them at once. allowance counts from the
    session's beginning. note: told why the workers do not run yet, and what went wrong. Raises
    InputError for what no restart mends.
    """
    ledger = ledger or Ledger(Path(spec.folder) / "spent.json", time.time())
    return _Supervision(
        spec, launch, engine, patience, max_restarts, allowance, ledger, progress, note
    ).run()


class _Supervision:
    def __init__(
        self,
        spec: WorkSpec,
        launch: Launch,
        engine: Engine,
        patience: Patience,
        max_restarts: int,
        allowance: Allowance,
        ledger: Ledger,
        progress: Callable[[StepLine], None],
        note: Callable[[str], None],
    ) -> None:
        self._spec, self._launch, self._engine = spec, launch, engine
        self._patience, self._max_restarts = patience, max_restarts
        self._end, self._ledger = allowance.ends(), ledger
        self._progress, self._note = progress, note
        # A busy machine ends us as slowly as it started us.
        slow = ledger.session_s() / max(time.process_time(), 0.1)
        self._ending_s = ENDING_S * min(max(slow, 1.0), SLOWEST)
        self._recoveries: list[Restart] = []
        self._notes: list[str] = []
        self._furthest, self._in_a_row = 0, 0
        self._start_s: float | None = None  # from a gang's start to its first step
        self._went_on = 0  # after which step the gang that runs did

    def run(self) -> Outcome:
        try:
            while True:
                if (outcome := self._gang()) is not None:
                    return outcome
        except KeyboardInterrupt:
            return self._outcome("interrupted")
        except (RunFailed, EngineFailed) as error:
            return self._outcome("failed", str(error))
        finally:
            self._ledger.keep(now=True)

    def _outcome(self, ended: Ending, reason: str = "") -> Outcome:
        result = _read(self._spec.result)
        if result is not None and result.status != "interrupted":
            ended, reason = "done", ""  # the end came before the wish to end
        return Outcome(ended, result, tuple(self._recoveries), tuple(self._notes), reason)

    def _gang(self) -> Outcome | None:
        """One gang from its start to its end; None where another must follow."""
        for words in checkpoints.set_broken_aside(self._spec.checkpoints):
            self._say(words)
        saved = checkpoints.latest(self._spec.checkpoints)
        self._went_on = saved.step if saved else 0
        self._spec.result.unlink(missing_ok=True)
        spec = self._spec.model_copy(
            update={"started": time.time(), "checkpointing": self._checkpointing()}
        )
        spec.write(spec.path)
        for rank in range(self._launch.ranks):
            spec.life_sign(rank).unlink(missing_ok=True)
        with placed(self._engine, self._limited()) as gang:
            try:
                self._await(gang)
                seen = self._watch(gang)
                if seen.kind in ("limit", "notice"):
                    self._end_well(gang)
            except KeyboardInterrupt:
                self._end_well(gang)
                return self._outcome("interrupted")
            logs = list(gang.logs)
        refused(spec.result)
        result = _read(spec.result)
        if seen.kind == "limit":
            assert self._end is not None
            return self._outcome(self._end[0])
        if result is not None and result.status != "interrupted":
            return self._outcome("done")
        # What nobody here asked for was a notice that a worker had.
        asked = "a worker was asked to end (SIGTERM): all saved"
        reason = seen.words or (asked if result else "all workers ended without a report")
        self._recover(reason, logs, counts=result is None)
        return None

    def _limited(self) -> Launch:
        """The launch with what is left of the allowance, for engines that end a gang by themselves."""
        if self._end is None:
            return self._launch
        left_s = max(1.0, self._end[1] - self._ledger.session_s())
        return self._launch.model_copy(update={"time_limit_s": left_s})

    def _checkpointing(self) -> Checkpointing:
        """As planned, with the interruptions of this session taken into account.

        A rate whose prior is exponential with mean 1/M is (1 + k) / (M + t) on average once k were
        seen in t seconds.
        """
        known = self._spec.checkpointing
        seen_s = known.mean_to_interruption_s + self._ledger.session_s()
        return known.model_copy(
            update={"mean_to_interruption_s": seen_s / (1 + len(self._recoveries))}
        )

    def _recover(self, reason: str, logs: list[Path], *, counts: bool) -> None:
        """Note what went wrong and wait a little. Raises RunFailed where that is no use."""
        spec = self._spec
        saved, newest = checkpoints.latest(spec.checkpoints), last_step(spec.step_log)
        reached, from_step = newest.step if newest else 0, saved.step if saved else 0
        lines = [line for line in read_steps(spec.step_log) if line.step > from_step]
        if reached > self._furthest:
            self._furthest, self._in_a_row = reached, 0
        self._in_a_row += counts
        if self._in_a_row > self._max_restarts:
            words = last_words(next((log for log in logs if _size(log)), logs[0]))
            raise RunFailed(
                f"{reason}, and {self._max_restarts} restarts in a row did not get beyond step "
                f"{reached}: {words}"
            )
        self._recoveries.append(
            Restart(
                at_s=time.time() - spec.began,
                from_step=from_step,
                lost_steps=len(lines),
                lost_s=_worked_s(lines, self._went_on),
                reason=reason,
            )
        )
        self._note(f"{reason}; going on after step {from_step}")
        pause_s = min(BACKOFF_S * 2 ** max(0, self._in_a_row - 1), LONGEST_BACKOFF_S)
        if self._end is not None:
            pause_s = min(pause_s, max(0.0, self._end[1] - self._ledger.session_s()))
        time.sleep(pause_s)

    def _say(self, words: str) -> None:
        self._notes.append(words)
        self._note(words)

    def _await(self, gang: Placement) -> None:
        """Wait until the engine has started the workers; a queue takes the time that it takes."""
        told = None
        while (why := gang.waiting()) is not None and not self._over([]):
            if why != told:
                self._note(why)
                told = why
            time.sleep(POLL_S)

    def _watch(self, gang: Placement) -> _Seen:
        """Wait for what ends the gang."""
        spec, began, shown, reported = self._spec, time.time(), -1, None
        signs: list[Sign | None] = [None] * self._launch.ranks
        # When each was last given a sign, by the clock of its host, and heard to, by ours.
        given: list[float | None] = [None] * self._launch.ranks
        heard = [began] * self._launch.ranks
        while True:
            self._ledger.keep()
            codes = gang.codes()
            if reported is None and spec.result.exists():
                reported = time.time()
            if all(code == 0 for code in codes):
                return _Seen("done", gang.fault() or "")
            if reported is not None:
                # The work is done or refused; how the processes leave is of no account.
                stay = [rank for rank, code in enumerate(codes) if code is None]
                if time.time() - reported > LEAVING_S or all(_serves(signs[r]) for r in stay):
                    return _Seen("done", gang.fault() or "")
            elif (words := self._ended(gang, codes)) is not None:
                return _Seen("fault", words)
            newest = last_step(spec.step_log)
            if newest is not None and newest.step != shown:
                shown = newest.step
                self._progress(newest)
            for rank in range(self._launch.ranks):
                sign, at = read_sign(spec.life_sign(rank))
                signs[rank] = sign or signs[rank]
                if at != given[rank]:
                    given[rank], heard[rank] = at, time.time()
            if reported is None:
                if (words := self._silent(signs, heard, began, codes)) is not None:
                    return _Seen("fault", words)
                for rank, sign in enumerate(signs):
                    if sign is not None and sign.stage == ASKED_TO_END:
                        return _Seen(
                            "notice", f"worker {rank} was asked to end (SIGTERM): all saved"
                        )
            if self._over(signs) and reported is None:
                return _Seen("limit")
            time.sleep(POLL_S)

    def _ended(self, gang: Placement, codes: list[int | None]) -> str | None:
        """Who ended too early, in words; None where nobody did."""
        bad = [rank for rank, code in enumerate(codes) if code not in (None, 0)]
        if bad:
            return gang.fault() or f"worker {bad[0]} {_how(codes[bad[0]])}"
        return gang.fault() if None not in codes else None

    def _silent(
        self,
        signs: list[Sign | None],
        heard: list[float],
        began: float,
        codes: list[int | None],
    ) -> str | None:
        """Who has been silent for too long, in words; None where nobody was."""
        now = time.time()
        # In step, all fall silent with the one that does: one time-out for all that took steps.
        stepped_s = max(
            (self._patience.silence_s(sign) for sign in signs if sign is not None and sign.first_s),
            default=0.0,
        )
        if stepped_s and self._start_s is None:
            self._start_s = now - began
        start_s = self._patience.startup_s
        if self._start_s is not None:
            start_s = min(start_s, max(self._patience.arrive_s, 5 * self._start_s))
        late: list[tuple[int, str]] = []
        for rank, sign in enumerate(signs):
            if codes[rank] is not None:
                continue
            stepped = sign is not None and sign.first_s > 0
            silence_s = now - heard[rank]
            if sign is None and silence_s > self._patience.silence_s(None):
                late.append((rank, f"did not start within {silence_s:.0f} s"))
            elif sign is None:
                continue
            elif silence_s > (stepped_s if stepped else self._patience.silence_s(sign)):
                since = f"after step {sign.step}" if stepped else "before its first step"
                words = (
                    f"gave no sign of life for {silence_s:.0f} s {since}, {sign.stage} to the last"
                )
                late.append((rank, words))
            elif sign.stage in BEFORE_STEPS and now - began > start_s:
                words = f"took no step within {now - began:.0f} s, {sign.stage} to the last"
                late.append((rank, words))
        if not late:
            return None
        return f"{' and '.join(f'worker {rank}' for rank, _ in late)} {late[0][1]}"

    def _over(self, signs: list[Sign | None]) -> bool:
        """Whether the allowance is so near its end that a checkpoint must be written now."""
        if self._end is None:
            return False
        known = [sign for sign in signs if sign is not None and sign.first_s]
        # A step that is under way, and then a checkpoint; the longest silence was one of either.
        need_s = self._ending_s + 2 * max((sign.longest_s for sign in known), default=0.0)
        if known and not any(sign.save_s for sign in known):
            # None was written yet: what it is planned to take, and tracing, which takes less than
            # to trace and compile the first step did.
            first_s = min(FIRST_SAVE_S, max(sign.first_s for sign in known))
            need_s += self._spec.checkpointing.write_s + first_s
        return self._ledger.session_s() + need_s >= self._end[1]

    def _end_well(self, gang: Placement) -> None:
        """Have the workers save and end; what still runs after the grace is killed.

        Workers that took no step since they were started have nothing to save, and may be where no
        wish is heard. A second KeyboardInterrupt ends the wait.
        """
        signs = [read_sign(self._spec.life_sign(rank))[0] for rank in range(self._launch.ranks)]
        stepped = [sign for sign in signs if sign is not None and sign.first_s]
        if not stepped:
            return
        deadline = time.time() + self._patience.ending_s(signs)
        if self._end is not None:
            deadline = min(deadline, time.time() - self._ledger.session_s() + self._end[1])
        gang.terminate()
        try:
            while time.time() < deadline and None in gang.codes():
                if _read(self._spec.result) is not None:
                    return  # saved and reported: whatever else they do, they need not
                time.sleep(POLL_S)
        except KeyboardInterrupt:
            pass


def _worked_s(lines: list[StepLine], went_on: int) -> float:
    """What steps took, of which the first after went_on also compiled: that belongs to the start.

    It counts as long as the median of the others.
    """
    seconds = [line.seconds for line in lines]
    if lines and lines[0].step == went_on + 1:
        seconds[0] = min(seconds[0], median(seconds[1:])) if len(seconds) > 1 else 0.0
    return sum(seconds)


def _serves(sign: Sign | None) -> bool:
    return sign is not None and sign.stage in ("serving", ASKED_TO_END)


def _how(code: int | None) -> str:
    """How a process ended, in words."""
    assert code is not None
    if code < 0:
        try:
            return f"was ended by {signal.Signals(-code).name}"
        except ValueError:
            pass
    return f"ended with code {code}"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _read(path: Path) -> WorkResult | None:
    try:
        return WorkResult.read(path)
    except InputError:
        return None
