"""What a run measured, taken into the profile it was predicted from. No I/O."""

from collections.abc import Mapping, Sequence

from .figures import figures
from .records import ProcessSample, Profile, Setting


def calibrated(
    profile: Profile,
    runs: Mapping[Setting, Sequence[ProcessSample]],
    every: Sequence[Setting] = (),
) -> Profile:
    """The profile with these processes of real runs among its own.

    every: settings to predict beside those that the profile predicts already.

    A run counts as one more fresh process of its setting, no more and no less than one that the
    profiler started: it trained by the same program. All figures are reckoned anew, also of the
    settings that no run took.
    """
    samples = {one.setting: list(one.processes) for one in profile.measurements}
    for setting, each in runs.items():
        samples.setdefault(setting, []).extend(each)
    wanted = dict.fromkeys([*(one.setting for one in profile.predicted), *every])
    failed = {one.setting for one in profile.failures if one.setting not in samples}
    measured, predicted = figures(samples, list(wanted), failed, int(profile.host.cores))
    failures = tuple(one for one in profile.failures if one.setting in failed)
    return profile.model_copy(
        update={"measurements": measured, "predicted": predicted, "failures": failures}
    )
