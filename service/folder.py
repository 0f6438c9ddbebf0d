"""The served folder: names below it, and the documents that lie there."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..catalog.files import InputError, read_mapping

LONGEST_NAME = 400
DEEPEST = 4  # folders below the served one that are looked into
MOST_FILES = 20_000  # looked at in one listing
LARGEST_BYTES = 64 * 1024 * 1024
SUFFIXES = (".json", ".yaml", ".yml")
STATE = ".isocost"  # queue, audit log and workers' logs


class Absent(InputError):
    """There is no such file in the served folder."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A document by its name below the folder; modified: seconds since the epoch."""

    name: str
    schema: str
    modified: float


@dataclass
class Folder:
    """A folder whose files are known by their relative names; nothing outside it is ever read or written."""

    root: Path
    _known: dict[Path, tuple[tuple[int, int], str | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root = self.root.resolve()

    @property
    def state(self) -> Path:
        return self.root / STATE

    def path(self, name: str) -> Path:
        """The file that name means; raises InputError for what is no name or leads outside.

        A name is relative, with / between its parts, none of which is empty or begins with a dot.
        """
        parts = name.split("/")
        if (
            not 0 < len(name) <= LONGEST_NAME
            or not name.isprintable()
            or "\\" in name
            or any(not part or part.startswith(".") or len(part.encode()) > 255 for part in parts)
        ):
            raise InputError(
                f"{name[:80]!r} is no name of a file here; give a path below the served folder, such "
                "as jobs/train.yaml"
            )
        path = self.root.joinpath(*parts)
        try:
            inside = path.resolve().is_relative_to(self.root)
        except (OSError, RuntimeError):  # a circle of links
            inside = False
        if not inside:
            raise InputError(f"{name!r} leads outside the served folder")
        return path

    def existing(self, name: str) -> Path:
        """The same, of a file that is there; raises Absent where it is not."""
        path = self.path(name)
        if not path.is_file():
            raise Absent(f"there is no file {name!r} in the served folder")
        return path

    def name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def documents(self, schema: str) -> list[Entry]:
        """The documents of one schema, the newest first."""
        found = []
        for path in self._files():
            try:
                status = path.stat()
            except OSError:
                continue  # gone meanwhile
            if self._schema(path, status) == schema:
                found.append(Entry(self.name(path), schema, status.st_mtime))
        return sorted(found, key=lambda one: (-one.modified, one.name))

    def _files(self) -> Iterator[Path]:
        count = 0
        for folder, inner, names in os.walk(self.root):
            here = Path(folder)
            depth = len(here.relative_to(self.root).parts)
            inner[:] = sorted(one for one in inner if not one.startswith(".") and depth < DEEPEST)
            for name in sorted(names):
                count += 1
                if count > MOST_FILES:
                    return
                path = here / name
                if not name.startswith(".") and name.endswith(SUFFIXES) and name.isprintable():
                    try:
                        self.path(self.name(path))
                    except InputError:
                        continue
                    yield path

    def _schema(self, path: Path, status: os.stat_result) -> str | None:
        """What the file says it is; read again only when it has changed."""
        stamp = (status.st_mtime_ns, status.st_size)
        kept = self._known.get(path)
        if kept is None or kept[0] != stamp:
            kept = (stamp, _schema_of(path, status.st_size))
            self._known[path] = kept
        return kept[1]


def _schema_of(path: Path, size: int) -> str | None:
    if size > LARGEST_BYTES:
        return None
    try:
        if path.suffix == ".json":
            content: object = json.loads(path.read_bytes())
        else:
            with path.open("rb") as file:
                if b"isocost/" not in file.read(4096):
                    return None
            content = read_mapping(path)
    except (OSError, ValueError, RecursionError):
        return None
    schema = content.get("schema") if isinstance(content, dict) else None
    return schema if isinstance(schema, str) else None
