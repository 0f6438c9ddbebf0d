"""The queue of jobs on disk: what was accepted outlives the service, however it ends.

One SQLite file in WAL mode; a job counts as accepted once its row is committed and synced. Only the
service writes to it, so a job that was running when the service was killed is found running at the
next start, and queued again.
"""

import json
import sqlite3
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ..catalog.files import Record

State = Literal["queued", "running", "done", "failed", "cancelled"]
Kind = Literal["plan", "simulation", "run"]

_TABLE = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    request TEXT NOT NULL,
    state TEXT NOT NULL,
    progress REAL NOT NULL DEFAULT 0,
    note TEXT NOT NULL DEFAULT '',
    result TEXT,
    error TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    accepted REAL NOT NULL,
    started REAL,
    ended REAL,
    key TEXT UNIQUE
);
CREATE INDEX IF NOT EXISTS waiting ON jobs (state, number);
"""
_COLUMNS = (
    "id, kind, request, state, progress, note, result, error, attempts, accepted, started, ended"
)


class QueueFull(Exception):
    """So many jobs wait that no more are accepted."""


class Job(Record):
    """One piece of long work.

    progress: from 0 to 1, as far as it is known. result: the document's name below the folder once
    it is done. error: a sentence where it failed. attempts: how often it was begun; more than once
    where the service ended meanwhile. Times in seconds since the epoch.
    """

    id: str
    kind: Kind
    request: dict[str, Any]
    state: State
    progress: float
    note: str
    result: str | None
    error: str | None
    attempts: int
    accepted: float
    started: float | None
    ended: float | None


class JobStore:
    """The jobs in one SQLite file; may be used by several threads."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")  # accepted is on disk
        self._database.executescript(_TABLE)

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def add(
        self, kind: Kind, request: Mapping[str, Any], *, key: str | None = None, most: int = 10**9
    ) -> Job:
        """Accept a job; with a key that was given before, the job that it was given for.

        Raises QueueFull where ``most`` jobs wait already.
        """
        with self._lock:
            if key is not None:
                known = self._rows("WHERE key = ?", key)
                if known:
                    return known[0]
            (waiting,) = self._database.execute(
                "SELECT count(*) FROM jobs WHERE state = 'queued'"
            ).fetchone()
            if waiting >= most:
                raise QueueFull(
                    f"{waiting} jobs wait already; try again when some are done, or start the service "
                    "with a larger --max-queue"
                )
            name = uuid.uuid4().hex
            self._database.execute(
                "INSERT INTO jobs (id, kind, request, state, accepted, key) VALUES (?, ?, ?, 'queued', ?, ?)",
                (name, kind, json.dumps(request), time.time(), key),
            )
            return self._rows("WHERE id = ?", name)[0]

    def get(self, name: str) -> Job | None:
        found = self._rows("WHERE id = ?", name)
        return found[0] if found else None

    def newest(self, most: int, state: State | None = None) -> list[Job]:
        where = "" if state is None else "WHERE state = ?"
        values = () if state is None else (state,)
        return self._rows(f"{where} ORDER BY number DESC LIMIT ?", *values, most)

    def counts(self) -> dict[str, int]:
        with self._lock:
            rows = self._database.execute("SELECT state, count(*) FROM jobs GROUP BY state")
            return dict(rows.fetchall())

    def claim(self) -> Job | None:
        """The job that has waited longest, now running; None where none waits."""
        with self._lock:
            waiting = self._rows("WHERE state = 'queued' ORDER BY number LIMIT 1")
            if not waiting:
                return None
            self._database.execute(
                "UPDATE jobs SET state = 'running', started = ?, attempts = attempts + 1, progress = 0,"
                " note = '' WHERE id = ?",
                (time.time(), waiting[0].id),
            )
            return self.get(waiting[0].id)

    def progressed(self, name: str, progress: float, note: str) -> None:
        self._change(
            "progress = ?, note = ? WHERE id = ? AND state = 'running'", progress, note, name
        )

    def finished(self, name: str, result: str) -> None:
        self._change(
            "state = 'done', progress = 1, result = ?, ended = ? WHERE id = ? AND state = 'running'",
            result,
            time.time(),
            name,
        )

    def failed(self, name: str, error: str) -> None:
        self._change(
            "state = 'failed', error = ?, ended = ? WHERE id = ? AND state = 'running'",
            error,
            time.time(),
            name,
        )

    def cancel(self, name: str) -> bool:
        """Whether the job was queued or running, and is cancelled now."""
        return self._change(
            "state = 'cancelled', ended = ? WHERE id = ? AND state IN ('queued', 'running')",
            time.time(),
            name,
        )

    def requeue(self, name: str) -> bool:
        """Put a running job back into the queue, at its old place."""
        return self._change("state = 'queued' WHERE id = ? AND state = 'running'", name)

    def take_up_again(self) -> list[Job]:
        """Queue whatever was running when the service ended; for its next start."""
        with self._lock:
            cut_short = self._rows("WHERE state = 'running' ORDER BY number")
            return [one for one in cut_short if self.requeue(one.id)]

    def _change(self, what: str, *values: object) -> bool:
        with self._lock:
            return self._database.execute(f"UPDATE jobs SET {what}", values).rowcount > 0

    def _rows(self, where: str, *values: object) -> list[Job]:
        with self._lock:
            rows = self._database.execute(f"SELECT {_COLUMNS} FROM jobs {where}", values).fetchall()
        names = _COLUMNS.split(", ")
        return [
            Job.model_validate(dict(zip(names, row, strict=True)) | {"request": json.loads(row[2])})
            for row in rows
        ]
