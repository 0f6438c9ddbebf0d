"""The audit log: one JSON line for everything that was asked, refused, begun or ended."""

import json
import os
import threading
from datetime import UTC, datetime
from pathlib import Path

LONGEST_LINE = 2000


class Audit:
    """Appends lines to a file that only its owner may read; no line is ever changed or removed."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._file = os.open(path, flags, 0o600)
        self._lock = threading.Lock()

    def note(self, who: str, what: str, outcome: str, **more: object) -> None:
        """Add a line: when (UTC), who, what, outcome, and whatever else tells more."""
        line = {
            "when": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "who": who[:100],
            "what": what[:400],
            "outcome": outcome[:400],
            **{
                key: value[:400] if isinstance(value, str) else value for key, value in more.items()
            },
        }
        text = json.dumps(line, ensure_ascii=True)[:LONGEST_LINE] + "\n"
        with self._lock:
            os.write(self._file, text.encode("ascii"))

    def close(self) -> None:
        os.close(self._file)
