"""Checkpoints on disk: whole or absent, checked before they are trusted, the last few kept."""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from ..catalog.files import InputError, Record, write_whole

KEPT = 3
SUMS = "sums.json"
POSITION = "position.json"
BROKEN = "broken-"


class Position(Record):
    """Where in its training a checkpoint stands, and of which training it is.

    step: steps behind it, which is the data position too. samples: that each replica trained so far;
    a run that goes on with another number of workers begins counting anew in ``earlier``.
    """

    step: int = Field(ge=0)
    model: str
    seed: int
    global_batch: int = Field(ge=1)
    learning_rate_factor: float = 1.0
    samples: tuple[int, ...] = ()
    earlier: int = 0


@dataclass(frozen=True, slots=True)
class Saved:
    """One checkpoint: the number of steps it has behind it, and its folder."""

    step: int
    folder: Path

    @property
    def prefix(self) -> str:
        """What TensorFlow reads and writes."""
        return str(self.folder / "state")

    def position(self) -> Position | None:
        """Where it stands; None for one that does not say."""
        path = self.folder / POSITION
        return Position.model_validate_json(path.read_text("utf-8")) if path.exists() else None


def daly_interval_s(write_s: float, mean_to_interruption_s: float, restart_s: float) -> float:
    """Seconds from one checkpoint to the next: tau = sqrt(2 C (M + R)), never shorter than C.

    C seconds to write one, M mean seconds to an interruption, R to be back after one. Young's formula
    with Daly's restart term (Daly 2003, A model for predicting the optimum checkpoint interval);
    here from the start of one writing to the end of the next, so Daly's "- C" is not taken off.

    >>> daly_interval_s(2.0, 9_990.0, 10.0)
    200.0
    """
    return max(write_s, math.sqrt(2 * write_s * (mean_to_interruption_s + restart_s)))


def save(
    root: Path, step: int, write: Callable[[str], None], position: Position | None = None
) -> Saved:
    """Have ``write(prefix)`` write a checkpoint, and give it its name only once it is whole."""
    final, part = root / f"step-{step:09d}", root / f".step-{step:09d}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    write(str(part / "state"))
    if position is not None:
        (part / POSITION).write_text(position.model_dump_json(), encoding="utf-8")
    for file in part.iterdir():
        _to_disk(file)
    write_whole(part / SUMS, json.dumps(_sums(part)))
    shutil.rmtree(final, ignore_errors=True)
    os.replace(part, final)
    _to_disk(root)
    for old in all_saved(root)[:-KEPT]:
        shutil.rmtree(old.folder, ignore_errors=True)
    return Saved(step, final)


def _to_disk(path: Path) -> None:
    """Have the system write what it holds back of a file or a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
    return next((saved for saved in reversed(all_saved(root)) if fault(saved) is None), None)


def fault(saved: Saved) -> str | None:
    """What is wrong with a checkpoint, in words; None where it is whole."""
    try:
        expected = json.loads((saved.folder / SUMS).read_text(encoding="utf-8"))
        found = _sums(saved.folder)
    except (OSError, ValueError):
        return "its checksums cannot be read"
    if not expected:
        return "it is empty"
    for name in sorted(expected):
        if name not in found:
            return f"{name} is missing"
        if found[name] != expected[name]:
            return f"{name} is not what was written"
    return None if found == expected else "it holds files that were not written with it"


def set_broken_aside(root: Path) -> tuple[str, ...]:
    """Rename every checkpoint newer than the newest whole one; a sentence for each."""
    words = []
    for saved in reversed(all_saved(root)):
        wrong = fault(saved)
        if wrong is None:
            break
        aside = saved.folder.with_name(BROKEN + saved.folder.name)
        shutil.rmtree(aside, ignore_errors=True)
        saved.folder.rename(aside)
        words.append((saved.step, wrong))
    good = latest(root) if words else None
    used = "the training starts anew" if good is None else f"the one after step {good.step} is used"
    return tuple(
        f"the checkpoint after step {step} is broken ({wrong}); {used}" for step, wrong in words
    )


def check_same(position: Position, wanted: Position) -> None:
    """InputError where a checkpoint is of another training than the one that is to go on."""
    options = (
        ("model", "model", "give the plan of that model"),
        ("seed", "seed", f"give --seed {position.seed}"),
        ("global_batch", "global batch", f"give --global-batch {position.global_batch}"),
        (
            "learning_rate_factor",
            "learning-rate factor",
            "give the --learning-rate of the first part",
        ),
    )
    for field, name, remedy in options:
        had, asked = getattr(position, field), getattr(wanted, field)
        if had != asked:
            raise InputError(
                f"the checkpoint was trained with {name} {had}, and {asked} is asked for; {remedy}, "
                "or start another run without --resume"
            )


def _sums(folder: Path) -> dict[str, str]:
    sums = {}
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.name != SUMS:
            with file.open("rb") as content:
                sums[file.name] = hashlib.file_digest(content, "sha256").hexdigest()
    return sums
