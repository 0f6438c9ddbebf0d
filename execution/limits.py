"""Deadline and budget: how much longer a run may go on, and what it spent so far."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..catalog.files import write_whole

Limit = Literal["deadline", "budget"]
KEEP_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a run, or a session of it, may take; None without a limit."""

    deadline_s: float | None = None
    budget_usd: float | None = None
    usd_per_h: float = 0.0

    def ends(self) -> tuple[Limit, float] | None:
        """Which limit comes first, and after how many seconds; None where there is none.

        >>> Allowance(deadline_s=20, budget_usd=0.01, usd_per_h=3.6).ends()
        ('budget', 10.0)
        """
        found: list[tuple[float, Limit]] = []
        if self.deadline_s is not None:
            found.append((self.deadline_s, "deadline"))
        if self.budget_usd is not None and self.usd_per_h > 0:
            found.append((self.budget_usd / self.usd_per_h * 3600, "budget"))
        if not found:
            return None
        seconds, limit = min(found)
        return limit, seconds


class Ledger:
    """Seconds that all sessions of a run took, kept in its folder while it runs.

    A session whose supervisor is killed loses at most KEEP_EVERY_S of them.
    """

    def __init__(self, path: Path, began: float) -> None:
        """began: the epoch second in which this session did."""
        self._path, self._began, self._kept = path, began, 0.0
        self.before_s = spent_s(path)

    def session_s(self) -> float:
        return time.time() - self._began

    def spent_s(self) -> float:
        return self.before_s + self.session_s()

    def keep(self, *, now: bool = False) -> None:
        if now or time.monotonic() - self._kept > KEEP_EVERY_S:
            self._kept = time.monotonic()
            write_whole(self._path, json.dumps({"seconds": self.spent_s()}))


def spent_s(path: Path) -> float:
    """What earlier sessions took, by the ledger at path; 0 where there is none."""
    try:
        return max(0.0, float(json.loads(path.read_text(encoding="utf-8"))["seconds"]))
    except (OSError, ValueError, TypeError, KeyError):
        return 0.0
