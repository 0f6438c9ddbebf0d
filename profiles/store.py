"""Where profiles lie, and which one is the latest of a workload."""

import json
from collections.abc import Iterable
from pathlib import Path

from ..catalog.files import InputError
from ..catalog.home import home
from .records import Profile
from .workload import Workload


def profiles_folder() -> Path:
    return home() / "profiles"


def file_name(profile: Profile) -> str:
    """profile-<workload>-<time>.json, with nothing in it that a file name cannot hold."""
    safe = "".join(sign if sign.isalnum() or sign in "-_." else "-" for sign in profile.workload)
    return f"profile-{safe[:80]}-{profile.created:%Y%m%dT%H%M%S}.json"


def latest(workload: Workload, folders: Iterable[Path]) -> tuple[Path, Profile] | None:
    """The newest profile of the workload's model in the first folder that has one."""
    for folder in folders:
        found = [
            (path, profile)
            for path in sorted(folder.glob("*profile*.json"))
            if (profile := _readable(path)) is not None and profile.model == workload.model
        ]
        if found:
            return max(found, key=lambda pair: pair[1].created)
    return None


def _readable(path: Path) -> Profile | None:
    """The profile at path; None for another document, which is none of our business here."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or content.get("schema") != "isocost/profile/v1":
            return None
        return Profile.parse(content, str(path))
    except (OSError, ValueError, InputError):
        return None
