"""What this machine has for isocost, and what is missing: one finding a thing."""

import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

State = Literal["ok", "missing", "problem"]

TENSORFLOW_S = 90.0  # to import it and list its devices; 2 to 5 s where nothing is wrong
LEAST_DISK_GB = 5.0
LEAST_MEMORY_GIB = 4.0
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked for. remedy: what to do where it is not as it should be.

    needed: whether isocost cannot do its main work without it.
    """

    name: str
    state: State
    found: str
    remedy: str = ""
    needed: bool = False

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def findings() -> Iterator[Finding]:
    """Everything, one after the other; TensorFlow, which takes longest, comes last."""
    for look in LOOKS:
        try:
            looked = look()
            found = [looked] if isinstance(looked, Finding) else list(looked)
        except Exception as error:  # noqa: BLE001  a doctor goes on
            name = look.__name__.removeprefix("_").replace("_", " ")
            yield Finding(name, "problem", f"{type(error).__name__}: {error}")
            continue
        yield from found


def _versions() -> Finding:
    from .. import __version__

    names = ("numpy", "scipy", "pulp", "highspy", "polars", "pydantic", "plotly", "simpy")
    known = ", ".join(f"{name} {version(name)}" for name in names)
    python = ".".join(map(str, sys.version_info[:3]))
    return Finding("isocost", "ok", f"{__version__} on Python {python}; {known}")


def _processors() -> Finding:
    from ..catalog.local import usable_cpus, usable_memory_bytes

    cores, gib = usable_cpus(), usable_memory_bytes() / 2**30
    said = f"{cores:g} processors, {gib:.1f} GiB of memory for this process"
    if gib < LEAST_MEMORY_GIB:
        remedy = f"TensorFlow wants {LEAST_MEMORY_GIB:g} GiB or more; close other programs"
        return Finding("machine", "problem", said, remedy)
    return Finding("machine", "ok", said)


def _disk() -> Finding:
    from ..catalog.home import home

    place = home()
    at = next(one for one in (place, *place.parents) if one.exists())
    free_gb = shutil.disk_usage(at).free / 1e9
    said = f"{free_gb:,.0f} GB free for {place}"
    if not os.access(at, os.W_OK):
        return Finding(
            "disk",
            "problem",
            f"{at} cannot be written",
            "set ISOCOST_HOME to a folder that can",
            True,
        )
    if free_gb < LEAST_DISK_GB:
        return Finding("disk", "problem", said, "checkpoints and profiles need room; free some")
    return Finding("disk", "ok", said)


def _catalog() -> list[Finding]:
    from ..catalog import catalog_of
    from ..catalog.age import stale_shares
    from ..catalog.home import home
    from ..catalog.shelf import stored_sources

    offers = catalog_of("all").offers
    oldest, newest = (str(day) for day in (offers["price_date"].min(), offers["price_date"].max()))
    sources = stored_sources()
    imported = f", {len(sources)} imported lists" if sources else ", built in alone"
    said = f"{offers.height:,} offers{imported}; prices of {oldest} to {newest}"
    stale = {k: v for k, v in stale_shares(offers, date.today()).items() if v > 0.05}
    if stale:
        old = ", ".join(
            f"{v:.0%} of {k.name.lower().replace('_', '-')} prices" for k, v in stale.items()
        )
        found = [
            Finding("catalog", "problem", f"{said}; too old: {old}", "isocost catalog refresh")
        ]
    else:
        found = [Finding("catalog", "ok", said)]
    owned = home() / "offers.yaml"
    said = str(owned) if owned.exists() else "no machines of your own are listed"
    state: State = "ok" if owned.exists() else "missing"
    remedy = "" if owned.exists() else f"list them in {owned} (isocost schema offers)"
    return [*found, Finding("owned machines", state, said, remedy)]


def _solvers() -> Finding:
    import pulp

    usable = pulp.listSolvers(onlyAvailable=True)
    wanted = [name for name in ("HiGHS", "PULP_CBC_CMD") if name in usable]
    if "HiGHS" not in wanted:
        remedy = "pip install highspy; until then use --solver cbc"
        return Finding("solvers", "problem", f"PuLP finds {', '.join(usable)}", remedy, True)
    return Finding("solvers", "ok", ", ".join(wanted))


def _engines() -> Iterator[Finding]:
    """Where a plan's workers can run; each engine knows what it lacks."""
    from ..execution.engines import KNOWN, engine

    for name in KNOWN:
        try:
            lacking = engine(name).available()
        except ImportError as error:
            lacking = str(error)
        what, _, remedy = (lacking or "").partition(";")
        yield Finding(
            f"engine {name}",
            "missing" if lacking else "ok",
            what if lacking else "ready",
            remedy.strip() or (f"see isocost run --help, --engine {name}" if lacking else ""),
        )


def _serving() -> Finding:
    needed = ("fastapi", "uvicorn")
    lacking = [name for name in needed if importlib.util.find_spec(name) is None]
    if lacking:
        said = f"{' and '.join(lacking)} not installed"
        return Finding("live view", "missing", said, "pip install 'isocost[serve]'")
    return Finding("live view", "ok", ", ".join(f"{name} {version(name)}" for name in needed))


def _browser() -> list[Finding]:
    path = next((p for name in BROWSERS if (p := shutil.which(name))), None)
    browser = (
        Finding("browser", "ok", path)
        if path
        else Finding(
            "browser",
            "missing",
            "no Chromium or Chrome on the path",
            "needed only for pictures (PNG, PDF) of pages: apt-get install chromium",
        )
    )
    return [browser, _package("kaleido", "kaleido", "pip install kaleido, for pictures of pages")]


def _package(name: str, module: str, remedy: str) -> Finding:
    try:
        return Finding(name, "ok", f"{module} {version(module)}")
    except PackageNotFoundError:
        return Finding(name, "missing", f"{module} is not installed", remedy)


def _tensorflow() -> Finding:
    """In a process of its own: importing it takes seconds, and where it hangs, that must not."""
    from ..profiles.devices import Devices
    from ..profiles.gang import Gang, last_words

    with tempfile.TemporaryDirectory(prefix="isocost-doctor-") as room:
        result = Path(room) / "devices.json"
        log = Path(room) / "log"
        command = ["-m", "isocost.profiles.devices", str(result)]
        with Gang([command], [{"TF_CPP_MIN_LOG_LEVEL": "2"}], [log]) as gang:
            in_time = gang.wait(TENSORFLOW_S)
        if not in_time:
            said = f"did not list its devices in {TENSORFLOW_S:g} s"
            return Finding("tensorflow", "problem", said, "look at drivers (nvidia-smi)", True)
        if not result.exists():
            remedy = "pip install tensorflow, or tensorflow[and-cuda] for GPUs"
            return Finding("tensorflow", "problem", last_words(log, 1), remedy, True)
        devices = Devices.read(result)
    said = f"tensorflow {version('tensorflow')}, keras {version('keras')}: "
    if devices.kind == "cpu":
        hidden = " although nvidia-smi is here" if shutil.which("nvidia-smi") else ""
        remedy = "pip install tensorflow[and-cuda]" if hidden else ""
        state: State = "problem" if hidden else "ok"
        return Finding("tensorflow", state, f"{said}processors alone{hidden}", remedy)
    return Finding("tensorflow", "ok", f"{said}{devices.count} x {devices.accelerator}")


LOOKS: tuple[Callable[[], Finding | Iterable[Finding]], ...] = (
    _versions,
    _processors,
    _disk,
    _catalog,
    _solvers,
    _engines,
    _serving,
    _browser,
    _tensorflow,
)
