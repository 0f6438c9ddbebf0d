"""What a run measured goes into the profile; what a link adds to a step."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isocost.execution.difference import differences
from isocost.profiles.calibrate import calibrated
from isocost.profiles.links import Link, ring_bytes
from isocost.profiles.records import Breakdown, ProcessSample, Profile

from .conftest import EXAMPLE, Command


def sample(step_s: float) -> ProcessSample:
    return ProcessSample(
        step_s=step_s, spread=0.01, steps=50, discarded_steps=10, startup_s=5, wall_s=9
    )


def test_without_runs_a_profile_stays_as_it_is(profile: Profile) -> None:
    again = calibrated(profile, {})
    assert [one.setting for one in again.measurements] == [
        one.setting for one in profile.measurements
    ]
    assert again.facts == profile.facts


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # it is frozen
@given(factor=st.floats(1.5, 3.0), runs=st.integers(1, 12))
def test_runs_pull_a_setting_towards_them_and_never_beyond(
    profile: Profile, factor: float, runs: int
) -> None:
    one = profile.measurements[0]
    again = calibrated(profile, {one.setting: [sample(factor * one.step_time_s.value)] * runs})
    (found,) = (each for each in again.measurements if each.setting == one.setting)
    assert len(found.processes) == len(one.processes) + runs
    assert found.step_time_s.value <= factor * one.step_time_s.value * (1 + 1e-9)
    if runs > 2 * len(one.processes):  # more than the trimming leaves out
        assert found.step_time_s.value > one.step_time_s.value
    rest = [each for each in again.measurements if each.setting != one.setting]
    assert [each.processes for each in rest] == [
        each.processes for each in profile.measurements if each.setting != one.setting
    ]


def test_a_setting_that_was_only_predicted_becomes_measured(profile: Profile) -> None:
    new = profile.measurements[0].setting.model_copy(update={"per_device_batch": 48})
    again = calibrated(profile, {new: [sample(0.03), sample(0.032)]})
    assert new in [one.setting for one in again.measurements]
    assert new not in [one.setting for one in again.predicted]


@given(
    workers=st.integers(2, 64),
    size=st.floats(1, 1e10),
    rate=st.floats(1e5, 1e11),
    burst=st.floats(0, 1e6),
)
def test_a_wire_takes_longer_with_more_bytes_and_less_with_more_bandwidth(
    workers: int, size: float, rate: float, burst: float
) -> None:
    wire = Link(rate, burst).wire_s(workers, size)
    assert wire >= 0
    assert Link(rate, burst).wire_s(workers, 2 * size) >= wire
    assert Link(2 * rate, burst).wire_s(workers, size) <= wire
    assert ring_bytes(workers, size) < ring_bytes(workers + 1, size) < 2 * size
    assert Link(rate, burst, factor=2).wire_s(workers, size) == pytest.approx(2 * wire)


step_times = st.floats(1e-4, 10)
parts = st.none() | st.builds(
    Breakdown,
    input_s=st.floats(0, 1),
    communication_s=st.floats(0, 1),
    compute_s=st.floats(1e-6, 1),
)


@given(
    steps=st.integers(1, 10_000),
    predicted_step_s=step_times,
    measured_step_s=step_times,
    predicted_parts=parts,
    measured_parts=parts,
    start_s=st.floats(0, 100),
    lost_s=st.floats(0, 100),
    restarting_s=st.floats(0, 100),
    saving_s=st.floats(0, 100),
    time_s=st.floats(1, 1e5),
)
def test_the_parts_of_a_difference_add_up_to_it(
    steps: int,
    predicted_step_s: float,
    measured_step_s: float,
    predicted_parts: Breakdown | None,
    measured_parts: Breakdown | None,
    start_s: float,
    lost_s: float,
    restarting_s: float,
    saving_s: float,
    time_s: float,
) -> None:
    found = differences(
        steps=steps,
        predicted_step_s=predicted_step_s,
        measured_step_s=measured_step_s,
        predicted_parts=predicted_parts,
        measured_parts=measured_parts,
        predicted_start_s=8.0,
        start_s=start_s,
        lost_s=lost_s,
        restarting_s=restarting_s,
        saving_s=saving_s,
        time_s=time_s,
    )
    whole = time_s - 8.0 - steps * predicted_step_s
    assert sum(one.seconds for one in found) == pytest.approx(whole, rel=1e-9, abs=1e-6)
    assert len({one.what for one in found}) == len(found)


def test_a_step_that_took_longer_by_its_input_says_so() -> None:
    found = differences(
        steps=100,
        predicted_step_s=0.10,
        measured_step_s=0.15,
        predicted_parts=Breakdown(input_s=0.0, communication_s=0.02, compute_s=0.08),
        measured_parts=Breakdown(input_s=0.05, communication_s=0.02, compute_s=0.08),
        predicted_start_s=5,
        start_s=5,
        lost_s=0,
        restarting_s=0,
        saving_s=0,
        time_s=20,
    )
    assert {one.what: pytest.approx(one.seconds, abs=1e-9) for one in found} == {
        "waiting for input": 5.0,
        "all else": 0.0,
    }


@pytest.mark.slow
def test_a_run_goes_into_the_profile_that_its_plan_rests_on(
    tmp_path: Path, isocost: Command, profile: Profile
) -> None:
    path = tmp_path / "profile.json"
    profile.write(path)
    planned = isocost("optimize", EXAMPLE, "--profile", path, "-o", "plan.json")
    assert planned.returncode == 0, planned.stderr
    done = isocost("run", "plan.json", "--max-steps", "40", "--calibrate")
    assert done.returncode == 0, done.stderr
    assert "a step there now" in done.stdout
    before = {one.setting: len(one.processes) for one in profile.measurements}
    after = {one.setting: len(one.processes) for one in Profile.read(path).measurements}
    assert sum(after.values()) == sum(before.values()) + 1
    path.unlink()
    refused = isocost("run", "plan.json", "--max-steps", "40", "--calibrate", "-o", "again.json")
    assert refused.returncode == 2
    assert "rests on no profile" in refused.stderr
