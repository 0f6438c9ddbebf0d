"""Checkpoints on disk: whole or absent, checked before they are trusted, the last few kept."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..catalog.files import write_whole

KEPT = 3
SUMS = "sums.json"


@dataclass(frozen=True, slots=True)
class Saved:
    """One checkpoint: the number of steps it has behind it, and its folder."""

    step: int
    folder: Path

    @property
    def prefix(self) -> str:
        """What TensorFlow reads and writes."""
        return str(self.folder / "state")


def save(root: Path, step: int, write: Callable[[str], None]) -> Saved:
    """Have ``write(prefix)`` write a checkpoint, and give it its name only once it is whole."""
    final, part = root / f"step-{step:09d}", root / f".step-{step:09d}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    write(str(part / "state"))
    write_whole(part / SUMS, json.dumps(_sums(part)))
    shutil.rmtree(final, ignore_errors=True)
    os.replace(part, final)
    for old in all_saved(root)[:-KEPT]:
        shutil.rmtree(old.folder, ignore_errors=True)
    return Saved(step, final)


def all_saved(root: Path) -> list[Saved]:
    """Every checkpoint under root that has its name, the oldest first."""
    found = [
        Saved(int(folder.name.removeprefix("step-")), folder)
        for folder in root.glob("step-*")
        if folder.name.removeprefix("step-").isdigit()
    ]
    return sorted(found, key=lambda saved: saved.step)


def latest(root: Path) -> Saved | None:
    """The newest checkpoint whose files are what was written; broken ones are passed over."""
    for saved in reversed(all_saved(root)):
        try:
            expected = json.loads((saved.folder / SUMS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if expected and expected == _sums(saved.folder):
            return saved
    return None


def _sums(folder: Path) -> dict[str, str]:
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.iterdir())
        if file.is_file() and file.name != SUMS
    }
