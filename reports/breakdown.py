"""Where a step's time goes, of a profile's settings or of a run."""

from dataclasses import dataclass

from ..profiles.records import Profile
from . import words
from .content import Drawing, Table, cell
from .drawing import ACCENT, GREEN, ORANGE, plain, stacked_rows, time_axis


@dataclass(frozen=True, slots=True)
class Parts:
    """Where the time of one setting's step goes, seconds."""

    setting: str
    compute_s: float
    communication_s: float
    input_s: float

    @property
    def total_s(self) -> float:
        return self.compute_s + self.communication_s + self.input_s


def breakdowns(profile: Profile) -> tuple[Parts, ...]:
    return tuple(
        Parts(
            setting=one.setting.describe(),
            compute_s=max(one.breakdown.compute_s, 0.0),
            communication_s=max(one.breakdown.communication_s, 0.0),
            input_s=max(one.breakdown.input_s, 0.0),
        )
        for one in profile.measurements
        if one.breakdown is not None
    )


def draw_breakdowns(found: tuple[Parts, ...]) -> Drawing:
    figure = stacked_rows(
        [f"<b>{words.duration(one.total_s)}</b> {plain(one.setting)}" for one in found],
        (
            ("computing", ACCENT, [one.compute_s for one in found]),
            ("exchanging gradients", GREEN, [one.communication_s for one in found]),
            ("waiting for input", ORANGE, [one.input_s for one in found]),
        ),
        x=time_axis(
            "time of a step", [0.0, *(one.total_s for one in found)], log=False, rangemode="tozero"
        ),
        say=lambda row, name, seconds: (
            f"{plain(found[row].setting)}<br>{name}: {words.duration(seconds)}, "
            f"{words.share(seconds / found[row].total_s)}"
        ),
    )
    return Drawing(
        title="Where a step's time goes",
        caption=(
            "Input is what a step loses against one whose batch is already there, exchange an all-reduce of "
            "the gradients on its own; computing is the rest."
        ),
        label="; ".join(
            f"{one.setting}: {words.share(round(one.compute_s / one.total_s, 3))} computing"
            for one in found
        )
        + ".",
        figure=figure,
        data=Table(
            caption="Parts of a step",
            heads=("Setting", "Computing", "Exchange", "Input", "Step"),
            rows=tuple(
                (
                    cell(one.setting),
                    *(
                        cell(words.duration(value), key=value)
                        for value in (
                            one.compute_s,
                            one.communication_s,
                            one.input_s,
                            one.total_s,
                        )
                    ),
                )
                for one in found
            ),
        ),
    )
