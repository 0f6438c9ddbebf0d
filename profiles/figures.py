"""From processes to figures: a setting's measurement, and the settings that were not measured. No I/O."""

from collections.abc import Container, Mapping, Sequence

import numpy as np

from . import effects
from .records import Breakdown, Estimate, Measurement, PredictedSetting, ProcessSample, Setting
from .steady import between_spread, estimate, noise_causes


def figures(
    samples: Mapping[Setting, Sequence[ProcessSample]],
    every: Sequence[Setting],
    failed: Container[Setting],
    cores: int,
) -> tuple[tuple[Measurement, ...], tuple[PredictedSetting, ...]]:
    """Each setting's measurement, and a prediction of the others of every that did not fail.

    cores: of the machine that measured. Fewer than three measured settings predict nothing.
    """
    spread = between_spread(list(samples.values()))
    measured = tuple(
        _measurement(setting, each, estimate(each, spread), cores)
        for setting, each in samples.items()
    )
    known = {one.setting: (one.step_time_s.value, len(one.processes)) for one in measured}
    wanted = [setting for setting in every if setting not in known and setting not in failed]
    if not wanted or len(known) < 3:
        return measured, ()
    rest = zip(wanted, effects.predict(known, wanted, spread), strict=True)
    return measured, tuple(
        PredictedSetting(
            setting=setting, step_time_s=step, samples_per_s=setting.global_batch / step.value
        )
        for setting, step in rest
    )


def _measurement(
    setting: Setting, samples: Sequence[ProcessSample], step: Estimate, cores: int
) -> Measurement:
    inputs = [one.input_s for one in samples if one.input_s is not None]
    exchanges = [one.communication_s for one in samples if one.communication_s is not None]
    breakdown = None
    if inputs and exchanges:
        input_s = min(float(np.median(inputs)), step.value)
        communication_s = min(float(np.median(exchanges)), step.value - input_s)
        breakdown = Breakdown(
            input_s=input_s,
            communication_s=communication_s,
            compute_s=step.value - input_s - communication_s,
        )
    return Measurement(
        setting=setting,
        step_time_s=step,
        samples_per_s=setting.global_batch / step.value,
        processes=tuple(samples),
        breakdown=breakdown,
        peak_memory_bytes=max(one.peak_memory_bytes for one in samples),
        noise=noise_causes(samples, step, cores),
    )
