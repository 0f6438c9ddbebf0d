"""What a run measured goes back into the profile that its plan rests on."""

from dataclasses import dataclass
from pathlib import Path

from ..catalog.files import InputError
from ..profiles.calibrate import calibrated
from ..profiles.measure import this_host
from ..profiles.records import Measurement, PredictedSetting, ProcessSample, Profile, Setting
from ..profiles.steady import steady
from .record import Run
from .setup import Setup
from .telemetry import read_steps

LEAST_STEPS = 20  # fewer are mostly warming up


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A profile after a run: what it said of the run's step before, None for nothing, and says now."""

    path: Path
    before_s: float | None
    after_s: float


def check(setup: Setup) -> Path:
    """The profile that a run of setup can go into; InputError where there is none."""
    path = setup.job.profile
    if path is None or not Path(path).exists():
        raise InputError(
            f"the plan of {setup.job.name} rests on no profile that a run could be taken into; measure "
            "with isocost profile, and plan again"
        )
    if Profile.read(Path(path)).host != this_host():
        raise InputError(
            f"{path} was measured on another machine, or with other versions; measure here with isocost "
            "profile, and plan again"
        )
    if setup.knobs.accumulate > 1 or setup.knobs.threads is not None:
        raise InputError("a profile has no settings with --accumulate or --threads: run without")
    return Path(path)


def calibrate(path: Path, setup: Setup, run: Run) -> Calibrated:
    """Take the run into the profile at path, as one more fresh process. Raises InputError."""
    went_on = run.recoveries[-1].from_step if run.recoveries else 0
    lines = [one for one in read_steps(Path(run.folder) / "steps.jsonl") if one.step > went_on]
    if len(lines) < LEAST_STEPS:
        raise InputError(
            f"{len(lines)} steps are too few to calibrate a profile; take {LEAST_STEPS} at least"
        )
    found = steady([line.seconds for line in lines])
    setting = Setting(
        accelerator=setup.candidate.offer.accelerator,
        devices_per_node=setup.devices,
        per_device_batch=run.per_device_batch,
        knobs=run.knobs,
    )
    sample = ProcessSample(
        step_s=found.step_s,
        spread=found.spread,
        steps=found.steps,
        discarded_steps=found.discarded,
        startup_s=max(0.0, lines[0].at_s) if not went_on else 0.0,
        wall_s=max(lines[-1].at_s, 1e-3),
        input_s=None if run.breakdown is None else run.breakdown.input_s,
        communication_s=None if run.breakdown is None else run.breakdown.communication_s,
        peak_memory_bytes=run.memory_bytes or 0.0,
    )
    # Read now: a profile may have grown while the run took its time.
    profile = Profile.read(path)
    later = calibrated(profile, {setting: [sample]})
    later.write(path)
    after_s = _step_s(later, setting)
    assert after_s is not None
    return Calibrated(path, _step_s(profile, setting), after_s)


def _step_s(profile: Profile, setting: Setting) -> float | None:
    known: list[Measurement | PredictedSetting] = [*profile.measurements, *profile.predicted]
    return next((one.step_time_s.value for one in known if one.setting == setting), None)
