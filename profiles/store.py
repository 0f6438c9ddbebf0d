"""Where profiles and imported measurements lie, and which profile is the latest of a workload."""

import json
from collections.abc import Iterable
from pathlib import Path

from ..catalog.files import InputError, write_whole
from ..catalog.home import home
from .records import Profile
from .table import COLUMNS, Row, read_table, write_rows
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


def imports_path() -> Path:
    """The table of measurements that the user imported."""
    return home() / "measurements.csv"


def imported() -> tuple[Row, ...]:
    """The user's imported rows, none where nothing was imported."""
    path = imports_path()
    return read_table(path, measured=True).sound().rows if path.exists() else ()


def keep_imports(rows: Iterable[Row]) -> tuple[int, int]:
    """Add rows to the imported ones; how many were new, and how many were there already."""
    held = {_cells(row): None for row in imported()}
    before = len(held)
    given = [_cells(row) for row in rows]
    held.update(dict.fromkeys(given))
    new = len(held) - before
    if new:
        cells = [dict(zip(COLUMNS, each, strict=True)) for each in held]
        write_whole(imports_path(), write_rows(COLUMNS, cells))
    return new, len(given) - new


def _cells(row: Row) -> tuple[str, ...]:
    return tuple(row.cell(name) for name in COLUMNS)


def own_rows() -> list[dict[str, object]]:
    """What was measured here, from every profile in the data directory, as cells of COLUMNS."""
    return [
        cells
        for path in sorted(profiles_folder().glob("*profile*.json"))
        if (profile := _readable(path)) is not None
        for cells in profile_cells(profile)
    ]


def profile_cells(profile: Profile) -> list[dict[str, object]]:
    """A profile's measurements as cells of COLUMNS.

    Workers that share a machine's processors count as accelerators on one node.
    """
    version = profile.host.versions.get("tensorflow", "")
    return [
        {
            "source": f"measured on {profile.host.cpu}, {profile.host.cores:g} cores",
            "source_version": f"{profile.created:%Y-%m-%d}",
            "framework": "TensorFlow",
            "framework_version": version,
            "model": profile.model,
            "dataset": profile.data,
            "accelerator": one.setting.accelerator,
            "accelerators": one.setting.replicas,
            "accelerators_per_node": one.setting.replicas // one.setting.nodes,
            "nodes": one.setting.nodes,
            "precision": one.setting.knobs.precision,
            "xla": "on" if one.setting.knobs.xla else "off",
            "per_device_batch": one.setting.per_device_batch,
            "global_batch": one.setting.global_batch,
            "unit": "samples/s",
            "throughput": f"{one.samples_per_s:.6g}",
            "step_time_s": f"{one.step_time_s.value:.6g}",
            "n_runs": len(one.processes),
            "notes": f"strategy={one.setting.knobs.strategy}",
        }
        for one in profile.measurements
    ]
