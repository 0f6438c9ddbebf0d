"""What a run measured goes into the profile; what a link adds to a step."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isocost.profiles.calibrate import calibrated
from isocost.profiles.links import Link, ring_bytes
from isocost.profiles.records import ProcessSample, Profile


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
