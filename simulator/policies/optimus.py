"""Optimus (Peng et al., EuroSys 2018) for adaptive jobs: GPUs one by one to the job that they save most time."""

from collections.abc import Mapping, Sequence

from ...catalog.files import InputError
from ..adaptive import AdaptiveJob, State
from ..applications import split


def optimus(now_s: float, jobs: Sequence[State], gpus: int) -> Mapping[State, int]:
    """One GPU for each, then one by one where it saves most time: steps left x (T(n) - T(n + 1)).

    T is that of the fewest nodes of four that hold the gang (Peng et al., EuroSys 2018).
    """
    wishes: dict[State, int] = {}
    saves: dict[State, float] = {}

    def saved(one: State) -> float:
        app, count = one.job.application, wishes[one]
        most = min(one.job.batch // app.least_local, app.most_gpus or gpus + count)
        if count + 1 > most or gpus < 1:
            return 0.0
        now_s = _optimus_step_s(one.job, count)
        try:
            return (now_s - _optimus_step_s(one.job, count + 1)) * left[one]
        except InputError:
            return 0.0  # nobody measured so many

    left = {one: one.job.application.steps_left(one.job.batch, one.epoch) for one in jobs}
    for one in jobs:
        wishes[one] = min(1, gpus)
        gpus -= wishes[one]
        saves[one] = saved(one) if wishes[one] else 0.0
    while gpus > 0 and saves:
        one = max(saves, key=saves.__getitem__)
        if saves[one] <= 0:
            break
        wishes[one] += 1
        saves[one] = saved(one)
        gpus -= 1
    return dict(sorted(wishes.items(), key=lambda item: item[1]))


def _optimus_step_s(job: AdaptiveJob, gpus: int) -> float:
    full, rest = divmod(gpus, 4)
    placement = (4,) * full + ((rest,) if rest else ())
    local, extra = split(job.application, job.batch, gpus, 1 if gpus == 1 else 0)
    step, sync = job.application.step_s(placement, local)
    return step + (step - sync) * extra
