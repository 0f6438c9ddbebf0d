"""What a run tells while it runs: a line a step, TensorBoard events, and signs of life."""

import contextlib
import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn, Self

import psutil

SIGN_EVERY_S = 0.1
BEAT_EVERY_S = 0.5
BEFORE_STEPS = ("starting", "building")  # stages of a worker
PR_SET_PDEATHSIG = 1  # of Linux: the signal that a process gets when its parent ends
EVENTS_EVERY_S = 0.25
MEMORY_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class StepLine:
    """One committed step of the chief's log.

    step: from 1. at_s: since the run began. loss: mean over the global batch. input_s: until the
    batch was there. communication_s: from the last gradient computed to the last summed; the rest
    of seconds is computing. samples: trained by all workers. even, odd: digests of them, of even and
    odd passes (``profiles/marks``). memory_bytes: the chief's, resident.
    """

    step: int
    at_s: float
    seconds: float
    loss: float
    input_s: float = 0.0
    communication_s: float = 0.0
    samples: int = 0
    even: float = 0.0
    odd: float = 0.0
    memory_bytes: float = 0.0

    @property
    def compute_s(self) -> float:
        return max(0.0, self.seconds - self.input_s - self.communication_s)


class StepLog:
    """Appends steps to a file of JSON lines; a reader sees each as soon as it is committed."""

    def __init__(self, path: Path, from_step: int) -> None:
        """Steps after from_step, left from before a restart, are struck: they are done again."""
        kept = [line for line in read_steps(path) if line.step <= from_step]
        path.write_text("".join(_line(line) for line in kept), encoding="utf-8")
        self._path = path

    def __enter__(self) -> Self:
        self._file = self._path.open("a", encoding="utf-8", buffering=1)  # whole lines
        return self

    def __exit__(self, *raised: object) -> None:
        self._file.close()

    def append(self, line: StepLine) -> None:
        self._file.write(_line(line))


def _line(line: StepLine) -> str:
    return json.dumps(asdict(line)) + "\n"


def read_steps(path: Path) -> list[StepLine]:
    """All whole lines of a step log; none where there is no file."""
    return list(_lines(path)) if path.exists() else []


def _lines(path: Path) -> Iterator[StepLine]:
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            yield StepLine(**json.loads(text))
        except (ValueError, TypeError):
            return  # cut short by a kill; what follows was never written


def last_step(path: Path) -> StepLine | None:
    """The newest whole line of a step log, without reading all of it."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 4096))
            tail = file.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for text in reversed(tail):
        try:
            return StepLine(**json.loads(text))
        except (ValueError, TypeError):
            continue
    return None


@dataclass(frozen=True, slots=True)
class Sign:
    """What a worker last said of itself.

    stage: what it does: starting, building, training, saving, testing or leaving. first_s, longest_s: its
    silence before its first step was done, and its longest one since. save_s: the longest that ended
    with a checkpoint; 0 before the first.
    """

    stage: str
    step: int
    first_s: float
    longest_s: float
    save_s: float = 0.0


class LifeSign:
    """A small file that says what its worker does; its time of change says since when.

    Until the first step it changes with every heartbeat, for building and compiling are one long
    silence; from then on with the work alone, so that a step which hangs is seen to.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._stage = path, ""
        self._written = self._heard = time.monotonic()
        self._first_s = self._longest_s = self._save_s = 0.0
        self._heart: int | None = None

    def beat(self) -> None:
        """Have the file touched while this process runs and is not stopped, until its first step.

        By a process of its own, for no thread gets its turn while TensorFlow waits for its peers: it
        holds Python's lock meanwhile. To be called before threads are started.
        """
        worker = os.getpid()
        self._heart = os.fork()
        if self._heart == 0:
            _touch_while_running(self._path, worker)

    def _still(self) -> None:
        if self._heart is not None:
            os.kill(self._heart, signal.SIGKILL)
            os.waitpid(self._heart, 0)
            self._heart = None

    def give(self, stage: str, step: int = 0) -> None:
        """To be called after every step and every other piece of work."""
        now = time.monotonic()
        silent_s, self._heard = now - self._heard, now
        if self._first_s:
            self._longest_s = max(self._longest_s, silent_s)
        elif stage == "training":
            self._first_s = silent_s
            self._still()
        if stage == "saving":
            self._save_s = max(self._save_s, silent_s)
        if stage != self._stage or now - self._written > SIGN_EVERY_S:
            self._stage, self._written = stage, now
            sign = Sign(stage, step, self._first_s, self._longest_s, self._save_s)
            self._path.write_text(json.dumps(asdict(sign)), encoding="utf-8")


def _touch_while_running(path: Path, worker: int) -> NoReturn:
    """The heart of a worker: ends when it does."""
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        process = psutil.Process(worker)
        while os.getppid() == worker:
            if process.status() != psutil.STATUS_STOPPED:
                with contextlib.suppress(OSError):
                    os.utime(path)
            time.sleep(BEAT_EVERY_S)
    finally:
        os._exit(0)


def read_sign(path: Path) -> tuple[Sign | None, float | None]:
    """A worker's sign and when it was given (epoch seconds); None where there is none.

    The sign is None, too, in the instant in which it is being written.
    """
    try:
        given_at = path.stat().st_mtime
        return Sign(**json.loads(path.read_text(encoding="utf-8"))), given_at
    except FileNotFoundError:
        return None, None
    except (OSError, ValueError, TypeError):
        return None, given_at


class Events:
    """TensorBoard's scalars, at most a few a second: loss, throughput, where time goes, memory."""

    def __init__(self, folder: Path) -> None:
        import tensorflow as tf

        self._writer: Any = tf.summary.create_file_writer(str(folder))
        self._written = -EVENTS_EVERY_S
        # What TensorBoard's own scalar() writes; it would need that package.
        self._metadata = tf.compat.v1.SummaryMetadata(
            plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars")
        )

    def add(self, line: StepLine, *, last: bool = False) -> None:
        import tensorflow as tf

        if not last and time.monotonic() - self._written < EVENTS_EVERY_S:
            return
        self._written = time.monotonic()
        values = {
            "loss": line.loss,
            "samples_per_s": line.samples / line.seconds if line.seconds else 0.0,
            "seconds/step": line.seconds,
            "seconds/input": line.input_s,
            "seconds/communication": line.communication_s,
            "seconds/compute": line.compute_s,
            "memory_bytes": line.memory_bytes,
        }
        with self._writer.as_default():
            for name, value in values.items():
                tf.summary.write(
                    name, tf.constant(value, tf.float32), line.step, metadata=self._metadata
                )

    def flush(self) -> None:
        self._writer.flush()


class Memory:
    """Resident bytes of this process, looked at now and then."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._looked, self._bytes = -MEMORY_EVERY_S, 0.0

    def now(self) -> float:
        if time.monotonic() - self._looked > MEMORY_EVERY_S:
            self._looked = time.monotonic()
            self._bytes = float(self._process.memory_info().rss)
        return self._bytes
