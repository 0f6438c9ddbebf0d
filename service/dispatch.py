"""Takes jobs from the queue, and has each done in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from .audit import Audit
from .folder import Folder
from .jobs import Job, JobStore

SAID_S = 0.5  # between two notes of progress on disk
GRACE_S = 5.0  # to end in good order, a checkpoint included
LOOK_S = 1.0
WHO = "service"
ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "2", "OMP_NUM_THREADS": "1"}


@dataclass
class _Worker:
    job: Job
    process: subprocess.Popen[bytes]
    stopped: bool = False  # by us: the job is queued again, or was cancelled
    said: float = 0.0
    last: dict[str, Any] = field(default_factory=dict)


class Dispatcher:
    """Works through the queue, at most ``workers`` jobs at a time, until it is stopped."""

    def __init__(self, folder: Folder, store: JobStore, audit: Audit, workers: int) -> None:
        self._folder, self._store, self._audit = folder, store, audit
        self._most = workers
        self._running: dict[str, _Worker] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._work_through, name="dispatch", daemon=True)

    def start(self) -> None:
        """Begin, with what was cut short by the end of an earlier service first."""
        for job in self._store.take_up_again():
            self._audit.note(WHO, f"job {job.id}", "queued again", kind=job.kind)
        self._thread.start()

    def wake(self) -> None:
        """There may be something to do."""
        self._wake.set()

    def stop(self) -> None:
        """End all workers in good order; their jobs wait for the next start."""
        self._stopping = True
        self._wake.set()
        with self._lock:
            running = list(self._running.values())
        for one in running:
            self._end(one)
        end = time.monotonic() + GRACE_S
        for one in running:
            try:
                one.process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                one.process.kill()
                one.process.wait()
        self._thread.join(LOOK_S)
        while self._running:
            time.sleep(0.01)

    def cancel(self, name: str) -> bool:
        """Whether the job waited or ran; what it wrote so far stays beside its result's place."""
        cancelled = self._store.cancel(name)
        with self._lock:
            one = self._running.get(name)
        if one is not None:
            self._end(one)
        return cancelled

    def _end(self, one: _Worker) -> None:
        one.stopped = True
        if one.process.poll() is None:
            one.process.send_signal(signal.SIGTERM)

    def _work_through(self) -> None:
        while not self._stopping:
            self._wake.clear()
            while not self._stopping and len(self._running) < self._most:
                job = self._store.claim()
                if job is None:
                    break
                self._begin(job)
            self._wake.wait(LOOK_S)

    def _begin(self, job: Job) -> None:
        logs = self._folder.state / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        said, tell = os.pipe()
        spec = {
            "id": job.id,
            "kind": job.kind,
            "request": job.request,
            "root": str(self._folder.root),
            "tell": tell,
        }
        try:
            with (logs / f"{job.id}.log").open("ab") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "isocost.service.work", json.dumps(spec)],
                    # Closes when this process ends, however it ends: then the worker ends too.
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    pass_fds=(tell,),
                    cwd=self._folder.root,
                    env={**os.environ, **ENVIRONMENT},
                    start_new_session=True,
                )
        except OSError as error:
            os.close(said)
            self._store.failed(job.id, f"no process could be started: {error.strerror}")
            return
        finally:
            os.close(tell)
        one = _Worker(job, process)
        with self._lock:
            self._running[job.id] = one
        now = self._store.get(job.id)
        if self._stopping or now is None or now.state != "running":
            self._end(one)  # stopped or cancelled before its process was known
        self._audit.note(WHO, f"job {job.id}", "begun", kind=job.kind, attempt=job.attempts)
        threading.Thread(target=self._follow, args=(one, said), name=job.id, daemon=True).start()

    def _follow(self, one: _Worker, said: int) -> None:
        """Listen to a worker until it ends, and write down how it did."""
        name = one.job.id
        try:
            with os.fdopen(said, encoding="utf-8") as lines:
                for line in lines:
                    one.last = json.loads(line)
                    if "progress" in one.last and time.monotonic() - one.said > SAID_S:
                        one.said = time.monotonic()
                        self._store.progressed(name, one.last["progress"], one.last["note"])
            code = one.process.wait()
            if one.process.stdin is not None:
                one.process.stdin.close()
            outcome = self._outcome(one, code)
            self._audit.note(WHO, f"job {name}", outcome, kind=one.job.kind)
        finally:
            with self._lock:
                del self._running[name]
            self._wake.set()

    def _outcome(self, one: _Worker, code: int) -> str:
        name = one.job.id
        if "result" in one.last:
            self._store.finished(name, one.last["result"])
            return f"done: {one.last['result']}"
        if "error" in one.last:
            self._store.failed(name, one.last["error"])
            return f"failed: {one.last['error']}"
        if one.stopped:
            return "queued again" if self._store.requeue(name) else "cancelled"
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        words = f"its process ended by {how}; the log is .isocost/logs/{name}.log"
        self._store.failed(name, words)
        return f"failed: {words}"
