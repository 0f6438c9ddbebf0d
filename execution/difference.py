"""Why a run took another time than predicted: the difference in parts that add up. No I/O."""

from collections.abc import Sequence

from ..profiles.records import Breakdown
from .record import Difference

STARTING, AGAIN, RESTARTING, SAVING = (
    "starting",
    "work done again",
    "restarting",
    "writing checkpoints",
)
REST = "all else"  # what no part accounts for: stray slow steps, waiting for the disk


def differences(
    *,
    steps: int,
    predicted_step_s: float,
    measured_step_s: float,
    predicted_parts: Breakdown | None,
    measured_parts: Breakdown | None,
    predicted_start_s: float,
    start_s: float,
    lost_s: float,
    restarting_s: float,
    saving_s: float,
    time_s: float,
) -> tuple[Difference, ...]:
    """Measured minus predicted time, part by part.

        time_s - (predicted_start_s + N p) = starting + N (v - p) + lost + restarting + saving + rest

    N steps of p seconds predicted and v measured. Where both sides know what a step is made of, N (v - p)
    stands as input, computing and exchange, each side's parts scaled to its own step. start_s: until the
    first step, and what that took beyond a later one. Parts of less than a thousandth of the time go
    to the rest.
    """
    found = [(STARTING, start_s - predicted_start_s)]
    found += _by_part(steps, predicted_step_s, measured_step_s, predicted_parts, measured_parts)
    found += [(AGAIN, lost_s), (RESTARTING, restarting_s), (SAVING, saving_s)]
    found = [(what, seconds) for what, seconds in found if abs(seconds) >= 1e-3 * time_s]
    whole = time_s - predicted_start_s - steps * predicted_step_s
    rest = whole - sum(seconds for _, seconds in found)
    return tuple(Difference(what=what, seconds=seconds) for what, seconds in [*found, (REST, rest)])


def _by_part(
    steps: int, p: float, v: float, predicted: Breakdown | None, measured: Breakdown | None
) -> list[tuple[str, float]]:
    if predicted is None or measured is None:
        return [("steps", steps * (v - p))]
    said, seen = _scaled(predicted, p), _scaled(measured, v)
    names = ("waiting for input", "computing", "exchanging gradients")
    return [
        (name, steps * (after - before))
        for name, before, after in zip(names, said, seen, strict=True)
    ]


def _scaled(parts: Breakdown, step_s: float) -> Sequence[float]:
    each = (parts.input_s, parts.compute_s, parts.communication_s)
    whole = sum(each)
    return [one * step_s / whole for one in each] if whole > 0 else (0.0, step_s, 0.0)
