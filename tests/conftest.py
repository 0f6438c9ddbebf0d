"""What several tests share: the example, a recorded profile, and the command line in a process."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import settings

from isocost.catalog import Catalog, Offer, Purchase, load, this_machine
from isocost.profiles.measure import this_host
from isocost.profiles.public import built_in_facts
from isocost.profiles.records import (
    Estimate,
    Knobs,
    Measurement,
    ProcessSample,
    Profile,
    Setting,
)
from isocost.profiles.workload import Workload, read_workload

from .documents import (  # noqa: F401  # fixtures
    comparison,
    documents,
    explained,
    job,
    plan,
    run,
    simulation,
)

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "cifar10.yaml"

Command = Callable[..., subprocess.CompletedProcess[str]]

# Nothing is timed in a test: a busy machine breaks no law.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def workload() -> Workload:
    return read_workload(EXAMPLE)


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return load()


@pytest.fixture(scope="session")
def local() -> Offer:
    return this_machine(0.02)


def measurement(batch: int, step_s: float, *, workers: int = 1, xla: bool = False) -> Measurement:
    """A measurement of two fresh processes, one a twentieth slower than the other."""
    setting = Setting(
        accelerator="CPU",
        per_device_batch=batch,
        knobs=Knobs(strategy="multi_worker_mirrored", workers_per_node=workers, xla=xla),
    )
    samples = tuple(
        ProcessSample(
            step_s=step_s * factor,
            spread=0.01,
            steps=200,
            discarded_steps=50,
            startup_s=4.0,
            wall_s=7.0,
            cpu_s=4.0,
        )
        for factor in (0.975, 1.025)
    )
    estimate = Estimate(
        value=step_s, ci95=(0.9 * step_s, 1.1 * step_s), repeat95=(0.8 * step_s, 1.25 * step_s)
    )
    return Measurement(
        setting=setting,
        step_time_s=estimate,
        samples_per_s=setting.global_batch / step_s,
        processes=samples,
    )


@pytest.fixture(scope="session")
def profile() -> Profile:
    return recorded_profile()


def recorded_profile() -> Profile:
    """Figures as measured on two cores of a shared machine in November 2026."""
    return Profile(
        workload="cifar10-cnn",
        model="cifar10_cnn",
        data="digits",
        facts=built_in_facts()["cifar10_cnn"],
        checkpoint_write_s=0.012,
        measurements=(
            measurement(32, 0.0063),
            measurement(64, 0.0101),
            measurement(128, 0.0175),
            measurement(32, 0.0142, xla=True),
            measurement(16, 0.0119, workers=2),
            measurement(64, 0.0234, workers=2),
        ),
        host=this_host(),
        created=datetime(2026, 11, 24, tzinfo=UTC),
        profiling_s=60.0,
        profiling_usd=0.001,
    )


@pytest.fixture(scope="session")
def offer() -> Offer:
    return Offer(
        provider="aws",
        region="us-east-1",
        zones=("us-east-1a",),
        instance_type="test.large",
        accelerator="T4",
        accelerator_count=1,
        vcpus=8,
        memory_gib=32,
        network_gbps=10,
        interconnect=None,
        prices_usd_h={Purchase.ON_DEMAND: 1.0},
        price_date=datetime(2026, 1, 1, tzinfo=UTC).date(),
        source="test",
    )


@pytest.fixture
def isocost(tmp_path: Path) -> Command:
    """Runs the command line as a user does, in an empty folder with an empty data directory."""

    def call(
        *arguments: str | Path, timeout: float = 240, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command_line(arguments),
            cwd=cwd or tmp_path,
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return call


def command_line(arguments: Sequence[str | Path]) -> list[str]:
    return [sys.executable, "-m", "isocost", *(str(argument) for argument in arguments)]


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "ISOCOST_HOME": str(folder / "home"), "COLUMNS": "80", "NO_COLOR": "1"}


def document(text: str) -> dict[str, object]:
    """The one JSON document that text is."""
    content = json.loads(text)
    assert isinstance(content, dict)
    return content
